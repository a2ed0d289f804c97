"""Layers (products, norms, activations, feed-forward, experts, losses) against plain numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from workloads.cascades import load_cascade
from workloads.einsum import run_cascade

Array = NDArray[np.float64]
SIZE = st.integers(1, 5)
SEED = st.integers(0, 2**32)


def run(name: str, inputs: dict[str, Array], **sizes: float) -> dict[str, Array]:
    return run_cascade(load_cascade(name), inputs, sizes)


def close(found: Array, expected: Array, rtol: float = 1e-9) -> None:
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=1e-11)


def sigmoid(x: Array) -> Array:
    return np.asarray(np.exp(-np.logaddexp(0, -x)))


def silu(x: Array) -> Array:
    return x * sigmoid(x)


def gelu(x: Array) -> Array:
    return np.asarray([0.5 * v * math.erfc(-v / math.sqrt(2)) for v in x.ravel()]).reshape(x.shape)


def gelu_tanh(x: Array) -> Array:
    return np.asarray(0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))))


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


def layer_norm(x: Array, g: Array, b: Array) -> Array:
    return np.asarray((x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * g + b)


def rms_norm(x: Array, g: Array) -> Array:
    return np.asarray(x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6) * g)


@settings(max_examples=20, deadline=None)
@given(seed=SEED, m=SIZE, k=SIZE, n=SIZE, h=SIZE)
def test_products(seed: int, m: int, k: int, n: int, h: int) -> None:
    rng = np.random.default_rng(seed)
    a, w, bias = rng.normal(size=(m, k)), rng.normal(size=(k, n)), rng.normal(size=n)
    close(run("gemm", {"A": a, "W": w})["Z"], a @ w)
    close(run("gemm-bias", {"A": a, "W": w, "B": bias})["Z"], a @ w + bias)
    stack, weights = rng.normal(size=(h, m, k)), rng.normal(size=(h, k, n))
    close(run("batched-gemm", {"A": stack, "W": weights})["Z"], stack @ weights)
    sparse = a * (rng.random((m, k)) < 0.4)
    other = w * (rng.random((k, n)) < 0.4)
    for name in ("spgemm-inner", "spgemm-outer", "spgemm-row-wise"):
        close(run(name, {"A": sparse, "B": other})["Z"], sparse @ other)


@settings(max_examples=30, deadline=None)
@given(seed=SEED, t=SIZE, d=SIZE, n=SIZE, mean=st.sampled_from([0.0, 5.0, -1e3]), equal=st.booleans())
def test_norms(seed: int, t: int, d: int, n: int, mean: float, equal: bool) -> None:
    rng = np.random.default_rng(seed)
    x = np.full((t, d), mean) if equal else rng.normal(size=(t, d)) + mean
    g, b, w, r = rng.normal(size=d), rng.normal(size=d), rng.normal(size=(d, n)), rng.normal(size=(t, d))
    expected = layer_norm(x, g, b)
    loose = 1e-9 * (1 + mean * mean)
    for name in ("layer-norm", "layer-norm-2pass", "layer-norm-welford-apply"):
        np.testing.assert_allclose(run(name, {"X": x, "G": g, "B": b})["Y"], expected, rtol=1e-6, atol=loose)
    found = run("layer-norm-welford", {"X": x, "G": g, "B": b, "W": w})["Z"]
    np.testing.assert_allclose(found, expected @ w, rtol=1e-6, atol=1e-8)
    statistics = run("welford", {"X": x})
    np.testing.assert_allclose(statistics["MU"], x.mean(-1), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(statistics["VAR"], x.var(-1), rtol=1e-8, atol=1e-10)
    close(run("rms-norm", {"X": x, "G": g})["Y"], rms_norm(x, g))
    added = run("add-rms-norm", {"X": x, "R": r, "G": g}, epsilon=1e-6)
    close(added["S"], x + r)
    close(added["Y"], rms_norm(x + r, g))


def test_welford_survives_what_the_sum_of_squares_does_not() -> None:
    x = np.array([[1e8 + 1, 1e8 - 1, 1e8 + 1, 1e8 - 1]])
    assert run("welford", {"X": x})["VAR"][0] == pytest.approx(1.0, rel=1e-6)


@settings(max_examples=20, deadline=None)
@given(seed=SEED, t=SIZE, d=SIZE, style=st.sampled_from(["normal", "equal", "huge", "masked"]))
def test_softmax(seed: int, t: int, d: int, style: str) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(t, d)) * (1e5 if style == "huge" else 1)
    if style == "equal":
        x[:] = 1e4
    if style == "masked":
        x[:, 1:] = -np.inf
    for name in ("softmax", "softmax-online"):
        close(run(name, {"X": x})["Y"], softmax(x))


ACTIVATIONS = {
    "relu": lambda u: np.maximum(u, 0),
    "squared-relu": lambda u: np.maximum(u, 0) ** 2,
    "gelu": gelu,
    "gelu-tanh": gelu_tanh,
    "silu": silu,
    "quick-gelu": lambda u: u * sigmoid(1.702 * u),
}
GATES = {
    "swiglu": lambda g, u: silu(g) * u,
    "geglu": lambda g, u: gelu(g) * u,
    "geglu-tanh": lambda g, u: gelu_tanh(g) * u,
    "reglu": lambda g, u: np.maximum(g, 0) * u,
    "swiglu-clamped": lambda g, u: np.minimum(g, 7) * sigmoid(1.702 * np.minimum(g, 7)) * (np.clip(u, -7, 7) + 1),
}


@settings(max_examples=15, deadline=None)
@given(seed=SEED, t=SIZE, s=SIZE, scale=st.sampled_from([0.0, 1.0, 30.0, 1e4]))
def test_activations(seed: int, t: int, s: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    g, u = rng.normal(size=(t, s)) * scale, rng.normal(size=(t, s)) * scale
    for name, function in ACTIVATIONS.items():
        close(run(name, {"U": u})["H"], function(u))
    for name, gate in GATES.items():
        close(run(name, {"G": g, "U": u})["H"], gate(g, u))


@settings(max_examples=15, deadline=None)
@given(seed=SEED, t=SIZE, d=SIZE, s=SIZE)
def test_feed_forward(seed: int, t: int, d: int, s: int) -> None:
    rng = np.random.default_rng(seed)
    x, up, down, gate = (rng.normal(size=shape) for shape in ((t, d), (d, s), (s, d), (d, s)))
    for name, function in (("ffn-relu", "relu"), ("ffn-gelu", "gelu"), ("ffn-squared-relu", "squared-relu")):
        close(run(name, {"X": x, "WU": up, "WD": down})["Y"], ACTIVATIONS[function](x @ up) @ down)
    close(run("ffn-swiglu", {"X": x, "WU": up, "WG": gate, "WD": down})["Y"], (silu(x @ gate) * (x @ up)) @ down)
    hidden = np.maximum(x @ up, 0)
    keep = max(1, s // 2)
    floor = np.sort(hidden, axis=1)[:, -keep][:, None]
    close(run("ffn-topk", {"X": x, "WU": up, "WD": down}, k=keep)["Y"], np.where(hidden >= floor, hidden, 0) @ down)


def experts(x: Array, weights: dict[str, Array], expert: int) -> Array:
    gate, up = x @ weights["WG"][expert], x @ weights["WU"][expert]
    return np.asarray((silu(gate) * up) @ weights["WD"][expert])


@settings(max_examples=25, deadline=None)
@given(seed=SEED, t=SIZE, x=SIZE, d=SIZE, capacity=st.integers(1, 6), data=st.data())
def test_mixture_of_experts(seed: int, t: int, x: int, d: int, capacity: int, data: st.DataObject) -> None:
    """Token by token: the k best experts, softmax over them; an expert that is full drops later tokens."""
    rng = np.random.default_rng(seed)
    k = data.draw(st.integers(1, x))
    s = 3
    shapes = {"X": (t, d), "WR": (d, x), "WG": (x, d, s), "WU": (x, d, s), "WD": (x, s, d)}
    inputs = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    expected, used = np.zeros((t, d)), [0] * x
    for token in range(t):
        logits = inputs["X"][token] @ inputs["WR"]
        chosen = np.argsort(-logits, kind="stable")[:k]
        for expert, weight in zip(chosen, softmax(logits[chosen]), strict=True):
            used[expert] += 1
            if used[expert] <= capacity:
                expected[token] += weight * experts(inputs["X"][token], inputs, expert)
    close(run("moe", inputs, k=k, c=capacity)["Y"], expected)


@settings(max_examples=15, deadline=None)
@given(seed=SEED, t=SIZE, x=SIZE, d=SIZE, data=st.data())
def test_shared_experts(seed: int, t: int, x: int, d: int, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    k = data.draw(st.integers(1, x))
    s, z = 3, 2
    shapes = {"X": (t, d), "WR": (d, x), "BIAS": (x,), "WG": (x, d, s), "WU": (x, d, s), "WD": (x, s, d),
              "SG": (d, z), "SU": (d, z), "SD": (z, d)}  # fmt: skip
    inputs = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    expected = (silu(inputs["X"] @ inputs["SG"]) * (inputs["X"] @ inputs["SU"])) @ inputs["SD"]
    for token in range(t):
        affinity = sigmoid(inputs["X"][token] @ inputs["WR"])
        chosen = np.argsort(-(affinity + inputs["BIAS"]), kind="stable")[:k]
        for expert in chosen:
            weight = 2.5 * affinity[expert] / affinity[chosen].sum()
            expected[token] += weight * experts(inputs["X"][token], inputs, expert)
    close(run("moe-shared", inputs, k=k, routed_scale=2.5)["Y"], expected)


def test_parts_of_the_mixture() -> None:
    rng = np.random.default_rng(8)
    logits = rng.normal(size=(4, 6))
    routed = run("moe-route", {"L": logits}, k=2)
    order = np.argsort(-logits, axis=1)[:, :2]
    np.testing.assert_array_equal(routed["TI"], order)
    close(routed["P"], softmax(np.take_along_axis(logits, order, 1)))
    y, p = rng.normal(size=(4, 2, 3)), rng.normal(size=(4, 2))
    close(run("moe-combine", {"X": y, "P": p})["Y"], (y * p[..., None]).sum(1))
    shapes = {"XE": (3, 4, 5), "WG": (3, 5, 2), "WU": (3, 5, 2), "WD": (3, 2, 5)}
    inputs = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    expected = np.stack([experts(inputs["XE"][expert], inputs, expert) for expert in range(3)])
    close(run("moe-expert", inputs)["YE"], expected)


def test_embedding_and_residual() -> None:
    rng = np.random.default_rng(9)
    table, tokens, f = rng.normal(size=(7, 3)), np.array([0, 6, 6, 2]), rng.normal(size=(4, 3))
    close(run("embedding", {"T": tokens, "E": table})["X"], table[tokens])
    close(run("residual-add", {"X": table[tokens], "F": f})["Y"], table[tokens] + f)
    k, v = rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
    appended = run("cache-append", {"K": k, "V": v})
    close(appended["KC"], k)
    close(appended["VC"], v)


def rotated(x: Array, positions: Array) -> Array:
    """Complex form: pairs (i, i + half) turn by position * base^(-i / half)."""
    half = x.shape[-1] // 2
    angle = positions[:, None] * 10000.0 ** (-np.arange(half) / half)
    turned = (x[..., :half] + 1j * x[..., half:]) * np.exp(1j * angle)[:, None, :]
    return np.concatenate([turned.real, turned.imag], axis=-1)


@settings(max_examples=15, deadline=None)
@given(seed=SEED, t=SIZE, h=SIZE, half=SIZE)
def test_rotary(seed: int, t: int, h: int, half: int) -> None:
    rng = np.random.default_rng(seed)
    positions = rng.integers(0, 100, size=t).astype(float)
    x, y, v = (rng.normal(size=(t, h, 2 * half)) for _ in range(3))
    close(run("rotary", {"POS": positions, "X": x})["Y"], rotated(x, positions))
    angle = positions[:, None] * 10000.0 ** (-np.arange(half) / half)
    turn = {"CS": np.cos(angle), "SN": np.sin(angle)}
    found = run("rotary-append", {"Q": x, "K": y, "V": v, **turn})
    close(np.concatenate([found["QL"], found["QH"]], -1), rotated(x, positions))
    close(np.concatenate([found["KL"], found["KH"]], -1), rotated(y, positions))
    close(found["VC"], v)
    latent = rng.normal(size=(t, 3))
    found = run("latent-append", {"Q": x, "K": y[:, 0], "C": latent, **turn})
    close(np.concatenate([found["QL"], found["QH"]], -1), rotated(x, positions))
    close(np.concatenate([found["KL"], found["KH"]], -1), rotated(y[:, :1], positions)[:, 0])
    close(found["CC"], latent)


@settings(max_examples=20, deadline=None)
@given(seed=SEED, t=SIZE, d=SIZE, v=st.integers(1, 9), tile=st.integers(1, 4), scale=st.sampled_from([1.0, 1e3]))
def test_cross_entropy(seed: int, t: int, d: int, v: int, tile: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    x, c, labels = rng.normal(size=(t, d)) * scale, rng.normal(size=(d, v)), rng.integers(0, v, size=t)
    logits = x @ c
    top = logits.max(1)
    lse = top + np.log(np.exp(logits - top[:, None]).sum(1))
    expected = lse - logits[np.arange(t), labels]
    inputs = {"X": x, "C": c, "LAB": labels.astype(float)}
    for name, sizes in (("cross-entropy", {}), ("cut-cross-entropy", {"v0": tile})):
        np.testing.assert_allclose(run(name, inputs, **sizes)["LOSS"], expected, rtol=1e-8, atol=1e-9 * scale)
    found = run("cross-entropy-backward", inputs | {"LSE": lse})
    step = (softmax(logits) - np.eye(v)[labels]) / t
    np.testing.assert_allclose(found["DX"], step @ c.T, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(found["DC"], x.T @ step, rtol=1e-8, atol=1e-9 * scale)


def test_add_layer_norm() -> None:
    rng = np.random.default_rng(10)
    cascade = load_cascade("add-layer-norm")
    arrays = {name: rng.normal(size=(3, 5)[-len(cascade.tensors[name].dims) :]) for name in cascade.inputs}
    total = arrays["X"] + arrays["R"]
    found = run_cascade(cascade, arrays, {"epsilon": 1e-5})
    close(found["S"], total)
    close(found["Y"], layer_norm(total, arrays["G"], arrays["B"]))
