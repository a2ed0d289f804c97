"""Standard cells and FPGA resources of a unit: area, critical path and power after Yosys and abc.

abc inserts buffers only where its script says so, and without them one net of high fan-out is the path: the script here
buffers and sizes before it reports. Nothing is placed or routed, so wires cost no area, time or energy. OpenSTA gives
path and power; without it the path is abc's (register to register, without the register's own delays) and there is no
power.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hw.rtl.flow.activity import simulated_activity
from hw.rtl.flow.tools import ToolError, ToolTimeoutError, find_liberty, find_yosys, run_tool, run_yosys, scratch
from hw.rtl.flow.vectors import flowing_vectors
from hw.rtl.flow.verilog import module_name, parameters_as_settings, rtlil_of
from hw.rtl.ports import Stream
from hw.rtl.unit import Unit

__all__ = ["Cells", "Fpga", "Synthesis", "Timing", "node_of", "synthesise"]

_ABC = "strash;ifraig;scorr;dc2;dch,-f;map;topo;buffer,-c,-N,16;upsize;dnsize;stime,-p"
_CLOCK_NS = 10.0
_LIMIT_S = 300.0
_NODES_NM = {"osu018": 180, "osu035": 350, "osu050": 500}
_CELL_POWER = re.compile(r"^ *\S+ +\S+ +\S+ +([0-9]\S+) (\S+)$", re.MULTILINE)
_ABC_DELAY = re.compile(r"ABC: Path \d+ --.*?Df = *([0-9.]+)")
_CELL_AREA = re.compile(r"\bcell\s*\(\s*\"?(\w+)\"?\s*\)\s*\{.*?\barea\s*:\s*([0-9.eE+-]+)", re.DOTALL)
_STATE = ("DFF", "LATCH")


@dataclass(frozen=True)
class Cells:
    """Standard cells; ``area_um2`` of the cells alone, rows full."""

    cells: int
    flip_flops: int
    area_um2: float


@dataclass(frozen=True)
class Timing:
    """``path_ns`` is the shortest clock period: with OpenSTA register or port to register or port with set-up time,
    neighbours taking and giving at the clock's edge. ``energy_per_cycle_j`` with the unit's stimulus flowing freely,
    by the changes of each net that `hw.rtl.flow.activity` counts (no glitches, no clock tree, no wires); None without
    OpenSTA or Icarus."""

    path_ns: float
    tool: str
    energy_per_cycle_j: float | None


@dataclass(frozen=True)
class Fpga:
    """Lattice ECP5 resources: 4-input look-up tables (carry cells hold two, small memories of 16 x 4 bits four), flip-
    flops, 18-bit multipliers, 18 Kbit memories. Before place and route."""

    lut4: int
    flip_flops: int
    multipliers: int
    memories: int


@dataclass(frozen=True)
class Synthesis:
    """One unit at one set of parameters; ``settings`` are all of its parameters."""

    unit: str
    settings: Mapping[str, Any]
    cells: Cells
    timing: Timing
    fpga: Fpga | None
    library: str
    node_nm: int | None
    yosys: str


def node_of(liberty: Path) -> int | None:
    """Node of a known library, by its file's name."""
    return next((nm for name, nm in _NODES_NM.items() if liberty.name.startswith(name)), None)


def synthesise(unit: Unit[Any], parameters: Any, *, fpga: bool = True, limit_s: float = _LIMIT_S) -> Synthesis:
    """Cells, path, power and FPGA resources; `InputError` where Yosys or the standard cells are missing.

    Raises `ToolTimeoutError` when Yosys needs more than ``limit_s`` for the cells; where it does for the FPGA,
    ``fpga`` is None.
    """
    liberty, yosys, name = find_liberty(), find_yosys(), module_name(unit)
    with scratch() as folder:
        shutil.copy(liberty, folder / "cells.lib")
        (folder / "design.il").write_text(rtlil_of(unit.build(parameters), name))
        run_yosys(_cell_script(name), folder, limit_s=limit_s)
        cells = _cells(folder / "cells.json", name)
        timing = _timing(folder, name, unit, parameters)
        found = None
        if fpga:
            with contextlib.suppress(ToolTimeoutError):
                found = _fpga(folder, name, limit_s)
    return Synthesis(
        unit.name, parameters_as_settings(parameters), cells, timing, found, liberty.stem, node_of(liberty), yosys.name
    )


def _cell_script(name: str) -> list[str]:
    return ["read_rtlil design.il", f"synth -flatten -top {name}", "dfflibmap -liberty cells.lib",
            f"tee -o abc.log abc -liberty cells.lib -script +{_ABC}", "opt_clean -purge", "delete t:$scopeinfo",
            "tee -o cells.json stat -json -liberty cells.lib", "write_verilog -noattr -noexpr netlist.v"]  # fmt: skip


