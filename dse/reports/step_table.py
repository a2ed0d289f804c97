"""A training step over many devices as text: rates, where its time goes, what its devices hold."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TextIO

from dse.reports.table import print_rows, print_text
from dse.reports.units_text import bytes_text, engineering, joules_text, number_text, percent_text, seconds_text
from simulator.training.step.result import StepResult

__all__ = ["print_step", "step_text"]

_TIMES = {
    "kernels": "kernels",
    "exchange": "exchanges within passes",
    "sharing": "weights, gradients, activations on their way",
    "waiting": "waiting for other stages",
    "update": "update",
}
_MOST_STAGES = 8


def print_step(result: StepResult, *, stream: TextIO | None = None) -> None:
    """Print the step in full, on standard output unless a ``stream`` is given."""
    print_text(step_text(result), stream=stream)


def step_text(result: StepResult) -> str:
    """The step in full as plain text."""
    lines = [
        f"{result.model}, train, {_count(result.global_batch, 'sequence')} of {result.context:,} tokens",
        f"on {result.devices:,} × {result.system}, {result.fidelity} fidelity, {result.layout}",
        "",
        *(f"{name:<30}{text}" for name, text in _figures(result).items()),
        "",
        _rows_text(
            [
                {
                    "Where the time goes": _TIMES.get(name, name),
                    "time": seconds_text(seconds),
                    "share": percent_text(seconds / result.latency_s),
                }
                for name, seconds in result.time_s.items()
                if seconds > 0
            ]
        ),
        _rows_text(_stages(result)).rstrip("\n"),
    ]
    for tier, size in result.memory[result.fullest].elsewhere:
        lines.append(f"in {tier}: {bytes_text(size)} of {bytes_text(result.capacity_bytes[tier])}")
    if result.notes:
        lines += ["", "Notes", *(f"  {note}" for note in result.notes)]
    return "\n".join(lines) + "\n"


def _count(number: int, what: str, plural: str = "s") -> str:
    return f"{number:,} {what}{plural if number != 1 else ''}"


def _rows_text(rows: list[dict[str, str]]) -> str:
    stream = io.StringIO()
    print_rows(rows, stream=stream)
    return stream.getvalue()


def _figures(result: StepResult) -> dict[str, str]:
    each = f"{_count(result.micro_batches, 'micro-batch', 'es')} of {result.micro_batch:,}"
    energy = result.total_energy_j
    power_w = energy / result.latency_s
    return {
        "time per step": seconds_text(result.latency_s),
        "tokens per second": f"{number_text(result.tokens_per_s)}, "
        f"{number_text(result.tokens_per_s_per_device)} a device",
        "model FLOPs utilisation (MFU)": f"{100 * result.mfu:.1f} %",
        "energy per token": f"{joules_text(energy / result.tokens)} (mean power {engineering(power_w, 'W')})",
        "pipeline": f"{each} a replica, {result.schedule}, bubble {percent_text(result.bubble_share)}",
        "a device sends, in a step": ", ".join(
            f"{bytes_text(size)} of {name}" for name, size in result.sent_bytes.items() if size
        )
        or "no weights or gradients",
    }


def _stages(result: StepResult) -> list[dict[str, str]]:
    """By stage what a device holds; of many stages the first, the fullest and the last."""
    count = len(result.memory)
    shown: Sequence[int] = range(count)
    if count > _MOST_STAGES:
        shown = sorted({*range(3), result.fullest, count - 1})
    capacity = result.capacity_bytes[result.home]
    rows = []
    for stage in shown:
        memory = result.memory[stage]
        held = sorted(memory.parts().items(), key=lambda part: -part[1])
        rows.append(
            {
                f"{result.home} of a device": f"stage {stage}" if count > 1 else "all",
                "peak": bytes_text(memory.total),
                "capacity": bytes_text(capacity),
                "share": percent_text(memory.total / capacity),
                "contents": ", ".join(f"{name} {bytes_text(size)}" for name, size in held if size),
            }
        )
    return rows
