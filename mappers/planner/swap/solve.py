"""The best shares as a program: step time first, then bytes moved; linear, or mixed-integer in whole parts.

Variables: for each tensor class what stays, leaves to each tier and is computed again; for each operation the share of
tokens it runs again for; the time to offload and to fetch one layer; the two stalls. All of a step's time is linear in
them (see `mappers.planner.swap.timeline`), so the optimum is exact. In the linear form equal shares for all layers lose
nothing: every row is linear in the shares, so a plan that differs from layer to layer may be replaced by its mean.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mappers.planner.swap.shares import Cost, Share, SwapProblem, cost_of

__all__ = ["Program", "Solved", "Status", "best_shares", "extra_bytes", "solver_status"]

Status = Literal["optimal", "feasible", "infeasible", "unknown"]

_SLACK = 1e-9
"""How far the second solve may be above the step time that the first one proved, as a share of it."""

_MARGIN = 2e-6
"""Of a layer's skeletal bytes, left free in every memory: the solver's rows hold to a tolerance, plans to the byte."""

_NOTHING = 1e-7
"""Shares below it are the solver's tolerance, not a choice."""


@dataclass(frozen=True)
class Solved:
    """``optimal``: proved. ``feasible``: a plan that may not be the best, as time ran out. ``infeasible``: it is proved
    that there is none. ``unknown``: time ran out without a plan. Only the first two have one."""

    status: Status
    shares: dict[str, Share] | None
    cost: Cost | None
    backend: str
    seconds: float


def solver_status(status: int, sol_status: int) -> Status:
    """PuLP's two words in ours: after a time limit its ``status`` says optimal of any point, its ``sol_status`` not."""
    import pulp

    if sol_status == pulp.LpSolutionOptimal:
        return "optimal"
    if sol_status == pulp.LpSolutionIntegerFeasible:
        return "feasible"
    return "infeasible" if status == pulp.LpStatusInfeasible else "unknown"


def best_shares(problem: SwapProblem, *, parts: int | None = None, time_limit_s: float = 60.0) -> Solved:
    """The shares with the shortest step and, of those, the fewest bytes moved.

    With ``parts`` every share is a multiple of 1 / parts; 1 treats tensors as wholes.
    """
    started = time.monotonic()
    program = Program(problem, parts)
    status = program.minimise(program.step_s, time_limit_s)
    if status in ("optimal", "feasible"):
        first = program.shares()
        bound = cost_of(problem, first).times.step_s * (1 + _SLACK) / program.scale_s
        program.model += program.step_s <= bound
        left = max(0.1, time_limit_s - (time.monotonic() - started))
        second = program.minimise(program.moved, left)
        shares = program.shares() if second in ("optimal", "feasible") else first
        status = "optimal" if status == second == "optimal" else "feasible"
        return Solved(status, shares, cost_of(problem, shares), program.backend, time.monotonic() - started)
    return Solved(status, None, None, program.backend, time.monotonic() - started)


def extra_bytes(problem: SwapProblem, *, parts: int | None = None, time_limit_s: float = 60.0) -> dict[str, float]:
    """For each memory alone, how many bytes more of it would make a plan possible; left out where none would do."""
    found = {}
    for name in ("device", *(tier.name for tier in problem.tiers)):
        program = Program(problem, parts, widened=name)
        if program.minimise(program.extra, time_limit_s) == "optimal":
            found[name] = max(0.0, float(program.extra.value()) * program.scale_bytes)
    return found


