"""What a machine allows: units for an Einsum, levels for a tensor, words on chip, instances side by side."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

from hw.spec.hierarchy import Fanout, Hierarchy, Unit
from mappers.mapspace.constraints import Constraints
from mappers.mapspace.problem import EinsumProblem, TensorUse
from workloads.errors import InputError

__all__ = ["Machine"]


@dataclass(frozen=True)
class Machine:
    """A hierarchy with the user's constraints, asked for the most that any mapping could make of it."""

    hierarchy: Hierarchy
    constraints: Constraints

    def units(self, problem: EinsumProblem) -> tuple[str, ...]:
        """The units that can run the Einsum. Raises `InputError` when there is none."""
        found = tuple(name for name, unit in self.hierarchy.units.items() if _runs(unit, problem))
        if not found:
            needed = ", ".join(operator for operator, _ in problem.operations) or "a copy"
            machine = self.hierarchy.name
            raise InputError(
                f"no unit of {machine!r} runs Einsum {problem.name!r}", f"one with the actions {needed}", "units"
            )
        return found

    def total_instances(self, level: str) -> int:
        """How often a level exists in the whole machine."""
        total, name = 1, level
        while (parent := self.hierarchy.levels[name].parent) is not None:
            total *= self.hierarchy.levels[name].instances
            name = parent
        return total

    def fanouts(self, unit: str) -> tuple[tuple[int, Fanout], ...]:
        """The fan-outs between the root and a unit with the place of the component below each: 1 under the root."""
        path = self.hierarchy.path(unit)
        found = [(place, f) for place, name in enumerate(path) if place for f in self._fanout(name)]
        return (*found, *((len(path), f) for f in self.hierarchy.units[unit].fanout.values()))

    def _fanout(self, level: str) -> tuple[Fanout, ...]:
        return tuple(self.hierarchy.levels[level].fanout.values())

    def lanes(self) -> int:
        """Points that the machine works on at one time, over all units: the words that wires alone may hold."""
        return sum(
            math.prod(f.size for _, f in self.fanouts(name)) * unit.width for name, unit in self.hierarchy.units.items()
        )

    def largest_store_bits(self, use: TensorUse) -> float:
        """Bits of the tensor that one on-chip level can hold, over all its instances; infinite without a limit.

        A tensor that no level keeps still has the words that the machine's lanes work on.
        """
        most = float(use.bits * self.lanes())
        for name, level in self.hierarchy.levels.items():
            if name == self.hierarchy.root or not self.may_hold(name, use):
                continue
            if level.capacity_bytes is None:
                return math.inf
            most = max(most, level.capacity_bytes * 8.0 * self.total_instances(name))
        return most

    def on_chip_bits(self) -> float:
        """Bits of all levels below the root together and of the operands that the lanes work on, infinite when one is.

        Only levels that may keep something count. Each lane holds at most three words of 64 bits, which covers all
        formats.
        """
        total = 3.0 * 64.0 * self.lanes()
        for name, level in self.hierarchy.levels.items():
            kept = level.keep or level.may_keep or any(pair[0] == name for pair in self.constraints.keep)
            if name == self.hierarchy.root or not kept:
                continue
            if level.capacity_bytes is None:
                return math.inf
            total += level.capacity_bytes * 8.0 * self.total_instances(name)
        return total

    def may_hold(self, level: str, use: TensorUse) -> bool:
        """True when the rules let the level keep the tensor for some choice of the levels above it."""
        if (level, use.tensor) in self.constraints.keep:
            return True
        if (level, use.tensor) in self.constraints.bypass:
            return False
        names = self.hierarchy.levels
        rules = (*names[level].keep, *names[level].may_keep)
        return any(_matches(rule, use, frozenset(), default=True, levels=frozenset(names)) for rule in rules)

    def chains(self, use: TensorUse, unit: str) -> tuple[tuple[int, ...], ...]:
        """The sets of places on the path to ``unit`` that the rules allow the tensor to be kept at, outermost first.

        A tensor that is not an intermediate begins (or ends) in the root. Without any rule-abiding choice: empty.
        """
        path = self.hierarchy.path(unit)
        return tuple(chain for chain in self._extend(use, path, (), 0) if chain and (use.intermediate or chain[0] == 0))

    def _extend(
        self, use: TensorUse, path: tuple[str, ...], chain: tuple[int, ...], place: int
    ) -> Iterator[tuple[int, ...]]:
        if place == len(path):
            yield chain
            return
        level, name = self.hierarchy.levels[path[place]], path[place]
        above = frozenset(path[index] for index in chain)
        known = frozenset(self.hierarchy.levels)
        must = any(_matches(rule, use, above, default=False, levels=known) for rule in level.keep)
        may = must or any(_matches(rule, use, above, default=False, levels=known) for rule in level.may_keep)
        if (name, use.tensor) in self.constraints.keep:
            must = may = True
        if (name, use.tensor) in self.constraints.bypass:
            must = may = False
        if place == 0 and use.intermediate and self.through_root(use.tensor):
            must = may = True
        if may:
            yield from self._extend(use, path, (*chain, place), place + 1)
        if not must:
            yield from self._extend(use, path, chain, place + 1)

    def through_root(self, tensor: str) -> bool:
        """True when the user sends this intermediate through the root."""
        return not self.constraints.fuse or tensor in self.constraints.unfused

    def parallel(self, problem: EinsumProblem, unit: str) -> float:
        """The most points of the Einsum that run side by side on the instances of a unit.

        A dimension that reuses an operand takes only ranks which that operand lacks, and no rank is spread wider than
        it is: for every set of dimensions their product is at most that of the ranks they may take.
        """
        sizes: list[tuple[int, frozenset[str]]] = []
        for _, fanout in self.fanouts(unit):
            reused = [use.ranks for use in problem.uses if use.role == fanout.reuse]
            allowed = frozenset(rank for rank in problem.ranks if not any(rank in ranks for ranks in reused))
            sizes.append((fanout.size, allowed))
        alone = [min(size, math.prod(problem.size[r] for r in ranks)) for size, ranks in sizes]
        best = float(math.prod(alone))
        if len(sizes) > _MOST_DIMENSIONS:
            return best
        for count in range(2, len(sizes) + 1):
            for group in itertools.combinations(range(len(sizes)), count):
                shared = math.prod(problem.size[r] for r in frozenset().union(*(sizes[i][1] for i in group)))
                rest = math.prod(alone[i] for i in range(len(sizes)) if i not in group)
                best = min(best, float(shared * rest))
        return best


_MOST_DIMENSIONS = 10


def _runs(unit: Unit, problem: EinsumProblem) -> bool:
    if unit.takes != "all" and (unit.takes == "contraction") != problem.contraction:
        return False
    return "point" in unit.actions or all(operator in unit.actions for operator, _ in problem.operations)


def _matches(rule: str, use: TensorUse, above: frozenset[str], *, default: bool, levels: frozenset[str]) -> bool:
    words = rule.split()
    if default and words[-1] in levels:  # what other levels keep is not known: it may match
        return True
    if words[0] == "not":
        return not _matches(words[1], use, above, default=default, levels=levels)
    if rule == "intermediate":
        return use.intermediate
    if rule in ("input", "weight", "output"):
        return use.role == rule
    return rule == "all" or rule in above
