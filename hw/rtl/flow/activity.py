"""How often each net of a synthesised unit changes under its own random stimulus, from a simulation of its cells.

The simulation has no delays: changes within a cycle (glitches) are not seen, so energies from it are low.
"""

from __future__ import annotations

import re
from pathlib import Path

from hw.rtl.flow.tools import ToolError, find_program, run_tool, run_yosys
from hw.rtl.flow.vectors import Vectors

__all__ = ["simulated_activity"]

_WARM_UP = 10
_VARIABLE = re.compile(r"^\$var \w+ +1 (\S+) (\S+) ")
_OUTPUTS = re.compile(r"^ *output (\w+);", re.MULTILINE)


def simulated_activity(folder: Path, name: str, vectors: Vectors, *, limit_s: float = 300.0) -> dict[str, float]:
    """Changes in a cycle of the output of each cell of ``netlist.v`` in ``folder`` (of several, their mean).

    The cells' functions are taken from ``cells.lib`` there; needs Icarus.
    """
    icarus, vvp = (find_program(program, package="iverilog") for program in ("iverilog", "vvp"))
    digits = (vectors.width + 3) // 4
    (folder / "vectors.hex").write_text("".join(f"{cycle:0{digits}x}\n" for cycle in vectors.cycles))
    (folder / "bench.v").write_text(_bench(name, vectors))
    run_yosys(["read_liberty -ignore_miss_func cells.lib", "write_verilog -noattr cells.v"], folder, limit_s=limit_s)
    command = [icarus, "-g2005", "-o", "bench.vvp", "-s", "bench", "bench.v", "netlist.v", "cells.v"]
    for step in (command, [vvp, "-n", "bench.vvp"]):
        done = run_tool(step, folder, limit_s=limit_s)
        if done.returncode:
            raise ToolError(f"Icarus: {done.stderr.strip()[-300:]}")
    outputs = set(_OUTPUTS.findall((folder / "cells.v").read_text()))
    return _read(folder / "waves.vcd", outputs, len(vectors.cycles) - _WARM_UP)


def _bench(name: str, vectors: Vectors) -> str:
    """Inputs change just after the clock's edge; waves begin when the unit is warm."""
    last = len(vectors.cycles) - 1
    pins = [".clk(clk)", ".rst(now[0])"]
    pins += [f".{p.name}(now[{p.at + p.width - 1}:{p.at}])" for p in vectors.ports if p.driven]
    return "\n".join([
        "module bench;",
        f"reg [{vectors.width - 1}:0] cycles [0:{last}]; reg [{vectors.width - 1}:0] now; reg clk; integer n;",
        f"{name} unit({', '.join(pins)});",
        'initial begin $readmemh("vectors.hex", cycles); clk = 0; $dumpfile("waves.vcd");',
        f"for (n = 0; n <= {last}; n = n + 1) begin",
        f"if (n == {_WARM_UP}) $dumpvars(2, unit);",
        "now = cycles[n]; #5 clk = 1; #5 clk = 0;",
        "end $finish; end",
        "endmodule", "",
    ])  # fmt: skip


def _read(waves: Path, outputs: set[str], cycles: int) -> dict[str, float]:
    nets: dict[str, list[str]] = {}
    changes: dict[str, int] = {}
    scopes: list[str] = []
    with waves.open() as lines:
        for line in lines:
            if line[0] in "01x":
                changes[line[1:-1]] = changes.get(line[1:-1], -1) + 1  # the first is where it stood
            elif line.startswith("$scope"):
                scopes.append(line.split()[2])
            elif line.startswith("$upscope"):
                scopes.pop()
            elif len(scopes) == 3:
                found = _VARIABLE.match(line)
                if found and found[2] in outputs:
                    nets.setdefault(scopes[2], []).append(found[1])
    return {cell: sum(changes.get(net, 0) for net in own) / len(own) / cycles for cell, own in nets.items()}
