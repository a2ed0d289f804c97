"""One self-contained HTML page of one or several results: figures inline as SVG, tables, no script, no links."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from dse.reports.compare import comparison, result_labels
from dse.reports.names import case_text
from dse.reports.summary import bottleneck_sentence, charges, headline, operations, tier_uses
from dse.reports.units_text import bytes_text, number_text, percent_text, seconds_text
from hw.spec.system import System
from simulator.result import Result

__all__ = ["Section", "html_report", "write_html"]

_MOST_OPERATIONS = 12

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #202020; background: #fff; margin: 2rem auto; max-width: 60rem;
  padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .3rem; border-top: 1px solid #ddd; padding-top: 1.2rem; }
h3 { font-size: 1.1rem; margin: 2rem 0 .3rem; }
h4 { font-size: .95rem; margin: 1.2rem 0 .3rem; }
p { margin: .3rem 0; }
.said { font-weight: 600; }
.quiet { color: #5f5f5f; }
.cards { display: flex; flex-wrap: wrap; gap: .5rem 2.5rem; margin: .8rem 0; }
.cards div { display: flex; flex-direction: column-reverse; }
.cards dt { color: #5f5f5f; font-size: .85rem; }
.cards dd { margin: 0; font-size: 1.05rem; font-weight: 600; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .9rem .2rem 0; text-align: right; border-bottom: 1px solid #eee; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
td.inset { padding-left: 1.2rem; }
th { font-weight: 600; }
figure { margin: 1.2rem 0; }
figure svg { width: 100%; height: auto; }
"""


@dataclass(frozen=True)
class Section:
    """Results that are shown together, and their figures: SVG documents by name, in the order in which they appear."""

    results: tuple[Result, ...]
    figures: Mapping[str, bytes]


def html_report(sections: Sequence[Section], *, title: str | None = None) -> str:
    """The page; in each section the results after the first are compared with the first."""
    models = ", ".join(dict.fromkeys(result.model for section in sections for result in section.results))
    heading = title or models
    parts = [f"<h1>{escape(heading)}</h1>"]
    number = 0
    for section in sections:
        names = result_labels(section.results)
        cases = list(dict.fromkeys(case_text(result) for result in section.results))
        parts.append(f"<h2>{escape(cases[0] if len(cases) == 1 else ', '.join(names))}</h2>")
        parts += [_comparison(section.results[0], other) for other in section.results[1:]]
        for name, svg in section.figures.items():
            parts.append(_figure(number, name, svg))
            number += 1
        parts += [_result(result, name) for result, name in zip(section.results, names, strict=True)]
    body = "\n".join(parts)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(heading)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def write_html(path: Path, cases: Sequence[tuple[Result, System]], *, title: str | None = None) -> None:
    """Draw all figures and write the page of results, with their systems, to ``path``, whole or not at all.

    Results that differ in their system only stand in one section.
    """
    from dse.reports.figures import all_figures, svg_bytes

    groups: dict[str, list[tuple[Result, System]]] = {}
    for case in cases:
        groups.setdefault(case_text(case[0]), []).append(case)
    sections = []
    for group in groups.values():
        results, systems = zip(*group, strict=True)
        drawn = {name: svg_bytes(figure) for name, figure in all_figures(results, systems).items()}
        sections.append(Section(results, drawn))
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        aside.write_text(html_report(sections, title=title), encoding="utf-8")
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _result(result: Result, name: str) -> str:
    formats = ", ".join(f"{kind.replace('_', ' ')} {fmt}" for kind, fmt in result.formats.items())
    cards = "".join(f"<div><dt>{escape(key)}</dt><dd>{escape(value)}</dd></div>" for key, value in headline(result))
    devices = f"{result.devices} × " if result.devices > 1 else ""
    parts = [
        f"<h3>{escape(name)}</h3>",
        f'<p class="quiet">{escape(f"{case_text(result)} on {devices}{result.system}")}<br>'
        f"{escape(f'{result.fidelity} fidelity; {formats}')}</p>",
        f'<dl class="cards">{cards}</dl>',
        f'<p class="said">{escape(bottleneck_sentence(result))}</p>',
        "<h4>Where the time goes</h4>",
        _table(
            ("bound by", "time", "share"),
            ((row.text, seconds_text(row.seconds), percent_text(row.share)) for row in charges(result)),
        ),
        f"<h4>Memory{' per device' if result.devices > 1 else ''}</h4>",
        _table(
            ("tier", "peak", "capacity", "share"),
            (
                (use.tier, bytes_text(use.peak_bytes), bytes_text(use.capacity_bytes), percent_text(use.share))
                for use in tier_uses(result)
            ),
        ),
        "<h4>Operations that take longest, without transfers</h4>",
        _table(
            ("operation", "count", "each", "total", "share", "operations/byte", "bound by"),
            (
                (
                    f"{op.layer}.{op.name}",
                    f"{op.count:,.4g}",
                    seconds_text(op.seconds / op.count),
                    seconds_text(op.seconds),
                    percent_text(op.seconds / result.latency_s),
                    number_text(op.intensity_ops_per_byte),
                    op.bound,
                )
                for op in operations(result)[:_MOST_OPERATIONS]
            ),
        ),
    ]
    if result.notes:
        parts += ["<h4>Notes</h4>", *(f"<p>{escape(note)}</p>" for note in result.notes)]
    return "\n".join(parts)


def _comparison(first: Result, second: Result) -> str:
    rows = []
    for row in comparison(first, second):
        if row.values:
            cells = "".join(f"<td>{escape(cell)}</td>" for cell in (*row.values, row.ratio))
            inset = ' class="inset"' if row.inset else ""
            rows.append(f"<tr><td{inset}>{escape(row.name)}</td>{cells}</tr>")
        else:
            rows.append(f'<tr><th colspan="4">{escape(row.name)}</th></tr>')
    heads = "".join(f"<th>{escape(name)}</th>" for name in ("", *result_labels((first, second)), "ratio"))
    return f'<div class="wide"><table><tr>{heads}</tr>{"".join(rows)}</table></div>'


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>\n" for row in rows)
    return f'<div class="wide"><table><tr>{head}</tr>\n{body}</table></div>'


def _figure(number: int, name: str, svg: bytes) -> str:
    """The SVG element alone, as wide as the page, its ids made distinct from those of the page's other figures."""
    text = svg.decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'\bid="', f'id="f{number}-', text)
    text = re.sub(r'href="#', f'href="#f{number}-', text)
    text = text.replace("url(#", f"url(#f{number}-")
    label = escape(name.replace("-", " "), quote=True)
    text = text.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
    return f"<figure>{text.rstrip()}</figure>"
