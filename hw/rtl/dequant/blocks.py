"""Block dot products: what the units of every block format share, apart from circuits.

A block is ``block`` elements in beats of ``lanes``, or fewer where a beat that closes the sum comes before its end.
Inside a block the sum of products is an exact integer; times two to the block's exponent it is added to an FP32
accumulator, which begins at +0 and is rounded once behind every block, in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from hw.rtl.dequant.exact import BlockSum, Special, sum_of_blocks
from workloads.errors import InputError
from workloads.formats.golden.floats import FP32

__all__ = [
    "blocks_to_repeat",
    "check_block",
    "closing_beats",
    "drawn_lasts",
    "golden_sums",
    "meeting_exponents",
    "meeting_integers",
    "result_goals",
]

Bits = NDArray[np.int64]


def check_block(block: int, lanes: int) -> None:
    """`InputError` unless ``block`` elements are whole beats of ``lanes``."""
    if not 1 <= block <= 256:
        raise InputError(f"{block} elements a block", "from 1 to 256", "block")
    if not 1 <= lanes <= block or block % lanes:
        raise InputError(f"{lanes} lanes for blocks of {block}", f"a divisor of {block}", "lanes")


def closing_beats(last: Bits, beats_per_block: int) -> Bits:
    """Numbers of the beats that close a block: the last of ``beats_per_block``, or one that closes the sum."""
    closing, begun = [], 0
    for beat, closes in enumerate(last.tolist()):
        if closes or beat - begun == beats_per_block - 1:
            closing.append(beat)
            begun = beat + 1
    return np.array(closing, np.int64)


def golden_sums(
    terms: Sequence[int],
    exponents: Sequence[int],
    specials: tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]],
    last: Bits,
    beats_per_block: int,
) -> Bits:
    """FP32 codes of the closed sums.

    ``terms`` are the exact sums of products of each beat, ``exponents`` those a block would have if the beat closed
    it; ``specials`` say of each beat whether it brings a NaN, +infinity, -infinity.
    """
    blocks, begin = [], 0
    for beat in closing_beats(last, beats_per_block).tolist():
        inside = slice(begin, beat + 1)
        nan, plus, minus = (bool(flags[inside].any()) for flags in specials)
        kind: Special | None = "nan" if nan or (plus and minus) else "+inf" if plus else "-inf" if minus else None
        blocks.append(BlockSum(sum(terms[inside]), exponents[beat], kind, bool(last[beat])))
        begin = beat + 1
    return np.array(sum_of_blocks(blocks, FP32), np.int64)


def drawn_lasts(rng: np.random.Generator, beats: int, beats_per_block: int) -> Bits:
    """Where sums end: mostly with a block, some within one."""
    last = np.zeros(beats, np.int64)
    end = -1
    while end < beats - 1:
        whole = int(rng.integers(1, 7)) * beats_per_block
        end += whole if rng.random() < 0.8 else int(rng.integers(1, whole + 1))
        last[min(end, beats - 1)] = 1
    return last


def meeting_exponents() -> NDArray[np.int64]:
    """Exponents (pairs, 2) of the two blocks of a sum: the second lower by any distance at which rounding to FP32
    shows, and higher by some."""
    distances = np.array([*range(-32, -2), 8, 16, 24, 32])
    return np.stack([np.zeros_like(distances), distances], axis=1)


def meeting_integers(block: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Elements, as integers of at most 3 in magnitude, of both operands of two blocks (2, ``block``): the sum of the
    first is 1, a power of two, that of the second negative and odd. Their sum loses a leading bit, and its tail
    reaches any place below."""
    a, b = np.zeros((2, block), np.int64), np.zeros((2, block), np.int64)
    a[0, 0] = b[0, 0] = 1
    a[1], b[1] = 3, -3
    if block % 2 == 0:
        b[1, 0] = -2
    return a, b


def blocks_to_repeat(rng: np.random.Generator, last: Bits, beats_per_block: int) -> list[tuple[slice, slice]]:
    """(beats of a block, beats of the one before it in its sum), whole blocks both, for about a fifth of them: with
    opposite signs the one takes away what the other added."""
    pairs = []
    closing = closing_beats(last, beats_per_block)
    for before, here in pairwise(closing.tolist()):
        whole = here - before == beats_per_block and before + 1 >= beats_per_block
        if whole and not last[before] and rng.random() < 0.2:
            begin = before + 1
            pairs.append((slice(begin, begin + beats_per_block), slice(begin - beats_per_block, begin)))
    return pairs


def result_goals(last: Bits, sums: Bits, beats_per_block: int) -> dict[str, bool]:
    """Situations of sums and of their results."""
    magnitude = sums & 0x7FFFFFFF
    closing = closing_beats(last, beats_per_block)
    lengths = np.diff(closing, prepend=-1)
    ends = last[closing]
    counts = np.diff(np.flatnonzero(ends), prepend=-1)
    goals = {
        "sum of one block": bool((counts == 1).any()),
        "sum of several blocks": bool((counts > 2).any()),
        "result: +0": bool((sums == 0).any()),
        "result: subnormal": bool(((magnitude > 0) & (magnitude < 1 << 23)).any()),
        "result: positive": bool(((sums > 0) & (sums < 0x7F800000)).any()),
        "result: negative": bool(((sums > 0x80000000) & (sums < 0xFF800000)).any()),
        "result: infinite": bool((magnitude == 0x7F800000).any()),
    }
    if beats_per_block > 1:
        goals["sum that ends within a block"] = bool((lengths < beats_per_block).any())
    return goals
