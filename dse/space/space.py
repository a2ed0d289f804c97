"""A space file: a base machine, workloads with weights, parameters and what they set, limits and objectives."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from dse.space.codec import Codec
from dse.space.expression import Expression, parse_expression
from dse.space.parameter import Parameter, Value, number_of
from dse.space.workload import WorkloadSpec, check_path
from workloads.documents import read_document
from workloads.errors import InputError, unknown_name
from workloads.validation import field_error, validate

__all__ = ["DESIGN_METRICS", "MEMORY_METRICS", "METRICS", "SERVING_METRICS", "TRAINING_METRICS"]
__all__ += ["Base", "Constraint", "Quantity", "Space", "WorkloadSpec"]
__all__ += ["load_space", "space_names"]

FormatField = Literal["weights", "activations", "kv_cache", "compute", "experts"]

METRICS = ("latency_s", "tokens_per_s", "energy_j", "power_w", "peak_bytes")
"""What is known of every workload of a design that was simulated, by the workload's name and a dot, and of all of them
together: latency and energy summed by weight, tokens over that latency, power their quotient, the largest peak."""

SERVING_METRICS = ("ttft_p50_s", "ttft_p99_s", "tpot_p50_s", "tpot_p99_s")
"""Of workloads that serve a request trace, besides."""

TRAINING_METRICS = ("mfu", "bubble_share")
"""Of workloads that are training steps, besides: the share of the devices' peak that the model's own FLOPs take, and
the share of time in which pipeline stages have nothing to do."""

_METRICS_OF = {"serve": (*METRICS, *SERVING_METRICS), "train": (*METRICS, *TRAINING_METRICS)}

DESIGN_METRICS = ("weights_error", "kv_cache_error", "rtl_area_mm2")
"""Known without a simulation: root mean square error over root mean square of standard normal values stored in the
design's formats; area of the hardware units that engines are built of (cells alone, of those with a node)."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


MEMORY_METRICS = ("latency_s", "total_s", "energy_j", "power_w", "activations")
"""What is known of a design that is a memory controller: mean time from a request's being offered to its answer, time
until the last answer, energy and average power of the device, activations."""


class Base(_Part):
    """What every design starts from: a system (a name, or a file beside the space), formats and policies; or a memory
    ``device`` whose controller is explored on the first ``requests`` of a ``trace``, placed by ``mapping``."""

    system: str = ""
    device: str = ""
    trace: str = ""
    requests: PositiveInt = 10_000
    mapping: str = "RoBaRaCoCh"
    formats: dict[Literal["weights", "activations", "kv_cache", "compute", "experts"], str] = Field(
        default_factory=dict
    )
    policy: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _one_subject(self) -> Base:
        if bool(self.system) == bool(self.device):
            raise field_error(InputError("found both or neither", "one of system and device"))
        if bool(self.device) != bool(self.trace):
            expected = "a trace, such as cloud-1" if self.device else "none: a system has workloads"
            raise field_error(InputError(f"found {self.trace!r}", expected, "trace"))
        return self


class Quantity(_Part):
    """Something derived: an expression over parameters, ``system.`` fields, metrics and quantities above it."""

    value: str | float | int
    source: str = ""


class Constraint(_Part):
    """A limit on a name or an expression; the bound is a number or a quantity."""

    value: str
    at_most: Value | None = None
    at_least: Value | None = None

    @model_validator(mode="after")
    def _one_bound(self) -> Constraint:
        if (self.at_most is None) == (self.at_least is None):
            raise field_error(InputError("found both or neither", "one of at_most and at_least"))
        if not isinstance(self.bound, int | float) or isinstance(self.bound, bool):
            raise field_error(InputError(f"found {self.bound!r}", "a number or a quantity, such as 80 GB"))
        return self

    @property
    def bound(self) -> Any:
        """The limit as a number."""
        given = self.at_least if self.at_most is None else self.at_most
        return None if given is None else number_of(given)

    @property
    def text(self) -> str:
        """The limit in words."""
        return f"{self.value} at {'least' if self.at_most is None else 'most'} {self.bound:,.6g}"


