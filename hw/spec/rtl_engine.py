"""Engines described by the hardware units they are built of: unit, parameters, copies and clock give rates.

An engine with ``rtl`` may leave out its throughput: it is worked out from the unit's own cycle contract and what each
of its beats computes (`hw.rtl.unit.Work`), and says so in its sources. A field given in the file stands as it is given.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field, PositiveInt, ValidationError

from hw.rtl.contract import CycleContract
from hw.rtl.unit import Unit, Work
from hw.rtl.units import parameters_of, unit, unit_names
from hw.spec.component import Component
from hw.spec.quantity import Frequency
from workloads.errors import InputError
from workloads.validation import field_error

__all__ = ["DERIVED_FROM_UNIT", "RtlUnits", "with_unit_fields"]

DERIVED_FROM_UNIT = "derived: copies x multiply-adds a beat x 2 x clock / interval of the unit's cycle contract"
"""Source of a throughput that was worked out."""


class RtlUnits(Component):
    """``copies`` equal units of the name ``unit``, with ``settings`` in place of its default parameters."""

    unit: str
    settings: dict[str, int | str] = Field(default_factory=dict)
    copies: PositiveInt = 1
    clock_hz: Frequency = Field(alias="clock")

    @property
    def chosen(self) -> Unit[Any]:
        """The unit; `InputError` if there is none of that name."""
        return unit(self.unit)

    @property
    def contract(self) -> CycleContract:
        """The cycle contract that the RTL of the unit is held to."""
        return self.chosen.contract(parameters_of(self.chosen, dict(self.settings)))

    @property
    def work(self) -> Work:
        """What one beat computes; `InputError` for units that compute no products."""
        chosen = self.chosen
        if chosen.work is None:
            able = ", ".join(name for name in unit_names() if unit(name).work is not None)
            raise InputError(f"{chosen.name} computes no products of matrices", f"one of {able}", "unit")
        return chosen.work(parameters_of(chosen, dict(self.settings)))

    @property
    def operations_per_s(self) -> float:
        """Peak rate of all copies, a multiply-add counted as two operations."""
        return 2.0 * self.copies * self.work.macs * self.clock_hz / self.contract.interval_cycles


def with_unit_fields(engine: Any) -> Any:
    """``engine`` as in a file, with the throughput its ``rtl`` implies where that was left out or worked out before.

    Raises the field's error for units and parameters that do not exist.
    """
    if not isinstance(engine, dict) or not isinstance(engine.get("rtl"), dict):
        return engine
    try:
        units = RtlUnits.model_validate(engine["rtl"])
    except ValidationError:
        return {"throughput": {"int8": "1 OP/s"}, **engine}  # the engine's own validation says what is wrong with rtl
    try:
        rate, computed = units.operations_per_s, units.work.computed
    except InputError as error:
        raise field_error(InputError(error.problem, error.expected, _field(error), nearest=error.nearest)) from None
    sources = dict(engine.get("sources") or {})
    if "throughput" in engine and str(sources.get("throughput", "")) != DERIVED_FROM_UNIT:
        return engine
    return {
        **engine,
        "throughput": {computed: f"{rate:.6g} OP/s"},
        "sources": {**sources, "throughput": DERIVED_FROM_UNIT},
    }


def _field(error: InputError) -> str:
    return "rtl.unit" if error.field in (None, "unit") else f"rtl.settings.{error.field}"
