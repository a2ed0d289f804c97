"""Linear attention cut into chunks of tokens against the sum over all pairs, and its gradients by hand."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from workloads.cascades import load_cascade
from workloads.einsum import run_cascade

Array = NDArray[np.float64]
SIZE = st.integers(1, 4)


def run(name: str, inputs: dict[str, Array]) -> dict[str, Array]:
    return run_cascade(load_cascade(name), inputs, {})


def close(found: Array, expected: Array) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def whole(q: Array, k: Array, v: Array, do: Array) -> tuple[Array, ...]:
    """Output and gradients from the masked matrix of scores: O = A V with A = Q K^T below the diagonal."""
    visible = np.tril(np.ones((q.shape[1], q.shape[1])))
    scores, slopes = np.einsum("hpe,hme->hpm", q, k) * visible, np.einsum("hpf,hmf->hpm", do, v) * visible
    return scores @ v, slopes @ k, slopes.swapaxes(1, 2) @ q, scores.swapaxes(1, 2) @ do


def draw(seed: int, h: int, t: int, e: int, f: int) -> tuple[Array, Array, Array, Array]:
    rng = np.random.default_rng(seed)
    return tuple(rng.normal(size=(h, t, width)) for width in (e, e, f, f))  # type: ignore[return-value]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), h=SIZE, n=SIZE, c=SIZE, e=SIZE, f=SIZE)
def test_chunks(seed: int, h: int, n: int, c: int, e: int, f: int) -> None:
    """Any cut into chunks is the same sum."""
    q, k, v, do = draw(seed, h, n * c, e, f)
    output, dq, dk, dv = whole(q, k, v, do)

    def cut(x: Array) -> Array:
        return x.reshape(h, n, c, -1)

    close(run("linear-attention-chunks", {"Q": cut(q), "K": cut(k), "V": cut(v)})["O"], cut(output))
    found = run("linear-attention-chunks-backward", {"Q": cut(q), "K": cut(k), "V": cut(v), "DO": cut(do)})
    for name, expected in (("DQ", dq), ("DK", dk), ("DV", dv)):
        close(found[name], cut(expected))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), h=SIZE, w=SIZE, c=SIZE, e=SIZE, f=SIZE)
def test_devices_with_a_chunk_each(seed: int, h: int, w: int, c: int, e: int, f: int) -> None:
    """Algorithms 2 and 4 of LASP-2: own chunk, all states gathered, those before summed, those behind backward."""
    q, k, v, do = draw(seed, h, w * c, e, f)
    expected = [x.reshape(h, w, c, -1) for x in whole(q, k, v, do)]
    parts = [x.reshape(h, w, c, -1) for x in (q, k, v, do)]
    states = [run("linear-attention-state", {"K": parts[1][:, i], "V": parts[2][:, i]})["M"] for i in range(w)]
    slopes = [run("linear-attention-state", {"K": parts[0][:, i], "V": parts[3][:, i]})["M"] for i in range(w)]
    zero = np.zeros_like(states[0])
    for i in range(w):
        own = {name: part[:, i] for name, part in zip(("Q", "K", "V", "DO"), parts, strict=True)}
        one = {name: x[:, None] for name, x in own.items()}
        before = run("state-sum", {"G": np.stack([zero, *states[:i]])})["M"]
        behind = run("state-sum", {"G": np.stack([zero, *slopes[i + 1 :]])})["M"]
        intra = run("linear-attention-chunks", {name: one[name] for name in "QKV"})["O"][:, 0]
        close(run("linear-attention-inter", {"Q": own["Q"], "M": before, "OI": intra})["O"], expected[0][:, i])
        found = run("linear-attention-chunks-backward", one)
        given_on = {f"{name}I": found[name][:, 0] for name in ("DQ", "DK", "DV")}
        inputs = {name: own[name] for name in ("K", "V", "DO")} | {"M": before, "DM": behind} | given_on
        found = run("linear-attention-inter-backward", inputs)
        for name, value in zip(("DQ", "DK", "DV"), expected[1:], strict=True):
            close(found[name], value[:, i])
