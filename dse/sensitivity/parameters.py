"""The numbers of a machine, found by walking its description: every quantity with a unit, under the path that sets it.

Nothing is listed by hand: a field of a component is a parameter where its type is a quantity (`hw.spec.quantity`). Left
out are fields that are not given or zero (nothing can be a percentage of them), whole numbers (one percent of a device
is none), and rates worked out of a stated clock of hardware units: there the clock is the parameter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic.fields import FieldInfo

from hw.spec.component import Component
from hw.spec.load import override, override_values
from hw.spec.quantity import (
    BANDWIDTH,
    BYTES,
    ENERGY_PER_BIT,
    ENERGY_PER_OPERATION,
    FREQUENCY,
    OPERATION_RATE,
    POWER,
    SECONDS,
    Dimension,
    format_quantity,
)
from hw.spec.rtl_engine import DERIVED_FROM_UNIT
from hw.spec.system import Engine, System
from workloads.errors import InputError, nearest_name, unknown_name

__all__ = ["WAYS", "Change", "Parameter", "changed", "parameters_of", "read_change"]

SECONDS_IN = {BANDWIDTH: -1, OPERATION_RATE: -1, FREQUENCY: -1, POWER: -1, SECONDS: 1}
"""The power of seconds in a dimension's unit; 0 of the others."""

JOULES_IN = {ENERGY_PER_BIT: 1, ENERGY_PER_OPERATION: 1, POWER: 1}
"""The power of joules in a dimension's unit; 0 of the others."""

WAYS = "+20%, -20%, x2, or a value with its unit"
"""How a change is written."""


@dataclass(frozen=True)
class Parameter:
    """One number of a machine: its ``path`` as ``--set`` takes it, its ``value`` in the SI unit of ``dimension``."""

    path: str
    value: float
    dimension: Dimension

    @property
    def text(self) -> str:
        """The value with its unit."""
        return self.text_of(self.value)

    def text_of(self, value: float) -> str:
        """Another value with this parameter's unit, to four digits."""
        return format_quantity(float(f"{value:.4g}"), self.dimension)

    @property
    def seconds(self) -> int:
        """The power of seconds in its unit: -1 of rates and powers, 1 of times, else 0."""
        return SECONDS_IN.get(self.dimension, 0)

    @property
    def joules(self) -> int:
        """The power of joules in its unit: 1 of energies and powers, else 0."""
        return JOULES_IN.get(self.dimension, 0)

    @property
    def is_size(self) -> bool:
        """Whether it is a number of bytes: a capacity, a granularity."""
        return self.dimension is BYTES


def parameters_of(system: System) -> tuple[Parameter, ...]:
    """Every parameter of ``system``, component by component."""
    return tuple(
        found
        for path, component in system.components()
        for found in _of_component(f"{path}." if path else "", component)
    )


def _of_component(prefix: str, component: Component) -> Iterator[Parameter]:
    for name, field in type(component).model_fields.items():
        dimension = _dimension(field)
        if dimension is None or _follows_clock(component, field.alias or name):
            continue
        value, path = getattr(component, name), prefix + (field.alias or name)
        pairs = value.items() if isinstance(value, Mapping) else [("", value)]
        for key, number in pairs:
            if number:
                yield Parameter(f"{path}.{key}" if key else path, number, dimension)


def _follows_clock(component: Component, alias: str) -> bool:
    if not isinstance(component, Engine) or component.rtl is None or component.rtl.clock_hz is None:
        return False
    return str(component.sources.get(alias, "")) == DERIVED_FROM_UNIT


def _dimension(field: FieldInfo) -> Dimension | None:
    """The dimension of a field's numbers; None of fields that hold something else."""
    return _dimension_in([*field.metadata, field.annotation])


def _dimension_in(parts: Sequence[Any]) -> Dimension | None:
    for part in parts:
        found = getattr(part, "dimension", None)
        if isinstance(found, Dimension):
            return found
        inner = _dimension_in([*getattr(part, "__metadata__", ()), *get_args(part)])
        if inner is not None:
            return inner
    return None


@dataclass(frozen=True)
class Change:
    """A change of a machine as it was asked for: ``text``; the ``system`` with it; and what is ``said`` of it."""

    text: str
    system: System
    said: str


