"""What ``tiercade reproduce`` does: comparisons of studies, as rows or as a page with figures."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import typer

from dse.cli.output import check_file, print_document, write_figure, write_text
from dse.reports.table import print_rows
from studies.comparison import Comparison
from workloads.errors import InputError, unknown_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["STUDIES", "run_reproduce"]

STUDIES = ("bitmod",)
"""Modules of `studies`, each with CLAIM, SOURCE, ``comparisons`` and ``report_lines``."""


def _bitmod() -> Figure:
    from dse.reports.figures.bitmod import bitmod_figure

    return bitmod_figure()


_FIGURES: dict[str, Callable[[], Figure]] = {"bitmod": _bitmod}
_STEPS = (0.05, 0.1, 0.25)
_HEAD = """\
# Published systems, rebuilt

Made by `tiercade reproduce --all --out reports/studies.md`. Error is simulated / published - 1.

"""


def run_reproduce(names: Sequence[str] | None, *, everything: bool, out: Path | None, as_json: bool) -> None:
    """Print the comparisons of ``names``, and write the page of them."""
    chosen = list(STUDIES) if everything else list(dict.fromkeys(names or ()))
    if not chosen:
        raise InputError("no study is named", f"--all, or some of {', '.join(STUDIES)}", "STUDY")
    for name in chosen:
        if name not in STUDIES:
            raise unknown_name("study", name, STUDIES)
    if out is not None:
        check_file(out)
    modules = {name: importlib.import_module(f"studies.{name}") for name in chosen}
    found: dict[str, list[Comparison]] = {name: module.comparisons() for name, module in modules.items()}
    if out is not None:
        write_text(out, _page(modules, found, out))
    everywhere = [row for rows in found.values() for row in rows]
    if as_json:
        print_document([{**asdict(row), "error": row.error} for row in everywhere])
        return
    print_rows(
        [
            {
                "study": row.study,
                "metric": row.metric,
                "config": " ".join(map(str, row.config.values())),
                "published": row.published,
                "simulated": row.simulated,
                "error": f"{row.error:+.2%}",
            }
            for row in everywhere
        ]
    )
    typer.echo(_counts(everywhere))


def _counts(rows: Sequence[Comparison]) -> str:
    errors = [abs(row.error) for row in rows]
    within = ", ".join(f"{sum(error <= step for error in errors):,} within {step:.0%}" for step in _STEPS)
    return f"{len(rows):,} published numbers: {within}, {sum(e > _STEPS[-1] for e in errors):,} beyond"


def _page(modules: dict[str, ModuleType], found: dict[str, list[Comparison]], out: Path) -> str:
    parts = [_HEAD]
    for name, module in modules.items():
        figure = out.parent / "figures" / f"study-{name}.svg"
        figure.parent.mkdir(exist_ok=True)
        write_figure(_FIGURES[name](), figure)
        lines: list[Any] = [
            f"## {name}",
            "",
            f"{module.CLAIM}.",
            "",
            f"Source: {module.SOURCE}. {_counts(found[name])}.",
            "",
            f"![{name}](figures/{figure.name})",
            "",
            *module.report_lines(),
            "",
        ]
        parts.append("\n".join(lines))
    return "".join(parts)
