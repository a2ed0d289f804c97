"""How much a cascade computes, holds and must move: closed forms in the rank sizes.

Every operator of an expression counts once for each point of the Einsum's iteration space, and a fold counts one
operator for each point: a matrix product of N points is N mul and N add. Subexpressions of constants cost nothing,
and neither do index arithmetic and the test of a ``where``, which an address generator does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from workloads.einsum.expressions import Access, Call, Constant, Coordinate, Expression, Index, Number, Size, walk
from workloads.einsum.ir import Cascade, Einsum, Tensor
from workloads.einsum.masks import reached, survival
from workloads.einsum.printer import print_expression
from workloads.einsum.sizes import evaluate_constant, resolve_sizes, tensor_shape

__all__ = [
    "compulsory_traffic", "iteration_space", "mask_densities", "mask_density", "operation_counts", "tensor_elements",
    "touched_elements",
    "traffic_formulas",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Work:
    """What one Einsum does at each point, and over which ranks (a rank that is whole replaces its two pieces)."""

    label: str
    per_point: tuple[tuple[str, int], ...]
    ranks: tuple[str, ...]
    sparse: tuple[str, ...]


def iteration_space(cascade: Cascade, einsum: Einsum, sizes: Mapping[str, float]) -> dict[str, float]:
    """The ranks an Einsum walks and their sizes; two pieces of one split appear as the rank they cut."""
    values = resolve_sizes(cascade, sizes)
    return {rank: values[rank] for rank in _whole_ranks(cascade, einsum.ranks)}


def operation_counts(
    cascade: Cascade, sizes: Mapping[str, float], *, skip_masked: bool = False
) -> dict[str, dict[str, float]]:
    """Operations by Einsum (the tensor it writes) and by operator name.

    Masked Einsums count their full rectangular space, unless ``skip_masked``: then every Einsum is scaled by the share
    of its points that the masks of itself and its operands leave (``mask_densities``). Sparse operands that multiply
    (``density``) scale the count by the product of their densities: only points where all are present are worked on.
    Raises InputError for missing or unknown sizes.
    """
    values = resolve_sizes(cascade, sizes)
    shares = mask_densities(cascade, sizes) if skip_masked else {}
    counts: dict[str, dict[str, float]] = {}
    for work in _works(cascade):
        points = shares.get(work.label, 1.0)
        for rank in work.ranks:
            points *= values[rank]
        for tensor in work.sparse:
            points *= _density(cascade, cascade.tensors[tensor], values)
        target = counts.setdefault(work.label, {})
        for operator, count in work.per_point:
            target[operator] = target.get(operator, 0.0) + count * points
    return counts


def operation_formulas(cascade: Cascade) -> dict[str, dict[str, str]]:
    """``operation_counts`` as formulas in the rank sizes: ``2*|t|*|d|``."""
    formulas: dict[str, dict[str, list[str]]] = {}
    for work in _works(cascade):
        densities = [print_expression(cascade.tensors[name].density or Number(1.0), 9) for name in work.sparse]
        target = formulas.setdefault(work.label, {})
        for operator, count in work.per_point:
            target.setdefault(operator, []).append(_product(count, work.ranks, densities))
    return {label: {operator: " + ".join(parts) for operator, parts in row.items()} for label, row in formulas.items()}


def traffic_formulas(cascade: Cascade) -> dict[str, str]:
    """``compulsory_traffic`` as formulas in the rank sizes; what masks and strides leave untouched is not taken off."""
    reads = _reads(cascade)
    formulas: dict[str, str] = {}
    for name in (*cascade.inputs, *cascade.outputs):
        tensor = cascade.tensors[name]
        parts = [print_expression(tensor.density, 9)] if tensor.density is not None else []
        for axis, dim in enumerate(tensor.dims):
            size = f"(|{dim.rank}| + {dim.extra})" if dim.extra else f"|{dim.rank}|"
            indices = list(dict.fromkeys(read.indices[axis] for read, _ in reads.get(name, ())))
            if indices and tensor.density is None and all(index.gathers for index in indices):
                values = " + ".join(_product(1, _whole_ranks(cascade, index.ranks), []) for index in indices)
                size = f"min({size}, {values})"
            parts.append(size)
        formulas[name] = "*".join(parts) or "1"
    return formulas


def _product(count: int, ranks: tuple[str, ...], factors: list[str]) -> str:
    parts = [*factors, *(f"|{rank}|" for rank in ranks)]
    return "*".join(([str(count)] if count != 1 or not parts else []) + parts)


def tensor_elements(cascade: Cascade, sizes: Mapping[str, float]) -> dict[str, float]:
    """Elements of every tensor; a density scales them. A running state counts all the coordinates it passes through."""
    values = resolve_sizes(cascade, sizes)
    return {name: _elements(cascade, tensor, values) for name, tensor in cascade.tensors.items()}


def touched_elements(cascade: Cascade, sizes: Mapping[str, float]) -> dict[str, float]:
    """Elements of each input that some access can reach, each counted once.

    An axis that is only ever gathered (``E[T[t], d]``) contributes no more coordinates than there are index values.
    This is an upper limit, reached when the index values differ; a stated density replaces it. An axis that is only
    read at affine indices contributes those indices' range (a strided window may leave the end of the axis
    untouched), and what a mask never reaches is left out (keys before every query's window).
    """
    values = resolve_sizes(cascade, sizes)
    reads = _reads(cascade)
    return {name: _touched(cascade, cascade.tensors[name], reads[name], values) for name in cascade.inputs}


def compulsory_traffic(cascade: Cascade, sizes: Mapping[str, float]) -> dict[str, float]:
    """Elements that any execution must move: every touched input element once in, every result element once out.

    A result that is a running state leaves once with all its coordinates.
    """
    values = resolve_sizes(cascade, sizes)
    traffic = touched_elements(cascade, sizes)
    for name in cascade.outputs:
        traffic[name] = _elements(cascade, cascade.tensors[name], values)
    return traffic


def mask_densities(cascade: Cascade, sizes: Mapping[str, float]) -> dict[str, float]:
    """For each Einsum, the share of its points that its own mask and those of its operands leave.

    A mask reaches every Einsum that reads the masked tensor at the masked ranks: points that the mask empties need
    not be visited there either. Conditions that read tensors take the density of the tensor.
    """
    values = resolve_sizes(cascade, sizes)
    reach = _mask_reach(cascade)
    shares: dict[int, float] = {}
    densities: dict[str, float] = {}
    for place, einsum in enumerate(cascade.einsums):
        density = 1.0
        for source in reach[place]:
            if source not in shares:
                shares[source] = survival(cascade, cascade.einsums[source].condition, values)
            density *= shares[source]
        densities[einsum.label] = min(density, densities.get(einsum.label, 1.0))
    return densities


def mask_density(cascade: Cascade, sizes: Mapping[str, float]) -> float:
    """The share of points that the cascade's most selective mask leaves; 1.0 without masks."""
    return min(mask_densities(cascade, sizes).values())


@lru_cache(maxsize=1024)
def _mask_reach(cascade: Cascade) -> tuple[frozenset[int], ...]:
    """For each Einsum, in order, the places of the Einsums whose conditions leave some of its points out."""
    reach: list[frozenset[int]] = []
    carried: dict[str, frozenset[int]] = {}
    masked_ranks = {
        place: frozenset(rank for node in walk(einsum.condition) for rank in _node_ranks(node))
        for place, einsum in enumerate(cascade.einsums) if einsum.condition is not None
    }  # fmt: skip
    for place, einsum in enumerate(cascade.einsums):
        own = frozenset([place]) if einsum.condition is not None else frozenset()
        # The same condition stated again on a consumer leaves the same points: it must not count twice.
        known = {cascade.einsums[source].condition for source in own}
        for operand in einsum.operands:
            for source in carried.get(operand.tensor, frozenset()):
                if masked_ranks[source] <= set(operand.ranks) and cascade.einsums[source].condition not in known:
                    own |= {source}
                    known.add(cascade.einsums[source].condition)
        reach.append(own)
        kept = set(einsum.output.ranks)
        carried[einsum.label] = frozenset(source for source in own if masked_ranks[source] <= kept)
    return tuple(reach)


def _node_ranks(node: Expression) -> tuple[str, ...]:
    if isinstance(node, Access):
        return node.ranks
    return (node.rank,) if isinstance(node, Coordinate) else ()


@lru_cache(maxsize=1024)
def _works(cascade: Cascade) -> tuple[_Work, ...]:
    works = []
    for einsum in cascade.einsums:
        counts = _expression_operations(cascade, einsum.expression)
        if einsum.reduction is not None:
            counts += _fold_operations(cascade, einsum.reduction.operator)
        multiplied = dict.fromkeys(a.tensor for a in _multiplied(einsum.expression) if _is_sparse(cascade, a.tensor))
        works.append(_Work(einsum.label, tuple(counts.items()), _whole_ranks(cascade, einsum.ranks), tuple(multiplied)))
    return tuple(works)


def _expression_operations(cascade: Cascade, expression: Expression) -> Counter[str]:
    """Operators at one point; a user's operator counts as those of its body."""
    counts: Counter[str] = Counter()
    if not isinstance(expression, Call) or not any(isinstance(node, Access | Coordinate) for node in walk(expression)):
        return counts
    for argument in expression.arguments:
        counts += _expression_operations(cascade, argument)
    definition = next((d for d in cascade.operators if d.name == expression.operator), None)
    if definition is None:
        counts[expression.operator] += 1
    else:
        counts += _body_operations(cascade, definition.body, definition.parameters)
    return counts


def _body_operations(cascade: Cascade, body: Expression, parameters: tuple[str, ...]) -> Counter[str]:
    counts: Counter[str] = Counter()
    if not isinstance(body, Call) or not any(
        isinstance(node, Constant) and node.name in parameters for node in walk(body)
    ):
        return counts
    for argument in body.arguments:
        counts += _body_operations(cascade, argument, parameters)
    definition = next((d for d in cascade.operators if d.name == body.operator), None)
    if definition is None:
        counts[body.operator] += 1
    else:
        counts += _body_operations(cascade, definition.body, definition.parameters)
    return counts


def _fold_operations(cascade: Cascade, operator: str) -> Counter[str]:
    definition = next((d for d in cascade.operators if d.name == operator), None)
    if definition is None:
        return Counter([operator])
    return _body_operations(cascade, definition.body, definition.parameters)


def _whole_ranks(cascade: Cascade, ranks: tuple[str, ...]) -> tuple[str, ...]:
    """The ranks with each pair of pieces replaced by the rank they cut: a short last piece has fewer points."""
    whole = list(ranks)
    for split in cascade.splits:
        if split.outer in whole and split.inner in whole:
            whole[whole.index(split.outer)] = split.rank
            whole.remove(split.inner)
    return tuple(whole)


def _multiplied(expression: Expression) -> list[Access]:
    """The accesses that must all be present for the expression to be non-zero."""
    if isinstance(expression, Access):
        return [expression]
    if isinstance(expression, Call) and expression.operator == "mul":
        return [access for argument in expression.arguments for access in _multiplied(argument)]
    return []


def _is_sparse(cascade: Cascade, name: str) -> bool:
    return cascade.tensors[name].density is not None


def _density(cascade: Cascade, tensor: Tensor, values: Mapping[str, float]) -> float:
    return 1.0 if tensor.density is None else evaluate_constant(cascade, tensor.density, values)


def _elements(cascade: Cascade, tensor: Tensor, values: Mapping[str, float]) -> float:
    """Elements present; the two pieces of a split on one tensor hold the whole rank's coordinates."""
    ranks = [dim.rank for dim in tensor.dims if not dim.extra]
    total = _density(cascade, tensor, values)
    for rank in _whole_ranks(cascade, tuple(ranks)):
        total *= values[rank] if rank else 1
    for dim in tensor.dims:
        if dim.extra:
            total *= (values[dim.rank] if dim.rank else 0) + dim.extra
    return total


@lru_cache(maxsize=1024)
def _reads(cascade: Cascade) -> dict[str, tuple[tuple[Access, frozenset[int]], ...]]:
    """The accesses to each input, with the places of the Einsums whose masks leave points of the access out."""
    reach = _mask_reach(cascade)
    found: dict[str, dict[tuple[Access, frozenset[int]], None]] = {name: {} for name in cascade.inputs}
    for place, einsum in enumerate(cascade.einsums):
        for operand in einsum.operands:
            if operand.tensor in found:
                found[operand.tensor][operand, reach[place]] = None
    return {name: tuple(operands) for name, operands in found.items()}


def _touched(
    cascade: Cascade, tensor: Tensor, reads: tuple[tuple[Access, frozenset[int]], ...], values: Mapping[str, float]
) -> float:
    if tensor.density is not None:
        return _elements(cascade, tensor, values)
    total = 1.0
    for axis, size in enumerate(tensor_shape(tensor, values)):
        parts: dict[tuple[Index, frozenset[int]], float] = {}
        for read, masks in reads:
            index = read.indices[axis]
            part = _reached(cascade, index, tensor.dims[axis].rank, values)
            split = cascade.split_of(index)
            rank = split.rank if split is not None else index.rank
            for source in masks:
                condition = cascade.einsums[source].condition
                if condition is not None and rank is not None:
                    part = min(part, reached(cascade, condition, rank, values))
            parts[index, masks] = part
        total *= min(size, sum(parts.values()))
    return total


def _reached(cascade: Cascade, index: Index, rank: str, values: Mapping[str, float]) -> float:
    """At most how many coordinates of the axis ``rank`` one index reaches."""
    if index.rank is not None:
        return values[index.rank]
    if cascade.split_of(index) is not None:
        return values[rank]
    coordinates = 1.0
    span = 1.0
    for term in index.terms:
        if term.base is None:
            continue
        names = term.base.ranks if isinstance(term.base, Access) else (term.base,)
        size = 1.0
        for name in _whole_ranks(cascade, names):
            size *= values[name]
        coordinates *= size
        step = abs(term.coefficient)
        for factor in term.factors:
            step *= abs(values[factor.rank if isinstance(factor, Size) else factor.name])  # type: ignore[assignment]
        # A gathered value may be anything; an affine index stays within its span.
        span += float("inf") if isinstance(term.base, Access) else step * (size - 1)
    return min(coordinates, span)
