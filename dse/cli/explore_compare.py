"""What ``tiercade explore --compare`` does: engines side by side on a space of which every design is simulated."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import typer

from dse.cli.output import print_document, write_figure, write_text
from dse.cli.progress import Progress
from dse.explore.compare import Row, Truth, compare_engines, engine_kind, require_sweep, truth_of
from dse.explore.pool import Evaluator
from dse.reports.names import slug
from dse.reports.run_folder import input_hash
from dse.reports.table import print_rows
from dse.space.space import Space
from workloads.errors import InputError

__all__ = ["Comparison", "run_compare"]

_POINTS = 14
_FIRST = 10
"""The figure's curves begin at so many designs, or at one where budgets are smaller."""


@dataclass(frozen=True)
class Comparison:
    """Engines, random always among them, each run with ``seeds`` seeds and looked at after ``budgets`` designs."""

    engines: tuple[str, ...]
    budgets: tuple[int, ...]
    seeds: int
    batch: int

    @classmethod
    def read(cls, compare: str, budgets: str, seeds: int, batch: int) -> Comparison:
        """From the options as the user wrote them, lists divided by commas; raises `InputError`."""
        engines = tuple(dict.fromkeys(["random", *(name.strip() for name in compare.split(",") if name.strip())]))
        for engine in engines:
            engine_kind(engine)
        for name, value in (("--seeds", seeds), ("--batch", batch)):
            if value < 1:
                raise InputError(f"found {value}", "at least 1", name)
        return cls(engines, tuple(sorted({_count(text) for text in budgets.split(",")})), seeds, batch)

    def inputs(self, space: Space) -> dict[str, Any]:
        """Everything that determines what comes of it."""
        return {"space": space.model_dump(mode="json"), "comparison": asdict(self)}

    @property
    def all_budgets(self) -> list[int]:
        """The budgets asked for, and those between them that a figure shows."""
        most = max(self.budgets)
        between = np.geomspace(_FIRST if most > _FIRST else 1, most, _POINTS).round().astype(int)
        return sorted({*self.budgets, *between.tolist()})


def _count(text: str) -> int:
    if not text.strip().isdecimal() or int(text) < 1:
        raise InputError(f"found {text.strip()!r}", "numbers of designs, such as 200,1000", "--budgets")
    return int(text)


def run_compare(
    space: Space,
    comparison: Comparison,
    given: Evaluator | Truth,
    workers: int,
    out: Path,
    fidelity: str,
    as_json: bool,
) -> None:
    """Run every engine on the whole space, write table and figure into a folder, and print the table.

    The space is simulated by the evaluator ``given`` at its shallowest fidelity, unless its truth is given. Raises
    `InfeasibleError` where it is larger than can be swept in minutes.
    """
    if out.exists() and not out.is_dir():
        raise InputError("is a file", "a folder to put the comparison's folder into", file=str(out))
    if isinstance(given, Truth):
        truth = given
    else:
        require_sweep(space, workers=workers)
        told = Progress("designs")
        truth = truth_of(space, lambda done: told(space.name, done, space.codec.size), given)
        told.done()
    rows = _compared(truth, comparison)
    asked = [row for row in rows if row["budget"] in comparison.budgets]
    document = {
        "space": space.name,
        "fidelity": fidelity,
        "objectives": dict(space.objectives),
        "space_size": space.codec.size,
        "front": len(truth.front),
        "batch": comparison.batch,
        "rows": asked,
        "curves": rows,
    }
    folder = _written(space, comparison, document, rows, out)
    if as_json:
        print_document({**document, "folder": str(folder)})
        return
    print_rows(_table(asked, comparison))
    typer.echo(
        f"\nshare of the hypervolume of the true front at {fidelity} fidelity ({len(truth.front):,} of "
        f"{space.codec.size:,} designs), mean ± deviation over {comparison.seeds} seeds"
    )
    typer.echo(f"table and figure: {folder}", err=True)


def _compared(truth: Truth, comparison: Comparison) -> list[Row]:
    seeds = Progress("seeds")
    rows = compare_engines(
        truth,
        comparison.engines,
        comparison.all_budgets,
        range(comparison.seeds),
        comparison.batch,
        lambda engine, done: seeds(engine, done, comparison.seeds),
    )
    seeds.done()
    return rows


def _written(space: Space, comparison: Comparison, document: dict[str, Any], rows: list[Row], out: Path) -> Path:
    from dse.reports.figures.engine_comparison import engine_comparison_figure

    inputs = comparison.inputs(space) | {"fidelity": document["fidelity"]}
    folder = out / f"{slug(space.name)}-compare-{input_hash(inputs)}"
    folder.mkdir(parents=True, exist_ok=True)
    for name, written in (("inputs", inputs), ("comparison", document)):
        write_text(folder / f"{name}.json", json.dumps(written, indent=2, allow_nan=False) + "\n")
    figure = engine_comparison_figure(space.name, rows)
    for ending in (".svg", ".png"):
        write_figure(figure, folder / f"comparison{ending}")
    return folder


def _table(rows: list[Row], comparison: Comparison) -> list[dict[str, str]]:
    found = {(row["engine"], row["budget"]): row for row in rows}
    table = []
    for engine in comparison.engines:
        cells = {"engine": engine}
        for budget in comparison.budgets:
            row = found[engine, budget]
            ended = f" (ended at {row['designs']:,.0f})" if row["designs"] < budget else ""
            deviation = f" ± {row['hypervolume_sd']:.4f}" if comparison.seeds > 1 else ""
            cells[f"{budget:,} designs"] = f"{row['hypervolume']:.4f}{deviation}{ended}"
            cells[f"of the front at {budget:,}"] = f"{100 * row['front_share']:.0f} %"
        table.append(cells)
    return table
