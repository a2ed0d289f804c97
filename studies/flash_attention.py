"""FlashAttention: attention in blocks that stay on the chip, beside attention kernel by kernel, and what must be moved.

Standard attention is a row of kernels, each with its operands read and its results written once. FlashAttention is two
kernels, forward and backward, whose traffic the mapper's model counts for the loops of the paper: blocks of keys and
values outside, blocks of queries inside. The running maxima and sums, 8 bytes beside a row's 128, are left out. A
kernel takes as long as its bytes or its products at the device's stated rates, whichever is longer. ``words``,
``bound`` and slopes are the I/O complexity of one head on a chip of ``buffer`` elements (Saha and Ye, ICML 2024).
"""

from __future__ import annotations

import math
from collections.abc import Mapping as Table
from collections.abc import Sequence
from functools import cache

from hw.spec.load import load_system, override_values
from hw.spec.load_hierarchy import load_hierarchy
from hw.spec.system import System
from mappers.bounds.attention_io import (
    attention_io_asymptote_words,
    attention_io_bound_words,
    best_attention_schedule,
)
from mappers.mapspace.cost import evaluate
from mappers.mapspace.mapping import Branch, Compute, Loop, Mapping, Nest, Store
from mappers.mapspace.problem import cascade_problem
from mappers.roofline import roofline_op
from studies.frame.constants import derived, of_machine, stated
from studies.frame.study import Config, Key, Metric, Miss, Published, Study
from workloads.cascades import load_cascade
from workloads.einsum import Cascade, parse_cascade
from workloads.workload import Op, Operand

__all__ = ["STUDY"]

DEVICES = ("a100-40gb-sxm", "a100-80gb-sxm", "h100-sxm", "a40")
CONSTANTS = {
    "bandwidth": of_machine("a100-40gb-sxm", "tiers.hbm.read_bandwidth"),
    "rate": of_machine("a100-40gb-sxm", "engines.tensor.throughput"),
    "memory": stated(192 * 1024, "B", "section 2.1: on-chip memory of one of the A100's 108 processors"),
    "blocks": stated(4, "", "algorithm 1: blocks of M / 4d keys, at most d queries, for a memory of M elements"),
    "zeros": stated(None, "", "algorithm 1, line 2, and algorithm 4: O and dQ are zeros in memory to begin with"),
    "kernels": derived(
        12,
        "",
        "algorithms 0 and 3 with mask and dropout as in GPT-2: a kernel for each product, mask, softmax, dropout",
    ),
    "complexity": stated(None, "", "Saha and Ye, theorems 1.1 and 1.2; with constants: mappers/bounds/attention_io.py"),
}

_RANKS = "rank b, p, m, e, f = |e|\n"
_CAUSAL = "where m <= p + |m| - |p| else"
_FORWARD = (
    ("scores", "input Q[b,p,e], K[b,m,e]\noutput S\nS[b,p,m] = Q[b,p,e] * K[b,m,e] :: add(e)"),
    ("mask", f"input S[b,p,m]\noutput X\nX[b,p,m] = S[b,p,m] {_CAUSAL} -inf"),
    (
        "softmax",
        "input S[b,p,m]\noutput A\nG[b,p] = S[b,p,m] :: max(m)\nN[b,p,m] = exp(S[b,p,m] - G[b,p])\n"
        "D[b,p] = N[b,p,m] :: add(m)\nA[b,p,m] = N[b,p,m] / D[b,p]",
    ),
    ("dropout", "input A[b,p,m], DROP[b,p,m]\noutput X\nX[b,p,m] = A[b,p,m] * DROP[b,p,m]"),
    ("values", "input A[b,p,m], V[b,m,f]\noutput O\nO[b,p,f] = A[b,p,m] * V[b,m,f] :: add(m)"),
)
_BACKWARD = (
    ("values-v", "input A[b,p,m], DO[b,p,f]\noutput DV\nDV[b,m,f] = A[b,p,m] * DO[b,p,f] :: add(p)"),
    ("values-a", "input DO[b,p,f], V[b,m,f]\noutput DA\nDA[b,p,m] = DO[b,p,f] * V[b,m,f] :: add(f)"),
    ("dropout-b", "input DA[b,p,m], DROP[b,p,m]\noutput X\nX[b,p,m] = DA[b,p,m] * DROP[b,p,m]"),
    (
        "softmax-b",
        "input A[b,p,m], DA[b,p,m]\noutput DS\nR[b,p] = A[b,p,m] * DA[b,p,m] :: add(m)\n"
        "DS[b,p,m] = A[b,p,m] * (DA[b,p,m] - R[b,p])",
    ),
    ("mask-b", f"input DS[b,p,m]\noutput X\nX[b,p,m] = DS[b,p,m] {_CAUSAL} 0"),
    ("scores-q", "input DS[b,p,m], K[b,m,e]\noutput DQ\nDQ[b,p,e] = DS[b,p,m] * K[b,m,e] :: add(m)"),
    ("scores-k", "input DS[b,p,m], Q[b,p,e]\noutput DK\nDK[b,m,e] = DS[b,p,m] * Q[b,p,e] :: add(p)"),
)
_FLASH_BACKWARD = (
    "input Q[b,p,e], K[b,m,e], V[b,m,f], O[b,p,f], DO[b,p,f], L[b,p]\noutput DQ, DK, DV\n"
    "S[b,p,m] = Q[b,p,e] * K[b,m,e] :: add(e)\nA[b,p,m] = exp(S[b,p,m] - L[b,p])\n"
    "DV[b,m,f] = A[b,p,m] * DO[b,p,f] :: add(p)\nDA[b,p,m] = DO[b,p,f] * V[b,m,f] :: add(f)\n"
    "R[b,p] = DO[b,p,f] * O[b,p,f] :: add(f)\nDS[b,p,m] = A[b,p,m] * (DA[b,p,m] - R[b,p])\n"
    "DQ[b,p,e] = DS[b,p,m] * K[b,m,e] :: add(m)\nDK[b,m,e] = DS[b,p,m] * Q[b,p,e] :: add(p)"
)
_DROPOUT_FORMAT = "int8"
"""One byte for each element that is dropped or not, as PyTorch keeps it."""


