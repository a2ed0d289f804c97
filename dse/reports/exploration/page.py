"""One self-contained HTML page of an exploration: data as JSON, style and script inline, nothing from a network.

What a script need not draw is plain HTML: cards, and bars of what decides, what limits and what does not fit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files

from dse.reports.exploration.data import bottlenecks, compact_json, page_data, sensitivities
from dse.reports.exploration.depth import DRAWN, DesignInDepth
from dse.reports.exploration.depth_data import depth_data
from dse.reports.exploration.labels import metric_label
from dse.reports.exploration.run import ExploredRun
from dse.reports.exploration.sensitivity import METHOD, Sensitivity
from dse.reports.figures.style import KIND_COLOURS
from dse.reports.units_text import number_text, percent_text

__all__ = ["exploration_page"]

_SCRIPTS = ("format", "state", "roofline", "depth", "scatter", "parallel", "table", "curve", "main", "selftest")
_BLUE, _ORANGE, _GREY = KIND_COLOURS["gemm"], KIND_COLOURS["attention"], "#8C8C8C"

_EXPLORER = """<section>
<div class="controls">
<label>across <select id="x-axis"></select></label><label><input type="checkbox" id="log-x">log</label>
<label>up <select id="y-axis"></select></label><label><input type="checkbox" id="log-y">log</label>
<label>colour <select id="colour"></select></label>
<label><input type="checkbox" id="front-only">front only</label>
<label><input type="checkbox" id="beyond">beyond limits too</label>
<label>fidelity <select id="stage"></select></label>
</div>
<div class="explorer">
<div><div class="plot"><canvas id="scatter" role="img" aria-label="designs, one metric against another"></canvas>
<canvas id="marks"></canvas></div>
<div class="legend" id="legend"></div>
<p class="quiet"><span id="count"></span>. Large points with a rim are on the front of all objectives; the line is the
front of the two axes.</p></div>
<div id="detail"></div>
</div></section>"""

_SIDE_BY_SIDE = """<section id="depth">
<div class="controls"><h2>Two designs side by side</h2>
<span class="quiet">Click a design in the plot above, then shift-click another.</span></div>
<div id="depth-body"></div>
</section>"""

_FRONT = """<section>
<div class="controls"><h2>Parameters and objectives of the front</h2>
<button type="button" id="reset">clear filters</button>
<span class="quiet">Drag along an axis to filter the whole page; click it to let go. Designs beside the front are
grey.</span>
</div>
<div class="plot scrolls"><canvas id="parallel" role="img" aria-label="parallel coordinates"></canvas></div>
<details open><summary>Filter by value</summary><div id="chips"></div></details>
</section>
<section>
<div class="controls"><h2>The front</h2><span class="quiet" id="front-count"></span></div>
<div class="wide"><table id="front"><thead></thead><tbody></tbody></table></div>
<p><button type="button" id="more-rows" hidden></button></p>
</section>"""

_UNDECIDED = """<section><h2>What decides</h2>
<p>Too few designs were simulated to tell which parameter decides what.</p></section>"""


def exploration_page(run: ExploredRun, designs: Sequence[DesignInDepth] = (), picks: Sequence[int] = ()) -> str:
    """The page of ``run``, with ``designs`` of it in depth, of which those in ``picks`` were asked for."""
    assets = files("dse.reports.exploration") / "assets"
    style = (assets / "style.css").read_text(encoding="utf-8")
    script = "\n".join((assets / f"{name}.js").read_text(encoding="utf-8") for name in _SCRIPTS)
    data = page_data(run, picks)
    if designs:
        data["depth"] = depth_data(designs, run.stages[-1].fidelity, picks)
    title = escape(run.space.name)
    decides = [_decides(found, run.stages[0].fidelity) for found in sensitivities(run)] or [_UNDECIDED]
    searched = _searched(run, drawn=bool(data["search"]["run"] or data["search"]["random"]))
    panels = "\n".join([*decides, _limits(run), _not_feasible(run), searched])
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p class="description">{escape(run.space.description)}</p>
{_cards(run)}
<noscript><p>The figures of this page are drawn by its script, which is switched off.</p></noscript>
{_EXPLORER}
{_depth(run, designs) if designs else _SIDE_BY_SIDE}
{_FRONT}
<div class="panels">
{panels}
</div>
<p class="quiet">{escape(METHOD)}</p>
</main>
<script type="application/json" id="data">{compact_json(data)}</script>
<script>
"use strict";
(() => {{
{script}
}})();
</script>
</body>
</html>
"""


