"""Proofs of the stream rules of a unit, for all neighbours and all data, with the SAT solver inside Yosys.

Each property of `hw.rtl.flow.harness` is tried by temporal induction: ``depth`` cycles after one cycle of reset and,
from any state, one more cycle after as many in which it held. Where the second succeeds the property holds for ever;
where it does not, for the first ``depth`` cycles. Before the reset every register and memory may hold anything, so
those without a reset may do so after it. That valid does not wait for ready is read from the netlist
(`hw.rtl.flow.paths`).
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hw.rtl.drive.campaign import packed
from hw.rtl.drive.job import play_contract
from hw.rtl.flow.harness import Harness
from hw.rtl.flow.paths import combinational_paths
from hw.rtl.flow.tools import ToolTimeoutError, run_yosys, scratch
from hw.rtl.flow.vectors import flowing_job
from hw.rtl.flow.verilog import parameters_as_settings, rtlil_of
from hw.rtl.ports import Stream, inputs_of, outputs_of
from hw.rtl.unit import Unit
from hw.rtl.units import parameters_of

__all__ = ["FormalResult", "Proof", "prove", "prove_component"]

_PREPARE = (
    "proc", "flatten", "memory -nomap", "memory_map", "opt -full",
    "setattr -unset init w:* w:started %d",  # before the one cycle of reset every register holds anything
    "async2sync", "dffunmap", "opt_clean", "write_rtlil prepared.il",
)  # fmt: skip
_SILENT = "_silent"
_REACH, _REACH_S = 24, 30.0
"""Cycles and seconds within which the solver looks for a first output."""
_BASE = re.compile(r"Base case for induction length (\d+) proven")


@dataclass(frozen=True)
class Proof:
    """``outcome`` is "always" (by induction), "bounded" (for ``cycles`` cycles after reset), "refuted" (first broken in
    cycle ``cycles`` after reset, counted from 1) or "open" (nothing found within the time limit)."""

    name: str
    outcome: str
    cycles: int

    @property
    def holds(self) -> bool:
        return self.outcome in ("always", "bounded")


@dataclass(frozen=True)
class FormalResult:
    """``depth`` cycles were asked for. ``waiting`` names outputs whose valid or payload follows their own ready, which
    is against the stream rules; ``ready_after`` says of each input which inputs of the unit its ready follows within a
    cycle (its own valid among them means: it waits for valid, which the rules allow). ``reached`` is the first cycle
    in which each output can be valid, found by the solver, or, for those in ``reached_by_contract``, promised by the
    contract for freely flowing beats; None if neither: then the other proofs may say nothing about that output.
    """

    unit: str
    settings: Mapping[str, Any]
    depth: int
    proofs: tuple[Proof, ...]
    waiting: tuple[str, ...]
    ready_after: Mapping[str, tuple[str, ...]]
    reached: Mapping[str, int | None]
    wall_s: float
    reached_by_contract: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        reached = all(cycle is not None for cycle in self.reached.values())
        return reached and not self.waiting and not self.unproved

    @property
    def proved_depth(self) -> int | None:
        """The fewest cycles proved of any property; None where all hold for ever."""
        bounded = [proof.cycles for proof in self.proofs if proof.outcome != "always"]
        return min(bounded, default=None)

    @property
    def unproved(self) -> tuple[Proof, ...]:
        """Refuted, or not proved as deep as was asked for."""
        return tuple(p for p in self.proofs if p.outcome != "always" and not (p.holds and p.cycles >= self.depth))

    @property
    def refuted(self) -> tuple[Proof, ...]:
        return tuple(proof for proof in self.proofs if proof.outcome == "refuted")


def prove(unit: Unit[Any], parameters: Any = None, *, depth: int | None = None, limit_s: float = 120.0) -> FormalResult:
    """The rules at the unit's reduced widths, or at ``parameters``; each property within ``limit_s``."""
    settings = dict(unit.formal.settings) if unit.formal else {}
    if parameters is None:
        parameters = parameters_of(unit, settings)
    else:
        settings = parameters_as_settings(parameters)
    streams, contract = unit.streams(parameters), unit.contract(parameters)
    result = prove_component(
        unit.build(parameters), streams, contract, depth=depth or unit.formal_depth, limit_s=limit_s
    )
    late = tuple(name for name, cycle in result.reached.items() if cycle is None)
    reached = {**result.reached, **(_promised(unit, parameters, late) if late else {})}
    return replace(result, unit=unit.name, settings=settings, reached=reached, reached_by_contract=late)


