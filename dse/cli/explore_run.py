"""What ``tiercade explore`` does: a space, a run folder, an exploration, its summary."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from dse.cli.output import print_document, write_text
from dse.cli.progress import Progress
from dse.cli.stopping import interruptible
from dse.evaluate.design import check_buildable
from dse.explore.pool import Evaluator, InProcess, WorkerPool
from dse.explore.promotion import WAVES
from dse.explore.run import Exploration, Run, explore
from dse.explore.store import Store
from dse.reports.names import slug
from dse.reports.run_folder import input_hash
from dse.reports.table import print_rows
from dse.space.space import Space, load_space
from simulator.road import FIDELITIES
from workloads.errors import InputError, unknown_name

__all__ = ["ExploreOptions", "run_comparison", "run_explore"]

_SHOWN = 20


@dataclass(frozen=True)
class ExploreOptions:
    """The options as the user wrote them."""

    space: str
    budget: int | None
    engine: str | None
    fidelity: str | None
    promote: float
    waves: int | None
    batch: int
    seed: int
    workers: int
    dask: str | None
    shard: str | None
    merge: tuple[Path, ...]
    resume: bool
    out: Path


def run_explore(options: ExploreOptions, *, as_json: bool) -> int:
    """Explore, keep everything in a run folder, print the summary, and return the exit code."""
    space = load_space(options.space)
    check_buildable(space)
    exploration = _exploration(options, space)
    _say_size(space)
    evaluator = _evaluator(options, space)
    try:
        return _explore(options, space, exploration, evaluator, as_json)
    finally:
        evaluator.close()


def run_comparison(
    options: ExploreOptions, compare: str | None, budgets: str | None, seeds: int | None, *, as_json: bool
) -> None:
    """What ``--compare`` asks for: engines side by side on the space, which is simulated as a whole."""
    from dse.cli.explore_compare import Comparison, run_compare
    from dse.explore.compare import truth_in

    if compare is None:
        raise InputError("found without --compare", "--compare ENGINE,ENGINE", "--budgets" if budgets else "--seeds")
    alone = {
        "--budget": options.budget is not None,
        "--engine": options.engine is not None,
        "--seed": options.seed != 0,
        "--shard": options.shard is not None,
        "--resume": options.resume,
    }
    for name, given in alone.items():
        if given:
            raise InputError("found besides --compare", "--budgets and --seeds", name)
    space = load_space(options.space)
    check_buildable(space)
    fidelity = options.fidelity or space.default_fidelity
    if fidelity not in FIDELITIES:
        raise unknown_name("fidelity", fidelity, FIDELITIES, field="--fidelity")
    if fidelity != space.default_fidelity and not options.merge:
        expected = f"{space.default_fidelity}, or --merge RUN with all designs at that fidelity"
        raise InputError(f"found {fidelity} besides --compare", expected, "--fidelity")
    comparison = Comparison.read(compare, budgets or "200,1000", 5 if seeds is None else seeds, options.batch)
    _say_size(space)
    evaluator = _evaluator(options, space)
    try:
        known = truth_in(space, options.merge, fidelity) if options.merge else None
        run_compare(space, comparison, known or evaluator, options.workers, options.out, fidelity, as_json)
    finally:
        evaluator.close()


def _explore(
    options: ExploreOptions, space: Space, exploration: Exploration, evaluator: Evaluator, as_json: bool
) -> int:
    folder = _folder(options, space, exploration)
    store = Store(folder / "designs.sqlite", space)
    try:
        if not (store.empty or options.resume):
            raise InputError("holds this run already", "--resume to go on with it, or another --out", file=str(folder))
        for other in options.merge:
            typer.echo(f"{store.take_over(other):,} designs taken over from {other}", err=True)
        told = Progress("designs")
        with interruptible() as stop:
            run = explore(space, store, evaluator, exploration, told, stop)
        told.done()
        summary = run.summary(store)
    finally:
        store.close()
    write_text(folder / "summary.json", json.dumps(summary, indent=2, allow_nan=False) + "\n")
    rate = run.evaluated / run.wall_s if run.wall_s else 0.0
    if as_json:
        timed = {"evaluated": run.evaluated, "wall_s": run.wall_s, "designs_per_s": rate, "run": str(folder)}
        print_document({**summary, **timed})
    else:
        _print(summary, run, rate)
        typer.echo(f"run folder: {folder}", err=True)
    if run.interrupted:
        typer.echo("this is the best so far; --resume goes on", err=True)
        return 130
    return 0


def _exploration(options: ExploreOptions, space: Space) -> Exploration:
    engine = options.engine or ("exhaustive" if options.budget is None else "random")
    fidelities = tuple(name.strip() for name in (options.fidelity or space.default_fidelity).split(","))
    budget = None if engine == "exhaustive" else options.budget
    if budget is None and engine != "exhaustive":
        raise InputError(f"{engine} has no end of its own", "a number of designs", "--budget")
    shard = None if options.shard is None else _shard(options.shard)
    # What is promoted in several waves depends on all designs of those before: a shard alone cannot know them.
    waves = (WAVES if shard is None else 1) if options.waves is None else options.waves
    return Exploration(
        engine=engine,
        budget=budget,
        fidelities=fidelities,
        promote=options.promote,
        waves=waves,
        batch=options.batch,
        seed=options.seed,
        shard=shard,
    )


def _shard(text: str) -> tuple[int, int]:
    place, slash, of = text.partition("/")
    if not (slash and place.isdecimal() and of.isdecimal()):
        raise InputError(f"found {text!r}", "a part and how many there are, such as 2/4", "--shard")
    return int(place), int(of)


def _folder(options: ExploreOptions, space: Space, exploration: Exploration) -> Path:
    """The run's folder: of the same space and options it is the same one."""
    from dataclasses import asdict

    chosen = {name: value for name, value in asdict(exploration).items() if value is not None or name == "budget"}
    inputs = {"space": space.model_dump(mode="json"), "options": chosen}
    folder = options.out / f"{slug(space.name)}-{input_hash(inputs)}"
    if options.out.exists() and not options.out.is_dir():
        raise InputError("is a file", "a folder to put the run folder into", file=str(options.out))
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "inputs.json", json.dumps(inputs, indent=2, allow_nan=False) + "\n")
    return folder


