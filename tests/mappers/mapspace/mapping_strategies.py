"""Random small mappings: hierarchies of 2 to 4 levels, one to three Einsums, loops that do not divide, any stores."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

from hw.spec.hierarchy import Hierarchy
from mappers.mapspace.mapping import Branch, Compute, Loop, Mapping, Nest, Node, Spread, Store
from mappers.mapspace.problem import Axis, CascadeProblem, EinsumProblem, TensorUse

__all__ = ["Case", "cases", "einsum", "problem_of"]


@dataclass(frozen=True)
class Case:
    """A mapping with what it maps."""

    mapping: Mapping
    problem: CascadeProblem
    hierarchy: Hierarchy


def einsum(text: str, sizes: dict[str, int], intermediates: tuple[str, ...] = ()) -> EinsumProblem:
    """An Einsum from text such as ``Z m n = A m k, B k n``; ``p+r`` is an axis that sums two ranks."""
    result, operands = text.split("=")
    uses = []
    for place, part in enumerate([*operands.split(","), result]):
        name, *axes = part.split()
        role = "output" if place == len(operands.split(",")) else ("input", "weight")[min(place, 1)]
        terms = tuple(Axis(tuple((rank, 1) for rank in axis.split("+"))) for axis in axes)
        uses.append(TensorUse(name, role, 1 + ord(name[0]) % 3, terms, name in intermediates))  # type: ignore[arg-type]
    ranks = dict.fromkeys(rank for use in uses for axis in use.axes for rank, _ in axis.terms)
    points = 1
    for rank in ranks:
        points *= sizes[rank]
    contraction = len(uses) > 2
    operations = (("mac" if contraction else "exp", float(points)),)
    name = uses[-1].tensor
    return EinsumProblem(name, tuple((rank, sizes[rank]) for rank in ranks), tuple(uses), operations, contraction)


_CASCADES = {
    "gemm": ["Z m n = A m k, B k n"],
    "batched": ["Z b m n = A b m k, B b k n"],
    "elementwise": ["Y m n = X m n"],
    "row-sum": ["Y m = X m n"],
    "convolution": ["O p n = I p+r c, W c r n"],
    "chain": ["T m n = A m k, B k n", "Z m p = T m n, C n p"],
    "attention": ["S m p = Q m e, K p e", "P m p = S m p", "O m f = P m p, V p f"],
    "renamed": ["K m e = X m d, W d e", "Z n m2 = Y n e2, K m2 e2"],
    "shared input": ["U m n = X m k, W k n", "V m q = X m k, G k q"],
    "used twice": ["T m n = A m k, B k n", "Y m n = T m n", "Z m p = T m n, C n p"],
}


def problem_of(name: str, sizes: dict[str, int]) -> CascadeProblem:
    """One of the test cascades with sizes by rank name."""
    texts = _CASCADES[name]
    made = [text.split()[0] for text in texts]
    read = {part.split()[0] for text in texts for part in text.split("=")[1].split(",")}
    inner = tuple(tensor for tensor in made if tensor in read)
    return CascadeProblem(name, tuple(einsum(text, sizes, inner) for text in texts), inner, ())


@st.composite
def _hierarchies(draw: st.DrawFn) -> Hierarchy:
    count = draw(st.integers(2, 4))
    levels: dict[str, object] = {"dram": {"keep": ["all"]}}
    roles = st.sampled_from([None, "input", "weight", "output"])
    for place, name in enumerate(("glb", "local", "register")[: count - 1]):
        fanout = {}
        if draw(st.booleans()):
            for dimension in ("x", "y")[: draw(st.integers(1, 2))]:
                fanout[dimension] = {"size": draw(st.integers(2, 4)), "reuse": draw(roles)}
        levels[name] = {"parent": list(levels)[place], "fanout": fanout}
    fanout = {"lanes": {"size": draw(st.integers(2, 4)), "reuse": draw(roles)}} if draw(st.booleans()) else {}
    units = {
        "mac": {"parent": list(levels)[-1], "clock": "1 Hz", "fanout": fanout, "actions": {"point": {}}},
        "vector": {"parent": list(levels)[draw(st.integers(1, count - 1))], "clock": "1 Hz", "actions": {"point": {}}},
    }
    return Hierarchy.model_validate({"name": "random", "levels": levels, "units": units})


def _spreads(draw: st.DrawFn, einsum: EinsumProblem, unit: str, hierarchy: Hierarchy) -> list[Spread]:
    spreads = []
    for name in (*hierarchy.path(unit), unit):
        component = hierarchy.levels.get(name) or hierarchy.units[name]
        for dimension, fanout in component.fanout.items():
            shared = {rank for use in einsum.uses if use.role == fanout.reuse for rank in use.ranks}
            free = [rank for rank in einsum.ranks if rank not in shared]
            if free and draw(st.integers(0, 3)):
                factor = draw(st.integers(2, fanout.size))
                spreads.append(Spread(name, dimension, draw(st.sampled_from(free)), factor))
                if factor * 2 <= fanout.size and draw(st.booleans()):
                    spreads.append(Spread(name, dimension, draw(st.sampled_from(free)), 2))
    return spreads


def _private(
    draw: st.DrawFn, einsum: EinsumProblem, hierarchy: Hierarchy, tiles: dict[str, int], kept: dict[str, int]
) -> Nest:
    """A nest of one Einsum below common loops that left ``tiles``; ``kept``: depth of each tensor's last store."""
    units = ["mac", "vector"]
    unit = draw(st.sampled_from(units))
    levels = hierarchy.path(unit)
    if any(kept.get(use.tensor, 0) >= len(levels) for use in einsum.uses):
        unit, levels = "mac", hierarchy.path("mac")
    spreads = _spreads(draw, einsum, unit, hierarchy)
    lanes = dict.fromkeys(einsum.ranks, 1)
    for spread in spreads:
        lanes[spread.rank] *= spread.factor
    loops: list[Node] = []
    for rank in einsum.ranks:
        tile = tiles[rank]
        while tile > lanes[rank] and draw(st.integers(0, 2)):
            tile = draw(st.integers(1, tile))
            loops.append(Loop(rank, tile))
        if tile > lanes[rank]:
            loops.append(Loop(rank, draw(st.integers(1, lanes[rank]))))
    # A rank's loops must shrink: shuffle ranks, then sort the tiles of each.
    order = draw(st.permutations(range(len(loops))))
    ranks = [loops[place].rank for place in order]  # type: ignore[union-attr]
    left = {rank: [loop for loop in loops if loop.rank == rank] for rank in einsum.ranks}  # type: ignore[union-attr]
    nest: list[Node] = [left[rank].pop(0) for rank in ranks]
    for use in einsum.uses:
        start = 0
        for depth in range(kept.get(use.tensor, 0) + 1, len(levels)):
            if draw(st.booleans()):
                start = draw(st.integers(start, len(nest)))
                nest.insert(start, Store(levels[depth], use.tensor))
                start += 1
    return (*nest, *spreads, Compute(einsum.name, unit))


