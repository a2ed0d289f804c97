"""What streams an operation makes at its memory: which of its operands lie in pieces, and how many move at once.

Weights and activations are sequential, one stream each; an expert's weights are a stream of their own. The keys or
values of a sequence lie in blocks of 16 tokens of one layer (the default block of vLLM: Kwon et al., arXiv 2309.06180,
section 7.2), each sequence of the batch a stream; new ones are written as far as they fill such blocks. A gather reads
one row for each token. All operands of an operation move at the same time, so each sees the streams of all of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from simulator.memory.traffic import SEQUENTIAL_BYTES, Demand
from workloads.phases import Phase
from workloads.workload import Op, Operand, Role

__all__ = ["BLOCK_TOKENS", "op_demands", "piece_bytes"]

BLOCK_TOKENS = 16
"""Tokens whose keys, or values, lie together."""


def op_demands(op: Op, roles: Mapping[str, Role], phase: Phase) -> Iterator[tuple[float, Demand]]:
    """Bytes and traffic of each operand of ``op``, those without bytes left out; ``roles`` are the stored tensors'."""
    moved = [operand for operand in op.operands if operand.bytes]
    pieces = [_pieces(op, operand, roles, phase) for operand in moved]
    streams = sum(count for _, count in pieces)
    total = sum(operand.bytes for operand in moved)
    written = sum(operand.bytes for operand in moved if operand.access == "write")
    for operand, (granule, _) in zip(moved, pieces, strict=True):
        yield operand.bytes, Demand(granule, streams, written / total)


def piece_bytes(op: Op, operand: Operand, roles: Mapping[str, Role], phase: Phase) -> float:
    """Bytes of ``operand`` of ``op`` that lie together where it is stored."""
    return _pieces(op, operand, roles, phase)[0]


def _pieces(op: Op, operand: Operand, roles: Mapping[str, Role], phase: Phase) -> tuple[float, int]:
    """Bytes that lie together, and the streams of ``operand``."""
    role = roles.get(operand.stored) if operand.stored is not None else None
    sizes = dict(op.sizes)
    if role == "kv_cache":
        # An attention reads ``m`` tokens of each sequence; what appends to the cache writes the step's new ones.
        tokens = sizes["m"] if op.kind == "attention" else phase.query_tokens
        return operand.bytes / phase.batch / math.ceil(tokens / BLOCK_TOKENS), phase.batch
    if role == "embedding" and op.kind == "gather":
        return operand.bytes / sizes["t"], sizes["t"]
    if role == "experts":
        return SEQUENTIAL_BYTES, max(1, math.ceil(operand.elements / (sizes["n0"] * sizes["n1"])))
    return SEQUENTIAL_BYTES, 1