def _evaluator(options: ExploreOptions, space: Space) -> Evaluator:
    if options.workers < 1:
        raise InputError(f"found {options.workers}", "at least 1", "--workers")
    if options.dask is not None:
        if options.workers != 1:
            raise InputError(f"found {options.workers} besides --dask", "one or the other", "--workers")
        from dse.explore.cluster import DaskPool

        pool = DaskPool(space, options.dask)
        if not pool.workers:
            typer.echo(f"{options.dask} has no workers yet: waiting for them", err=True)
        return pool
    return InProcess(space) if options.workers == 1 else WorkerPool(space, options.workers)


def _say_size(space: Space) -> None:
    codec = space.codec
    same = "" if codec.size == codec.product else f" ({codec.product:,} combinations, of which some are one design)"
    typer.echo(f"{space.name}: {codec.size:,} designs of {len(codec.parameters)} parameters{same}", err=True)


def _print(summary: dict[str, Any], run: Run, rate: float) -> None:
    objectives = list(summary["objectives"])
    rows = []
    for design in summary["front"][:_SHOWN]:
        values = {name: design["metrics"][name] for name in objectives}
        rows.append({**values, **design["parameters"], "bottleneck": design["bottleneck"]})
    print_rows(rows)
    if len(summary["front"]) > _SHOWN:
        typer.echo(f"and {len(summary['front']) - _SHOWN} more on the front")
    evaluated = " then ".join(f"{count:,} at {name}" for name, count in summary["fidelities"].items())
    typer.echo(f"\n{evaluated}; {run.evaluated:,} evaluated now, {rate:,.0f} a second")
    for reason, count in sorted(summary["infeasible"].items(), key=lambda item: -item[1]):
        typer.echo(f"  {count:,} not feasible: {reason}")
    typer.echo(
        f"{len(summary['front'])} on the front, hypervolume {summary['hypervolume']:.4f}, random designs as many: "
        f"{summary['random_hypervolume']:.4f}"
    )
