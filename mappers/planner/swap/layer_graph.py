"""One transformer layer in training: its operations forward and backward, and every tensor they leave behind.

Tensors are *skeletal* (written in the forward pass, read again in the layer's backward pass) or transient. Bytes and
work are those of one device under tensor and sequence parallelism over all devices: what lies between the parallel
regions is split along the tokens, what lies within them along heads or columns, and the tensors that are gathered from
all devices or reduced over them are whole. The skeletal ones are those of MEMO's figure 4 (arXiv 2407.12117); as there,
the softmax statistics of attention, 4 bytes per head and token, are left out (0.1 % of a 7B layer).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from workloads.errors import InputError
from workloads.models.architecture import Block, FeedForward, MixtureOfExperts, Model
from workloads.models.flops import attended_pairs

__all__ = ["LayerGraph", "LayerOp", "layer_graph"]

_ELEMENT_BYTES = 2
_ACCUMULATOR_BYTES = 4
_BACKWARD_PER_FORWARD = 2.5
"""Attention's backward pass has five matrix products where the forward pass has two (FlashAttention-2, 2307.08691)."""


@dataclass(frozen=True)
class LayerOp:
    """One operation: what it reads and writes, and its work on one device.

    A workspace lives only while its operation runs. ``attention_forward`` says which of attention's two kernels
    the ``attention_flops`` belong to. ``memory_bytes`` pass the device's memory, ``fabric_bytes`` leave the device.
    """

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    workspaces: tuple[str, ...] = ()
    gemm_flops: float = 0.0
    attention_flops: float = 0.0
    attention_forward: bool = True
    memory_bytes: float = 0.0
    fabric_bytes: float = 0.0


@dataclass(frozen=True)
class LayerGraph:
    """A layer's operations in order, and the bytes of every tensor on one device.

    The layer reads ``input`` and writes ``output`` (the next layer's input); backward it reads ``d_output`` and writes
    ``d_input``. ``skeletal`` names the tensors that backward reads again, in the order they are written.
    """

    tokens: int
    devices: int
    forward: tuple[LayerOp, ...]
    backward: tuple[LayerOp, ...]
    bytes_of: dict[str, int]
    skeletal: tuple[str, ...]

    @property
    def skeletal_bytes(self) -> int:
        return sum(self.bytes_of[name] for name in self.skeletal)

    def bytes_per_token(self, name: str) -> float:
        """Bytes of one token's part of a tensor, over all devices that hold one."""
        return self.bytes_of[name] * self.devices / self.tokens


