"""One parameter of a space: its values in order, and when it plays a part at all."""

from __future__ import annotations

import math
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hw.spec.quantity import BANDWIDTH, BYTES, FREQUENCY, OPERATION_RATE, POWER, SECONDS, parse_quantity
from workloads.errors import InputError
from workloads.validation import field_error

__all__ = ["Parameter", "Value", "number_of"]

Value = int | float | str | bool
"""A value of a parameter: a number, a quantity ("80 GB", which counts as its number in SI units), or a word."""

_MOST_VALUES = 100_000


def number_of(value: Value) -> Value:
    """``value``, or the number in SI units that a quantity stands for."""
    if not isinstance(value, str):
        return value
    for dimension in (BYTES, BANDWIDTH, FREQUENCY, OPERATION_RATE, POWER, SECONDS):
        try:
            return parse_quantity(value, dimension)
        except InputError:
            continue
    return value


class Parameter(BaseModel):
    """One of three: ``choices`` in the order given; ``range`` [first, last, step] of whole or broken numbers;
    ``log`` [first, last, count], equal factors apart, rounded to whole numbers where both ends are whole.

    With ``when`` it plays a part only where each named parameter has one of the given values; elsewhere it is fixed at
    its first value, and designs that differ in it alone are one design.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    choices: list[Value] | None = Field(None, min_length=1)
    range: list[float | int | str] | None = Field(None, min_length=3, max_length=3)
    log: list[float | int | str] | None = Field(None, min_length=3, max_length=3)
    when: dict[str, list[Value] | Value] = Field(default_factory=dict)
    description: str = ""

    @model_validator(mode="after")
    def _one_of_three(self) -> Parameter:
        given = [name for name in ("choices", "range", "log") if getattr(self, name) is not None]
        if len(given) != 1:
            found = f"found {' and '.join(given)}" if given else "found none of them"
            raise field_error(InputError(found, "one of choices, range and log"))
        values = self.values
        if len({(type(v) is bool, v) for v in values}) != len(values):
            raise field_error(InputError("a value stands twice", "different values", given[0]))
        return self

    @property
    def values(self) -> list[Value]:
        """All values in order, quantities as their numbers."""
        if self.choices is not None:
            return [number_of(value) for value in self.choices]
        name = "range" if self.range is not None else "log"
        ends: list[Any] = [number_of(value) for value in self.range or self.log or []]
        if not all(isinstance(end, int | float) and math.isfinite(end) for end in ends):
            raise field_error(InputError(f"found {ends}", "three numbers", name))
        return _steps(*ends) if name == "range" else _factors(*ends)

    def active_at(self, name: str) -> list[Value]:
        """The values of parameter ``name`` at which this one plays a part."""
        wanted = self.when[name]
        return [number_of(value) for value in (wanted if isinstance(wanted, list) else [wanted])]


def _steps(first: float, last: float, step: float) -> list[Value]:
    if step <= 0 or last < first:
        raise field_error(InputError(f"found [{first}, {last}, {step}]", "[first, last, step] that rise", "range"))
    count = math.floor((last - first) / step + 1e-9) + 1
    _check_count(count, "range")
    whole = all(float(number).is_integer() for number in (first, step))
    return [int(first + n * step) if whole else first + n * step for n in range(count)]


def _factors(first: float, last: float, count: float) -> list[Value]:
    if not float(count).is_integer() or count < 2 or first <= 0 or last <= first:
        raise field_error(
            InputError(f"found [{first}, {last}, {count}]", "[first, last, count], above zero and rising", "log")
        )
    _check_count(count, "log")
    steps = int(count) - 1
    values = [first * (last / first) ** (n / steps) for n in range(steps)] + [last]
    if all(isinstance(end, int) or float(end).is_integer() for end in (first, last)) and last < 2**53:
        return [round(value) for value in values]
    return list(values)


def _check_count(count: float, field: str) -> None:
    if count > _MOST_VALUES:
        raise field_error(InputError(f"{count:,.0f} values", f"at most {_MOST_VALUES:,}", field))
