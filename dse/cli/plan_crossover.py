"""What ``tiercade plan crossover`` does: three answers about what leaves a device, as table, document and figure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dse.cli.amounts import bytes_of, count_of
from dse.cli.output import check_figure, print_document, write_figure
from dse.cli.plan_crossover_text import report
from dse.cli.simulate import choose_model, choose_system
from mappers.map_workload import FIDELITIES
from simulator.training.offload.crossover_curves import (
    Answers,
    DriveAnswer,
    HostAnswer,
    Question,
    UpdateAnswer,
    crossovers,
)
from simulator.training.offload.crossovers import HidePoint
from simulator.training.offload.update_crossovers import HOST_ADAM_SHARE, UpdateTimes
from workloads.errors import InputError, unknown_name

__all__ = ["CrossoverOptions", "run_crossover"]

_TOKENS = "a number of tokens, such as 8192 or 8Ki"
_RANGE = "two numbers of tokens that rise, such as 1Ki..1Mi"
_FIELDS = {
    "low": "--context-range",
    "phase": "--model",
    "context": "--context",
    "devices": "--devices",
    "adam_share": "--adam-share",
    "system": "--system",
    "fidelity": "--fidelity",
}
_MOST_TOKENS = 1 << 24
_MOST_BATCHES = 6
"""As many curves as have colours of their own."""


@dataclass(frozen=True)
class CrossoverOptions:
    """The arguments of ``plan crossover`` as they were typed."""

    model: str
    system: str
    devices: int | None = None
    fidelity: str = "roofline"
    context_range: str = "1Ki..1Mi"
    context: str = "8Ki"
    batch: str = "1,4,16"
    adam_share: float | None = None
    share: float = 0.05
    drive_writes: str | None = None
    changes: tuple[str, ...] = ()
    figure: Path | None = None


def run_crossover(options: CrossoverOptions, *, as_json: bool) -> int:
    """Find the three answers, draw them where asked for, print them."""
    if options.figure is not None:
        check_figure(options.figure)
    question = _question(options)
    try:
        answers = crossovers(question)
    except InputError as error:
        if error.field not in _FIELDS or error.file is not None:
            raise
        longer = error.field == "context" and question.context_range[1] > question.context
        raise replace(error, field="--context-range" if longer else _FIELDS[error.field]) from None
    if options.figure is not None:
        from dse.reports.figures.crossovers import crossovers_figure

        write_figure(crossovers_figure(answers), options.figure)
    if as_json:
        print_document(document(answers))
    else:
        print(report(answers))  # noqa: T201
    return 0


def _question(options: CrossoverOptions) -> Question:
    if options.fidelity not in FIDELITIES:
        raise unknown_name("fidelity", options.fidelity, FIDELITIES, field="--fidelity")
    context = count_of(options.context, "--context", _TOKENS)
    low, dots, high = options.context_range.partition("..")
    if not dots:
        raise InputError(f"found {options.context_range[:40]!r}", _RANGE, "--context-range")
    ends = [count_of(text, "--context-range", _RANGE) for text in (low, high)]
    for tokens, option in ((context, "--context"), (max(ends), "--context-range")):
        if tokens > _MOST_TOKENS:
            raise InputError(f"found {tokens:,} tokens", f"at most {_MOST_TOKENS:,}", option)
    model = choose_model(options.model)
    if not 0 < options.share < 1:
        raise InputError(f"found {options.share:g}", "a share above 0 and below 1", "--share")
    if ends[0] > ends[1]:
        raise InputError(f"found {ends[0]:,} to {ends[1]:,}", _RANGE, "--context-range")
    return Question(
        model,
        choose_system(options.system, options.changes, options.devices),
        (ends[0], ends[1]),
        context,
        _batches(options.batch),
        options.fidelity,
        HOST_ADAM_SHARE if options.adam_share is None else options.adam_share,
        options.share,
        None if options.drive_writes is None else float(bytes_of(options.drive_writes, "--drive-writes", most=2**80)),
    )


def _batches(text: str) -> tuple[int, ...]:
    expected = f"1 to {_MOST_BATCHES} numbers of sequences, such as 1,4,16"
    found = tuple(sorted({count_of(part.strip(), "--batch", expected) for part in text.split(",")}))
    if len(found) > _MOST_BATCHES or found[-1] > 1 << 16:
        raise InputError(f"found {text[:40]!r}", expected, "--batch")
    return found


def document(answers: Answers) -> dict[str, Any]:
    """The answers as plain values."""
    question, machine = answers.question, answers.machine
    return {
        "model": question.model.name,
        "system": machine.name,
        "devices": machine.devices,
        "fidelity": question.fidelity,
        "context_range": list(question.context_range),
        "context": question.context,
        "batches": list(question.batches),
        "host": _host(answers.host),
        "drives": None if answers.drive is None else _drive(answers.drive),
        "update": _update(answers.update, question),
        "sources": {**machine.sources, **_SOURCES},
    }


_SOURCES = {
    "host": "stated: what a layer keeps leaves during one layer's forward pass, MEMO (arXiv 2407.12117)",
    "drives": "stated: what layers keep leaves and comes back in both passes, SSDTrain (arXiv 2408.10013, III-D)",
    "adam_share": "derived: ZeRO-Offload (arXiv 2101.06840), table 4, as recalled: 10 B parameters in 2.57 s at 12 "
    "channels of DDR4-2666; --adam-share",
    "subgroups": "synthetic: 1e8 parameters each, at most 64; two at once on the device",
    "split": "synthetic: tensor and sequence parallelism over all devices",
}


def _points(points: tuple[HidePoint, ...]) -> list[dict[str, Any]]:
    return [
        {
            **vars(point),
            "forward_bytes_per_s": point.needed_bytes_per_s("forward"),
            "step_bytes_per_s": point.needed_bytes_per_s(),
        }
        for point in points
    ]


def _host(host: HostAnswer) -> dict[str, Any]:
    return {
        "tier": host.name,
        "link_bytes_per_s": host.link_bytes_per_s,
        "capacity_bytes": host.capacity_bytes,
        "ways": [
            {
                "checkpoint": way.checkpoint,
                "fidelity": way.fidelity,
                "hides_from": host.hides_from[way],
                "host_full_from": host.full_from[way],
                "points": _points(points),
                "by_batch": _points(host.by_batch[way]),
                "by_link": [
                    {"link_bytes_per_s": rate, "hides_from": context} for rate, context in host.by_link.get(way, ())
                ],
            }
            for way, points in host.curves.items()
        ],
    }


def _drive(drive: DriveAnswer) -> dict[str, Any]:
    return {
        "tier": drive.name,
        "write_bytes_per_s": drive.write_bytes_per_s,
        "rated_bytes": drive.rated_bytes,
        "hides_from": drive.hides_from,
        "by_batch": _points(drive.by_batch),
        "years_by_batch": [drive.years(point) for point in drive.by_batch],
        "by_width": {str(batch): _points(points) for batch, points in drive.by_width.items()},
        "by_context": _points(drive.by_context),
        "years_by_context": [drive.years(point) for point in drive.by_context],
    }


def _times(times: UpdateTimes) -> dict[str, Any]:
    return {**{name: value for name, value in vars(times).items() if name != "rates"}, **vars(times.rates)}


def _update(update: UpdateAnswer, question: Question) -> dict[str, Any]:
    return {
        "parameters": update.parameters,
        "pass_s_per_sequence": update.pass_s,
        "share": question.share,
        "sequences_for_share": update.sequences,
        "here": _times(update.times),
        "streaming_wins_from_bytes_per_s": update.streaming_wins_from,
        "host_wins_from_bytes_per_s": update.host_wins_from,
        "by_link": [_times(times) for times in update.by_link],
        "by_host_memory": [_times(times) for times in update.by_host],
    }
