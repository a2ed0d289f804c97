"""``tiercade memory run | show | characterise``: what goes through a memory, what it consists of, and its curves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["app"]

app = typer.Typer(
    name="memory",
    help="Memories of every kind: what they consist of, runs of requests or operations in them, and their curves.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

DEVICE = "A name from 'tiercade list devices', 'list drives' or 'list pim', or a YAML file."
ANY = "A name from 'tiercade list devices', 'drives', 'pim', 'arrays' or 'links', a YAML file, or sram."
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
Ranks = Annotated[int | None, typer.Option(help="Ranks of a channel, instead of the device's.")]


def _given(ctx: typer.Context) -> list[str]:
    """The parameters that stood on the command line, as they are declared."""
    return [name for name in ctx.params if getattr(ctx.get_parameter_source(name), "name", "") == "COMMANDLINE"]


@app.command("run")
def run_requests(
    ctx: typer.Context,
    device: Annotated[str, typer.Option(metavar="NAME|FILE", help=DEVICE)],
    mapping: Annotated[
        str, typer.Option(help="RoBaRaCoCh, MOP4CLXOR..., an order such as rorabacobgch, or a matrix co0=0,bg0=1^9,...")
    ] = "MOP4CLXOR",
    channels: Annotated[int, typer.Option(help="Equal channels that share the addresses.")] = 1,
    ranks: Ranks = None,
    pattern: Annotated[
        str | None,
        typer.Option(
            help="seq, rand, stride_bank, stride_row, mix21, streams..., sequential, strided, random, gather; drives "
            "rand-read, seq-read, rand-write, seq-write; in memory gemv, eltwise."
        ),
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="A trace: LD or ST and an address; of a drive R or W, offset and size, or MSR."
        ),
    ] = None,
    requests: Annotated[
        int | None, typer.Option(help="Requests of one burst each; 100,000, or all of a trace.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything drawn at random.")] = 1,
    region: Annotated[str | None, typer.Option(metavar="SIZE", help="What the pattern covers: '1 GiB', bytes.")] = None,
    granule: Annotated[str | None, typer.Option(metavar="SIZE", help="Read whole: of random, streams, gather.")] = None,
    streams: Annotated[int | None, typer.Option(help="How many take turns, of pattern streams; 16.")] = None,
    stride: Annotated[str | None, typer.Option(metavar="SIZE", help="From request to request, or stream.")] = None,
    indices: Annotated[
        str | None, typer.Option(metavar="I,J,...|FILE", help="Granules of pattern gather, in order.")
    ] = None,
    write_every: Annotated[int | None, typer.Option(help="Every so many requests, one is a write.")] = None,
    write_share: Annotated[float | None, typer.Option(help="Share of writes, drawn at random.")] = None,
    queue: Annotated[int, typer.Option(help="Places of the read queue.")] = 32,
    write_queue: Annotated[int | None, typer.Option(help="Places of the write queue; as many.")] = None,
    write_high: Annotated[float, typer.Option(help="Share of the write queue that begins writing.")] = 0.8,
    write_low: Annotated[float, typer.Option(help="Share of the write queue that ends it.")] = 0.2,
    scheduler: Annotated[str, typer.Option(help="frfcfs, row-hit, capped, batch or fcfs.")] = "row-hit",
    hit_cap: Annotated[int, typer.Option(help="Columns of an open row before others may close it (capped).")] = 4,
    page: Annotated[str, typer.Option(help="open, closed, timeout or adaptive.")] = "open",
    timeout_ticks: Annotated[int, typer.Option(help="Ticks an idle row stays open (timeout, adaptive).")] = 200,
    refresh: Annotated[str, typer.Option(help="all-bank, per-bank or none.")] = "all-bank",
    postpone: Annotated[int, typer.Option(help="All-bank refreshes that may be owed.")] = 0,
    pull_in: Annotated[int, typer.Option(help="All-bank refreshes that may be sent ahead.")] = 0,
    tries: Annotated[int, typer.Option(help="Requests offered per tick.")] = 1,
    interval: Annotated[int | None, typer.Option(metavar="TICKS", help="Ticks between requests; 0: at once.")] = None,
    workers: Annotated[int | None, typer.Option(help="Threads for several channels; all processors.")] = None,
    log: Annotated[Path | None, typer.Option(metavar="FILE.csv", help="Write every command sent.")] = None,
    size: Annotated[str | None, typer.Option(metavar="SIZE", help="Of a drive's requests; '4 KiB'.")] = None,
    queue_depth: Annotated[int | None, typer.Option(help="Requests outstanding at a drive; 1.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Time a drive is asked for; 1.")] = None,
    occupancy: Annotated[float | None, typer.Option(help="Share of a drive written beforehand; 0.")] = None,
    ideal_mapping: Annotated[
        bool, typer.Option("--ideal-mapping", help="Keep a drive's whole mapping table on its controller.")
    ] = False,
    inside: Annotated[
        bool, typer.Option("--inside", help="Ask from inside a drive: no host link, no queue of the host.")
    ] = False,
    shape: Annotated[str | None, typer.Option(metavar="ROWSxCOLUMNS", help="Of the matrix of gemv.")] = None,
    batch: Annotated[int | None, typer.Option(help="Vectors of gemv; 1.")] = None,
    elements: Annotated[str | None, typer.Option(metavar="COUNT", help="Of each vector of eltwise: 1Mi.")] = None,
    read_results: Annotated[
        bool, typer.Option("--read-results", help="Count the host's reading gemv's results, where they stay inside.")
    ] = False,
    json: Json = False,
) -> None:
    """Run requests through a memory or a drive, or an operation in a memory that computes: how long, at what cost.

    Options that mean nothing for the device are refused.
    """
    from dse.cli.memory_kinds import check_options, check_pattern, device_kind, refuse_kind

    kind = device_kind(device, "--device")
    refuse_kind(kind, device)
    given = _given(ctx)
    check_options("run", kind, given)
    check_pattern(kind, pattern)
    if kind == "drive":
        from dse.cli.memory_drive import DriveOptions, run_drive

        asked = DriveOptions(
            device=device,
            pattern=pattern,
            trace=trace,
            size=size,
            queue_depth=queue_depth,
            seconds=seconds,
            occupancy=occupancy,
            ideal_mapping=ideal_mapping,
            inside=inside,
            requests=requests,
            seed=seed,
        )
        run_drive(asked, as_json=json)
        return
    if kind == "pim":
        from dse.cli.memory_pim import PimOptions, run_pim

        run_pim(PimOptions(device, pattern, shape, batch, elements, read_results), as_json=json)
        return
    from dse.cli.memory_run import MemoryOptions, check_policies, run_memory

    check_policies(given, scheduler=scheduler, page=page)

    options = MemoryOptions(
        device=device,
        mapping=mapping,
        channels=channels,
        ranks=ranks,
        pattern=pattern,
        trace=trace,
        requests=requests,
        seed=seed,
        region=region,
        granule=granule,
        streams=streams,
        stride=stride,
        indices=indices,
        write_every=write_every,
        write_share=write_share,
        queue=queue,
        write_queue=write_queue,
        write_high=write_high,
        write_low=write_low,
        scheduler=scheduler,
        hit_cap=hit_cap,
        page=page,
        timeout_ticks=timeout_ticks,
        refresh=refresh,
        postpone=postpone,
        pull_in=pull_in,
        tries=tries,
        interval=interval,
        workers=workers,
        log=log,
    )
    run_memory(options, as_json=json)


@app.command()
def show(
    ctx: typer.Context,
    device: Annotated[str, typer.Argument(metavar="NAME|FILE", help=ANY)],
    ranks: Ranks = None,
    json: Json = False,
) -> None:
    """Print a device: what it consists of, its times, rates and rules, and where each number is from."""
    from dse.cli.memory_kinds import check_options, device_kind

    kind = device_kind(device, "DEVICE")
    check_options("show", kind, _given(ctx))
    if kind == "dram":
        from dse.cli.memory_device import run_show

        run_show(device, ranks, as_json=json)
    else:
        from dse.cli.memory_show import run_show_other

        run_show_other(kind, device, as_json=json)


@app.command()
def characterise(
    ctx: typer.Context,
    device: Annotated[str, typer.Option(metavar="NAME|FILE", help=ANY)],
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Write a run folder with points and figures.")] = None,
    figure: Annotated[Path | None, typer.Option(metavar="FILE.png|.svg", help="Write the curves on one sheet.")] = None,
    mapping: Annotated[str, typer.Option(help="Of DRAM: how addresses are mapped.")] = "MOP4CLXOR",
    ranks: Ranks = None,
    node: Annotated[float, typer.Option(metavar="NM", help="Of sram: the process node.")] = 22,
    word_bits: Annotated[int, typer.Option(help="Of sram: bits of an access.")] = 64,
    banks: Annotated[int, typer.Option(help="Of sram: banks that share the capacity.")] = 1,
    ports: Annotated[int, typer.Option(help="Of sram: read-write ports.")] = 1,
    json: Json = False,
) -> None:
    """The curves of a device: bandwidth, latency, energy against what it is asked, beside their bounds."""
    from dse.cli.memory_kinds import check_options, device_kind

    kind = device_kind(device, "--device")
    check_options("characterise", kind, _given(ctx))
    from dse.cli.memory_characterise import CharacteriseOptions, run_characterise

    options = CharacteriseOptions(device, kind, mapping, ranks, node, word_bits, banks, ports)
    run_characterise(options, out=out, figure=figure, as_json=json)
