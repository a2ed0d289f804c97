"""Which constants are taken, what is refused, and that every bundled entry can be used."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from mappers.kernels.attention import AttentionConstants
from mappers.kernels.constants import Entry, bundled, constants, read_constants, typed
from mappers.kernels.gemm import GemmConstants
from mappers.kernels.grouped import GroupedConstants
from mappers.kernels.rows import RowConstants
from mappers.kernels.software import SOFTWARE, measured_software, software
from mappers.kernels.time import SIZE_CLASSES, Spread
from workloads.errors import InputError

TYPES = {
    "attention": AttentionConstants,
    "gemm": GemmConstants,
    "grouped": GroupedConstants,
    "norm": RowConstants,
    "softmax": RowConstants,
    "elementwise": RowConstants,
    "gather": RowConstants,
}
SPREAD = dict.fromkeys(SIZE_CLASSES, Spread(0.9, 1.1))


def entry(architecture: str, epoch: str, gpu: str, launch_s: float = 1e-6) -> Entry:
    values = {"memory_efficiency": 0.5, "wide_row_factor": 1.0, "launch_s": launch_s, "host_s": 0.0}
    return Entry("made-up", architecture, epoch, gpu, values, SPREAD, "fitted: nothing")


GIVEN = (
    entry("ampere", "torch-2024", "a40"),
    entry("ampere", "vllm-0.14", "a100-80gb-sxm"),
    entry("ampere", "torch-2023", "a100-80gb-sxm", 30e-6),
    entry("hopper", "vllm-0.24", "h100-sxm"),
)


@pytest.mark.parametrize(
    ("architecture", "epoch", "gpu", "taken"),
    [
        ("hopper", "vllm-0.24", "h100-sxm", 3),
        ("hopper", "torch-2024", "h200-sxm", 3),
        ("ampere", "vllm-0.24", "a40", 1),
        ("ampere", "torch-2024", "a100-80gb-sxm", 0),
        ("ada", "vllm-0.24", "l40s", 3),
        ("volta", "vllm-0.14", "v100", 1),
        ("blackwell", "vllm-0.24", "b200-sxm", 3),
    ],
)
def test_architecture_comes_before_software_before_the_gpu(architecture: str, epoch: str, gpu: str, taken: int) -> None:
    choice = constants("made-up", architecture, epoch, gpu=gpu, given=GIVEN)
    assert choice.entry == GIVEN[taken]
    exact = (choice.entry.architecture, choice.entry.software) == (architecture, epoch)
    assert (choice.note == "") == exact


def test_a_stand_in_is_named() -> None:
    choice = constants("made-up", "ada", "vllm-0.24", given=GIVEN[:2])
    assert choice.note == (
        "made-up kernels: ada takes the constants of ampere, vllm-0.24 takes those of vllm-0.14 (a100-80gb-sxm)"
    )


def test_a_calibrated_machine_stands_before_bundled_constants() -> None:
    """Of another software, yet taken; for an architecture that it is not of, the bundled ones stay."""
    mine = Entry("gemm", "hopper", "torch-2024", "my-gpu", bundled("gemm")[0].values, SPREAD, "fitted: mine")
    assert constants("gemm", "hopper", "vllm-0.24", given=(mine,)).entry == mine
    assert constants("gemm", "ampere", "vllm-0.14", given=(mine,)).entry.gpu == "a100-80gb-sxm"


def test_launches_are_of_the_same_sort() -> None:
    """Only an eager entry of MI210: a graph's launch is the nearest graph's, the other values its own."""
    only = (entry("cdna2", "torch-2023", "mi210", 31e-6), *GIVEN)
    graph = constants("made-up", "cdna2", "vllm-0.24", given=only)
    assert (graph.entry.gpu, graph.entry.values["launch_s"]) == ("mi210", 1e-6)
    assert "launched as on" in graph.note
    eager = constants("made-up", "hopper", "torch-2023", given=only)
    assert (eager.entry.gpu, eager.entry.values["launch_s"]) == ("h100-sxm", 30e-6)


@pytest.mark.parametrize("family", sorted(TYPES))
def test_every_bundled_entry_is_of_its_family(family: str) -> None:
    entries = bundled(family)
    assert entries
    assert len({(one.architecture, one.software, one.gpu) for one in entries}) == len(entries)
    for one in entries:
        typed(TYPES[family], one)
        assert one.source.split(":")[0] in ("fitted", "derived", "stated")
        assert all(0 < spread.low <= 1 <= spread.high for spread in one.spread.values())
        for name, value in one.values.items():
            assert not name.endswith("efficiency") or 0 <= value <= 1, (one.gpu, name)


def test_every_file_of_constants_is_of_a_known_family() -> None:
    names = {path.name for path in files("mappers.kernels").joinpath("constants").iterdir()}
    assert names == {f"{family}.yaml" for family in TYPES}


def test_values_must_be_those_of_the_family() -> None:
    with pytest.raises(InputError, match="missing constant 'compute_efficiency' of made-up"):
        typed(GemmConstants, GIVEN[0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gemm: 3\n", "gemm: holds no list of entries"),
        ("gemm:\n  - architecture: ampere\n", "gemm: an entry with other keys"),
        ("[1]\n", "holds no families"),
        ("gemm: [\n", "cannot be read as YAML"),
        (
            "gemm:\n  - {architecture: a, software: vllm-0.14, gpu: x, values: {a: b}, spread: {}, source: s}\n",
            "gemm: values or spread hold no numbers",
        ),
        (
            "gemm:\n  - {architecture: a, software: vllm-0.14, gpu: x, values: {a: 1}, spread: {}, source: s}\n",
            "gemm.spread: a spread of other classes",
        ),
        (
            "gemm:\n  - {architecture: a, software: vllm-9, gpu: x, values: {a: 1}, spread: {}, source: s}\n",
            "unknown software 'vllm-9'",
        ),
    ],
)
def test_broken_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(InputError) as caught:
        read_constants(tmp_path / "c.yaml")
    assert message in str(caught.value)


def test_unknown_software_and_families_are_refused() -> None:
    with pytest.raises(InputError, match=r"unknown software 'vllm-0\.15'.*did you mean"):
        software("vllm-0.15")
    with pytest.raises(InputError, match="no constants of 'fft'"):
        constants("fft", "hopper", "vllm-0.24")


@pytest.mark.parametrize(
    ("framework", "architecture", "epoch", "known"),
    [
        ("vllm torch.linear", "ampere", "vllm-0.14", True),
        ("vllm torch.linear", "hopper", "vllm-0.24", True),
        ("vllm 0.24.0 torch", "ampere", "vllm-0.24", True),
        ("vllm-0.13", "hopper", "vllm-0.14", True),
        ("sarathi/torch", "hopper", "torch-2024", True),
        ("torch", "cdna2", "torch-2023", True),
        ("my own engine", "hopper", "vllm-0.24", False),
        ("", "ampere", "vllm-0.24", False),
    ],
)
def test_the_software_of_a_measured_row(framework: str, architecture: str, epoch: str, known: bool) -> None:
    assert measured_software(framework, architecture) == (epoch, known)
    assert epoch in SOFTWARE
