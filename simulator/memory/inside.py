"""Products computed inside a memory: what a system asks of banks, drives and arrays that compute, and their answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from workloads.formats import storage_format
from workloads.workload import Op

__all__ = ["InsideService", "Product", "Served", "products"]


@dataclass(frozen=True)
class Product:
    """``copies`` matrices of ``rows`` x ``columns`` that lie in the memory, each times ``vectors`` vectors.

    ``stored_bits`` are those of one stored element, scales left out. ``copies`` may be broken: an expected number of
    experts. ``grows`` tells a cache that every step adds to from weights that stay as they are; ``new_rows`` and
    ``new_columns`` of a copy are what this step adds. ``computed`` is the format that is computed in, where known.
    """

    rows: int
    columns: int
    vectors: int
    copies: float
    stored_bits: float
    grows: bool
    new_rows: float = 0.0
    new_columns: float = 0.0
    computed: str | None = None


@dataclass(frozen=True)
class Served:
    """One answer: seconds until the results have left the memory, and joules spent inside it.

    What crosses the memory's port is not in the energy: the tier charges it. ``port_s`` is for how long the port is not
    free for others; ``why`` says what the time went to.
    """

    seconds: float
    energy_j: float
    port_s: float
    why: str


class InsideService(Protocol):
    """A memory that computes. ``str()`` names it and what is assumed about it."""

    def serve(self, product: Product) -> Served:
        """Time and energy of a product. Raises `InputError` for formats and shapes the memory does not have."""


def products(op: Op) -> Iterator[Product]:
    """The products of ``op`` with what is stored: weights, keys, values; none for other kinds of operation.

    Tokens are spread over experts as evenly as whole tokens can be. Masked-out points of an attention count as fewer
    copies.
    """
    sizes, computed = dict(op.sizes), op.compute_format
    stored = {operand.symbol: operand for operand in op.operands if operand.stored is not None}
    if op.kind in ("gemm", "grouped_gemm") and "W" in stored:
        weights, tokens = stored["W"], sizes["m"]
        matrices = weights.elements / (sizes["n0"] * sizes["n1"])
        bits = storage_format(weights.format).element_bits
        if op.kind == "gemm":
            yield Product(sizes["n1"], sizes["n0"], tokens, matrices, bits, grows=False, computed=computed)
            return
        fewer = max(1, int(tokens / matrices))
        more = max(0.0, tokens - fewer * matrices)
        for vectors, copies in ((fewer, matrices - more), (fewer + 1, more)):
            if copies > 0:
                yield Product(sizes["n1"], sizes["n0"], vectors, copies, bits, grows=False, computed=computed)
    elif op.kind == "attention" and "K" in stored:
        heads = sizes["b"] * sizes["h"]
        queries = sizes["g"] * sizes["p"]
        every = 2.0 * heads * queries * sizes["m"] * (sizes["e"] + sizes["f"])
        copies = heads * op.work.contraction / every
        bits = storage_format(stored["K"].format).element_bits
        # Each head's queries are those of new tokens; masked-out points make fewer copies, but no fewer tokens.
        added = sizes["p"] * heads / copies
        yield Product(sizes["m"], sizes["e"], queries, copies, bits, grows=True, new_rows=added, computed=computed)
        yield Product(sizes["f"], sizes["m"], queries, copies, bits, grows=True, new_columns=added, computed=computed)
