"""The one place for how figures look, and for writing them so that equal figures are equal files.

Colours are those of Okabe and Ito, "Color Universal Design" (2008), told apart with every common form of colour
blindness; what shares a colour differs in lightness and carries a label. Widths are those of a two-column paper.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
import matplotlib.style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

__all__ = [
    "COLUMN_WIDTH_IN",
    "DOUBLE_WIDTH_IN",
    "INK",
    "KIND_COLOURS",
    "MUTED",
    "RESOURCE_COLOURS",
    "ROLE_COLOURS",
    "Colour",
    "contrasting",
    "kind_colour",
    "new_figure",
    "paper_style",
    "png_bytes",
    "svg_bytes",
    "tints",
]

Colour = str | tuple[float, float, float]

COLUMN_WIDTH_IN = 3.4
DOUBLE_WIDTH_IN = 7.0

_BLUE, _ORANGE, _GREEN, _SKY = "#0072B2", "#E69F00", "#009E73", "#56B4E9"
_VERMILLION, _PURPLE, _YELLOW = "#D55E00", "#CC79A7", "#F0E442"
_GREY, _LIGHT_GREY = "#8C8C8C", "#D0D0D0"
INK = "#202020"
MUTED = "#6A6A6A"

KIND_COLOURS = {
    "gemm": _BLUE,
    "grouped_gemm": _SKY,
    "attention": _VERMILLION,
    "norm": _GREEN,
    "elementwise": _ORANGE,
    "gather": _PURPLE,
    "other": _YELLOW,
}
"""Operations by kind."""

RESOURCE_COLOURS = {
    "engine": _BLUE,
    "tier": _GREEN,
    "link": _VERMILLION,
    "fabric": _PURPLE,
    "overhead": _GREY,
    "idle": _LIGHT_GREY,
    "other": _YELLOW,
}
"""What time is charged to, by kind of resource."""

ROLE_COLOURS = {
    "attention": _BLUE,
    "feed_forward": _ORANGE,
    "experts": _VERMILLION,
    "kv_cache": _GREEN,
    "embedding": _SKY,
    "head": _PURPLE,
    "optimizer": _YELLOW,
    "norm": INK,
    "other": _GREY,
}
"""What memory holds, by role."""

# matplotlib types the keys as literals; a test checks that it knows them.
_PARAMETERS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so it is the same everywhere
    "font.size": 7.0,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "legend.fontsize": 7.0,
    "legend.title_fontsize": 7.0,
    "figure.titlesize": 7.5,
    # Text as wide in every resolution, so that what is laid out for one fits in all.
    "text.hinting": "none",
    "figure.dpi": 300.0,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "legend.frameon": False,
    "legend.handlelength": 1.0,
    "legend.handleheight": 0.8,
    "legend.handletextpad": 0.4,
    "legend.columnspacing": 1.0,
    "legend.labelspacing": 0.3,
    "legend.borderaxespad": 0.2,
    "hatch.linewidth": 0.5,
    "figure.constrained_layout.h_pad": 0.02,
    "figure.constrained_layout.w_pad": 0.03,
    "savefig.facecolor": "white",
    "svg.fonttype": "path",  # the same glyphs whatever fonts the reader has
    "svg.hashsalt": "tiercade",  # else ids in the SVG are random
}


@contextmanager
def paper_style() -> Iterator[None]:
    """Make figures, and write them, inside this: our settings over matplotlib's defaults, whatever the user's are."""
    with matplotlib.style.context("default", after_reset=False), matplotlib.rc_context(_PARAMETERS):
        yield


def new_figure(width_in: float, height_in: float) -> Figure:
    """An empty figure that lays itself out when drawn; call inside `paper_style`."""
    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def svg_bytes(figure: Figure) -> bytes:
    """The figure as SVG; equal figures give equal bytes."""
    with paper_style():
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def png_bytes(figure: Figure, dpi: int = 300) -> bytes:
    """The figure as PNG; equal figures give equal bytes."""
    with paper_style():
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=dpi, metadata={"Software": None})
    return file.getvalue()


def kind_colour(kind: str) -> str:
    """The colour of a kind of operation."""
    return KIND_COLOURS.get(kind, KIND_COLOURS["other"])


def tints(colour: str, count: int) -> Sequence[tuple[float, float, float]]:
    """``count`` shades of a colour, from itself towards white, told apart side by side."""
    red, green, blue = to_rgb(colour)
    steps = [0.62 * at / max(count - 1, 2) for at in range(count)]
    return [(red + (1 - red) * s, green + (1 - green) * s, blue + (1 - blue) * s) for s in steps]


def contrasting(colour: Colour) -> str:
    """White or ink, whichever is easier to read on ``colour`` (by relative luminance, WCAG 2.1)."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(colour)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "white" if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.066 else INK
