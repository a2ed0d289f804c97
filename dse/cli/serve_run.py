"""What ``tiercade serve`` does: options become a machine, requests, memory and rules; the run becomes a document."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dse.cli.output import check_figure, print_document, write_figure
from dse.cli.serve_offload import kv_room, offload
from dse.cli.serve_text import print_summary
from dse.cli.simulate import choose_model, choose_system
from dse.cli.stopping import stoppable
from hw.spec.quantity import BANDWIDTH, SECONDS, Dimension, parse_quantity
from hw.spec.system import System
from mappers.kernels.software import DEFAULT_SOFTWARE
from mappers.map_workload import FIDELITIES
from simulator.serving.cost import ResidentStepCost, step_cost
from simulator.serving.disaggregated import KvLink, Pool, serve_disaggregated
from simulator.serving.engine import first_requests, serve
from simulator.serving.kv.choice import kv_memory
from simulator.serving.kv.memory import KvMemory
from simulator.serving.kv.prefix import PrefixMemory
from simulator.serving.kv.sizes import KvSizes, kv_sizes
from simulator.serving.kv.tiered import TieredMemory
from simulator.serving.metrics import Objectives, summary
from simulator.serving.parallel import Parallel, stages
from simulator.serving.replicas import ROUTINGS, serve_replicas
from simulator.serving.result import ServingResult
from simulator.serving.scheduler import Scheduler
from simulator.serving.step import StepCost
from workloads.errors import InfeasibleError, InputError, unknown_name
from workloads.formats import FormatChoice
from workloads.models.architecture import Model
from workloads.models.stored_formats import stored_formats
from workloads.traces.named import requests_of
from workloads.traces.rates import at_rate
from workloads.traces.requests import RequestTrace

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ServeOptions", "ServeRun", "run_serve"]

_FLAGS = {
    "batching": "--scheduler", "max_batch": "--batch", "token_budget": "--token-budget", "policy": "--policy",
    "preemption": "--preemption", "routing": "--routing", "kv": "--kv", "kv_cache": "--kv-format", "until": "--until",
    "weights": "--weights", "tensor": "--tp", "devices": "--tp", "pipeline": "--pp", "expert": "--ep", "data": "--dp",
    "fabric": "--tp", "software": "--software", "fidelity": "--fidelity", "offload": "--offload",
    "parallel": "--offload", "model": "--model", "system": "--system",
}  # fmt: skip
_PROGRESS_S = 2.0
_MOST_REPLICAS = 9999


@dataclass(frozen=True)
class ServeOptions:
    """The options as the user wrote them."""

    model: str
    system: str
    requests: str
    tp: int | None = None
    pp: int = 1
    ep: int = 1
    dp: int = 1
    routing: str = "least-loaded"
    disaggregate: str | None = None
    kv_link: str | None = None
    overlap: bool = False
    scheduler: str = "chunked"
    policy: str = "fcfs"
    preemption: str = "recompute"
    relay: bool = False
    batch: int = 128
    token_budget: int = 2048
    kv: str = "paged:16"
    kv_share: float = 0.9
    kv_format: str | None = None
    weights: str | None = None
    offload: tuple[str, ...] = ()
    rate: float | None = None
    until: int | None = None
    seed: int = 0
    slo_ttft: str | None = None
    slo_tpot: str | None = None
    price: float | None = None
    fidelity: str | None = None
    software: str | None = None
    changes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ServeRun:
    """A finished run with the values its inputs resolved to."""

    options: ServeOptions
    model: Model
    system: System
    result: ServingResult
    objectives: Objectives

    def document(self) -> dict[str, Any]:
        """What is printed with ``--json``."""
        asked = {
            "model": self.model.name,
            "system": self.system.name,
            "devices": self.objectives.devices,
            "trace": self.result.name,
            "fidelity": self.options.fidelity,
            "software": (self.options.software or DEFAULT_SOFTWARE) if self.options.fidelity == "kernel" else None,
        }
        found = summary(self.result, self.objectives)
        if self.model.max_positions is not None:
            longest = self.result.prompt_tokens + self.result.output_tokens
            found["beyond_positions"] = int((longest > self.model.max_positions).sum())
        return {**asked, **found}

    def figure(self) -> Figure:
        """The run on one page, drawn anew: writing a figure moves what is in it."""
        from dse.reports.figures.serving import serving_figure

        headline = f"{self.model.name} on {self.objectives.devices} x {self.system.name}: {self.result.name}"
        return serving_figure(self.result, headline)

    def resolved_inputs(self) -> dict[str, Any]:
        """Everything that determines the result, as plain values."""
        return {
            "options": asdict(self.options),
            "model": asdict(self.model),
            "system": self.system.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        }


def run_serve(options: ServeOptions, *, out: Path | None, figure: Path | None, as_json: bool) -> int:
    """Serve, write what was asked for, print the report, and return the exit code."""
    if figure is not None:
        check_figure(figure)
    with stoppable(None) as stop:
        try:
            run = serve_run(options, stop, _Progress())
        except InputError as error:
            flag = _FLAGS.get(error.field or "")
            raise replace(error, field=flag) if flag is not None and error.file is None else error from None
    if figure is not None:
        write_figure(run.figure(), figure)
    if out is not None:
        from dse.reports.serving import write_serving

        folder = write_serving(out, run.result, run.figure(), run.document(), run.resolved_inputs())
        print(f"run folder: {folder}", file=sys.stderr)  # noqa: T201
    if as_json:
        print_document(run.document())
    else:
        print_summary(run.document())
    if run.result.interrupted:
        print("interrupted: this is what was served until then", file=sys.stderr)  # noqa: T201
        return 130
    return 0


def serve_run(
    options: ServeOptions, stop: Callable[[], bool], progress: Callable[[int, int, float], None] | None = None
) -> ServeRun:
    """Resolve the options and simulate. ``progress`` is told requests that ended, all requests, simulated seconds."""
    if options.routing not in ROUTINGS:
        raise unknown_name("routing", options.routing, ROUTINGS, field="--routing")
    prompts, replicas = _pools(options)
    scheduler = Scheduler(
        options.scheduler, options.batch, options.token_budget, options.policy, options.preemption, options.relay
    )
    objectives = Objectives(
        _quantity(options.slo_ttft, SECONDS, "--slo-ttft"), _quantity(options.slo_tpot, SECONDS, "--slo-tpot"),
        options.price,
    )  # fmt: skip
    if options.price is not None and not 0 <= options.price < float("inf"):
        raise InputError(f"found {options.price:g}", "a price of 0 or more", "--price")
    bandwidth = _quantity(options.kv_link, BANDWIDTH, "--kv-link")
    model = choose_model(options.model)
    system = choose_system(options.system, options.changes, None)
    fidelity = _fidelity(options, system)
    options = replace(options, fidelity=fidelity)
    parallel = Parallel(system.devices if options.tp is None else options.tp, options.pp, options.ep)
    formats = stored_formats(model)
    if options.kv_format is not None:
        formats = replace(formats, kv_cache=options.kv_format)
    if options.weights is not None:
        formats = replace(formats, weights=options.weights, experts=None)
    trace = _trace(options)
    stage = system.model_copy(update={"devices": parallel.replica_devices})
    changed = offload(options.offload, stage) if options.offload else None
    cost = step_cost(
        model,
        system,
        parallel=parallel,
        formats=formats,
        policy=None if changed is None else changed.policy,
        fidelity=fidelity,
        software=options.software,
    )
    sizes = kv_sizes(model, formats, parallel.tensor)
    if not 0 < options.kv_share <= 1:
        raise InputError(f"found {options.kv_share:g}", "a share above 0 and up to 1", "--kv-share")
    if changed is None:
        home, room = _room_bytes(options, system, parallel, cost)
        room *= parallel.stage_devices / parallel.replica_devices / _fullest_stage(model, formats, parallel)
    else:
        sizes = changed.sizes(sizes)
        home, room = kv_room(model, stage, formats, changed.policy, options.kv_share, fidelity)

    def memory() -> KvMemory:
        return kv_memory(
            options.kv,
            sizes,
            stage,
            room,
            home=home,
            most_tokens=model.max_positions,
            prefix_tokens=trace.block_tokens,
        )

    _check_memory(options, memory())

    def told(ended: int, now_s: float) -> None:
        if progress is not None:
            progress(ended, len(trace), now_s)

    if prompts:
        link = _link(system, parallel, sizes, bandwidth, len(model.order) if options.overlap else 1)
        pools = [Pool(cost, [memory() for _ in range(count)]) for count in (prompts, replicas)]
        result = serve_disaggregated(
            trace, pools[0], pools[1], link, scheduler, routing=options.routing, stop=stop, progress=told
        )
    elif replicas > 1:
        result = serve_replicas(
            trace, cost, [memory() for _ in range(replicas)], scheduler,
            routing=options.routing, stop=stop, progress=told,
        )  # fmt: skip
    else:
        result = serve(trace, cost, memory(), scheduler, stop=stop, progress=told)
    devices = parallel.replica_devices * (prompts + replicas)
    return ServeRun(
        options, model, system, result, replace(objectives, devices=devices, idle_power_w=stage.idle_power_w)
    )


def _fidelity(options: ServeOptions, system: System) -> str:
    """As asked for; else kernel, where the system says what kernels are cut for and no policy asks the road."""
    if options.fidelity is None:
        kernels = any(engine.units is not None for engine in system.engines.values())
        return "kernel" if kernels and not options.offload else "roofline"
    if options.fidelity not in FIDELITIES:
        raise unknown_name("fidelity", options.fidelity, FIDELITIES, field="--fidelity")
    return options.fidelity


class _Progress:
    """A line on standard error every two seconds."""

    def __init__(self) -> None:
        self._next_s = time.monotonic() + _PROGRESS_S

    def __call__(self, ended: int, requests: int, now_s: float) -> None:
        if time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + _PROGRESS_S
            text = f"{ended:,} of {requests:,} requests, {now_s:,.0f} s simulated"
            print(text, file=sys.stderr, flush=True)  # noqa: T201


def _quantity(text: str | None, dimension: Dimension, option: str) -> float | None:
    if text is None:
        return None
    try:
        value = parse_quantity(text, dimension)
    except InputError as error:
        raise replace(error, field=option) from None
    if not value > 0:
        raise InputError(f"found {text}", f"{dimension.expected} above 0", option)
    return value


def _pools(options: ServeOptions) -> tuple[int, int]:
    """Replicas for prompts alone (0: none), and the others."""
    if not 1 <= options.dp <= _MOST_REPLICAS:
        raise InputError(f"found {options.dp}", f"at least 1 and at most {_MOST_REPLICAS:,}", "--dp")
    if options.disaggregate is None:
        for option, given in (("--kv-link", options.kv_link is not None), ("--overlap", options.overlap)):
            if given:
                raise InputError("stands without --disaggregate", "both or neither", option)
        return 0, options.dp
    if options.dp > 1:
        raise InputError("stands beside --disaggregate", "one of the two: P:D says how many replicas", "--dp")
    found = re.fullmatch(r"([1-9]\d{0,3}):([1-9]\d{0,3})", options.disaggregate.strip())
    if found is None:
        raise InputError(f"found {options.disaggregate!r}", "two counts, such as 2:1", "--disaggregate")
    return int(found[1]), int(found[2])


def _trace(options: ServeOptions) -> RequestTrace:
    if options.seed < 0:
        raise InputError(f"found {options.seed}", "a seed of 0 or more", "--seed")
    try:
        trace = requests_of(options.requests, options.seed)
    except InputError as error:
        raise error if error.file is not None else replace(error, field="--requests") from None
    if options.until is not None:
        trace = first_requests(trace, options.until)
    if options.policy == "priority" and trace.priority is None:
        raise InputError(f"{trace.name} has no priorities", "a trace with a column 'priority'", "--policy")
    if options.rate is None:
        return trace
    try:
        return at_rate(trace, options.rate, options.seed)
    except InputError as error:
        raise replace(error, field="--rate") from None


def _room_bytes(options: ServeOptions, system: System, parallel: Parallel, cost: StepCost) -> tuple[str, float]:
    """The tier that computes, and what weights leave of its share on all devices, as on the fullest one."""
    assert isinstance(cost, ResidentStepCost)
    home = cost.ops.home
    each = options.kv_share * system.tiers[home].capacity_bytes - cost.weight_bytes
    if each <= 0:
        raise InfeasibleError(
            f"tier {home!r} has no room for keys and values beside a device's weights, at --kv-share "
            f"{options.kv_share:g}",
            cost.weight_bytes,
            options.kv_share * system.tiers[home].capacity_bytes,
            "bytes",
            "add devices or store the weights in a narrower format",
        )
    return home, each * parallel.replica_devices


def _check_memory(options: ServeOptions, memory: KvMemory) -> None:
    """Raises `InputError` where options ask of the memory what it cannot do, or it has tiers that nothing moves to."""
    if options.relay and not isinstance(memory, PrefixMemory):
        raise InputError(f"sequences share nothing in --kv {options.kv}", "--kv prefix:16 beside it", "--relay")
    if options.relay and options.offload:
        raise InputError("a policy of its own beside it", "--relay without --offload", "--relay")
    tiers, parks = isinstance(memory, TieredMemory), options.preemption == "park"
    if parks and not tiers:
        raise InputError(f"--kv {options.kv} has no tier to move sequences to", "such as paged:16+ddr", "--preemption")
    if tiers and not parks and ":spill" not in options.kv:
        raise InputError(f"nothing moves to the tiers of {options.kv}", "--preemption park, or +TIER:spill", "--kv")


def _fullest_stage(model: Model, formats: FormatChoice, parallel: Parallel) -> float:
    """The largest share of a sequence's keys and values that one pipeline stage holds: it is full first.

    Where layers keep windows, shares change from those of a token to those of a long sequence; the larger ones count.
    """
    held = []
    for counts in stages(model, parallel.pipeline):
        stage = tuple(block for block, count in counts.items() for _ in range(count))
        held.append(kv_sizes(replace(model, order=stage), formats, parallel.tensor))
    kept = [[sizes.kept_bytes(context) for sizes in held] for context in (1, 1 << 30)]
    return max(max(sizes) / sum(sizes) for sizes in kept)


def _link(system: System, parallel: Parallel, sizes: KvSizes, bandwidth: float | None, layers: int) -> KvLink:
    """Every device of a replica for prompts sends its own share at once, unless the bandwidth of all is given."""
    latency_s = 0.0 if system.fabric is None else system.fabric.latency_s
    if bandwidth is None:
        if system.fabric is None:
            raise InputError(f"{system.name} has no fabric", "a bandwidth, such as '50 GB/s'", "--kv-link")
        bandwidth = system.fabric.bandwidth_bytes_per_s * parallel.replica_devices
    return KvLink(bandwidth, latency_s, sizes.kept_bytes, layers)
