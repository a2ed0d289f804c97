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
from dse.space.workload import set_fields
from hw.spec.load import load_system, override_values
from hw.spec.system import System
from workloads.errors import ImpossibleError, InputError, unknown_name
from workloads.formats import FormatChoice
from workloads.models.architecture import Model
from workloads.models.catalogue import model as catalogue_model
from workloads.models.stored_formats import stored_formats
from workloads.phases import Decode, Prefill, Train

__all__ = ["Design", "DesignWorkload", "check_buildable", "design_of", "formats_of", "system_names_of"]


_SAMPLE = 16


@dataclass(frozen=True)
class DesignWorkload:
    """One workload of a design, resolved."""

    spec: WorkloadSpec
    model: Model
    formats: FormatChoice

    @property
    def training(self) -> Train:
        """One micro-batch of a training step."""
        spec = self.spec
        return Train(spec.micro_batch, spec.context, spec.checkpoint, spec.loss, spec.checkpoint_every)

    @property
    def phase(self) -> Prefill | Decode:
        """The step that is simulated; of a served trace there is none, a training step has `training`."""
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
            if any(spec.phase == "train" for spec in space.workloads.values()):
                from dse.evaluate.trained import check_training  # slow to import: other spaces do without

                check_training(space, design)
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
        base_system(space.base.system)  # what is kept of a file that is gone is gone with it
    except InputError as error:
        raise error if error.file else replace(error, field="base.system") from None
    system = _system_with(space.base.system, tuple(settings["system"].items()))
    workloads = {}
    for name, spec in space.workloads.items():
        changes = {p.partition(".")[2]: v for p, v in settings["workloads"].items() if p.partition(".")[0] == name}
        workloads[name] = resolved_workload(space, name, spec, changes, settings["formats"])
    return Design(values, system, workloads)


@lru_cache(maxsize=256)
def _system_with(name: str, settings: tuple[tuple[str, Any], ...]) -> System:
    """The base with ``settings``: designs that differ in formats and workloads alone have it in common."""
    try:
        return override_values(base_system(name), dict(settings))
    except InputError as error:
        raise replace(error, field=f"sets.system.{error.field}") from None


def resolved_workload(
    space: Space, name: str, spec: WorkloadSpec, changes: Mapping[str, Any], formats: Mapping[str, Any]
) -> DesignWorkload:
    """A workload with ``changes`` of its fields and ``formats`` set."""
    try:
        changed = WorkloadSpec.model_validate(set_fields(spec, changes)) if changes else spec
    except ValidationError as error:
        found = error.errors()[0]
        field = ".".join(map(str, found["loc"]))
        if found["type"] == "input_error":
            below = ".".join((field, *found["ctx"]["below"])).strip(".")
            problem, expected = found["ctx"]["problem"], found["ctx"]["expected"]
            where = f"sets.workloads.{name}.{below}"
            raise InputError(problem, expected, where, nearest=found["ctx"]["nearest"]) from None
        problem = f"{found.get('input')!r}: {found['msg'].lower()}"
        kind = ImpossibleError if found["type"] == "int_from_float" and field.startswith("parallel.") else InputError
        raise kind(problem, field=f"sets.workloads.{name}.{field}") from None
    try:
        model = catalogue_model(changed.model)
    except InputError as error:
        raise replace(error, field=f"workloads.{name}.model") from None
    stored = FormatChoice() if changed.phase == "train" else stored_formats(model)
    return DesignWorkload(changed, model, formats_of(space, stored, formats))


def formats_of(space: Space, stored: FormatChoice, formats: Mapping[str, Any]) -> FormatChoice:
    """Formats as the model is ``stored`` (or trained), changed by the space's base and then by ``formats``."""
    chosen: dict[str, Any] = {**dict(space.base.formats.items()), **formats}
    if "weights" in chosen and "experts" not in chosen:
        chosen["experts"] = None
    try:
        return replace(stored, **chosen)
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
    wanted = [name for name in names if name.startswith("system.")]
    plain = system.model_dump(by_alias=True) if wanted else {}
    for name in wanted:
        holder: Any = plain
        for part in name.split(".")[1:]:
            holder = holder.get(part) if isinstance(holder, dict) else None
        if isinstance(holder, bool) or not isinstance(holder, int | float):
            raise InputError(f"{name} is no number of {system.name}", "a path such as system.tiers.hbm.capacity")
        found[name] = float(holder)
    return found