class Program:
    """One problem as variables and rows, in units of one layer's forward time and one layer's skeletal bytes.

    ``widened`` names the memory ("device" or a tier) that has an unknown amount ``extra`` more than it has.
    """

    def __init__(self, problem: SwapProblem, parts: int | None, widened: str | None = None) -> None:
        import pulp

        self.problem, self.parts = problem, parts
        self.backend = "HiGHS" if pulp.HiGHS().available() else "CBC"
        self.scale_s = problem.forward_s
        self.scale_bytes = float(sum(tensor.bytes for tensor in problem.classes))
        self.model = pulp.LpProblem("shares", pulp.LpMinimize)
        self.extra = self.model.add_variable("extra", 0)
        self.keep: dict[str, Any] = {}
        self.swap: dict[tuple[str, str], Any] = {}
        self.again: dict[str, Any] = {}
        self._tokens()
        self.sent = {
            tier.name: pulp.lpSum(
                tensor.bytes / self.scale_bytes * self.swap[tensor.name, tier.name] for tensor in problem.classes
            )
            for tier in problem.tiers
        }
        self.together = pulp.lpSum(self.sent.values())
        self.moved = pulp.lpSum(tier.links * self.sent[tier.name] for tier in problem.tiers)
        self.step_s = self._step()
        self._capacities(widened)

    def _part(self, name: str, allowed: bool) -> Any:

        if self.parts is None:
            return self.model.add_variable(name, 0, 1 if allowed else 0)
        return self.model.add_variable(name, 0, self.parts if allowed else 0, cat="Integer") * (1 / self.parts)

    def _tokens(self) -> None:
        import pulp

        problem = self.problem
        for number, tensor in enumerate(problem.classes):
            self.keep[tensor.name] = self._part(f"keep_{number}", True)
            self.again[tensor.name] = self._part(f"again_{number}", problem.recomputable(tensor.name))
            for at, tier in enumerate(problem.tiers):
                self.swap[tensor.name, tier.name] = self._part(f"swap_{number}_{at}", problem.moved_layers > 0)
            swapped = pulp.lpSum(self.swap[tensor.name, tier.name] for tier in problem.tiers)
            self.model += self.keep[tensor.name] + self.again[tensor.name] + swapped == 1

    def _step(self) -> Any:
        """The step's time in units of ``scale_s``; adds the rows that hold it up."""
        import pulp

        problem, model, unit = self.problem, self.model, self.scale_s
        runs = {step.name: self.model.add_variable(f"run_{number}", 0, 1) for number, step in enumerate(problem.steps)}
        for step in problem.steps:
            for name in step.writes:
                model += runs[step.name] >= self.again[name]
            for other in step.needs:
                model += runs[other] >= runs[step.name]
        again = pulp.lpSum(step.seconds / unit * runs[step.name] for step in problem.steps)
        offload, fetch = self.model.add_variable("offload", 0), self.model.add_variable("fetch", 0)
        if problem.tiers:
            link = self.scale_bytes / problem.link_bytes_per_s / unit
            model += offload >= link * self.together
            model += fetch >= link * self.together
        for tier in problem.tiers:
            model += offload >= self.scale_bytes / tier.write_bytes_per_s / unit * self.sent[tier.name]
            model += fetch >= self.scale_bytes / tier.read_bytes_per_s / unit * self.sent[tier.name]
        before, after = self.model.add_variable("stall_forward", 0), self.model.add_variable("stall_backward", 0)
        moved, backward = problem.moved_layers, problem.backward_s / unit
        if problem.tiers and moved:
            model += before >= moved * (offload - problem.forward_s / unit)
            model += after >= fetch - backward
            model += after >= moved * (fetch - backward - again) + again
        fixed = (problem.rest_s + problem.layers * (problem.forward_s + problem.backward_s)) / unit
        return fixed + moved * again + before + after

    def _capacities(self, widened: str | None) -> None:
        import pulp

        problem, unit = self.problem, self.scale_bytes
        # Of n layers all keep their part; of the rest, as many layers at once as there are buffers.
        each = problem.layers - problem.buffers
        kept = pulp.lpSum(tensor.bytes / unit * self.keep[tensor.name] for tensor in problem.classes)
        room = problem.free_bytes / unit - problem.buffers - _MARGIN
        more = self.extra if widened == "device" else 0
        self.model += each * kept <= room + more
        if not problem.keeps_last:
            self.model += problem.layers * kept <= problem.head_free_bytes / unit - _MARGIN + more
        for tier in problem.tiers:
            room = max(0.0, tier.capacity_bytes / unit - _MARGIN)
            held = problem.moved_layers * self.sent[tier.name]
            self.model += held <= room + (self.extra if widened == tier.name else 0)
            if tier.wear_bytes_per_s is not None:
                # Bytes of one step <= rate x the step's time.
                rate = tier.wear_bytes_per_s * self.scale_s / unit
                self.model += held <= rate * self.step_s

    def minimise(self, objective: Any, time_limit_s: float) -> Status:
        import pulp

        self.model.setObjective(objective)
        limits: dict[str, Any] = {"msg": False, "timeLimit": time_limit_s, "gapRel": 0.0}
        solver = pulp.HiGHS(**limits) if self.backend == "HiGHS" else pulp.PULP_CBC_CMD(**limits)
        self.model.solve(solver)
        return solver_status(self.model.status, self.model.sol_status)

    def shares(self) -> dict[str, Share]:
        """The solver's point with its tolerances taken off: parts within 0 to 1 that add up to 1."""
        found = {}
        for tensor in self.problem.classes:
            parts = [self._value(self.keep[tensor.name]), self._value(self.again[tensor.name])]
            parts += [self._value(self.swap[tensor.name, tier.name]) for tier in self.problem.tiers]
            total = sum(parts)
            keep, again, *swap = (part / total for part in parts)
            named: Mapping[str, float] = {
                tier.name: part for tier, part in zip(self.problem.tiers, swap, strict=True) if part
            }
            found[tensor.name] = Share(keep, named, again)
        return found

    def _value(self, expression: Any) -> float:
        import pulp

        value = min(1.0, max(0.0, float(pulp.value(expression) or 0.0)))
        if self.parts is not None:
            return round(value * self.parts) / self.parts
        return 0.0 if value < _NOTHING else 1.0 if value > 1 - _NOTHING else value