@cache
def _cascade(name: str, einsums: str) -> Cascade:
    return parse_cascade(f'cascade {name}\ndoc "A kernel of attention."\nsource "FlashAttention"\n{_RANKS}{einsums}')


def _op(cascade: Cascade, sizes: Table[str, int], moved: Sequence[tuple[str, str, float, str]]) -> Op:
    """A kernel that moves so many elements: tensor, access, number, format."""
    operands = tuple(
        Operand(tensor, "read" if access == "read" else "write", elements, form)
        for tensor, access, elements, form in moved
    )
    return Op(cascade.name, "attention", cascade, tuple(sorted(sizes.items())), operands, "fp16", ())


@cache
def _standard(heads: int, tokens: int, width: int, backward: bool) -> tuple[Op, ...]:
    """A kernel for each step; every operand is read, every result written, once."""
    sizes = {"b": heads, "p": tokens, "m": tokens, "e": width, "f": width}
    ops = []
    for name, einsums in _FORWARD + (_BACKWARD if backward else ()):
        cascade = _cascade(name, einsums)
        problem = cascade_problem(cascade, {rank: sizes[rank] for rank in cascade.rank_names}, 16)
        seen: dict[str, tuple[str, str, float, str]] = {}
        for einsum in problem.einsums:
            for use in einsum.uses:
                if not use.intermediate:
                    # Dropout's kernel draws which elements are dropped and keeps that for the way back.
                    access = "write" if use.role == "output" or (use.tensor == "DROP" and name == "dropout") else "read"
                    form = _DROPOUT_FORMAT if use.tensor == "DROP" else "fp16"
                    seen[use.tensor] = (use.tensor, access, float(use.elements(einsum.size)), form)
        ops.append(_op(cascade, {rank: sizes[rank] for rank in cascade.rank_names}, tuple(seen.values())))
    return tuple(ops)


def _blocked(
    cascade: Cascade, tokens: int, width: int, keys: int, queries: int, inner: Sequence[str]
) -> Table[str, tuple[float, float]]:
    """Elements of each tensor read from and written to memory for one head; tensors of ``inner`` follow the queries."""
    sizes = {"b": 1, "h": 1, "p": tokens, "m": tokens, "e": width, "f": width}
    problem = cascade_problem(cascade, {rank: sizes[rank] for rank in cascade.rank_names}, 16)
    tensors = {use.tensor: use.intermediate for einsum in problem.einsums for use in einsum.uses}
    outside = [name for name, inside in tensors.items() if not inside]
    steps: tuple[Nest, ...] = tuple(
        (*(Loop(rank, 1) for rank in einsum.ranks if rank not in ("b", "h")), Compute(einsum.name, "mac"))
        for einsum in problem.einsums
    )
    key, query = ("p", "m") if cascade.name == "attention-elementwise" else ("m", "p")
    nest: Nest = (
        *(Store("dram", name) for name in outside),
        Loop(key, keys),
        *(Store("glb", name) for name in outside if name not in inner),
        Loop(query, queries),
        *(Store("glb", name) for name in tensors if name in inner or tensors[name]),
        Branch("sequential", steps),
    )
    cost = evaluate(Mapping(cascade.name, "mapping-snowcat", nest), problem, load_hierarchy("mapping-snowcat"))
    return {name: (bits.read_bits / 16, bits.write_bits / 16) for name, bits in cost.traffic()["dram"].items()}


