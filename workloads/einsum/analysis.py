"""Everything the analyses say of a cascade, as one JSON-ready value: as formulas, or as numbers for given sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workloads.einsum.counts import (
    compulsory_traffic,
    iteration_space,
    mask_densities,
    operation_counts,
    operation_formulas,
    tensor_elements,
    traffic_formulas,
)
from workloads.einsum.facts import Count
from workloads.einsum.graph import fusion_groups, reuse_ranks
from workloads.einsum.ir import Cascade
from workloads.einsum.passes import PassCount, count_passes
from workloads.einsum.sizes import resolve_sizes

__all__ = ["analyse"]


def analyse(cascade: Cascade, sizes: Mapping[str, float] | None = None) -> dict[str, Any]:
    """Passes, live footprint, operations, compulsory traffic, fusible Einsums, reuse, and the reasons for the passes.

    Without ``sizes`` counts are formulas in the rank sizes (texts); with them they are numbers, in operations and
    elements. ``passes`` is the largest count over all ranks of all inputs; ``why`` derives every count above 1 and
    every block or window that must stay live. Raises InputError where sizes are missing or unknown.
    """
    counts = count_passes(cascade)
    most = max((count.passes for count in counts if not count.of_piece), key=Count.key, default=Count(1))
    values = resolve_sizes(cascade, sizes) if sizes is not None else None
    document: dict[str, Any] = {
        "name": cascade.name,
        "passes": _number(most, values),
        "passes_by_rank": _by_rank(counts, {id(count): _number(count.passes, values) for count in counts}),
        "live_footprint": _by_rank(counts, {id(count): _live(count, values) for count in counts}),
    }
    if sizes is None:
        document["operations"] = operation_formulas(cascade)
        document["compulsory_traffic"] = traffic_formulas(cascade)
    else:
        document["operations"] = operation_counts(cascade, sizes)
        document["compulsory_traffic"] = compulsory_traffic(cascade, sizes)
        document["tensor_elements"] = tensor_elements(cascade, sizes)
        document["iteration_space"] = {e.label: iteration_space(cascade, e, sizes) for e in cascade.einsums}
        document["mask_density"] = mask_densities(cascade, sizes)
    document["fusible"] = {rank: [list(group) for group in groups] for rank, groups in fusion_groups(cascade).items()}
    document["reuse"] = {
        label: {tensor: list(ranks) for tensor, ranks in row.items()} for label, row in reuse_ranks(cascade).items()
    }
    document["why"] = [_reason(count) for count in counts if str(count.passes) != "1" or str(count.live) != "1"]
    return document


def _number(count: Count, values: dict[str, float] | None) -> float | int | str:
    if not count.turns:
        return count.constant
    return str(count) if values is None else count.evaluate(values)


def _live(count: PassCount, values: dict[str, float] | None) -> float | str:
    return str(count.live) if values is None else count.live.evaluate(values)


def _by_rank(counts: tuple[PassCount, ...], entries: dict[int, Any]) -> dict[str, dict[str, Any]]:
    table: dict[str, dict[str, Any]] = {}
    for count in counts:
        table.setdefault(count.tensor, {})[count.rank] = entries[id(count)]
    return table


def _reason(count: PassCount) -> str:
    kept = f"{count.live} element{'' if str(count.live) == '1' else 's'} of a fiber must stay live"
    if count.of_piece:
        kept = "within one block"
    elif str(count.passes) != "1":
        kept += " or be read again"
    noun = "pass" if str(count.passes) == "1" else "passes"
    return f"{count.tensor}, rank {count.rank}: {count.passes} {noun} ({kept}). " + "; ".join(count.steps)
