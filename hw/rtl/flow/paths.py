"""Which outputs of a circuit follow which inputs within a cycle, read from Yosys's netlist.

The netlist is cut at its registers. Logic and multiplexers are followed bit by bit; through arithmetic every bit of
the result is taken to follow every bit of the operands, so a path may be reported that no values can open.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from hw.rtl.flow.tools import run_yosys, scratch

__all__ = ["combinational_paths", "paths_of_netlist"]

_REGISTERS = ("$dff", "$sdff", "$adff", "$aldff", "$ff", "$_DFF", "$_SDFF", "$_FF")


def combinational_paths(rtlil: str, top: str, *, limit_s: float = 120.0) -> dict[str, frozenset[str]]:
    """For each output port of ``top`` the input ports that it follows in the same cycle."""
    with scratch() as folder:
        (folder / "design.il").write_text(rtlil)
        commands = ["read_rtlil design.il", f"hierarchy -top {top}", "proc", "flatten", "memory -nomap", "memory_map"]
        run_yosys([*commands, "opt -full", "simplemap", "opt_clean -purge", "write_json netlist.json"], folder,
                  limit_s=limit_s)  # fmt: skip
        return paths_of_netlist(folder / "netlist.json", top)


def paths_of_netlist(netlist: Path, top: str) -> dict[str, frozenset[str]]:
    """The same, of a netlist that Yosys wrote as JSON."""
    module = json.loads(netlist.read_text())["modules"][top]
    before: defaultdict[int, list[int]] = defaultdict(list)
    for cell in module["cells"].values():
        if cell["type"].startswith(_REGISTERS):
            continue
        sides: dict[str, list[int]] = {"input": [], "output": []}
        for port, bits in cell["connections"].items():
            sides[cell["port_directions"][port]] += [bit for bit in bits if isinstance(bit, int)]
        for bit in sides["output"]:
            before[bit] += sides["input"]
    sources: dict[int, str] = {}
    for name, port in module["ports"].items():
        if port["direction"] == "input":
            sources |= {bit: name for bit in port["bits"] if isinstance(bit, int)}
    outputs = {n: p["bits"] for n, p in module["ports"].items() if p["direction"] == "output"}
    return {name: frozenset(_reached(bits, before, sources)) for name, bits in outputs.items()}


def _reached(bits: list[Any], before: dict[int, list[int]], sources: dict[int, str]) -> set[str]:
    waiting = [bit for bit in bits if isinstance(bit, int)]
    seen = set(waiting)
    while waiting:
        for earlier in before.get(waiting.pop(), ()):
            if earlier not in seen:
                seen.add(earlier)
                waiting.append(earlier)
    return {sources[bit] for bit in seen if bit in sources}
