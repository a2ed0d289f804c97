"""Pass analysis against answers worked out by hand from the definition."""

from __future__ import annotations

import pytest

from workloads.cascades import cascade_names, load_cascade
from workloads.einsum import analyse, count_passes, parse_cascade, pass_counts


def passes_of(text: str) -> dict[str, str]:
    """``{"X.m": "2"}`` for a cascade text."""
    return {f"{count.tensor}.{count.rank}": str(count.passes) for count in count_passes(parse_cascade(text))}


def live_of(text: str) -> dict[str, str]:
    return {f"{count.tensor}.{count.rank}": str(count.live) for count in count_passes(parse_cascade(text))}


# name, statements, expected passes, and why
HAND_MADE = [
    ("sum-alone", "input X[m]\noutput S\nS[] = X[m]", {"X.m": "1"}),
    ("two-sums-share-a-pass", "input X[m]\noutput S, T\nS[] = X[m]\nT[] = X[m] * X[m]", {"X.m": "1"}),
    ("scale-by-sum", "input X[m]\noutput Z\nS[] = X[m]\nZ[m] = X[m] / S[]", {"X.m": "2"}),
    ("deferred-division", "input X[m], V[m]\noutput Z\nS[] = exp(X[m]) :: add(m)\nN[] = exp(X[m]) * V[m] :: add(m)\n"
     "Z[] = N[] / S[]",
     {"X.m": "1", "V.m": "1"}),
    ("early-division", "input X[m], V[m]\noutput Z\nE[m] = exp(X[m])\nS[] = E[m]\nA[m] = E[m] / S[]\nZ[] = A[m] * V[m]",
     {"X.m": "2", "V.m": "1"}),
    ("variance-about-mean", "input X[m]\noutput V\nS[] = X[m]\nC[m] = X[m] - S[] / |m|\n"
     "V[] = C[m] * C[m]", {"X.m": "2"}),
    ("softmax-twice", "input X[m]\noutput B\nGM[] = X[m] :: max(m)\nN[m] = exp(X[m] - GM[])\nD[] = N[m]\n"
     "A[m] = N[m] / D[]\n"
     "HM[] = A[m] :: max(m)\nO[m] = exp(A[m] - HM[])\nE[] = O[m]\nB[m] = O[m] / E[]", {"X.m": "5"}),
    # Traps: the second visit is on one rank only.
    ("max-over-one-rank", "input X[m, p]\noutput Z\nU[m] = X[m, p] :: max(p)\n"
     "Z[m, p] = X[m, p] - U[m]", {"X.m": "1", "X.p": "2"}),
    ("max-over-both-ranks", "input X[m, p]\noutput Z\nU[] = X[m, p] :: max(m, p)\n"
     "Z[m, p] = X[m, p] - U[]", {"X.m": "2", "X.p": "2"}),
    ("row-then-column", "input X[m, p]\noutput Z\nU[m] = X[m, p] :: max(p)\nY[m, p] = X[m, p] - U[m]\n"
     "W[p] = Y[m, p] :: max(m)\n"
     "Z[m, p] = Y[m, p] - W[p]", {"X.m": "2", "X.p": "2"}),
    # The sum of another input forces nothing on this one.
    ("sum-of-another", "input X[m], Y[m]\noutput Z\nS[] = Y[m]\nZ[m] = X[m] * S[]", {"X.m": "1", "Y.m": "1"}),
    # Each fiber is scaled by its neighbour's sum, so no fiber is needed whole before it is visited again.
    ("neighbour-row", "input X[m, p]\noutput Z\nU[p] = X[m, p] :: max(m)\n"
     "Z[m, p] = X[m, p] * U[p - 1]", {"X.m": "1", "X.p": "1"}),
    ("own-and-neighbour-row", "input X[m, p]\noutput Z\nU[p] = X[m, p] :: max(m)\nZ[m, p] = X[m, p] * U[p - 1] * U[p]",
     {"X.m": "2", "X.p": "1"}),
    # One name for the fold, another for the second visit.
    ("renamed-rank", "rank p = |m|\ninput X[m]\noutput Z\nS[] = X[m]\nZ[p] = X[p] / S[]", {"X.m": "2"}),
    ("first-element", "input X[m]\noutput Z\nZ[m] = X[m] / X[0]", {"X.m": "1"}),
    # Running states.
    ("prefix", "input X[m]\noutput Z\nR[0] = 0\nR[m + 1] = R[m] + X[m]\nZ[m] = X[m] * R[m + 1]", {"X.m": "1"}),
    ("prefix-at-its-end", "input X[m]\noutput Z\nR[0] = 0\nR[m + 1] = R[m] + X[m]\nZ[m] = X[m] * R[|m|]", {"X.m": "2"}),
    ("suffix", "input X[m]\noutput Z\nR[|m|] = 0\nR[m] = R[m + 1] + X[m]\nZ[m] = X[m] * R[m]", {"X.m": "1"}),
    ("suffix-at-its-end", "input X[m]\noutput Z\nR[|m|] = 0\nR[m] = R[m + 1] + X[m]\nZ[] = R[0]", {"X.m": "1"}),
    ("prefix-times-suffix", "input X[m]\noutput Z\nF[0] = 0\nF[m + 1] = F[m] + X[m]\nB[|m|] = 0\n"
     "B[m] = B[m + 1] + X[m]\n"
     "Z[m] = F[m] * B[m]", {"X.m": "2"}),
    ("prefix-beside-suffix", "input X[m]\noutput F, B\nF[0] = 0\nF[m + 1] = F[m] + X[m]\nB[|m|] = 0\n"
     "B[m] = B[m + 1] + X[m]",
     {"X.m": "2"}),
    ("grid", "input X[i, j]\noutput D\nD[0, 0] = 0\n"
     "D[i + 1, j + 1] = X[i, j] + max(D[i, j + 1], D[i + 1, j])", {"X.i": "1", "X.j": "1"}),
    # Windows.
    ("window", "rank p = |m|\nrank r\ninput X[m]\noutput Z\nW[p] = X[p + r] :: max(r)\n"
     "Z[p] = X[p] - W[p]", {"X.m": "1"}),
    # Every turn of an outer loop needs the whole matrix again.
    ("power-iteration", "rank i\nrank r, c = |r|\ninput A[r, c], V[c]\noutput W\nX[0, c] = V[c]\n"
     "U[i, r] = A[r, c] * X[i, c] :: add(c)\n"
     "X[i + 1, c] = U[i, c]\nW[c] = X[|i|, c]", {"A.r": "|i|", "A.c": "|i|", "V.c": "1"}),
    ("recurrent-network", "rank t, d, e = |d|\ninput X[t, d], W[d, e]\noutput H\nH[0, d] = 0\n"
     "U[t, d] = W[d, e] * H[t, e] :: add(e)\n"
     "H[t + 1, d] = tanh(U[t, d] + X[t, d])", {"X.t": "1", "X.d": "1", "W.d": "|t|", "W.e": "|t|"}),
    # Blocks.
    ("softmax-within-blocks", "rank m0\nsplit m -> m1, m0\ninput X[m]\noutput Z\nL[m1] = X[m1*|m0| + m0] :: max(m0)\n"
     "Z[m1*|m0| + m0] = X[m1*|m0| + m0] - L[m1]", {"X.m": "1", "X.m0": "2"}),
    ("across-blocks", "rank m0\nsplit m -> m1, m0\ninput X[m]\noutput Z\nL[m0] = X[m1*|m0| + m0] :: max(m1)\n"
     "Z[m1*|m0| + m0] = X[m1*|m0| + m0] - L[m0]", {"X.m": "1", "X.m0": "1"}),
    # One sweep serves whole blocks or whole strides, not both.
    ("within-and-across", "rank m0\nsplit m -> m1, m0\ninput X[m]\noutput Y, Z\nL[m1] = X[m1*|m0| + m0] :: max(m0)\n"
     "Y[m1, m0] = X[m1*|m0| + m0] - L[m1]\nK[m0] = X[m1*|m0| + m0] :: max(m1)\nZ[m1, m0] = X[m1*|m0| + m0] - K[m0]",
     {"X.m": "2", "X.m0": "2"}),
    # Block maxima are few: working on them again visits no element of the fiber.
    ("summaries-again", "rank m0\nsplit m -> m1, m0\ninput X[m]\noutput S\nL[m1] = X[m1*|m0| + m0] :: max(m0)\n"
     "G[] = L[m1] :: max(m1)\n"
     "S[] = exp(L[m1] - G[]) :: add(m1)", {"X.m": "1", "X.m0": "1"}),
    # Gathers and selections.
    ("top-then-fetch", "rank k\ninput X[m]\noutput Z\nI[k] = X[m] :: argtopk(m -> k)\nZ[k] = X[I[k]]", {"X.m": "2"}),
    ("pick-one", "input X[t, m], L[t]\noutput Z\nE[t] = exp(X[t, m]) :: add(m)\nP[t] = X[t, L[t]]\n"
     "Z[t] = log(E[t]) - P[t]", {"X.m": "1"}),
    # A residual connection visits the row again after the layer has needed all of it.
    ("residual", "input X[t, d], W[d, s], V[s, d]\noutput Y\nH[t, s] = X[t, d] * W[d, s]\n"
     "F[t, d] = H[t, s] * V[s, d]\nY[t, d] = X[t, d] + F[t, d]",
     {"X.d": "2", "X.t": "1", "W.d": "1", "W.s": "1", "V.s": "1", "V.d": "1"}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "expected"), HAND_MADE, ids=[case[0] for case in HAND_MADE])
