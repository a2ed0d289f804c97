"""What steps of a serving engine cost on one replica, fast enough to ask for every step of a trace.

Costs of operations are worked out once per shape and kept. Shapes are asked for exactly up to `EXACT_TOKENS` new tokens
a step; beyond, and for contexts, only at nodes, with straight lines between. At kernel fidelity that costs a step up to
0.3 %, 0.05 % in the mean (four models on A100 and H100, 1 to 100 decodes, chunks to 8,192 tokens).

Pipeline: a step's batch runs as as many micro-batches as there are stages, or sequences if these are fewer. Steps
follow each other without draining the pipeline, so a step takes as long as the slowest stage takes for all
micro-batches, but never less than one of them, with the longest piece of a prompt whole, takes through all stages:
throughput by the slowest stage, latency by the sum.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from copy import copy

from hw.spec.system import System
from mappers.kernels.software import DEFAULT_SOFTWARE
from simulator.policy import Policy
from simulator.serving.cost_nodes import context_nodes, nodes
from simulator.serving.cost_ops import OpCosts, Spent, away_s
from simulator.serving.cost_road import RoadStepCost
from simulator.serving.host import NO_HOST, Host, host_of
from simulator.serving.parallel import Parallel, stages
from simulator.serving.step import StepBatch, StepCost, StepTime
from workloads.errors import InfeasibleError, InputError
from workloads.formats import FormatChoice, storage_format
from workloads.models.architecture import Model
from workloads.models.stored_formats import stored_formats

__all__ = ["EXACT_TOKENS", "ResidentStepCost", "step_cost"]

EXACT_TOKENS = 64
"""Up to so many new tokens a step, none of the operations that see tokens is interpolated."""

_StageParts = tuple[tuple[tuple[float, ...], ...], ...]
"""Per stage and block the five parts of `AttentionCost`."""

_NOTHING = Spent()
_SECONDS = ("kernel_s", "collective_s")


def step_cost(
    model: Model,
    system: System,
    *,
    parallel: Parallel | None = None,
    formats: FormatChoice | None = None,
    policy: Policy | None = None,
    fidelity: str = "roofline",
    software: str | None = None,
    host: Host | None = None,
) -> StepCost:
    """The costs of steps of ``model`` on one replica of ``parallel`` over devices of ``system``.

    ``parallel`` defaults to tensor parallelism over the system's devices. ``host`` defaults to none, at kernel fidelity
    to that measured with an engine of the software's time. Without a ``policy`` all weights lie in the tier that
    computes. With one, also the plain one, the road is asked (`RoadStepCost`): then what does not fit is streamed.
    Raises `InputError` for splits the model does not have and `InfeasibleError` where the
    weights do not fit.
    """
    parallel = parallel or Parallel(tensor=system.devices)
    stage = system.model_copy(update={"devices": parallel.stage_devices})
    formats = formats or stored_formats(model)
    if host is None:
        host = host_of(software or DEFAULT_SOFTWARE, system.name) if fidelity == "kernel" else NO_HOST
    if policy is None:
        return ResidentStepCost(OpCosts(model, stage, formats, parallel, fidelity, software), host)
    if parallel.replica_devices > parallel.tensor:
        raise InputError("a policy beside stages or divided experts", "tensor parallelism alone", "parallel")
    return RoadStepCost(model, stage, formats, policy, fidelity, host, software)


class ResidentStepCost:
    """Costs where all weights, and the KV cache but for what a batch says is away, lie in the tier that computes."""

    def __init__(self, ops: OpCosts, host: Host) -> None:
        self.ops, self.host, self.parallel = ops, host, ops.parallel
        self._stages = stages(ops.model, self.parallel.pipeline)
        self._check_capacity()
        self._token_bytes = ops.workload.stored_bytes("kv_cache") / self.parallel.pipeline
        self._tokens: dict[int, tuple[Spent, ...]] = {}
        self._heads: dict[int, Spent] = {}
        self._decodes: dict[tuple[int, int, int], tuple[tuple[float, float], ...]] = {}
        self._chunks: dict[tuple[int, int, int], _StageParts] = {}
        self._single_chunks: dict[tuple[int, int], Sequence[tuple[float, float]]] = {}
        self._none: Sequence[tuple[float, float]] = [(0.0, 0.0)] * len(self._stages)
        self._static_w = ops.system.model_copy(update={"devices": self.parallel.replica_devices}).idle_power_w

    def with_host(self, host: Host) -> ResidentStepCost:
        """The same costs beside another host; what has been worked out of kernels serves both."""
        other = copy(self)
        other.host = host
        return other

    # What the protocol asks for

    def step(self, batch: StepBatch) -> StepTime:
        """One step."""
        return self._run(batch, 1)

    def decode_run(self, batch: StepBatch, steps: int) -> StepTime:
        """``steps`` steps of ``batch.decodes`` sequences, each a token longer every step, from ``batch`` on, summed."""
        if batch.chunks:
            raise ValueError("a run of decodes has no chunks")
        return self._run(batch, steps)

    def _run(self, batch: StepBatch, steps: int) -> StepTime:
        """``steps`` equal steps but for the contexts of the decodes, which grow by a token each step."""
        chunks, decodes = batch.chunks, batch.decodes
        tokens = decodes
        for new, _ in chunks:
            tokens += new
        if not tokens:
            return StepTime(0.0, 0.0, {})
        sequences, rows = len(chunks) + decodes, batch.ends + decodes
        micro = min(len(self._stages), sequences)
        parts = micro * self.parallel.groups
        linear = self._token_costs(-(-tokens // parts))
        attention = self._none
        if decodes:
            shared = batch.shared_context if decodes > 1 else 0
            attention = self._decode_sums(-(-decodes // parts), batch.decode_context / decodes - shared, steps, shared)
        if chunks:
            prompts = self._chunk_costs(chunks, parts)
            attention = [(a + c, j + d) for (a, j), (c, d) in zip(attention, prompts, strict=True)]
        head = self._head_cost(-(-rows // parts)) if rows else _NOTHING
        if len(linear) == 1:
            (spent,), ((attention_s, joules),) = linear, attention
            kernels_s, collectives_s = steps * spent.kernel_s, steps * spent.collective_s
            head_s = steps * (head.kernel_s + head.collective_s)
            joules += steps * (spent.joules + head.joules)
        else:
            kernels_s, attention_s, collectives_s, head_s, joules = self._pipelined(
                linear, attention, head, micro, steps, -(-tokens // parts)
            )
            if chunks and micro > 1:
                # A piece of a prompt goes through all stages in one micro-batch, however small the others are.
                alone = self._run(StepBatch((max(chunks),)), 1)
                alone_s = alone.seconds - alone.parts_s["host"]
                slower = max(1.0, alone_s / (kernels_s + attention_s + collectives_s + head_s))
                kernels_s, attention_s, collectives_s, head_s = (
                    slower * part_s for part_s in (kernels_s, attention_s, collectives_s, head_s)
                )
        device_s = kernels_s + attention_s + collectives_s + head_s
        # Every stage has a host that launches for it.
        launches = micro * (sum(spent.launches for spent in linear) + head.launches) / len(linear)
        host_s = self.host.beside_s(device_s, steps, sequences, launches, prompts=bool(chunks))
        parts_s = {
            "linear": kernels_s,
            "attention": attention_s,
            "collectives": collectives_s,
            "head": head_s,
            "host": host_s,
        }
        seconds = device_s + host_s
        if batch.context_away:
            away = away_s(self.ops.system, self.ops.home, self._token_bytes, batch.context_away)
            parts_s["context_away"] = max(0.0, steps * away / self.parallel.groups - device_s)
            seconds += parts_s["context_away"]
        energy_j = joules * self.parallel.stage_devices * micro + self._static_w * seconds
        return StepTime(seconds, energy_j, parts_s)

    def _pipelined(
        self,
        linear: tuple[Spent, ...],
        attention: Sequence[tuple[float, float]],
        head: Spent,
        micro: int,
        steps: int,
        tokens: int,
    ) -> tuple[float, float, float, float, float]:
        """Seconds by part, and joules of one micro-batch: parts have their shares of the time through all stages."""
        sends_s = steps * (len(linear) - 1) * self._send_s(tokens)
        kernels_s, collectives_s = (steps * sum(getattr(s, name) for s in linear) for name in _SECONDS)
        head_s = steps * (head.kernel_s + head.collective_s)
        stage_s = [steps * (s.kernel_s + s.collective_s) + a for s, (a, _) in zip(linear, attention, strict=True)]
        stage_s[-1] += head_s
        through_s = sum(stage_s) + sends_s
        times = max(micro * max(stage_s), through_s) / through_s
        joules = steps * (sum(s.joules for s in linear) + head.joules) + sum(j for _, j in attention)
        return (
            times * kernels_s,
            times * sum(a for a, _ in attention),
            times * (collectives_s + sends_s),
            times * head_s,
            joules,
        )

    # What is kept

    def _token_costs(self, tokens: int) -> tuple[Spent, ...]:
        """Per stage, all that sees tokens: beyond `EXACT_TOKENS` on the line between two nodes."""
        if tokens in self._tokens:
            return self._tokens[tokens]
        low, high, share = nodes(tokens, EXACT_TOKENS)
        if low == high:
            embedding, blocks = self.ops.token_costs(tokens)
            found = [Spent() for _ in self._stages]
            found[0] = embedding
            for stage, counts in enumerate(self._stages):
                for block, count in counts.items():
                    found[stage] = found[stage].plus(blocks[block], count)
        else:
            pairs = zip(self._token_costs(low), self._token_costs(high), strict=True)
            found = [Spent().plus(a, 1 - share).plus(b, share) for a, b in pairs]
        self._tokens[tokens] = tuple(found)
        return self._tokens[tokens]

    def _head_cost(self, rows: int) -> Spent:
        if rows not in self._heads:
            low, high, share = nodes(rows, 16, coarser=1)
            if low == high:
                self._heads[rows] = self.ops.head_cost(rows)
            else:
                self._heads[rows] = _NOTHING.plus(self._head_cost(low), 1 - share).plus(self._head_cost(high), share)
        return self._heads[rows]

    def _decode_node(self, sequences: int, context: int, shared: int) -> tuple[tuple[float, float], ...]:
        """Seconds and joules per stage of the attention of ``sequences`` tokens that see ``context`` each.

        And beside them ``shared`` tokens that all of them see.
        """
        key = (sequences, context, shared)
        if key not in self._decodes:
            fewer, more, share = nodes(sequences, 32, coarser=2)
            if fewer != more:
                ends = self._decode_node(fewer, context, shared), self._decode_node(more, context, shared)
                pairs = zip(*ends, strict=True)
                self._decodes[key] = tuple((a + share * (c - a), b + share * (d - b)) for (a, b), (c, d) in pairs)
                return self._decodes[key]
            blocks = {
                block: self.ops.relay_cost(block, sequences, context + shared, shared)
                if shared and sequences > 1
                else self.ops.attention_cost(block, sequences, 1, context + shared)
                for block in set(self.ops.model.order)
            }
            self._decodes[key] = tuple(
                (
                    sum(count * blocks[block].seconds for block, count in counts.items()),
                    sum(count * blocks[block].joules for block, count in counts.items()),
                )
                for counts in self._stages
            )
        return self._decodes[key]

    def _decode_sums(self, sequences: int, context: float, steps: int, shared: int) -> Sequence[tuple[float, float]]:
        """`_decode_node` summed over ``steps`` steps from a mean ``context`` on, with lines between nodes."""
        sums, done = self._none, 0
        while done < steps:
            before, behind, share, count = context_nodes(context + done, steps - done)
            low, high = (self._decode_node(sequences, node, shared) for node in (before, behind))
            sums = [
                (s + count * (a[0] + share * (b[0] - a[0])), j + count * (a[1] + share * (b[1] - a[1])))
                for (s, j), a, b in zip(sums, low, high, strict=True)
            ]
            done += count
        return sums

    def _chunk_costs(self, chunks: tuple[tuple[int, int], ...], parts: int) -> Sequence[tuple[float, float]]:
        """Seconds and joules per stage of one of ``parts`` equal parts of the chunks, which share their kernels."""
        if len(chunks) > 1:
            return self._joined(chunks, parts)
        if chunks[0] not in self._single_chunks:
            self._single_chunks[chunks[0]] = self._joined(chunks, 1)
        return self._single_chunks[chunks[0]]

    def _joined(self, chunks: tuple[tuple[int, int], ...], parts: int) -> list[tuple[float, float]]:
        spread = min(parts, len(chunks))
        found = []
        pieces = [self._chunk(new, past, count) for (new, past), count in Counter(chunks).items()]
        for stage in zip(*pieces, strict=True):
            seconds = joules = 0.0
            for block in zip(*stage, strict=True):
                compute_s, memory_s, overhead_s, beside_s, spent_j = zip(*block, strict=True)
                seconds += max(sum(compute_s), sum(memory_s)) / spread + max(overhead_s) + sum(beside_s) / spread
                joules += sum(spent_j) / spread
            found.append((seconds, joules))
        return found

    def _chunk(self, new: int, past: int, count: int) -> _StageParts:
        """Per stage and block the parts of `AttentionCost` of ``count`` chunks, between nodes in new and past."""
        key = (new, past, count)
        if key in self._chunks:
            return self._chunks[key]
        low, high, share = nodes(new, 16, coarser=2)
        before, behind, rest = nodes(past, 16, coarser=3)
        if low == high and before == behind:
            found = []
            for counts in self._stages:
                costs = [(self.ops.attention_cost(b, count, new, new + past), n) for b, n in counts.items()]
                found.append(
                    tuple(
                        (n * c.compute_s, n * c.memory_s, n * c.overhead_s, n * c.beside_s, n * c.joules)
                        for c, n in costs
                    )
                )
            self._chunks[key] = tuple(found)
        elif low != high:
            return _between(self._chunk(low, past, count), self._chunk(high, past, count), share)
        else:
            return _between(self._chunk(new, before, count), self._chunk(new, behind, count), rest)
        return self._chunks[key]

    # What travels

    def _send_s(self, tokens: int) -> float:
        """Hidden states of ``tokens`` from stage to stage."""
        fabric = self.ops.system.fabric
        if fabric is None:
            raise InputError("no fabric joins the devices", expected="a fabric", field="fabric")
        size = storage_format(self.ops.formats.activations).storage_bytes(tokens * self.ops.model.hidden)
        return size / fabric.bandwidth_bytes_per_s + fabric.latency_s

    def _check_capacity(self) -> None:
        needed, available = self.weight_bytes, self.home_bytes
        if needed > available:
            raise InfeasibleError(
                f"tier {self.ops.home!r} cannot hold a device's weights of {self.ops.model.name}",
                needed,
                available,
                "bytes",
                "add devices, store the weights in a narrower format, or stream them under a policy",
            )

    @property
    def home_bytes(self) -> float:
        """Capacity of a device's tier that computes."""
        return self.ops.system.tiers[self.ops.home].capacity_bytes

    @property
    def weight_bytes(self) -> float:
        """Stored bytes, without the KV cache, on a device of the stage that holds most."""
        sizes: dict[str, float] = {}
        for layer, _ in self.ops.workload.layers():
            sizes[layer.name] = sum(tensor.bytes for tensor in layer.stored if tensor.role != "kv_cache")
        several = len(self.ops.model.blocks) > 1
        per_stage = [
            sum(count * sizes[f"layer{block if several else ''}"] for block, count in counts.items())
            for counts in self._stages
        ]
        per_stage[0] += sizes.get("embedding", 0.0)
        per_stage[-1] += sizes.get("head", 0.0)
        return max(per_stage)


def _between(low: _StageParts, high: _StageParts, share: float) -> _StageParts:
    return tuple(
        tuple(
            tuple(a + share * (b - a) for a, b in zip(lows, highs, strict=True))
            for lows, highs in zip(blocks, tops, strict=True)
        )
        for blocks, tops in zip(low, high, strict=True)
    )
