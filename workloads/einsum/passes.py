"""How often a cascade must pass over each rank of each input, and what it must keep to manage with that.

A new pass over a rank's fiber begins when every element of the fiber must have been visited before any is visited again
(FuseMax, MICRO 2024, section 3). Elements of intermediates that still carry the rank count as visits of the fiber: they
are kept on chip or made again. A summary of a block, and a running state, are known as soon as the block or the
prefix was visited, and force nothing. The result is a lower bound for this cascade, whatever its mapping; another
cascade for the same function may need fewer passes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TypeAlias

from workloads.einsum.expressions import Access, Index, Size
from workloads.einsum.facts import Count, Fact, Name, Place, Relation, merged, same_fiber, shifted
from workloads.einsum.ir import Cascade, Einsum
from workloads.einsum.schedule import Group, Step, group_einsums, offset_along, schedule
from workloads.einsum.sizes import resolve_sizes

__all__ = ["Footprint", "PassCount", "count_passes", "pass_counts"]

_ROUNDS = 6

_Order: TypeAlias = tuple[frozenset[Name], int]


@dataclass(frozen=True, slots=True)
class Footprint:
    """Elements of one fiber that must be live at once: ``sum of products of rank sizes + constant``."""

    products: tuple[tuple[str, ...], ...]
    constant: int = 0

    def evaluate(self, sizes: Mapping[str, float]) -> float:
        """Elements for given rank sizes."""
        total = float(self.constant)
        for ranks in self.products:
            part = 1.0
            for rank in ranks:
                part *= sizes[rank]
            total += part
        return total

    def __str__(self) -> str:
        parts = ["*".join(f"|{rank}|" for rank in ranks) for ranks in self.products]
        return " + ".join([*parts, *([str(self.constant)] if self.constant or not parts else [])])


@dataclass(frozen=True, slots=True)
class PassCount:
    """Passes over ``rank`` of input ``tensor``.

    ``live`` is what one fiber needs on chip if it is not to be read again: the whole fiber with more than one pass, a
    block or a window with one. ``steps`` derives the count, one sentence a pass. ``of_piece`` marks the inner piece
    of a split: passes within one block.
    """

    tensor: str
    rank: str
    passes: Count
    live: Footprint
    steps: tuple[str, ...]
    of_piece: bool = False


@lru_cache(maxsize=1024)
def count_passes(cascade: Cascade) -> tuple[PassCount, ...]:
    """The passes over every rank of every input, inner pieces of split ranks after the ranks."""
    counts: list[PassCount] = []
    for name in cascade.inputs:
        for axis, dim in enumerate(cascade.tensors[name].dims):
            counts.append(_Fiber(cascade, name, axis, None).count())
            pieces = [
                split.inner for split in cascade.splits if split.rank == dim.rank and _is_joined(cascade, name, axis)
            ]
            counts += [_Fiber(cascade, name, axis, piece).count() for piece in pieces]
    return tuple(counts)


def pass_counts(cascade: Cascade, sizes: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Passes by input and rank, as numbers for given sizes."""
    values = resolve_sizes(cascade, sizes)
    table: dict[str, dict[str, float]] = {}
    for count in count_passes(cascade):
        table.setdefault(count.tensor, {})[count.rank] = count.passes.evaluate(values)
    return table


def _is_joined(cascade: Cascade, tensor: str, axis: int) -> bool:
    operands = (operand for einsum in cascade.einsums for operand in einsum.operands)
    return any(cascade.split_of(operand.indices[axis]) is not None for operand in operands if operand.tensor == tensor)


