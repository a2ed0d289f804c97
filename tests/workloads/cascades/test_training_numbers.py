"""What a training step adds to the library, against numpy and central differences of the forward functions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from workloads.cascades import load_cascade
from workloads.einsum import run_cascade

Array = NDArray[np.float64]


def run(name: str, inputs: dict[str, Array], **sizes: float) -> dict[str, Array]:
    return run_cascade(load_cascade(name), inputs, sizes)


def close(found: Array, expected: Array) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


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


PLAIN = {
    "silu": "silu-backward",
    "quick-gelu": "quick-gelu-backward",
    "gelu": "gelu-backward",
    "gelu-tanh": "gelu-tanh-backward",
    "relu": "relu-backward",
    "squared-relu": "squared-relu-backward",
}
GATED = {
    "swiglu": "swiglu-backward",
    "geglu": "geglu-backward",
    "geglu-tanh": "geglu-tanh-backward",
    "reglu": "reglu-backward",
    "swiglu-clamped": "swiglu-clamped-backward",
}


@pytest.mark.parametrize("forward", [*PLAIN, *GATED])
def test_gradients_of_activations(forward: str) -> None:
    """The forward cascades are held to numpy beside this file; here their slopes are taken by differences."""
    rng = np.random.default_rng(21)
    inputs = {symbol: 4 * rng.normal(size=(4, 5)) for symbol in ("GU" if forward in GATED else "U")}
    weight = rng.normal(size=(4, 5))
    found = run((GATED | PLAIN)[forward], inputs | {"DH": weight})
    for symbol in inputs:
        expected = gradient(lambda v: float((run(forward, v)["H"] * weight).sum()), inputs, symbol)
        close(found[f"D{symbol}"], expected)


def rms(x: Array, gain: Array, epsilon: float) -> tuple[Array, Array]:
    scale = 1 / np.sqrt((x * x).mean(1) + epsilon)
    return x * scale[:, None] * gain, scale


def layer(x: Array, gain: Array, bias: Array, epsilon: float = 1e-5) -> tuple[Array, Array, Array]:
    mean, scale = x.mean(1), 1 / np.sqrt(x.var(1) + epsilon)
    return (x - mean[:, None]) * scale[:, None] * gain + bias, mean, scale


def norm_inputs() -> dict[str, Array]:
    rng = np.random.default_rng(22)
    shapes = {"X": (3, 5), "R": (3, 5), "G": (5,), "B": (5,), "DY": (3, 5), "DS": (3, 5)}
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def test_norms_keep_their_statistics() -> None:
    v = norm_inputs()
    whole = {"S": v["X"] + v["R"]}
    y, scale = rms(whole["S"], v["G"], 1e-5)
    found = run("add-rms-norm-statistics", {name: v[name] for name in "XRG"}, epsilon=1e-5)
    for name, expected in (whole | {"Y": y, "IR": scale}).items():
        close(found[name], expected)
    y, mean, scale = layer(whole["S"], v["G"], v["B"])
    found = run("add-layer-norm-statistics", {name: v[name] for name in "XRGB"}, epsilon=1e-5)
    for name, expected in (whole | {"Y": y, "MU": mean, "IS": scale}).items():
        close(found[name], expected)
    y, scale = rms(v["X"], v["G"], 1e-6)
    found = run("rms-norm-statistics", {"X": v["X"], "G": v["G"]})
    close(found["Y"], y)
    close(found["R"], scale)
    y, mean, scale = layer(v["X"], v["G"], v["B"])
    found = run("layer-norm-statistics", {name: v[name] for name in "XGB"})
    for name, expected in {"Y": y, "MU": mean, "R": scale}.items():
        close(found[name], expected)


def test_gradients_of_sums_and_norms() -> None:
    """The loss weighs both results: the sum S, which goes on past the norm, by DS, and Y by DY."""
    v = norm_inputs()

    def by_rms(w: dict[str, Array]) -> float:
        total = w["X"] + w["R"]
        return float((total * v["DS"] + rms(total, w["G"], 1e-5)[0] * v["DY"]).sum())

    def by_layer(w: dict[str, Array]) -> float:
        total = w["X"] + w["R"]
        return float((total * v["DS"] + layer(total, w["G"], w["B"])[0] * v["DY"]).sum())

    total = v["X"] + v["R"]
    kept = {"S": total, "G": v["G"], "DY": v["DY"], "DS": v["DS"]}
    found = run("add-rms-norm-backward", kept | {"IR": rms(total, v["G"], 1e-5)[1]})
    for name, symbol in (("X", "DX"), ("R", "DX"), ("G", "DG")):
        close(found[symbol], gradient(by_rms, v, name))
    _, mean, scale = layer(total, v["G"], v["B"])
    found = run("add-layer-norm-backward", kept | {"MU": mean, "IS": scale})
    for name, symbol in (("X", "DX"), ("R", "DX"), ("G", "DG"), ("B", "DB")):
        close(found[symbol], gradient(by_layer, v, name))


def attention(q: Array, k: Array, v: Array, seen: Array) -> tuple[Array, Array]:
    scores = np.where(seen, np.einsum("bhgpe,bhme->bhgpm", q, k) / np.sqrt(q.shape[-1]), -np.inf)
    exponentials = np.exp(scores)
    total = exponentials.sum(-1)
    return np.einsum("bhgpm,bhmf->bhgpf", exponentials / total[..., None], v), np.log(total)


WINDOW = 2
DISTANCE = np.arange(5)[None] - np.arange(3)[:, None] - 2
MASKS = {
    "full": np.ones((3, 5), dtype=bool),
    "causal": DISTANCE <= 0,
    "window": (DISTANCE <= 0) & (DISTANCE > -WINDOW),
}


@pytest.mark.parametrize(
    ("mask", "forward", "backward"),
    [
        ("full", "attention-1pass-lse", "attention-backward-full"),
        ("causal", "attention-1pass-causal-lse", "attention-backward"),
        ("window", "attention-1pass-window-lse", "attention-backward-window"),
    ],
)
def test_attention_and_its_gradients(mask: str, forward: str, backward: str) -> None:
    rng = np.random.default_rng(23)
    shapes = {"Q": (1, 2, 2, 3, 3), "K": (1, 2, 5, 3), "V": (1, 2, 5, 2)}
    inputs = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    weight = rng.normal(size=(1, 2, 2, 3, 2))
    window = {"window": WINDOW} if mask == "window" else {}
    output, log_sum = attention(inputs["Q"], inputs["K"], inputs["V"], MASKS[mask])
    found = run(forward, inputs, m0=2, **window)
    close(found["AV"], output)
    close(found["LSE"], log_sum)
    found = run(backward, inputs | {"AV": output, "LSE": log_sum, "DAV": weight}, **window)
    for name in inputs:
        expected = gradient(
            lambda w: float((attention(w["Q"], w["K"], w["V"], MASKS[mask])[0] * weight).sum()), inputs, name
        )
        close(found[f"D{name}"], expected)


def test_gradients_of_rotary_positions() -> None:
    """The forward cascade is linear: its inputs' gradient is its transpose applied to its results' gradient."""
    rng = np.random.default_rng(24)
    t, a, h, half = 3, 2, 1, 2
    angle = rng.normal(size=(t, half))
    turn = {"CS": np.cos(angle), "SN": np.sin(angle)}
    inputs = {"Q": rng.normal(size=(t, a, 2 * half)), "K": rng.normal(size=(t, h, 2 * half))}
    inputs["V"] = rng.normal(size=(t, h, 2 * half))
    weights = {name: rng.normal(size=value.shape) for name, value in inputs.items()}

    def loss(v: dict[str, Array]) -> float:
        found = run("rotary-append", {name: v[name] for name in "QKV"} | turn)
        pairs = ((("QL", "QH"), "Q"), (("KL", "KH"), "K"))
        turned = sum(float((np.concatenate([found[s] for s in halves], -1) * weights[n]).sum()) for halves, n in pairs)
        return turned + float((found["VC"] * weights["V"]).sum())

    found = run("rotary-append-backward", {f"D{name}": value for name, value in weights.items()} | turn)
    close(np.concatenate([found["QL"], found["QH"]], -1), gradient(loss, inputs, "Q"))
    close(np.concatenate([found["KL"], found["KH"]], -1), gradient(loss, inputs, "K"))
    close(found["VC"], gradient(loss, inputs, "V"))


def test_gradients_of_biases_and_tables() -> None:
    rng = np.random.default_rng(25)
    dy, tokens = rng.normal(size=(4, 3)), np.array([5, 0, 5, 2])
    close(run("bias-backward", {"DY": dy})["DB"], dy.sum(0))
    expected = np.zeros((6, 3))
    for row, token in zip(dy, tokens, strict=True):
        expected[token] += row
    close(run("embedding-backward", {"T": tokens.astype(float), "DX": dy}, v=6)["DE"], expected)


@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_losses(scale: float) -> None:
    rng = np.random.default_rng(26)
    t, d, v = 4, 3, 7
    x, c, labels = scale * rng.normal(size=(t, d)), rng.normal(size=(d, v)), rng.integers(0, v, size=t)
    logits = x @ c
    top = logits.max(1)
    log_sum = top + np.log(np.exp(logits - top[:, None]).sum(1))
    loss = log_sum - logits[np.arange(t), labels]
    given = {"LAB": labels.astype(float)}
    for found in (
        run("softmax-cross-entropy", {"L": logits} | given),
        run("cut-cross-entropy-lse", {"X": x, "C": c} | given, v0=3),
    ):
        close(found["LSE"], log_sum)
        close(found["LOSS"], loss)
    found = run("softmax-cross-entropy-backward", {"L": logits, "LSE": log_sum} | given)
    close(found["DL"], (np.exp(logits - log_sum[:, None]) - np.eye(v)[labels]) / t)


def test_adam() -> None:
    """Three steps against the algorithm written out; the decay acts on the weight, not on the gradient."""
    rng = np.random.default_rng(27)
    p, m, v = rng.normal(size=5), np.zeros(5), np.zeros(5)
    mine = {"P": p, "M": m, "V": v}
    for step in range(1, 4):
        g = rng.normal(size=5)
        grown = {"grown1": 1 - 0.9**step, "grown2": 1 - 0.999**step}
        found = run("adam", mine | {"G": g}, rate=0.01, decay=0.1, beta2=0.999, **grown)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        p = p - 0.01 * ((m / grown["grown1"]) / (np.sqrt(v / grown["grown2"]) + 1e-8) + 0.1 * p)
        mine = {"P": found["PN"], "M": found["MN"], "V": found["VN"]}
        for name, expected in {"PN": p, "MN": m, "VN": v, "W": p}.items():
            close(found[name], expected)


def routed(logits: Array, k: int) -> tuple[Array, NDArray[np.intp]]:
    """Weights and numbers of the k best of each row, best first, as numpy has them."""
    chosen = np.argsort(-logits, axis=1)[:, :k]
    exponentials = np.exp(np.take_along_axis(logits, chosen, 1))
    return exponentials / exponentials.sum(1, keepdims=True), chosen


@pytest.mark.parametrize("k", [1, 2, 5])
def test_gradients_of_routing(k: int) -> None:
    """The choice itself has no slope: differences are far smaller than what tells two logits apart."""
    rng = np.random.default_rng(28)
    logits, weight = rng.normal(size=(4, 5)), rng.normal(size=(4, k))
    weights, chosen = routed(logits, k)
    found = run("moe-route", {"L": logits}, k=k)
    close(found["P"], weights)
    close(found["TI"], chosen.astype(float))
    expected = gradient(lambda v: float((routed(v["L"], k)[0] * weight).sum()), {"L": logits}, "L")
    found = run("moe-route-backward", {"P": weights, "TI": chosen.astype(float), "DP": weight}, x=5)
    close(found["DL"], expected)
    # One expert alone has the weight 1 whatever its logit.
    assert k > 1 or not found["DL"].any()


def test_gradients_of_combined_experts() -> None:
    rng = np.random.default_rng(29)
    inputs = {"X": rng.normal(size=(3, 2, 4)), "P": rng.normal(size=(3, 2))}
    weight = rng.normal(size=(3, 4))

    def loss(v: dict[str, Array]) -> float:
        return float((np.einsum("tkd,tk->td", v["X"], v["P"]) * weight).sum())

    found = run("moe-combine-backward", inputs | {"DY": weight})
    for name in inputs:
        close(found[f"D{name}"], gradient(loss, inputs, name))


def test_gradients_of_copies_add_up() -> None:
    rng = np.random.default_rng(30)
    x, weight = rng.normal(size=(3, 4)), rng.normal(size=(3, 2, 4))
    expected = gradient(lambda v: float((np.stack([v["X"]] * 2, 1) * weight).sum()), {"X": x}, "X")
    close(run("moe-dispatch-backward", {"DXK": weight})["DX"], expected)


def test_gated_sum_and_its_gradients() -> None:
    rng = np.random.default_rng(31)
    inputs = {"X": rng.normal(size=(3, 4)), "F": rng.normal(size=(3, 4)), "S": rng.normal(size=3)}
    weight = rng.normal(size=(3, 4))

    def result(v: dict[str, Array]) -> Array:
        total: Array = v["X"] + v["F"] / (1 + np.exp(-v["S"]))[:, None]
        return total

    close(run("gated-sum", inputs)["Y"], result(inputs))
    found = run("gated-sum-backward", {"F": inputs["F"], "S": inputs["S"], "DY": weight})
    for name in "FS":
        close(found[f"D{name}"], gradient(lambda v: float((result(v) * weight).sum()), inputs, name))
    close(weight, gradient(lambda v: float((result(v) * weight).sum()), inputs, "X"))


def test_gradients_of_latent_positions() -> None:
    """Every head reads the one rotated key: the loss weighs each head's copy by itself."""
    rng = np.random.default_rng(32)
    t, a, half = 3, 2, 2
    angle = rng.normal(size=(t, half))
    turn = {"CS": np.cos(angle), "SN": np.sin(angle)}
    inputs = {"Q": rng.normal(size=(t, a, 2 * half)), "K": rng.normal(size=(t, 2 * half)), "C": rng.normal(size=(t, 3))}
    weights = {"Q": rng.normal(size=(t, a, 2 * half)), "K": rng.normal(size=(t, a, 2 * half))}

    def loss(v: dict[str, Array]) -> float:
        found = run("latent-append", v | turn)
        queries, keys = (np.concatenate([found[f"{s}L"], found[f"{s}H"]], -1) for s in "QK")
        return float((queries * weights["Q"]).sum() + (keys[:, None] * weights["K"]).sum())

    found = run("latent-append-backward", {"DQ": weights["Q"], "DKA": weights["K"]} | turn)
    close(np.concatenate([found["QL"], found["QH"]], -1), gradient(loss, inputs, "Q"))
    close(np.concatenate([found["KL"], found["KH"]], -1), gradient(loss, inputs, "K"))
