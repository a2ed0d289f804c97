"""Traffic of fused attention as the mapper finds it, against the size of the on-chip buffer.

Saha and Ye ("The I/O complexity of attention", ICML 2024, arXiv 2402.07443): n^2 d^2 / S words for a buffer of S >= d^2
words, n^2 d / sqrt(S) below. The machine is ``mapping-snowcat`` with a buffer of S words: its energy is its traffic.

What is fitted is the part that scales with S, the words *read*: below d^2 all of them, above it those of K and V. The
rest is fixed: the result is written once, above d^2 Q is read once, and below it the scores that do not stay are
written once (n^2 words, the same for every S).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hw.spec.load_hierarchy import load_hierarchy, override_hierarchy
from mappers.bounds import attention_io_bound_words, best_attention_schedule
from mappers.mapspace.problem import cascade_problem
from mappers.search import search
from workloads.cascades.catalogue import load_cascade

__all__ = ["WIDTH", "N", "Point", "draw", "slope", "sweep"]

N, WIDTH, BITS = 4096, 64, 16
BELOW = (32, 64, 128, 256, 512)
"""Words. Far enough below d^2 / 4, where the two regimes of tiled schedules meet."""
BETWEEN = (1280, 2560)
ABOVE = (5120, 10240, 20480, 40960)
"""Words. A quarter above powers of two, so that power-of-two tiles fit together with what stands beside them."""


@dataclass(frozen=True, slots=True)
class Point:
    """One buffer size and the words that the best mapping moves; ``scaling`` words are what grows as S shrinks."""

    buffer_words: int
    words: float
    scaling: float
    bound: float
    schedule: float
    gap: float


def measure(n: int, d: int, buffer_words: int, tiles: Literal["divisor", "imperfect"]) -> Point:
    """The least traffic of attention over n tokens of width d on a chip of ``buffer_words`` words."""
    problem = cascade_problem(
        load_cascade("attention-elementwise"), {"b": 1, "h": 1, "e": d, "f": d, "m": n, "p": n}, BITS
    )
    machine = override_hierarchy(load_hierarchy("mapping-snowcat"), (f"glb.capacity={BITS * buffer_words} bit",))
    found = search(problem, machine, objective="energy", tiles=tiles)
    dram = found.cost.traffic()["dram"]
    read = {tensor: bits.read_bits / BITS for tensor, bits in dram.items()}
    words = sum(read.values()) + sum(bits.write_bits for bits in dram.values()) / BITS
    scaling = read["K"] + read["V"] if buffer_words >= d * d else sum(read.values())
    schedule = best_attention_schedule(n, d, buffer_words).words
    return Point(buffer_words, words, scaling, attention_io_bound_words(n, d, buffer_words), schedule, found.gap)


def slope(points: list[Point]) -> float:
    """Least-squares slope of the scaling words against the buffer, both as logarithms."""
    x = [math.log(point.buffer_words) for point in points]
    y = [math.log(point.scaling) for point in points]
    middle_x, middle_y = sum(x) / len(x), sum(y) / len(y)
    return sum((a - middle_x) * (b - middle_y) for a, b in zip(x, y, strict=True)) / sum((a - middle_x) ** 2 for a in x)


def sweep(*, quick: bool = False) -> tuple[list[Point], list[Point], list[Point]]:
    """Points below, about and above d^2: tiles of any size below, divisors from there on, where n has few."""
    below = [measure(N, WIDTH, words, "imperfect") for words in BELOW]
    between = [measure(N, WIDTH, words, "divisor") for words in BETWEEN]
    above = [measure(N, WIDTH, words, "divisor") for words in (ABOVE[:2] if quick else ABOVE)]
    return below, between, above


def draw(points: tuple[list[Point], list[Point], list[Point]], file: Path) -> None:
    """Search, bound and asymptotes (scaled to go through the first point of their regime) over the buffer size."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    below, between, above = points
    figure = Figure(figsize=(7.0, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    every = [*below, *between, *above]
    sizes = [point.buffer_words for point in every]
    axes.loglog(sizes, [p.bound for p in every], color="#777777", linewidth=1.2, label="no fused mapping below")
    axes.loglog(sizes, [p.words for p in every], "o-", color="#1f5fa8", markersize=4, label="search: all words")
    for part, power, color in ((below, -0.5, "#c8641e"), (above, -1.0, "#2e8b57")):
        fitted = slope(part)
        axes.loglog(
            [p.buffer_words for p in part], [p.scaling for p in part], "s", color=color, markersize=4, mfc="none",
            label=f"{'reads' if part is below else 'reads of K and V'}: fitted slope {fitted:.2f}",
        )  # fmt: skip
        ends = (part[0].buffer_words / 1.3, part[-1].buffer_words * 1.3)
        line = [part[0].scaling * (size / part[0].buffer_words) ** power for size in ends]
        axes.loglog(ends, line, "--", color=color, linewidth=1.0, label=f"asymptote: slope {power:g}")
    axes.axvline(WIDTH * WIDTH, color="#bbbbbb", linewidth=0.8)
    axes.annotate("S = d²", (WIDTH * WIDTH, max(p.words for p in every)), xytext=(4, -4), textcoords="offset points")
    axes.set_xlabel("on-chip buffer, words")
    axes.set_ylabel("words moved to and from memory")
    axes.set_title(f"Attention, one head of {N:,} tokens, d = {WIDTH}", fontsize=10)
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=150, metadata={"Software": None})
