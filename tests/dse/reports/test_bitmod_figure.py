"""The figure of BitMoD's speed-ups."""

from __future__ import annotations

from dse.reports.figures.bitmod import bitmod_figure
from dse.reports.figures.style import png_bytes


def test_a_panel_for_each_rival_and_a_bar_for_each_model_task_and_accounting() -> None:
    figure = bitmod_figure()
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "Lossy BitMoD over ANT; in the abstract 1.69 on average",
        "Lossy BitMoD over OliVe; in the abstract 1.48 on average",
    ]
    for axes in figure.axes:
        assert len(axes.patches) == 6 * 2 * 2
        assert all(bar.get_height() > 1 for bar in axes.patches)
    assert png_bytes(figure).startswith(b"\x89PNG")
