"""The mapper's and the exploration's timings as lines, as a report and as a figure."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import attention_io

from dse.reports.sections import with_part

if TYPE_CHECKING:
    from exploration import Found, Rate
    from training import Fit
    from training import Timing as Taken

__all__ = [
    "HEADING",
    "Timing",
    "exploration_text",
    "line",
    "training_text",
    "write",
    "write_exploration",
    "write_training",
]


@dataclass(frozen=True, slots=True)
class Timing:
    """One search: CPU seconds, candidates judged, gap to the proven bound, CPU seconds of the peer where known.

    ``load_s`` is the small search before it, which loads or makes the compiled code.
    """

    label: str
    machine: str
    tiles: str
    cpu_s: float
    candidates: int
    gap: float
    load_s: float
    peer_s: float | None = None

    @property
    def ratio(self) -> float | None:
        """How many times longer the peer takes."""
        return None if self.peer_s is None else self.peer_s / self.cpu_s


Growth = Mapping[str, Sequence[tuple[int, Timing]]]
COLUMNS = ("problem", "machine", "tiles", "CPU s", "candidates", "per s", "gap", "AccelForge CPU s", "ratio")
WIDTHS = (36, 16, 10, 8, 11, 11, 8, 17, 8)

INTRODUCTION = """# Speed of the mapper

CPU seconds of one search on one core, each in a process of its own after a small search of another shape that loads
compiled code. The gap is the distance to the search's own proof: 0 is a proven optimum of the map space.
{machine} Regenerate with `uv run python benchmarks/mapper.py --report reports/performance.md`.

The peer is AccelForge (Accelergy-Project/accelforge at commit 1c1929c2), a mapper of fused cascades that proves its
optima too. Its CPU seconds were measured on a machine of the same kind (two shared cores, Debian 12, Python 3.11), each
problem on its own example machine, whose numbers `mapping-simple` and `mapping-tpu-v4i` carry. Its default tiles
are divisors; where it was run with imperfect tiles, its time stands in that row. Shared cores make single times vary by
some ten per cent: read the ratio's first digit. Objective: energy on `mapping-simple`, energy x delay elsewhere,
latency for whole models.
"""

ATTENTION = """One head of {n:,} tokens, d = {d}, on `mapping-snowcat` with a buffer of S words: the least traffic that
the search finds. Saha and Ye (ICML 2024, arXiv 2402.07443) prove n² d² / S for S >= d² and n² d / sqrt(S) below. The
slopes of the part that scales are **{above:.2f}** above d² (reads of K and V; theory: -1) and **{below:.2f}** below
d² / 4 (all reads; theory: -1/2, which small buffers exceed: beside a tile of B x B scores stand B or 2 B words more).
What is left out does not scale: the result written once, Q read once above d², and n² scores written once below,
where the search keeps the scores of one product on chip and sends those of the other through memory. Tiles are
imperfect below d² / 4 and divisors from there on, where the buffers are a quarter larger than powers of two, so that
a power-of-two tile fits together with what stands beside it. The bound holds for every fused mapping without
recomputation; it lets one block have the whole buffer. Above d² a block of Q and one of the result share it, which
doubles the passes over K and V; the quarter of the buffer that power-of-two tiles leave does the rest.

![Words moved against the buffer](figures/attention-io.png)

"""

EXPLORATION = """# Speed of exploration

Designs per second of processor time on one core, each sweep after one design that loads compiled code, nothing known
before. Python {python} on two shared cores: figures vary by a quarter.
Regenerate with `uv run python benchmarks/exploration.py --report reports/performance.md`.

{rates}
Of the space swept at mapped fidelity the true front is known ({front} of {designs:,} designs). Below, what runs of
roofline then mapped fidelity find of its hypervolume (least, mean and largest over seeds), and at what cost: designs
simulated at mapped fidelity, and seconds of processor time of the first run in waves, with everything, as shares of
what the whole space takes. Waves learn from those before them which designs the roofline misjudges
(`dse/explore/promotion.py`); the roofline's fronts alone promote the wrong ones where it does not see what decides.

{found}"""

TRAINING = """# Speed of training steps

CPU seconds on one core, the least of three runs after one that loads compiled code, the search once. Python {python}
on two shared cores: figures vary by a quarter. Regenerate with `uv run python benchmarks/training.py --report
reports/performance.md`.

{times}
Constants of steps are fitted to every third of the published steps of MPT models (`studies/mosaic_fsdp.py`):
contention, what kernels lose of the time that bytes exchanged beside them take over the fabric, and with it factors on
the time of matrix products, attention forward and backward (beside what is stated of their software) and all else.
Alone, contention takes in what the kernels of that time lacked besides; the simulator's 1 lies between the two
machines' with factors. Errors are means of |simulated / published - 1|, on the steps fitted to and on the others;
kernels and exchanges are added up here, the study executes them.

