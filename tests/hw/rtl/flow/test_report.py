"""The report says what is in the results and hides nothing that failed."""

from __future__ import annotations

from hw.cost.rtl_units import SynthesisedUnit
from hw.rtl.drive.campaign import CampaignResult
from hw.rtl.flow.formal import FormalResult, Proof
from hw.rtl.flow.lint import Finding, LintResult
from hw.rtl.flow.mutants import Mutant, MutationResult
from hw.rtl.flow.report import UnitResults, rtl_report

GOOD = UnitResults(
    "fifo", {}, 1, 1,
    CampaignResult("fifo", {}, 1, "icarus", cases=3, beats=12345, cycles=20000, coverage={"full": True}, wall_s=2.0),
    LintResult("fifo", "verilator", (Finding("UNUSEDSIGNAL", 3, "x", "a reason"),)),
    FormalResult("fifo", {}, 12, (Proof("o_waits", "always", 1), Proof("o_holds", "bounded", 12)), (), {}, {"o": 2}, 1),
    MutationResult("fifo", {}, 1, 900, (Mutant("inv", "data", 7), Mutant("const0", "equal")), 1.0),
    SynthesisedUnit("fifo", {"depth": 8}, 720, 138, 27455.0, 2.43, 6.73e-11, "osu018_stdcells"),
)  # fmt: skip


def test_a_unit_that_passes() -> None:
    text = rtl_report([GOOD])
    assert "| fifo | defaults | 1 | 1 | 12,345 | 0 | 0 | 1/1 | 10,000 (icarus) |" in text
    assert "| fifo | defaults | 0 (1 with waived) | 12 cycles | 1/1 |" in text
    assert "| fifo | defaults | 720 | 138 | 27,455 | 2.43 | 67.3 |" in text
    assert text.endswith("## What does not pass\n\nNothing.\n")


def test_failures_are_listed() -> None:
    bad = UnitResults(
        "fifo", {"depth": 2}, 1, 1,
        CampaignResult("fifo", {}, 1, "icarus", failures=["beat 3 is wrong"], coverage={"full": False}),
        LintResult("fifo", "verilator", (Finding("WIDTHTRUNC", 3, "lost bits"),)),
        FormalResult("fifo", {}, 12, (Proof("o_holds", "refuted", 4),), ("o__valid",), {}, {"o": None}, 1.0),
        MutationResult("fifo", {}, 1, 900, (Mutant("inv A of $3", "alive"),), 1.0),
    )  # fmt: skip
    failed = rtl_report([GOOD, bad]).split("## What does not pass")[1]
    for word in ("beat 3", "goal not met: full", "WIDTHTRUNC", "o_holds refuted, cycle 4", "o__valid waits",
                 "o is never valid", "inv A of $3"):  # fmt: skip
        assert f"- fifo (depth=2): {word}" in failed or word in failed
    assert failed.count("- fifo (depth=2)") == 7


def test_steps_not_run_are_dashes() -> None:
    assert "| fifo | defaults | 1 | 1 | - | - | - | - | - |" in rtl_report([UnitResults("fifo", {}, 1, 1)])
