"""Attention kernels against measured ones: rows never fitted, a GPU never fitted, and the spread that is promised."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from dse.validation.measurements import Measurement, read_measurements
from hw.spec.load import load_system
from mappers.kernels.attention import AttentionConstants, AttentionShapes, attention_shapes, attention_time
from mappers.kernels.attention_fit import fit_attention
from mappers.kernels.constants import Entry, bundled, typed
from mappers.kernels.machine import KernelMachine, kernel_machine
from mappers.kernels.time import intervals
from tests.reference_data import reference_file

A100 = ("A100-SXM4-80GB", "vllm_flash_attn", "a100-80gb-sxm", "vllm-0.14")
H100 = ("H100-SXM-80GB", "vllm_flash_attn_fa3", "h100-sxm", "vllm-0.24")
VIDUR = ("A100-SXM4-80GB", "flash_attention (sarathi)", "a100-80gb-sxm", "torch-2024")
Origin = tuple[str, str, str, str]
BOTH = pytest.mark.parametrize("origin", [A100, H100], ids=["a100", "h100"])


@dataclass(frozen=True, eq=False)
class Rows:
    """Measured rows of one origin and phase, in order of their number; every third is never fitted."""

    machine: KernelMachine
    shapes: AttentionShapes
    measured_s: NDArray[np.float64]
    held_out: NDArray[np.bool_]

    def fitted(self) -> tuple[AttentionShapes, NDArray[np.float64]]:
        return self.shapes.of(~self.held_out), self.measured_s[~self.held_out]

    def errors(self, constants: AttentionConstants) -> NDArray[np.float64]:
        """Predicted over measured, less 1."""
        return attention_time(self.machine, constants, self.shapes, warm=True).best_s / self.measured_s - 1


@cache
def measurements() -> list[Measurement]:
    return read_measurements(reference_file("gpu_measurements.csv"))


@cache
def rows(origin: Origin, phase: str) -> Rows:
    gpu, framework, preset, _ = origin
    chosen = sorted(
        (
            row
            for row in measurements()
            if (row.op, row.phase, row.gpu, row.framework) == ("attention", phase, gpu, framework)
        ),
        key=lambda row: int(row.id),
    )
    machine = machine_of(preset)
    names = ("batch", "q_len", "kv_len", "heads", "kv_heads", "head_dim")
    columns = [np.array([row.numbers[name] for row in chosen]) for name in names]
    shapes = attention_shapes(*columns, peak_ops_per_s=machine.peak("fp16"))
    return Rows(machine, shapes, np.array([row.latency_s for row in chosen]), np.arange(len(chosen)) % 3 == 2)


def machine_of(preset: str) -> KernelMachine:
    return kernel_machine(load_system(preset), "tensor", "vector")


def entry(origin: Origin) -> Entry:
    (found,) = (one for one in bundled("attention") if (one.gpu, one.software) == origin[2:])
    return found


def constants(origin: Origin) -> AttentionConstants:
    return typed(AttentionConstants, entry(origin))


@BOTH
@pytest.mark.parametrize(("phase", "most"), [("prefill", 0.12), ("decode", 0.07)])
def test_rows_that_were_never_fitted(origin: Origin, phase: str, most: float) -> None:
    found = rows(origin, phase)
    assert np.abs(found.errors(constants(origin)))[found.held_out].mean() <= most


@BOTH
def test_shipped_constants_are_the_fit_of_the_other_rows(origin: Origin) -> None:
    prompts, singles = rows(origin, "prefill"), rows(origin, "decode")
    shipped = constants(origin)
    again = fit_attention(prompts.machine, int(shipped.generation), prompts.fitted(), singles.fitted())
    for found in (prompts, singles):
        assert found.errors(again) == pytest.approx(found.errors(shipped), abs=0.02)


@pytest.mark.parametrize(("source", "target"), [(A100, H100), (H100, A100)], ids=["a100-to-h100", "h100-to-a100"])
def test_a_gpu_that_was_never_fitted(source: Origin, target: Origin) -> None:
    prompts, singles = rows(source, "prefill"), rows(source, "decode")
    generation = constants(target).generation
    carried = fit_attention(
        prompts.machine,
        int(constants(source).generation),
        (prompts.shapes, prompts.measured_s),
        (singles.shapes, singles.measured_s),
    )
    for phase in ("prefill", "decode"):
        assert np.abs(rows(target, phase).errors(replace(carried, generation=generation))).mean() <= 0.15


@BOTH
def test_the_spread_covers_four_of_five_rows_that_were_never_fitted(origin: Origin) -> None:
    covered = []
    for phase in ("prefill", "decode"):
        found = rows(origin, phase)
        best_s = attention_time(found.machine, constants(origin), found.shapes, warm=True).best_s
        low, high = intervals(best_s, entry(origin).spread)
        covered.append(((low <= found.measured_s) & (found.measured_s <= high))[found.held_out])
    assert 0.70 <= np.concatenate(covered).mean() <= 0.92


def test_no_estimate_is_below_the_roofline_of_its_row() -> None:
    for origin, phase in ((A100, "prefill"), (A100, "decode"), (H100, "prefill"), (H100, "decode"), (VIDUR, "decode")):
        found = rows(origin, phase)
        shapes, machine = found.shapes, found.machine
        pairs = shapes.q_len * shapes.kv_len - shapes.q_len * (shapes.q_len - 1) / 2
        products_s = 4 * shapes.batch * shapes.heads * shapes.head_dim * pairs / machine.peak("fp16")
        moved_s = (shapes.cache_bytes + shapes.query_bytes) / machine.read_bytes_per_s
        for warm in (False, True):
            best_s = attention_time(machine, constants(origin), shapes, warm=warm).best_s
            assert (best_s >= np.maximum(products_s, moved_s)).all()


def test_every_head_with_keys_of_its_own_reads_at_most_of_the_bandwidth() -> None:
    # Llama-2-7B, 64 contexts of 1792 on an A100: 1.80 TB/s of 2.039 measured (Vidur's profile). The model takes 12 %
    # longer: from 64 to 128 contexts the measured time grows at 2.23 TB/s, faster than the memory, so part of what
    # these rows read cannot have come from it.
    machine = machine_of("a100-80gb-sxm")
    shapes = attention_shapes(64, 1, 1792, 32, 32, peak_ops_per_s=machine.peak("fp16"))
    best_s = attention_time(machine, constants(VIDUR), shapes).best_s
    assert 1.80e12 / 1.2 <= (shapes.cache_bytes / best_s)[0] <= 1.80e12


def test_vidurs_profile_within_a_fifth() -> None:
    # Missed: 13 rows, 9 of them fitted; see the test above.
    found = rows(VIDUR, "decode")
    assert np.abs(found.errors(constants(VIDUR)))[found.held_out].mean() <= 0.20
