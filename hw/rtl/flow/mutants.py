"""Seeded defects: whether the campaign of a unit finds a fault put into its netlist.

Yosys's ``mutate`` draws them: a bit of a port of a cell inverted, stuck, or swapped with another. All mutants of a unit
run side by side in one simulation by Icarus, driven and compared as `hw.rtl.flow.vectors` says; the design without a
mutation runs with them and must not differ. A mutant that the campaign does not find is compared with the design by
the SAT solver, since some change nothing that can be seen, and put to a second, longer campaign.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hw.rtl.flow.tools import ToolError, ToolTimeoutError, find_program, run_tool, run_yosys, scratch
from hw.rtl.flow.vectors import Port, Vectors, campaign_vectors
from hw.rtl.flow.verilog import rtlil_of
from hw.rtl.ports import outputs_of
from hw.rtl.unit import Unit

__all__ = ["Mutant", "MutationResult", "mutate_unit", "simulate"]

_PREPARE = ("read_rtlil reference.il", "hierarchy -top reference", "proc", "flatten", "memory_collect", "opt_clean",
            "wreduce", "opt_clean", "design -save good")  # fmt: skip
_LONGER = 5
_KINDS = {"ready": "handshake", "valid": "handshake", "payload": "data"}
_CHANGE = re.compile(r"-mode (\w+).*?-cell (\S+) -port \\?(\w+)(?: -portbit (\d+))?")


@dataclass(frozen=True)
class Mutant:
    """``change`` in words; ``found`` is "handshake" or "data" where the campaign differs (first in ``cycle``).

    "equal": the solver shows that no register ever differs; "masked": that no output differs while consumers take at
    once, for all inputs; "alive": neither was shown.
    """

    change: str
    found: str
    cycle: int | None = None

    @property
    def killed(self) -> bool:
        return self.found in ("handshake", "data")


@dataclass(frozen=True)
class MutationResult:
    """All mutants of one unit; ``cycles`` of the campaign they ran."""

    unit: str
    settings: Mapping[str, Any]
    seed: int
    cycles: int
    mutants: tuple[Mutant, ...]
    wall_s: float

    @property
    def killed(self) -> int:
        return sum(mutant.killed for mutant in self.mutants)

    @property
    def alive(self) -> tuple[Mutant, ...]:
        return tuple(mutant for mutant in self.mutants if mutant.found == "alive")

    @property
    def kill_rate(self) -> float:
        """The share found, of all mutants but those shown to be equal or masked."""
        differing = self.killed + len(self.alive)
        return self.killed / differing if differing else 1.0


def mutate_unit(
    unit: Unit[Any], p: Any, settings: Mapping[str, Any], *, mutants: int = 10, seed: int = 1, beats: int = 600,
    limit_s: float = 300.0,
) -> MutationResult:  # fmt: skip
    """``mutants`` of the unit against its campaign; needs Yosys and Icarus (`InputError` says what is missing).

    Raises `ToolError` if the unit itself, before any mutation, differs from golden model or contract.
    """
    begun = time.perf_counter()
    icarus = find_program("iverilog", package="iverilog")
    with scratch() as folder:
        (folder / "reference.il").write_text(rtlil_of(unit.build(p), "reference"))
        changes = _draw(folder, mutants, seed, limit_s)
        open_, cycles = dict(changes), 0
        found: dict[str, tuple[str, int | None]] = {}
        for more in (1, _LONGER):
            if not open_:
                break
            vectors = campaign_vectors(unit, p, seed=seed + more - 1, beats=beats * more)
            seen = simulate(folder, vectors, ["reference", *open_], icarus, limit_s=limit_s)
            if "reference" in seen:
                raise ToolError(f"{unit.name} itself differs from its campaign in cycle {seen['reference'][1]}")
            found |= {name: (kind, cycles + cycle) for name, (kind, cycle) in seen.items()}
            cycles += len(vectors.cycles)
            if more == 1:
                found |= {name: ("equal", None) for name in open_ if name not in found and _equal(folder, name)}
            open_ = {name: change for name, change in open_.items() if name not in found}
        found |= {name: ("masked", None) for name in open_ if _masked(folder, name, unit, p)}
    told = tuple(Mutant(change, *found.get(name, ("alive", None))) for name, change in changes.items())
    return MutationResult(unit.name, dict(settings), seed, cycles, told, time.perf_counter() - begun)


def _draw(folder: Path, mutants: int, seed: int, limit_s: float) -> dict[str, str]:
    """Verilog of the design and of each mutant, in ``folder``; the changes in words by the mutants' names."""
    run_yosys([*_PREPARE, f"mutate -list {mutants} -seed {seed} -o mutations.txt", "write_verilog -noattr reference.v",
               "write_rtlil good.il"], folder, limit_s=limit_s)  # fmt: skip
    lines = [line for line in (folder / "mutations.txt").read_text().splitlines() if line.startswith("mutate")]
    commands = ["read_rtlil good.il", "design -save good"]
    for number, line in enumerate(lines):
        name = f"mutant{number}"
        commands += ["design -load good", line, f"rename reference {name}", f"write_rtlil {name}.il",
                     f"write_verilog -noattr {name}.v"]  # fmt: skip
    run_yosys(commands, folder, limit_s=limit_s)
    return {f"mutant{number}": _in_words(line) for number, line in enumerate(lines)}


