"""Whether a mapping is a program at all: names, order of stores, fan-outs, and no value read before it is made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from hw.spec.hierarchy import Hierarchy, Level, Unit
from mappers.mapspace import mapping as ir
from mappers.mapspace.mapping import Branch, Compute, Loop, Nest, Spread, Store
from mappers.mapspace.problem import CascadeProblem, EinsumProblem
from mappers.mapspace.sharing import check_sharing
from mappers.mapspace.tree import Path, paths, rank_sizes
from workloads.errors import InputError, unknown_name

__all__ = ["check_mapping", "point_actions"]


def point_actions(einsum: EinsumProblem, unit: str, hierarchy: Hierarchy) -> dict[str, float]:
    """Actions of the unit for one point of the Einsum, with their number.

    A unit with an action ``point`` needs one, whatever the Einsum does; a contraction needs one ``mac``; everything
    else as many of each operator as it applies. Raises `InputError` for an action that the unit lacks.
    """
    actions = hierarchy.units[unit].actions
    if "point" in actions:
        return {"point": 1.0}
    counts = {"mac": 1.0} if einsum.contraction else {name: n / einsum.points for name, n in einsum.operations if n}
    for name in counts:
        if name not in actions:
            raise unknown_name("action", name, actions, field=f"units.{unit}.actions ({einsum.name})")
    return counts


def check_mapping(mapping: ir.Mapping, problem: CascadeProblem, hierarchy: Hierarchy) -> tuple[Path, ...]:
    """Raise `InputError` unless ``mapping`` runs ``problem`` on ``hierarchy``; the Einsums' paths if it does.

    Capacities are not checked: a mapping that holds too much has a cost all the same.
    """
    sizes = rank_sizes(problem)
    for field, node in _nodes(mapping.nest, "nest"):
        _check_names(node, field, sizes, problem, hierarchy)
    found = paths(mapping, problem)
    users = {store.node: [] for path in found for store in path.stores}  # type: dict[int, list[Path]]
    for path in found:
        _check_unit(path, hierarchy)
        _check_order(path, hierarchy)
        _check_spreads(path, hierarchy)
        _check_stores(path, hierarchy, users)
        _check_recomputation(path)
    for path in found:
        for store in path.stores:
            if not users[store.node]:
                raise InputError(
                    f"{store.level} keeps {store.tensor}, which no Einsum below uses", "a tensor in use", "nest"
                )
    check_sharing(found, users, hierarchy, sizes)
    return found


def _nodes(nest: Nest, field: str) -> Iterator[tuple[str, ir.Node]]:
    for place, node in enumerate(nest):
        here = f"{field}[{place}]"
        yield here, node
        if isinstance(node, Branch):
            for number, inner in enumerate(node.nests):
                yield from _nodes(inner, f"{here}.{node.execution}[{number}]")


def _check_names(
    node: ir.Node, field: str, sizes: Mapping[str, int], problem: CascadeProblem, hierarchy: Hierarchy
) -> None:
    if isinstance(node, Loop | Spread) and node.rank not in sizes:
        raise unknown_name("rank", node.rank, sizes, field=field)
    if isinstance(node, Loop) and node.tile < 1:
        raise InputError(f"steps of {node.tile}", "at least 1", field)
    if isinstance(node, Store):
        if node.level not in hierarchy.levels:
            raise unknown_name("level", node.level, hierarchy.levels, field=field)
        tensors = {use.tensor for einsum in problem.einsums for use in einsum.uses}
        if node.tensor not in tensors:
            raise unknown_name("tensor", node.tensor, tensors, field=field)
    if isinstance(node, Compute) and node.unit not in hierarchy.units:
        raise unknown_name("unit", node.unit, hierarchy.units, field=field)
    if isinstance(node, Spread):
        components: dict[str, Level | Unit] = {**hierarchy.levels, **hierarchy.units}
        if node.component not in components:
            raise unknown_name("level or unit", node.component, components, field=field)
        fanout = components[node.component].fanout
        if node.dimension not in fanout:
            raise unknown_name(f"fan-out of {node.component}", node.dimension, fanout, field=field)
        if node.factor < 1:
            raise InputError(f"a factor of {node.factor}", "at least 1", field)


def _check_unit(path: Path, hierarchy: Hierarchy) -> None:
    unit, einsum = hierarchy.units[path.compute.unit], path.einsum
    if unit.takes != "all" and (unit.takes == "contraction") != einsum.contraction:
        kind = "a contraction" if einsum.contraction else "no contraction"
        takes = "contractions" if unit.takes == "contraction" else "everything but contractions"
        raise InputError(f"{einsum.name} is {kind}, and {path.compute.unit} takes {takes}", "a unit for it", "nest")
    point_actions(einsum, path.compute.unit, hierarchy)
    if any(len(axis.terms) > 1 for axis in einsum.output.axes):
        raise InputError(f"an axis of {einsum.name} is a sum of ranks", "one rank for each axis of a result", "nest")


def _check_order(path: Path, hierarchy: Hierarchy) -> None:
    spread = False
    for _, node in path.nodes:
        spread = spread or isinstance(node, Spread)
        if spread and isinstance(node, Loop):
            raise InputError(
                f"{path.einsum.name}: a loop over {node.rank} stands below a spread", "spreads below all loops", "nest"
            )
    levels = hierarchy.path(path.compute.unit)
    for use in path.einsum.uses:
        depth = -1
        for store in path.chain(use.tensor):
            if store.level not in levels:
                raise InputError(
                    f"{store.level} keeps {use.tensor} for {path.einsum.name} and does not lie above "
                    f"{path.compute.unit}",
                    f"one of {', '.join(levels)}",
                    "nest",
                )
            if levels.index(store.level) <= depth:
                raise InputError(
                    f"{use.tensor} is kept at {store.level} below {levels[depth]}",
                    "stores from the root inwards",
                    "nest",
                )
            depth = levels.index(store.level)


def _check_spreads(path: Path, hierarchy: Hierarchy) -> None:
    einsum = path.einsum
    on_path = (*hierarchy.path(path.compute.unit), path.compute.unit)
    used: dict[tuple[str, str], int] = {}
    lanes = dict.fromkeys(einsum.ranks, 1)
    for spread in path.spreads:
        if spread.component not in on_path:
            raise InputError(f"{einsum.name} is spread over {spread.component}", f"one of {', '.join(on_path)}", "nest")
        if spread.rank not in lanes:
            raise unknown_name(f"rank of {einsum.name}", spread.rank, lanes, field="nest")
        component = hierarchy.levels.get(spread.component) or hierarchy.units[spread.component]
        fanout = component.fanout[spread.dimension]
        name = f"{spread.component}.{spread.dimension}"
        for use in einsum.uses:
            if use.role == fanout.reuse and spread.rank in use.ranks:
                raise InputError(
                    f"{einsum.name} spreads {spread.rank} over {name}, which shares its {use.role} {use.tensor}",
                    f"a rank that {use.tensor} lacks",
                    "nest",
                )
        place = spread.component, spread.dimension
        used[place] = used.get(place, 1) * spread.factor
        if used[place] > fanout.size:
            raise InputError(f"{einsum.name} spreads {used[place]} over {name}", f"at most {fanout.size}", "nest")
        lanes[spread.rank] *= spread.factor
    for rank, size in einsum.sizes:
        step = min([size, *(loop.tile for _, loop in path.loops if loop.rank == rank)])
        if step > lanes[rank]:
            raise InputError(
                f"{einsum.name}: the innermost tile of {rank} is {step}, and {lanes[rank]} run side by side",
                f"a loop over {rank} in steps of at most {lanes[rank]}, or a wider spread",
                "nest",
            )


def _check_stores(path: Path, hierarchy: Hierarchy, users: Mapping[int, list[Path]]) -> None:
    for use in path.einsum.uses:
        chain = path.chain(use.tensor)
        if not chain:
            raise InputError(f"{use.tensor} of {path.einsum.name} has no home", "a store of it on the path", "nest")
        if not use.intermediate and chain[0].level != hierarchy.root:
            raise InputError(
                f"{use.tensor} of {path.einsum.name} has its home at {chain[0].level}",
                f"a store at {hierarchy.root}, or a tensor that is made and used inside the cascade",
                "nest",
            )
        for store in chain:
            users[store.node].append(path)


def _check_recomputation(path: Path) -> None:
    reduced = None
    for rank in path.walked(0, len(path.nodes)):
        if rank in path.einsum.ranks and rank not in path.einsum.output.ranks:
            reduced = rank
        elif rank not in path.einsum.ranks and reduced is not None:
            raise InputError(
                f"{path.einsum.name}: a loop over {rank}, which it lacks, inside one over {reduced}, which it sums",
                "the other order: each turn would add the same terms again",
                "nest",
            )
