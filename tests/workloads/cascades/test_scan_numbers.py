"""Recurrences, convolutions, look-ups and gradients against plain loops, numpy's FFT and central differences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from workloads.cascades import cascade_names, load_cascade
from workloads.einsum import parse_cascade, print_cascade, run_cascade

Array = NDArray[np.float64]
SIZE = st.integers(1, 5)
SEED = st.integers(0, 2**32)


def run(name: str, inputs: dict[str, Array], **sizes: float) -> dict[str, Array]:
    return run_cascade(load_cascade(name), inputs, sizes)


def close(found: Array, expected: Array, rtol: float = 1e-9) -> None:
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=1e-10)


@settings(max_examples=15, deadline=None)
@given(seed=SEED, h=SIZE, t=SIZE, e=SIZE, f=SIZE)
def test_linear_attentions(seed: int, h: int, t: int, e: int, f: int) -> None:
    rng = np.random.default_rng(seed)
    q, k, v = rng.normal(size=(h, t, e)), rng.normal(size=(h, t, e)), rng.normal(size=(h, t, f))
    visible = np.tril(np.ones((t, t)))
    fq, fk = (np.where(x > 0, x + 1, np.exp(x)) for x in (q, k))
    scores = np.einsum("hpe,hme->hpm", fq, fk) * visible
    close(run("linear-attention", {"Q": q, "K": k, "V": v})["O"], scores @ v / scores.sum(-1, keepdims=True))
    decay = rng.uniform(0.5, 1, size=h)
    distance = np.arange(t)[:, None] - np.arange(t)
    weights = np.where(distance >= 0, decay[:, None, None] ** np.maximum(distance, 0), 0)
    close(run("retention", {"Q": q, "K": k, "V": v, "G": decay})["O"], (np.einsum("hpe,hme->hpm", q, k) * weights) @ v)


@settings(max_examples=15, deadline=None)
@given(seed=SEED, h=SIZE, t=SIZE, e=SIZE, f=SIZE)
def test_gated_delta_rule(seed: int, h: int, t: int, e: int, f: int) -> None:
    """In the matrix form of the paper: S = A S (I - B k k^T) + B v k^T, here transposed."""
    rng = np.random.default_rng(seed)
    q, k, v = rng.normal(size=(h, t, e)), rng.normal(size=(h, t, e)), rng.normal(size=(h, t, f))
    a, b = rng.uniform(0.5, 1, size=(h, t)), rng.uniform(0, 1, size=(h, t))
    expected = np.zeros((h, t, f))
    for head in range(h):
        state = np.zeros((f, e))
        for step in range(t):
            key = k[head, step]
            state = a[head, step] * state @ (np.eye(e) - b[head, step] * np.outer(key, key))
            state = state + b[head, step] * np.outer(v[head, step], key)
            expected[head, step] = state @ q[head, step]
    close(run("gated-delta", {"Q": q, "K": k, "V": v, "A": a, "B": b})["O"], expected, 1e-7)


@settings(max_examples=15, deadline=None)
@given(seed=SEED, t=SIZE, d=SIZE, n=SIZE)
def test_selective_scan(seed: int, t: int, d: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    shapes = {"X": (t, d), "DT": (t, d), "A": (d, n), "B": (t, n), "C": (t, n), "D": (d,)}
    inputs = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    inputs["A"] = -np.abs(inputs["A"])
    state, expected = np.zeros((d, n)), np.zeros((t, d))
    for step in range(t):
        delta = inputs["DT"][step][:, None]
        state = np.exp(delta * inputs["A"]) * state + delta * inputs["B"][step] * inputs["X"][step][:, None]
        expected[step] = state @ inputs["C"][step] + inputs["D"] * inputs["X"][step]
    close(run("selective-scan", inputs)["Y"], expected)


@settings(max_examples=20, deadline=None)
@given(seed=SEED, b=SIZE, n1=SIZE, n2=SIZE)
def test_monarch_convolution(seed: int, b: int, n1: int, n2: int) -> None:
    rng = np.random.default_rng(seed)
    u, kernel = rng.normal(size=(b, n1 * n2)), rng.normal(size=n1 * n2)
    spectrum = np.fft.fft(kernel).reshape(n2, n1).T
    found = run("monarch-convolution", {"U": u, "HR": spectrum.real, "HI": spectrum.imag}, n2=n2)["Y"]
    close(found, np.fft.ifft(np.fft.fft(u) * np.fft.fft(kernel)).real, 1e-7)


@settings(max_examples=25, deadline=None)
@given(
    seed=SEED, b=SIZE, c=SIZE, k=SIZE, r=st.integers(1, 3), s=st.integers(1, 3), h=st.integers(3, 6),
    w=st.integers(3, 6),
    stride=st.integers(1, 2), pad=st.integers(0, 2),
)  # fmt: skip
def test_convolutions(seed: int, b: int, c: int, k: int, r: int, s: int, h: int, w: int, stride: int, pad: int) -> None:
    rng = np.random.default_rng(seed)
    image, filters, per_channel = (
        rng.normal(size=(b, c, h, w)),
        rng.normal(size=(k, c, r, s)),
        rng.normal(size=(c, r, s)),
    )
    padded = np.pad(image, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (r, s), axis=(2, 3))[:, :, ::stride, ::stride]
    sizes = {"stride": stride, "pad": pad}
    close(
        run("convolution", {"I": image, "F": filters}, **sizes)["O"], np.einsum("bcpqrs,kcrs->bkpq", windows, filters)
    )
    expected = np.einsum("bcpqrs,crs->bcpq", windows, per_channel)
    close(run("convolution-depthwise", {"I": image, "F": per_channel}, **sizes)["O"], expected)


def test_patches_and_short_causal_convolution() -> None:
    rng = np.random.default_rng(11)
    image, weights = rng.normal(size=(2, 3, 4, 6)), rng.normal(size=(3, 2, 3, 5))
    patches = image.reshape(2, 3, 2, 2, 2, 3).transpose(0, 2, 4, 1, 3, 5).reshape(2, 2, 2, 18)
    close(run("convolution-patch", {"I": image, "W": weights})["E"], patches @ weights.reshape(18, 5))
    x, taps = rng.normal(size=(6, 2)), rng.normal(size=(3, 2))
    expected = np.stack([np.convolve(x[:, d], taps[:, d])[:6] for d in range(2)], axis=1)
    close(run("convolution-causal", {"X": x, "F": taps})["Y"], expected)


@settings(max_examples=20, deadline=None)
@given(seed=SEED, t=SIZE, n=SIZE, f=SIZE, data=st.data())
def test_product_keys(seed: int, t: int, n: int, f: int, data: st.DataObject) -> None:
    """The k best of all n^2 key pairs, found by brute force."""
    rng = np.random.default_rng(seed)
    k = data.draw(st.integers(1, n))
    shapes = {"QA": (t, 3), "QB": (t, 3), "KA": (n, 3), "KB": (n, 3), "VAL": (n * n, f)}
    inputs = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    scores = (inputs["QA"] @ inputs["KA"].T)[:, :, None] + (inputs["QB"] @ inputs["KB"].T)[:, None, :]
    flat = scores.reshape(t, n * n)
    best = np.argsort(-flat, axis=1)[:, :k]
    weights = np.exp(np.take_along_axis(flat, best, 1))
    weights /= weights.sum(1, keepdims=True)
    close(run("product-key-memory", inputs, k=k)["Y"], np.einsum("tk,tkf->tf", weights, inputs["VAL"][best]))


@settings(max_examples=15, deadline=None)
@given(seed=SEED, t=SIZE, groups=SIZE, n=SIZE, u=st.integers(1, 4))
def test_table_look_up(seed: int, t: int, groups: int, n: int, u: int) -> None:
    rng = np.random.default_rng(seed)
    x, scale, signs = rng.normal(size=(t, groups * u)), rng.normal(size=n), rng.choice([-1, 1], size=(n, groups, u))
    patterns = ((signs > 0) * 2 ** np.arange(u)).sum(-1)
    found = run("lut-gemm", {"X": x, "IDX": patterns, "SCALE": scale}, u=u)["Y"]
    close(found, x @ signs.reshape(n, -1).T * scale)


def gradient(function: Callable[[dict[str, Array]], float], inputs: dict[str, Array], name: str) -> Array:
    """Central differences of a scalar function for one input."""
    result = np.zeros_like(inputs[name])
    for place in np.ndindex(result.shape):
        sides = []
        for step in (1e-5, -1e-5):
            moved = inputs[name].copy()
            moved[place] += step
            sides.append(function(inputs | {name: moved}))
        result[place] = (sides[0] - sides[1]) / 2e-5
    return result


def test_feed_forward_gradients() -> None:
    rng = np.random.default_rng(12)
    inputs = {
        name: rng.normal(size=shape) for name, shape in (("X", (2, 3)), ("WG", (3, 4)), ("WU", (3, 4)), ("WD", (4, 3)))
    }
    weight = rng.normal(size=(2, 3))

    def forward(v: dict[str, Array]) -> float:
        g = v["X"] @ v["WG"]
        return float((((g / (1 + np.exp(-g))) * (v["X"] @ v["WU"])) @ v["WD"] * weight).sum())

    kept = {"G": inputs["X"] @ inputs["WG"], "U": inputs["X"] @ inputs["WU"], "DY": weight}
    found = run("ffn-swiglu-backward", inputs | kept)
    for name in inputs:
        np.testing.assert_allclose(found[f"D{name}"], gradient(forward, inputs, name), rtol=1e-6, atol=1e-8)


def test_norm_gradients() -> None:
    rng = np.random.default_rng(13)
    inputs = {"X": rng.normal(size=(3, 5)), "G": rng.normal(size=5), "B": rng.normal(size=5)}
    weight = rng.normal(size=(3, 5))
    scale = 1 / np.sqrt((inputs["X"] ** 2).mean(1) + 1e-6)

    def rms(v: dict[str, Array]) -> float:
        return float((v["X"] / np.sqrt((v["X"] ** 2).mean(1, keepdims=True) + 1e-6) * v["G"] * weight).sum())

    def layer(v: dict[str, Array]) -> float:
        x = v["X"]
        return float(
            (
                ((x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5) * v["G"] + v["B"]) * weight
            ).sum()
        )

    found = run("rms-norm-backward", {"X": inputs["X"], "G": inputs["G"], "R": scale, "DY": weight})
    for name in "XG":
        np.testing.assert_allclose(found[f"D{name}"], gradient(rms, inputs, name), rtol=1e-6, atol=1e-8)
    mean, spread = inputs["X"].mean(1), 1 / np.sqrt(inputs["X"].var(1) + 1e-5)
    found = run("layer-norm-backward", {"X": inputs["X"], "G": inputs["G"], "MU": mean, "R": spread, "DY": weight})
    for name in "XGB":
        np.testing.assert_allclose(found[f"D{name}"], gradient(layer, inputs, name), rtol=1e-6, atol=1e-8)


def test_every_library_cascade_prints_and_parses_back() -> None:
    for name in cascade_names():
        cascade = load_cascade(name)
        assert cascade.name == name
        assert cascade.source
        assert cascade.doc
        assert parse_cascade(print_cascade(cascade)) == cascade
