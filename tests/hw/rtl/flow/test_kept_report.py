"""reports/rtl.md says what contracts and the kept synthesis say."""

from __future__ import annotations

from pathlib import Path

from hw.rtl.flow.gather import known
from hw.rtl.flow.report import rtl_report
from hw.rtl.units import unit_names

PAGE = Path(__file__).resolve().parents[4] / "reports" / "rtl.md"


def rows(text: str, section: str) -> dict[str, list[str]]:
    """Cells of a section's table by the unit in the first."""
    part = text.split(f"## {section}\n")[1].split("\n## ")[0]
    cells = ([cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines() if line[:1] == "|")
    return {name: rest for name, *rest in cells if name not in ("unit", "---")}


def test_the_page_is_of_these_units() -> None:
    """What needs no run: latency and interval are the contracts', the synthesis is the baseline's."""
    kept = PAGE.read_text()
    behaviour, synthesis = rows(kept, "Behaviour"), rows(kept, "Synthesis")
    assert len(behaviour) >= 29
    assert set(behaviour) <= set(unit_names())
    now = rtl_report([known(name) for name in behaviour])
    for name, cells in rows(now, "Behaviour").items():
        assert behaviour[name][:3] == cells[:3], name
    assert synthesis == rows(now, "Synthesis")


def test_the_page_says_that_nothing_differs() -> None:
    for name, cells in rows(PAGE.read_text(), "Behaviour").items():
        beats, mismatches, cycles_off, goals = cells[3:7]
        assert int(beats.replace(",", "")) >= 100_000, name
        assert (mismatches, cycles_off) == ("0", "0"), name
        met, asked = goals.split("/")
        assert met == asked, name