def _in_words(line: str) -> str:
    match = _CHANGE.search(line)
    if match is None:
        return line
    mode, cell, port, bit = match.groups()
    return f"{mode} {port}{'' if bit is None else f'[{bit}]'} of {cell}"


def _equal(folder: Path, name: str, limit_s: float = 60.0) -> bool:
    """Whether a mutant does the same as the design, register by register: then no campaign can find it."""
    commands = ["read_rtlil good.il", f"read_rtlil {name}.il", "memory -nomap", "memory_map", "async2sync", "dffunmap",
                f"equiv_make -inames reference {name} both", "hierarchy -top both", "opt_clean", "opt_merge",
                "equiv_simple", "equiv_induct -seq 3", "tee -o equal.log equiv_status"]  # fmt: skip
    log = folder / "equal.log"
    log.unlink(missing_ok=True)
    with contextlib.suppress(ToolTimeoutError):
        run_yosys(commands, folder, limit_s=limit_s)
    return log.exists() and "Equivalence successfully proven" in log.read_text()


def _masked(folder: Path, name: str, unit: Unit[Any], p: Any, limit_s: float = 60.0) -> bool:
    """Whether no output of a mutant differs, for any inputs, while every consumer is ready: by induction over as many
    cycles as a pipeline takes to be filled anew. What the two have in common before the mutation is merged first."""
    flowing = " ".join(f"-set in_{stream.name}__ready 1" for stream in outputs_of(unit.streams(p)))
    steps = unit.contract(p).latency_cycles + 3
    commands = ["read_rtlil good.il", f"read_rtlil {name}.il", "memory -nomap", "memory_map", "async2sync", "dffunmap",
                f"miter -equiv -make_outputs -flatten reference {name} both", "hierarchy -top both",
                "opt -share_all -full", "opt_clean -purge", f"tee -o masked.log sat -prove trigger 0 {flowing} "
                f"-set in_rst 0 -seq 1 -tempinduct -maxsteps {steps} both"]  # fmt: skip
    log = folder / "masked.log"
    log.unlink(missing_ok=True)
    with contextlib.suppress(ToolTimeoutError):
        run_yosys(commands, folder, limit_s=limit_s)
    return log.exists() and "Induction step proven: SUCCESS" in log.read_text()


def simulate(
    folder: Path, vectors: Vectors, names: Sequence[str], icarus: str, *, limit_s: float
) -> dict[str, tuple[str, int]]:
    """Of the modules ``names``, each in its own file, those that differ: in what, and in which cycle first."""
    digits = (vectors.width + 3) // 4
    (folder / "vectors.hex").write_text("".join(f"{cycle:0{digits}x}\n" for cycle in vectors.cycles))
    (folder / "bench.v").write_text(_bench(vectors, names))
    built = run_tool([icarus, "-g2005", "-o", "bench.vvp", "-s", "bench", "bench.v", *(f"{n}.v" for n in names)],
                     folder, limit_s=limit_s)  # fmt: skip
    if built.returncode:
        raise ToolError(f"Icarus: {built.stderr.strip()[-500:]}")
    ran = run_tool([find_program("vvp", package="iverilog"), "-n", "bench.vvp"], folder, limit_s=limit_s)
    if ran.returncode or "END" not in ran.stdout:
        raise ToolError(f"Icarus: {(ran.stdout + ran.stderr).strip()[-500:]}")
    found: dict[str, tuple[str, int]] = {}
    for line in ran.stdout.splitlines():
        if line.startswith("DIFFERS"):
            _, name, port, cycle = line.split()
            found.setdefault(name, (_KINDS[port.rsplit("__", 1)[1]], int(cycle)))
    return found


def _bench(vectors: Vectors, names: Sequence[str]) -> str:
    """Inputs change after the clock's edge, outputs are compared before the next."""
    last = len(vectors.cycles) - 1
    lines = [
        "module bench;",
        f"reg [{vectors.width - 1}:0] cycles [0:{last}];",
        f"reg [{vectors.width - 1}:0] now;",
        "reg clk; reg check; integer n;",
        *(line for name in names for line in _instance(name, vectors.ports)),
        "initial begin",
        '$readmemh("vectors.hex", cycles); clk = 0; check = 0;',
        f"for (n = 0; n <= {last}; n = n + 1) begin",
        "now = cycles[n]; #4 check = 1; #1 check = 0; clk = 1; #5 clk = 0;",
        'end $display("END"); $finish; end',
        "endmodule",
    ]
    return "\n".join([*lines, ""])


def _instance(name: str, ports: Sequence[Port]) -> list[str]:
    lines = [f"reg found_{name} = 0;"]
    pins = [".clk(clk)", ".rst(now[0])"]
    compares = []
    for port in ports:
        place = f"now[{port.at + port.width - 1}:{port.at}]"
        if port.driven:
            pins.append(f".{port.name}({place})")
            continue
        wire = f"{name}_{port.name}"
        lines.append(f"wire [{port.width - 1}:0] {wire};")
        pins.append(f".{port.name}({wire})")
        compares.append(
            f"if (now[1] & now[{port.under}] & !found_{name} & ({wire} !== {place})) begin found_{name} = 1; "
            f'$display("DIFFERS {name} {port.name} %0d", n); end'
        )
    return [*lines, f"{name} {name}_unit({', '.join(pins)});", "always @(posedge check) begin", *compares, "end"]