def _block(width: int, buffer: int, block: int) -> tuple[int, int]:
    """Keys and queries of a block: those of algorithm 1, or as many keys as are set."""
    keys = block or math.ceil(buffer / (CONSTANTS["blocks"].value * width))
    return keys, min(keys, width)


@cache
def _flash(heads: int, tokens: int, width: int, buffer: int, block: int, backward: bool) -> tuple[Op, ...]:
    """One kernel forward and one backward, whose scores stay on the chip."""
    keys, queries = (min(tokens, size) for size in _block(width, buffer, block))
    parts: list[tuple[Cascade, tuple[str, ...]]] = [(load_cascade("attention-elementwise"), ("Q", "AV"))]
    if backward:
        parts.append((_cascade("flash-b", _FLASH_BACKWARD), ("Q", "O", "DO", "L", "DQ")))
    ops = []
    for cascade, inner in parts:
        moved = [
            (name, access, heads * elements, "fp32" if name == "L" else "fp16")
            for name, both in _blocked(cascade, tokens, width, keys, queries, inner).items()
            for access, elements in zip(("read", "write"), both, strict=True)
            if elements
        ]
        # Sums that come back with every block of keys begin as zeros in memory, written and read once more.
        moved += [
            (name, access, heads * tokens * width, "fp16")
            for name in ("AV", "DQ")
            if name in inner
            for access in ("write", "read")
        ]
        sizes = {"b": heads, "h": 1, "p": tokens, "m": tokens, "e": width, "f": width}
        ops.append(_op(cascade, {rank: sizes[rank] for rank in cascade.rank_names}, moved))
    return tuple(ops)


@cache
def _machine(device: str) -> System:
    """The device at its stated rates; launches cost nothing."""
    return override_values(
        load_system(device), {f"engines.{name}.launch_overhead": 0.0 for name in ("tensor", "vector")}
    )


def _slope(words: Sequence[float]) -> float:
    return math.log2(words[1] / words[0])


def _simulate(config: Config) -> dict[str, float]:
    heads = int(config["heads"]) * int(config["batch"])
    tokens, width, buffer = (int(config[name]) for name in ("tokens", "width", "buffer"))
    backward = config["phase"] == "training"
    flash = config["algorithm"] == "flash"
    standard_ops = _standard(heads, tokens, width, backward)
    ops = _flash(heads, tokens, width, buffer, int(config["block"]), backward) if flash else standard_ops
    system = _machine(str(config["device"]))
    work = [sum(op.work.contraction for op in each) for each in (standard_ops, ops)]
    found = {
        "traffic": sum(op.bytes("read") + op.bytes("write") for op in ops),
        "time_bound": sum(roofline_op(op, system).time_s for op in ops),
        "products": work[1],
        "products_ratio": work[0] / work[1],
    }
    schedules = [best_attention_schedule(tokens, width, words).words for words in (buffer, 2 * buffer)]
    bounds = [attention_io_bound_words(tokens, width, words) for words in (buffer, 2 * buffer)]
    return {
        **found,
        "words": schedules[0],
        "bound": bounds[0],
        "slope": _slope(schedules),
        "slope_bound": _slope(bounds),
    }


def _rates() -> str:
    """What share of the device the published times are."""
    study, parts = STUDY, []
    for algorithm, seconds in (("standard", 41.7e-3), ("flash", 7.3e-3)):
        found = study.simulate(study.config({"algorithm": algorithm}))
        parts.append(
            f"{algorithm}: {found['traffic'] / seconds / 1e12:.2f} TB/s and {found['products'] / seconds / 1e12:.0f} "
            f"TFLOP/s in the published {seconds * 1e3:.1f} ms"
        )
    return f"{'; '.join(parts)}, of 1.56 TB/s and 312 TFLOP/s stated: neither ran at a limit of the device."


def _products() -> str:
    found = {each: STUDY.simulate(STUDY.config({"algorithm": each}))["products"] for each in ("standard", "flash")}
    return (
        f"1,024 tokens, width 64 and 64 x 16 heads are {found['standard'] / 1e9:.0f} GFLOP of products forward and "
        f"backward, {found['flash'] / 1e9:.0f} with the scores computed twice: the published 66.6 and 75.2 are "
        f"{found['standard'] / 66.6e9:.1f} and {found['flash'] / 75.2e9:.1f} times fewer, and the paper does not say "
        "of what. Their ratio is met."
    )