@dataclass
class _Fiber:
    """The analysis of one rank of one input; with ``piece``, of the blocks of that rank."""

    cascade: Cascade
    tensor: str
    axis: int
    piece: str | None
    known: dict[int, frozenset[Fact]] = field(default_factory=dict)
    loops: list[tuple[str, int, frozenset[str]]] = field(default_factory=list)
    orders: dict[Count, set[_Order]] = field(default_factory=dict)
    reasons: dict[Count, str] = field(default_factory=dict)
    most: Count = field(default_factory=lambda: Count(1))
    blocks: set[tuple[str, ...]] = field(default_factory=set)
    reach: int = 0

    def count(self) -> PassCount:
        for group in schedule(self.cascade):
            self.group(group)
        rank = self.piece or self.cascade.tensors[self.tensor].dims[self.axis].rank
        if self.most.turns or self.most.constant > 1:
            live = Footprint(((rank,),))
        else:
            live = Footprint(tuple(sorted(self.blocks)), self.reach + (0 if self.blocks else 1))
        steps = [f"pass 1: {self.tensor} is first visited along {rank}"]
        steps += [f"pass {passes}: {self.reasons[passes]}" for passes in sorted(self.reasons, key=Count.key)]
        return PassCount(self.tensor, rank, self.most, live, tuple(steps), self.piece is not None)

    # --- Einsums in running order

    def group(self, group: Group) -> None:
        if isinstance(group, Step):
            self.known[id(group.einsum)] = self.einsum(group.einsum)
            return
        einsums = group_einsums(group)
        self.loops.append((group.rank, -1 if group.descending else 1, frozenset(einsum.label for einsum in einsums)))
        history: list[Count] = []
        for _ in range(_ROUNDS):
            for inner in group.body:
                self.group(inner)
            facts = [fact for einsum in einsums for fact in self.known[id(einsum)]]
            history.append(max((fact.passes for fact in facts), key=Count.key, default=Count(1)))
            if len(history) > 2 and history[-1] == history[-3]:
                break
        self.loops.pop()
        growth = history[-1].constant - history[-2].constant if len(history) == _ROUNDS else 0
        if growth > 0:
            self.extrapolate(group.rank, einsums, history[-1], growth)

    def extrapolate(self, rank: str, einsums: tuple[Einsum, ...], reached: Count, growth: int) -> None:
        """Every turn of the loop added passes: after all turns there are as many as turns."""
        total = Count(reached.constant - growth * _ROUNDS, tuple(sorted({**dict(reached.turns), rank: growth}.items())))
        for einsum in einsums:
            facts = self.known[id(einsum)]
            self.known[id(einsum)] = frozenset(replace(f, passes=total) if f.passes == reached else f for f in facts)
        reason = self.reasons.get(self.most, "")
        self.reasons = {passes: text for passes, text in self.reasons.items() if passes.constant <= 1 + growth}
        self.reasons[total] = f"every turn of {rank} visits the fiber anew: {reason}"
        self.most = max(self.most if self.most != reached else total, total, key=Count.key)

    def einsum(self, einsum: Einsum) -> frozenset[Fact]:
        """The facts of what an Einsum writes, after noting the passes it needs."""
        facts = {fact for operand in einsum.operands for fact in self.read(operand)}
        touches = [fact for fact in facts if fact.kind in ("visit", "carry")]
        results: list[Fact] = [fact for fact in facts if fact.kind in ("wait", "end")]
        rest = sorted(results, key=_order)
        visits = [fact.place.offset for fact in touches if fact.kind == "visit"]
        if visits:
            # An element stays live until the last element that it meets has come.
            self.reach = max(self.reach, max(fact.place.offset for fact in touches) - min(visits))
        results += [
            replace(touch, passes=self.visit(einsum, touch, touches, rest)) for touch in sorted(touches, key=_order)
        ]
        return merged(written for fact in results for written in self.write(einsum, fact))

    def visit(self, einsum: Einsum, touch: Fact, touches: list[Fact], rest: list[Fact]) -> Count:
        """The pass in which an Einsum can visit what it touches."""
        passes = touch.passes
        wanted: list[tuple[Count | None, _Order]] = [
            (None, (frozenset([rank]), direction)) for rank, direction, _ in self.loops if rank in touch.place.names
        ]
        for fact in rest:
            picked = touch.kind == "carry" and touch.place.gathered
            if not same_fiber(touch, fact) or (picked and not fact.place.gathered):
                continue
            if fact.kind == "end":
                passes = self.later(passes, fact, einsum)
            elif fact.place.names <= touch.place.names:
                passes = max(passes, fact.passes, key=Count.key)
                self.keep(fact, touch)
                if fact.place.names < touch.place.names or fact.place.direction:
                    wanted.append((fact.passes, (fact.place.names, fact.place.direction)))
            elif not any(fact.place.names <= other.place.names for other in touches):
                passes = self.later(passes, fact, einsum)
        # What an earlier pass left is complete, in whatever order this pass goes.
        while orders := {order for made, order in wanted if made in (None, passes)}:
            if not any(_conflict(a, b) for a in orders for b in self.orders.get(passes, ())):
                self.orders.setdefault(passes, set()).update(orders)
                break
            passes = passes.plus(1)
            self.reasons.setdefault(passes, f"{einsum.label} visits the fiber in another order than the pass before")
        self.blocks |= {tuple(sorted(touch.place.ahead))} if touch.place.ahead else set()
        self.most = max(self.most, passes, key=Count.key)
        return passes

    def later(self, passes: Count, fact: Fact, einsum: Einsum) -> Count:
        needed = fact.passes.plus(1)
        if needed.key() <= passes.key():
            return passes
        done = "" if fact.passes == Count(1) else f" in pass {fact.passes}"
        # The first Einsum that needs the pass explains it; a loop meets the same one again.
        text = f"{einsum.label} visits it together with {fact.by}, which needed the whole fiber{done}"
        self.reasons.setdefault(needed, text)
        return needed

    def keep(self, fact: Fact, touch: Fact) -> None:
        """Notes what must stay live between an element's visit and the place it waits for."""
        within = touch.place.names - fact.place.names
        if within:
            self.blocks.add(tuple(sorted(str(name) for name in within)))
        if fact.place.ahead:
            self.blocks.add(tuple(sorted(fact.place.ahead)))
        self.reach = max(self.reach, fact.place.offset - touch.place.offset)

    # --- tensors to Einsum points and back

    def read(self, access: Access) -> Iterable[Fact]:
        if access.tensor == self.tensor:
            return self.read_input(access)
        writers = [e for e in self.cascade.writers(access.tensor) if _may_meet(e.output, access)]
        facts = merged(fact for writer in writers for fact in self.known.get(id(writer), frozenset()))
        state = next(((rank, turn) for rank, turn, labels in self.loops if self.is_state(access, rank, labels)), None)
        return [seen for fact in facts if (seen := _seen_through(fact, access, state)) is not None]

    def is_state(self, access: Access, rank: str, labels: frozenset[str]) -> bool:
        """Whether the access reads, inside a loop, what an earlier turn left."""
        if access.tensor not in labels:
            return False
        step = next(
            e for e in self.cascade.writers(access.tensor) if not any(index.is_constant for index in e.output.indices)
        )
        pairs = zip(step.output.indices, access.indices, strict=True)
        return any(
            offset_along(a, rank) is not None and offset_along(a, rank) != offset_along(b, rank) for a, b in pairs
        )

    def read_input(self, access: Access) -> list[Fact]:
        index = access.indices[self.axis]
        others: list[Relation | None] = []
        for axis, other in enumerate(access.indices):
            if axis != self.axis:
                name, offset = _single(other)
                others.append(Relation(name, offset, offset) if name is not None else None)
        names = frozenset[Name](index.ranks)
        if self.piece is not None:
            if index.joined is None or index.joined[1] != self.piece:
                return []
            others.append(Relation(index.joined[0], 0, 0))
            names = frozenset[Name]([self.piece])
        if not names:
            return []
        name, offset = _single(index)
        place = Place(names, offset if name is not None else 0, gathered=bool(index.gathers))
        return [Fact("visit", Count(1), place, tuple(others), self.tensor)]

    def write(self, einsum: Einsum, fact: Fact) -> list[Fact]:
        """A fact of an Einsum's points as a fact of its output, by axis."""
        axes: dict[Name, tuple[int, int]] = {}
        for axis, index in enumerate(einsum.output.indices):
            for rank in index.kept:
                axes[rank] = (axis, _single(index)[1])
        others = tuple(
            shifted(other, axes[other.name][0], -axes[other.name][1])
            if other is not None and other.name in axes
            else None
            for other in fact.others
        )
        if fact.kind == "end":
            return [replace(fact, others=others)]
        left = frozenset(name for name in fact.place.names if name in axes)
        gone = fact.place.names - left
        if not left:
            place = Place(frozenset(), gathered=fact.place.gathered)
            return [replace(fact, kind="end", place=place, others=others, by=einsum.label)]
        kind, ahead = "carry" if fact.kind == "visit" else fact.kind, fact.place.ahead
        if gone and kind == "carry" and not fact.place.gathered:
            if self.is_block(fact.place.names):
                kind = "wait"
            else:
                ahead |= frozenset(str(name) for name in gone)
        offset = fact.place.offset - sum(axes[name][1] for name in left)
        names = frozenset[Name](axes[name][0] for name in left)
        place = replace(fact.place, names=names, offset=offset, ahead=ahead)
        return [replace(fact, kind=kind, place=place, others=others, by=einsum.label)]

    def is_block(self, names: frozenset[Name]) -> bool:
        return any({split.outer, split.inner} <= names for split in self.cascade.splits)


