"""Presets by the many names of GPUs."""

from __future__ import annotations

import pytest

from dse.validation.machines import Skipped, measured_system, preset_of


@pytest.mark.parametrize(
    ("gpu", "preset"),
    [
        ("A100-SXM4-80GB", "a100-80gb-sxm"),
        ("NVIDIA A100-SXM4-80GB", "a100-80gb-sxm"),
        ("NVIDIA A100 80GB", "a100-80gb-sxm"),
        ("A100", "a100-80gb-sxm"),
        ("A100-SXM4-40GB", "a100-40gb-sxm"),
        ("H100-SXM-80GB", "h100-sxm"),
        ("NVIDIA H100 80GB HBM3", "h100-sxm"),
        ("H100", "h100-sxm"),
        ("H200-SXM", "h200-sxm"),
        ("NVIDIA H200", "h200-sxm"),
        ("h200_sxm", "h200-sxm"),
        ("A40", "a40"),
        ("RTX-A6000", "rtx-a6000"),
        ("NVIDIA RTX A6000", "rtx-a6000"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
    ],
)
def test_names_of_gpus(gpu: str, preset: str) -> None:
    assert preset_of(gpu) == preset


def test_an_unknown_gpu_is_skipped_with_the_nearest() -> None:
    found = preset_of("Gaudi 3")
    assert isinstance(found, Skipped)
    assert found.why.startswith("no preset for Gaudi 3")
    assert preset_of("H100-SXM6-96GB-X") == Skipped("no preset for H100-SXM6-96GB-X (nearest: h100-sxm)")
    assert preset_of("") == Skipped("no preset for ")
    found = preset_of("RTX-4091")
    assert isinstance(found, Skipped)
    assert "nearest: rtx-4090" in found.why


def test_devices_of_a_preset() -> None:
    assert measured_system("A100", 4).devices == 4
    with pytest.raises(KeyError):
        measured_system("V100", 1)
