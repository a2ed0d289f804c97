"""A whole training step as blocks of operations: embedding, layers forward, head, layers backward, embedding again.

The order is that of one sequence per step. Every tensor of every layer has a name of its own, so lifetimes and requests
follow from who reads and writes it. The head works through the tokens in chunks, each forward and at once backward (the
loss is a sum over tokens); one chunk is the whole sequence at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from mappers.planner.allocation.requests import Request
from mappers.planner.swap.layer_graph import LayerGraph, LayerOp

__all__ = ["Lifetime", "StepBlock", "StepOps", "head_chunks_of", "step_ops", "step_requests"]

_VOCABULARY_MULTIPLE = 128
"""Megatron-LM pads the vocabulary to a multiple of it times the tensor-parallel devices (its default)."""

_SHORT, _LONG = 2, 4
"""Bytes of an element in bf16 and of the logits the loss is taken from, in fp32."""


@dataclass(frozen=True)
class StepBlock:
    """Operations that run one after another, with the names of their tensors in this step."""

    name: str
    ops: tuple[LayerOp, ...]


@dataclass(frozen=True)
class Lifetime:
    """A tensor's bytes and its first and last use: (block, operation within the block), both inclusive."""

    name: str
    bytes: int
    first: tuple[int, int]
    last: tuple[int, int]


@dataclass(frozen=True)
class StepOps:
    """The blocks of a step in order, the bytes of each tensor by its name, and which tensors are skeletal."""

    blocks: tuple[StepBlock, ...]
    bytes_of: Mapping[str, int]
    skeletal: frozenset[str]

    def lifetimes(self, *, with_skeletal: bool) -> list[Lifetime]:
        """Every tensor's lifetime, in order of first use; skeletal ones only where they are asked for."""
        first: dict[str, tuple[int, int]] = {}
        last: dict[str, tuple[int, int]] = {}
        for b, block in enumerate(self.blocks):
            for o, op in enumerate(block.ops):
                for name in (*op.reads, *op.writes, *op.workspaces):
                    first.setdefault(name, (b, o))
                    last[name] = (b, o)
        return [
            Lifetime(name, self.bytes_of[name], at, last[name])
            for name, at in first.items()
            if self.bytes_of[name] and (with_skeletal or name not in self.skeletal)
        ]


def step_ops(
    graph: LayerGraph,
    layers: int,
    vocabulary: int,
    hidden: int,
    *,
    recomputed: Mapping[str, float] | None = None,
    kept_layers: int = 0,
    head_chunks: int = 1,
) -> StepOps:
    """The step of ``layers`` layers like ``graph``.

    ``recomputed`` gives the share of the tokens for which a forward operation runs again just before a layer's backward
    pass, for all but the last ``kept_layers`` layers.
    """
    sizes: dict[str, int] = {}
    skeletal: set[str] = set()
    blocks = [_embedding(graph, hidden, sizes)]
    again = {name: share for name, share in (recomputed or {}).items() if share > 0}
    blocks += [
        StepBlock(f"forward.{layer}", _renamed(graph, graph.forward, layer, layers, sizes, skeletal))
        for layer in range(layers)
    ]
    blocks.append(_head(graph, layers, vocabulary, hidden, head_chunks, sizes))
    for layer in reversed(range(layers)):
        repeated: Mapping[str, float] = again if layer < layers - kept_layers else {}
        if repeated:
            ops = [_scaled(op, repeated[op.name]) for op in graph.forward if op.name in repeated]
            run = _renamed(graph, ops, layer, layers, sizes, skeletal, repeated)
            blocks.append(StepBlock(f"recompute.{layer}", run))
        made = {name for op in graph.forward if op.name in repeated for name in op.writes}
        run = _renamed(graph, graph.backward, layer, layers, sizes, skeletal, versions=made)
        blocks.append(StepBlock(f"backward.{layer}", run))
    blocks.append(_embedding_backward(graph, hidden, sizes))
    skeletal.update(name for name in sizes if name == "input.0")
    return StepOps(tuple(blocks), sizes, frozenset(skeletal))


def step_requests(step: StepOps, *, with_skeletal: bool, resident: Mapping[str, int] | None = None) -> list[Request]:
    """The step as requests to an allocator: an operation asks for what it writes, then gives back what it read last.

    ``resident`` is asked for first and never given back.
    """
    requests = [Request(True, name, size) for name, size in (resident or {}).items()]
    taken: dict[tuple[int, int], list[Lifetime]] = {}
    given: dict[tuple[int, int], list[Lifetime]] = {}
    for life in step.lifetimes(with_skeletal=with_skeletal):
        taken.setdefault(life.first, []).append(life)
        given.setdefault(life.last, []).append(life)
    for at in sorted({*taken, *given}):
        requests += [Request(True, life.name, life.bytes) for life in taken.get(at, ())]
        requests += [Request(False, life.name, life.bytes) for life in given.get(at, ())]
    return requests


def head_chunks_of(graph: LayerGraph, vocabulary: int, hidden: int) -> int:
    """The fewest chunks, a power of two, at which the head holds no more at once than a layer's backward pass."""
    most = _most_at_once(step_ops(graph, 1, vocabulary, hidden), "backward.0")
    chunks = 1
    while chunks < graph.tokens:
        if _most_at_once(step_ops(graph, 1, vocabulary, hidden, head_chunks=chunks), "head") <= most:
            break
        chunks *= 2
    return chunks


def _most_at_once(step: StepOps, name: str) -> int:
    at = next(b for b, block in enumerate(step.blocks) if block.name == name)
    within = [life for life in step.lifetimes(with_skeletal=False) if life.first[0] == at == life.last[0]]
    return max(
        sum(life.bytes for life in within if life.first[1] <= o <= life.last[1])
        for o in range(len(step.blocks[at].ops))
    )


