"""Runs of Ramulator 2.1 repeated with its rules: the same trace is taken in exactly the same number of cycles.

Its clock stops when the last request is accepted, ours when the last byte has moved. So the cycle of the last
acceptance is compared, without tolerance, and what still waits then (at most the two queues and the active list) is in
our counts only: it moves the mean latency by less than 0.2 % and the hit rate by less than 0.001. While it drains, a
refresh per rank more may fall due.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from dse.validation.dram import MACHINES, DramComparison, predict_dram
from dse.validation.dram_rows import DramRow, read_dram_rows
from tests.reference_data import reference_file

SAMPLE = Path(__file__).resolve().parents[3] / "golden" / "dram_ramulator.csv"
PRESETS = sorted(preset for simulator, preset in MACHINES if simulator == "Ramulator")


def ramulator_rows(path: Path) -> list[DramRow]:
    return [row for row in read_dram_rows(path) if row.simulator == "Ramulator"]


def check(row: DramRow) -> None:
    """Raises for a trace of another SHA-256, too: `dse.validation.dram.stream_of`."""
    found = predict_dram(row)
    assert isinstance(found, DramComparison), found
    where = f"line {row.line}: {row.preset} {row.mapping} {row.pattern}"
    assert row.trace_sha256, where
    assert found.run.accepted_cycles == row.cycles, where
    assert found.latency_error == pytest.approx(0, abs=0.002), where
    assert found.hit_difference == pytest.approx(0, abs=0.001), where
    (ours,) = found.run.outcomes
    waiting = int(row.read_queue) + int(row.write_queue) + found.run.device.banks
    if row.hits_misses_conflicts is not None:
        counted = zip((ours.hits, ours.misses, ours.conflicts), row.hits_misses_conflicts, strict=True)
        more = [mine - theirs for mine, theirs in counted]
        assert min(more) >= 0, where
        assert sum(more) <= waiting, where
    if row.refreshes is not None:
        assert 0 <= found.run.commands.get("REFab", 0) - row.refreshes <= found.run.device.shape[0], where


@pytest.mark.parametrize("row", ramulator_rows(SAMPLE), ids=lambda row: f"{row.preset}-{row.mapping}-{row.pattern}")
def test_the_sample(row: DramRow) -> None:
    check(row)


def test_the_sample_has_every_preset_mapping_and_pattern() -> None:
    rows = ramulator_rows(SAMPLE)
    assert {row.preset for row in rows} == set(PRESETS)
    assert {row.mapping for row in rows} == {"RoBaRaCoCh", "MOP4CLXOR"}
    assert {row.pattern for row in rows} == {
        "seq", "rand", "stride_bank", "stride_row", "mix21", "streams16_alias", "streams16_skew", "kv16_256B",
        "idle_rand",
    }  # fmt: skip


@pytest.mark.parametrize("preset", PRESETS)
def test_every_run(preset: str) -> None:
    for row in ramulator_rows(reference_file("dram_reference.csv")):
        if row.preset == preset:
            check(row)


def test_the_reference_is_whole() -> None:
    found = Counter(row.preset for row in ramulator_rows(reference_file("dram_reference.csv")))
    assert found == {
        "DDR4_3200AA": 18, "DDR5_4800AN": 34, "DDR5_5600AN": 18, "HBM2_2000": 47, "HBM3_6400": 18, "LPDDR5_6400": 31
    }  # fmt: skip