{fits}"""


def _cells(found: Timing) -> tuple[str, ...]:
    peer = "-" if found.peer_s is None else f"{found.peer_s:g}"
    ratio = "-" if found.ratio is None else f"{found.ratio:,.0f}x"
    gap = "0" if found.gap <= 1e-9 else f"{100 * found.gap:.2g} %"
    rate = f"{found.candidates / found.cpu_s:,.0f}"
    return (
        found.label, found.machine, found.tiles, f"{found.cpu_s:.3f}", f"{found.candidates:,}", rate, gap, peer, ratio
    )  # fmt: skip


def _padded(cells: Sequence[str]) -> str:
    return "  ".join(
        cell.ljust(width) if place < 3 else cell.rjust(width)
        for place, (cell, width) in enumerate(zip(cells, WIDTHS, strict=True))
    ).rstrip()


HEADING = _padded(COLUMNS)


def line(found: Timing) -> str:
    """One row of the printed table."""
    return _padded(_cells(found))


def write(
    file: Path, cases: Sequence[Timing], models: Sequence[Timing], growth: Growth, *, quick: bool = False
) -> None:
    """The mapper's part of the report, and its figures in the folder ``figures`` beside it."""
    figures = file.parent / "figures"
    _draw_growth(growth, figures / "mapper-time.png")
    points = attention_io.sweep(quick=quick)
    attention_io.draw(points, figures / "attention-io.png")
    machine = f"Python {platform.python_version()} on two shared cores."
    loads = sorted(found.load_s for found in (*cases, *models))
    parts = [
        INTRODUCTION.format(machine=machine),
        "## Problems\n",
        _table(COLUMNS, [_cells(found) for found in cases], 3),
        f"Loading compiled code took {loads[len(loads) // 2]:.1f} s in the median process. It is left out above and is "
        "paid once per process, as the peer's import is (0.7 to 1.5 s, left out too); the very first process after an "
        "installation compiles for longer. The peer ran the fused layers in two processes; both are counted.\n",
        "## Whole models\n",
        "Every operation of a batch of 1 on one H100, each distinct shape searched twice: for least latency, then for\n"
        "least energy x delay among the equally fast. A peer's time is not known.\n",
        _table(COLUMNS[:7], [_cells(found)[:7] for found in models], 3),
        "## Growth\n",
        "![CPU seconds against problem size](figures/mapper-time.png)\n",
        *(
            f"**{name}**\n\n" + _table(("n", *COLUMNS[3:7]), [(f"{n:,}", *_cells(found)[3:7]) for n, found in rows], 0)
            for name, rows in growth.items()
        ),
        "## Attention's traffic against the buffer\n",
        _attention(points),
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    file.write_text(with_part(before, "\n".join(parts)), encoding="utf-8")


def _attention(points: tuple[list[attention_io.Point], ...]) -> str:
    below, _, above = points[0], points[1], points[2]
    rows = [
        (
            f"{p.buffer_words:,}", f"{p.words:,.0f}", f"{p.scaling:,.0f}", f"{p.bound:,.0f}",
            f"{p.words / p.bound:.2f}", "0" if p.gap <= 1e-9 else f"{p.gap:.2g}",
        )
        for part in points
        for p in part
    ]  # fmt: skip
    text = ATTENTION.format(
        n=attention_io.N, d=attention_io.WIDTH, above=attention_io.slope(above), below=attention_io.slope(below)
    )
    return text + _table(("S, words", "words moved", "of these scale", "bound", "moved / bound", "gap"), rows, 0)


def exploration_text(rates: Sequence[Rate], found: Sequence[Found], front: int) -> str:
    """The exploration's part of the report."""
    rows = [(r.space, r.fidelity, f"{r.designs:,}", f"{r.cpu_s:,.1f}", f"{r.per_s:,.3g}") for r in rates]
    shares = [
        (
            f.rule, f"{f.designs:.1%}", *(f"{value:.4f}" for value in (f.least, f.mean, f.most)),
            "-" if f.cost is None else f"{f.cost:.1%}",
        )
        for f in found
    ]  # fmt: skip
    return EXPLORATION.format(
        python=platform.python_version(),
        rates=_table(("space", "fidelity", "designs", "CPU s", "designs per s"), rows, 2),
        front=front,
        designs=rates[-1].designs,
        found=_table(("what goes on", "designs", "least", "mean", "most", "CPU s"), shares, 1),
    )


def write_exploration(file: Path, rates: Sequence[Rate], found: Sequence[Found], front: int) -> None:
    """The exploration's part of the report in ``file``."""
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    file.write_text(with_part(before, exploration_text(rates, found, front)), encoding="utf-8")


def training_text(times: Sequence[Taken], fits: Sequence[Fit]) -> str:
    """The training part of the report."""
    taken = [(each.what, each.amount, f"{each.cpu_s:.3g}") for each in times]
    fitted = [
        (
            each.architecture, each.what, *(f"{value:.2f}" for value in each.factors.values()),
            f"{each.contention:.2f}", f"{each.error:.1%} of {each.fitted}",
            f"{each.held_out_error:.1%} of {each.held_out}",
        )
        for each in fits
    ]  # fmt: skip
    heading = ("machines", "fitted", "products", "forward", "backward", "others", "contention", "error", "held out")
    return TRAINING.format(
        python=platform.python_version(),
        times=_table(("what", "of", "CPU s"), taken, 2),
        fits=_table(heading, fitted, 2),
    )


def write_training(file: Path, times: Sequence[Taken], fits: Sequence[Fit]) -> None:
    """The training part of the report in ``file``."""
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    file.write_text(with_part(before, training_text(times, fits)), encoding="utf-8")


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> str:
    marks = ["---" if place < left else "--:" for place in range(len(heading))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heading, marks, *rows)) + "\n"


def _draw_growth(growth: Growth, file: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (name, rows) in zip(figure.subplots(1, len(growth), squeeze=False)[0], growth.items(), strict=True):
        sizes = [n for n, _ in rows]
        axes.plot(sizes, [found.cpu_s for _, found in rows], "o-", color="#1f5fa8", markersize=4)
        axes.set_ylim(bottom=0.0, top=1.1 * max(found.cpu_s for _, found in rows))
        if sizes[-1] > 100:
            axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [f"{n}" for n in sizes])
        what, *rest = name.split(", ")
        axes.set_title(f"{what}\n{', '.join(rest)}", fontsize=9)
        axes.set_xlabel("n")
        axes.set_ylabel("CPU s")
        axes.tick_params(labelsize=8)
        axes.grid(axis="y", color="#e5e5e5", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=150, metadata={"Software": None})
