"""Random small problems and machines on which the search is held against slower truths."""

from __future__ import annotations

import random

from hw.spec.hierarchy import Hierarchy
from mappers.mapspace.problem import CascadeProblem, cascade_problem
from workloads.einsum import parse_cascade

__all__ = ["CASCADES", "random_machine", "random_problem"]

CASCADES = {
    "gemm": "rank m, n, k\ninput A[m, k], B[k, n]\noutput Z\nZ[m, n] = A[m, k] * B[k, n] :: add(k)",
    "batched": "rank b, m, n, k\ninput A[b, m, k], B[b, k, n]\noutput Z\n"
    "Z[b, m, n] = A[b, m, k] * B[b, k, n] :: add(k)",
    "elementwise": "rank m, n\ninput X[m, n]\noutput Y\nY[m, n] = exp(X[m, n])",
    "row-sum": "rank m, n\ninput X[m, n]\noutput Y\nY[m] = X[m, n] :: add(n)",
    "chain": "rank m, a, c, e\ninput X[m, a], V[a, c], W[c, e]\noutput Z\n"
    "Y[m, c] = X[m, a] * V[a, c] :: add(a)\nZ[m, e] = Y[m, c] * W[c, e] :: add(c)",
    "activation": "rank m, n, k\ninput A[m, k], B[k, n]\noutput Z\n"
    "Y[m, n] = A[m, k] * B[k, n] :: add(k)\nZ[m, n] = exp(Y[m, n])",
    "attention": "rank m, p, e, f\ninput Q[m, e], K[p, e], V[p, f]\noutput AV\n"
    "QK[m, p] = Q[m, e] * K[p, e] :: add(e)\nSM[m, p] = exp(QK[m, p])\nAV[m, f] = SM[m, p] * V[p, f] :: add(p)",
}


def random_problem(rng: random.Random, name: str, largest: int) -> CascadeProblem:
    """One of `CASCADES` with random sizes and widths."""
    cascade = parse_cascade(f"cascade {name}\n{CASCADES[name]}\n")
    sizes = {rank: rng.randint(1, largest) for rank in cascade.rank_names}
    return cascade_problem(cascade, sizes, {tensor: rng.choice((4, 8, 16)) for tensor in cascade.tensors})


def random_machine(rng: random.Random, depth: int, fanouts: bool) -> Hierarchy:
    """``depth`` levels, the inner ones small, energies and rates in small whole numbers."""
    names = ("root", "outer", "inner")[:depth]
    levels: dict[str, object] = {}
    for place, name in enumerate(names):
        scale = (20, 3, 1)[place]
        level: dict[str, object] = {
            "read_energy": f"{rng.choice((0, 1, 2)) * scale} pJ/bit",
            "write_energy": f"{rng.choice((0, 1, 3)) * scale} pJ/bit",
        }
        ports = rng.choice(((), ("bandwidth",), ("read_bandwidth", "write_bandwidth")))
        level |= {port: f"{rng.choice((1, 2, 5))} B/s" for port in ports}
        if place == 0:
            level |= {"keep": ["not intermediate"], "may_keep": ["all"]}
        else:
            level |= {"parent": names[place - 1], "capacity": f"{rng.choice((24, 32, 48, 64, 96, 160, 400))} bit"}
            level["may_keep"] = rng.choice((["all"], ["all"], ["input", "output"], ["weight"], ["output"]))
            if place == 1 or rng.random() < 0.3:
                level["keep"] = rng.choice((["not root"], ["not root", "weight"], ["not root", "input"], ["all"]))
        if fanouts and place and rng.random() < 0.5:
            level["fanout"] = _fanout(rng)
        levels[name] = level
    unit: dict[str, object] = {
        "parent": names[-1],
        "clock": f"{rng.choice((1, 2))} Hz",
        "actions": {"point": {"energy": f"{rng.choice((0, 1, 5))} pJ"}},
    }
    if fanouts and rng.random() < 0.6:
        unit["fanout"] = _fanout(rng)
    return Hierarchy.model_validate({"name": "random", "levels": levels, "units": {"lane": unit}})


def _fanout(rng: random.Random) -> dict[str, object]:
    found: dict[str, object] = {}
    for name in ("x", "y")[: rng.choice((1, 1, 2))]:
        reuse = rng.choice((None, "input", "weight", "output"))
        share = rng.choice((0.0, 0.0, 0.5, 1.0))
        found[name] = {"size": rng.randint(2, 4), "min_usage": share, **({"reuse": reuse} if reuse else {})}
    return found
