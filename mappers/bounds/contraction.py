"""Least traffic of one contraction between the root and the chip, as a function of what fits on chip.

**Classes.** The ranks of input A, weight B and output C fall into batch (in all three), m (A and C), n (B and C) and k
(A and B). With sizes b, M, N, K there are V = b M N K multiply-accumulates.

**Tiled nests** (`tiled_io_bits`). Claim: no nest of the map space moves fewer bits than the best of three forms,

* C stays:  A moved ceil(N/n) times, B ceil(M/m) times, C once, with m n elements of C on chip;
* A stays:  A once, B ceil(M/m) times, C written ceil(K/k) and read back ceil(K/k) - 1 times, m k elements of A on chip;
* B stays:  B once, A ceil(N/n) times, C as above with n k elements of B on chip.

Proof. Take, for each tensor, its outermost store below the root, and of the three the one that stands outermost in the
nest; let (m, n, k) be the tile there. An element of A is used for every n; while one copy of it stays on chip it meets
the n-extent of its tile times that of the n-loops directly above its store; likewise B and m, C and k. Follow the loops
upwards from a store. Up to the outermost store they must all walk the one rank class the tensor lacks, or the copy is
replaced: so at the outermost store the copy has met at most the extent of the tile there. Above it the innermost loop
walks one class, and only the tensor without that class, say T, survives it. The other two meet at most the extents of
(m, n, k). If T survives, no loop between the outermost store and T's own walks a rank of T: T's tile is the one at the
outermost store and fits in a level, which is the form "T stays" (T itself counted once, the least there is). If T does
not survive, or there is no such loop, all three meet at most the tile's extents and the outermost store's tensor fits:
its form again. An element that must meet N partners, n at a time, comes ceil(N/n) times. Each stay of an element of C
on chip but its last leaves a partial sum in the root that is written and read back. Instances of a level hold distinct
or equal shares of a tile, so all instances together hold at least the tile. A tensor that no level keeps has its tile
at the lanes. Nothing here needs divisors. End of proof.

A tensor that stays on chip between two Einsums moves nothing, but then each of its elements has a single stay: an
intermediate A is made once, so it meets all n while it is there, an intermediate C all k. These are the only further
restrictions, and they use that nothing is computed twice.

**Any schedule** (`gemm_any_schedule_words`). Let the fast memory hold S words and let every stay of an element of A, B,
C there cost 1, 1, w with 0 < w <= 1. Cut a run into phases of cost X. During a phase at most S + X words of money are
there: elements present at its start are worth at most S, the rest was paid for. By Loomis and Whitney (1949) a phase
has at most sqrt(|A| |B| |C|) operations, at most ((S + X) / 3)^1.5 / sqrt(w); with X = 2S this is S^1.5 / sqrt(w). So
the stays cost at least 2 sqrt(w) V / sqrt(S) - 2S. Every stay of C ends in a write, and all but b M N begin with a
read: the traffic is stays(A) + stays(B) + 2 stays(C) - b M N, at least 2 sqrt(w) V / sqrt(S) + (1 - w) b M N - 2S. The
best w is min(1, K^2 / S). With w = 1 this is the bound 2 M N K / sqrt(S) - 2S of Smith, Lowery, Langou and van de Geijn
(arXiv 1702.02017). It holds for every order of operations, tiled or not, that computes nothing twice.

2 M N K / sqrt(S) + M N, often quoted, is no bound for every K: with K < 2 sqrt(S) a nest that keeps A and writes each
result once moves M N + M N K^2 / S + M K.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mappers.mapspace.problem import EinsumProblem
from workloads.errors import InputError

__all__ = [
    "Contraction",
    "Mode",
    "any_schedule_words",
    "as_contraction",
    "gemm_any_schedule_words",
    "gemm_io_bound_words",
    "gemm_tiled_io_words",
    "tiled_io_bits",
]

Mode = Literal["root", "chip", "free", "either"]
"""How a tensor meets the root: moved; never (one stay on chip); perhaps not, without more being known; root or chip."""


@dataclass(frozen=True, slots=True)
class Contraction:
    """Sizes of the rank classes, and bits of an element of input, weight and output."""

    batch: int
    m: int
    n: int
    k: int
    bits: tuple[int, int, int]

    @property
    def volume(self) -> int:
        """Multiply-accumulates."""
        return self.batch * self.m * self.n * self.k


def as_contraction(problem: EinsumProblem) -> Contraction | None:
    """The Einsum as a batched matrix product, or None when it is none.

    It has three tensors, every rank is in at least two of them, and every axis is one rank without a stride: windows
    and diagonals break the counting of elements.
    """
    if not problem.contraction or len(problem.uses) != 3:
        return None
    a, b, c = problem.uses
    for use in problem.uses:
        walked = [term for axis in use.axes for term in axis.terms]
        if any(len(axis.terms) != 1 for axis in use.axes) or any(abs(step) != 1 for _, step in walked):
            return None
        if len({rank for rank, _ in walked}) != len(walked):
            return None
    sizes = {"abc": 1, "ac": 1, "bc": 1, "ab": 1}
    for rank, size in problem.sizes:
        kind = "".join(letter for letter, use in zip("abc", (a, b, c), strict=True) if rank in use.ranks)
        if kind not in sizes:
            return None
        sizes[kind] *= size
    return Contraction(sizes["abc"], sizes["ac"], sizes["bc"], sizes["ab"], (a.bits, b.bits, c.bits))


def tiled_io_bits(
    contraction: Contraction, modes: tuple[Mode, Mode, Mode], stores_bits: tuple[float, float, float]
) -> float:
    """Least bits that any nest moves between the root and the chip for this contraction; infinite when none can run.

    ``stores_bits`` is what one on-chip level can hold of each tensor. The derivation is at the top of this module.
    """
    if "either" in modes:
        options = [("root", "chip") if mode == "either" else (mode,) for mode in modes]
        return min(
            tiled_io_bits(contraction, chosen, stores_bits)  # type: ignore[arg-type]
            for chosen in itertools.product(*options)
        )
    b, m, n, k = contraction.batch, contraction.m, contraction.n, contraction.k
    bits = contraction.bits
    fits = [s if math.isinf(s) else s // w for s, w in zip(stores_bits, bits, strict=True)]
    paid = [float(w) if mode == "root" else 0.0 for w, mode in zip(bits, modes, strict=True)]
    once = [mode == "chip" for mode in modes]
    all_a, all_b, all_c = paid[0] * b * m * k, paid[1] * b * n * k, paid[2] * b * m * n
    return min(
        all_c + _least(n, all_a, once[0], m, all_b, once[1], fits[2], whole=True),
        all_a - all_c + _least(m, all_b, once[1], k, 2.0 * all_c, once[2], fits[0], whole=True),
        all_b - all_c + _least(n, all_a, once[0], k, 2.0 * all_c, once[2], fits[1], whole=True),
    )


def _least(
    first: int, first_cost: float, first_once: bool, second: int, second_cost: float, second_once: bool,
    fits: float, *, whole: bool,
) -> float:  # fmt: skip
    """Least first_cost * first / x + second_cost * second / y over tiles x <= first, y <= second with x y <= fits.

    ``whole`` takes whole tiles and rounds the quotients up. ``..._once`` demands the whole extent.
    """
    if fits < 1 or (first_once and fits < first) or (second_once and fits < second):
        return math.inf
    if first_once and second_once and fits < first * second:
        return math.inf
    if fits >= first * second:
        return first_cost + second_cost
    if not whole:
        best = math.sqrt(first_cost * first * fits / (second_cost * second)) if second_cost else float(first)
        x = min(max(best, fits / second, 1.0), first, fits)
        return first_cost * first / x + second_cost * second / min(fits / x, second)
    if first_once:
        counts = np.array([1], dtype=np.int64)
    elif second_once:
        counts = np.array([-(-first // int(fits // second))], dtype=np.int64)
    else:
        # Every quotient that rounding up can give, and with it the smallest tile that gives it.
        small = np.arange(1, math.isqrt(first) + 2, dtype=np.int64)
        counts = np.concatenate([small, -(-first // small)])
    tiles = -(-first // counts)
    across = np.minimum(fits // tiles, second)
    possible = across >= 1
    costs = first_cost * counts[possible] + second_cost * np.ceil(second / across[possible])
    return float(costs.min()) if costs.size else math.inf


def gemm_io_bound_words(m: int, n: int, k: int, capacity_words: float) -> float:
    """Least words that any tiled loop nest moves for C[m, n] = A[m, k] B[k, n] with ``capacity_words`` on chip.

    Reads and writes of the slow memory together, each result written at least once. The closed form of the proof in
    this module, without rounding to whole tiles: 2 m n k / sqrt(S) + m n when k is at least 2 sqrt(S) and m and n at
    least sqrt(S), otherwise the best stationary form. Raises `InputError` for sizes or a capacity below 1.
    """
    return _gemm(m, n, k, capacity_words, whole=False)


def gemm_tiled_io_words(m: int, n: int, k: int, capacity_words: float) -> float:
    """As `gemm_io_bound_words`, with whole tiles: the least that a one-level nest can reach, imperfect tiles included.

    Raises `InputError` for sizes or a capacity below 1.
    """
    return _gemm(m, n, k, capacity_words, whole=True)


def _gemm(m: int, n: int, k: int, fits: float, *, whole: bool) -> float:
    _checked(m, n, k, fits)
    a, b, c = float(m * k), float(n * k), float(m * n)
    fits = fits if math.isinf(fits) or not whole else float(math.floor(fits))
    return min(
        c + _least(n, a, False, m, b, False, fits, whole=whole),
        a - c + _least(m, b, False, k, 2.0 * c, False, fits, whole=whole),
        b - c + _least(n, a, False, k, 2.0 * c, False, fits, whole=whole),
    )


def gemm_any_schedule_words(m: int, n: int, k: int, capacity_words: float) -> float:
    """Least words moved by any order of the multiply-accumulates, tiled or not, that computes nothing twice.

    Never below the compulsory m k + k n + m n. Smith et al., arXiv 1702.02017, and its refinement for small k (see the
    top of this module). Raises `InputError` for sizes or a capacity below 1.
    """
    _checked(m, n, k, capacity_words)
    compulsory = float(m * k + k * n + m * n)
    if math.isinf(capacity_words):
        return compulsory
    return max(compulsory, any_schedule_words(float(m) * n * k, float(m) * n, capacity_words))


def any_schedule_words(volume: float, results: float, capacity_words: float) -> float:
    """The bound for ``volume`` operations into ``results`` elements; negative where it says nothing."""
    weight = min(1.0, (volume / results) ** 2 / capacity_words)
    return 2.0 * math.sqrt(weight / capacity_words) * volume + (1.0 - weight) * results - 2.0 * capacity_words


def _checked(m: int, n: int, k: int, capacity_words: float) -> None:
    for name, value in (("m", m), ("n", n), ("k", k), ("capacity_words", capacity_words)):
        if value < 1:
            raise InputError(f"{name} is {value:g}", "at least 1", name)