def test_hand_made(name: str, text: str, expected: dict[str, str]) -> None:
    found = passes_of(f"cascade {name}\n{text}\n")
    assert {key: found[key] for key in expected} == expected


def test_hand_made_set_is_large_enough() -> None:
    assert len(HAND_MADE) >= 20


@pytest.mark.parametrize(
    ("name", "tensor", "rank", "passes", "live"),
    [
        ("attention-3pass", "K", "m", 3, "|m|"),
        ("attention-2pass", "K", "m", 2, "|m|"),
        ("attention-1pass", "K", "m", 1, "|m0|"),
        ("attention-3pass-causal", "K", "m", 3, "|m|"),
        ("attention-2pass-causal", "K", "m", 2, "|m|"),
        ("attention-1pass-causal", "K", "m", 1, "|m0|"),
        ("attention-1pass-window", "K", "m", 1, "|m0|"),
        ("attention-1pass-sink", "K", "m", 1, "|m0|"),
        ("attention-1pass-block-sparse", "K", "m", 1, "|m0|"),
        ("mla-absorbed", "C", "m", 3, "|m|"),
        ("mla-absorbed-1pass", "C", "m", 1, "|m0|"),
        ("softmax", "X", "d", 3, "|d|"),
        ("softmax-online", "X", "d", 2, "|d|"),
        ("layer-norm", "X", "d", 3, "|d|"),
        ("layer-norm-2pass", "X", "d", 2, "|d|"),
        ("layer-norm-welford", "X", "d", 1, "1"),
        ("layer-norm-welford-apply", "X", "d", 2, "|d|"),
        ("welford", "X", "d", 1, "1"),
        ("rms-norm", "X", "d", 2, "|d|"),
        ("cross-entropy", "C", "v", 2, "|v|"),
        ("cut-cross-entropy", "C", "v", 1, "|v0|"),
        ("linear-attention", "K", "t", 1, "1"),
        ("selective-scan", "X", "t", 1, "1"),
    ],
)
def test_library_passes(name: str, tensor: str, rank: str, passes: int, live: str) -> None:
    count = next(c for c in count_passes(load_cascade(name)) if (c.tensor, c.rank) == (tensor, rank))
    assert (str(count.passes), str(count.live)) == (str(passes), live)


