"""``tiercade explore``: designs of a space, proposed, evaluated, kept, and the best of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["explore"]

SPACE = "A space file (base, workloads, parameters, what they set, limits, objectives), or one of 'list spaces'."


def explore(
    space: Annotated[str, typer.Argument(metavar="SPACE.yaml|NAME", help=SPACE)],
    budget: Annotated[
        int | None, typer.Option(metavar="N", help="Designs to propose; all of them when left out.")
    ] = None,
    engine: Annotated[
        str | None, typer.Option(help="What proposes designs, from 'tiercade list engines'; random with a budget.")
    ] = None,
    fidelity: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[,NAME]",
            help="roofline (the default), mapped, kernel, cycle; the best go on to the next. Of memories cycle alone.",
        ),
    ] = None,
    promote: Annotated[float, typer.Option(metavar="SHARE", help="Of the feasible designs, what goes on.")] = 0.1,
    waves: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="The best go on in waves; what each finds corrects the choice of the next. 5; 1 for shards.",
        ),
    ] = None,
    batch: Annotated[int, typer.Option(help="Designs proposed at a time by engines that learn.")] = 50,
    seed: Annotated[int, typer.Option(help="Equal seeds propose equal designs.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes; they change the time only.")] = 1,
    dask: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Evaluate on a Dask cluster: tcp://host:8786.")
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Evaluate only this part (engines that do not learn); then --merge."),
    ] = None,
    merge: Annotated[
        list[Path] | None, typer.Option(metavar="RUN", help="Take over the designs of another run of the space.")
    ] = None,
    compare: Annotated[
        str | None,
        typer.Option(
            metavar="ENGINE[,ENGINE]",
            help="Engines side by side and beside random, on the space simulated as a whole.",
        ),
    ] = None,
    budgets: Annotated[
        str | None, typer.Option(metavar="N[,N]", help="Of --compare: after how many designs; 200,1000.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(metavar="N", help="Of --compare: runs of each engine; 5.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run that is in the folder.")] = False,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder to put the run's folder into.")] = Path("runs"),
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")] = False,
) -> None:
    """Explore a space of designs and print its front: the designs that no other beats in every objective.

    Ctrl-C prints the best so far; --resume goes on from there. With --compare several engines are run instead, and how
    much of the true front each finds is printed. For that the whole space is simulated, or taken from runs (--merge).
    """
    from dse.cli.explore_run import ExploreOptions, run_explore

    options = ExploreOptions(
        space=space,
        budget=budget,
        engine=engine,
        fidelity=fidelity,
        promote=promote,
        waves=waves,
        batch=batch,
        seed=seed,
        workers=workers,
        dask=dask,
        shard=shard,
        merge=tuple(merge or ()),
        resume=resume,
        out=out,
    )
    if compare is not None or budgets is not None or seeds is not None:
        from dse.cli.explore_run import run_comparison

        run_comparison(options, compare, budgets, seeds, as_json=json)
        return
    code = run_explore(options, as_json=json)
    if code:
        raise typer.Exit(code)
