"""Figures: equal bytes for equal inputs, and nothing clipped, overlapping or too small to read."""

from __future__ import annotations

import io
import itertools
import warnings
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text

from dse.reports.figures import COLUMN_WIDTH_IN, DOUBLE_WIDTH_IN, all_figures, png_bytes, svg_bytes
from dse.reports.figures.label_places import Box, Obstacles, find_line_spot, find_spot
from dse.reports.figures.roofline import ceilings, roofline_figure
from dse.reports.figures.style import (
    KIND_COLOURS,
    RESOURCE_COLOURS,
    ROLE_COLOURS,
    contrasting,
    paper_style,
    tints,
)
from hw.spec.system import System
from simulator.result import Result

Case = tuple[Result, System]
Drawn = dict[tuple[str, float], dict[str, Figure]]
WIDTHS = (COLUMN_WIDTH_IN, DOUBLE_WIDTH_IN)


@pytest.fixture(scope="module")
def drawn(server: Case, laptop: Case, server_prefill: Case, experts: Case) -> Drawn:
    """All figures of each case, and of two side by side, by name and width."""
    cases = {"server": [server], "laptop": [laptop], "prefill": [server_prefill], "experts": [experts]}
    cases["both"] = [server, laptop]
    made = {}
    for name, pairs in cases.items():
        results, systems = zip(*pairs, strict=True)
        for width_in in WIDTHS:
            made[name, width_in] = all_figures(results, systems, width_in=width_in)
            for figure in made[name, width_in].values():
                figure.draw_without_rendering()
    return made


def visible_texts(figure: Figure) -> list[Text]:
    """Every text that is drawn: tick labels beyond the ends of their axis exist but are not."""
    hidden = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
            hidden |= {id(tick.label1) for tick in ticks if not low <= tick.get_loc() <= high}
    found = [text for text in figure.findobj(Text) if isinstance(text, Text) and id(text) not in hidden]
    return [text for text in found if text.get_visible() and text.get_text().strip()]


def test_equal_inputs_give_equal_bytes(laptop: Case, drawn: Drawn) -> None:
    again = all_figures([laptop[0]], [laptop[1]], width_in=COLUMN_WIDTH_IN)
    assert list(again) == ["roofline", "layer-stack", "time-by-bound", "memory-map"]
    for name, figure in drawn["laptop", COLUMN_WIDTH_IN].items():
        svg, png = svg_bytes(figure), png_bytes(figure)
        assert svg == svg_bytes(again[name])
        assert png == png_bytes(again[name])
        root = ElementTree.fromstring(svg)
        assert float((root.get("width") or "").removesuffix("pt")) == pytest.approx(72 * COLUMN_WIDTH_IN)
        assert b"<text" not in svg
        assert b"dc:date" not in svg
        assert imread(io.BytesIO(png)).shape[1] == pytest.approx(300 * COLUMN_WIDTH_IN, abs=1)


def test_the_user_s_settings_do_not_matter(server: Case) -> None:
    plain = png_bytes(roofline_figure(*server), dpi=50)
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "black", "lines.linewidth": 9, "figure.dpi": 40}):
        assert png_bytes(roofline_figure(*server), dpi=50) == plain


def test_nothing_is_clipped_or_too_small(drawn: Drawn) -> None:
    for (case, width_in), figures in drawn.items():
        for name, figure in figures.items():
            assert figure.get_figwidth() == width_in
            for text in visible_texts(figure):
                what = (case, width_in, name, text.get_text())
                extent = text.get_window_extent()
                assert text.get_fontsize() >= 7, what
                assert extent.x0 >= 0, what
                assert extent.y0 >= 0, what
                assert extent.x1 <= figure.bbox.width, what
                assert extent.y1 <= figure.bbox.height, what


def test_labels_do_not_overlap(drawn: Drawn) -> None:
    for (case, width_in), figures in drawn.items():
        for axes in (axes for name, figure in figures.items() if name.startswith("roofline") for axes in figure.axes):
            level = [text for text in axes.texts if text.get_rotation() == 0]
            assert len(level) >= 5
            for one, other in itertools.combinations(level, 2):
                boxes = [Box(*text.get_window_extent().extents) for text in (one, other)]
                smaller = min((box.right - box.left) * (box.top - box.bottom) for box in boxes)
                what = (case, width_in, one.get_text(), other.get_text())
                # The extents of text reach over ascenders and descenders that it may not have.
                assert boxes[0].overlap(boxes[1]) < 0.12 * smaller, what


