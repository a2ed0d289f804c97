"""Lower bounds of a matrix product: published values, every small nest, every order of a tiny product."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappers.bounds import gemm_any_schedule_words, gemm_io_bound_words, gemm_tiled_io_words
from mappers.bounds.contraction import Contraction, tiled_io_bits
from tests.mappers.bounds.nests import footprint, nests, walked_traffic
from workloads.errors import InputError


def test_closed_form_of_the_1024_product() -> None:
    # 524,288 bits of 8-bit words: 2 M N K / sqrt(S) + M N = 2 * 1024^3 / 256 + 1024^2, exact in floats.
    assert gemm_io_bound_words(1024, 1024, 1024, 65536) == 9_437_184


def test_published_optima_are_not_below_the_bound() -> None:
    # AccelForge at 1c1929c2, words moved at its optima: 1024^3 with divisors and with imperfect tiles.
    assert gemm_tiled_io_words(1024, 1024, 1024, 65536) <= 10_485_760 <= 13_631_488
    # 512^3 with 131,072 bits: A 8 times, W 4 times, Z once, from its 16,777,216 + 8,388,608 bits and one result.
    assert gemm_tiled_io_words(512, 512, 512, 16384) <= (16_777_216 + 8_388_608) / 8 + 512 * 512


def test_bound_of_smith_et_al() -> None:
    # arXiv 1702.02017: 2 m n k / sqrt(S) - 2 S.
    assert gemm_any_schedule_words(1024, 1024, 1024, 65536) == pytest.approx(
        2 * 1024**3 / math.sqrt(65536) - 2 * 65536, rel=1e-12
    )


def test_small_k_is_no_exception_to_the_bound() -> None:
    # With k < 2 sqrt(S), keeping A and writing each result once moves less than 2 m n k / sqrt(S) + m n.
    m = n = 4096
    k, words = 64, 128 * 128
    kept = m * k + m * n + n * k * math.ceil(m / (words // k))
    assert kept < 2 * m * n * k / math.sqrt(words) + m * n
    assert gemm_tiled_io_words(m, n, k, words) <= kept
    assert gemm_any_schedule_words(m, n, k, words) <= kept


def test_everything_fits() -> None:
    for form in (gemm_io_bound_words, gemm_tiled_io_words, gemm_any_schedule_words):
        assert form(5, 7, 3, math.inf) == 5 * 3 + 3 * 7 + 5 * 7
        assert form(5, 7, 3, 10**6) == 5 * 3 + 3 * 7 + 5 * 7


@given(*(st.integers(1, 300) for _ in range(3)), st.integers(1, 5000))
def test_forms_are_ordered_and_fall_with_the_capacity(m: int, n: int, k: int, words: int) -> None:
    smooth, whole = gemm_io_bound_words(m, n, k, words), gemm_tiled_io_words(m, n, k, words)
    assert m * k + k * n + m * n <= smooth * (1 + 1e-12)
    assert smooth <= whole * (1 + 1e-12)
    assert gemm_tiled_io_words(m, n, k, words + 1) <= whole
    assert gemm_tiled_io_words(n, m, k, words) == whole


def _least_by_capacity(sizes: dict[str, int]) -> dict[int, int]:
    """Words on chip -> least words moved, over every nest."""
    least: dict[int, int] = {}
    traffic: dict[object, int] = {}
    for stores, gaps in nests(sizes):
        held = footprint(sizes, stores, gaps)
        key = stores, tuple(map(tuple, gaps))
        if key not in traffic:
            traffic[key] = walked_traffic(sizes, stores, gaps)
        least[held] = min(least.get(held, 10**9), traffic[key])
    return least


@pytest.mark.parametrize(
    "sizes", [(3, 3, 2), (2, 3, 3), (4, 2, 2), (1, 3, 4), pytest.param((3, 3, 3), marks=pytest.mark.slow)]
)
def test_no_nest_moves_less(sizes: tuple[int, int, int]) -> None:
    m, n, k = sizes
    least, reached = _least_by_capacity({"m": m, "n": n, "k": k}), 0
    best = 10**9
    for held in sorted(least):
        best = min(best, least[held])
        bound = gemm_tiled_io_words(m, n, k, held)
        assert bound <= best, held
        reached += bound == best
    assert reached > 0  # somewhere the bound is exact: with everything on chip, if not before


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        *(((sizes), words) for sizes in ((2, 2, 1), (1, 2, 2)) for words in (3, 4, 5)),
        *(
            pytest.param(sizes, words, marks=pytest.mark.slow)
            for sizes in ((2, 2, 2), (3, 2, 1), (1, 2, 3), (2, 1, 3))
            for words in (3, 4, 5)
        ),
    ],
)
def test_no_order_of_a_tiny_product_moves_less(sizes: tuple[int, int, int], words: int) -> None:
    assert gemm_any_schedule_words(*sizes, words) <= _pebbles(*sizes, words)


def _pebbles(m: int, n: int, k: int, words: int) -> int:
    """Least reads and writes over all orders of the operations, by Dijkstra over the states of the fast memory.

    A state is which operands are there, which results are there, which products each result has, and which results
    were changed since they were last written. Multiplying costs nothing, so all that is possible is done at once.
    """
    a_of = {(i, p): i * k + p for i in range(m) for p in range(k)}
    b_of = {(p, j): p * n + j for p in range(k) for j in range(n)}
    results = [(i, j) for i in range(m) for j in range(n)]
    full = (1 << k) - 1

    @cache
    def possible(a: int, b: int, c: int) -> int:
        i, j = results[c]
        return sum(1 << p for p in range(k) if a >> a_of[i, p] & 1 and b >> b_of[p, j] & 1)

    State = tuple[int, int, tuple[tuple[bool, bool, int], ...]]
    start: State = (0, 0, tuple((False, False, 0) for _ in results))
    queue: list[tuple[int, int, State]] = [(0, 0, start)]
    known = {start: 0}
    ticket = itertools.count(1)
    while queue:
        cost, _, state = heapq.heappop(queue)
        if cost > known[state]:
            continue
        a, b, cs = state
        if all(not there and done == full for there, _, done in cs):
            return cost
        moves: list[tuple[int, State]] = []
        free = words - a.bit_count() - b.bit_count() - sum(there for there, _, _ in cs)
        moves.extend((0, (a & ~(1 << x), b, cs)) for x in range(m * k) if a >> x & 1)
        moves.extend((0, (a, b & ~(1 << x), cs)) for x in range(k * n) if b >> x & 1)
        if free:
            moves.extend((1, (a | 1 << x, b, cs)) for x in range(m * k) if not a >> x & 1)
            moves.extend((1, (a, b | 1 << x, cs)) for x in range(k * n) if not b >> x & 1)
        for place, (there, changed, done) in enumerate(cs):
            if there:  # leaves, and is written if it holds anything new
                moves.append((int(changed), (a, b, (*cs[:place], (False, False, done), *cs[place + 1 :]))))
            elif free and done != full:  # comes back, or is begun
                moves.append((int(done != 0), (a, b, (*cs[:place], (True, False, done), *cs[place + 1 :]))))
        for price, (na, nb, ncs) in moves:
            grown = []
            for place, (there, changed, done) in enumerate(ncs):
                more = done | possible(na, nb, place) if there else done
                grown.append((there, changed or more != done, more))
            reached: State = (na, nb, tuple(grown))
            if cost + price < known.get(reached, 10**9):
                known[reached] = cost + price
                heapq.heappush(queue, (cost + price, next(ticket), reached))
    raise AssertionError("no order computes the product")


@pytest.mark.parametrize("words", [3, 4, 6, 9, 12])
def test_no_played_order_moves_less(words: int) -> None:
    # Orders too long to enumerate: tiled, or drawn at random, with the farthest next use evicted (Belady).
    rng = random.Random(words)
    for m, n, k in ((6, 6, 6), (8, 8, 3), (4, 9, 5)):
        points = list(itertools.product(range(m), range(n), range(k)))
        side = max(1, math.isqrt(words) - 1)
        orders = [
            sorted(points, key=lambda p: (p[0] // side, p[1] // side, p[2], p[0], p[1])),
            sorted(points, key=lambda p: (p[0] // side, p[2] // side, p[1], p[0], p[2])),
            rng.sample(points, len(points)),
        ]
        least = min(_belady(order, words) for order in orders)
        assert gemm_any_schedule_words(m, n, k, words) <= least


def _belady(order: list[tuple[int, int, int]], words: int) -> int:
    uses: dict[tuple[str, int, int], list[int]] = {}
    triples = [(("A", i, p), ("B", p, j), ("C", i, j)) for i, j, p in order]
    for time, triple in enumerate(triples):
        for name in triple:
            uses.setdefault(name, []).append(time)
    there: set[tuple[str, int, int]] = set()
    begun: set[tuple[str, int, int]] = set()
    moved = 0
    for triple in triples:
        for name in triple:
            if name not in there:
                if len(there) == words:
                    spare = [other for other in there if other not in triple]
                    out = max(spare, key=lambda other: uses[other][0] if uses[other] else 10**9)
                    there.remove(out)
                    moved += out[0] == "C"  # a sum, partial or final, is written
                there.add(name)
                moved += name[0] != "C" or name in begun
                begun.add(name)
        for name in triple:
            uses[name].pop(0)
    return moved + sum(name[0] == "C" for name in there)


def test_intermediates_on_chip_cost_nothing_but_their_stay() -> None:
    # 4096 x 4096 scores of width 64 with 16 Ki words: Q once, K once for each of 4096 / (16384 / 64) = 16 blocks.
    scores = Contraction(1, 4096, 4096, 64, (1, 1, 1))
    stores = (16384.0, 16384.0, 16384.0)
    assert tiled_io_bits(scores, ("root", "root", "chip"), stores) == 4096 * 64 * (1 + 16)
    # An operand on chip that must serve all 64 columns in one stay leaves a block of 256 rows: V 16 times, O once.
    values = Contraction(1, 4096, 64, 4096, (1, 1, 1))
    assert tiled_io_bits(values, ("chip", "root", "root"), stores) == 4096 * 64 * (16 + 1)
    assert tiled_io_bits(values, ("free", "root", "root"), stores) <= 4096 * 64 * (16 + 1)


@pytest.mark.parametrize("arguments", [(0, 1, 1, 1), (1, 0, 1, 1), (1, 1, 0, 1), (1, 1, 1, 0.5)])
def test_nothing_below_one(arguments: tuple[int, int, int, float]) -> None:
    with pytest.raises(InputError, match="at least 1"):
        gemm_io_bound_words(*arguments)