def _scaled(op: LayerOp, share: float) -> LayerOp:
    return replace(
        op,
        gemm_flops=op.gemm_flops * share,
        attention_flops=op.attention_flops * share,
        memory_bytes=op.memory_bytes * share,
        fabric_bytes=op.fabric_bytes * share,
    )


def _renamed(
    graph: LayerGraph,
    ops: list[LayerOp] | tuple[LayerOp, ...],
    layer: int,
    layers: int,
    sizes: dict[str, int],
    skeletal: set[str],
    repeated: Mapping[str, float] | None = None,
    versions: set[str] | None = None,
) -> tuple[LayerOp, ...]:
    """``ops`` with names of this layer. What a repeated operation writes is another tensor than the first time."""
    made = {name for op in ops for name in op.writes} if repeated else (versions or set())
    shares = {name: repeated[op.name] for op in ops for name in op.writes} if repeated else {}

    def name_of(tensor: str) -> str:
        name = _name(tensor, layer, layers) if tensor not in made else f"{tensor}.{layer}.again"
        if name not in sizes:
            sizes[name] = round(graph.bytes_of[tensor] * shares.get(tensor, 1.0))
        if tensor in graph.skeletal or (tensor == "output" and tensor not in made and layer < layers - 1):
            skeletal.add(name)
        return name

    return tuple(
        replace(
            op,
            reads=tuple(map(name_of, op.reads)),
            writes=tuple(map(name_of, op.writes)),
            workspaces=tuple(map(name_of, op.workspaces)),
        )
        for op in ops
    )


def _name(tensor: str, layer: int, layers: int) -> str:
    """A layer's output is the next one's input, and its input's gradient the one before's output's."""
    if tensor == "output":
        return f"input.{layer + 1}" if layer < layers - 1 else "hidden"
    if tensor == "d_input":
        return f"d_output.{layer - 1}" if layer else "d_embedded"
    return f"{tensor}.{layer}"


def _embedding(graph: LayerGraph, hidden: int, sizes: dict[str, int]) -> StepBlock:
    whole = _SHORT * graph.tokens * hidden
    sizes |= {"embedded": whole, "input.0": graph.bytes_of["input"]}
    look_up = LayerOp("embed", (), ("embedded",), memory_bytes=2 * whole)
    scatter = LayerOp("scatter_embedded", ("embedded",), ("input.0",), fabric_bytes=_gathered(graph, whole))
    return StepBlock("embed", (look_up, scatter))


def _embedding_backward(graph: LayerGraph, hidden: int, sizes: dict[str, int]) -> StepBlock:
    whole = _SHORT * graph.tokens * hidden
    sizes |= {"d_embedded_whole": whole}
    gather = LayerOp("gather_d_embedded", ("d_embedded",), ("d_embedded_whole",), fabric_bytes=_gathered(graph, whole))
    return StepBlock("embed_backward", (gather, LayerOp("d_embed", ("d_embedded_whole",), (), memory_bytes=2 * whole)))


def _gathered(graph: LayerGraph, whole: float) -> float:
    return whole * (graph.devices - 1) / graph.devices


def _head(
    graph: LayerGraph, layers: int, vocabulary: int, hidden: int, chunks: int, sizes: dict[str, int]
) -> StepBlock:
    """Norm, then per chunk: gather, logits, their copy in fp32, the loss and its gradient, products back."""
    devices, shard = graph.devices, graph.bytes_of["input"]
    tokens = -(-graph.tokens // chunks)
    columns = -(-vocabulary // (_VOCABULARY_MULTIPLE * devices)) * _VOCABULARY_MULTIPLE
    whole, logits = tokens * hidden, tokens * columns
    product = 2.0 * logits * hidden
    last = f"d_output.{layers - 1}"
    sizes |= {"final_norm": shard, "d_final": shard, last: shard}
    ops = [LayerOp("final_norm", ("hidden",), ("final_norm",), memory_bytes=2 * shard)]
    for chunk in range(chunks):
        sizes |= {
            f"gathered_hidden.{chunk}": _SHORT * whole,
            f"logits.{chunk}": _SHORT * logits,
            f"probabilities.{chunk}": _LONG * logits,
            f"d_logits.{chunk}": _SHORT * logits,
            f"d_gathered_hidden.{chunk}": _SHORT * whole,
        }
        gathered, row, wide = f"gathered_hidden.{chunk}", f"logits.{chunk}", f"probabilities.{chunk}"
        back, d_gathered = f"d_logits.{chunk}", f"d_gathered_hidden.{chunk}"
        fabric = _gathered(graph, _SHORT * whole)
        ops += [
            LayerOp("gather_hidden", ("final_norm",), (gathered,), fabric_bytes=fabric),
            LayerOp("head", (gathered,), (row,), gemm_flops=product),
            LayerOp("widen", (row,), (wide,), memory_bytes=(_SHORT + _LONG) * logits),
            # In place: maximum, exponentials and their sum each pass over the logits once more.
            LayerOp("loss", (wide,), (back,), memory_bytes=(3 * _LONG + _SHORT) * logits),
            LayerOp("d_head", (back, gathered), (d_gathered,), gemm_flops=2 * product),
            LayerOp("scatter_d_hidden", (d_gathered,), ("d_final",), fabric_bytes=fabric),
        ]
    ops.append(LayerOp("d_final_norm", ("d_final", "hidden"), (last,), memory_bytes=3 * shard))
    return StepBlock("head", tuple(ops))
