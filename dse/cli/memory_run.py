"""``tiercade memory run``: options become a device, a controller and requests; a run becomes a document."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dse.cli.amounts import bytes_of
from dse.cli.memory_device import choose_device
from dse.cli.output import print_document, write_text
from simulator.memory.dram.controller import Controller, check_controller
from simulator.memory.dram.device import Device
from simulator.memory.dram.mapping import Mapping, address_mapping
from simulator.memory.dram.patterns import PATTERNS, Geometry, Options, build_pattern
from simulator.memory.dram.streams import Stream
from simulator.memory.dram.tables import COMMANDS
from simulator.memory.dram.traces import read_trace
from workloads.errors import InfeasibleError, InputError

if TYPE_CHECKING:
    from simulator.memory.dram.explain import Explanation
    from simulator.memory.dram.run import Run

__all__ = ["MemoryOptions", "Prepared", "check_policies", "document", "machine", "prepare", "run_memory"]

_MOST_REQUESTS = 10**12
_MOST_CHANNELS = 1024
_REQUESTS = 100_000
_FLAGS = {"read_queue": "queue", "tries_per_tick": "tries", "interval_ticks": "interval", "region_bytes": "region"}
_FLAGS |= {"granule_bytes": "granule", "stride_bytes": "stride"}


@dataclass(frozen=True)
class MemoryOptions:
    """What was typed; None where the default depends on the rest."""

    device: str
    mapping: str
    channels: int
    ranks: int | None
    pattern: str | None
    trace: Path | None
    requests: int | None
    seed: int
    region: str | None
    granule: str | None
    streams: int | None
    stride: str | None
    indices: str | None
    write_every: int | None
    write_share: float | None
    queue: int
    write_queue: int | None
    write_high: float
    write_low: float
    scheduler: str
    hit_cap: int
    page: str
    timeout_ticks: int
    refresh: str
    postpone: int
    pull_in: int
    tries: int
    interval: int | None
    workers: int | None
    log: Path | None


@dataclass(frozen=True)
class Prepared:
    """The options resolved: everything a run takes."""

    device: Device
    controller: Controller
    mapping: Mapping
    channels: int
    stream: Stream
    count: int
    requests: str


def check_policies(given: Iterable[str], *, scheduler: str, page: str) -> None:
    """Raise `InputError` for a number that only another scheduler or page policy than the one chosen takes."""
    if "hit_cap" in given and scheduler != "capped":
        raise InputError(f"means nothing with scheduler {scheduler}", "--scheduler capped beside it", "--hit-cap")
    if "timeout_ticks" in given and page not in ("timeout", "adaptive"):
        expected = "--page timeout or --page adaptive beside it"
        raise InputError(f"means nothing with page policy {page}", expected, "--timeout-ticks")


def run_memory(options: MemoryOptions, *, as_json: bool) -> None:
    """Run, write the log if one was asked for, and print the result."""
    prepared = prepare(options)
    from simulator.memory.dram.run import explain_run, run

    shown = sys.stderr.isatty()
    if shown:
        print("loading compiled code (the first time it is compiled, 20 s)", end="", file=sys.stderr, flush=True)  # noqa: T201
    result = run(
        prepared.device,
        prepared.stream,
        prepared.controller,
        mapping=prepared.mapping,
        channels=prepared.channels,
        count=prepared.count,
        workers=options.workers,
        log=options.log is not None,
        progress=(lambda done: _show_progress(done, prepared.count)) if shown else None,
    )
    if shown:
        print("\r" + " " * 66 + "\r", end="", file=sys.stderr, flush=True)  # noqa: T201
    if options.log is not None:
        write_text(options.log, _log_text(result))
    found = document(result, explain_run(result, prepared.stream), prepared)
    if as_json:
        print_document(found)
    else:
        from dse.cli.memory_text import print_memory

        print_memory(found)


def _show_progress(done: int, count: int) -> None:
    print(f"\r{done:,} of {count:,} requests", end="", file=sys.stderr, flush=True)  # noqa: T201


def prepare(options: MemoryOptions) -> Prepared:
    """Resolve ``options``. Raises `InputError` that names the option, and `InfeasibleError` for too small a memory."""
    try:
        return _prepare(options)
    except InputError as error:
        field = _FLAGS.get(error.field or "", error.field or "")
        if field == "write_queue" and options.write_queue is None:
            field = "queue"
        if error.file is None and field in {option.name for option in fields(MemoryOptions)}:
            raise replace(error, field=f"--{field.replace('_', '-')}") from None
        raise


def _prepare(options: MemoryOptions) -> Prepared:
    if (options.pattern is None) == (options.trace is None):
        problem = "is missing" if options.pattern is None else "stands beside --trace"
        raise InputError(problem, "either --pattern or --trace", "pattern")
    if not 1 <= options.channels <= _MOST_CHANNELS or options.channels & (options.channels - 1):
        expected = f"a power of two from 1 to {_MOST_CHANNELS:,}"
        raise InputError(f"found {options.channels} channels", expected, "channels")
    if options.requests is not None and not 1 <= options.requests <= _MOST_REQUESTS:
        raise InputError(f"found {options.requests} requests", f"1 to {_MOST_REQUESTS:,}", "requests")
    if options.workers is not None and options.workers < 1:
        raise InputError(f"found {options.workers} workers", "at least 1", "workers")
    _check_output(options.log)
    device = choose_device(options.device, options.ranks, "--device")
    mapping = address_mapping(options.mapping, device, options.channels)
    controller = Controller(
        scheduler=options.scheduler,
        read_queue=options.queue,
        write_queue=options.queue if options.write_queue is None else options.write_queue,
        write_high=options.write_high,
        write_low=options.write_low,
        page=options.page,
        timeout_ticks=options.timeout_ticks,
        hit_cap=options.hit_cap,
        refresh=options.refresh,
        postpone=options.postpone,
        pull_in=options.pull_in,
        tries_per_tick=options.tries,
        interval_ticks=_interval(options),
    )
    check_controller(controller, device)
    capacity = device.capacity_bytes * options.channels
    made = _from_trace(options, device, capacity) if options.trace else _from_pattern(options, device, capacity)
    return Prepared(device, controller, mapping, options.channels, *made)


def _interval(options: MemoryOptions) -> int:
    if options.interval is not None:
        return options.interval
    return PATTERNS[options.pattern].interval_ticks if options.pattern in PATTERNS else 0


def _from_trace(options: MemoryOptions, device: Device, capacity_bytes: int) -> tuple[Stream, int, str]:
    assert options.trace is not None
    for name in ("region", "granule", "streams", "stride", "indices", "write_every", "write_share"):
        if getattr(options, name) is not None:
            raise InputError("means nothing for a trace", "--pattern beside it", name)
    trace = read_trace(options.trace, burst_bytes=device.burst_bytes, capacity_bytes=capacity_bytes)
    count = len(trace) if options.requests is None else options.requests
    if count > len(trace):
        raise InputError(f"found {count:,} requests", f"at most the {len(trace):,} of the trace", "requests")
    return trace, count, str(options.trace)


def _from_pattern(options: MemoryOptions, device: Device, capacity_bytes: int) -> tuple[Stream, int, str]:
    assert options.pattern is not None
    geometry = Geometry(device.burst_bytes, device.row_bytes, device.banks * options.channels, capacity_bytes)
    chosen = Options(
        region_bytes=_bytes(options.region, "region"),
        granule_bytes=_bytes(options.granule, "granule"),
        streams=options.streams,
        stride_bytes=_bytes(options.stride, "stride"),
        indices=None if options.indices is None else _indices(options.indices),
        seed=options.seed,
        write_every=options.write_every,
        write_share=options.write_share,
    )
    stream = build_pattern(options.pattern, geometry, chosen)
    count = _REQUESTS if options.requests is None else options.requests
    needed = stream.top_bytes(count)
    if needed > capacity_bytes:
        what = f"pattern {options.pattern} on {options.channels} channel{'s' if options.channels > 1 else ''}"
        hint = "fewer --requests, a smaller --region, or more --channels"
        raise InfeasibleError(f"{what} of {device.name}", needed, capacity_bytes, "bytes", hint)
    return stream, count, options.pattern


def _bytes(text: str | None, field: str) -> int | None:
    """A size with its unit, or a plain number of bytes."""
    if text is None:
        return None
    return bytes_of(text, field)


def _indices(text: str) -> tuple[int, ...]:
    """Whole numbers with commas or blanks between them, or a file of such."""
    words = text.replace(",", " ").split()
    if not all(word.isdecimal() for word in words):
        try:
            words = Path(text).read_text(encoding="utf-8").replace(",", " ").split()
        except UnicodeDecodeError:
            raise InputError("is not text", "whole numbers", file=text) from None
        except (OSError, ValueError) as error:
            problem = f"neither whole numbers nor a file: {getattr(error, 'strerror', None) or error}"
            raise InputError(f"{text[:60]!r} is {problem}", "I,J,... or a file of them", "indices") from None
    for word in words:
        if not word.isdecimal() or len(word) > 18:
            raise InputError(f"found {word[:40]!r}", "whole numbers of 0 or more", "indices")
    return tuple(int(word) for word in words)


def _check_output(path: Path | None) -> None:
    """Refuse before a long run what could not be written after it."""
    if path is not None and path.is_dir():
        raise InputError("is a folder", expected="a file name", file=str(path))
    if path is not None and not path.parent.is_dir():
        raise InputError("its folder does not exist", expected="a file in an existing folder", file=str(path))


def machine(prepared: Prepared) -> dict[str, Any]:
    """The machine that ran, as it was resolved."""
    device, controller = prepared.device, prepared.controller
    ranks = device.shape[0]
    return {
        "device": device.name,
        "standard": device.standard,
        "channels": prepared.channels,
        "ranks": ranks if device.rank_name == "rank" else 1,
        "pseudochannels": ranks if device.rank_name == "pseudochannel" else 1,
        "banks": device.banks,
        "rows": device.rows,
        "row_bytes": device.row_bytes,
        "bursts_per_row": device.bursts_per_row,
        "burst_bytes": device.burst_bytes,
        "capacity_bytes": device.capacity_bytes * prepared.channels,
        "peak_bytes_per_s": device.peak_bytes_per_s * prepared.channels,
        "tick_ns": device.tick_s * 1e9,
        "mapping": {"name": prepared.mapping.name, "bits": str(prepared.mapping)},
        "queues": {"read": controller.read_queue, "write": controller.write_queue},
        "write_high": controller.write_high,
        "write_low": controller.write_low,
        "scheduler": controller.scheduler,
        "hit_cap": controller.hit_cap if controller.scheduler == "capped" else None,
        "page": controller.page,
        "timeout_ticks": controller.timeout_ticks if controller.page in ("timeout", "adaptive") else None,
        "refresh": controller.refresh,
        "postpone": controller.postpone,
        "pull_in": controller.pull_in,
        "tries_per_tick": controller.tries_per_tick,
        "interval_ticks": controller.interval_ticks,
    }


def document(result: Run, why: Explanation, prepared: Prepared) -> dict[str, Any]:
    """The result as one JSON document: figures, counts over all channels, and the machine."""
    count, outcomes = prepared.count, result.outcomes
    energy = result.energy
    return {
        "requests": count,
        "reads": sum(outcome.reads for outcome in outcomes),
        "writes": sum(outcome.writes for outcome in outcomes),
        "source": prepared.requests,
        "cycles": result.cycles,
        "seconds": result.seconds,
        "bandwidth_bytes_per_s": result.bandwidth_bytes_per_s,
        "fraction_of_peak": result.fraction_of_peak,
        "mean_read_latency_cycles": result.mean_read_latency_cycles,
        "accepted_cycles": result.accepted_cycles,
        "row_hit_rate": result.row_hit_rate,
        "row_hits": sum(outcome.hits for outcome in outcomes),
        "row_misses": sum(outcome.misses for outcome in outcomes),
        "row_conflicts": sum(outcome.conflicts for outcome in outcomes),
        "forwarded_reads": sum(outcome.forwarded for outcome in outcomes),
        "merged_writes": sum(outcome.merged for outcome in outcomes),
        "energy_j": None if energy is None else energy.total_j,
        "energy_by_part_j": None if energy is None else asdict(energy),
        "energy_source": None if prepared.device.energy is None else prepared.device.energy.source,
        "commands": result.commands,
        "why": {
            "text": str(why),
            "busy_fraction": why.busy_ticks / max(1, why.total_ticks),
            "lost_fraction": {cause: ticks / why.total_ticks for cause, ticks in why.lost_ticks.items()},
        },
        "cpu_s": result.cpu_s,
        "requests_per_cpu_s": count / result.cpu_s if result.cpu_s > 0 else None,
        "requests_not_simulated": result.skipped_requests,
        "machine": machine(prepared),
    }


def _log_text(result: Run) -> str:
    """The commands as CSV, channel by channel in the order sent; fields that mean nothing for a command are empty."""
    lines = ["channel,tick,command,rank,bank,row"]
    for channel, log in enumerate(result.logs):
        columns = (log.tick.tolist(), log.command.tolist(), log.rank.tolist(), log.bank.tolist(), log.row.tolist())
        for tick, command, rank, bank, row in zip(*columns, strict=True):
            where = ",".join("" if number < 0 else str(number) for number in (rank, bank, row))
            lines.append(f"{channel},{tick},{COMMANDS[command]},{where}")
    return "\n".join(lines) + "\n"