@st.composite
def cases(draw: st.DrawFn, cascade: str | None = None) -> Case:
    """A mapping that may or may not be valid: `check_mapping` knows."""
    name = cascade or draw(st.sampled_from(sorted(_CASCADES)))
    ranks = ["b", "m", "n", "k", "p", "e", "f", "q", "r", "c", "d"]
    single = len(_CASCADES[name]) == 1
    sizes = {
        rank: draw(st.integers(1, 7 if single and name not in ("batched", "convolution") else 4)) for rank in ranks
    }
    sizes["m2"], sizes["e2"] = sizes["m"], sizes["e"]
    problem = problem_of(name, sizes)
    hierarchy = draw(_hierarchies())
    root = [
        Store("dram", tensor)
        for tensor in dict.fromkeys(use.tensor for e in problem.einsums for use in e.uses)
        if tensor not in problem.intermediates or draw(st.booleans())
    ]
    kept = {store.tensor: 0 for store in root}
    nest = _shared(draw, list(problem.einsums), hierarchy, dict(sizes), kept, problem)
    return Case(Mapping(name, "random", (*root, *nest)), problem, hierarchy)


def _shared(
    draw: st.DrawFn,
    einsums: list[EinsumProblem],
    hierarchy: Hierarchy,
    tiles: dict[str, int],
    kept: dict[str, int],
    problem: CascadeProblem,
) -> Nest:
    if len(einsums) == 1:
        return _private(draw, einsums[0], hierarchy, tiles, kept)
    nest: list[Node] = []
    common = [rank for rank in einsums[0].ranks if all(rank in einsum.ranks for einsum in einsums)]
    odd = [rank for einsum in einsums for rank in einsum.ranks if rank not in common]
    for _ in range(draw(st.integers(0, 2))):
        usual = common and draw(st.integers(0, 4))
        rank = draw(st.sampled_from(common if usual else odd or common))
        if tiles[rank] > 1:
            tiles = {**tiles, rank: draw(st.integers(1, tiles[rank]))}
            nest.append(Loop(rank, tiles[rank]))
    names = [use.tensor for einsum in einsums for use in einsum.uses]
    for tensor in dict.fromkeys(names):
        need = tensor in problem.intermediates and tensor not in kept
        if need or (names.count(tensor) > 1 and draw(st.booleans())):
            depth = draw(st.integers(1, len(hierarchy.path("vector")) - 1))
            if depth > kept.get(tensor, -1):
                position = draw(st.integers(0, len(nest)))
                nest.insert(position, Store(hierarchy.path("vector")[depth], tensor))
                kept = {**kept, tensor: depth}
    if len(einsums) > 2 and draw(st.booleans()):
        cut = draw(st.integers(1, len(einsums) - 1))
        parts = [einsums[:cut], einsums[cut:]]
    else:
        parts = [[einsum] for einsum in einsums]
    inner = tuple(_shared(draw, part, hierarchy, tiles, kept, problem) for part in parts)
    return (*nest, Branch("sequential", inner))