def _complexity() -> Sequence[str]:
    """Words of one head against the buffer, in both regimes."""
    tokens, width = 4096, 64
    lines = [
        f"One head of {tokens:,} tokens, width {width}: words moved against the buffer's size M.",
        "",
        "| M | best tiles | words | over the bound | over the asymptote |",
        "| ---: | --- | ---: | ---: | ---: |",
    ]
    for buffer in (64, 256, 1024, 4096, 16384, 65536):
        best = best_attention_schedule(tokens, width, buffer)
        bound = attention_io_bound_words(tokens, width, buffer)
        asymptote = attention_io_asymptote_words(tokens, width, buffer)
        over = f"{best.words / bound:.2f} | {best.words / asymptote:.2f}"
        lines.append(f"| {buffer:,} | {best.name} | {best.words:,.0f} | {over} |")
    return lines


_LEFT, _MIDDLE, _THEORY = "figure 2, left", "figure 2, middle, read off", "Saha and Ye, abstract and theorems"
_SMALL, _LARGE = ({"tokens": 65536, "width": 128, "buffer": size} for size in (512, 131072))
_BYTES = ("kernels", "blocks", "zeros", "memory")
STUDY = Study(
    title="FlashAttention",
    claim="Attention in blocks moves a ninth of the bytes of standard attention and takes a sixth of its time.",
    source="Dao et al., NeurIPS 2022, arXiv 2205.14135; Saha and Ye, ICML 2024, arXiv 2402.07443",
    machine="one A100 40 GB at its stated rates, 192 KiB on the chip for a block; a chip of M words",
    workload="attention of GPT-2 medium: 1,024 tokens, 16 heads of 64, batch 64, forward and backward, fp16",
    policy="blocks of keys and values outside, blocks of queries inside; scores computed again on the way back",
    baseline="a kernel for each product, mask, softmax and dropout, on the same device",
    keys={
        "algorithm": Key("flash", "how attention is computed", choices=("flash", "standard")),
        "phase": Key("training", "training: forward and backward", choices=("training", "forward")),
        "tokens": Key(1024, "queries and keys", low=16, high=1048576),
        "width": Key(64, "width of a head", low=8, high=512),
        "heads": Key(16, "heads", low=1, high=256),
        "batch": Key(64, "sequences", low=1, high=4096),
        "buffer": Key(98304, "elements that a block may take on the chip", low=64, high=2**30),
        "block": Key(0, "keys of a block; 0: as many as the buffer allows", low=0, high=1048576),
        "device": Key("a100-40gb-sxm", "machine", choices=DEVICES),
    },
    constants=CONSTANTS,
    metrics={
        "traffic": Metric("bytes between memory and chip", "B", _BYTES),
        "time_bound": Metric("time at the device's stated rates", "s", (*_BYTES, "bandwidth", "rate")),
        "products": Metric("operations of the products", "", ("kernels",)),
        "products_ratio": Metric("operations of standard attention's products over this one's", "", ("kernels",)),
        "words": Metric("words that the best tiles of one head move", "", ("complexity",)),
        "bound": Metric("words that one head moves at least", "", ("complexity",)),
        "slope": Metric("of those words against the buffer, both as logarithms", "", ("complexity",)),
        "slope_bound": Metric("of the least words against the buffer, both as logarithms", "", ("complexity",)),
    },
    published=(
        Published("traffic", {"algorithm": "standard"}, 40.3e9, _LEFT),
        Published("traffic", {}, 4.4e9, _LEFT),
        Published("time_bound", {"algorithm": "standard"}, 41.7e-3, _LEFT),
        Published("time_bound", {}, 7.3e-3, _LEFT),
        Published("products", {"algorithm": "standard"}, 66.6e9, _LEFT),
        Published("products", {}, 75.2e9, _LEFT),
        Published("products_ratio", {}, 66.6 / 75.2, _LEFT),
        Published("time_bound", {"phase": "forward", "block": 64}, 6e-3, _MIDDLE),
        Published("time_bound", {"phase": "forward", "block": 256}, 2e-3, _MIDDLE),
        Published("slope", _LARGE, -1, _THEORY),
        Published("slope", _SMALL, -0.5, _THEORY),
        Published("slope_bound", _LARGE, -1, _THEORY),
        Published("slope_bound", _SMALL, -0.5, _THEORY),
    ),
    simulate=_simulate,
    misses=(
        Miss(("time_bound",), "The bound leaves out what keeps kernels from the device's rates.", _rates),
        Miss(("products",), "The published operations do not follow from the stated shape.", _products),
    ),
    notes=_complexity,
)
