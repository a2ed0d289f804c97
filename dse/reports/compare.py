"""Two results as rows with a ratio: what they share in meaning, not in the names of their parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dse.reports.names import charge_kind
from dse.reports.summary import latency_name
from dse.reports.units_text import bytes_text, engineering, joules_text, number_text, ratio_text, seconds_text
from simulator.result import Result

__all__ = ["ComparisonRow", "comparison", "result_labels"]

_HOME = "memory computed on"
_GROUPS = {
    "engine": "computing",
    "tier": "other memory",
    "link": "links between tiers",
    "fabric": "fabric between devices",
    "overhead": "overhead",
    "idle": "idle",
    "other": "other",
}


_PHASE = 2


@dataclass(frozen=True)
class ComparisonRow:
    """One quantity of two results: both values with units, and how many times the first value the second is.

    A row without values heads the ``inset`` rows after it.
    """

    name: str
    values: tuple[str, ...] = ()
    ratio: str = ""
    inset: bool = False


def result_labels(results: Sequence[Result]) -> tuple[str, ...]:
    """A short name for each result: as much as tells them apart, its phase if they differ in it.

    Two systems running one model are ``('h100-sxm', 'laptop-nvme')``, two phases on one ``('prefill', 'decode')``.
    """
    aspects = [
        [result.system for result in results],
        [result.model for result in results],
        [result.phase for result in results],
        [f"batch {result.batch:,}" for result in results],
        [f"context {result.context:,}" for result in results],
        [f"{result.devices} devices" for result in results],
        [f"{result.formats.get('weights', '')} weights" for result in results],
    ]
    differing = [aspect for aspect in aspects if len(set(aspect)) > 1] or [aspects[0]]
    chosen = differing[:1]
    for aspect in differing[1:]:
        if aspect is aspects[_PHASE] or len(set(zip(*chosen, strict=True))) < len(results):
            chosen.append(aspect)
    return tuple(", ".join(parts) for parts in zip(*chosen, strict=True))


def comparison(first: Result, second: Result) -> tuple[ComparisonRow, ...]:
    """The rows of a comparison: headline, time by what bounds it, memory."""
    pair = (first, second)
    same_phase = first.phase == second.phase
    rows = [
        _row(latency_name(first) if same_phase else "time per step", [r.latency_s for r in pair], seconds_text),
        _row("tokens per second", [r.tokens_per_s for r in pair], number_text),
        _row("energy per token", [r.total_energy_j / r.tokens for r in pair], joules_text),
        _row("mean power", [r.total_energy_j / r.latency_s for r in pair], lambda power: engineering(power, "W")),
        _row("lower bound of the latency", [r.bounds.latency_s for r in pair], seconds_text),
        ComparisonRow("Time by what bounds it"),
    ]
    grouped = [_by_group(result) for result in pair]
    for group in (_HOME, *_GROUPS.values()):
        seconds = [times.get(group, 0.0) for times in grouped]
        if any(share > 5e-4 for share in (s / r.latency_s for s, r in zip(seconds, pair, strict=True))):
            rows.append(_row(group, seconds, seconds_text, inset=True))
    rows.append(ComparisonRow("Memory" + (" per device" if any(r.devices > 1 for r in pair) else "")))
    stored = [_stored_bytes(result) for result in pair]
    rows.append(_row("tensors in the memory computed on", [in_home for in_home, _ in stored], bytes_text, inset=True))
    rows.append(_row("tensors elsewhere", [elsewhere for _, elsewhere in stored], bytes_text, inset=True))
    return tuple(rows)


def _row(name: str, numbers: Sequence[float], text: Callable[[float], str], *, inset: bool = False) -> ComparisonRow:
    values = tuple(text(number) if number else "-" for number in numbers)
    ratio = ratio_text(numbers[1] / numbers[0]) if all(numbers) else "-"
    return ComparisonRow(name, values, ratio, inset)


def _by_group(result: Result) -> dict[str, float]:
    times: dict[str, float] = {}
    for name, seconds in result.time_by_bound_s.items():
        group = _HOME if name == _home(result) else _GROUPS[charge_kind(result, name)]
        times[group] = times.get(group, 0.0) + seconds
    return times


def _home(result: Result) -> str:
    """The tier most operations compute on, which the placement fills first."""
    return next(iter(result.capacity_bytes))


def _stored_bytes(result: Result) -> tuple[float, float]:
    """Bytes of placed tensors in the home tier, and in all others."""
    home = _home(result)
    in_home = sum(tiers.get(home, 0.0) for tiers in result.placement_bytes.values())
    return in_home, sum(sum(tiers.values()) for tiers in result.placement_bytes.values()) - in_home
