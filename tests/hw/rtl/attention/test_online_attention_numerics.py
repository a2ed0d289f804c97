"""The golden model of the online-softmax attention engine against exact attention, within its derived bound."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hw.rtl.attention.online_attention_golden import attention_rows, error_bound, powers, row_limit, weight_error
from hw.rtl.attention.online_attention_parameters import OnlineAttention
from workloads.cascades import load_cascade
from workloads.einsum import run_cascade
from workloads.formats.golden.floats import FLOAT_FORMATS, decode, encode

Codes = NDArray[np.int64]
Array = NDArray[np.float64]

LENGTHS = [*range(1, 65), 100, 127, 255, 256, 511, 1000, 1024, 2047, 2048, 3000, 4095, 4096]
SETS: list[dict[str, Any]] = [
    {},
    {"head": 8, "lanes": 4, "block": 16},
    {"head": 8, "lanes": 8, "group": 4, "block": 4, "result": "fp32"},
    {"head": 8, "lanes": 4, "queries": "fp16", "cache": "fp16", "result": "fp16", "precision": 15},
    {"head": 8, "lanes": 8, "cache": "fp8_e4m3", "result": "fp32", "precision": 9, "block": 7},
    {"head": 8, "lanes": 2, "queries": "fp8_e5m2", "cache": "fp8_e5m2", "result": "fp16"},
]


def draw(p: OnlineAttention, count: int, style: str, seed: int = 0) -> tuple[Codes, Codes, Codes]:
    """Queries, keys and values; ``style`` sets the size of the scores, or their order."""
    rng = np.random.default_rng([seed, count])
    q, k, v = (rng.normal(size=(rows, p.head)) for rows in (p.group, count, count))
    if style == "equal":
        k[:] = k[0]
    elif style == "rising":
        q, k = np.abs(q) + 0.1, np.abs(k) * 0.1 + np.linspace(0, 3, count)[:, None]
    elif style == "falling":
        q, k = np.abs(q) + 0.1, np.abs(k) * 0.1 + np.linspace(3, 0, count)[:, None]
    elif style == "outliers":
        v *= np.exp2(rng.integers(-6, 7, v.shape))
    else:
        q *= {"flat": 0.1, "normal": 1.0, "peaked": 8.0}[style]
    return encode(q, p.query_format), encode(k, p.cache_format), encode(v, p.cache_format)


def values(p: OnlineAttention, q: Codes, k: Codes, v: Codes) -> tuple[Array, Array, Array]:
    return decode(q, p.query_format), decode(k, p.cache_format), decode(v, p.cache_format)


def exact_rows(p: OnlineAttention, q: Codes, k: Codes, v: Codes, name: str = "attention-3pass") -> Array:
    """(group, head) rows of a cascade in float64."""
    query, key, value = values(p, q, k, v)
    inputs = {"Q": query[None, None, :, None], "K": key[None, None], "V": value[None, None]}
    return np.asarray(run_cascade(load_cascade(name), inputs)["AV"][0, 0, :, 0])


def worst_share(p: OnlineAttention, q: Codes, k: Codes, v: Codes, name: str = "attention-3pass") -> float:
    """The largest error as a share of its bound."""
    exact = exact_rows(p, q, k, v, name)
    bound = error_bound(p, *values(p, q, k, v), exact)
    assert np.isfinite(bound).all()
    found = decode(attention_rows(p, q, k, v, len(k)), p.result_format)
    return float((np.abs(found - exact) / bound).max())


@pytest.mark.parametrize("chosen", SETS)
def test_within_the_bound_for_every_length(chosen: dict[str, Any]) -> None:
    p = OnlineAttention(**chosen)
    styles = ["flat", "normal", "peaked", "equal", "rising", "falling", "outliers"]
    names = ["attention-1pass", "attention-2pass", "attention-3pass"]
    shares = [
        worst_share(p, *draw(p, count, styles[at % len(styles)]), names[at % len(names)])
        for at, count in enumerate(LENGTHS)
    ]
    assert max(shares) <= 1.0
    # A bound many times the errors would show nothing.
    assert max(shares) > 0.25


@pytest.mark.slow
@pytest.mark.parametrize("chosen", SETS)
@pytest.mark.parametrize("style", ["flat", "normal", "peaked", "equal", "rising", "falling", "outliers"])
def test_within_the_bound_for_every_length_and_style(chosen: dict[str, Any], style: str) -> None:
    p = OnlineAttention(**chosen)
    for seed in range(1, 4):
        assert max(worst_share(p, *draw(p, count, style, seed)) for count in LENGTHS) <= 1.0


def test_bound_is_of_the_size_of_the_last_rounding() -> None:
    # Half a unit of BF16 is 2^-9 of the value's binade; all that goes before it may take a quarter of that: weights
    # are off by 2^-13 (rounding) + ln 2 * 2^-13 (their logarithm) and little else, quotients by 3 * 2^-15.
    p = OnlineAttention(head=8, lanes=8)
    q, k, v = draw(p, 1024, "normal")
    exact = exact_rows(p, q, k, v)
    bound = error_bound(p, *values(p, q, k, v), exact)
    largest = np.abs(decode(v, p.cache_format)).max()
    assert (bound <= 2.0**-9 * 2.0 ** np.floor(np.log2(np.abs(exact))) * 1.001 + 2.0**-11 * largest).all()


def test_in_fp16_with_precision_15() -> None:
    # As above: half a unit of FP16 is 2^-12 of the binade.
    p = OnlineAttention(head=8, lanes=8, queries="fp16", cache="fp16", result="fp16", precision=15)
    q, k, v = draw(p, 1024, "normal")
    exact = exact_rows(p, q, k, v)
    found = decode(attention_rows(p, q, k, v, 1024), p.result_format)
    largest = np.abs(decode(v, p.cache_format)).max()
    assert (np.abs(found - exact) <= 2.0**-12 * 2.0 ** np.floor(np.log2(np.abs(exact))) + 2.0**-14 * largest).all()


@pytest.mark.parametrize("precision", range(6, 17))
def test_weights_over_all_fractions(precision: int) -> None:
    p = OnlineAttention(precision=precision)
    fractions = np.arange(1 << precision)
    found = powers(p, fractions)
    assert found[0] == 1 << precision
    assert found.max() < 2 << precision
    assert (np.diff(found) >= 0).all()
    error = np.abs(np.log(found / (1 << precision)) - fractions / (1 << precision) * np.log(2)).max()
    assert error <= weight_error(p)
    assert weight_error(p) < 2.0**-precision  # a weight may not be off by more than its last bit


def one(value: float, name: str = "bf16") -> int:
    return int(encode([value], FLOAT_FORMATS[name])[0])


def test_by_hand() -> None:
    p = OnlineAttention(head=1, lanes=1, group=1)
    # No query: equal weights; (1 + 3) / 2 = 2, (1 + 3 - 7) / 3 = -1.
    q = np.array([[0]])
    k = np.array([[one(5.0)], [one(-2.0)], [0]])
    v = np.array([[one(1.0)], [one(3.0)], [one(-7.0)]])
    assert attention_rows(p, q, k, v, 2).tolist() == [[one(2.0)]]
    assert attention_rows(p, q, k, v, 3).tolist() == [[one(-1.0)]]
    # One position that counts has all the weight.
    assert attention_rows(p, q, k, v, 1).tolist() == [[one(1.0)]]
    # Scores 0 and ln 3: weights 1/4 and 3/4; (-4 + 3 * 4) / 4 = 2, off by BF16's ln 3 (2^-9 of it) and roundings.
    q, k = np.array([[one(1.0)]]), np.array([[0], [one(float(np.log(3.0)))]])
    found = decode(attention_rows(p, q, k, np.array([[one(-4.0)], [one(4.0)]]), 2), p.result_format)
    assert abs(found[0, 0] - 2.0) <= 2.0**-7


@pytest.mark.parametrize("chosen", SETS)
def test_huge_scores_pick_one_position(chosen: dict[str, Any]) -> None:
    p = OnlineAttention(**chosen)
    rng = np.random.default_rng(5)
    for sign in (1.0, -1.0):
        k = np.abs(rng.normal(size=(33, p.head))) * 0.5
        k[20] = 0.0 if sign < 0 else 8.0
        q = np.full((p.group, p.head), sign * 240.0)
        v = encode(rng.normal(size=k.shape), p.cache_format)
        rows = attention_rows(p, encode(q, p.query_format), encode(k, p.cache_format), v, 33)
        value = np.broadcast_to(decode(v[20], p.cache_format), rows.shape)
        # Three cuts of the quotient remain, which BF16 and FP16 round away.
        np.testing.assert_allclose(decode(rows, p.result_format), value, rtol=3.01 * 2.0 ** (1 - p.quotient_bits))


def test_scores_beyond_the_range_saturate() -> None:
    p = OnlineAttention(head=2, lanes=2, group=1)
    top, v = one(2.0**60), np.array([[one(1.0)] * 2, [one(2.0)] * 2, [one(4.0)] * 2])
    q = np.array([[top, 0]])
    # One beyond the top outweighs the others; so do all that are not beyond the bottom.
    assert attention_rows(p, q, np.array([[0, 0], [top, 0], [0, 0]]), v, 3).tolist() == [[one(2.0)] * 2]
    bottom = one(-(2.0**60))
    assert attention_rows(p, q, np.array([[bottom, 0], [bottom, 0], [0, 0]]), v, 3).tolist() == [[one(4.0)] * 2]
    # Beyond on the same side they are equal: (1 + 2) / 2, whatever they were.
    found = attention_rows(p, q, np.array([[top, 0], [one(2.0**70), 0], [0, 0]]), v, 3)
    assert found.tolist() == [[one(1.5)] * 2]


def test_equal_scores_average_the_values() -> None:
    p = OnlineAttention(head=2, lanes=2, group=1)
    v = encode(np.arange(8192).reshape(4096, 2) % 7 - 3.0, p.cache_format)
    k = np.full((4096, 2), one(3.0))
    for count in (7, 700, 4095):  # whole cycles of -3 ... 3: the mean is 0, and of integers exactly so
        found = decode(attention_rows(p, np.full((1, 2), one(3.0)), k, v, count), p.result_format)
        assert np.abs(found).max() <= 3 * 2.0**-14


def test_rows_without_positions_are_zero() -> None:
    p = OnlineAttention()
    q, k, v = draw(p, 5, "normal")
    assert not attention_rows(p, q, k, v, 0).any()


@pytest.mark.parametrize("chosen", SETS)
def test_hidden_positions_do_not_matter(chosen: dict[str, Any]) -> None:
    p = OnlineAttention(**chosen)
    q, k, v = draw(p, 20, "normal")
    rows = attention_rows(p, q, k[:13], v[:13], 13)
    k[13:] = v[13:] = p.cache_format.largest_code + 1  # NaN or infinity
    np.testing.assert_array_equal(attention_rows(p, q, k, v, 13), rows)


def test_what_is_no_number_stays_where_it_is_read() -> None:
    p = OnlineAttention(head=4, lanes=2, group=2)
    nan = p.cache_format.nan_code
    assert nan is not None
    q, k, v = draw(p, 6, "normal")
    plain = attention_rows(p, q, k, v, 6)

    changed = v.copy()
    changed[3, 1] = nan
    rows = attention_rows(p, q, k, changed, 6)
    assert (rows[:, 1] == nan).all()
    quiet = v.copy()
    quiet[3, 1] = 0
    np.testing.assert_array_equal(rows[:, [0, 2, 3]], attention_rows(p, q, k, quiet, 6)[:, [0, 2, 3]])

    changed = q.copy()
    changed[1, 0] = p.query_format.largest_code + 1  # infinity
    rows = attention_rows(p, changed, k, v, 6)
    np.testing.assert_array_equal(rows[0], plain[0])
    assert (rows[1] == nan).all()

    changed = k.copy()
    changed[5, 3] = nan
    assert (attention_rows(p, q, changed, v, 6) == nan).all()


@pytest.mark.parametrize("name", ["attention-1pass-causal", "attention-2pass-causal", "attention-3pass-causal"])
@pytest.mark.parametrize("block", [1, 4])
def test_causal_rows_within_the_bound(name: str, block: int) -> None:
    """Five queries at the end of 23 positions, two for each key-value head: query 18 + i sees 19 + i positions."""
    p = OnlineAttention(head=8, lanes=4, group=2, block=block, causal=True)
    rng = np.random.default_rng(11)
    queries = encode(rng.normal(size=(5, 2, 8)), p.query_format)
    k, v = (encode(rng.normal(size=(23, 8)), p.cache_format) for _ in "kv")
    inputs = {
        "Q": decode(queries, p.query_format).transpose(1, 0, 2)[None, None],
        "K": decode(k, p.cache_format)[None, None],
        "V": decode(v, p.cache_format)[None, None],
    }
    exact = run_cascade(load_cascade(name), inputs)["AV"][0, 0]  # (group, 5, head)
    for at, q in enumerate(queries):
        limit = row_limit(p, 23, 18 + at)
        assert limit == 19 + at
        found = decode(attention_rows(p, q, k, v, limit), p.result_format)
        bound = error_bound(p, *values(p, q, k[:limit], v[:limit]), exact[:, at])
        assert (np.abs(found - exact[:, at]) <= bound).all()


def test_length_and_position_both_hide() -> None:
    plain, causal = OnlineAttention(), OnlineAttention(causal=True)
    assert row_limit(plain, 7, 3) == 7
    assert row_limit(causal, 7, 3) == 4
    assert row_limit(causal, 2, 3) == 2