def test_axes_have_names_and_units(drawn: Drawn) -> None:
    figures = drawn["server", COLUMN_WIDTH_IN]
    assert figures["roofline"].axes[0].get_xlabel() == "Operational intensity (operations/byte)"
    assert figures["roofline"].axes[0].get_ylabel() == "Performance (TFLOP/s)"
    assert figures["layer-stack"].axes[0].get_xlabel() == "Time per step (ms)"
    assert figures["time-by-bound"].axes[0].get_xlabel() == "Share of the time (%)"
    assert figures["memory-map"].axes[0].get_xlabel() == "Share of capacity (%)"


def test_bars_are_as_long_as_what_they_stand_for(server: Case, laptop: Case, drawn: Drawn) -> None:
    """All bars of a panel of the layer stack make the latency; the shares of time make 100 %."""
    figures = drawn["both", DOUBLE_WIDTH_IN]
    for axes, (result, _) in zip(figures["layer-stack"].axes, (server, laptop), strict=True):
        total = sum(patch.get_width() for patch in axes.patches)
        assert total == pytest.approx(result.latency_s * 1e3, rel=0.005)
    for axes in figures["time-by-bound"].axes:
        assert sum(patch.get_width() for patch in axes.patches) == pytest.approx(200, rel=0.01)
    home = [patch for patch in figures["memory-map"].axes[0].patches if round(patch.get_y() + 0.37) == 0]
    used = sum(patch.get_width() for patch in home) - 100
    assert used == pytest.approx(100 * server[0].peak_bytes["hbm"] / server[0].capacity_bytes["hbm"], rel=1e-4)


def test_ceilings_are_the_machine_s(server: Case, laptop: Case) -> None:
    roofs = ceilings(*server)
    assert roofs.peaks == {"tensor, bf16": 989.4e12, "vector, fp32": 66.9e12}
    assert roofs.bandwidths == {"hbm": 3.35e12}
    assert roofs.ridge_ops_per_byte == pytest.approx(295, rel=0.01)
    assert list(ceilings(*laptop).bandwidths) == ["gddr", "ddr → gddr"]
    assert ceilings(*laptop).bandwidths["ddr → gddr"] == pytest.approx(15.75e9)


def test_no_operation_is_above_its_roof(server: Case, laptop: Case, experts: Case, drawn: Drawn) -> None:
    for name, case in (("server", server), ("laptop", laptop), ("experts", experts)):
        roofs = ceilings(*case)
        axes = drawn[name, DOUBLE_WIDTH_IN]["roofline"].axes[0]
        for collection in axes.collections:
            for x, y in np.asarray(collection.get_offsets()):
                assert y * 1e12 <= 1.001 * min(max(roofs.peaks.values()), x * max(roofs.bandwidths.values()))


def test_settings_are_known_and_left_as_they_were() -> None:
    before = dict(matplotlib.rcParams)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with paper_style():
            assert matplotlib.rcParams["svg.hashsalt"] == "tiercade"
    assert dict(matplotlib.rcParams) == before


def test_colours_are_distinct_and_text_on_them_readable() -> None:
    for palette in (KIND_COLOURS, RESOURCE_COLOURS, ROLE_COLOURS):
        assert len(set(palette.values())) == len(palette)
        for colour in palette.values():
            shades = tints(colour, 4)
            assert shades[0] == pytest.approx(to_rgb(colour))
            assert len(set(shades)) == 4
    assert contrasting("#000000") == "white"
    assert contrasting("#F0E442") != "white"


def test_a_label_avoids_what_is_there() -> None:
    obstacles = Obstacles(Box(0, 0, 200, 200), 1.0, [Box(110, 80, 200, 120)])
    spot = find_spot(obstacles, (100, 100), 4, (40, 10))
    assert spot.box.overlap(Box(110, 80, 200, 120)) == 0
    assert obstacles.frame.holds(spot.box)
    assert spot.box in obstacles.boxes


def test_a_line_is_named_beside_it() -> None:
    obstacles = Obstacles(Box(0, 0, 200, 200), 1.0)
    obstacles.add_line((0, 100), (200, 100))
    flat = find_line_spot(obstacles, (0, 100), (200, 100), (60, 10))
    assert flat.angle == 0
    assert flat.middle[1] >= 105
    slope = find_line_spot(obstacles, (0, 0), (150, 150), (60, 10))
    assert slope.angle == pytest.approx(np.pi / 4)