def layer_graph(model: Model, tokens: int, devices: int) -> LayerGraph:
    """The layer that ``model`` repeats, on one of ``devices`` for a sequence of ``tokens``.

    Raises `InputError` where the layers are not all one dense causal kind, or the devices do not divide what they
    split.
    """
    block = _only_block(model)
    attention, feed_forward = block.attention, block.feed_forward
    assert isinstance(feed_forward, FeedForward)
    for field, count, what in (
        ("devices", attention.heads, "attention heads"),
        ("devices", feed_forward.intermediate, "feed-forward columns"),
        ("context", tokens, "tokens"),
    ):
        if tokens < 1 or devices < 1 or count % devices:
            expected = f"a divisor of the {count} {what}" if field == "devices" else f"a multiple of {devices} tokens"
            raise InputError(f"{devices} devices share {count} {what}", expected, field)
    hidden = model.hidden
    kv_heads = max(attention.kv_heads // devices, 1)
    query = tokens * (attention.heads // devices) * attention.head_dim
    key = tokens * kv_heads * attention.head_dim
    shard, whole = tokens // devices * hidden, tokens * hidden
    wide = tokens * (feed_forward.intermediate // devices)
    elements = {
        "input": shard, "input_norm": shard, "gathered_input": whole, "query": query, "key": key, "value": key,
        "attention": query, "projected": whole, "projected_shard": shard, "residual": shard, "post_norm": shard,
        "gathered_post": whole, "gate": wide, "up": wide, "activated": wide, "down": whole, "down_shard": shard,
        "output": shard, "d_output": shard, "d_down": whole, "d_activated": wide, "d_gate": wide, "d_up": wide,
        "gathered_post_again": whole, "d_gathered_post": whole, "d_post_norm": shard, "d_residual": shard,
        "d_projected": whole, "d_attention": query, "d_query": query, "d_key": key, "d_value": key,
        "d_key_of_heads": query, "d_value_of_heads": query, "gathered_input_again": whole, "d_gathered_input": whole,
        "d_input_norm": shard, "d_input": shard,
    }  # fmt: skip
    sizes = {name: _ELEMENT_BYTES * count for name, count in elements.items()}
    sizes["query_accumulator"] = _ACCUMULATOR_BYTES * query
    sizes["softmax_delta"] = _ACCUMULATOR_BYTES * tokens * (attention.heads // devices)
    gathered = _ELEMENT_BYTES * whole * (devices - 1) / devices
    macs = attended_pairs(attention, tokens, 0) * 2 * attention.head_dim * (attention.heads // devices)
    work = _Work(hidden, tokens, sizes, gathered, 2.0 * macs)
    forward = work.forward(query // tokens, key // tokens, wide // tokens, feed_forward.gated)
    backward = work.backward(
        query // tokens, key // tokens, wide // tokens, feed_forward.gated, grouped=attention.kv_heads < attention.heads
    )
    again = {name for op in backward for name in op.reads}
    skeletal = ("input", *(name for op in forward for name in op.writes if name in again))
    used = {name for op in (*forward, *backward) for name in (*op.reads, *op.writes, *op.workspaces)}
    kept = {name: size for name, size in sizes.items() if name in used}
    return LayerGraph(tokens, devices, forward, backward, kept, skeletal)


@dataclass(frozen=True)
class _Work:
    """What both passes share: bytes by tensor, bytes that a gather or a reduction sends, attention's FLOPs."""

    hidden: int
    tokens: int
    sizes: dict[str, int]
    gathered: float
    attention_flops: float

    def _gemm(self, columns: int) -> float:
        return 2.0 * self.tokens * self.hidden * columns

    def _vector(self, name: str, reads: Iterable[str], write: str) -> LayerOp:
        reads = tuple(reads)
        return LayerOp(name, reads, (write,), memory_bytes=sum(self.sizes[tensor] for tensor in (*reads, write)))

    def _moved(self, name: str, read: str, write: str) -> LayerOp:
        return LayerOp(name, (read,), (write,), fabric_bytes=self.gathered)

    def forward(self, query: int, key: int, wide: int, gated: bool) -> tuple[LayerOp, ...]:
        gate = (LayerOp("gate", ("gathered_post",), ("gate",), gemm_flops=self._gemm(wide)),) if gated else ()
        return (
            self._vector("input_norm", ("input",), "input_norm"),
            self._moved("gather_input", "input_norm", "gathered_input"),
            LayerOp("query", ("gathered_input",), ("query",), gemm_flops=self._gemm(query)),
            LayerOp("key", ("gathered_input",), ("key",), gemm_flops=self._gemm(key)),
            LayerOp("value", ("gathered_input",), ("value",), gemm_flops=self._gemm(key)),
            LayerOp("attention", ("query", "key", "value"), ("attention",), attention_flops=self.attention_flops),
            LayerOp("projection", ("attention",), ("projected",), gemm_flops=self._gemm(query)),
            self._moved("scatter_projected", "projected", "projected_shard"),
            self._vector("add_attention", ("input", "projected_shard"), "residual"),
            self._vector("post_norm", ("residual",), "post_norm"),
            self._moved("gather_post", "post_norm", "gathered_post"),
            *gate,
            LayerOp("up", ("gathered_post",), ("up",), gemm_flops=self._gemm(wide)),
            self._vector("activation", ("gate", "up") if gated else ("up",), "activated"),
            LayerOp("down", ("activated",), ("down",), gemm_flops=self._gemm(wide)),
            self._moved("scatter_down", "down", "down_shard"),
            self._vector("add_feed_forward", ("residual", "down_shard"), "output"),
        )

    def backward(self, query: int, key: int, wide: int, gated: bool, grouped: bool) -> tuple[LayerOp, ...]:
        gradients = ("d_gate", "d_up") if gated else ("d_up",)
        saved = ("gate", "up") if gated else ("up",)
        activation = ("d_activated", *saved, *gradients)
        spread = ("d_key_of_heads", "d_value_of_heads") if grouped else ()
        return (
            self._moved("gather_d_down", "d_output", "d_down"),
            LayerOp("d_down", ("d_down", "activated"), ("d_activated",), gemm_flops=2 * self._gemm(wide)),
            LayerOp(
                "d_activation",
                ("d_activated", *saved),
                gradients,
                memory_bytes=sum(self.sizes[tensor] for tensor in activation),
            ),
            self._moved("gather_post_again", "post_norm", "gathered_post_again"),
            LayerOp(
                "d_up",
                (*gradients, "gathered_post_again"),
                ("d_gathered_post",),
                gemm_flops=2 * len(gradients) * self._gemm(wide),
            ),
            self._moved("scatter_d_post", "d_gathered_post", "d_post_norm"),
            self._vector("d_post_norm", ("d_post_norm", "residual", "d_output"), "d_residual"),
            self._moved("gather_d_projected", "d_residual", "d_projected"),
            LayerOp("d_projection", ("d_projected", "attention"), ("d_attention",), gemm_flops=2 * self._gemm(query)),
            LayerOp(
                "d_attention",
                ("d_attention", "attention", "query", "key", "value"),
                ("d_query", "d_key", "d_value"),
                ("query_accumulator", "softmax_delta", *spread),
                attention_flops=_BACKWARD_PER_FORWARD * self.attention_flops,
                attention_forward=False,
            ),
            self._moved("gather_input_again", "input_norm", "gathered_input_again"),
            LayerOp(
                "d_query_key_value",
                ("d_query", "d_key", "d_value", "gathered_input_again"),
                ("d_gathered_input",),
                gemm_flops=2 * (self._gemm(query) + 2 * self._gemm(key)),
            ),
            self._moved("scatter_d_input", "d_gathered_input", "d_input_norm"),
            self._vector("d_input_norm", ("d_input_norm", "input", "d_residual"), "d_input"),
        )


def _only_block(model: Model) -> Block:
    """The one kind of layer that the model repeats."""
    block = model.blocks[0]
    odd = None
    if len(model.blocks) > 1 or isinstance(block.feed_forward, MixtureOfExperts):
        odd = "layers of several kinds or experts"
    elif block.attention.latent or block.cross_attention or not block.attention.causal or block.parallel:
        odd = "latent, cross, bidirectional or parallel attention"
    if odd is not None:
        raise InputError(f"{model.name} has {odd}", "a dense decoder of equal layers", "model")
    return block