def _promised(unit: Unit[Any], p: Any, names: Sequence[str]) -> dict[str, int | None]:
    """The first cycle in which the contract gives a beat of each output, of freely flowing random beats."""
    job = flowing_job(unit, p, seed=1, beats=200)
    promised = play_contract(unit.contract(p), job.inputs, packed(unit, p, job, unit.golden(p, job.inputs)))
    return {name: promised.given[name][0] + 1 if promised.given[name] else None for name in names}


def prove_component(
    component: Any, streams: Sequence[Stream], contract: Any = None, *, depth: int = 12, limit_s: float = 120.0
) -> FormalResult:
    """The rules of ``component``, which has ``streams``; ``contract`` is held against it if a `PipelineContract`."""
    begun = time.perf_counter()
    waiting, ready_after = _handshakes(combinational_paths(rtlil_of(component, "unit"), "unit"), streams)
    harness = Harness(component, streams, contract)
    with scratch() as folder:
        (folder / "harness.il").write_text(_harness_rtlil(harness))
        run_yosys(["read_rtlil harness.il", "hierarchy -top harness", *_PREPARE], folder, limit_s=limit_s)
        names = [name for name in harness.checks if not name.endswith(_SILENT)]
        proofs = tuple(_proof(name, harness, folder, depth, limit_s) for name in names)
        silent = {
            s.name: _proof(s.name + _SILENT, harness, folder, _REACH, min(limit_s, _REACH_S))
            for s in outputs_of(streams)
        }
    reached = {name: proof.cycles if proof.outcome == "refuted" else None for name, proof in silent.items()}
    return FormalResult("", {}, depth, proofs, waiting, ready_after, reached, time.perf_counter() - begun)


def _harness_rtlil(harness: Harness) -> str:
    from amaranth.back import rtlil  # the hardware library is optional

    text: str = rtlil.convert(harness, name="harness", ports=harness.ports, emit_src=False)
    return text


def _proof(name: str, harness: Harness, folder: Path, depth: int, limit_s: float) -> Proof:
    others = [f"w:{other}" for other in harness.checks if other != name]
    log = folder / f"{name}.log"
    solve = f"sat -prove {name} 1 -seq 1 -tempinduct -maxsteps {depth}"  # -seq 1: the reset is not proved
    drop = [f"delete -port {' '.join(others)}"] if others else []
    commands = ["read_rtlil prepared.il", *drop, "opt_clean -purge", f"tee -o {log.name} {solve}"]
    with contextlib.suppress(ToolTimeoutError):  # what was proved until then is in the log
        run_yosys(commands, folder, limit_s=limit_s)
    return _reading(name, log.read_text() if log.exists() else "")


def _reading(name: str, log: str) -> Proof:
    """What Yosys's log of one property says."""
    proved = max((int(cycles) for cycles in _BASE.findall(log)), default=0)
    if "Induction step proven: SUCCESS" in log:
        return Proof(name, "always", proved)
    if "SAT temporal induction proof finished - model found for base case: FAIL" in log:
        return Proof(name, "refuted", proved + 1)
    return Proof(name, "bounded" if proved else "open", proved)


def _handshakes(
    paths: Mapping[str, frozenset[str]], streams: Sequence[Stream]
) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    waiting = tuple(
        f"{stream.name}__{part}"
        for stream in outputs_of(streams)
        for part in ("valid", "payload")
        if f"{stream.name}__ready" in paths.get(f"{stream.name}__{part}", ())
    )
    return waiting, {s.name: tuple(sorted(paths[f"{s.name}__ready"])) for s in inputs_of(streams)}
