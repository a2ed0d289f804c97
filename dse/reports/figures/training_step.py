"""Utilisation over the context length for several ways to hold activations, and MEMO's share of swapped tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from dse.reports.characteristics.sheet import Axis, Chart, Curve, Limit, Sheet
from dse.reports.figures.curves import curves_figure
from mappers.planner.swap.curve import CurvePoint

__all__ = ["training_step_figure", "training_step_sheet"]

_NAMES = {
    "recompute": "full recomputation",
    "swap": "full swap",
    "memo": "token-wise (MEMO)",
    "best": "best shares",
    "keep": "all kept",
}
_TOKENS = Axis("context_tokens", "context, tokens", "B", "log2")


def training_step_sheet(
    headline: str, points: Mapping[str, Sequence[CurvePoint]], published: tuple[str, float] | None
) -> Sheet:
    """One chart of utilisation for each set of kernels, the gain over full recomputation, and alpha.

    Plans that do not fit are left out. ``published`` is a label and the utilisation it stands for.
    """
    charts = [_utilisation(name, of, published) for name, of in points.items()]
    gains = [_gain(name, of) for name, of in points.items()]
    charts.append(
        Chart(
            "gain",
            "Token-wise over full recomputation (which need not fit)",
            _TOKENS,
            Axis("ratio", "times as fast"),
            tuple(gain for gain in gains if gain.points),
        )
    )
    alphas = [_alphas(name, of) for name, of in points.items()]
    charts.append(
        Chart(
            "alpha",
            "Share of tokens that is swapped",
            _TOKENS,
            Axis("alpha", "alpha"),
            tuple(alpha for alpha in alphas if alpha.points),
        )
    )
    return Sheet("", "training step", headline, tuple(chart for chart in charts if chart.curves))


def training_step_figure(
    headline: str, points: Mapping[str, Sequence[CurvePoint]], published: tuple[str, float] | None
) -> Figure:
    """The sheet, drawn."""
    return curves_figure(training_step_sheet(headline, points, published))


def _utilisation(kernels: str, points: Sequence[CurvePoint], published: tuple[str, float] | None) -> Chart:
    curves = []
    for policy in dict.fromkeys(point.policy for point in points):
        drawn = tuple((float(p.context), 100 * p.mfu) for p in points if p.policy == policy and p.fits)
        if drawn:
            curves.append(Curve(_NAMES[policy], drawn))
    limits = (Limit(published[0], "y", 100 * published[1]),) if published else ()
    title = f"Utilisation with {kernels} kernels"
    return Chart(f"utilisation_{kernels}", title, _TOKENS, Axis("mfu_percent", "MFU, %"), tuple(curves), limits)


def _gain(kernels: str, points: Sequence[CurvePoint]) -> Curve:
    slow = {point.context: point.step_s for point in points if point.policy == "recompute"}
    memo = [point for point in points if point.policy == "memo" and point.fits]
    return Curve(
        f"{kernels} kernels",
        tuple((float(point.context), slow[point.context] / point.step_s) for point in memo if point.context in slow),
    )


def _alphas(kernels: str, points: Sequence[CurvePoint]) -> Curve:
    known = [(float(point.context), point.alpha) for point in points if point.alpha is not None]
    return Curve(f"{kernels} kernels", tuple((context, alpha) for context, alpha in known))
