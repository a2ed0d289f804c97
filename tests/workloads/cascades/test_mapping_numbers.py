"""The cascades that mappers are compared on, against plain numpy, and the sizes their defaults stand for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from workloads.cascades import load_cascade
from workloads.einsum import compulsory_traffic, operation_counts, resolve_sizes, run_cascade

Array = NDArray[np.float64]
SIZE = st.integers(1, 4)
SEED = st.integers(0, 2**32)
GPT3 = {"b": 1, "h": 96, "e": 128}


def close(found: Array, expected: Array) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def scores(q: Array, k: Array) -> Array:
    """exp(Q K^T) for Q[b,m,h,e] and K[b,p,h,e], as [b,h,m,p]."""
    return np.asarray(np.exp(q.transpose(0, 2, 1, 3) @ k.transpose(0, 2, 3, 1)))


def weighted(s: Array, v: Array) -> Array:
    """S V for S[b,h,m,p] and V[b,p,h,f], as [b,m,h,f]."""
    return (s @ v.transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3)


@settings(max_examples=20, deadline=None)
@given(seed=SEED, b=SIZE, h=SIZE, m=SIZE, p=SIZE, e=SIZE, f=SIZE)
def test_attention_elementwise(seed: int, b: int, h: int, m: int, p: int, e: int, f: int) -> None:
    rng = np.random.default_rng(seed)
    q, k, v = (rng.normal(size=shape) for shape in ((b, m, h, e), (b, p, h, e), (b, p, h, f)))
    found = run_cascade(load_cascade("attention-elementwise"), {"Q": q, "K": k, "V": v})["AV"]
    close(found, weighted(scores(q, k), v))


def layer_weights(
    rng: np.random.Generator, h: int, e: int, f: int, widths: tuple[int, int, int, int]
) -> dict[str, Array]:
    """Weights small enough that no exponential overflows."""
    d, g, c, j = widths
    shapes = dict.fromkeys(("WV", "WK", "WQ"), (h, e, d)) | {"WZ": (h, f, g), "WFFA": (g, c), "WFFB": (c, j)}
    return {name: rng.normal(size=shape) * 0.2 for name, shape in shapes.items()}


def projected(x: Array, weight: Array) -> Array:
    """X[b,m,d] W[h,e,d] as [b,m,h,e]: one product over all heads at once."""
    heads, width, hidden = weight.shape
    return (x @ weight.reshape(heads * width, hidden).T).reshape(*x.shape[:2], heads, width)


def after_attention(av: Array, weights: dict[str, Array]) -> Array:
    b, m, h, f = av.shape
    z = av.reshape(b, m, h * f) @ weights["WZ"].reshape(h * f, -1)
    return np.asarray(z @ weights["WFFA"] @ weights["WFFB"])


@settings(max_examples=20, deadline=None)
@given(seed=SEED, b=SIZE, m=SIZE, h=SIZE, e=SIZE, widths=st.tuples(SIZE, SIZE, SIZE, SIZE))
def test_gpt_layer(seed: int, b: int, m: int, h: int, e: int, widths: tuple[int, int, int, int]) -> None:
    """Keys and values are written over m and read over p."""
    rng = np.random.default_rng(seed)
    x, weights = rng.normal(size=(b, m, widths[0])), layer_weights(rng, h, e, e, widths)
    v, k, q = (projected(x, weights[name]) for name in ("WV", "WK", "WQ"))
    found = run_cascade(load_cascade("gpt-layer-10"), {"I_in": x, **weights})
    assert set(found) == {"FFB"}
    close(found["FFB"], after_attention(weighted(scores(q, k), v), weights))


@settings(max_examples=20, deadline=None)
@given(seed=SEED, b=SIZE, p=SIZE, h=SIZE, e=SIZE, f=SIZE, widths=st.tuples(SIZE, SIZE, SIZE, SIZE))
def test_gpt_layer_decode(seed: int, b: int, p: int, h: int, e: int, f: int, widths: tuple[int, int, int, int]) -> None:
    rng = np.random.default_rng(seed)
    x, weights = rng.normal(size=(b, 1, widths[0])), layer_weights(rng, h, e, f, widths)
    cache = {"K_cache": rng.normal(size=(b, p, h, e)), "V_cache": rng.normal(size=(b, p, h, f))}
    found = run_cascade(load_cascade("gpt-layer-10-decode"), {"I_in": x, **weights, **cache})
    close(found["V"], projected(x, weights["WV"]))
    close(found["K"], projected(x, weights["WK"]))
    av = weighted(scores(projected(x, weights["WQ"]), cache["K_cache"]), cache["V_cache"])
    close(found["FFB"], after_attention(av, weights))


def test_the_layers_defaults_are_the_widths_of_gpt3() -> None:
    """Brown et al., NeurIPS 2020, table 2.1: 96 layers, d_model 12288, 96 heads of 128, feed-forward 4 d_model."""
    sizes = resolve_sizes(load_cascade("gpt-layer-10"), GPT3 | {"m": 2048})
    assert {rank: sizes[rank] for rank in "pfdgjc"} == {
        "p": 2048, "f": 128, "d": 12288, "g": 12288, "j": 12288, "c": 49152,
    }  # fmt: skip
    traffic = compulsory_traffic(load_cascade("gpt-layer-10"), GPT3 | {"m": 2048})
    weights = sum(elements for name, elements in traffic.items() if name.startswith("W"))
    # 175e9 parameters with the embeddings, which are 0.37 % of them: (50257 + 2048) x 12288.
    assert 96 * weights == pytest.approx(175e9 - (50257 + 2048) * 12288, rel=5e-3)


def test_decode_is_prefill_of_one_token_but_for_the_cache() -> None:
    """Equal shapes give equal work in all ten Einsums; only where keys and values come from differs."""
    prefill, decode = load_cascade("gpt-layer-10"), load_cascade("gpt-layer-10-decode")
    names = ("I", "V", "K", "Q", "QK", "QK_softmax", "AV", "Z", "FFA", "FFB")
    assert tuple(e.label for e in prefill.einsums) == tuple(e.label for e in decode.einsums) == names
    counts = operation_counts(decode, GPT3 | {"p": 1})
    assert counts == operation_counts(prefill, GPT3 | {"m": 1})
    assert (prefill.bits, decode.bits, load_cascade("attention-elementwise").bits) == (16, 16, 16)


@pytest.mark.parametrize("name", ["attention-1pass", "attention-2pass", "attention-3pass"])
def test_attention_without_groups_needs_five_sizes(name: str) -> None:
    sizes = resolve_sizes(load_cascade(name), {"b": 2, "h": 3, "p": 5, "m": 7, "e": 11})
    assert (sizes["g"], sizes["f"]) == (1, 11)
