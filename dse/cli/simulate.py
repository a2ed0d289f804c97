"""``tiercade simulate``: from command-line words to values, through the road, to a report."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from dse.cli.output import print_document, write_text
from dse.cli.simulate_experts import expert_collections, in_attention_parts
from hw.spec.load import load_system, override
from hw.spec.system import System
from mappers.assign import Assign, assign_roles, fastest_engines
from mappers.planner.placement import Place
from simulator.moves import Move
from simulator.policies import named_policy
from simulator.policy import Policy
from simulator.result import Result
from simulator.road import FIDELITIES, simulate
from workloads.errors import InputError, unknown_name
from workloads.formats import FormatChoice, storage_format
from workloads.models.architecture import Model
from workloads.models.catalogue import model as catalogue_model
from workloads.models.config import read_model
from workloads.models.stored_formats import phase_formats
from workloads.phases import Decode, Phase, Prefill, Train
from workloads.workload import Role

if TYPE_CHECKING:
    from dse.cli.simulate_what_if import WhatIf
    from mappers.kernels.constants import Entry

__all__ = [
    "OPTIONS",
    "Request",
    "Run",
    "choose_assign",
    "choose_constants",
    "choose_formats",
    "choose_model",
    "choose_phase",
    "choose_place",
    "choose_system",
    "pair",
    "run_request",
    "run_simulate",
]

INFERENCE: dict[str, type[Prefill] | type[Decode]] = {"prefill": Prefill, "decode": Decode}
PHASES = (*INFERENCE, "train")
DIVIDED = ("schedule", "context_exchange", "prefetch", "from_master", "expert_imbalance", "straggler")
"""Options of a training step over many devices alone."""
OPTIONS = {
    "collections": "expert_cache",
    "collections.slots": "expert_cache",
    "collections.warmup": "steps",
    "every": "checkpoint_every",
    "gradient_format": "gradients",
    "collections.misses_on": "misses_on",
    "fetch.ahead": "fetch_ahead",
    "fetch.recall": "recall",
    "fetch.precision": "precision",
    "move.ahead": "ahead",
    "place.experts": "expert_home",
    "repeat": "routing_repeat",
    "skew": "routing_skew",
}
"""The option that sets a field of a value, where the two have different names."""


@dataclass(frozen=True)
class Request:
    """The options of one simulation as the user wrote them."""

    model: str
    system: str
    phase: str
    batch: int
    context: int
    devices: int | None = None
    changes: tuple[str, ...] = ()
    weights: str | None = None
    kv_cache: str | None = None
    activations: str | None = None
    compute: str | None = None
    place: tuple[str, ...] = ()
    assign: tuple[str, ...] = ()
    policy: tuple[str, ...] = ()
    ahead: int = 1
    expert_cache: int | None = None
    expert_home: str = "ddr"
    replacement: str = "lru"
    fetch: str = "on-demand"
    fetch_ahead: int = 1
    recall: float = 1.0
    precision: float = 1.0
    misses_on: str | None = None
    cold_experts: str | None = None
    attention_parts: int = 1
    routing: str | None = None
    router: str | None = None
    steps: int = 16
    warmup: int = 64
    routing_skew: float = 0.0
    routing_repeat: float = 0.0
    seed: int = 0
    fidelity: str = "roofline"
    past: int = 0
    software: str | None = None
    constants: str | None = None
    checkpoint: str | None = None
    checkpoint_every: int | None = None
    loss: str | None = None
    gradients: str | None = None
    global_batch: int | None = None
    parallel: str | None = None
    schedule: str | None = None
    context_exchange: str | None = None
    prefetch: int | None = None
    from_master: bool = False
    expert_imbalance: float | None = None
    straggler: tuple[str, ...] = ()

    @property
    def divided(self) -> bool:
        """Whether it asks for a training step over many devices (`dse.cli.simulate_step`)."""
        return self.global_batch is not None or self.parallel is not None


@dataclass(frozen=True)
class Run:
    """A finished simulation with the values its inputs resolved to."""

    request: Request
    model: Model
    system: System
    result: Result

    def resolved_inputs(self) -> dict[str, Any]:
        """Everything that determines the result, as plain values."""
        return {
            "request": asdict(self.request),
            "model": asdict(self.model),
            "system": self.system.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        }


def run_request(request: Request, system: System | None = None) -> Run:
    """Resolve a request's names and simulate it, on ``system`` instead of the one it names where that is given.

    Errors about a field name the option that sets it.
    """
    try:
        return _run_request(request, system)
    except InputError as error:
        field = OPTIONS.get(error.field or "", error.field)
        if field == "expert_home" and request.expert_cache is None:
            field = "place"
        if error.file is None and field in {part.name for part in fields(Request)}:
            raise replace(error, field=f"--{field.replace('_', '-')}") from None
        raise


def _run_request(request: Request, system: System | None) -> Run:
    for name in DIVIDED:
        value = getattr(request, name)
        if value is not None and value is not False and value != ():
            raise InputError(f"--{name.replace('_', '-')} without a layout", "--parallel or --global-batch too", name)
    if request.fidelity not in FIDELITIES:
        raise unknown_name("fidelity", request.fidelity, FIDELITIES, field="--fidelity")
    model = choose_model(request.model)
    system = system or choose_system(request.system, request.changes, request.devices)
    phase = choose_phase(request)
    formats = choose_formats(request, model, phase)
    policy = Policy(
        transform=in_attention_parts(request.attention_parts, model, phase, formats, system),
        assign=choose_assign(request.assign, system),
        place=choose_place(request.place),
        move=Move(request.ahead),
        collections=expert_collections(request, model, phase, system),
    )
    for text in request.policy:
        policy = named_policy(policy, system, text)
    return Run(
        request,
        model,
        system,
        simulate(
            model,
            phase,
            system,
            formats=formats,
            policy=policy,
            fidelity=request.fidelity,
            software=request.software,
            constants=choose_constants(request.constants),
        ),
    )


def run_simulate(
    request: Request,
    *,
    trace_out: Path | None,
    out: Path | None,
    as_json: bool,
    memory_out: Path | None = None,
    what_ifs: tuple[str, ...] = (),
) -> None:
    """Simulate, write what was asked for, and print the report, with what each of ``what_ifs`` would change."""
    if request.divided:
        from dse.cli.simulate_step import run_step

        run_step(request, trace_out=trace_out, memory_out=memory_out, out=out, as_json=as_json, what_ifs=what_ifs)
        return
    if memory_out is not None:
        raise InputError("--memory-out without a layout", "--parallel or --global-batch too", "--memory-out")
    run, found = _with_what_ifs(request, what_ifs)
    notes = []
    if trace_out is not None:
        from dse.reports.chrome_trace import chrome_trace, trace_text

        write_text(
            trace_out,
            trace_text(chrome_trace(run.result.execution, title=f"{run.result.model} on {run.result.system}")),
        )
        notes.append(f"trace: {trace_out} (open it at ui.perfetto.dev)")
    if out is not None:
        from dse.reports.run_folder import write_run

        notes.append(f"run folder: {write_run(out, run.result, run.system, resolved_inputs=run.resolved_inputs())}")
    if as_json:
        print_document(run.result.to_json() | (found.to_json() if found else {}))
    else:
        from dse.reports.table import print_report

        print_report(run.result)
        if found is not None:
            from dse.cli.simulate_what_if import print_what_if

            print_what_if(found)
    for note in notes:
        print(note, file=sys.stderr)  # noqa: T201


def _with_what_ifs(request: Request, texts: tuple[str, ...]) -> tuple[Run, WhatIf | None]:
    if not texts:
        return run_request(request), None
    from dse.cli.simulate_what_if import read_changes, what_if

    changes = read_changes(choose_system(request.system, request.changes, request.devices), texts)
    run = run_request(request)
    return run, what_if(request, run, changes)


def choose_model(name: str) -> Model:
    """A catalogue model, or the model a ``config.json`` describes when ``name`` looks like a path."""
    if name.endswith(".json") or "/" in name or Path(name).is_dir():
        path = Path(name)
        return read_model(path / "config.json" if path.is_dir() else path)
    return catalogue_model(name)


def choose_system(name: str, changes: tuple[str, ...], devices: int | None) -> System:
    """A preset or a system file, with the user's changes."""
    system = load_system(name)
    if devices is not None:
        system = _overridden(system, (f"devices={devices}",), "--devices")
    return _overridden(system, changes, "--set") if changes else system


