"""Feed-forward of one block as operations: dense, or a mixture of experts with its router and combination."""

from __future__ import annotations

import math
from dataclasses import dataclass

from workloads.errors import InputError, unknown_name
from workloads.models.architecture import FeedForward, MixtureOfExperts
from workloads.models.layer_builder import LayerBuilder, activation, stored
from workloads.workload import Role

__all__ = ["ExpertShare", "add_feed_forward", "expected_distinct_experts"]

CASCADES = {
    ("silu", False): "silu",
    ("gelu", False): "gelu",
    ("gelu_tanh", False): "gelu-tanh",
    ("quick_gelu", False): "quick-gelu",
    ("relu", False): "relu",
    ("relu2", False): "squared-relu",
    ("silu", True): "swiglu",
    ("gelu", True): "geglu",
    ("gelu_tanh", True): "geglu-tanh",
    ("relu", True): "reglu",
    ("swiglu_clamped", True): "swiglu-clamped",
}
"""The cascade of each activation function, without and with a gate."""


@dataclass(frozen=True)
class ExpertShare:
    """Experts divided ``ways`` over devices (expert parallelism), instead of each cut over the devices of attention.

    With no more ways than devices of attention, these hold all tokens: each runs the tokens of its experts, and the
    all-reduce behind sums. With more, ``groups`` groups of devices have each its own tokens, which travel to the
    devices of their experts and back (GShard, arXiv 2006.16668, section 3.2). ``imbalance`` is what the device with
    most tokens gets over the mean.
    """

    ways: int
    groups: int = 1
    imbalance: float = 1.0


def expected_distinct_experts(experts: int, top_k: int, tokens: int) -> float:
    """Expected number of different experts for ``tokens`` tokens that each pick ``top_k`` of ``experts`` uniformly.

    Each expert is missed by a token with probability 1 - top_k/experts: experts * (1 - (1 - top_k/experts) ** tokens).
    Real routing is skewed and touches fewer; at least ``top_k`` are touched.
    """
    return experts * (1.0 - (1.0 - top_k / experts) ** tokens)


def add_feed_forward(
    layer: LayerBuilder,
    block: FeedForward | MixtureOfExperts,
    *,
    tokens: int,
    hidden: int,
    devices: int,
    source: str,
    after: tuple[str, ...] | None = None,
    share: ExpertShare | None = None,
) -> str:
    """Append the feed-forward reading activation ``source``; returns the activation that holds its output."""
    if isinstance(block, FeedForward):
        return _dense(layer, block, tokens, hidden, devices, source, prefix="ffn", role="feed_forward", after=after)
    return _experts(layer, block, tokens, hidden, devices, source, after, share)


def _split(intermediate: int, devices: int) -> int:
    if intermediate % devices:
        raise InputError(
            f"a feed-forward of {intermediate} cannot be split over {devices} devices",
            expected=f"a divisor of {intermediate}",
            field="devices",
        )
    return intermediate // devices


def _activation_cascade(block: FeedForward) -> str:
    try:
        return CASCADES[block.activation, block.gated]
    except KeyError:
        known = sorted(name for name, gated in CASCADES if gated == block.gated)
        kind = "gated" if block.gated else "plain"
        raise unknown_name(f"{kind} activation", block.activation, known, field="activation") from None


def _dense(
    layer: LayerBuilder,
    block: FeedForward,
    tokens: int,
    hidden: int,
    devices: int,
    source: str,
    *,
    prefix: str,
    role: Role,
    after: tuple[str, ...] | None,
) -> str:
    inner = _split(block.intermediate, devices)
    wide = inner * (2 if block.gated else 1)
    for name, width_in, width_out, read, wait in (
        (f"{prefix}_up", hidden, wide, source, after),
        (f"{prefix}_down", inner, hidden, f"{prefix}_activated", None),
    ):
        reads = {"A": activation(read), "W": layer.store(f"{name}_weight", role, width_in * width_out)}
        if block.bias:
            reads["B"] = layer.store(f"{name}_bias", "norm", width_out)
        sizes = {"m": tokens, "n0": width_in, "n1": width_out}
        layer.op(name, "gemm", "gemm-bias" if block.bias else "gemm", sizes, reads, {"Z": activation(name)}, after=wait)
        if name.endswith("_up"):
            _activate(layer, block, f"{prefix}_activated", f"{prefix}_up", tokens, inner)
    return f"{prefix}_down"


