"""Traffic of attention between a slow memory and a chip of S words: the known asymptote, a bound, and what tiles reach.

For n queries and keys of width d, Saha and Ye ("The I/O complexity of attention, or how optimal is FlashAttention?",
ICML 2024, arXiv 2402.07443) prove Theta(n^2 d^2 / S) for S >= d^2 and, for the usual matrix product, Theta(n^2 d /
sqrt(S)) below. Constants are not given: the asymptote is for plots.

The bound with constants is that of the map space. Scores that stay on chip take all of d in one stay, and are used for
all of d in one stay, if nothing is computed twice. By the forms of `mappers.bounds.contraction` the scores' product
moves Q and K by at least

    min over (K-long tiles) of  n d + n d ceil(n / (S / d))   or   n d (ceil(n / x) + ceil(n / y)), x y <= S,

which is n^2 d^2 / S or 2 n^2 d / sqrt(S): the same two regimes, meeting at S = d^2 / 4. The product with V adds as much
again in the first regime.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mappers.bounds.contraction import Contraction, as_contraction, tiled_io_bits
from mappers.mapspace.problem import CascadeProblem
from workloads.errors import InputError

__all__ = [
    "AttentionSchedule",
    "AttentionShape",
    "attention_io_asymptote_words",
    "attention_io_bound_words",
    "attention_schedules",
    "best_attention_schedule",
    "find_attention",
]


@dataclass(frozen=True, slots=True)
class AttentionShape:
    """Attention inside a cascade: heads and batch together, tokens, width of a head, bits of an element."""

    batch: int
    queries: int
    keys: int
    width: int
    bits: int


def find_attention(problem: CascadeProblem) -> AttentionShape | None:
    """The first pair of contractions that are Q K^T and its product with V, or None.

    The second sums a rank that the first makes out of its weight, takes an operand that depends on the first's result,
    and adds a third input; the ranks of both batches agree.
    """
    for place, first in enumerate(problem.einsums):
        scores = as_contraction(first)
        if scores is None or not first.output.intermediate:
            continue
        reached = {first.output.tensor}
        for later in problem.einsums[place + 1 :]:
            operands = [use.tensor for use in later.operands]
            if not reached & set(operands):
                continue
            values = as_contraction(later)
            if values is None:
                if first.output.ranks <= set(later.ranks):
                    reached.add(later.output.tensor)
                continue
            if operands[0] in reached and (values.batch, values.m, values.k) == (scores.batch, scores.m, scores.n):
                return AttentionShape(scores.batch, scores.m, scores.n, scores.k, min(use.bits for use in first.uses))
            break
    return None


def attention_io_asymptote_words(n: int, d: int, capacity_words: float, *, queries: int | None = None) -> float:
    """Words moved by attention up to a constant: n^2 d^2 / S for S >= d^2, n^2 d / sqrt(S) below, never under 4 n d.

    Saha and Ye, arXiv 2402.07443, theorems for large and small caches; ``queries`` replaces one n where queries and
    keys differ in number. Indicative: the constant is taken as 1. Raises `InputError` for arguments below 1.
    """
    rows = n if queries is None else queries
    _checked(n, d, capacity_words)
    least = 2.0 * d * (n + rows)
    if capacity_words >= d * d:
        return max(least, float(rows) * n * d * d / capacity_words)
    return max(least, float(rows) * n * d / math.sqrt(capacity_words))


def attention_io_bound_words(n: int, d: int, capacity_words: float) -> float:
    """Least words that any fused loop nest without recomputation moves for one head of attention.

    The scores stay on chip or go through the slow memory, whichever is less. Raises `InputError` for arguments below 1.
    """
    _checked(n, d, capacity_words)
    stores = (capacity_words, capacity_words, capacity_words)
    scores = tiled_io_bits(Contraction(1, n, n, d, (1, 1, 1)), ("root", "root", "either"), stores)
    return scores + tiled_io_bits(Contraction(1, n, d, n, (1, 1, 1)), ("either", "root", "root"), stores)


@dataclass(frozen=True, slots=True)
class AttentionSchedule:
    """A tiled schedule of attention: its name, its blocks of queries and keys, and the words it moves."""

    name: str
    query_block: int
    key_block: int
    words: float


def attention_schedules(n: int, d: int, capacity_words: int) -> tuple[AttentionSchedule, ...]:
    """The best tiles of three schedules of one head of n queries and keys; those that do not fit are left out.

    ``query stationary`` (FlashAttention-2, arXiv 2307.08691): B rows of Q and O with two running values each stay, K
    and V stream past key by key: B (2 d + 3) + 2 d words. ``score stationary``: B x C scores are summed up slice by
    slice of d, then multiplied with V slice by slice; O comes back for every block of keys: B C + 3 B + C words.
    ``spilled scores``: both products keep a B x C block of their result, with B + C words beside it; the scores are
    written, read for the maxima and sums of their rows, and read by the second product.
    """
    _checked(n, d, capacity_words)
    found: list[AttentionSchedule | None] = []
    rows = min(n, (capacity_words - 2 * d) // (2 * d + 3))
    if rows >= 1:
        passes = -(-n // rows)
        found.append(AttentionSchedule("query stationary", -(-n // passes), 1, 2.0 * n * d * (1 + passes)))
    moved, one = float(n * d), float(n * n)
    found.append(_best_blocks("score stationary", n, n, 2.0 * moved, 3.0 * moved, 3, capacity_words, -moved))
    first = _best_blocks("spilled scores", n, n, moved, moved, 1, capacity_words, 2.0 * one)
    second = _best_blocks("spilled scores", n, d, moved, one, 1, capacity_words, moved)
    if first is not None and second is not None:
        found.append(AttentionSchedule(first.name, first.query_block, first.key_block, first.words + second.words))
    return tuple(schedule for schedule in found if schedule is not None)


def _best_blocks(
    name: str, rows: int, columns: int, per_row_pass: float, per_column_pass: float, row_words: int, fits: int,
    always: float,
) -> AttentionSchedule | None:  # fmt: skip
    """The B x C block with B C + row_words B + C <= fits that makes the passes over rows and columns cheapest."""
    best: AttentionSchedule | None = None
    for passes in _passes(rows):
        block = -(-rows // passes)
        across = min(columns, (fits - row_words * block) // (block + 1))
        if across < 1:
            continue
        words = always + per_row_pass * -(-rows // block) + per_column_pass * -(-columns // across)
        if best is None or words < best.words:
            best = AttentionSchedule(name, block, across, words)
    return best


def best_attention_schedule(n: int, d: int, capacity_words: int) -> AttentionSchedule:
    """The schedule of `attention_schedules` that moves the fewest words. Raises `InputError` when none fits."""
    found = attention_schedules(n, d, capacity_words)
    if not found:
        raise InputError(f"{capacity_words} words hold no block of scores", "a few words more", "capacity_words")
    return min(found, key=lambda schedule: schedule.words)


def _passes(n: int) -> list[int]:
    small = range(1, math.isqrt(n) + 2)
    return sorted({*small, *(-(-n // block) for block in small)})


def _checked(n: int, d: int, capacity_words: float) -> None:
    for name, value in (("n", n), ("d", d), ("capacity_words", capacity_words)):
        if value < 1:
            raise InputError(f"{name} is {value:g}", "at least 1", name)
