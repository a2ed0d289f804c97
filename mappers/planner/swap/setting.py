"""What all policies of a training step share: a model on one device of a machine, and the choice put as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from mappers.planner.swap.layer_graph import LayerGraph, layer_graph
from mappers.planner.swap.machine import HostTier, Machine
from mappers.planner.swap.optimizer_stride import HOST_BYTES, SUBGROUP, StridePlan, best_stride, rates_of
from mappers.planner.swap.optimizer_stride import STATE_BYTES as MOVED_STATE_BYTES
from mappers.planner.swap.shares import RecomputeStep, SwapProblem, TensorClass
from mappers.planner.swap.step_ops import StepOps, head_chunks_of, step_ops
from workloads.errors import InputError
from workloads.models.architecture import Model
from workloads.models.counts import parameters

__all__ = ["STATE_BYTES", "SwapSetting", "recompute_steps", "setting_of", "swap_problem"]

STATE_BYTES = 18
"""Of a parameter: 2 in bf16, gradient, master copy and two moments in fp32. Stated: Megatron Core's guide, distributed
optimizer, 16-bit parameters with fp32 gradients, not distributed."""

_UPDATE_BYTES = 30
"""Of a parameter, through memory in one update of Adam: read gradient, copy and moments (16), write all but the
gradient (14). Derived."""


@dataclass(frozen=True)
class SwapSetting:
    """What all policies share: the model on one device, and what does not depend on the choice.

    ``host_state_bytes`` of optimizer state lie in the first tier behind the link; ``update`` says who updates them.
    """

    model: Model
    machine: Machine
    graph: LayerGraph
    head_chunks: int
    state_bytes: int
    host_state_bytes: int = 0
    update: StridePlan | None = None

    @property
    def layers(self) -> int:
        return len(self.model.order)

    def step(self, recomputed: Mapping[str, float] | None = None, kept_layers: int = 0) -> StepOps:
        """The step's operations where ``recomputed`` run again."""
        return step_ops(
            self.graph,
            self.layers,
            self.model.vocabulary,
            self.model.hidden,
            recomputed=recomputed,
            kept_layers=kept_layers,
            head_chunks=self.head_chunks,
        )

    @property
    def update_s(self) -> float:
        """The optimizer's update, on the device or split with the host."""
        if self.update is not None:
            return self.update.seconds
        count = parameters(self.model).total / self.machine.devices
        return _UPDATE_BYTES * count / self.machine.memory_bytes_per_s


def setting_of(
    model: Model, machine: Machine, context: int, head_chunks: int | None = None, *, states_on_host: bool = False
) -> SwapSetting:
    """``model`` on ``machine`` with one sequence of ``context`` tokens; None takes the chunks of `head_chunks_of`.

    ``states_on_host`` puts the optimizer's master copy and moments into the host's memory, updated at the best stride.
    """
    graph = layer_graph(model, context, machine.devices)
    if head_chunks is not None and not 1 <= head_chunks <= context:
        raise InputError(f"found {head_chunks}", f"1 to {context}", "head_chunks")
    chunks = head_chunks or head_chunks_of(graph, model.vocabulary, model.hidden)
    count = parameters(model).total
    if not states_on_host:
        return SwapSetting(model, machine, graph, chunks, -(-STATE_BYTES * count // machine.devices))
    if not machine.tiers:
        raise InputError(f"{machine.name} has no host memory behind its devices", "states on the device", "states")
    own = count / machine.devices
    stride = best_stride(own, max(1, round(own / SUBGROUP)), rates_of(machine), slots=2)
    left = -(-(STATE_BYTES - MOVED_STATE_BYTES) * count // machine.devices)
    return SwapSetting(model, machine, graph, chunks, left, -(-HOST_BYTES * count // machine.devices), stride)


def swap_problem(
    setting: SwapSetting, arena_bytes: int, *, tiers: bool = True, head_bytes: int | None = None
) -> SwapProblem:
    """The choice of shares for ``setting``, with ``arena_bytes`` for transients; without ``tiers`` nothing leaves.

    Where ``head_bytes`` are given, no layer stays whole and ``arena_bytes`` are those of the layers alone.
    """
    graph, machine = setting.graph, setting.machine
    steps = recompute_steps(setting)
    blocks = _block_seconds(setting, setting.step())
    room = machine.memory_bytes - setting.state_bytes
    layers = sum(blocks["forward.0"] + blocks["backward.0"] for _ in range(setting.layers))
    return SwapProblem(
        setting.layers,
        tuple(TensorClass(name, graph.bytes_of[name]) for name in graph.skeletal),
        steps,
        blocks["forward.0"],
        blocks["backward.0"],
        sum(blocks.values()) - layers + setting.update_s,
        machine.link_bytes_per_s,
        _free_tiers(setting) if tiers else (),
        room - arena_bytes,
        head_bytes is None,
        float("inf") if head_bytes is None else room - head_bytes,
    )


def _free_tiers(setting: SwapSetting) -> tuple[HostTier, ...]:
    """The tiers with what the optimizer's state leaves of the first."""
    if not setting.host_state_bytes:
        return setting.machine.tiers
    host, *others = setting.machine.tiers
    return (replace(host, capacity_bytes=max(0.0, host.capacity_bytes - setting.host_state_bytes)), *others)


def recompute_steps(setting: SwapSetting) -> tuple[RecomputeStep, ...]:
    """The forward operations that lead to a skeletal tensor other than the layer's input."""
    graph, machine = setting.graph, setting.machine
    writer = {name: op.name for op in graph.forward for name in op.writes}
    needs = {op.name: tuple(writer[name] for name in op.reads if name not in graph.skeletal) for op in graph.forward}
    wanted = {op.name for op in graph.forward if any(name in graph.skeletal for name in op.writes)}
    for op in reversed(graph.forward):
        if op.name in wanted:
            wanted.update(needs[op.name])
    return tuple(
        RecomputeStep(
            op.name,
            machine.seconds(op),
            tuple(name for name in op.writes if name in graph.skeletal),
            needs[op.name],
        )
        for op in graph.forward
        if op.name in wanted
    )


def _block_seconds(setting: SwapSetting, step: StepOps) -> dict[str, float]:
    return {block.name: sum(setting.machine.seconds(op) for op in block.ops) for block in step.blocks}