def read_change(system: System, text: str, field: str = "--what-if") -> Change:
    """``system`` with ``hbm.bandwidth=+20%``, ``tensor.throughput=x2``, ``devices=4`` or ``hbm.latency='200 ns'`` done.

    ``engines.``, ``tiers.`` and ``links.`` may be left out: names are of one part each. A percentage or a factor of a
    field with several numbers (the throughput of an engine, the bandwidth of a tier) is of each of them. Raises
    `InputError` for what does not exist, and for values that are none or that the machine does not allow.
    """
    path, equals, wanted = (part.strip() for part in text.partition("="))
    if not equals or not path or not wanted:
        raise InputError(f"found {text!r}", f"PATH=CHANGE, such as 'hbm.bandwidth=+20%'; a change is {WAYS}", field)
    full = _full_path(system, path, field)
    factor = _factor(wanted, f"{field} {path}")
    try:
        if factor is None:
            made = override(system, [f"{full}={wanted}"])
        else:
            made = override_values(system, _scaled(system, full, factor, field))
    except InputError as error:
        if error.field and error.field.startswith(field):
            raise
        where = f"{field} {error.field or ''}".rstrip()
        raise InputError(error.problem, error.expected, where, nearest=error.nearest) from None
    return Change(text, made, _said(system, made, full))


def changed(system: System, parameters: Sequence[Parameter], factor: float) -> System:
    """``system`` with each of ``parameters`` times ``factor``."""
    return override_values(system, {each.path: each.value * factor for each in parameters})


def _full_path(system: System, path: str, field: str) -> str:
    first, _, rest = path.partition(".")
    if first in type(system).model_fields or first == "static_power":
        return path
    # No two parts of a machine have one name.
    group = next((name for name in ("engines", "tiers", "links") if first in getattr(system, name)), None)
    if group and rest:
        return f"{group}.{path}"
    names = [*system.engines, *system.tiers, *system.links, *(each.path for each in parameters_of(system)), "devices"]
    if group:
        raise unknown_name("parameter", path, [n for n in names if n.startswith(f"{group}.{path}.")], field=field)
    found = unknown_name("parameter", path if "." not in path else first, names, field=field)
    raise InputError(
        found.problem, "an engine, tier or link of the machine, a dot and its field", field, nearest=found.nearest
    )


def _factor(wanted: str, field: str) -> float | None:
    """By how much it is multiplied; None where ``wanted`` is a value."""
    relative, number = None, ""
    if wanted.endswith("%"):
        relative, number = "%", wanted[:-1]
    elif wanted[0] in "x×*":
        relative, number = "x", wanted[1:]
    if relative is None:
        return None
    try:
        value = float(number)
    except ValueError:
        value = float("nan")
    signed = number.strip()[:1] in ("+", "-")
    factor = value if relative == "x" else 1 + value / 100
    if not 0 < factor < float("inf") or signed != (relative == "%"):
        raise InputError(f"found {wanted!r}", f"one of {WAYS}, with something left of it", field)
    return factor


def _scaled(system: System, path: str, factor: float, field: str) -> dict[str, float]:
    """The values of every number at or below ``path``, times ``factor``."""
    known = parameters_of(system)
    ends = ("read_bandwidth", "write_bandwidth")
    pairs = {f"tiers.{name}.bandwidth": [f"tiers.{name}.{end}" for end in ends] for name in system.tiers}
    wanted = tuple(pairs.get(path, [path]))
    found = {p.path: p.value * factor for p in known if p.path in wanted or p.path.startswith(f"{path}.")}
    if found and path not in dict(system.components()):
        return found
    whole = _whole_number(system, path)
    if whole is not None:
        if not (whole * factor).is_integer():
            raise InputError(f"{factor:g} times {whole} is no whole number", "a whole number", f"{field} {path}")
        return {path: int(whole * factor)}
    below = [each.path for each in known if each.path.startswith(f"{path}.")]
    names = below or [each.path for each in known] + list(pairs)
    raise InputError(
        f"{path!r} is no number that can be scaled",
        "a number of the machine that is not zero, by its path as --set takes it",
        field,
        nearest=below[0] if below else nearest_name(path, names),
    )


def _whole_number(system: System, path: str) -> int | None:
    """The field at ``path`` where it is a whole number, such as ``devices`` or ``engines.array.array.rows``."""
    at: Any = system
    for part in path.split("."):
        at = at.get(part) if isinstance(at, Mapping) else getattr(at, part, None)
    return at if isinstance(at, int) and not isinstance(at, bool) else None


def _said(before: System, after: System, path: str) -> str:
    """``bandwidth 3.35 TB/s -> 4.02 TB/s``: what the change made of which number; the path where that is none."""
    old = {each.path: each for each in parameters_of(before)}
    new = {each.path: each for each in parameters_of(after)}
    moved = [name for name in new if name in old and new[name].value != old[name].value]
    said = {f"{old[name].text} -> {new[name].text}" for name in moved}
    if len(said) == 1:
        return f"{path}: {said.pop()}"
    if moved:
        factors = {f"{new[name].value / old[name].value:.4g}" for name in moved}
        each = f"times {factors.pop()}" if len(factors) == 1 else " and ".join(sorted(said))
        return f"{path}: {len(moved)} numbers, {each}"
    count = _whole_number(before, path)
    return path if count is None else f"{path}: {count} -> {_whole_number(after, path)}"
