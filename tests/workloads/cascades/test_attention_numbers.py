"""Attention cascades against a plain numpy softmax, on random shapes and hostile inputs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from workloads.cascades import load_cascade
from workloads.einsum import run_cascade

Array = NDArray[np.float64]
SIZES = st.integers(1, 4)
STYLES = st.sampled_from(["normal", "equal", "huge", "tiny"])


def numbers(rng: np.random.Generator, style: str, *shape: int) -> Array:
    """Random values: ordinary ones, all equal, of a size whose exponential overflows, or near zero."""
    values = rng.normal(size=shape)
    return {"normal": values, "equal": np.full(shape, 0.75), "huge": values * 300, "tiny": values * 1e-200}[style]


def softmax(scores: Array) -> Array:
    with np.errstate(invalid="ignore"):
        shifted = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))


def attention(q: Array, k: Array, v: Array, keep: Array | None = None) -> Array:
    """softmax(Q K^T / sqrt(e)) V for Q[b,h,g,p,e], K[b,h,m,e], V[b,h,m,f]; ``keep[p, m]`` marks visible keys."""
    scores = np.einsum("bhgpe,bhme->bhgpm", q, k) / np.sqrt(q.shape[-1])
    if keep is not None:
        scores = np.where(keep, scores, -np.inf)
    return np.asarray(np.einsum("bhgpm,bhmf->bhgpf", softmax(scores), v))


def causal(p: int, m: int) -> Array:
    return np.tril(np.ones((p, m), dtype=bool), k=m - p)


def gqa_inputs(rng: np.random.Generator, style: str, b: int, h: int, g: int, p: int, m: int) -> dict[str, Array]:
    return {
        "Q": numbers(rng, style, b, h, g, p, 3),
        "K": numbers(rng, style, b, h, m, 3),
        "V": rng.normal(size=(b, h, m, 2)),
    }


def close(found: Array, expected: Array) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


PLAIN = ["attention-3pass", "attention-2pass", "attention-1pass"]
CAUSAL = ["attention-3pass-causal", "attention-2pass-causal", "attention-1pass-causal"]
WINDOWED = ["attention-3pass-window", "attention-1pass-window"]
SINKS = ["attention-3pass-sink", "attention-1pass-sink"]


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(PLAIN + CAUSAL + WINDOWED + SINKS), style=STYLES, seed=st.integers(0, 2**32), b=SIZES, h=SIZES,
    g=SIZES, p=st.integers(1, 6), more=st.integers(0, 9), tile=st.integers(1, 5), window=st.integers(1, 5),
)  # fmt: skip
def test_grouped_query_attention(
    name: str, style: str, seed: int, b: int, h: int, g: int, p: int, more: int, tile: int, window: int
) -> None:
    """Every form at every pass count, with tiles that need not divide the keys."""
    rng = np.random.default_rng(seed)
    m = p + more
    inputs = gqa_inputs(rng, style, b, h, g, p, m)
    sizes: dict[str, float] = {} if "3pass" in name else {"m0": tile}
    keep = None if name in PLAIN else causal(p, m)
    if name in WINDOWED:
        sizes["window"] = window
        keep = causal(p, m) & ~np.tril(np.ones((p, m), dtype=bool), k=m - p - window)
    if name in SINKS:
        sink = rng.normal(size=(h, g))
        scores = np.where(causal(p, m), np.einsum("bhgpe,bhme->bhgpm", inputs["Q"], inputs["K"]) / np.sqrt(3), -np.inf)
        column = np.broadcast_to(sink[None, :, :, None, None], (*scores.shape[:-1], 1))
        weights = softmax(np.concatenate([scores, column], axis=-1))[..., :-1]
        expected = np.einsum("bhgpm,bhmf->bhgpf", weights, inputs["V"])
        inputs["SINK"] = sink
    else:
        expected = attention(inputs["Q"], inputs["K"], inputs["V"], keep)
    close(run_cascade(load_cascade(name), inputs, sizes)["AV"], expected)


@pytest.mark.parametrize("name", PLAIN)
def test_scores_of_minus_infinity(name: str) -> None:
    """Keys at minus infinity get no weight, also where they fill a whole tile at the start or the end."""
    rng = np.random.default_rng(1)
    q, v = np.ones((1, 1, 1, 2, 1)), rng.normal(size=(1, 1, 12, 3))
    k = rng.normal(size=(1, 1, 12, 1))
    k[:, :, [0, 1, 2, 3, 6, 10, 11], :] = -np.inf
    sizes = {} if "3pass" in name else {"m0": 2}
    close(run_cascade(load_cascade(name), {"Q": q, "K": k, "V": v}, sizes)["AV"], attention(q, k, v))


def test_the_masked_start_of_a_window_leaves_the_running_maximum_finite() -> None:
    rng = np.random.default_rng(2)
    inputs = gqa_inputs(rng, "normal", 1, 1, 1, 16, 16)
    found = run_cascade(load_cascade("attention-1pass-window"), inputs, {"m0": 2, "window": 1})["AV"]
    close(found, np.broadcast_to(inputs["V"][:, :, None], found.shape))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    p=st.integers(1, 7),
    m=st.integers(1, 7),
    tile_p=st.integers(1, 3),
    tile_m=st.integers(1, 3),
)
def test_block_sparse(seed: int, p: int, m: int, tile_p: int, tile_m: int) -> None:
    rng = np.random.default_rng(seed)
    inputs = gqa_inputs(rng, "normal", 1, 2, 1, p, m)
    blocks = (rng.random((-(-p // tile_p), -(-m // tile_m))) < 0.5).astype(float)
    blocks[:, 0] = 1  # a row without any block has no softmax
    keep = np.repeat(np.repeat(blocks, tile_p, 0)[:p], tile_m, 1)[:, :m] > 0
    name = "attention-1pass-block-sparse"
    found = run_cascade(load_cascade(name), inputs | {"BM": blocks}, {"p0": tile_p, "m0": tile_m})["AV"]
    close(found, attention(inputs["Q"], inputs["K"], inputs["V"], keep))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), b=SIZES, pages=st.integers(1, 3), page=st.integers(1, 4))
def test_paged(seed: int, b: int, pages: int, page: int) -> None:
    """Keys read through a page table equal the same keys laid end to end; short sequences stop at their length."""
    rng = np.random.default_rng(seed)
    table = rng.permutation(b * pages).reshape(b, pages)
    k, v = rng.normal(size=(b * pages, 2, page, 3)), rng.normal(size=(b * pages, 2, page, 2))
    length = rng.integers(1, pages * page + 1, size=b)
    q = rng.normal(size=(b, 2, 2, 1, 3))
    inputs = {"Q": q, "K": k, "V": v, "PT": table, "LEN": length}
    found = run_cascade(load_cascade("attention-1pass-paged"), inputs)["AV"]
    for row in range(b):
        dense_k, dense_v = (x[table[row]].transpose(1, 0, 2, 3).reshape(1, 2, pages * page, -1) for x in (k, v))
        keep = np.arange(pages * page)[None, :] < length[row]
        close(found[row : row + 1], attention(q[row : row + 1], dense_k, dense_v, keep))


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(["mla-absorbed", "mla-unabsorbed", "mla-absorbed-1pass"]), seed=st.integers(0, 2**32), b=SIZES,
    h=SIZES, p=SIZES, more=st.integers(0, 5),
)  # fmt: skip
def test_latent_attention(name: str, seed: int, b: int, h: int, p: int, more: int) -> None:
    rng = np.random.default_rng(seed)
    m, c, e, r, f = p + more, 5, 3, 2, 4
    shapes = {
        "QN": (b, h, p, e),
        "QR": (b, h, p, r),
        "C": (b, m, c),
        "KR": (b, m, r),
        "WUK": (h, c, e),
        "WUV": (h, c, f),
    }
    inputs = {key: rng.normal(size=shape) for key, shape in shapes.items()}
    sizes = {"m0": 2} if "1pass" in name else {}
    k = np.concatenate(
        [np.einsum("bmc,hce->bhme", inputs["C"], inputs["WUK"]), np.broadcast_to(inputs["KR"][:, None], (b, h, m, r))],
        -1,
    )
    q = np.concatenate([inputs["QN"], inputs["QR"]], -1)[:, :, None]
    v = np.einsum("bmc,hcf->bhmf", inputs["C"], inputs["WUV"])
    close(run_cascade(load_cascade(name), inputs, sizes)["AV"], attention(q, k, v, causal(p, m))[:, :, 0])


def test_shared_prefix_equals_the_whole_sequence() -> None:
    rng = np.random.default_rng(3)
    b, h, p, s, m = 3, 2, 2, 5, 4
    q, ks, vs = rng.normal(size=(b, h, p, 3)), rng.normal(size=(h, s, 3)), rng.normal(size=(h, s, 2))
    k, v = rng.normal(size=(b, h, m, 3)), rng.normal(size=(b, h, m, 2))
    inputs = {"Q": q, "KS": ks, "VS": vs, "K": k, "V": v}
    whole_k = np.concatenate([np.broadcast_to(ks, (b, h, s, 3)), k], axis=2)
    whole_v = np.concatenate([np.broadcast_to(vs, (b, h, s, 2)), v], axis=2)
    expected = attention(q[:, :, None], whole_k, whole_v, causal(p, s + m))[:, :, 0]
    close(run_cascade(load_cascade("attention-shared-prefix"), inputs)["AV"], expected)


def test_devices_merge_to_the_whole() -> None:
    rng = np.random.default_rng(4)
    x, h, p, m = 3, 2, 2, 4
    q, k, v = rng.normal(size=(h, p, 3)) * 40, rng.normal(size=(x, h, m, 3)), rng.normal(size=(x, h, m, 2))
    whole_k, whole_v = (t.transpose(1, 0, 2, 3).reshape(1, h, x * m, -1) for t in (k, v))
    expected = attention(q[None, :, None], whole_k, whole_v)[0, :, 0]
    close(run_cascade(load_cascade("attention-distributed"), {"Q": q, "K": k, "V": v})["AV"], expected)


def test_partial_results_merge() -> None:
    rng = np.random.default_rng(5)
    x, p, m = 3, 4, 5
    scores, v = rng.normal(size=(x, p, m)) * 50, rng.normal(size=(x, m, 2))
    top = scores.max(-1)
    weights = np.exp(scores - top[..., None])
    inputs = {"LM": top, "LD": weights.sum(-1), "LNV": np.einsum("xpm,xmf->xpf", weights, v)}
    expected = softmax(scores.transpose(1, 0, 2).reshape(p, -1)) @ v.reshape(-1, 2)
    close(run_cascade(load_cascade("softmax-merge"), inputs)["AV"], expected)


def test_gradients_by_differences() -> None:
    """The backward cascade against central differences of the forward sum weighted by DAV."""
    rng = np.random.default_rng(6)
    b, h, g, p, m = 1, 2, 2, 3, 4
    inputs = gqa_inputs(rng, "normal", b, h, g, p, m)
    q, k, v = inputs["Q"], inputs["K"], inputs["V"]
    weight = rng.normal(size=(b, h, g, p, 2))
    scores = np.where(causal(p, m), np.einsum("bhgpe,bhme->bhgpm", q, k) / np.sqrt(3), -np.inf)
    kept = {"AV": attention(q, k, v, causal(p, m)), "DAV": weight, "LSE": np.log(np.exp(scores).sum(-1))}
    found = run_cascade(load_cascade("attention-backward"), inputs | kept)
    for position, name in enumerate("QKV"):
        expected = np.zeros_like(inputs[name])
        for place in np.ndindex(expected.shape):
            change = [np.array(inputs[key]) for key in "QKV"]
            sides = []
            for step in (1e-5, -1e-5):
                change[position][place] = inputs[name][place] + step
                sides.append((attention(*change, causal(p, m)) * weight).sum())
            expected[place] = (sides[0] - sides[1]) / 2e-5
        np.testing.assert_allclose(found[f"D{name}"], expected, rtol=1e-6, atol=1e-8)


def test_one_pass_attention_is_fast_enough() -> None:
    """16 heads of 1024 x 1024 x 64 within 5 seconds."""
    import time

    rng = np.random.default_rng(7)
    shape = (1, 16, 1, 1024, 64)
    inputs = {
        "Q": rng.normal(size=shape),
        "K": rng.normal(size=(1, 16, 1024, 64)),
        "V": rng.normal(size=(1, 16, 1024, 64)),
    }
    start = time.perf_counter()
    found = run_cascade(load_cascade("attention-1pass"), inputs)["AV"]
    assert time.perf_counter() - start < 5
    close(found[:, :1], attention(inputs["Q"][:, :1], inputs["K"][:, :1], inputs["V"][:, :1]))