def _depth(run: ExploredRun, designs: Sequence[DesignInDepth]) -> str:
    front = {design["ordinal"] for design in run.summary["front"]}
    chosen = sum(each.ordinal in front for each in designs)
    if chosen == len(front):
        said = f"All {chosen:,} designs of the front"
    else:
        said = (
            f"{chosen:,} of the {len(front):,} designs of the front (the best in each objective, then always the one "
            "that lies farthest from those chosen)"
        )
    said += f" and {len(designs) - chosen:,} picked" if len(designs) > chosen else ""
    others = [name for name, spec in run.space.workloads.items() if spec.phase not in DRAWN]
    left_out = f" Served traces and training steps are not drawn: {', '.join(others)}." if others else ""
    return f"""<section id="depth">
<div class="controls"><h2>A design in depth</h2>
<label>design A <select id="depth-design"></select></label>
<label>compare with B <select id="depth-versus"></select></label></div>
<p class="quiet">{escape(said)}, simulated again at {escape(run.stages[-1].fidelity)} fidelity; they have a white dot
in the plot above. Click one there, or choose it here; shift-click sets any design beside it.{escape(left_out)}</p>
<div id="depth-body"></div>
<p class="quiet">Timelines are Chrome traces: save one and open it in Perfetto (ui.perfetto.dev; the file stays on your
machine) or, without a network, in the browser's own chrome://tracing.</p>
</section>"""


def _cards(run: ExploredRun) -> str:
    summary = run.summary
    designs, infeasible = summary["designs"], sum(summary["infeasible"].values())
    evaluated = ", then ".join(f"{count:,} at {name}" for name, count in summary["fidelities"].items())
    cards = [
        ("designs evaluated", evaluated if len(summary["fidelities"]) > 1 else f"{designs:,}"),
        ("designs in the space", f"{summary['space_size']:,}"),
        ("on the front", f"{len(summary['front']):,}"),
        ("feasible", percent_text((designs - infeasible) / designs)),
        ("objectives", ", ".join(metric_label(name) for name in run.space.objectives)),
        ("engine", f"{run.options.engine}, seed {run.options.seed}"),
        ("fidelity", run.stages[-1].fidelity),
    ]
    if summary.get("interrupted"):
        cards.append(("state", "stopped early"))
    return (
        '<dl class="cards">'
        + "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in cards)
        + "</dl>"
    )


def _bars(rows: Iterable[tuple[str, list[tuple[float, str]], str]]) -> str:
    """Rows of a name, bars as (share, colour), and a text."""
    parts = []
    for name, shares, text in rows:
        bars = "".join(
            f'<b style="width:{100 * min(max(share, 0), 1):.2f}%;background:{colour}"></b>' for share, colour in shares
        )
        two = " two" if len(shares) > 1 else ""
        parts.append(
            f'<span class="name">{escape(name)}</span><span class="bar{two}">{bars}</span>'
            f'<span class="value">{escape(text)}</span>'
        )
    return f'<div class="bars">{"".join(parts)}</div>'


def _decides(found: Sensitivity, fidelity: str) -> str:
    rows = [
        (
            effect.parameter,
            [(effect.share, _BLUE)],
            f"{percent_text(effect.share)}" + (f" · ×{number_text(effect.span)}" if found.logarithmic else ""),
        )
        for effect in found.effects
    ]
    rows.append(("interactions", [(found.rest, _GREY)], percent_text(found.rest)))
    span = "; ×: how far its values move it, all else equal" if found.logarithmic else ""
    told = "<p>The designs cannot tell some of these parameters apart.</p>" if found.confounded else ""
    return (
        f"<section><h2>What decides {escape(metric_label(found.metric))}</h2>{told}{_bars(rows)}"
        f'<p class="quiet">share of its variance over {found.designs:,} designs at {escape(fidelity)}{span}</p>'
        "</section>"
    )


def _limits(run: ExploredRun) -> str:
    rows = [
        (
            name or "not known",
            [(share, _BLUE), (of_front, _ORANGE)],
            f"{percent_text(share)} · {percent_text(of_front)}",
        )
        for name, (share, of_front) in bottlenecks(run).items()
    ]
    body = _bars(rows) if rows else "<p>No design is feasible.</p>"
    return (
        f"<section><h2>What limits designs</h2>{body}"
        f'<p class="quiet">share of designs that spend most time on it:'
        f'<span class="key" style="background:{_BLUE}"></span>'
        f'of the feasible<span class="key" style="background:{_ORANGE}"></span>of the front</p></section>'
    )


def _not_feasible(run: ExploredRun) -> str:
    infeasible, designs = run.summary["infeasible"], run.summary["designs"]
    rows = [
        (reason, [(count / designs, _ORANGE)], f"{count:,} · {percent_text(count / designs)}")
        for reason, count in sorted(infeasible.items(), key=lambda item: -item[1])
    ]
    body = _bars(rows) if rows else "<p>All designs are feasible.</p>"
    return (
        f"<section><h2>Why designs are not feasible</h2>{body}"
        f'<p class="quiet">of {designs:,} designs at {escape(run.stages[0].fidelity)}, what stopped each first</p>'
        "</section>"
    )


def _searched(run: ExploredRun, *, drawn: bool) -> str:
    summary = run.summary
    canvas = (
        '<div class="plot"><canvas id="curve" role="img" aria-label="hypervolume after so many designs"></canvas></div>'
        if drawn
        else ""
    )
    beside = f"; of as many random designs {summary['random_hypervolume']:.4f}" if len(run.random) else ""
    return (
        f"<section><h2>How the search went</h2>{canvas}"
        f'<p class="quiet">hypervolume in the end {summary["hypervolume"]:.4f}{beside} '
        "(share of the box between the best and worst values, logarithmic)</p></section>"
    )
