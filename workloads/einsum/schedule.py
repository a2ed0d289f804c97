"""The order in which a cascade's Einsums run: whole-tensor steps, and loops over running ranks.

Einsums that feed one another in a circle can only run if each turn of the circle moves along some rank
(``R[i+1] = f(R[i])``). That rank is looped over, upwards or downwards, and the rest of the circle runs inside, which
may need a further loop (``D[i+1, j+1] = f(D[i, j+1], D[i+1, j])``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NoReturn, TypeAlias

from workloads.einsum.errors import CascadeError
from workloads.einsum.expressions import Access, Index
from workloads.einsum.ir import Cascade, Einsum

__all__ = ["Group", "Loop", "Step", "group_einsums", "offset_along", "schedule"]


@dataclass(frozen=True)
class Step:
    """One Einsum over all its ranks at once (but for the ranks of enclosing loops)."""

    einsum: Einsum


@dataclass(frozen=True)
class Loop:
    """``body`` runs once for each coordinate of ``rank``, from the last one down when ``descending``."""

    rank: str
    descending: bool
    body: tuple[Group, ...]


Group: TypeAlias = Step | Loop
_Edge: TypeAlias = tuple[int, int, Access, Access]


@lru_cache(maxsize=1024)
def schedule(cascade: Cascade) -> tuple[Group, ...]:
    """The groups of a cascade in an order that respects every dependence, the text's order where it may.

    Raises CascadeError where Einsums need each other's results at the same point.
    """
    return _schedule(cascade.einsums, _edges(cascade.einsums), frozenset())


def group_einsums(group: Group) -> tuple[Einsum, ...]:
    """All Einsums of a group, in running order."""
    if isinstance(group, Step):
        return (group.einsum,)
    return tuple(einsum for inner in group.body for einsum in group_einsums(inner))


def offset_along(index: Index, rank: str) -> int | None:
    """``c`` when the index is ``rank + c``, otherwise None."""
    offset, found = 0, False
    for term in index.terms:
        if term.factors:
            return None
        if term.base is None:
            offset += term.coefficient
        elif term.base == rank and term.coefficient == 1 and not found:
            found = True
        else:
            return None
    return offset if found else None


def _edges(einsums: Sequence[Einsum]) -> list[_Edge]:
    return [
        (writer, reader, einsums[writer].output, operand)
        for writer in range(len(einsums))
        for reader in range(len(einsums))
        for operand in einsums[reader].operands
        if operand.tensor == einsums[writer].label
    ]


def _schedule(einsums: Sequence[Einsum], edges: list[_Edge], looped: frozenset[str]) -> tuple[Group, ...]:
    groups: list[Group] = []
    for members in _components(len(einsums), edges):
        inside = [edge for edge in edges if edge[0] in members and edge[1] in members]
        if not inside:
            groups.append(Step(einsums[members[0]]))
            continue
        loop = _loop([einsums[member] for member in members], _renumber(inside, members), looped)
        if loop is None:
            _refuse([einsums[member] for member in members])
        groups.append(loop)
    return tuple(groups)


def _loop(einsums: list[Einsum], edges: list[_Edge], looped: frozenset[str]) -> Loop | None:
    for rank in einsums[0].ranks:
        if rank in looped or any(rank not in einsum.ranks for einsum in einsums):
            continue
        deltas = [_delta(written, read, rank) for _, _, written, read in edges]
        if any(delta is None for delta in deltas):
            continue
        signs = {delta > 0 for delta in deltas if delta}
        if len(signs) != 1:
            continue
        rest = [edge for edge, delta in zip(edges, deltas, strict=True) if delta == 0]
        try:
            body = _schedule(einsums, rest, looped | {rank})
        except CascadeError:
            continue
        return Loop(rank, not signs.pop(), body)
    return None


def _delta(written: Access, read: Access, rank: str) -> int | None:
    """How many turns of a loop over ``rank`` lie between writing and reading; None if that is not one number."""
    for at_write, at_read in zip(written.indices, read.indices, strict=True):
        write_offset = offset_along(at_write, rank)
        if write_offset is not None:
            read_offset = offset_along(at_read, rank)
            return None if read_offset is None else write_offset - read_offset
    return None


def _renumber(edges: list[_Edge], members: list[int]) -> list[_Edge]:
    place = {member: position for position, member in enumerate(members)}
    return [(place[writer], place[reader], written, read) for writer, reader, written, read in edges]


def _refuse(einsums: list[Einsum]) -> NoReturn:
    names = ", ".join(dict.fromkeys(einsum.label for einsum in einsums))
    line, column = einsums[0].at
    raise CascadeError(
        f"{names}: each needs the other's result" if "," in names else f"{names} needs its own result",
        "a running rank that moves by a constant between writing and reading (R[i+1] = f(R[i]))",
        line=line,
        column=column,
    )


def _components(count: int, edges: list[_Edge]) -> list[list[int]]:
    """Strongly connected components, producers first; members and ties in the text's order."""
    ahead: list[set[int]] = [set() for _ in range(count)]
    for writer, reader, _, _ in edges:
        ahead[writer].add(reader)
    reach = [_reachable(start, ahead) for start in range(count)]
    component = [min([n] + [m for m in reach[n] if n in reach[m]]) for n in range(count)]
    members: dict[int, list[int]] = {}
    for n in range(count):
        members.setdefault(component[n], []).append(n)
    needs = {
        root: {component[w] for w, r, _, _ in edges if component[r] == root and component[w] != root}
        for root in members
    }
    ordered: list[list[int]] = []
    done: set[int] = set()
    while len(ordered) < len(members):
        root = next(root for root in members if root not in done and needs[root] <= done)
        done.add(root)
        ordered.append(members[root])
    return ordered


def _reachable(start: int, ahead: list[set[int]]) -> set[int]:
    seen: set[int] = set()
    todo = list(ahead[start])
    while todo:
        node = todo.pop()
        if node not in seen:
            seen.add(node)
            todo.extend(ahead[node] - seen)
    return seen
