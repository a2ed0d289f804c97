"""A training step over many devices: passes, exchanges, the pipeline, the update, and what every device holds.

    setup = Setup(model("llama-3.1-70b"), Train(1, 8192, "full"), 64, read_parallel("dp=64,zero=3"))
    simulate_step(setup, override(load_system("a100-80gb-sxm"), ("devices=64",)), fidelity="kernel")

One micro-batch's passes through each stage's pieces are executed with what travels beside them (`pass_graph`), the
first and the last micro-batch's apart where weights are gathered or gradients exchanged once a step. Passes then run in
the order of the pipeline's schedule. The update begins when all stages have their gradients, since their norm is taken
over all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hw.spec.system import System
from mappers.assign import Assign, fastest_engines
from mappers.map_workload import map_workload, op_mapper
from mappers.mapped import MappedWorkload
from mappers.planner.placement import tier_capacity
from simulator.interconnect.groups import send_time
from simulator.training.pipeline.execution import StageLinks, run_pipeline
from simulator.training.pipeline.schedules import Schedule
from simulator.training.step.costs import PieceCost, piece_costs
from simulator.training.step.energy import step_energy
from simulator.training.step.exchange import piece_exchanges
from simulator.training.step.inventory import StageMemory, stage_memories, step_schedule
from simulator.training.step.pieces import Pieces, pieces_of
from simulator.training.step.result import StepResult
from simulator.training.step.setup import CONTENTION, Setup, check_setup, lowered
from simulator.training.step.stage_passes import StagePasses
from workloads.formats import storage_format
from workloads.models.flops import model_flops
from workloads.models.stored_formats import phase_formats

if TYPE_CHECKING:
    from mappers.kernels.constants import Entry

__all__ = ["Prepared", "prepare_step", "simulate_step", "step_links"]


@dataclass(frozen=True)
class Prepared:
    """One micro-batch on one device of a stage that holds all layers: its pieces, mapped, and what they cost.

    It hangs on the model, the phase, formats, transform, system and the degrees tensor, context, expert and sequence;
    not on pipeline, data, zero, the batch of the step or where states live.
    """

    pieces: Pieces
    mapped: MappedWorkload
    costs: dict[str, PieceCost]


def prepare_step(
    setup: Setup,
    system: System,
    *,
    fidelity: str = "roofline",
    software: str | None = None,
    constants: tuple[Entry, ...] = (),
    assign: Assign = fastest_engines,
) -> Prepared:
    """Lower and map one micro-batch's share of ``setup``."""
    workload = lowered(setup)
    mapper = op_mapper(system, assign, fidelity, software, constants)
    mapped = map_workload(workload, system, assign, fidelity, mapper=mapper, software=software)
    pieces = pieces_of(workload)
    return Prepared(pieces, mapped, piece_costs(pieces, mapped, system))


def simulate_step(
    setup: Setup,
    system: System,
    *,
    fidelity: str = "roofline",
    software: str | None = None,
    constants: tuple[Entry, ...] = (),
    assign: Assign = fastest_engines,
    prepared: Prepared | None = None,
) -> StepResult:
    """Run one step of ``setup`` on ``system``; arguments as `simulator.road.simulate` takes them.

    ``prepared`` is one micro-batch's share as `prepare_step` makes it, of a setup that differs in nothing it hangs on.
    Memory that does not suffice is no error here: see `StepResult.require_fit`. Raises `InputError` and
    `InfeasibleError` for layouts that cannot be (`check_setup`).
    """
    check_setup(setup, system)
    ready = prepared or prepare_step(
        setup, system, fidelity=fidelity, software=software, constants=constants, assign=assign
    )
    pieces, mapped, costs = ready.pieces, ready.mapped, ready.costs
    exchanges = piece_exchanges(pieces, setup.parallel, system)
    schedule = step_schedule(setup)
    contention = setup.contention
    if contention is None:
        contention = CONTENTION if fidelity == "kernel" else 0.0
    stages = StagePasses(setup, system, mapped.home, contention, pieces, costs, exchanges, schedule)
    run = run_pipeline(schedule, stages.times(), step_links(setup, system, schedule))
    memories = stage_memories(setup, pieces)
    ends = run.finish_s[:, -1] + stages.after_last()
    late_s = stages.before_first(run)
    update_s = stages.update_s()
    latency_s = late_s + float(ends.max()) + float(update_s.max())
    formats = setup.formats or phase_formats(setup.model, setup.phase)
    peak = max(engine.throughput(formats.compute) for engine in system.engines.values())
    useful = model_flops(setup.model, setup.global_batch, setup.phase.context)
    mfu = useful / (latency_s * setup.parallel.devices * peak)
    masked = ["an MFU above 100 %: it counts what attention's mask leaves out, too"] if mfu > 1 else []
    return StepResult(
        model=setup.model.name,
        system=system.name,
        layout=str(setup.parallel),
        schedule=schedule.name,
        fidelity=mapped.fidelity,
        devices=setup.parallel.devices,
        global_batch=setup.global_batch,
        micro_batch=setup.phase.batch,
        micro_batches=setup.micro_batches,
        context=setup.phase.context,
        latency_s=latency_s,
        tokens=setup.tokens,
        mfu=mfu,
        time_s=stages.split(latency_s, float(update_s.max())),
        bubble_share=run.bubble_share,
        memory=memories,
        home=mapped.home,
        capacity_bytes=_capacities(system, mapped.home, memories),
        sent_bytes=stages.sent_bytes(),
        energy_j=step_energy(
            setup, system, pieces, mapped, schedule, boundary_bytes=_boundary_bytes(setup), latency_s=latency_s
        ),
        notes=(*mapped.notes(), *masked),
        run=run,
    )


def _capacities(system: System, home: str, memories: Sequence[StageMemory]) -> dict[str, float]:
    names = [home, *dict.fromkeys(name for memory in memories for name, _ in memory.elsewhere)]
    return {name: tier_capacity(system, name) for name in names}


def step_links(setup: Setup, system: System, schedule: Schedule) -> StageLinks:
    """A micro-batch's hidden states go to the next stage's device of the same number."""
    if schedule.stages == 1:
        return StageLinks()
    return StageLinks(send_time(system, _boundary_bytes(setup), setup.parallel.stage_devices))


def _boundary_bytes(setup: Setup) -> float:
    """Hidden states of a micro-batch on one device."""
    parallel = setup.parallel
    formats = setup.formats or phase_formats(setup.model, setup.phase)
    elements = setup.phase.tokens // parallel.context * setup.model.hidden
    if parallel.sequence:
        elements //= parallel.tensor
    return storage_format(formats.activations).storage_bytes(elements)
