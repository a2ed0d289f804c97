"""How the Einsums of a cascade hang together: dependencies, shared loops, and what operands are reused along."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from workloads.einsum.expressions import Access
from workloads.einsum.ir import Cascade, Einsum
from workloads.einsum.schedule import Loop, group_einsums, offset_along, schedule

if TYPE_CHECKING:
    import networkx as nx

__all__ = ["dependency_graph", "fusion_groups", "reuse_ranks"]


def dependency_graph(cascade: Cascade) -> nx.DiGraph[str]:
    """Tensors as nodes, an edge from each operand to what is computed from it.

    Nodes carry ``kind`` (input, intermediate, output), ``ranks`` and ``contraction``; edges carry ``ranks``, the
    ranks of the access. A running state has an edge to itself.
    """
    import networkx as nx  # a tenth of a second that most uses of this package do not need

    graph: nx.DiGraph[str] = nx.DiGraph(name=cascade.name)
    for name, tensor in cascade.tensors.items():
        kind = "input" if name in cascade.inputs else "output" if name in cascade.outputs else "intermediate"
        contraction = any(einsum.is_contraction for einsum in cascade.writers(name))
        graph.add_node(name, kind=kind, ranks=tensor.ranks, contraction=contraction)
    for einsum in cascade.einsums:
        for operand in einsum.operands:
            graph.add_edge(operand.tensor, einsum.label, ranks=operand.ranks)
    return graph


def reuse_ranks(cascade: Cascade) -> dict[str, dict[str, tuple[str, ...]]]:
    """For each Einsum and operand, the ranks that the Einsum walks and the operand lacks: it is reused along them."""
    table: dict[str, dict[str, tuple[str, ...]]] = {}
    for einsum in cascade.einsums:
        row = table.setdefault(einsum.label, {})
        for operand in einsum.operands:
            row[operand.tensor] = tuple(rank for rank in einsum.ranks if rank not in operand.ranks)
    return table


@lru_cache(maxsize=1024)
def fusion_groups(cascade: Cascade) -> dict[str, tuple[tuple[str, ...], ...]]:
    """For each rank, the Einsums that can share one loop over it, in order; a later group must wait for an earlier one.

    An Einsum joins the group of its operands as long as it needs of them only what the loop has made so far: the
    current coordinate or a running state. One that needs a whole fiber, folded or otherwise, starts the next group.
    """
    return {rank: groups for rank in _walked_ranks(cascade) if (groups := _groups(cascade, rank))}


def _walked_ranks(cascade: Cascade) -> tuple[str, ...]:
    return tuple(dict.fromkeys(rank for einsum in cascade.einsums for rank in einsum.ranks))


def _groups(cascade: Cascade, rank: str) -> tuple[tuple[str, ...], ...]:
    stages: dict[str, int] = {}
    members: dict[int, dict[str, None]] = {}
    for group in schedule(cascade):
        loops = _loop_ranks(group) if isinstance(group, Loop) else frozenset[str]()
        labels = {einsum.label for einsum in group_einsums(group)}
        for einsum in group_einsums(group):
            stage = 0
            for operand in einsum.operands:
                # What an earlier turn of a loop over another rank left does not order this turn's loop over the rank.
                if operand.tensor in cascade.inputs or (operand.tensor in labels and loops and rank not in loops):
                    continue
                known = stages.get(operand.tensor, -1)
                stage = max(stage, known + (known >= 0 and _needs_whole(cascade, operand, rank)))
            walks = rank in einsum.ranks
            if walks:
                members.setdefault(stage, {})[einsum.label] = None
            # A tensor that never met the rank stays out of its order.
            met = walks or any(stages.get(operand.tensor, -1) >= 0 for operand in einsum.operands)
            stages[einsum.label] = max(stages.get(einsum.label, -1), stage if met else -1)
    return tuple(tuple(members[stage]) for stage in sorted(members))


def _loop_ranks(loop: Loop) -> frozenset[str]:
    inner = (group for group in loop.body if isinstance(group, Loop))
    return frozenset([loop.rank]).union(*(_loop_ranks(group) for group in inner))


def _needs_whole(cascade: Cascade, operand: Access, rank: str) -> bool:
    """Whether reading this operand needs all that a loop over ``rank`` makes of it."""
    return not any(_follows(einsum, operand, rank) for einsum in cascade.writers(operand.tensor))


def _follows(writer: Einsum, operand: Access, rank: str) -> bool:
    """Whether the operand is read at the loop's coordinate, or behind it."""
    for written, read in zip(writer.output.indices, operand.indices, strict=True):
        at_write = offset_along(written, rank)
        at_read = offset_along(read, rank)
        if at_write is not None and at_read is not None:
            return at_read <= at_write
        if rank in written.kept and written.joined is not None and written.joined == read.joined:
            return True
    return False
