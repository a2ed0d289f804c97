"""Random cascades, for the tests of the language and of the interpreter."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

_MAPS = [
    "exp({})",
    "-{}",
    "max({}, 0)",
    "{} * w",
    "sigmoid({})",
    "{} + 1.5",
    "f({})",
    "select({} > 0, 1, 2)",
    "({} - m) / |m|",
]
_FOLDS = ["add", "max", "min", "mul", "top"]


def _random_cascade(seed: int) -> str:
    """A valid cascade of random shape: maps, folds, offsets, windows, splits, masks, gathers and running states."""
    rng = random.Random(seed)
    lines = [f"cascade random-{seed}", f'doc "seed {seed} \\" \\\\ \\u00e9"', "const w = 0.5", "rank m, n, r, k0"]
    lines += [f"bits {1 + seed % 64}"] if seed % 3 == 0 else []
    lines += ["split k -> k1, k0", "op f(x) = x * x + w", "reduce top(a, b) = max(a, b) from -inf"]
    lines.append("input X[m, n], Y[n], K[k], I[m] density w, P[m, n] format float16")
    known = {"X": ("m", "n"), "Y": ("n",), "P": ("m", "n")}
    for number in range(rng.randint(1, 6)):
        name = f"T{number}"
        source = rng.choice(list(known))
        ranks = known[source]
        index = ", ".join(
            rng.choice([rank, rank, rank, f"{rank} + {rng.randint(1, 2)}", f"{rank} - 1"]) for rank in ranks
        )
        value = rng.choice(_MAPS).format(f"{source}[{index}]")
        kept = tuple(rank for rank in ranks if rng.random() < 0.7)
        if "m" in value and "m" not in ranks:
            kept = (*kept, "m")
        choice = rng.random()
        if choice < 0.15:
            lines.append(f"{name}[m] = Y[I[m]] * {value}" + (" :: add(n)" if "n" in ranks else ""))
            known[name] = ("m",)
            continue
        if choice < 0.3:
            lines += [
                f"{name}[0, n] = {rng.choice(['0', 'lowest', 'Y[n]'])}",
                f"{name}[m + 1, n] = {name}[m, n] * w + X[m, n]",
            ]
            known[name] = ("m", "n")
            continue
        if choice < 0.4:
            lines.append(f"{name}[k1] = K[k1*|k0| + k0] - {rng.randint(0, 9)} :: max(k0)")
            known[name] = ("k1",)
            continue
        walked = set(ranks) | ({"m"} if "m" in value else set())
        folded = sorted(walked - set(kept))
        line = f"{name}[{', '.join(kept)}] = {value}"
        if folded:
            line += f" :: {rng.choice(_FOLDS)}({', '.join(folded)})"
        if kept and rng.random() < 0.4:
            line += f" where {kept[0]} {rng.choice(['<', '>=', '!='])} {rng.choice(['2', 'w * 3', '|n| - 1'])}"
            if rng.random() < 0.5:
                line += f" else {rng.choice(['0', '-inf', '-w'])}"
        lines.append(line)
        known[name] = kept
    text = "\n".join(lines)
    last = [name for name in known if name.startswith("T")] or ["T0"]
    lines.append(f"output {', '.join(last[-2:])}")
    read = text.split("reduce top")[1]
    unread = [
        name for name, use in (("X", "X["), ("Y", "Y["), ("K", "K["), ("I", "I["), ("P", "P[")) if read.count(use) < 2
    ]
    for name in unread:
        index = {"X": "m, n", "Y": "n", "K": "k", "I": "m", "P": "m, n"}[name]
        lines.append(f"U{name}[] = {name}[{index}]")
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="session")
def random_cascade() -> Callable[[int], str]:
    """A function from a seed to the text of a valid cascade."""
    return _random_cascade
