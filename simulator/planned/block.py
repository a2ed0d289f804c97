"""A block of batches through a decoder whose tensors are spread over GPU, CPU and disk, executed on the engine.

The loop is that of FlexGen (Sheng et al., ICML 2023, algorithm 1; FMInference/FlexGen@19753bc, flexgen/flex_opt.py,
the loop for several batches with overlap): for each token, layer and batch of the block, the next layer's weights (once
a layer, beside its first batch), the next batch's hidden states and cache and the last batch's results travel beside
the computation, and all of them end before the next batch begins. Attention over the part of the cache that is not on
the GPU is computed by the CPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mappers.planner.tiers.flexgen import BlockMemory, BlockPolicy, BlockRates, DecoderShape, best_shares, block_times
from simulator.engine import (
    Buffer,
    Demand,
    Dependency,
    Execution,
    Resident,
    Resource,
    Segment,
    Task,
    TaskGraph,
    execute,
    require_capacity,
)
from workloads.errors import InfeasibleError

__all__ = ["T4_HOST", "BlockMachine", "BlockRun", "better_policy", "run_block"]


@dataclass(frozen=True)
class BlockMachine:
    """Effective ``rates`` and physical ``memory``.

    ``host_turns``: copies to the GPU and the CPU's attention take turns on the host's memory, as the rates of a model
    assume that adds the two; without it the CPU computes at its rate while copies run at theirs.
    """

    rates: BlockRates
    memory: BlockMemory
    host_turns: bool = True


T4_HOST = BlockMemory(gpu=16 * 2.0**30, cpu=208e9, disk=1.5e12)
"""stated: NVIDIA T4 data sheet, 16 GB (binary, as memory chips are); FlexGen, its set-up: 208 GB DRAM, 1.5 TB SSD."""


@dataclass(frozen=True)
class BlockRun:
    """``tokens_per_s`` over prompt and generation; ``peak_bytes`` of gpu, cpu and disk as the engine found them."""

    tokens_per_s: float
    total_s: float
    prefill_s: float
    peak_bytes: dict[str, int]
    execution: Execution


def run_block(
    shape: DecoderShape, policy: BlockPolicy, machine: BlockMachine, *, prompt: int = 512, generated: int = 32
) -> BlockRun:
    """Execute one block; raises `InfeasibleError` when a place does not hold its share and what passes through it."""
    loop = _Loop(shape, policy, machine, prompt, generated)
    segments = [loop.segment("prefill", None)]
    segments += [loop.segment(f"token {step + 1}", step) for step in range(1, generated)]
    execution = execute(TaskGraph(_RESOURCES, tuple(segments), tuple(loop.residents())))
    memory = machine.memory
    peaks = require_capacity(execution, {"gpu": memory.gpu, "cpu": memory.cpu, "disk": memory.disk})
    prefill = max(run.finish_s for run in execution.all_runs("prefill"))
    tokens = policy.block * generated
    return BlockRun(tokens / execution.latency_s, execution.latency_s, prefill, peaks, execution)


_RESOURCES = (
    Resource("gpu engine", "engine"),
    Resource("cpu engine", "engine"),
    Resource("gpu", "tier"),
    Resource("cpu", "tier"),
    Resource("disk", "tier"),
    Resource("to gpu", "link"),
    Resource("from gpu", "link"),
    Resource("from disk", "link"),
    Resource("to disk", "link"),
)


class _Loop:
    def __init__(
        self, shape: DecoderShape, policy: BlockPolicy, machine: BlockMachine, prompt: int, generated: int
    ) -> None:
        self.shape, self.policy, self.machine = shape, policy, machine
        self.rates, self.prompt, self.generated = machine.rates, prompt, generated
        self.share = {name: max(0.0, value) for name, value in policy.shares.items()}

    def away(self, kind: str) -> float:
        return self.share[f"{kind}.cpu"] + self.share[f"{kind}.disk"]

    def segment(self, name: str, step: int | None) -> Segment:
        """All layers for the prompt (None) or for one generated token."""
        tasks: list[Task] = [self.weights()]
        buffers: list[Buffer] = []
        for k in range(self.policy.batches):
            start = Dependency(f"sync {k - 1}") if k else Dependency(f"sync {self.policy.batches - 1}", 1)
            beside = [*self.moves(k, step, start)]
            compute = [*self.compute(k, step, start)]
            tasks += [*beside, *compute]
            ends = [task.name for task in (*beside, *compute)] + (["load weights"] if k == 0 else [])
            tasks.append(Task(f"sync {k}", "compute", after=tuple(ends)))
            working = round(self.working_bytes(step))
            buffers.append(Buffer(f"working set {k}", "gpu", working, compute[0].name, (f"sync {k}",)))
        return Segment(name, tuple(tasks), self.shape.layers, entry=(), exit=(), buffers=tuple(buffers))

    def weights(self) -> Task:
        """The next layer's weights, once its room is free: beside the first batch of this layer."""
        size = self.shape.layer_bytes * self.away("w")
        demands = [*self.to_gpu(size)]
        if self.share["w.disk"]:
            from_disk = self.shape.layer_bytes * self.share["w.disk"]
            seconds = from_disk / (self.rates.weights_from_disk * self.rates.disk_to_cpu)
            demands.append(Demand("from disk", seconds, from_disk))
        return Task(
            "load weights", "transfer", tuple(demands), after=(Dependency(f"sync {self.policy.batches - 1}", 1),)
        )

    def to_gpu(self, size: float) -> Iterator[Demand]:
        if size:
            seconds = size / self.rates.cpu_to_gpu
            yield Demand("to gpu", seconds, size)
            if self.machine.host_turns:
                yield Demand("cpu", seconds, size)

    def moves(self, k: int, step: int | None, start: Dependency) -> Iterator[Task]:
        """Hidden states in and out, keys and values out, and in from the disk: for one batch in one layer."""
        rates, h, gbs = self.rates, self.shape.hidden, self.policy.batch
        tokens = self.prompt if step is None else 1
        hidden = 2.0 * tokens * h * gbs
        size = hidden * self.away("h")
        if size:
            yield Task(f"load hidden {k}", "transfer", tuple(self.to_gpu(size)), after=(start,))
            out = Demand("from gpu", size / rates.gpu_to_cpu_hidden, size)
            yield Task(f"store hidden {k}", "transfer", (out,), after=(start,))
        made = 4.0 * (tokens + (step is None)) * h * gbs
        if step is None and self.away("c"):
            size = made * self.away("c")
            out = Demand("from gpu", size / rates.gpu_to_cpu_cache, size)
            yield Task(f"store cache {k}", "transfer", (out,), after=(start,))
        if self.share["c.disk"]:
            size = made * self.share["c.disk"]
            rate = rates.cpu_to_disk_cache if step is None else rates.cpu_to_disk_decode
            yield Task(f"write cache {k}", "transfer", (Demand("to disk", size / rate, size),), after=(start,))
            if step is not None:
                size = self.cache_bytes(step) * self.share["c.disk"]
                read = Demand("from disk", size / rates.disk_to_cpu, size)
                yield Task(f"read cache {k}", "transfer", (read,), after=(start,))

    def cache_bytes(self, step: int) -> float:
        """Keys and values of one batch in one layer when it makes its token number ``step`` + 1."""
        return 4.0 * (self.prompt + step) * self.shape.hidden * self.policy.batch

    def compute(self, k: int, step: int | None, start: Dependency) -> Iterator[Task]:
        rates, h, h2, gbs = self.rates, self.shape.hidden, self.shape.feed_forward, self.policy.batch
        products = gbs * (8.0 * h**2 + 4.0 * h * h2)
        if step is None:
            scores = 4.0 * gbs * self.prompt**2 * h
            seconds = self.prompt * products / rates.matmul_prefill + scores / rates.attention_prefill
            yield _on_gpu(f"compute {k}", seconds, self.prompt * products + scores, (start,))
            return
        projections = gbs * 6.0 * h**2
        yield _on_gpu(f"project {k}", projections / rates.matmul_decode, projections, (start,))
        cache = self.cache_bytes(step)
        after = [f"project {k}"]
        near, far = cache * self.share["c.gpu"], cache * self.away("c")
        if near:
            yield _on_gpu(f"attend {k}", near / rates.attention_decode, near, (f"project {k}",))
            after.append(f"attend {k}")
        if far:
            seconds = far / rates.cpu_at(gbs, h)
            demands = [Demand("cpu engine", seconds, far, "op")]
            if self.machine.host_turns:
                demands.append(Demand("cpu", seconds, far))
            yield Task(f"attend on cpu {k}", "compute", tuple(demands), ("cpu engine",), after=(f"project {k}",))
            after.append(f"attend on cpu {k}")
        rest = products - projections
        yield _on_gpu(f"feed forward {k}", rest / rates.matmul_decode, rest, tuple(after))

    def working_bytes(self, step: int | None) -> float:
        """The largest operation of one batch beside its hidden states: projections with scores, or the wide product."""
        h, h2, gbs, heads = self.shape.hidden, self.shape.feed_forward, self.policy.batch, self.shape.heads
        tokens = self.prompt if step is None else 1
        context = self.prompt if step is None else self.prompt + step
        scores = 2.0 * heads * tokens * context * (1.0 if step is None else self.share["c.gpu"])
        attention = gbs * (6.0 * tokens * h + scores)
        wide = gbs * 2.0 * tokens * (h + h2)
        return 2.0 * tokens * h * gbs + max(attention, wide)

    def residents(self) -> Iterator[Resident]:
        shape, block = self.shape, self.policy.block
        weights = shape.layer_bytes * shape.layers
        cache = 4.0 * (self.prompt + self.generated) * shape.hidden * block * shape.layers
        hidden = 2.0 * self.prompt * shape.hidden * block
        for place in ("gpu", "cpu", "disk"):
            size = (
                weights * self.share[f"w.{place}"]
                + cache * self.share[f"c.{place}"]
                + hidden * self.share[f"h.{place}"]
            )
            yield Resident(f"shares on {place}", place, round(size))
        # Two layers' worth on the GPU, used in turn, and on the CPU what comes through it from the disk.
        yield Resident("weight buffers", "gpu", round(2 * shape.layer_bytes * self.away("w")))
        yield Resident("weights from disk", "cpu", round(shape.layer_bytes * self.share["w.disk"]))