@pytest.mark.parametrize(("name", "passes"), [("attention-3pass", 3), ("attention-2pass", 2), ("attention-1pass", 1)])
def test_attention_classes(name: str, passes: int) -> None:
    document = analyse(load_cascade(name))
    assert document["passes"] == passes
    assert document["passes_by_rank"]["V"]["m"] == 1
    assert document["passes_by_rank"]["Q"]["p"] == 1


def test_live_footprint_grows_with_the_sequence_only_above_one_pass() -> None:
    sizes = {"b": 1, "h": 1, "g": 1, "p": 1, "e": 64, "f": 64}
    for name, expected in (("attention-3pass", [1024, 65536]), ("attention-1pass", [256, 256])):
        live = [analyse(load_cascade(name), {**sizes, "m": m})["live_footprint"]["K"]["m"] for m in (1024, 65536)]
        assert live == expected


def test_derivation_names_the_fold_that_forces_each_pass() -> None:
    count = next(c for c in count_passes(load_cascade("attention-3pass")) if (c.tensor, c.rank) == ("K", "m"))
    assert count.steps == (
        "pass 1: K is first visited along m",
        "pass 2: SN visits it together with GM, which needed the whole fiber",
        "pass 3: A visits it together with SD, which needed the whole fiber in pass 2",
    )


def test_window_must_stay_live() -> None:
    text = "cascade w\nrank p = |m|\nrank r\ninput X[m]\noutput Z\nW[p] = X[p + r] :: max(r)\nZ[p] = X[p] - W[p]\n"
    assert live_of(text)["X.m"] == "|r|"


def test_look_ahead_keeps_two_elements() -> None:
    text = "cascade a\ninput X[m]\noutput Z\nR[0] = 0\nR[m + 1] = R[m] + X[m]\nZ[m] = X[m] * R[m + 2]\n"
    assert passes_of(text)["X.m"] == "1"
    assert live_of(text)["X.m"] == "2"


def test_symbolic_counts_become_numbers() -> None:
    text = (
        "cascade rnn\nrank t, d, e = |d|\ninput X[t, d], W[d, e]\noutput H\nH[0, d] = 0\n"
        "U[t, d] = W[d, e] * H[t, e] :: add(e)\nH[t + 1, d] = tanh(U[t, d] + X[t, d])\n"
    )
    assert pass_counts(parse_cascade(text), {"t": 7, "d": 3})["W"] == {"d": 7, "e": 7}


@pytest.mark.parametrize("name", cascade_names())
def test_every_count_is_derived(name: str) -> None:
    """Each count above one has one sentence for every pass, and nothing depends on the run."""
    for count in count_passes(load_cascade(name)):
        if not count.passes.turns:
            assert [step.split(":")[0] for step in count.steps] == [
                f"pass {n + 1}" for n in range(count.passes.constant)
            ]
