"""``tiercade memory run | show``: requests through a memory, command by command; and what a device consists of."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["app"]

app = typer.Typer(
    name="memory",
    help="Memory devices: their timing, and runs of requests through their controllers.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

DEVICE = "A name from 'tiercade list devices' or 'list drives', or a YAML file."
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
Ranks = Annotated[int | None, typer.Option(help="Ranks of a channel, instead of the device's.")]


@app.command("run")
def run_requests(
    device: Annotated[str, typer.Option(metavar="NAME|FILE", help=DEVICE)],
    mapping: Annotated[
        str, typer.Option(help="RoBaRaCoCh, MOP4CLXOR..., an order such as rorabacobgch, or a matrix co0=0,bg0=1^9,...")
    ] = "MOP4CLXOR",
    channels: Annotated[int, typer.Option(help="Equal channels that share the addresses.")] = 1,
    ranks: Ranks = None,
    pattern: Annotated[
        str | None,
        typer.Option(
            help="seq, rand, stride_bank, stride_row, mix21, streams..., sequential, strided, random, gather."
        ),
    ] = None,
    trace: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A trace: lines of LD or ST and an address.")
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
    json: Json = False,
) -> None:
    """Run requests through a memory or a drive, and say how long they take and what they cost.

    Drives (ssd-..., ufs...) take the patterns rand-read, seq-read, rand-write and seq-write.
    """
    from dse.cli.memory_drive import DriveOptions, is_drive, refuse_for_dram, run_drive

    asked = DriveOptions(device, pattern, size, queue_depth, seconds, occupancy, ideal_mapping, requests, seed)
    if is_drive(device):
        run_drive(asked, as_json=json)
        return
    refuse_for_dram(asked)
    from dse.cli.memory_run import MemoryOptions, run_memory

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
    device: Annotated[
        str, typer.Argument(metavar="NAME|FILE", help="A name from 'tiercade list devices', or a YAML file.")
    ],
    ranks: Ranks = None,
    json: Json = False,
) -> None:
    """Print a device: its levels, its timings, and every constraint between its commands."""
    from dse.cli.memory_device import run_show

    run_show(device, ranks, as_json=json)
