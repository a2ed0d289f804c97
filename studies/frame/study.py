"""A study: what a system claims, the machine, workload and policy it is rebuilt with, and the published numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hw.spec.source import SOURCE_KINDS
from studies.frame.constants import Constant
from workloads.errors import InputError, unknown_name

__all__ = ["Config", "Key", "Metric", "Miss", "Published", "Study", "Value"]

Value = str | int | float | bool
Config = Mapping[str, Value]
"""A value for every key of a study."""


@dataclass(frozen=True)
class Key:
    """What ``--config`` may set: its default, and either its ``choices`` or a range from ``low`` to ``high``."""

    default: Value
    description: str
    choices: tuple[Value, ...] | None = None
    low: float | None = None
    high: float | None = None

    @property
    def range_text(self) -> str:
        """What it may be, in words."""
        if self.choices is not None:
            return ", ".join(str(choice) for choice in self.choices)
        kind = "whole" if isinstance(self.default, int) else "any"
        return f"{kind} number from {self.low:,.10g} to {self.high:,.10g}"

    def read(self, name: str, text: str) -> Value:
        """The value written as ``text``. Raises `InputError` where it is not one of this key."""
        if self.choices is not None:
            for choice in self.choices:
                if str(choice).lower() == text.lower():
                    return choice
            raise unknown_name(f"value of {name}", text, [str(c) for c in self.choices], field=f"--config {name}")
        try:
            value: float = int(text) if isinstance(self.default, int) else float(text)
        except ValueError:
            raise InputError(f"found {text!r}", self.range_text, f"--config {name}") from None
        self.check(name, value)
        return value

    def check(self, name: str, value: Value) -> None:
        """Raise `InputError` where ``value`` is not one of this key."""
        if self.choices is not None:
            good = value in self.choices
        else:
            assert self.low is not None
            assert self.high is not None
            good = isinstance(value, int | float) and self.low <= value <= self.high
        if not good:
            raise InputError(f"found {value}", self.range_text, f"--config {name}")


@dataclass(frozen=True)
class Metric:
    """What a study simulates: in ``unit`` (SI; empty for ratios and counts), resting on the constants it names."""

    description: str
    unit: str = ""
    constants: tuple[str, ...] = ()


@dataclass(frozen=True)
class Published:
    """A published number: of ``metric``, where keys are as in ``config`` and the others at their defaults.

    ``source`` says where it stands. ``calibrates``: a constant was fitted to it, so it is no prediction.
    """

    metric: str
    config: Config
    value: float
    source: str
    calibrates: bool = False


@dataclass(frozen=True)
class Miss:
    """Metrics with rows that miss by more than a quarter: ``why``, and an ``experiment`` that shows it, which says in a
    sentence or more what came out, with the numbers."""

    metrics: tuple[str, ...]
    why: str
    experiment: Callable[[], str]


@dataclass(frozen=True)
class Study:
    """``simulate`` takes a value of every key and gives those metrics that can be had there, in SI units. Nothing in it
    is a formula for a published result: it builds a machine, a workload and a policy, and asks the simulator.

    ``notes`` gives more Markdown for the page, numbers computed. ``misses`` must name every metric of which a row
    misses by more than a quarter.
    """

    title: str
    claim: str
    source: str
    machine: str
    workload: str
    policy: str
    baseline: str
    keys: Mapping[str, Key]
    constants: Mapping[str, Constant]
    metrics: Mapping[str, Metric]
    published: Sequence[Published]
    simulate: Callable[[Config], Mapping[str, float]]
    misses: tuple[Miss, ...] = ()
    notes: Callable[[], Sequence[str]] | None = None
    name: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        for metric in self.metrics.values():
            for constant in metric.constants:
                if constant not in self.constants:
                    raise unknown_name("constant", constant, self.constants, field="metrics")
        for row in self.published:
            if row.metric not in self.metrics:
                raise unknown_name("metric", row.metric, self.metrics, field="published")
            self.config(row.config)
        for miss in self.misses:
            for name in miss.metrics:
                if name not in self.metrics:
                    raise unknown_name("metric", name, self.metrics, field="misses")

    def config(self, some: Mapping[str, Any]) -> dict[str, Value]:
        """A value for every key: those of ``some``, else the defaults. Raises `InputError`."""
        for name, value in some.items():
            if name not in self.keys:
                raise unknown_name("key", name, self.keys, field="--config")
            self.keys[name].check(name, value)
        return {name: some.get(name, key.default) for name, key in self.keys.items()}

    def read_config(self, texts: Sequence[str]) -> dict[str, Value]:
        """The keys set in texts such as ``batch=8,window=5``. Raises `InputError`."""
        found: dict[str, Value] = {}
        for part in (part for text in texts for part in text.split(",")):
            name, equals, value = part.partition("=")
            if not equals:
                raise InputError(f"found {part!r}", "key=value", "--config")
            if name.strip() not in self.keys:
                raise unknown_name("key", name.strip(), self.keys, field="--config")
            found[name.strip()] = self.keys[name.strip()].read(name.strip(), value.strip())
        return found

    def inputs(self, metric: str) -> str:
        """The kinds of the constants that a metric rests on, in the order of `SOURCE_KINDS`."""
        kinds = {self.constants[name].kind for name in self.metrics[metric].constants}
        return ", ".join(kind for kind in SOURCE_KINDS if kind in kinds)
