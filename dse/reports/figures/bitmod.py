"""Speed-up of lossy BitMoD over ANT and OliVe, by model and task, beside the averages that its authors print."""

from __future__ import annotations

from matplotlib.figure import Figure

from dse.reports.figures.style import DOUBLE_WIDTH_IN, INK, RESOURCE_COLOURS, new_figure, paper_style
from studies.bitmod import headlines
from studies.bitmod_published import ABSTRACT_SPEEDUP, MODELS

__all__ = ["bitmod_figure"]

_CASES = {"attention as published": "ours, attention as published", "attention whole": "ours, attention whole"}


def bitmod_figure(*, width_in: float = DOUBLE_WIDTH_IN) -> Figure:
    """The figure: a panel for each rival, a group of bars for each model and task, the abstract's average as a line."""
    found = headlines()
    colours = list(dict.fromkeys(RESOURCE_COLOURS.values()))
    names = [f"{name}, {task}" for task in ("prefill", "generation") for name in MODELS]
    with paper_style():
        figure = new_figure(width_in, 2.8)
        panels = figure.subplots(1, len(ABSTRACT_SPEEDUP), sharey=True)
        for axes, (over, average) in zip(panels, ABSTRACT_SPEEDUP.items(), strict=True):
            for at, (label, case) in enumerate(_CASES.items()):
                ratios = found[case][over]
                heights = [*ratios.discriminative, *ratios.generative]
                axes.bar([2 * n + 0.8 * at for n in range(len(names))], heights, 0.75, color=colours[at], label=label)
            axes.axhline(average, color=INK, linewidth=0.8, label="average in the abstract")
            axes.set_xticks([2 * n + 0.4 for n in range(len(names))], names, rotation=60, ha="right")
            axes.set_title(f"Lossy BitMoD over {over}; in the abstract {average} on average")
        panels[0].set_ylabel("Ratio of cycles")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure
