"""Costs of a model's operations on one device of a replica: those that see tokens, attention, and the head.

The operations are those of lowering, mapped as `mappers.map_workload` maps them, and executed one after the other as
kernels in one stream are. Operations whose shapes depend on the number of new tokens alone are told from attention,
which depends on contexts, so that either is worked out once per shape.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from hw.spec.system import System
from mappers.assign import Assign, fastest_engines
from mappers.map_workload import op_mapper
from mappers.mapped import MappedOp
from mappers.roofline import roofline_op
from simulator.serving.parallel import Parallel
from simulator.transport import collective_cost, transfer_demands, transfer_latency_s
from workloads.errors import InputError
from workloads.formats import FormatChoice
from workloads.models.architecture import Model
from workloads.models.layer_builder import LayerBuilder
from workloads.models.lower import lower, lower_head
from workloads.models.lower_attention import AttentionShape, add_attention
from workloads.phases import Decode
from workloads.transforms.shared_prompt import relay
from workloads.workload import Collective, Layer, Op, Workload

__all__ = ["ATTENTION_OPS", "AttentionCost", "OpCosts", "Spent", "away_s"]

ATTENTION_OPS = frozenset({"attention", "absorb_query", "absorb_value", "key_up", "value_up", "positions"})
"""Names of operations whose shapes depend on contexts."""

RELAY_OPS = frozenset({"attention_shared", "attention_merge"})
"""What stands beside ``attention`` where a part of the contexts is read once."""


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds of kernels and of exchanges between devices, joules beside idle power, and launches, of one device."""

    kernel_s: float = 0.0
    collective_s: float = 0.0
    joules: float = 0.0
    launches: float = 0.0

    def plus(self, other: Spent, times: float = 1.0) -> Spent:
        """This and ``times`` the other."""
        return Spent(
            self.kernel_s + times * other.kernel_s,
            self.collective_s + times * other.collective_s,
            self.joules + times * other.joules,
            self.launches + times * other.launches,
        )


@dataclass(frozen=True, slots=True)
class AttentionCost:
    """Attention of some sequences: what computes, what moves, what starts, and what its smaller kernels beside take."""

    compute_s: float
    memory_s: float
    overhead_s: float
    beside_s: float
    joules: float

    @property
    def seconds(self) -> float:
        """As kernels of their own."""
        return max(self.compute_s, self.memory_s) + self.overhead_s + self.beside_s


