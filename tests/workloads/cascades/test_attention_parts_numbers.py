"""Attention in parts, over integers and over chosen pages, against a plain numpy softmax."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from workloads.cascades import load_cascade
from workloads.einsum import run_cascade

Array = NDArray[np.float64]
SIZES = st.integers(1, 4)


def attention(q: Array, k: Array, v: Array) -> tuple[Array, Array]:
    """softmax(Q K^T / sqrt(e)) V for Q[b,h,g,p,e], K[b,h,m,e], V[b,h,m,f], and the log of the sum of exponentials."""
    scores = np.einsum("bhgpe,bhme->bhgpm", q, k) / np.sqrt(q.shape[-1])
    most = scores.max(axis=-1, keepdims=True)
    weights = np.exp(scores - most)
    total = weights.sum(axis=-1, keepdims=True)
    return np.einsum("bhgpm,bhmf->bhgpf", weights / total, v), (np.log(total) + most)[..., 0]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32), b=SIZES, h=SIZES, g=SIZES, shared=st.integers(1, 9), own=st.integers(1, 9),
    tile=st.integers(1, 5), scale=st.sampled_from([1e-3, 1.0, 200.0]),
)  # fmt: skip
def test_parts_that_are_merged_equal_attention_over_all_keys(
    seed: int, b: int, h: int, g: int, shared: int, own: int, tile: int, scale: float
) -> None:
    """Keys and values that all sequences share, read once as one attention of all queries; then the merge."""
    rng = np.random.default_rng(seed)
    q = rng.normal(size=(b, h, g, 1, 3)) * scale
    ks, vs = rng.normal(size=(h, shared, 3)), rng.normal(size=(h, shared, 2))
    k, v = rng.normal(size=(b, h, own, 3)), rng.normal(size=(b, h, own, 2))
    part = load_cascade("attention-1pass-lse")
    rows = np.moveaxis(q, 0, 3).reshape(1, h, g, b, 3)
    of_all = run_cascade(part, {"Q": rows, "K": ks[None], "V": vs[None]}, {"m0": tile})
    of_each = run_cascade(part, {"Q": q, "K": k, "V": v}, {"m0": tile})
    np.testing.assert_allclose(of_each["LSE"], attention(q, k, v)[1], rtol=1e-9, atol=1e-9)
    again = {
        "AV": np.moveaxis(of_all["AV"].reshape(h, g, b, 2), 2, 0).reshape(-1, 2),
        "LSE": np.moveaxis(of_all["LSE"].reshape(h, g, b), 2, 0).reshape(-1),
    }
    pair = {"AVX": np.stack([again["AV"], of_each["AV"].reshape(-1, 2)])}
    pair["LSE"] = np.stack([again["LSE"], of_each["LSE"].reshape(-1)])
    found = run_cascade(load_cascade("attention-merge"), pair)["AV"].reshape(b, h, g, 1, 2)
    whole_k = np.concatenate([np.broadcast_to(ks, (b, *ks.shape)), k], axis=2)
    whole_v = np.concatenate([np.broadcast_to(vs, (b, *vs.shape)), v], axis=2)
    np.testing.assert_allclose(found, attention(q, whole_k, whole_v)[0], rtol=1e-9, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), b=SIZES, h=SIZES, g=SIZES, m=st.integers(1, 9), tile=st.integers(1, 4))
def test_integers_that_are_multiplied_out(seed: int, b: int, h: int, g: int, m: int, tile: int) -> None:
    rng = np.random.default_rng(seed)
    q = rng.normal(size=(b, h, g, 1, 3))
    ki, vi = rng.integers(-8, 8, (b, h, m, 3)), rng.integers(-8, 8, (b, h, m, 2))
    ks, vs = rng.random((b, h, m)), rng.random((b, h, m))
    inputs = {"Q": q, "KI": ki, "KS": ks, "VI": vi, "VS": vs}
    found = run_cascade(load_cascade("attention-1pass-dequantise"), inputs, {"m0": tile})["AV"]
    np.testing.assert_allclose(found, attention(q, ki * ks[..., None], vi * vs[..., None])[0], rtol=1e-9, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), rows=st.integers(1, 9), columns=SIZES, group=st.integers(1, 4))
def test_weights_that_are_multiplied_out(seed: int, rows: int, columns: int, group: int) -> None:
    rng = np.random.default_rng(seed)
    weights, scales = rng.integers(-8, 8, (rows, columns)), rng.random((-(-rows // group), columns))
    found = run_cascade(load_cascade("dequantise"), {"WI": weights, "S": scales}, {"k": group})["W"]
    np.testing.assert_allclose(found, weights * np.repeat(scales, group, axis=0)[:rows])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), b=SIZES, h=SIZES, g=SIZES, pages=st.integers(1, 5), page=st.integers(1, 4))
def test_page_scores_bound_every_score_and_pick_the_best(
    seed: int, b: int, h: int, g: int, pages: int, page: int
) -> None:
    rng = np.random.default_rng(seed)
    q, k = rng.normal(size=(b, h, g, 3)), rng.normal(size=(b, h, pages, page, 3))
    least, most = k.min(axis=3), k.max(axis=3)
    chosen = int(rng.integers(1, pages + 1))
    inputs = {"Q": q, "KMIN": least, "KMAX": most}
    found = run_cascade(load_cascade("page-scores"), inputs, {"k": chosen}, intermediates=True)
    scores = np.einsum("bhge,bhnse->bhgns", q, k)
    assert np.all(found["S"] >= scores.max(axis=-1) - 1e-12)
    best = np.sort(found["S"], axis=-1)[..., ::-1][..., :chosen]
    np.testing.assert_allclose(np.take_along_axis(found["S"], found["PI"].astype(int), axis=-1), best)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), b=SIZES, h=SIZES, g=SIZES, n=st.integers(1, 6))
def test_channel_scores_pick_the_best_by_few_channels(seed: int, b: int, h: int, g: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    q, k = rng.normal(size=(b, h, g, 3)), rng.normal(size=(b, h, n, 3))
    chosen = int(rng.integers(1, n + 1))
    found = run_cascade(load_cascade("channel-scores"), {"Q": q, "KC": k}, {"k": chosen}, intermediates=True)
    scores = np.einsum("bhge,bhne->bhgn", q, k)
    np.testing.assert_allclose(found["S"], scores)
    best = np.sort(scores, axis=-1)[..., ::-1][..., :chosen]
    np.testing.assert_allclose(np.take_along_axis(scores, found["TI"].astype(int), axis=-1), best)