def _overridden(system: System, changes: tuple[str, ...], option: str) -> System:
    try:
        return override(system, changes)
    except InputError as error:
        field = "" if error.field == option.removeprefix("--") else error.field or ""
        raise replace(error, field=f"{option} {field}".rstrip()) from None


def choose_phase(request: Request) -> Phase:
    """The phase that a request asks for. Raises `InputError` for options of others."""
    if request.phase not in PHASES:
        raise unknown_name("phase", request.phase, PHASES, field="--phase")
    if request.past and request.phase != "prefill":
        expected = "0, or --phase prefill"
        raise InputError(f"{request.past} past tokens of {request.phase}", expected=expected, field="--past")
    given = {
        "checkpoint": request.checkpoint,
        "every": request.checkpoint_every,
        "loss": request.loss,
        "gradient_format": request.gradients,
    }
    if request.gradients is not None:
        try:
            storage_format(request.gradients)
        except InputError as error:
            raise replace(error, field="gradients") from None
    training: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if request.phase == "train":
        return Train(request.batch, request.context, **training)
    for name in training:
        option = f"--{OPTIONS.get(name, name).replace('_', '-')}"
        raise InputError(f"{option} of {request.phase}", expected="--phase train", field=option)
    if request.phase == "prefill":
        return Prefill(request.batch, request.context, request.past)
    return Decode(request.batch, request.context)


