"""Where the nodes of a mapping stand: each Einsum's path through the tree, with nodes told apart by their place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mappers.mapspace.mapping import Branch, Compute, Loop, Mapping, Nest, Spread, Store
from mappers.mapspace.problem import CascadeProblem, EinsumProblem, TensorUse
from workloads.errors import InputError, unknown_name

__all__ = ["Path", "PlacedStore", "fill_position", "paths", "rank_sizes"]

_Straight = Loop | Spread | Store


@dataclass(frozen=True, slots=True)
class PlacedStore:
    """A store on a path: ``node`` names it in the whole tree, ``position`` is its place on the path."""

    node: int
    position: int
    level: str
    tensor: str


@dataclass(frozen=True)
class Path:
    """One Einsum's nest from the root to its compute node.

    ``nodes`` holds (place in the tree, node), outermost first, and ``turning`` the positions of the loops that take
    more than one turn. Einsums with the same ``moment`` run interleaved, the others in its order.
    """

    einsum: EinsumProblem
    place: int
    compute: Compute
    nodes: tuple[tuple[int, _Straight], ...]
    turning: frozenset[int]
    moment: int

    @property
    def loops(self) -> tuple[tuple[int, Loop], ...]:
        """(position, loop), outermost first."""
        return tuple((position, node) for position, (_, node) in enumerate(self.nodes) if isinstance(node, Loop))

    @property
    def spreads(self) -> tuple[Spread, ...]:
        """The spreads, in the order of the nest."""
        return tuple(node for _, node in self.nodes if isinstance(node, Spread))

    @property
    def stores(self) -> tuple[PlacedStore, ...]:
        """All stores, also of tensors that other Einsums use, outermost first."""
        return tuple(
            PlacedStore(name, position, node.level, node.tensor)
            for position, (name, node) in enumerate(self.nodes)
            if isinstance(node, Store)
        )

    def chain(self, tensor: str) -> tuple[PlacedStore, ...]:
        """The stores of one tensor, outermost first."""
        return tuple(store for store in self.stores if store.tensor == tensor)

    def shared(self, other: Path) -> int:
        """Number of nodes that stand above both Einsums: the position of the branch that parts them."""
        common = 0
        for mine, theirs in zip(self.nodes, other.nodes, strict=False):
            if mine[0] != theirs[0]:
                break
            common += 1
        return common

    def walked(self, start: int, end: int) -> tuple[str, ...]:
        """Ranks of the loops from ``start`` to before ``end`` that take more than one turn, outermost first."""
        return tuple(loop.rank for at, loop in self.loops if start <= at < end and at in self.turning)


def fill_position(path: Path, use: TensorUse, store: PlacedStore, found: Sequence[Path]) -> int:
    """Where a program would fill ``store``: just below the innermost loop above it that walks a rank of the tensor.

    The tile of a store in one nest of a sequential branch does not outlive a turn of that nest: what is to stay while
    the other nests run stands above the branch. In a pipelined one it does, but for a tensor that the cascade makes
    there: that is handed on below the branch that parts its maker from a reader.
    """
    place = max((at + 1 for at in path.turning if at < store.position and _rank(path, at) in use.ranks), default=0)
    makes = use.role == "output"
    for other in found:
        linked = (
            use.tensor in {operand.tensor for operand in other.einsum.operands}
            if makes
            else (other.einsum.output.tensor == use.tensor)
        )
        common = path.shared(other)
        if (linked or other.moment != path.moment) and other is not path and place < common <= store.position:
            place = common
    return place


def _rank(path: Path, position: int) -> str:
    node = path.nodes[position][1]
    assert isinstance(node, Loop)
    return node.rank


def rank_sizes(problem: CascadeProblem) -> dict[str, int]:
    """The sizes of all ranks of a cascade."""
    return {rank: size for einsum in problem.einsums for rank, size in einsum.sizes}


def paths(mapping: Mapping, problem: CascadeProblem) -> tuple[Path, ...]:
    """The path of every Einsum in order of execution.

    Where several Einsums have one name (two writers of a running state), the first compute node of the name is the
    first of them. Raises `InputError` for Einsums that are unknown, missing or mapped twice, and for nests that do not
    end in a compute node or a branch.
    """
    walk = _Walk(problem)
    walk.nest(mapping.nest, (), "nest", None)
    for einsum in problem.einsums:
        if walk.left.get(einsum.name):
            raise InputError(f"Einsum {einsum.name} is not mapped", "one compute node for each Einsum", "nest")
    return tuple(walk.found)


class _Walk:
    """Numbers the nodes in reading order."""

    def __init__(self, problem: CascadeProblem) -> None:
        self.problem = problem
        self.sizes = rank_sizes(problem)
        self.left: dict[str, list[int]] = {}
        for place, einsum in enumerate(problem.einsums):
            self.left.setdefault(einsum.name, []).append(place)
        self.found: list[Path] = []
        self.count = 0
        self.moments = 0

    def nest(self, nest: Nest, above: tuple[tuple[int, _Straight], ...], field: str, moment: int | None) -> None:
        if not nest or not isinstance(nest[-1], Compute | Branch):
            raise InputError("the nest ends in nothing that computes", "a compute node or a branch at its end", field)
        for place, node in enumerate(nest):
            here = f"{field}[{place}]"
            if isinstance(node, Compute | Branch) and place < len(nest) - 1:
                raise InputError("nodes stand after the end of the nest", "the compute node or branch last", here)
            if isinstance(node, Branch):
                self._branch(node, above, here, moment)
            elif isinstance(node, Compute):
                self._compute(node, above, here, moment)
            else:
                above = (*above, (self.count, node))
                self.count += 1

    def _branch(self, node: Branch, above: tuple[tuple[int, _Straight], ...], field: str, moment: int | None) -> None:
        if not node.nests:
            raise InputError("the branch has no nests", "at least one", field)
        if node.execution == "pipelined" and moment is None:
            moment = self.moments
            self.moments += 1
        for place, nest in enumerate(node.nests):
            self.nest(nest, above, f"{field}.{node.execution}[{place}]", moment)

    def _compute(self, node: Compute, above: tuple[tuple[int, _Straight], ...], field: str, moment: int | None) -> None:
        if node.einsum not in self.left:
            names = [einsum.name for einsum in self.problem.einsums]
            raise unknown_name("Einsum", node.einsum, names, field=field)
        if not self.left[node.einsum]:
            raise InputError(f"Einsum {node.einsum} is mapped twice", "one compute node for each Einsum", field)
        place = self.left[node.einsum].pop(0)
        if moment is None:
            moment = self.moments
            self.moments += 1
        tiles, turning = dict(self.sizes), set()
        for position, (_, loop) in enumerate(above):
            if isinstance(loop, Loop) and loop.tile < tiles[loop.rank]:
                tiles[loop.rank] = loop.tile
                turning.add(position)
        self.found.append(Path(self.problem.einsums[place], place, node, above, frozenset(turning), moment))