class OpCosts:
    """Maps the operations of ``model`` on one of ``system``'s devices, each shape asked for; callers keep results."""

    def __init__(
        self,
        model: Model,
        system: System,
        formats: FormatChoice,
        parallel: Parallel,
        fidelity: str,
        software: str | None = None,
        assign: Assign = fastest_engines,
    ) -> None:
        if model.encoder_layers or not all(block.attention.causal for block in model.blocks):
            raise InputError(f"{model.name} has an encoder", expected="a decoder to serve", field="model")
        self.model, self.system, self.formats = replace(model, max_positions=None), system, formats
        self.parallel, self.fidelity, self.software, self.assign = parallel, fidelity, software, assign
        self.experts = parallel.expert_share(model)
        self._mapper = op_mapper(system, assign, fidelity, software)

    @cached_property
    def workload(self) -> Workload:
        """One sequence's decode step on one device of attention, for what does not depend on the batch."""
        return self.lowered(1)

    def lowered(self, tokens: int) -> Workload:
        """A decode step of ``tokens`` sequences; but for attention, chunks of prompts run the same operations."""
        phase = Decode(tokens, 1)
        return lower(self.model, phase, self.formats, devices=self.parallel.tensor, experts=self.experts)

    def map_ops(self, ops: Iterable[Op]) -> dict[str, MappedOp]:
        """The operations by name as the fidelity maps them."""
        if self.fidelity == "roofline":
            return {op.name: roofline_op(op, self.system, self.assign) for op in ops}
        return {op.name: self._mapper(op).mapped for op in ops}

    def token_costs(self, tokens: int) -> tuple[Spent, dict[int, Spent]]:
        """What ``tokens`` new tokens cost in the embedding and, without attention, in each of the model's blocks."""
        embedding, blocks = Spent(), {}
        for layer, _ in self.lowered(tokens).layers():
            if layer.name == "head":
                continue
            spent = self._layer(layer)
            if layer.name == "embedding":
                embedding = spent
            else:
                blocks[int(layer.name.removeprefix("layer") or 0)] = spent
        return embedding, blocks

    def head_cost(self, rows: int) -> Spent:
        """Final norm, logits and their gathering for ``rows`` sequences that yield a token."""
        return self._layer(lower_head(self.model, self.formats, rows, self.parallel.tensor))

    def attention_cost(self, block: int, sequences: int, new: int, context: int) -> AttentionCost:
        """Attention of ``sequences``, each with ``new`` tokens that see ``context`` with their own, in one block."""
        layer = LayerBuilder("attention", self.formats, ATTENTION_OPS)
        shape = AttentionShape(sequences, new, context, self.model.hidden, self.parallel.tensor)
        add_attention(layer, self.model.blocks[block].attention, shape, source="x")
        ops = self.map_ops(step for step in layer.steps if isinstance(step, Op))
        main = ops.pop("attention")
        return AttentionCost(
            main.compute_s,
            main.port_s,
            main.overhead_s,
            sum(op.time_s for op in ops.values()),
            self._joules(main) + sum(self._joules(op) for op in ops.values()),
        )

    def relay_cost(self, block: int, sequences: int, context: int, shared: int) -> AttentionCost:
        """Attention of decoding ``sequences`` whose first ``shared`` tokens are read once for all of them."""
        phase = Decode(sequences, context)
        whole = lower(self.model, phase, self.formats, devices=self.parallel.tensor, experts=self.experts)
        name = f"layer{block if len(self.model.blocks) > 1 else ''}"
        layer = next(layer for layer, _ in relay(whole, shared).layers() if layer.name == name)
        ops = self.map_ops(op for op in layer.ops if op.name in ATTENTION_OPS | RELAY_OPS).values()
        return AttentionCost(0.0, 0.0, 0.0, sum(op.time_s for op in ops), sum(self._joules(op) for op in ops))

    def _layer(self, layer: Layer) -> Spent:
        ops = self.map_ops(op for op in layer.ops if op.name not in ATTENTION_OPS)
        joules = sum(self._joules(op) for op in ops.values())
        # Where the attention of a layer was left out, its one launch is counted here.
        spent = Spent(sum(op.time_s for op in ops.values()), 0.0, joules, len(layer.ops))
        for step in layer.steps:
            if isinstance(step, Collective):
                spent = spent.plus(self._collective(step))
        return spent

    def _collective(self, step: Collective) -> Spent:
        sent, wire_s, beside_s = collective_cost(self.system, step, self.parallel.tensor)
        home, fabric = self.system.tiers[self.home], self.system.fabric
        port_s = sent / home.read_bandwidth_bytes_per_s + sent / home.write_bandwidth_bytes_per_s
        per_bit = home.read_energy_j_per_bit + home.write_energy_j_per_bit + (fabric.energy_j_per_bit if fabric else 0)
        return Spent(0.0, max(wire_s, port_s) + beside_s, 8 * sent * per_bit, 1)

    @cached_property
    def home(self) -> str:
        """The tier whose engines run the feed-forwards."""
        layer = next(layer for layer, _ in self.workload.layers() if layer.name.startswith("layer"))
        products = [op for op in layer.ops if op.kind == "gemm"]
        return roofline_op(products[-1], self.system, self.assign).home

    def _joules(self, op: MappedOp) -> float:
        tier = self.system.tiers[op.home]
        moved = op.read_bytes * tier.read_energy_j_per_bit + op.write_bytes * tier.write_energy_j_per_bit
        return 8 * moved + sum(share.energy_j for share in op.shares)


def away_s(system: System, home: str, token_bytes: float, away: tuple[tuple[str, int], ...]) -> float:
    """Bringing keys and values of so many tokens of other tiers to ``home``, each over its path, at the same time."""
    longest = 0.0
    for tier, tokens in away:
        if tokens:
            demands = transfer_demands(system, tier, home, tokens * token_bytes)
            seconds = max(demand.seconds for demand in demands) + transfer_latency_s(system, tier, home)
            longest = max(longest, seconds)
    return longest