def _on_gpu(name: str, seconds: float, operations: float, after: tuple[str | Dependency, ...]) -> Task:
    return Task(name, "compute", (Demand("gpu engine", seconds, operations, "op"),), ("gpu engine",), after=after)


def better_policy(
    shape: DecoderShape,
    machine: BlockMachine,
    start: BlockPolicy,
    *,
    prompt: int = 512,
    generated: int = 32,
    simulated: int = 24,
) -> tuple[BlockPolicy, BlockRun]:
    """The policy that runs fastest among ``start`` and the linear program's answers for many blocks.

    The program counts working sets more generously than the engine finds them, so it is asked with several allowances
    of GPU memory; the ``simulated`` most promising answers are executed, and those that do not fit are left.
    """
    found: dict[tuple[int, int, float], tuple[float, BlockPolicy]] = {}
    for batch in (start.batch // 2 or 1, start.batch * 2 // 3 or 1, start.batch, start.batch * 4 // 3, start.batch * 2):
        for batches in range(1, start.batches + 4):
            for allowance in (0.9, 1.05, 1.2):
                memory = BlockMemory(allowance * machine.memory.gpu, machine.memory.cpu, machine.memory.disk)
                policy = best_shares(shape, machine.rates, memory, batch, batches, prompt=prompt, generated=generated)
                if policy is not None:
                    times = block_times(shape, policy, machine.rates, prompt=prompt, generated=generated)
                    found[batch, batches, allowance] = (times.tokens_per_s, policy)
    promising = sorted(found.values(), key=lambda pair: -pair[0])[:simulated]
    best = start, run_block(shape, start, machine, prompt=prompt, generated=generated)
    for _, policy in promising:
        try:
            run = run_block(shape, policy, machine, prompt=prompt, generated=generated)
        except InfeasibleError:
            continue
        if run.tokens_per_s > best[1].tokens_per_s:
            best = policy, run
    return best
