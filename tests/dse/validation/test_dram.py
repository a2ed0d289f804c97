"""Runs of DRAM simulators beside ours: reading, what is compared with what, the report."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from dse.cli.validate import run_validate
from dse.validation.dram import MACHINES, DramComparison, compare_dram, dram_document, predict_dram, stream_of
from dse.validation.dram_curves import GRANULES, STREAMS, Curve, curves, granule_figure, stream_figure
from dse.validation.dram_report import dram_report
from dse.validation.dram_rows import DRAM_COLUMNS, DramRow, read_dram_rows
from tests.reference_data import reference_file
from workloads.errors import InputError

FIRST = {
    "simulator": "Ramulator", "preset": "DDR4_3200AA", "mapping": "RoBaRaCoCh", "scheduler": "FRFCFSRowHit",
    "read_queue": "32", "write_queue": "32", "refresh": "all-bank", "pattern": "idle_rand", "tries_per_tick": "1/400",
    "requests": "3", "cycles": "800", "mean_read_latency_cycles": "49", "row_hit_rate": "0",
}  # fmt: skip
THEIRS = {
    **FIRST, "simulator": "DRAMsim3", "preset": "ddr4_3200_matched_bglsb", "mapping": "rorabacobgch",
    "scheduler": "per-bank command queues, first ready", "read_queue": "32 trans + 8 per bank",
    "write_queue": "32 trans + 8 per bank", "refresh": "rank-level simultaneous", "energy_pJ_tck_scaled": "1e6",
}  # fmt: skip


def line(cells: dict[str, str]) -> str:
    return ",".join(f'"{cells.get(name, "")}"' for name in DRAM_COLUMNS)


def write(path: Path, *rows: dict[str, str], comment: str = "# a comment\n") -> Path:
    path.write_text(comment + "\n".join([",".join(DRAM_COLUMNS), *map(line, rows)]) + "\n")
    return path


def read_one(path: Path, cells: dict[str, str]) -> DramRow:
    (row,) = read_dram_rows(write(path / "d.csv", cells))
    return row


def test_a_row_is_read(tmp_path: Path) -> None:
    row = read_one(tmp_path, FIRST)
    assert (row.line, row.tries_per_tick, row.interval_ticks, row.requests, row.cycles) == (3, 1, 400, 3, 800)
    assert (row.hits_misses_conflicts, row.refreshes, row.energy_j) == (None, None, None)
    counted = {**FIRST, "row_hits": "0", "row_misses": "3", "row_conflicts": "0", "tries_per_tick": "2"}
    row = read_one(tmp_path, counted)
    assert (row.hits_misses_conflicts, row.tries_per_tick, row.interval_ticks) == ((0, 3, 0), 2, 0)
    assert read_one(tmp_path, THEIRS).energy_j == pytest.approx(1e-6)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("cycles", "many", "d.csv:3: cycles: 'many'; expected a whole number from 1 to 1e12"),
        ("requests", "0", "d.csv:3: requests: '0'; expected a whole number from 1 to 1e12"),
        ("row_hits", "-1", "d.csv:3: row_hits: '-1'; expected a whole number from 0 to 1e12"),
        ("mean_read_latency_cycles", "0", "d.csv:3: mean_read_latency_cycles: '0'; expected a number above 0"),
        ("row_hit_rate", "nan", "d.csv:3: row_hit_rate: 'nan'; expected a number of 0 or more"),
        ("tries_per_tick", "1/x", "d.csv:3: tries_per_tick: '1/x'; expected requests per cycle, or 1/n for one in n "
         "cycles"),
    ],
)  # fmt: skip
def test_broken_rows_name_line_and_column(tmp_path: Path, column: str, value: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read_one(tmp_path, {**FIRST, column: value})
    assert str(caught.value).removeprefix(f"{tmp_path}/") == message


def test_a_file_that_lacks_a_column_is_refused(tmp_path: Path) -> None:
    cut = tmp_path / "cut.csv"
    cut.write_text("simulator,preset,pattern\n")
    with pytest.raises(InputError, match="no column 'mapping'"):
        read_dram_rows(cut)


def test_three_lone_reads(tmp_path: Path) -> None:
    """One per 400 ticks, of closed banks: the last is taken at 800 and has its data 1 + 22 + 26 later.

    splitmix64 of seed 1 begins 910a2dec89025cc1, beeb8da1658eec67, f893a2eefb32555e: bits 7 and 8, or 0 and 1 in the
    other mapping, make that groups 1, 0, 2, or 1, 3, 2.
    """
    found = predict_dram(read_one(tmp_path, FIRST))
    assert isinstance(found, DramComparison)
    assert (found.run.accepted_cycles, found.run.cycles) == (800, 849)
    assert found.same_rules
    assert (found.cycles_error, found.latency_error, found.hit_difference) == (0, 0, 0)
    assert found.deep_errors is None
    theirs = predict_dram(read_one(tmp_path, THEIRS))
    assert isinstance(theirs, DramComparison)
    assert not theirs.same_rules
    assert theirs.cycles_error == pytest.approx(849 / 800 - 1)
    assert theirs.deep_errors == (theirs.cycles_error, theirs.latency_error)
    # 3 activations of 4.2 nJ and reads of 2.784 nJ, and 849 ticks of 0.625 ns open at 0.4992 W but for the first
    assert theirs.run.energy is not None
    open_s, closed_s = (theirs.run.outcomes[0].open_ticks * 0.625e-9, 0.625e-9)
    assert theirs.run.outcomes[0].open_ticks == 848
    joules = 3 * (4.2e-9 + 2.784e-9) + open_s * 0.4992 + closed_s * 0.3552
    assert theirs.energy_error == pytest.approx(joules / 1e-6 - 1)


def test_what_cannot_be_repeated_is_said(tmp_path: Path) -> None:
    rows = [
        {**FIRST, "preset": "DDR9"},
        {**FIRST, "pattern": "zigzag"},
        {**FIRST, "scheduler": "BLISS"},
        {**FIRST, "read_queue": "some"},
        {**THEIRS, "preset": "hbm2_8ch_default"},
    ]
    compared, skipped = compare_dram(read_dram_rows(write(tmp_path / "d.csv", *rows)))
    assert not compared
    assert skipped == {
        "no device for Ramulator DDR9": 1,
        "no pattern zigzag": 1,
        "no scheduler BLISS with refresh all-bank": 1,
        "no queues of some and 32": 1,
        "one request per n cycles over several channels: ours is per channel": 1,
    }


def test_other_requests_than_those_measured_are_refused(tmp_path: Path) -> None:
    row = read_one(tmp_path, {**FIRST, "trace_sha256": "0" * 64})
    with pytest.raises(InputError, match="line 3: 3 requests of idle_rand have SHA-256"):
        stream_of(row, MACHINES["Ramulator", "DDR4_3200AA"])


def test_the_machines_of_dramsim3() -> None:
    """Structures of its configuration files; a row of HBM2 is 32 bursts of 64 B, and its bursts last 2 ticks."""
    stock = MACHINES["DRAMsim3", "ddr4_3200_default"].load()
    assert (stock.shape, stock.timing["nRFC"], stock.tick_s) == ((2, 1, 4, 4), 560, pytest.approx(0.63e-9))
    hbm2 = MACHINES["DRAMsim3", "hbm2_1ch_bglsb"].load()
    assert (hbm2.row_bytes, hbm2.burst_bytes, hbm2.peak_bytes_per_s) == (2048, 64, pytest.approx(32e9))
    lpddr4 = MACHINES["DRAMsim3", "lpddr4_2400_default"].load()
    assert (lpddr4.shape, lpddr4.row_bytes, lpddr4.burst_bytes) == ((2, 1, 2, 4), 8192, 128)
    assert lpddr4.peak_bytes_per_s == pytest.approx(19.2e9)


def test_dramsim3_is_near_where_its_queues_do_not_matter() -> None:
    """No queue forms (idle_rand), or one bank is all there is (stride_row): within 0.5 % in cycles."""
    rows = [
        row
        for row in read_dram_rows(reference_file("dram_reference.csv"))
        if row.simulator == "DRAMsim3" and row.pattern in ("idle_rand", "stride_row")
    ]
    compared, skipped = compare_dram(rows)
    assert len(compared) == 13
    assert sum(skipped.values()) == 1
    for one in compared:
        assert one.cycles_error == pytest.approx(0, abs=0.005), one.row


def test_the_report_and_the_document(tmp_path: Path) -> None:
    compared, skipped = compare_dram(
        read_dram_rows(write(tmp_path / "d.csv", FIRST, THEIRS, {**FIRST, "pattern": "z"}))
    )
    flat = Curve("DDR4-3200", (0.5,) * len(GRANULES), (0.25,) * len(STREAMS), (0.75,) * len(STREAMS))
    text = dram_report(compared, skipped, [flat])
    assert text.startswith("# Accuracy of the DRAM controller\n")
    assert text.endswith("|\n")
    assert "**1 of 1 runs take exactly as many cycles.**" in text
    assert "| DDR4_3200AA | idle_rand | 1 | 1 | 0 | 0 | 0 |" in text
    assert "| ddr4_3200_matched_bglsb | idle_rand | 0.38 | 0.36 | +6.1% | +6.1% | +0% | +0% | +0.000 |" in text
    assert "| 1 | no pattern z |" in text
    assert "| DDR4-3200 | 50.0% | 50.0% | 50.0% | 50.0% | 50.0% |" in text
    assert "| DDR4-3200 |" + " 25.0%, 75.0% |" * 7 in text
    assert "DRAMsim3" not in dram_report([one for one in compared if one.same_rules], Counter(), [])
    document = dram_document(compared, skipped)
    assert document["rows"][0]["cycles"] == {"theirs": 800, "ours": 800, "error": 0}
    assert document["skipped"] == {"no pattern z": 1}
    for figure in (granule_figure([flat]), stream_figure([flat])):
        assert [line.get_label() for line in figure.axes[0].lines] == ["DDR4-3200"]


def test_a_curve_of_ddr4() -> None:
    """Whole rows at random nearly fill the bus, single bursts are held to four activations per window: 47 % at most."""
    (curve,) = curves(["DDR4-3200"])
    assert curve.granules[0] == pytest.approx(4 * 4 / 34 * 0.9538, rel=0.05)
    assert curve.granules[-1] == pytest.approx(0.9538, rel=0.01)
    assert curve.aligned[0] == curve.skewed[0] == pytest.approx(0.9538, rel=0.01)
    assert all(aligned < skewed for aligned, skewed in zip(curve.aligned[1:], curve.skewed[1:], strict=True))


def test_the_command_prints_rows_or_a_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_validate(write(tmp_path / "d.csv", FIRST), report=None, as_json=False)
    assert "1 of 1 runs of simulators with our rules take exactly as many cycles" in capsys.readouterr().out
    run_validate(write(tmp_path / "d.csv", FIRST), report=None, as_json=True)
    assert '"same_rules": true' in capsys.readouterr().out
