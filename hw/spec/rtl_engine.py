"""Engines described by the hardware units they are built of: unit, parameters, copies and clock give rates.

An engine with ``rtl`` may leave out its throughput: it is worked out from the unit's own cycle contract and what each
of its beats computes (`hw.rtl.unit.Work`), and says so in its sources. With a node the unit's synthesis (`hw.cost.
rtl_units`) gives the clock, where none is stated, and the energy of an operation. A field given in the file stands as
it is given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field, PositiveFloat, PositiveInt, ValidationError

from hw.rtl.contract import CycleContract
from hw.rtl.unit import AttentionWork, Unit, Work
from hw.rtl.units import parameters_of, unit, unit_names
from hw.spec.component import Component
from hw.spec.quantity import Frequency
from workloads.errors import InputError
from workloads.validation import field_error

if TYPE_CHECKING:
    from hw.cost.rtl_units import RtlUnitCost

__all__ = ["DERIVED_FROM_SYNTHESIS", "DERIVED_FROM_UNIT", "RtlUnits", "with_mac_fields", "with_unit_fields"]

DERIVED_FROM_UNIT = "derived: copies x multiply-adds a beat x 2 x clock / interval of the unit's cycle contract"
"""Source of a rate that was worked out."""


DERIVED_FROM_SYNTHESIS = "derived: energy of a beat of random operands / its operations, synthesis scaled to the node"
"""Source of an energy that was worked out."""


class RtlUnits(Component):
    """``copies`` equal units of the name ``unit``, with ``settings`` in place of its default parameters.

    At ``node_nm`` the unit's longest path as it was synthesised sets the clock where ``clock`` is left out; with
    neither there is no rate.
    """

    unit: str
    settings: dict[str, int | str] = Field(default_factory=dict)
    copies: PositiveInt = 1
    clock_hz: Frequency | None = Field(None, alias="clock")
    node_nm: PositiveFloat | None = None

    @property
    def chosen(self) -> Unit[Any]:
        """The unit; `InputError` if there is none of that name."""
        return unit(self.unit)

    @property
    def contract(self) -> CycleContract:
        """The cycle contract that the RTL of the unit is held to."""
        return self.chosen.contract(parameters_of(self.chosen, dict(self.settings)))

    @property
    def work(self) -> Work | AttentionWork:
        """What one beat computes; `InputError` for units that compute neither products nor attention."""
        chosen = self.chosen
        if chosen.work is None:
            able = ", ".join(name for name in unit_names() if unit(name).work is not None)
            raise InputError(f"{chosen.name} computes neither products nor attention", f"one of {able}", "unit")
        return chosen.work(parameters_of(chosen, dict(self.settings)))

    @property
    def cost(self) -> RtlUnitCost | None:
        """Area, path and energy of one copy at the node; None without a node. `InputError` where the unit was not
        synthesised, or nothing is known of its settings or the node."""
        if self.node_nm is None:
            return None
        from hw.cost.rtl_units import rtl_unit_cost

        return rtl_unit_cost(self.unit, self.settings, self.node_nm)

    @property
    def rate_hz(self) -> float:
        """The clock: as stated, or as fast as the unit's longest path allows."""
        if self.clock_hz is not None:
            return self.clock_hz
        if self.cost is None:
            raise InputError("neither is given", "one of clock and node_nm", "clock")
        return 1.0 / self.cost.path_s

    @property
    def area_mm2(self) -> float | None:
        """Of all copies: cells alone; None without a node."""
        return None if self.cost is None else self.copies * self.cost.area_mm2

    @property
    def operations_per_s(self) -> float:
        """Peak rate of all copies, a multiply-add counted as two operations."""
        return 2.0 * self.copies * self.work.macs * self.rate_hz / self.contract.interval_cycles

    @property
    def energy_j_per_operation(self) -> float | None:
        """Of a beat that is accepted, over its operations; None where it is not known."""
        if self.cost is None or self.cost.energy_per_beat_j is None:
            return None
        return self.cost.energy_per_beat_j * self.contract.interval_cycles / (2.0 * self.work.macs)


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
        computed = units.work.computed
        found: dict[str, tuple[dict[str, str], str]] = {
            "throughput": ({computed: f"{units.operations_per_s:.6g} OP/s"}, DERIVED_FROM_UNIT)
        }
        energy = units.energy_j_per_operation
    except InputError as error:
        raise field_error(InputError(error.problem, error.expected, _field(error), nearest=error.nearest)) from None
    if energy is not None:
        found["energy"] = ({computed: f"{energy:.6g} J"}, DERIVED_FROM_SYNTHESIS)
    sources = dict(engine.get("sources") or {})
    filled = {
        name: value
        for name, (value, source) in found.items()
        if name not in engine or (str(sources.get(name, "")) == source and not _set_singly(name, sources))
    }
    return {**engine, **filled, "sources": {**sources, **{name: found[name][1] for name in filled}}}


def _set_singly(name: str, sources: dict[str, Any]) -> bool:
    """Whether an entry of the field has a source of its own: somebody set it, so the field stands as it is."""
    return any(key.startswith(f"{name}.") for key in sources)


def with_mac_fields(given: Any) -> Any:
    """A mapper's compute unit as in a file, with what its ``rtl`` implies where that was left out or worked out before:
    width (multiply-adds a cycle), clock, and the action ``mac`` with its energy.

    Raises the field's error for units that do not exist, or have less than a multiply-add a cycle.
    """
    if not isinstance(given, dict) or not isinstance(given.get("rtl"), dict):
        return given
    placeholder = {"clock": "1 Hz", "actions": {"mac": {}}}
    try:
        units = RtlUnits.model_validate(given["rtl"])
    except ValidationError:
        return {**placeholder, **given}
    try:
        if isinstance(units.work, AttentionWork):
            raise InputError(f"{units.unit} computes attention only", "a unit that computes dot products", "unit")
        if units.copies != 1:
            raise InputError(f"{units.copies} copies", "1: the fan-out says how many there are", "copies")
        width, rest = divmod(units.work.macs, units.contract.interval_cycles)
        if rest or not width:
            problem = f"{units.work.macs} multiply-adds in {units.contract.interval_cycles} cycles"
            raise InputError(problem, "a whole number a cycle", "unit")
        clock_hz, energy = units.rate_hz, units.energy_j_per_operation
    except InputError as error:
        raise field_error(InputError(error.problem, error.expected, _field(error), nearest=error.nearest)) from None
    mac = {} if energy is None else {"energy": f"{2 * energy:.6g} J"}
    if mac:
        mac["sources"] = {"energy": DERIVED_FROM_SYNTHESIS}  # type: ignore[assignment]
    found = {"width": width, "clock": f"{clock_hz:.6g} Hz", "actions": {"mac": mac}}
    sources = dict(given.get("sources") or {})
    filled = {n: v for n, v in found.items() if n not in given or str(sources.get(n, "")) == DERIVED_FROM_UNIT}
    return {**given, **filled, "sources": {**sources, **dict.fromkeys(filled, DERIVED_FROM_UNIT)}}


def _field(error: InputError) -> str:
    if error.field in ("clock", "node_nm", "copies"):
        return f"rtl.{error.field}"
    return "rtl.unit" if error.field in (None, "unit") else f"rtl.settings.{error.field}"
