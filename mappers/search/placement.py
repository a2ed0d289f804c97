"""Where an Einsum's tensors may live: for each tensor the chains of levels that a machine's keep rules allow."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from hw.spec.hierarchy import Hierarchy
from mappers.mapspace.constraints import Constraints
from mappers.mapspace.problem import EinsumProblem, TensorUse
from workloads.errors import InputError

__all__ = ["Placement", "placements", "units_for"]


@dataclass(frozen=True)
class Placement:
    """For each tensor of an Einsum, in its order of uses, the places of its levels on the path, outermost first."""

    unit: str
    path: tuple[str, ...]
    chains: tuple[tuple[int, ...], ...]

    def on_chip(self, problem: EinsumProblem) -> frozenset[str]:
        """The tensors that never visit the root level."""
        return frozenset(use.tensor for use, chain in zip(problem.uses, self.chains, strict=True) if chain[0] != 0)


def units_for(problem: EinsumProblem, hierarchy: Hierarchy) -> tuple[str, ...]:
    """The units that can run the Einsum. Raises `InputError` when there is none."""
    found = []
    for name, unit in hierarchy.units.items():
        if unit.takes != "all" and (unit.takes == "contraction") != problem.contraction:
            continue
        if "point" in unit.actions or all(operator in unit.actions for operator, _ in problem.operations):
            found.append(name)
    if found:
        return tuple(found)
    needed = ", ".join(operator for operator, _ in problem.operations) or "a copy"
    raise InputError(f"no unit of {hierarchy.name!r} runs Einsum {problem.name!r}", f"one with {needed}", "units")


def placements(problem: EinsumProblem, hierarchy: Hierarchy, constraints: Constraints) -> Iterator[Placement]:
    """Every unit and every choice of levels that the keep rules and constraints allow.

    An intermediate stays on chip in the level below the root or passes through the root; so fused loops meet in one
    level.
    """
    for unit in units_for(problem, hierarchy):
        path = hierarchy.path(unit)
        options = [tuple(_chains(use, hierarchy, path, constraints)) for use in problem.uses]
        for use, chains in zip(problem.uses, options, strict=True):
            if not chains:
                raise InputError(
                    f"no level of {hierarchy.name!r} may hold tensor {use.tensor!r}", "a level that keeps it", "levels"
                )
        for chosen in itertools.product(*options):
            yield Placement(unit, path, chosen)


def _chains(
    use: TensorUse, hierarchy: Hierarchy, path: tuple[str, ...], constraints: Constraints
) -> Iterator[tuple[int, ...]]:
    # Einsums hand tensors to each other in one level: the one below the root, if all units stand under it.
    apart = not constraints.fuse or len({hierarchy.path(unit)[1:2] for unit in hierarchy.units}) > 1

    def extend(chain: tuple[int, ...], place: int) -> Iterator[tuple[int, ...]]:
        if place == len(path):
            if chain:
                yield chain
            return
        level = hierarchy.levels[path[place]]
        kept_above = {path[index] for index in chain}
        must = any(_matches(rule, use, kept_above) for rule in level.keep)
        may = must or any(_matches(rule, use, kept_above) for rule in level.may_keep)
        if (path[place], use.tensor) in constraints.keep:
            must = may = True
        if (path[place], use.tensor) in constraints.bypass:
            must = may = False
        if place == 0 and use.intermediate and (apart or use.tensor in constraints.unfused):
            must = may = True
        if may:
            yield from extend((*chain, place), place + 1)
        if not must and (chain or place == 0):
            yield from extend(chain, place + 1)

    for chain in extend((), 0):
        if use.intermediate or chain[0] == 0:
            yield chain


def _matches(rule: str, use: TensorUse, kept_above: set[str]) -> bool:
    words = rule.split()
    if words[0] == "not":
        return not _matches(words[1], use, kept_above)
    if rule == "intermediate":
        return use.intermediate
    if rule in ("input", "weight", "output"):
        return use.role == rule
    return rule == "all" or rule in kept_above
