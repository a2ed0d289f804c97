"""The slow twin of `cost`: every iteration walked, every element moved by itself, every read and write counted.

Nothing is multiplied here. Buffers are dictionaries of elements, one for each instance of a level; the unit asserts
that its operands are where it reads them, and that what another Einsum makes is finished and of this turn. Meant for
spaces of a few thousand points; pipelined branches run one nest after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

from hw.spec.hierarchy import Hierarchy
from mappers.mapspace import mapping as ir
from mappers.mapspace.golden_state import (
    Buffer,
    Digits,
    Element,
    GoldenCounts,
    Instance,
    Place,
    Ranges,
    Turns,
    Value,
    steps,
)
from mappers.mapspace.mapping import Branch, Compute, Loop, Nest, Spread, Store
from mappers.mapspace.problem import CascadeProblem, TensorUse

__all__ = ["GoldenCounts", "walk"]


def walk(mapping: ir.Mapping, problem: CascadeProblem, hierarchy: Hierarchy) -> GoldenCounts:
    """Run a mapping and count. Raises `AssertionError` where data is missing, unfinished or stale."""
    machine = _Machine(mapping, problem, hierarchy)
    machine.run()
    return machine.counts


class _Machine:
    """The tree, the buffers at the root, and the step that is running."""

    def __init__(self, mapping: ir.Mapping, problem: CascadeProblem, hierarchy: Hierarchy) -> None:
        self.problem, self.hierarchy = problem, hierarchy
        self.counts = GoldenCounts()
        self.sizes = {rank: size for einsum in problem.einsums for rank, size in einsum.sizes}
        self.now = 0
        self.root: dict[str, dict[Instance, Buffer]] = {}
        self.lives: list[tuple[str, Instance, Buffer, int]] = []
        self.scopes: dict[tuple[int, int], tuple[Ranges, list[Place]]] = {}
        self.top = self._build(mapping.nest, None, -1)
        self.leaves = [_Leaf(self, place) for place in self._computes(self.top)]
        self.makers = {leaf.einsum.output.tensor: leaf for leaf in self.leaves}

    def _build(self, nest: Nest, parent: Place | None, number: int) -> list[Place]:
        """The nest with each node's parent; the first node of a branch's nest knows the number of that nest."""
        placed = []
        for node in nest:
            parent = Place(node, parent, number)
            number = -1
            placed.append(parent)
            if isinstance(node, Branch):
                parent.nests = [self._build(inner, parent, place) for place, inner in enumerate(node.nests)]
        return placed

    def _computes(self, nest: list[Place]) -> Iterator[Place]:
        for place in nest:
            if isinstance(place.node, Compute):
                yield place
            for inner in place.nests:
                yield from self._computes(inner)

    def run(self) -> None:
        whole = {rank: range(size) for rank, size in self.sizes.items()}
        self._scope((0, 0), whole, lambda: self._nest(self.top, whole, ()))
        for leaf in self.leaves:
            output = leaf.einsum.output
            if leaf.chain(output.tensor)[0].node == Store(self.hierarchy.root, output.tensor):
                values = self.root[output.tensor][()].values
                for element in product(*(range(self.sizes[axis.terms[0][0]]) for axis in output.axes)):
                    assert values[element].terms == leaf.terms, f"{output.tensor}{element} is unfinished"
        # At each step, what is filled comes before what goes: a tile is held through its last step.
        events = [(life.born, 0, size, place) for *place, life, size in self.lives]
        events += [(life.touched, 1, -size, place) for *place, life, size in self.lives]
        full: dict[tuple[object, ...], int] = {}
        for _, _, size, place in sorted(events, key=lambda event: event[:2]):
            key = tuple(place)
            full[key] = full.get(key, 0) + size
            level = str(place[0])
            self.counts.peak_bits[level] = max(self.counts.peak_bits.get(level, 0), full[key])

    def _scope(self, name: tuple[int, int], ranges: Ranges, body: Callable[[], None]) -> None:
        """Run ``body``; then everything filled for it goes, the innermost first."""
        self.scopes[name] = ranges, []
        body()
        for place in reversed(self.scopes.pop(name)[1]):
            assert place.filler is not None
            place.filler.evict(place)

    def _nest(self, nest: list[Place], ranges: Ranges, turns: Turns) -> None:
        for number, place in enumerate(nest):
            node = place.node
            if isinstance(node, Loop):
                whole, below = ranges[node.rank], nest[number + 1 :]
                for turn, start in enumerate(range(whole.start, whole.stop, node.tile)):
                    self._turn(
                        place,
                        below,
                        ranges,
                        range(start, min(start + node.tile, whole.stop)),
                        (*turns, (id(place), node.rank, turn)),
                    )
                return
            if isinstance(node, Branch):
                for inner_number, inner in enumerate(place.nests):
                    self._enter(place, inner_number, inner, ranges, turns)
            elif isinstance(node, Compute):
                next(leaf for leaf in self.leaves if leaf.place is place).step(ranges, turns)

    def _turn(self, place: Place, below: list[Place], ranges: Ranges, piece: range, turns: Turns) -> None:
        assert isinstance(place.node, Loop)
        inside = {**ranges, place.node.rank: piece}
        self._scope((id(place), -1), inside, lambda: self._nest(below, inside, turns))

    def _enter(self, branch: Place, number: int, nest: list[Place], ranges: Ranges, turns: Turns) -> None:
        self._scope((id(branch), number), ranges, lambda: self._nest(nest, ranges, turns))

    def count(self, counts: dict[tuple[str, str], int], place: Place, number: int, bits: int) -> None:
        assert isinstance(place.node, Store)
        key = place.node.level, place.node.tensor
        counts[key] = counts.get(key, 0) + number * bits


class _Leaf:
    """One Einsum at the bottom of its path."""

    def __init__(self, machine: _Machine, place: Place) -> None:
        assert isinstance(place.node, Compute)
        self.machine, self.place = machine, place
        self.einsum = next(e for e in machine.problem.einsums if e.name == place.node.einsum)
        self.levels = machine.hierarchy.path(place.node.unit)
        components = (*self.levels, place.node.unit)
        self.path: list[Place] = []
        above = place.parent
        while above is not None:
            self.path.insert(0, above)
            above = above.parent
        spreads = [p.node for p in self.path if isinstance(p.node, Spread) and p.node.factor > 1]
        self.spreads = sorted(spreads, key=lambda spread: components.index(spread.component))
        self.depths = [components.index(spread.component) for spread in self.spreads]
        self.terms = 1
        for rank, size in self.einsum.sizes:
            self.terms *= 1 if rank in self.einsum.output.ranks else size

    def chain(self, tensor: str) -> list[Place]:
        return [p for p in self.path if isinstance(p.node, Store) and p.node.tensor == tensor]

    def step(self, ranges: Ranges, turns: Turns) -> None:
        machine = self.machine
        machine.counts.steps[self.einsum.name] = machine.counts.steps.get(self.einsum.name, 0) + 1
        lanes = []
        for point in product(*(range(len(ranges[rank])) for rank in self.einsum.ranks)):
            digits: Digits = ()
            for rank, offset in zip(self.einsum.ranks, point, strict=True):
                found, rest = self._digits(rank, offset)
                assert rest == 0, f"{self.einsum.name} has no lane for {rank}"
                digits += found
            coordinates = {r: ranges[r][offset] for r, offset in zip(self.einsum.ranks, point, strict=True)}
            lanes.append((digits, coordinates))
        for use in self.einsum.uses:
            self._fill_chain(use, turns)
            last = self.chain(use.tensor)[-1]
            for place in self.chain(use.tensor):
                for buffer in (place.held or {}).values():
                    buffer.touched = machine.now
            accesses: dict[tuple[Instance, Element, Digits], int] = {}
            for digits, coordinates in lanes:
                element = tuple(sum(c * coordinates[rank] for rank, c in axis.terms) for axis in use.axes)
                key = self._instance(last, digits), element, self._told_apart(last, digits, use)
                accesses[key] = accesses.get(key, 0) + 1
            for (instance, element, _), terms in accesses.items():
                if use.role == "output":
                    self._add(last, instance, element, terms, self._own(turns), use.bits)
                else:
                    self._fetch(last, instance, element, use, turns)
        machine.now += 1

    def _fill_chain(self, use: TensorUse, turns: Turns) -> None:
        chain = self.chain(use.tensor)
        for number, place in enumerate(chain):
            if place.held is not None:
                continue
            place.held, place.filler, place.opened = {}, self, self.machine.now
            assert isinstance(place.node, Store)
            if number == 0 and place.node.level == self.machine.hierarchy.root:
                place.held = self.machine.root.setdefault(use.tensor, {})
            else:
                place.scope = self._scope(place, use)
                place.ranges, filled = self.machine.scopes[place.scope]
                filled.append(place)
            if number > 0:
                self._fill(chain[number - 1], place, use, turns)

    def _scope(self, place: Place, use: TensorUse) -> tuple[int, int]:
        """The loop or nest whose end the tile does not outlive."""
        below = place
        above = place.parent
        while above is not None:
            node = above.node
            if (
                isinstance(node, Branch)
                and below.nest >= 0
                and (node.execution == "sequential" or self._handed_on(above, below, use))
            ):
                return id(above), below.nest
            if isinstance(node, Loop) and node.rank in use.ranks:
                outer = [
                    p.node.tile for p in self._above(above) if isinstance(p.node, Loop) and p.node.rank == node.rank
                ]
                if node.tile < min([self.machine.sizes[node.rank], *outer]):
                    return id(above), -1
            below, above = above, above.parent
        return 0, 0

    def _above(self, place: Place) -> list[Place]:
        return self.path[: next(number for number, other in enumerate(self.path) if other is place)]

    def _handed_on(self, branch: Place, mine: Place, use: TensorUse) -> bool:
        """Whether a nest of the branch other than mine makes what this one reads, or reads what it makes."""
        for leaf in self.machine.leaves:
            in_branch = any(place is branch for place in leaf.path)
            if not in_branch or any(place is mine for place in (*leaf.path, leaf.place)):
                continue
            if use.role == "output" and any(other.tensor == use.tensor for other in leaf.einsum.operands):
                return True
            if use.role != "output" and leaf.einsum.output.tensor == use.tensor:
                return True
        return False

    def _fill(self, outer: Place, inner: Place, use: TensorUse, turns: Turns) -> None:
        machine, now = self.machine, self.machine.now
        assert inner.held is not None
        fetched: set[tuple[Instance, Element, Digits]] = set()
        for digits, elements in self._shares(inner, use):
            buffer = inner.held.setdefault(self._instance(inner, digits), Buffer(now, now))
            source = self._instance(outer, digits)
            for element in elements:
                if use.role != "output":
                    key = source, element, self._told_apart(outer, digits, use)
                    buffer.values[element] = (
                        self._value(outer, source, element, use)
                        if key in fetched
                        else self._fetch(outer, source, element, use, turns)
                    )
                    fetched.add(key)
                    machine.count(machine.counts.write_bits, inner, 1, use.bits)
                    continue
                assert outer.held is not None
                held = outer.held.get(source)
                sums = None if held is None else held.values.get(element)
                if sums is None or sums.turns != self._own(turns):
                    continue
                buffer.values[element] = Value(0 if sums.lent else sums.terms, sums.turns)
                machine.count(machine.counts.write_bits, inner, 1, use.bits)
                if not sums.lent:
                    machine.count(machine.counts.read_bits, outer, 1, use.bits)
                    sums.lent = True

    def _shares(self, place: Place, use: TensorUse) -> Iterator[tuple[Digits, set[Element]]]:
        """Each instance that takes part in the scope that the store was filled for, and its elements."""
        assert isinstance(place.node, Store)
        depth = self.levels.index(place.node.level)
        outside = next((number for number, other in enumerate(self.path) if id(other) == place.scope[0]), -1)
        loops = [p.node for p in self.path[outside + 1 :] if isinstance(p.node, Loop)]
        parts: list[list[tuple[Digits, list[int]]]] = []
        for rank in self.einsum.ranks:
            shares: dict[Digits, list[int]] = {}
            for step in steps(place.ranges[rank], [loop.tile for loop in loops if loop.rank == rank]):
                for offset, coordinate in enumerate(step):
                    digits = tuple(d for d in self._digits(rank, offset)[0] if self.depths[d[0]] <= depth)
                    shares.setdefault(digits, []).append(coordinate)
            parts.append(list(shares.items()))
        for combination in product(*parts):
            mine = {rank: coordinates for rank, (_, coordinates) in zip(self.einsum.ranks, combination, strict=True)}
            spans: list[list[int]] = []
            for axis in use.axes:
                sums = [sum(p) for p in product(*([c * x for x in mine[rank]] for rank, c in axis.terms))]
                spans.append(sums if len(axis.terms) == 1 else list(range(min(sums), max(sums) + 1)))
            yield tuple(digit for digits, _ in combination for digit in digits), set(product(*spans))

    def evict(self, place: Place) -> None:
        """The tile goes; sums go to the buffer above."""
        assert isinstance(place.node, Store)
        assert place.held is not None
        use = self.einsum.by_tensor[place.node.tensor]
        chain = self.chain(use.tensor)
        number = next(number for number, other in enumerate(chain) if other is place)
        later, self.machine.now = self.machine.now, 0
        for instance, buffer in place.held.items():
            self.machine.lives.append((place.node.level, instance, buffer, len(buffer.values) * use.bits))
            self.machine.now = max(self.machine.now, buffer.touched)
        if use.role == "output" and number > 0:
            self._drain(chain[number - 1], place, use)
        self.machine.now = later
        place.held = place.filler = None

    def _drain(self, outer: Place, inner: Place, use: TensorUse) -> None:
        assert inner.held is not None
        groups: dict[tuple[Instance, Element, Digits], tuple[int, Turns]] = {}
        for digits, elements in self._shares(inner, use):
            values = inner.held[self._instance(inner, digits)].values
            for element in elements:
                value = values[element]
                assert value.terms is not None
                self.machine.count(self.machine.counts.read_bits, inner, 1, use.bits)
                key = self._instance(outer, digits), element, self._told_apart(outer, digits, use)
                groups[key] = groups.get(key, (0, ()))[0] + value.terms, value.turns
        for (instance, element, _), (terms, turns) in groups.items():
            self._add(outer, instance, element, terms, turns, use.bits)

    def _add(self, place: Place, instance: Instance, element: Element, terms: int, turns: Turns, bits: int) -> None:
        """Write a value, or add it to one that is there; one that comes back from below replaces the old."""
        machine = self.machine
        assert place.held is not None
        buffer = place.held.setdefault(instance, Buffer(place.opened, machine.now))
        buffer.touched = max(buffer.touched, machine.now)
        machine.count(machine.counts.write_bits, place, 1, bits)
        old = buffer.values.get(element)
        if old is None or old.turns != turns or old.lent:
            buffer.values[element] = Value(terms, turns)
            return
        machine.count(machine.counts.read_bits, place, 1, bits)
        assert old.terms is not None
        old.terms += terms

    def _fetch(self, place: Place, instance: Instance, element: Element, use: TensorUse, turns: Turns) -> Value:
        """Read an operand's element, which must be there, finished, and made in this turn of the loops around it."""
        value = self._value(place, instance, element, use)
        maker = self.machine.makers.get(use.tensor)
        assert maker is None or (value.terms == maker.terms and not value.lent), f"{use.tensor}{element} is unfinished"
        current = {loop: turn for loop, _, turn in turns}
        assert all(current.get(loop, turn) == turn for loop, _, turn in value.turns), f"{use.tensor}{element} is stale"
        self.machine.count(self.machine.counts.read_bits, place, 1, use.bits)
        return value

    def _value(self, place: Place, instance: Instance, element: Element, use: TensorUse) -> Value:
        assert isinstance(place.node, Store)
        assert place.held is not None
        if place.node.level == self.machine.hierarchy.root and use.tensor not in self.machine.makers:
            return Value(None, ())
        assert instance in place.held, f"{place.node.level} {instance} holds nothing of {use.tensor}"
        buffer = place.held[instance]
        assert element in buffer.values, f"{place.node.level} {instance} lacks {use.tensor}{element}"
        return buffer.values[element]

    def _own(self, turns: Turns) -> Turns:
        """The turns of loops that repeat this Einsum."""
        return tuple(turn for turn in turns if turn[1] not in self.einsum.size)

    def _digits(self, rank: str, offset: int) -> tuple[Digits, int]:
        """Where the coordinate ``offset`` of a step goes, the outermost fan-out dealing first; what is left is 0."""
        digits = []
        for number, spread in enumerate(self.spreads):
            if spread.rank == rank:
                offset, digit = divmod(offset, spread.factor)
                digits.append((number, digit))
        return tuple(digits), offset

    def _instance(self, place: Place, digits: Digits) -> Instance:
        """The instance of the store's level that serves the lane with these digits."""
        assert isinstance(place.node, Store)
        depth = self.levels.index(place.node.level)
        found = []
        for number, digit in sorted(digits):
            spread = self.spreads[number]
            before = [
                s for s in self.spreads[:number] if (s.component, s.dimension) == (spread.component, spread.dimension)
            ]
            if self.depths[number] <= depth and digit:
                found.append((spread.component, spread.dimension, len(before), digit))
        return tuple(found)

    def _told_apart(self, place: Place, digits: Digits, use: TensorUse) -> Digits:
        """What distinguishes the lane's accesses to the store: fan-outs that reuse the tensor's role do not."""
        hierarchy = self.machine.hierarchy
        assert isinstance(place.node, Store)
        depth = self.levels.index(place.node.level)
        apart = []
        for number, digit in digits:
            spread = self.spreads[number]
            fanout = (hierarchy.levels.get(spread.component) or hierarchy.units[spread.component]).fanout
            if self.depths[number] <= depth or fanout[spread.dimension].reuse != use.role:
                apart.append((number, digit))
        return tuple(sorted(apart))
