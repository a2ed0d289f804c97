"""``tiercade plan allocate | replay | order | place | swap | layout | crossover``: what lies where, and when."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["app"]

app = typer.Typer(
    name="plan",
    help="Memory plans: offsets of buffers, orders of operations, tensors over tiers, swaps, layouts of training.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

FILE = "A MiniMalloc CSV (id,lower,upper,size,...), or a trace of lines 'malloc ID SIZE' and 'free ID SIZE'."
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]


@app.command()
def allocate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help=FILE)],
    capacity: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Fit into this: bytes, or '1 MiB'. Without it: lowest peak.")
    ] = None,
    pool: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=SIZE", help="A memory, preferred to those named after it; instead of --capacity."),
    ] = None,
    time_limit: Annotated[float, typer.Option(metavar="SECONDS", help="End with what is known then.")] = 60.0,
    workers: Annotated[int, typer.Option(help="Threads to search with; they change the time only.")] = 1,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR|FILE.csv", help="Write the plan: a CSV, or a folder with all of it.")
    ] = None,
    figure: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw time and offsets; .png or .svg.")] = None,
    json: Json = False,
) -> None:
    """Find offsets for buffers with given lifetimes, and say what is proved about them.

    With --pool buffers are spread over several memories, each where its CSV's column 'pool' allows (empty: any).

    Exit code 3: nothing fits the capacity, or nothing that fits was found in time; the report says which.
    """
    from dse.cli.plan_allocate import PlanOptions, run_allocate

    options = PlanOptions(tuple(files), capacity, time_limit, workers, out, figure)
    if pool:
        from dse.cli.plan_pools import run_pools

        code = run_pools(options, tuple(pool), as_json=json)
    else:
        code = run_allocate(options, as_json=json)
    if code:
        raise typer.Exit(code)


@app.command()
def order(
    file: Annotated[
        Path | None, typer.Argument(metavar="[GRAPH.yaml]", help="Tensors with sizes, operations that read and write.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="mobilenet-v2, mbv2-w0.35 or mcunet-in0 to in4 instead, one byte an element.")
    ] = None,
    resolution: Annotated[int | None, typer.Option(help="Of a model: pixels along a side.")] = None,
    patches: Annotated[
        str | None, typer.Option(metavar="auto|NxN", help="Run a model's first blocks patch by patch.")
    ] = None,
    image: Annotated[str, typer.Option(help="streamed: fetched for each patch; resident: held whole.")] = "streamed",
    residual: Annotated[
        str, typer.Option(help="separate: additions are operations; accumulated: projections add as they go.")
    ] = "separate",
    in_place: Annotated[bool, typer.Option("--in-place/--no-in-place", help="Of depthwise convolutions.")] = True,
    capacity: Annotated[str | None, typer.Option(metavar="SIZE", help="Fit into this: bytes, or '256 KiB'.")] = None,
    time_limit: Annotated[float, typer.Option(metavar="SECONDS", help="End with what is known then.")] = 60.0,
    figure: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the bytes held at each step; .png or .svg.")
    ] = None,
    json: Json = False,
) -> None:
    """Order operations so that a small memory holds their tensors; run a network's first blocks in patches.

    Exit code 3: no order fits the capacity, or none that fits was found in time; the report says which.
    """
    from dse.cli.plan_order import OrderOptions, run_order

    options = OrderOptions(file, model, resolution, patches, image, residual, in_place, capacity, time_limit, figure)
    code = run_order(options, as_json=json)
    if code:
        raise typer.Exit(code)


@app.command()
def swap(
    model: Annotated[str, typer.Option(help="gpt-7b, -13b, -30b, -65b, a name from 'list models', or a config.json.")],
    system: Annotated[str, typer.Option(help="A name from 'tiercade list systems', or a YAML file.")],
    context: Annotated[str, typer.Option(metavar="TOKENS", help="Of the one sequence of a step: 65536 or 64Ki.")],
    devices: Annotated[int | None, typer.Option(help="Equal devices to split the model over.")] = None,
    policy: Annotated[str, typer.Option(help="keep, recompute, swap, memo or best.")] = "best",
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Change the system: tiers.hbm.capacity='96 GB'."),
    ] = None,
    parts: Annotated[
        int | None, typer.Option(help="Of best: shares are multiples of 1 / this; 1 takes tensors whole.")
    ] = None,
    head_chunks: Annotated[int | None, typer.Option(help="Pieces of the sequence in which logits are made.")] = None,
    states: Annotated[str, typer.Option(help="Where the optimizer's state lies: device or host.")] = "device",
    no_drives: Annotated[bool, typer.Option("--no-drives", help="Of best: nothing goes to flash.")] = False,
    drive_years: Annotated[
        float | None, typer.Option(metavar="YEARS", help="Of best: write no faster than lets drives last so long.")
    ] = None,
    drive_writes: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Rated writes of all drives together: '56 PB'.")
    ] = None,
    time_limit: Annotated[float, typer.Option(metavar="SECONDS", help="End with what is known then.")] = 60.0,
    trace: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the step's requests for transients here.")
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw utilisation over the context; .png or .svg.")
    ] = None,
    json: Json = False,
) -> None:
    """Plan a training step's activations: what stays, what is swapped, what is computed again; and execute the plan.

    Exit code 3: it does not fit, or nothing was found in time; the report says which, and how much is missing.
    """
    from dse.cli.plan_swap import SwapOptions, run_swap

    changed = tuple(changes or ())
    options = SwapOptions(
        model, system, context, devices, policy, changed, parts, head_chunks, states, no_drives, drive_years,
        drive_writes, time_limit, trace, figure,
    )  # fmt: skip
    code = run_swap(options, as_json=json)
    if code:
        raise typer.Exit(code)


@app.command()
def replay(
    file: Annotated[Path, typer.Argument(metavar="FILE", help=FILE)],
    json: Json = False,
) -> None:
    """Replay requests through a caching allocator as PyTorch has it: bytes reserved, bytes allocated, fragmentation."""
    from dse.cli.plan_allocate import run_replay

    run_replay(file, as_json=json)


@app.command()
def place(
    model: Annotated[str, typer.Option(help="A name from 'tiercade list models', or a Hugging Face config.json.")],
    system: Annotated[str, typer.Option(help="A name from 'tiercade list systems', or a YAML file.")],
    phase: Annotated[str, typer.Option(help="decode or prefill: one pass after another.")] = "decode",
    batch: Annotated[int, typer.Option(help="Sequences at once.")] = 1,
    context: Annotated[int, typer.Option(help="Tokens per sequence.")] = 2048,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Change the system: tiers.ddr.capacity='64 GB'."),
    ] = None,
    weights: Annotated[str | None, typer.Option(help="Storage format of the weights, e.g. int4_g128.")] = None,
    kv_cache: Annotated[str | None, typer.Option(help="Storage format of keys and values.")] = None,
    objective: Annotated[str, typer.Option(help="latency, energy, or cost of the capacity that is used.")] = "latency",
    price: Annotated[
        list[str] | None, typer.Option(metavar="TIER=AMOUNT", help="Of 1 GB of a tier, for --objective cost.")
    ] = None,
    pieces: Annotated[int, typer.Option(help="Large weights are cut into so many pieces that may live apart.")] = 4,
    time_limit: Annotated[float, typer.Option(metavar="SECONDS", help="End with the best found then.")] = 30.0,
    figure: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw what fills each tier over a pass; .png or .svg.")
    ] = None,
    json: Json = False,
) -> None:
    """Plan which tensors live in which tier and when the others must travel, and execute the plan.

    Exit code 3: nothing fits, or nothing was found in time; the report says which, and what capacity is missing.
    """
    from dse.cli.plan_place import PlaceOptions, run_place

    words, amounts = tuple(changes or ()), tuple(price or ())
    options = PlaceOptions(
        model, system, phase, batch, context, words, weights, kv_cache, objective, amounts, pieces, time_limit, figure
    )
    code = run_place(options, as_json=json)
    if code:
        raise typer.Exit(code)


@app.command()
def layout(
    model: Annotated[str, typer.Option(help="A name from 'tiercade list models', or a Hugging Face config.json.")],
    system: Annotated[str, typer.Option(help="A name from 'tiercade list systems', or a YAML file.")],
    devices: Annotated[int, typer.Option(help="Devices to divide the training step over, all of them.")],
    context: Annotated[int, typer.Option(help="Tokens of a sequence.")],
    global_batch: Annotated[int, typer.Option(help="Sequences of a step.")],
    loss: Annotated[
        str, typer.Option(help="logits, or cut: made tile by tile and again in the backward pass.")
    ] = "logits",
    gradients: Annotated[str, typer.Option(metavar="FORMAT", help="Storage format of gradients.")] = "bf16",
    from_master: Annotated[
        bool, typer.Option("--from-master", help="Divided weights are cast from the master copy when gathered.")
    ] = False,
    context_exchange: Annotated[str, typer.Option(help="ring, gather or ulysses.")] = "ring",
    place: Annotated[
        list[str] | None, typer.Option(metavar="ROLE=TIER", help="activations or optimizer in another tier.")
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Change the system: network.bandwidth='50 GB/s'."),
    ] = None,
    fidelity: Annotated[str, typer.Option(help="roofline, mapped or kernel.")] = "roofline",
    top: Annotated[int, typer.Option(metavar="N", help="How many of the fastest to show.")] = 10,
    time_limit: Annotated[float | None, typer.Option(metavar="SECONDS", help="End with the best found then.")] = None,
    json: Json = False,
) -> None:
    """Find the fastest ways to divide a training step: tensor, pipeline, data, context and expert parallelism, ZeRO,
    chunks, micro-batch and recomputation.

    Exit code 3: no layout fits; 130: interrupted, with the best so far.
    """
    from dse.cli.plan_layout import LayoutOptions, run_layout

    options = LayoutOptions(
        model, system, devices, context, global_batch, loss, gradients, from_master, context_exchange,
        tuple(place or ()), tuple(changes or ()), fidelity, top, time_limit,
    )  # fmt: skip
    code = run_layout(options, as_json=json)
    if code:
        raise typer.Exit(code)


@app.command()
def crossover(
    model: Annotated[str, typer.Option(help="A name from 'tiercade list models', or a Hugging Face config.json.")],
    system: Annotated[str, typer.Option(help="A name from 'tiercade list systems', or a YAML file.")],
    devices: Annotated[int | None, typer.Option(help="Equal devices that divide each layer.")] = None,
    fidelity: Annotated[str, typer.Option(help="roofline, mapped or kernel.")] = "roofline",
    context_range: Annotated[str, typer.Option(metavar="A..B", help="Contexts to look through.")] = "1Ki..1Mi",
    context: Annotated[str, typer.Option(metavar="TOKENS", help="Where drives and the update are asked.")] = "8Ki",
    batch: Annotated[str, typer.Option(metavar="N,N,...", help="Sequences at once; the first is host memory's.")] = (
        "1,4,16"
    ),
    adam_share: Annotated[
        float | None, typer.Option(help="Of the host memory's rate, in updates by its processors; without it 0.43.")
    ] = None,
    share: Annotated[float, typer.Option(help="Of a step, that an update may take.")] = 0.05,
    drive_writes: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Rated writes of all drives together: '56 PB'.")
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Change the system: links.host-pcie.bandwidth='64 GB/s'."),
    ] = None,
    figure: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw all curves; .png or .svg.")] = None,
    json: Json = False,
) -> None:
    """Find from which context offloading hides, when drives do, and who should update the optimizer's states."""
    from dse.cli.plan_crossover import CrossoverOptions, run_crossover

    words = tuple(changes or ())
    run_crossover(
        CrossoverOptions(
            model,
            system,
            devices,
            fidelity,
            context_range,
            context,
            batch,
            adam_share,
            share,
            drive_writes,
            words,
            figure,
        ),
        as_json=json,
    )
