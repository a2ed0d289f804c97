"""Bytes held at each step of an order: what runs, what stays beside it, the peak, the bound and the capacity."""

from __future__ import annotations

from matplotlib.figure import Figure

from dse.reports.figures.style import DOUBLE_WIDTH_IN, INK, KIND_COLOURS, MUTED, new_figure, paper_style
from mappers.planner.order import OrderGraph, PlannedMemory
from mappers.planner.order.steps import profile

__all__ = ["order_figure"]

_NAMED = 40
"""Up to so many operations are named along the axis."""


def order_figure(graph: OrderGraph, plan: PlannedMemory, *, width_in: float = DOUBLE_WIDTH_IN) -> Figure:
    """A column per step: bytes left by it below, bytes it holds only while it runs above."""
    position = {op.name: i for i, op in enumerate(graph.ops)}
    steps = profile(graph, [position[name] for name in plan.order.order])
    at = range(1, len(steps) + 1)
    stays = [min(step.after_bytes, step.during_bytes) / 1024 for step in steps]
    only = [step.during_bytes / 1024 - below for step, below in zip(steps, stays, strict=True)]
    named = len(steps) <= _NAMED
    with paper_style():
        figure = new_figure(width_in, 3.0 if named else 2.3)
        axes = figure.add_subplot()
        axes.bar(at, stays, width=1.0, color=KIND_COLOURS["gemm"], linewidth=0, label="stays after the step")
        axes.bar(
            at, only, width=1.0, bottom=stays, color=KIND_COLOURS["grouped_gemm"], linewidth=0, label="while it runs"
        )
        axes.axhline(plan.peak_bytes / 1024, color=INK, linewidth=0.8, label="peak, with offsets")
        if plan.lower_bound_bytes < plan.peak_bytes:
            axes.axhline(plan.lower_bound_bytes / 1024, color=MUTED, linewidth=0.8, linestyle=":", label="lower bound")
        if plan.order.capacity_bytes is not None:
            axes.axhline(
                plan.order.capacity_bytes / 1024,
                color=KIND_COLOURS["attention"],
                linewidth=0.8,
                linestyle="--",
                label="capacity",
            )
        axes.set_xlim(0.5, len(steps) + 0.5)
        axes.set_ylim(0, 1.06 * max(plan.peak_bytes, plan.order.capacity_bytes or 0) / 1024)
        axes.set_ylabel("Memory held (KiB)")
        axes.set_title(f"{graph.name}: peak {plan.peak_bytes / 1024:,.4g} KiB over {len(steps)} operations")
        axes.grid(axis="y")
        if named:
            axes.set_xticks(list(at), list(plan.order.order), rotation=60, ha="right", rotation_mode="anchor")
        else:
            axes.set_xlabel("Operation, in order")
        figure.legend(loc="outside lower center", ncols=5)
    return figure
