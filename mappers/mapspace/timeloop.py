"""Timeloop's mapping YAML for one Einsum, brought into a `Mapping`.

A Timeloop mapping is a list of directives, each with a ``target`` level. ``type: temporal`` gives the loops between the
target and the level below it, as ``factors`` (how often each turns) and ``permutation`` (innermost first).
``type: spatial`` gives the factors over the fan-out below its target; ranks that ``permutation`` names before index
``split`` go along the first dimension of the fan-out, the others along the second; without
``split`` all go along the first. ``type: bypass`` (or ``datatype``,
``dataspace``) lists what a level keeps and what it bypasses; what it does not name is kept. A factor of 0 is as many as
are left. (timeloop.csail.mit.edu, input formats, mapping.)
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping as Table
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hw.spec.hierarchy import Hierarchy
from mappers.mapspace.checks import check_mapping
from mappers.mapspace.mapping import Compute, Loop, Mapping, Node, Spread, Store
from mappers.mapspace.problem import CascadeProblem, EinsumProblem
from workloads.documents import parse_yaml_value
from workloads.errors import InputError, unknown_name

__all__ = ["import_timeloop"]

_KEEPING = ("bypass", "datatype", "dataspace")
_FIELDS = ("target", "type", "factors", "permutation", "split", "keep", "bypass")
_FACTOR = re.compile(r"\s*(?:([A-Za-z_]\w*)\s*=\s*(\d+)|([A-Za-z_]+)(\d+))\s*(?:,|$|(?=\s))")


def import_timeloop(
    text: str, problem: CascadeProblem, hierarchy: Hierarchy, names: Table[str, str] | None = None
) -> Mapping:
    """The mapping in ``text``, checked against ``problem`` and ``hierarchy``.

    ``names`` translates Timeloop's names of levels, ranks and tensors; those it leaves out must be ours but for their
    case. Raises `InputError` for what is not a mapping, for residual factors, and where `check_mapping` would.
    """
    if len(problem.einsums) != 1:
        raise InputError(f"{problem.name} has {len(problem.einsums)} Einsums", "one: Timeloop maps one", "mapping")
    einsum = problem.einsums[0]
    document = parse_yaml_value(text)
    directives = document.get("mapping") if isinstance(document, dict) else document
    if not isinstance(directives, list) or not directives:
        raise InputError("no list of directives", "mapping: [{target: ..., type: ..., ...}, ...]", "mapping")
    reader = _Reader(einsum, hierarchy, {k.casefold(): v for k, v in (names or {}).items()})
    targets: dict[str, _Target] = {level: _Target() for level in hierarchy.levels}
    for place, directive in enumerate(directives):
        reader.directive(directive, f"mapping[{place}]", targets)
    used = {level for level, target in targets.items() if target.used}
    unit = _unit(einsum, hierarchy, used)
    path = hierarchy.path(unit)
    _fill_up(einsum, [targets[level] for level in path])
    nest = _nest(einsum, path, unit, hierarchy, targets)
    mapping = Mapping(problem.name, hierarchy.name, nest)
    check_mapping(mapping, problem, hierarchy)
    return mapping


@dataclass
class _Target:
    """What the directives say of one level; ``order`` and ``lanes`` stand innermost first."""

    used: bool = False
    turns: dict[str, int] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    lanes: list[tuple[str, int, int]] = field(default_factory=list)  # rank, factor, dimension
    bypass: frozenset[str] = frozenset()


class _Reader:
    """Reads directives in Timeloop's names."""

    def __init__(self, einsum: EinsumProblem, hierarchy: Hierarchy, names: Table[str, str]) -> None:
        self.einsum, self.names = einsum, names
        self.levels = tuple(hierarchy.levels)

    def directive(self, value: Any, where: str, targets: dict[str, _Target]) -> None:
        if not isinstance(value, dict):
            raise InputError(f"{value!r} is not a directive", "an object with target and type", where)
        for name in value:
            if name not in _FIELDS:
                raise unknown_name("field", str(name), _FIELDS, field=where)
        kind = value.get("type")
        kinds = ("temporal", "spatial", *_KEEPING)
        if kind not in kinds:
            raise unknown_name("type", str(kind), kinds, field=f"{where}.type")
        target = targets[self._name("level", value.get("target"), self.levels, f"{where}.target")]
        target.used = True
        if kind in _KEEPING:
            tensors = tuple(self.einsum.by_tensor)
            read = {
                key: {self._name("tensor", name, tensors, f"{where}.{key}") for name in value.get(key) or ()}
                for key in ("keep", "bypass")
            }
            both = read["keep"] & read["bypass"]
            if both:
                raise InputError(f"{min(both)} is both kept and bypassed", "one of them", where)
            target.bypass = frozenset(read["bypass"])
            return
        factors = self._factors(value.get("factors"), f"{where}.factors")
        order = self._permutation(value.get("permutation"), f"{where}.permutation")
        order += [rank for rank in factors if rank not in order]
        if kind == "temporal":
            target.turns, target.order = factors, order
            return
        split = value.get("split", len(order))
        if isinstance(split, bool) or not isinstance(split, int) or split < 0:
            raise InputError(f"{split!r}", "a whole number", f"{where}.split")
        target.lanes = [(rank, factors.get(rank, 1), int(at >= split)) for at, rank in enumerate(order)]

    def _name(self, kind: str, value: Any, valid: Sequence[str], where: str) -> str:
        name = str(value)
        name = self.names.get(name.casefold(), name)
        found = next((known for known in valid if known.casefold() == name.casefold()), None)
        if found is None:
            raise unknown_name(kind, name, valid, field=where)
        return found

    def _factors(self, value: Any, where: str) -> dict[str, int]:
        text = " ".join(str(item) for item in value) if isinstance(value, list) else str(value or "")
        factors: dict[str, int] = {}
        at = 0
        while text[at:].strip():
            found = _FACTOR.match(text, at)
            if found is None:
                raise InputError(
                    f"cannot read {text[at:].strip()[:30]!r}", "factors such as M=4 N=2, without residuals", where
                )
            rank = self._name("rank", found[1] or found[3], self.einsum.ranks, where)
            if rank in factors:
                raise InputError(f"{rank} has two factors", "one", where)
            factors[rank] = int(found[2] or found[4])
            at = found.end()
        return factors

    def _permutation(self, value: Any, where: str) -> list[str]:
        if value is None:
            return []
        words = [str(item) for item in value] if isinstance(value, list) else re.split(r"[\s,]+", str(value).strip())
        if len(words) == 1 and words[0].casefold() not in self.names and words[0] not in self.einsum.ranks:
            words = list(words[0])  # ranks of one letter stand side by side
        ranks = [self._name("rank", word, self.einsum.ranks, where) for word in words if word]
        if len(set(ranks)) < len(ranks):
            raise InputError(f"a rank stands twice in {value!r}", "each rank once", where)
        return ranks


def _unit(einsum: EinsumProblem, hierarchy: Hierarchy, used: set[str]) -> str:
    """The first unit that takes the Einsum below all levels that the mapping names."""
    for name, unit in hierarchy.units.items():
        takes = unit.takes == "all" or (unit.takes == "contraction") == einsum.contraction
        if takes and used <= set(hierarchy.path(name)):
            return name
    raise InputError(f"no unit below {', '.join(sorted(used))} takes {einsum.name}", "a unit for it", "mapping")


def _fill_up(einsum: EinsumProblem, targets: Sequence[_Target]) -> None:
    """Replace factors of 0 and refuse those that do not reach a rank's size."""
    for rank, size in einsum.sizes:
        factors = [target.turns.get(rank, 1) for target in targets]
        factors += [factor for target in targets for name, factor, _ in target.lanes if name == rank]
        known = math.prod(factor for factor in factors if factor)
        if factors.count(0) > 1:
            raise InputError(f"{rank} has two factors of 0", "at most one", "mapping")
        rest = -(-size // known)
        for target in targets:
            target.turns = {name: f or (rest if name == rank else 0) for name, f in target.turns.items()}
            target.lanes = [(name, f or (rest if name == rank else 0), side) for name, f, side in target.lanes]
        if 0 not in factors and known < size:
            raise InputError(f"the factors of {rank} make {known}", f"at least its size, {size}", "mapping")


def _nest(
    einsum: EinsumProblem, path: Sequence[str], unit: str, hierarchy: Hierarchy, targets: Table[str, _Target]
) -> tuple[Node, ...]:
    tiles = dict.fromkeys(einsum.ranks, 1)
    spreads: list[Node] = []
    for place, level in enumerate(path):
        below = path[place + 1] if place + 1 < len(path) else unit
        component = hierarchy.levels.get(below) or hierarchy.units[below]
        dimensions = tuple(component.fanout)
        for rank, factor, side in targets[level].lanes:
            if factor == 1:
                continue
            if side >= len(dimensions):
                problem = (
                    f"{below} has {len(dimensions)} dimensions below {level}, and {rank} goes along number {side + 1}"
                )
                raise InputError(problem, "a split that fits the fan-out", "mapping")
            spreads.append(Spread(below, dimensions[side], rank, factor))
            tiles[rank] *= factor
    inner: list[Node] = [*spreads, Compute(einsum.name, unit)]
    for level in reversed(path):
        for rank in targets[level].order:
            turns = targets[level].turns.get(rank, 1)
            if turns > 1:
                inner.insert(0, Loop(rank, tiles[rank]))
                tiles[rank] *= turns
        kept = [use.tensor for use in einsum.uses if use.tensor not in targets[level].bypass]
        inner = [*(Store(level, tensor) for tensor in kept), *inner]
    return tuple(inner)