def _cells(stat: Path, name: str) -> Cells:
    counted = json.loads(stat.read_text())["modules"][f"\\{name}"]
    kinds: dict[str, int] = counted["num_cells_by_type"]
    unmapped = [kind for kind in kinds if kind.startswith("$")]
    if unmapped:
        raise ToolError(f"{name}: the library has no cells for {', '.join(sorted(unmapped))}")
    state = sum(count for kind, count in kinds.items() if kind.startswith(_STATE))
    areas = dict(_CELL_AREA.findall((stat.parent / "cells.lib").read_text()))  # Yosys 0.23 counts cells, not area
    area_um2 = sum(count * float(areas[kind]) for kind, count in kinds.items())
    return Cells(int(counted["num_cells"]), state, area_um2)


def _timing(folder: Path, name: str, unit: Unit[Any], parameters: Any) -> Timing:
    sta = shutil.which("sta")
    if sta is None:
        delays = _ABC_DELAY.findall((folder / "abc.log").read_text())
        return Timing(float(delays[-1]) / 1000 if delays else 0.0, "abc", None)
    netlist = folder / "netlist.v"
    netlist.write_text(netlist.read_text().replace("wire signed ", "wire "))  # OpenSTA's Verilog has no signs
    activity = {}
    if shutil.which("iverilog"):
        activity = simulated_activity(folder, name, flowing_vectors(unit, parameters))
    (folder / "time.tcl").write_text(_sta_script(name, unit.streams(parameters)))
    said = run_tool([sta, "-no_splash", "-exit", "time.tcl"], folder, limit_s=_LIMIT_S).stdout
    slack = re.search(r"^worst slack (\S+)", said, re.MULTILINE)
    if slack is None or "Error" in said:
        raise ToolError(f"OpenSTA: {said.strip()[-300:]}")
    version = run_tool([sta, "-version"], folder, limit_s=_LIMIT_S).stdout.strip()
    energy_j = _power_w(said, activity) * _CLOCK_NS * 1e-9 if activity else None
    return Timing(round(_CLOCK_NS - float(slack[1]), 4), f"OpenSTA {version}", energy_j)


def _sta_script(name: str, streams: Sequence[Stream]) -> str:
    steady = [f"{s.name}__{'valid' if s.direction == 'in' else 'ready'}" for s in streams]
    data = [f"{s.name}__payload" for s in streams if s.direction == "in"]
    return "\n".join([
        "read_liberty cells.lib", "read_verilog netlist.v", f"link_design {name}",
        f"create_clock -name clk -period {_CLOCK_NS} [get_ports clk]",
        *(f"set_input_delay 0 -clock clk [get_ports {{{port}}}]" for port in ("rst", *steady)),
        *(f"set_input_delay 0 -clock clk [get_ports {{{port}*}}]" for port in data),
        "set_output_delay 0 -clock clk [all_outputs]",
        "report_worst_slack",
        *(line for changes in (0, 1) for line in (
            f"set_power_activity -global -activity {changes} -duty 0.5",
            f'puts "POWER {changes}"',
            "report_power -instances [get_cells *] -digits 6",
        )),
        "",
    ])  # fmt: skip


def _power_w(said: str, activity: Mapping[str, float]) -> float:
    """Each cell at rest (the clock runs), and what is added by changes of its nets, scaled to those counted.

    OpenSTA 2.0.17 cannot be told the activity of a pin (`set_power_activity -pins` fails), so it is asked twice: with
    no net changing, and with every net changing once a cycle.
    """
    rest, busy = ({cell: float(power) for power, cell in _CELL_POWER.findall(part)} for part in said.split("POWER")[1:])
    unknown = rest.keys() - activity.keys()
    if unknown or not rest:
        raise ToolError(f"no activity is known of {len(unknown)} of {len(rest)} cells")
    return sum(power + (busy[cell] - power) * activity[cell] for cell, power in rest.items())


def _fpga(folder: Path, name: str, limit_s: float) -> Fpga:
    """The ECP5 flow with abc in place of abc9, which in Yosys 0.70 fails an assertion on some designs."""
    run_yosys(["read_rtlil design.il", f"synth_ecp5 -top {name} -run begin:map_luts", "abc -lut 4", "clean",
               f"synth_ecp5 -top {name} -run map_cells:check", "tee -o fpga.json stat -json"], folder,
              limit_s=limit_s)  # fmt: skip
    counted = json.loads((folder / "fpga.json").read_text())["modules"][f"\\{name}"]
    kinds = {**counted["num_cells_by_type"], **counted.get("num_submodules_by_type", {})}
    return Fpga(
        lut4=kinds.get("LUT4", 0) + 2 * kinds.get("CCU2C", 0) + 4 * kinds.get("TRELLIS_DPR16X4", 0),
        flip_flops=kinds.get("TRELLIS_FF", 0),
        multipliers=kinds.get("MULT18X18D", 0),
        memories=kinds.get("DP16KD", 0),
    )
