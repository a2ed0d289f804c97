"""The page of published systems: a table of all, then a section for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dse.reports.figures.study import value_text
from studies.frame.rows import STEPS, Row, counts_text, within
from studies.frame.study import Study

__all__ = ["studies_page", "study_section"]

_HEAD = """\
# Published systems, rebuilt

Made by `tiercade reproduce --all --out reports/studies.md`. Each study is a machine, a workload and a policy in
`studies/`; the simulator finds the numbers. Error is simulated / published - 1. Numbers that a constant was fitted to
are marked ° and counted nowhere; "no fit" counts those that rest on stated and derived constants alone.

"""
_FEW = 24
_MISSED = STEPS[-1]


def studies_page(studies: Mapping[str, Study], found: Mapping[str, Sequence[Row]]) -> str:
    """The page as Markdown; figures lie in ``figures/study-NAME.svg`` beside it."""
    lines = _overview(studies, found)
    for name, study in studies.items():
        lines += study_section(name, study, found[name])
    return _HEAD + "\n".join(lines) + "\n"


def _overview(studies: Mapping[str, Study], found: Mapping[str, Sequence[Row]]) -> list[str]:
    steps = " | ".join(f"{step:.0%}" for step in STEPS)
    lines = [
        f"| Study | numbers | {steps} | beyond | no fit: numbers | {steps} | beyond |",
        "| --- |" + " ---: |" * (2 * (2 + len(STEPS))),
    ]
    groups = {f"[{study.title}](#{_anchor(study.title)})": found[name] for name, study in studies.items()}
    groups["**all**"] = [row for rows in found.values() for row in rows]
    for name, rows in groups.items():
        predicted = [row for row in rows if not row.calibrates]
        cells: list[Any] = []
        for part in (predicted, [row for row in predicted if row.free_of_fits]):
            cells += [sum(row.error is not None for row in part), *within(part)]
        lines.append(f"| {name} | " + " | ".join(f"{cell:,}" for cell in cells) + " |")
    return [*lines, ""]


def _anchor(title: str) -> str:
    kept = "".join(c for c in title.lower() if c.isalnum() or c in " -_")
    return kept.replace(" ", "-")


def study_section(name: str, study: Study, rows: Sequence[Row]) -> list[str]:
    """Lines of one study's section."""
    predicted = [row for row in rows if not row.calibrates]
    return [
        f"## {study.title}",
        "",
        study.claim,
        "",
        f"- Source: {study.source}",
        f"- Machine: {study.machine}",
        f"- Workload: {study.workload}",
        f"- Policy: {study.policy}",
        f"- Baseline: {study.baseline}",
        f"- Run: `tiercade reproduce {name}`; other configurations by `--config` ({', '.join(study.keys)})",
        "",
        f"{counts_text(predicted)}.",
        "",
        f"![{study.title}](figures/study-{name}.svg)",
        "",
        *_misses(study, rows),
        *(study.notes() if study.notes else ()),
        "",
        *_table(study, rows),
        *_constants(study),
    ]


def _misses(study: Study, rows: Sequence[Row]) -> list[str]:
    lines = []
    for miss in study.misses:
        far = [r for r in rows if r.metric in miss.metrics and r.error is not None and abs(r.error) > _MISSED]
        count = f"{len(far)} of {sum(r.metric in miss.metrics for r in rows)} beyond {_MISSED:.0%}"
        lines.append(f"**Missed:** {', '.join(miss.metrics)} ({count}). {miss.why} {miss.experiment()}")
        lines.append("")
    return lines


def _table(study: Study, rows: Sequence[Row]) -> list[str]:
    lines = [
        "| Metric | configuration | published | simulated | error | rests on |",
        "| --- | --- | ---: | ---: | ---: | --- |",
    ]
    for row in rows:
        unit = study.metrics[row.metric].unit
        config = ", ".join(f"{key} {value}" for key, value in row.config.items())
        published = "" if row.published is None else value_text(row.published, unit)
        error = "" if row.error is None else f"{row.error:+.1%}"
        metric = row.metric + ("°" if row.calibrates else "")
        cells = (metric, config, published, value_text(row.simulated, unit), error, row.inputs)
        lines.append("| " + " | ".join(cells) + " |")
    return _folded(f"All {len(rows)} numbers", lines, len(rows))


def _constants(study: Study) -> list[str]:
    lines = ["| Constant | value | kind | source |", "| --- | --- | --- | --- |"]
    for name, constant in study.constants.items():
        number = isinstance(constant.value, int | float)
        value = value_text(constant.value, constant.unit) if number else str(constant.value or "")
        lines.append(f"| {name} | {value} | {constant.kind} | {constant.source} |")
    return _folded(f"{len(study.constants)} constants", lines, _FEW + 1)


def _folded(summary: str, lines: Sequence[str], count: int) -> list[str]:
    if count <= _FEW:
        return [*lines, ""]
    return ["<details>", f"<summary>{summary}</summary>", "", *lines, "", "</details>", ""]