def choose_formats(request: Request, model: Model, phase: Phase) -> FormatChoice:
    """The model's formats in this phase, with those that the request names."""
    chosen = {name: getattr(request, name) for name in ("weights", "kv_cache", "activations", "compute")}
    given = {name: value for name, value in chosen.items() if value is not None}
    formats = replace(phase_formats(model, phase), **given)
    return formats if request.weights is None else replace(formats, experts=None)


def choose_constants(path: str | None) -> tuple[Entry, ...]:
    """Constants of kernels from a file, where one is named."""
    if path is None:
        return ()
    from mappers.kernels.constants import read_constants

    return read_constants(Path(path))


def pair(option: str, text: str, left: str, right: str) -> tuple[str, str]:
    """The two sides of ``LEFT=RIGHT``."""
    name, separator, value = text.partition("=")
    if not separator or not name or not value:
        raise InputError(f"{text!r}", expected=f"{left}={right}", field=option)
    return name, value


def choose_place(words: tuple[str, ...]) -> Place:
    """Where ``ROLE=TIER`` words pin roles."""
    place = Place()
    roles: dict[str, Role] = {role: role for role in get_args(Role)}
    for word in words:
        role, tier = pair("--place", word, "ROLE", "TIER")
        if role not in roles:
            raise unknown_name("role", role, roles, field="--place")
        place = place.pin(roles[role], tier)
    return place


OP_KINDS = ("attention", "elementwise", "gather", "gemm", "grouped_gemm", "norm", "optimizer")


def choose_assign(words: tuple[str, ...], system: System) -> Assign:
    """The engines that ``KIND=ENGINE`` words name, the fastest ones for all else."""
    if not words:
        return fastest_engines
    by_kind = {}
    for word in words:
        kind, engine = pair("--assign", word, "KIND", "ENGINE")
        if kind not in OP_KINDS:
            raise unknown_name("kind of operation", kind, OP_KINDS, field="--assign")
        if engine not in system.engines:
            raise unknown_name("engine", engine, system.engines, field="--assign")
        by_kind[kind] = engine
    return assign_roles(by_kind)
