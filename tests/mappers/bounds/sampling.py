"""Random problems, machines and valid mappings for the property that no mapping beats a bound."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from hw.spec.hierarchy import Hierarchy
from mappers.mapspace.cost import evaluate
from mappers.mapspace.mapping import Branch, Compute, Loop, Mapping, Nest, Node, Spread, Store
from mappers.mapspace.problem import CascadeProblem, EinsumProblem, cascade_problem
from mappers.mapspace.report import MappingCost
from mappers.mapspace.tree import paths
from workloads.einsum import parse_cascade
from workloads.errors import InputError

CASCADES = {
    "gemm": "rank m, n, k\ninput A[m, k], B[k, n]\noutput Z\nZ[m, n] = A[m, k] * B[k, n] :: add(k)",
    "batched": "rank b, m, n, k\ninput A[b, m, k], B[b, k, n]\noutput Z\n"
    "Z[b, m, n] = A[b, m, k] * B[b, k, n] :: add(k)",
    "chain": "rank m, a, c, e\ninput X[m, a], V[a, c], W[c, e]\noutput Z\n"
    "Y[m, c] = X[m, a] * V[a, c] :: add(a)\nZ[m, e] = Y[m, c] * W[c, e] :: add(c)",
    "attention": "rank m, p, e, f\ninput Q[m, e], K[p, e], V[p, f]\noutput AV\n"
    "QK[m, p] = Q[m, e] * K[p, e] :: add(e)\nSM[m, p] = exp(QK[m, p])\nAV[m, f] = SM[m, p] * V[p, f] :: add(p)",
    "softmax": "rank m, p\ninput X[m, p]\noutput Y\nS[m, p] = X[m, p] * X[m, p]\nG[m] = S[m, p] :: max(p)\n"
    "E[m, p] = exp(S[m, p] - G[m])\nD[m] = E[m, p] :: add(p)\nY[m, p] = E[m, p] / D[m]",
    "shared": "rank m, d, a, c\ninput X[m, d], V[d, a], W[d, c]\noutput Y, Z\n"
    "Y[m, a] = X[m, d] * V[d, a] :: add(d)\nZ[m, c] = X[m, d] * W[d, c] :: add(d)",
    "window": "rank p, r, c, k\nrank h = |p| + |r| - 1\ninput I[c, h], F[k, c, r]\noutput O\n"
    "O[k, p] = I[c, p + r] * F[k, c, r] :: add(c, r)",
}


@dataclass(frozen=True)
class Sample:
    """A mapping that is valid and fits, with what it costs; ``repeats`` when an Einsum is computed more than once."""

    problem: CascadeProblem
    hierarchy: Hierarchy
    fuse: bool
    repeats: bool
    mapping: Mapping
    cost: MappingCost


def random_problem(rng: random.Random, name: str | None = None, largest: int = 6) -> CascadeProblem:
    """One of `CASCADES` with random sizes and widths."""
    name = name or rng.choice(sorted(CASCADES))
    cascade = parse_cascade(f"cascade {name}\n{CASCADES[name]}\n")
    derived = {"h"} if name == "window" else set()
    sizes = {rank: rng.randint(1, largest) for rank in cascade.rank_names if rank not in derived}
    bits = {tensor: rng.choice((4, 8, 8, 16)) for tensor in cascade.tensors}
    return cascade_problem(cascade, sizes, bits)


def random_hierarchy(rng: random.Random, fanouts: bool = True) -> Hierarchy:
    """Two to four levels without limits on capacity, one or two units."""
    names = ["root", "outer", "middle", "inner"][: rng.randint(2, 4)]
    levels: dict[str, object] = {}
    for place, name in enumerate(names):
        level: dict[str, object] = {
            "read_energy": f"{rng.choice((0, 0.5, 1, 3, 20)) * (1 if place else 10)} pJ/bit",
            "write_energy": f"{rng.choice((0, 0.5, 1, 3, 20)) * (1 if place else 10)} pJ/bit",
        }
        if rng.random() < 0.5:
            level["bandwidth"] = f"{rng.choice((0.01, 0.1, 1, 10))} B/s"
        elif rng.random() < 0.5:
            level["read_bandwidth"] = f"{rng.choice((0.01, 0.1, 1))} B/s"
            level["write_bandwidth"] = f"{rng.choice((0.01, 0.1, 1))} B/s"
        if place == 0:
            level |= {"keep": ["not intermediate"], "may_keep": ["all"]}
        else:
            level |= {"parent": names[place - 1], "may_keep": ["all"]}
            if rng.random() < 0.3:
                level["keep"] = [rng.choice(("input", "weight", "output", f"not {names[place - 1]}"))]
            if fanouts and rng.random() < 0.4:
                level["fanout"] = _fanout(rng)
        levels[name] = level
    units = {}
    for unit in ("first", "second")[: rng.randint(1, 2)]:
        units[unit] = {
            "parent": rng.choice(names[1:]),
            "clock": f"{rng.choice((1, 2, 5))} Hz",
            "width": rng.choice((1, 1, 2)),
            "actions": {"point": {"energy": f"{rng.choice((0, 1, 5))} pJ", "cycles": rng.choice((1, 2))}},
            **({"fanout": _fanout(rng)} if fanouts and rng.random() < 0.5 else {}),
        }
    execution = rng.choice(("sequential", "sequential", "pipelined"))
    return Hierarchy.model_validate({"name": "random", "execution": execution, "levels": levels, "units": units})


def _fanout(rng: random.Random) -> dict[str, object]:
    found = {}
    for name in ("x", "y")[: rng.randint(1, 2)]:
        reuse = rng.choice((None, "input", "weight", "output"))
        found[name] = {"size": rng.randint(1, 4), **({"reuse": reuse} if reuse else {})}
    return found


def random_sample(rng: random.Random, problem: CascadeProblem, hierarchy: Hierarchy) -> Sample | None:
    """A random mapping on a copy of the machine whose levels are just large enough; None when it is no program.

    Shrinking every level to what the mapping uses makes the bounds as strong as they can be for it.
    """
    fuse = rng.random() < 0.7 and len(problem.einsums) > 1
    nest = _Builder(rng, problem, hierarchy, fuse).nest()
    mapping = Mapping(problem.name, hierarchy.name, nest)
    try:
        cost = evaluate(mapping, problem, hierarchy)
    except InputError:
        return None
    if not _obeys(mapping, problem, hierarchy):
        return None
    plain = hierarchy.model_copy(deep=True)
    levels = {
        name: level.model_copy(
            update={"capacity_bytes": None if name == hierarchy.root else max(cost.usage_bits.get(name, 0), 1) / 8}
        )
        for name, level in plain.levels.items()
    }
    fitted = plain.model_copy(update={"levels": levels})
    repeats = any(_repeats(nest, einsum) for einsum in problem.einsums)
    return Sample(problem, fitted, fuse, repeats, mapping, cost)


def _obeys(mapping: Mapping, problem: CascadeProblem, hierarchy: Hierarchy) -> bool:
    """True when every level keeps what its rule demands (`evaluate` costs a mapping whatever the rules say)."""
    for path in paths(mapping, problem):
        levels = hierarchy.path(path.compute.unit)
        for use in path.einsum.uses:
            kept = {store.level for store in path.chain(use.tensor)}
            for level in levels[1:]:
                for rule in hierarchy.levels[level].keep:
                    demanded = rule[4:] not in kept if rule.startswith("not ") else rule == use.role
                    if demanded and level not in kept:
                        return False
    return True


def _repeats(nest: Nest, einsum: EinsumProblem) -> bool:
    """True when a loop above the Einsum walks a rank that it lacks."""
    for node in nest:
        if isinstance(node, Branch):
            return any(_repeats(inner, einsum) for inner in node.nests if einsum.name in _names(inner))
        if isinstance(node, Loop) and node.rank not in einsum.size:
            return True
    return False


def _names(nest: Nest) -> set[str]:
    last = nest[-1]
    if isinstance(last, Branch):
        return set().union(*(_names(inner) for inner in last.nests))
    assert isinstance(last, Compute)
    return {last.einsum}


class _Builder:
    """Draws the parts of a nest. Many draws are no programs: `evaluate` refuses them."""

    def __init__(self, rng: random.Random, problem: CascadeProblem, hierarchy: Hierarchy, fuse: bool) -> None:
        self.rng, self.problem, self.hierarchy, self.fuse = rng, problem, hierarchy, fuse
        self.sizes = {rank: size for einsum in problem.einsums for rank, size in einsum.sizes}

    def nest(self) -> Nest:
        rng, root = self.rng, self.hierarchy.root
        tensors = list(dict.fromkeys(use.tensor for einsum in self.problem.einsums for use in einsum.uses))
        on_chip = [t for t in self.problem.intermediates if self.fuse and rng.random() < 0.8]
        top: list[Node] = [Store(root, tensor) for tensor in tensors if tensor not in on_chip]
        tiles = dict(self.sizes)
        shared: list[Node] = []
        kept: dict[str, int] = {}
        if self.fuse:
            names = list(self.hierarchy.levels)
            usable = [name for name in names[1:] if all(name in self._path(unit) for unit in self.hierarchy.units)]
            for tensor in on_chip:
                if usable:
                    level = rng.choice(usable[:2])
                    shared.append(Store(level, tensor))
                    kept[tensor] = names.index(level)
            for tensor in tensors:
                many = sum(tensor in einsum.by_tensor for einsum in self.problem.einsums) > 1
                if tensor not in kept and many and usable and rng.random() < 0.4:
                    shared.append(Store(usable[0], tensor))
                    kept[tensor] = names.index(usable[0])
            rng.shuffle(shared)
            for _ in range(rng.choice((0, 0, 1, 1, 2, 3))):
                rank = rng.choice(sorted(tiles))
                tiles[rank] = rng.randint(1, tiles[rank])
                shared.insert(rng.randint(0, len(shared)) if rng.random() < 0.5 else 0, Loop(rank, tiles[rank]))
        # Several loops over one rank may stand in any order: the tile of a loop is at most that of the loop above it.
        current = dict(self.sizes)
        for place, node in enumerate(shared):
            if isinstance(node, Loop):
                current[node.rank] = min(current[node.rank], node.tile)
                shared[place] = Loop(node.rank, current[node.rank])
        nests = tuple(self._einsum(einsum, dict(current), kept) for einsum in self.problem.einsums)
        if len(nests) == 1:
            return (*top, *shared, *nests[0])
        execution = "pipelined" if self.hierarchy.execution == "pipelined" and self.fuse else "sequential"
        return (*top, *shared, Branch(execution, nests))

    def _path(self, unit: str) -> tuple[str, ...]:
        return self.hierarchy.path(unit)

    def _einsum(self, einsum: EinsumProblem, tiles: dict[str, int], kept: dict[str, int]) -> Nest:
        rng = self.rng
        unit = rng.choice(list(self.hierarchy.units))
        path = self._path(unit)
        spreads, lanes = self._spreads(einsum, unit, path)
        stores: list[Node] = []
        for use in einsum.uses:
            levels = [name for place, name in enumerate(path) if place > kept.get(use.tensor, 0)]
            stores.extend(Store(name, use.tensor) for name in levels if self._keeps(name, use.role))
        nodes: list[Node] = list(stores)
        rng.shuffle(nodes)
        depth = {name: place for place, name in enumerate(path)}
        for tensor in einsum.by_tensor:  # stores of one tensor from the root inwards
            places = [i for i, node in enumerate(nodes) if isinstance(node, Store) and node.tensor == tensor]
            ordered = sorted((nodes[i] for i in places), key=lambda node: depth[node.level])  # type: ignore[union-attr]
            for i, node in zip(places, ordered, strict=True):
                nodes[i] = node
        nest: list[Node] = []
        for node in (*nodes, None):
            for _ in range(rng.choice((0, 1, 1, 2, 3))):
                rank = rng.choice(einsum.ranks)
                if tiles[rank] > lanes.get(rank, 1):
                    tiles[rank] = rng.randint(lanes.get(rank, 1), tiles[rank])
                    nest.append(Loop(rank, tiles[rank]))
            if node is not None:
                nest.append(node)
        left = [rank for rank in einsum.ranks if tiles[rank] > lanes.get(rank, 1)]
        rng.shuffle(left)
        nest.extend(Loop(rank, lanes.get(rank, 1)) for rank in left)
        return (*nest, *spreads, Compute(einsum.name, unit))

    def _keeps(self, level: str, role: str) -> bool:
        """Follows the rules that `random_hierarchy` writes; keeps all at a level that keeps what another does not."""
        rules = self.hierarchy.levels[level].keep
        if role in rules or any(rule.startswith("not") for rule in rules):
            return True
        return self.rng.random() < 0.6

    def _spreads(self, einsum: EinsumProblem, unit: str, path: tuple[str, ...]) -> tuple[list[Spread], dict[str, int]]:
        spreads: list[Spread] = []
        lanes: dict[str, int] = {}
        components = [(name, self.hierarchy.levels[name].fanout) for name in path]
        components.append((unit, self.hierarchy.units[unit].fanout))
        for component, fanouts in components:
            for dimension, fanout in fanouts.items():
                reused = [use.ranks for use in einsum.uses if use.role == fanout.reuse]
                allowed = [rank for rank in einsum.ranks if not any(rank in ranks for ranks in reused)]
                if not allowed or self.rng.random() < 0.3:
                    continue
                rank, factor = self.rng.choice(allowed), self.rng.randint(1, fanout.size)
                spreads.append(Spread(component, dimension, rank, factor))
                lanes[rank] = lanes.get(rank, 1) * factor
        return spreads, lanes


def samples(seed: int, count: int, make: Callable[[random.Random], CascadeProblem] = random_problem) -> list[Sample]:
    """``count`` valid samples from one seed."""
    rng = random.Random(seed)
    found: list[Sample] = []
    while len(found) < count:
        problem, hierarchy = make(rng), random_hierarchy(rng)
        for _ in range(4):
            sample = random_sample(rng, problem, hierarchy)
            if sample is not None:
                found.append(sample)
    return found[:count]