def _activate(layer: LayerBuilder, block: FeedForward, name: str, source: str, rows: int, inner: int) -> None:
    reads = {"U": activation(source, rows * inner)}
    if block.gated:
        reads["G"] = activation(source, rows * inner)
    layer.op(name, "elementwise", _activation_cascade(block), {"t": rows, "s": inner}, reads, {"H": activation(name)})


def _experts(
    layer: LayerBuilder,
    block: MixtureOfExperts,
    tokens: int,
    hidden: int,
    devices: int,
    source: str,
    after: tuple[str, ...] | None,
    share: ExpertShare | None,
) -> str:
    expert = block.expert
    ways, groups = (share.ways, share.groups) if share else (1, 1)
    if block.experts % ways:
        raise InputError(
            f"{block.experts} experts cannot be divided over {ways} devices", f"a divisor of {block.experts}", "expert"
        )
    inner = _split(expert.intermediate, max(1, devices // ways))
    wide = inner * (2 if expert.gated else 1)
    rows = math.ceil(tokens * groups * block.top_k / ways * (share.imbalance if share else 1.0))
    touched = expected_distinct_experts(block.experts, block.top_k, tokens * groups) / ways
    away = groups > 1
    start = after if after is not None else (layer.steps[-1].name,)

    router = layer.store("router_weight", "norm", hidden * block.experts + (block.experts if block.router_bias else 0))
    layer.op(
        "router", "gemm", "gemm", {"m": tokens, "n0": hidden, "n1": block.experts},
        {"A": activation("residual" if block.early_router else source), "W": stored(router.name)},
        {"Z": activation("router_logits")},
        after=() if block.early_router else start,
    )  # fmt: skip
    layer.op(
        "route", "elementwise", "moe-route", {"t": tokens, "x": block.experts, "k": block.top_k},
        {"L": activation("router_logits")}, {"P": activation("routing_weights")},
    )  # fmt: skip
    weights = layer.store("experts_weight", "experts", block.experts // ways * (hidden * wide + inner * hidden))
    if expert.bias:
        layer.store("experts_bias", "norm", block.experts // ways * (wide + hidden))
    # Devices of one group of attention hold the same tokens: each sends its part of them, and the fullest gets most.
    sent = tokens * block.top_k * hidden / devices * (share.imbalance if share else 1.0)
    ready = (*start, "route")
    if away:
        ready = (layer.all_to_all("dispatch", sent, ways, after=ready),)
    layer.op(
        "experts_up", "grouped_gemm", "gemm", {"m": rows, "n0": hidden, "n1": wide},
        {"A": activation(source, rows * hidden), "W": stored(weights.name, touched * hidden * wide)},
        {"Z": activation("experts_up")}, after=ready,
    )  # fmt: skip
    _activate(layer, expert, "experts_activated", "experts_up", rows, inner)
    layer.op(
        "experts_down", "grouped_gemm", "gemm", {"m": rows, "n0": inner, "n1": hidden},
        {"A": activation("experts_activated"), "W": stored(weights.name, touched * inner * hidden)},
        {"Z": activation("experts_down")},
    )  # fmt: skip
    waits = [layer.all_to_all("return", sent, ways) if away else "experts_down"]
    if block.shared is not None:
        if block.shared_gate:
            gate = layer.store("shared_gate_weight", "norm", hidden)
            layer.op(
                "shared_gate", "gemm", "gemm", {"m": tokens, "n0": hidden, "n1": 1},
                {"A": activation(source), "W": gate}, {"Z": activation("shared_gate")}, after=start,
            )  # fmt: skip
            waits.append("shared_gate")
        waits.append(
            _dense(
                layer, block.shared, tokens, hidden, devices, source, prefix="shared", role="feed_forward", after=start
            )
        )
    layer.op(
        "combine", "elementwise", "moe-combine", {"t": tokens, "k": block.top_k, "d": hidden},
        {
            "X": activation("experts_down", tokens * block.top_k * hidden if share else None),
            "P": activation("routing_weights"),
        },
        {"Y": activation("combine")},
        after=tuple(waits),
    )  # fmt: skip
    if block.shared is not None:
        layer.op(
            "shared_sum", "elementwise", "residual-add", {"t": tokens, "d": hidden},
            {"X": activation("combine"), "F": activation("shared_down")}, {"Y": activation("shared_sum")},
        )  # fmt: skip
        return "shared_sum"
    return "combine"