def _seen_through(fact: Fact, access: Access, state: tuple[str, int] | None) -> Fact | None:
    """A tensor's fact as one of the point that reads it; None where it reads a coordinate fixed at the start."""
    others = []
    for other in fact.others:
        name, offset = _single(access.indices[int(other.name)]) if other is not None else (None, 0)
        others.append(shifted(other, name, offset))
    fact = replace(fact, others=tuple(others))
    if fact.kind == "end":
        return fact
    names: set[Name] = set()
    offset = fact.place.offset
    for axis in fact.place.names:
        index = access.indices[int(axis)]
        if index.is_constant:
            if not any(isinstance(factor, Size) for term in index.terms for factor in term.factors):
                return None
            return replace(fact, kind="end", place=Place(frozenset(), gathered=fact.place.gathered), by=access.tensor)
        names |= set(index.ranks)
        offset += _single(index)[1]
    gathered = fact.place.gathered or any(access.indices[int(axis)].gathers for axis in fact.place.names)
    place = replace(fact.place, names=frozenset(names), offset=offset, gathered=gathered)
    if state is not None:
        # What a running state holds is kept by its nature: reading it does not visit the fiber again.
        place = replace(place, direction=state[1] if state[0] in names else place.direction)
        return replace(fact, kind="wait", place=place)
    # Picking elements of an intermediate by index visits it once more, as picking from the input does.
    return replace(fact, kind="visit" if gathered and not fact.place.gathered else fact.kind, place=place)


def _may_meet(written: Access, read: Access) -> bool:
    """Whether a read may see what an Einsum writes: not where both name fixed coordinates that differ."""
    for at_write, at_read in zip(written.indices, read.indices, strict=True):
        if at_write.is_constant and at_read.is_constant and at_write != at_read:
            return False
    return True


def _single(index: Index) -> tuple[str | None, int]:
    """The rank and offset of an index that is one rank plus a number, otherwise (None, 0)."""
    ranks = index.ranks
    offset = offset_along(index, ranks[0]) if len(ranks) == 1 else None
    return (None, 0) if offset is None else (ranks[0], offset)


def _order(fact: Fact) -> tuple[object, ...]:
    """A fixed order for facts, so that explanations do not change from run to run."""
    place = fact.place
    return fact.passes.key(), fact.by, fact.kind, sorted(map(str, place.names)), place.offset, str(fact.others)


def _conflict(a: _Order, b: _Order) -> bool:
    """Whether one sweep cannot serve two orders: opposite directions, or blocks along different pieces."""
    if a[0] == b[0]:
        return a[1] * b[1] < 0
    return not (a[0] <= b[0] or b[0] <= a[0]) and not (a[1] or b[1])
