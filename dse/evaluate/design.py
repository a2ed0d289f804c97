"""One design of a space as values: its system, its workloads, and the numbers its quantities are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from pydantic import ValidationError

from dse.space.parameter import Value
from dse.space.space import Space, WorkloadSpec
from hw.spec.load import load_system, override_values
from hw.spec.system import System
from workloads.errors import InputError, unknown_name
from workloads.formats import FormatChoice
from workloads.models.architecture import Model
from workloads.models.catalogue import model as catalogue_model
from workloads.models.stored_formats import stored_formats
from workloads.phases import Decode, Prefill

__all__ = ["Design", "DesignWorkload", "check_buildable", "design_of", "formats_of", "system_names_of"]


_SAMPLE = 16


@dataclass(frozen=True)
class DesignWorkload:
    """One workload of a design, resolved."""

    spec: WorkloadSpec
    model: Model
    formats: FormatChoice

    @property
    def phase(self) -> Prefill | Decode:
        """The step that is simulated; of a served trace there is none."""
        spec = self.spec
        if spec.phase == "prefill":
            return Prefill(spec.batch, spec.context, spec.past)
        return Decode(spec.batch, spec.context)


@dataclass(frozen=True)
class Design:
    """``values`` of the parameters and what they make."""

    values: Mapping[str, Value]
    system: System
    workloads: Mapping[str, DesignWorkload]


@lru_cache(maxsize=16)
def base_system(name: str) -> System:
    """The system of that name or file, read once."""
    return load_system(name)


def check_buildable(space: Space) -> None:
    """Raise `InputError` where no design of a sample over the whole space can be built of the base and what is set.

    Single values that cannot be had make single designs infeasible; a path or a name that is wrong makes all.
    """
    if space.base.device:
        from dse.evaluate.memory import check_memory  # compiled: other spaces do without

        check_memory(space)
        return
    ordinals = np.unique(np.linspace(0, space.codec.product - 1, _SAMPLE).astype(np.int64))
    first: InputError | None = None
    for choices in space.codec.canonical(space.codec.decode(ordinals)):
        try:
            design = design_of(space, space.codec.named(choices))
            system_names_of(design.system, [n for e in space.quantity_expressions.values() for n in e.names])
            return
        except InputError as error:
            first = first or error
    assert first is not None
    raise first


def design_of(space: Space, values: Mapping[str, Value]) -> Design:
    """The design with those parameters. Raises `InputError` where it cannot be made of them."""
    settings: dict[str, dict[str, Any]] = {"system": {}, "formats": {}, "workloads": {}}
    for path, expression in space.set_expressions.items():
        root, _, rest = path.partition(".")
        settings[root][rest] = plain_value(expression.value(values))
    try:
        base = base_system(space.base.system)
    except InputError as error:
        raise error if error.file else replace(error, field="base.system") from None
    try:
        system = override_values(base, settings["system"])
    except InputError as error:
        raise replace(error, field=f"sets.system.{error.field}") from None
    workloads = {}
    for name, spec in space.workloads.items():
        changes = {p.partition(".")[2]: v for p, v in settings["workloads"].items() if p.partition(".")[0] == name}
        workloads[name] = resolved_workload(space, name, spec, changes, settings["formats"])
    return Design(values, system, workloads)


def resolved_workload(
    space: Space, name: str, spec: WorkloadSpec, changes: Mapping[str, Any], formats: Mapping[str, Any]
) -> DesignWorkload:
    """A workload with ``changes`` of its fields and ``formats`` set."""
    for field in changes:
        if field not in WorkloadSpec.model_fields:
            raise unknown_name("field", field, WorkloadSpec.model_fields, field=f"sets.workloads.{name}")
    try:
        changed = WorkloadSpec.model_validate({**spec.model_dump(), **changes}) if changes else spec
    except ValidationError as error:
        found = error.errors()[0]
        field = ".".join(map(str, found["loc"]))
        problem = f"{found.get('input')!r}: {found['msg'].lower()}"
        raise InputError(problem, field=f"sets.workloads.{name}.{field}") from None
    try:
        model = catalogue_model(changed.model)
    except InputError as error:
        raise replace(error, field=f"workloads.{name}.model") from None
    return DesignWorkload(changed, model, formats_of(space, model, formats))


def formats_of(space: Space, model: Model, formats: Mapping[str, Any]) -> FormatChoice:
    """Formats as the model is stored, changed by the space's base and then by ``formats``."""
    chosen: dict[str, Any] = {**dict(space.base.formats.items()), **formats}
    if "weights" in chosen and "experts" not in chosen:
        chosen["experts"] = None
    try:
        return replace(stored_formats(model), **chosen)
    except TypeError:
        known = ("weights", "activations", "kv_cache", "compute", "experts")
        unknown = next(name for name in chosen if name not in known)
        raise unknown_name("format field", unknown, known, field=f"sets.formats.{unknown}") from None


def plain_value(value: Any) -> Any:
    """A numpy scalar as Python's; whole numbers as int, so that counts can be set."""
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value


def system_names_of(system: System, names: Any) -> dict[str, float]:
    """The numbers behind the ``system.`` names in ``names``, by YAML's paths; SI units.

    Raises `InputError` for paths that hold no number.
    """
    found: dict[str, float] = {}
    plain = system.model_dump(by_alias=True)
    for name in names:
        if not name.startswith("system."):
            continue
        holder: Any = plain
        for part in name.split(".")[1:]:
            holder = holder.get(part) if isinstance(holder, dict) else None
        if isinstance(holder, bool) or not isinstance(holder, int | float):
            raise InputError(f"{name} is no number of {system.name}", "a path such as system.tiers.hbm.capacity")
        found[name] = float(holder)
    return found
