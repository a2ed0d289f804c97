"""The sheet of curves: everything inside it, no legend over data, equal sheets equal bytes."""

from __future__ import annotations

from itertools import pairwise

import pytest
from matplotlib.figure import Figure

from dse.reports.characteristics import dram, drive
from dse.reports.characteristics.array import array_sheet
from dse.reports.characteristics.link import link_sheet
from dse.reports.characteristics.pim import pim_sheet
from dse.reports.characteristics.sheet import Axis, Chart, Curve, Limit, Sheet
from dse.reports.characteristics.sram import sram_sheet
from dse.reports.figures.curves import binary_text, curves_figure, short_text
from dse.reports.figures.style import COLUMN_WIDTH_IN, DOUBLE_WIDTH_IN, png_bytes, svg_bytes
from simulator.interconnect.protocols import link_type
from simulator.memory.arrays.devices import load_array
from simulator.memory.dram.devices import load_device
from simulator.memory.flash.drives import load_drive
from simulator.memory.pim.presets import load_pim


def flat() -> Sheet:
    """Odd cases: one point, equal values, a stack with an empty part, a bound across."""
    chart = Chart(
        "flat", "Flat", Axis("size_bytes", "size", "B", "log2"), Axis("energy_j", "energy", "J", "log10"),
        (Curve("same", ((64, 1e-12), (128, 1e-12))), Curve("form", ((64, 1.01e-12), (128, 1.01e-12)), bound=True)),
    )  # fmt: skip
    one = Chart("one", "One point", Axis("n", "n"), Axis("t_s", "t", "s"), (Curve("only", ((3.0, 2e-6),)),))
    shares = (Curve("a", ((1, 0.25), (2, 1.0))), Curve("none", ((1, 0.0), (2, 0.0))), Curve("b", ((1, 0.75), (2, 0.0))))
    stack = Chart("stack", "Stack", Axis("n", "n", "", "log2"), Axis("share", "share"), shares, stacked=True)
    limit = Chart(
        "limit", "Limit", Axis("r", "r", "B/s"), Axis("t_s", "t", "s"), (Curve("c", ((1e9, 1e-7), (2e9, 3e-7))),),
        (Limit("peak", "x", 2.5e9), Limit("least", "y", 0.5e-7)),
    )  # fmt: skip
    return Sheet("flat", "odd", "odd cases", (chart, one, stack, limit))


SHEETS = {
    "flat": flat,
    "link": lambda: link_sheet(link_type("pcie-4.0-x16")),
    "sram": lambda: sram_sheet(22, 64),
    "array": lambda: array_sheet(load_array("isaac")),
    "pim": lambda: pim_sheet(load_pim("hbm-pim")),
}


def few_requests() -> Sheet:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dram, "_REQUESTS", 500)
        return dram.dram_sheet(load_device("HBM3-6400"))


def few_reads() -> Sheet:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("_LEAST_REQUESTS", 16), ("_MOST_REQUESTS", 32), ("_TURNS", 1), ("_SPARES", (0.2, 0.4))):
            patch.setattr(drive, name, value)
        return drive.drive_sheet(load_drive("ssd-pm1733-3840gb"))


SHEETS |= {"dram": few_requests, "drive": few_reads}


@pytest.fixture(scope="module", params=list(SHEETS))
def sheet(request: pytest.FixtureRequest) -> Sheet:
    return SHEETS[request.param]()


def drawn(sheet: Sheet, width_in: float) -> Figure:
    figure = curves_figure(sheet, width_in=width_in)
    figure.draw_without_rendering()
    return figure


@pytest.mark.parametrize("width_in", [COLUMN_WIDTH_IN, DOUBLE_WIDTH_IN])
def test_nothing_is_cut_off_and_no_legend_lies_over_data(sheet: Sheet, width_in: float) -> None:
    figure = drawn(sheet, width_in)
    page = figure.bbox
    assert figure._suptitle.get_window_extent().x1 <= page.x1  # type: ignore[attr-defined]
    panels = [axes for axes in figure.axes if axes.get_legend() is not None]
    assert len(panels) == len(sheet.charts)
    for axes in panels:
        outer = axes.get_tightbbox()
        assert outer is not None
        assert outer.x0 >= page.x0 - 1
        assert outer.x1 <= page.x1 + 1, axes.get_title("left")
        assert outer.y0 >= page.y0 - 1
        legend = axes.get_legend()
        assert legend is not None
        box = legend.get_window_extent()
        for other in panels:
            assert not box.overlaps(other.get_window_extent()), axes.get_title("left")
        label = axes.xaxis.label.get_window_extent()
        assert box.y1 <= label.y0 + 2


@pytest.mark.parametrize("width_in", [COLUMN_WIDTH_IN, DOUBLE_WIDTH_IN])
def test_numbers_of_an_axis_do_not_touch(sheet: Sheet, width_in: float) -> None:
    for axes in drawn(sheet, width_in).axes:
        if axes.get_legend() is None:
            continue
        low, high = sorted(axes.get_xlim())
        shown = [
            text.get_window_extent()
            for text, at in zip(axes.get_xticklabels(), axes.get_xticks(), strict=True)
            if text.get_text() and low <= at <= high
        ]
        for left, right in pairwise(shown):
            assert left.x1 < right.x0, axes.get_title("left")


def test_titles_of_neighbours_do_not_touch(sheet: Sheet) -> None:
    axes = [each for each in drawn(sheet, DOUBLE_WIDTH_IN).axes if each.get_legend() is not None]
    boxes = [each._left_title.get_window_extent() for each in axes]  # type: ignore[attr-defined]
    for at, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[at + 1 :])


def test_equal_sheets_give_equal_bytes() -> None:
    for of in (svg_bytes, png_bytes):
        assert of(curves_figure(flat())) == of(curves_figure(flat()))


def test_a_flat_curve_does_not_fill_its_panel() -> None:
    axes = drawn(flat(), DOUBLE_WIDTH_IN).axes[0]
    low, high = axes.get_ylim()
    assert high / low >= 3.9


def test_texts_of_numbers() -> None:
    assert [binary_text(value, "B") for value in (64, 4096, 1 << 20, 3 << 30)] == ["64", "4 Ki", "1 Mi", "3 Gi"]
    assert binary_text(4096, "") == "4096"
    assert [short_text(value, "s") for value in (1e-5, 2e-9, 1.0, 500.0)] == ["10 µs", "2 ns", "1 s", "500 s"]
    assert [short_text(value, "") for value in (1e5, 20.0, 0.05)] == ["100 k", "20", "0.05"]
    assert short_text(1e-3, "mm²") == "0.001 mm²"
