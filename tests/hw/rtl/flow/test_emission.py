"""Verilog of a unit is the same text everywhere, and lint finds what is put into it."""

from __future__ import annotations

from pathlib import Path

import pytest

from hw.rtl.flow import lint as lint_module
from hw.rtl.flow.lint import lint, lint_verilog, waivers
from hw.rtl.flow.verilog import emit, module_name, rtlil_of
from hw.rtl.units import parameters_of, unit, unit_names

TRUNCATED = "module bad(input [7:0] a, output [3:0] b);\n  assign b = a;\nendmodule\n"
WAIVED = "module named(input a, input left, output b);\n  assign b = a;\nendmodule\n"


def test_verilog_names_its_module_and_no_files(tmp_path: Path) -> None:
    chosen = unit("fifo")
    p = parameters_of(chosen, {"width": 3, "depth": 2})
    text = emit(chosen, p, cache=tmp_path)
    assert "module fifo(" in text
    assert "(* src" not in text
    assert "/tests" not in text
    assert ".py" not in text
    kept = list(tmp_path.rglob("*.v"))
    assert [path.read_text() for path in kept] == [text]
    kept[0].write_text("kept")
    assert emit(chosen, p, cache=tmp_path) == "kept"
    assert not list(tmp_path.rglob("*.part"))


def test_rtlil_is_the_same_twice() -> None:
    chosen = unit("int-dot")
    p = parameters_of(chosen, {"lanes": 2})
    first, second = (rtlil_of(chosen.build(p), module_name(chosen)) for _ in range(2))
    assert first == second
    assert "attribute \\src" not in first


def test_every_waiver_has_a_reason_and_none_is_of_lost_bits() -> None:
    assert all(len(waiver.reason) > 20 for waiver in waivers())
    assert not {waiver.rule for waiver in waivers()} & {"WIDTHTRUNC", "LATCH", "MULTIDRIVEN", "UNDRIVEN", "UNOPTFLAT"}


@pytest.mark.skipif(lint_module._verilator()[0] is None, reason="Verilator is not installed: tiercade[verilator]")
def test_lint_finds_a_lost_width_and_waives_an_unused_input() -> None:
    lost = lint_verilog(TRUNCATED, "bad")
    assert lost.tool == "verilator"
    assert [(finding.rule, finding.line) for finding in lost.standing] == [("WIDTHTRUNC", 2)]
    assert not lost.passed
    named = lint_verilog(WAIVED, "named")
    assert named.passed
    assert [finding.rule for finding in named.findings] == ["UNUSEDSIGNAL"]


def test_without_verilator_others_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lint_module, "_verilator", lambda: (None, {}))
    monkeypatch.setattr(lint_module.shutil, "which", lambda name: None)
    pytest.importorskip("pyosys", reason="pyosys is not installed: tiercade[synth]")
    assert lint_verilog(WAIVED, "named").tool == "yosys"
    assert not lint_verilog("module bad(input a, output b); assign b = ; endmodule", "bad").passed


@pytest.mark.slow
@pytest.mark.parametrize("name", unit_names())
def test_all_units_are_clean(name: str) -> None:
    chosen = unit(name)
    result = lint(chosen, parameters_of(chosen, {}))
    assert result.passed, result.standing