class Space(_Part):
    """A space of designs. ``sets`` maps what is set (``system.tiers.hbm.capacity``, ``formats.weights``,
    ``workloads.decode.batch``, ``workloads.step.parallel.tensor``)
    to an expression over parameters; a parameter's name alone may stand for a word."""

    name: str
    description: str = ""
    base: Base
    workloads: dict[str, WorkloadSpec] = Field(default_factory=dict)
    parameters: dict[str, Parameter] = Field(min_length=1)
    sets: dict[str, str | float | int] = Field(default_factory=dict)
    quantities: dict[str, Quantity] = Field(default_factory=dict)
    constraints: list[Constraint] = Field(default_factory=list)
    objectives: dict[str, Literal["minimise", "maximise"]] = Field(min_length=1)

    @model_validator(mode="after")
    def _agree(self) -> Space:
        try:
            _check(self)
        except InputError as error:
            raise field_error(error) from None
        return self

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with fields replaced; what was worked out of the fields before is not taken along."""
        copied = super().model_copy(update=update, deep=deep)
        for name in copied.__dict__.keys() - type(self).model_fields.keys():
            del copied.__dict__[name]
        return copied

    @cached_property
    def fingerprint(self) -> str:
        """Of everything that decides what a design of the space is, its number, and what its metrics are called."""
        parts = [self.model_dump(mode="json", exclude_defaults=True), list(self.parameters), self.metric_names]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    @cached_property
    def codec(self) -> Codec:
        """The numbering of its designs."""
        return Codec(self.parameters)

    @cached_property
    def set_expressions(self) -> dict[str, Expression]:
        """``sets``, parsed."""
        return {path: parse_expression(text) for path, text in self.sets.items()}

    @cached_property
    def quantity_expressions(self) -> dict[str, Expression]:
        """``quantities``, parsed, in their order."""
        return {name: parse_expression(quantity.value) for name, quantity in self.quantities.items()}

    @cached_property
    def constraint_expressions(self) -> list[Expression]:
        """``constraints``, parsed."""
        return [parse_expression(constraint.value) for constraint in self.constraints]

    @property
    def default_fidelity(self) -> str:
        """The fidelity to begin with: memory controllers are simulated command by command, which is their only one."""
        return "cycle" if self.base.device else "roofline"

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Metrics of every design, in the order in which they are stored; quantities come after them."""
        if self.base.device:
            return MEMORY_METRICS
        of_workloads = [
            f"{name}.{metric}"
            for name, spec in self.workloads.items()
            for metric in _METRICS_OF.get(spec.phase, METRICS)
        ]
        return (*METRICS, *of_workloads, *DESIGN_METRICS)


_EXAMPLES = Path(__file__).parent / "examples"
_END = "-space.yaml"

SET_ROOTS = ("system", "formats", "workloads")
MEMORY_SET_ROOTS = ("controller",)


def _check(space: Space) -> None:
    codec = space.codec  # conditions name parameters above them, and values these have
    if bool(space.workloads) == bool(space.base.device):
        expected = "none: a device has a trace" if space.base.device else "one at least"
        raise InputError(f"found {len(space.workloads)}", expected, "workloads")
    roots = MEMORY_SET_ROOTS if space.base.device else SET_ROOTS
    for name in (*space.parameters, *space.quantities, *space.workloads):
        if not name.isidentifier() or name == "system":
            raise InputError(f"found the name {name!r}", "letters, digits and _, and not 'system'", name)
    for path, expression in _parsed("sets", space.sets.items()):
        root, _, rest = path.partition(".")
        if root not in roots or not rest:
            raise InputError(f"found {path!r}", f"a path below one of {', '.join(roots)}", f"sets.{path}")
        _needs(expression, codec.parameters, f"sets.{path}")
        if root == "workloads":
            workload, _, below = rest.partition(".")
            if workload not in space.workloads:
                raise unknown_name("workload", workload, space.workloads, field=f"sets.{path}")
            check_path(below, f"sets.{path}")
    known = [*codec.parameters, *space.metric_names]
    for name, expression in _parsed("quantities", ((n, q.value) for n, q in space.quantities.items())):
        if name in known:
            raise InputError(f"{name!r} is a parameter or a metric", "a name of its own", f"quantities.{name}")
        _needs(expression, known, f"quantities.{name}.value")
        known.append(name)
    for at, constraint in enumerate(space.constraints):
        _needs(_parse(constraint.value, f"constraints[{at}].value"), known, f"constraints[{at}].value")
    for name in space.objectives:
        if name not in (*space.metric_names, *space.quantities):
            raise unknown_name("metric", name, (*space.metric_names, *space.quantities), field=f"objectives.{name}")


def _parse(text: str | float, field: str) -> Expression:
    try:
        return parse_expression(text)
    except InputError as error:
        raise InputError(error.problem, error.expected, field, nearest=error.nearest) from None


def _parsed(root: str, items: Any) -> Any:
    return [(name, _parse(text, f"{root}.{name}")) for name, text in items]


def _needs(expression: Expression, known: Any, field: str) -> None:
    try:
        expression.needs([*known, *(name for name in expression.names if name.startswith("system."))])
    except InputError as error:
        raise InputError(error.problem, error.expected, field, nearest=error.nearest) from None


def space_names() -> tuple[str, ...]:
    """Names of the bundled spaces, sorted."""
    return tuple(sorted(file.name.removesuffix(_END) for file in _EXAMPLES.glob(f"*{_END}")))


def load_space(name_or_path: str | Path) -> Space:
    """A bundled space by name, or that of a YAML file; a system file it names is looked for beside it.

    Raises `InputError` with file, line and field.
    """
    path = Path(name_or_path)
    if path.suffix.lower() not in (".yaml", ".yml", ".json") and not path.exists():
        if str(name_or_path) not in space_names():
            raise unknown_name("space", str(name_or_path), space_names())
        path = _EXAMPLES / f"{name_or_path}{_END}"
    document = read_document(path)
    space = validate(Space, document)
    beside = path.parent / space.base.system
    if space.base.system.endswith((".yaml", ".yml", ".json")) and beside.exists():
        return space.model_copy(update={"base": space.base.model_copy(update={"system": str(beside)})})
    return space
