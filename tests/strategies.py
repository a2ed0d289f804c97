"""Random small machines and models for property tests."""

from __future__ import annotations

from hypothesis import strategies as st

from hw.spec.system import Engine, Fabric, Link, System, Tier
from workloads.models.architecture import Attention, Block, FeedForward, LatentAttention, MixtureOfExperts, Model
from workloads.phases import Decode, Phase, Prefill

__all__ = ["chain_system", "feed_forwards", "models", "phases", "systems"]


def chain_system(
    capacities: tuple[float, ...],
    bandwidths: tuple[float, ...],
    links: tuple[float, ...],
    *,
    peak: float = 1e12,
    overhead_s: float = 0.0,
    devices: int = 1,
    energy_j_per_bit: float = 1e-12,
    static_power_w: float = 0.0,
) -> System:
    """A chain of tiers t0 - t1 - ... with a matrix and a vector engine at home in t0."""
    tiers = {
        f"t{at}": Tier(
            kind="dram",
            capacity_bytes=capacity,
            read_bandwidth_bytes_per_s=bandwidth,
            write_bandwidth_bytes_per_s=bandwidth,
            read_energy_j_per_bit=energy_j_per_bit,
            write_energy_j_per_bit=2 * energy_j_per_bit,
        )
        for at, (capacity, bandwidth) in enumerate(zip(capacities, bandwidths, strict=True))
    }
    return System(
        name="chain",
        devices=devices,
        static_power_w=static_power_w,
        engines={
            "tensor": Engine(
                kind="matrix",
                home="t0",
                throughput_ops_per_s={"bf16": peak},
                launch_overhead_s=overhead_s,
                energy_j_per_op={"bf16": 1e-12},
            ),
            "vector": Engine(
                kind="vector",
                home="t0",
                throughput_ops_per_s={"fp32": peak / 8},
                launch_overhead_s=overhead_s,
                energy_j_per_op={"fp32": 3e-12},
            ),
        },
        tiers=tiers,
        links={
            f"l{at}": Link(between=(f"t{at}", f"t{at + 1}"), bandwidth_bytes_per_s=bandwidth, energy_j_per_bit=5e-12)
            for at, bandwidth in enumerate(links)
        },
        fabric=Fabric(topology="switch", bandwidth_bytes_per_s=1e10, latency_s=1e-6) if devices > 1 else None,
    )


rates = st.sampled_from([1e6, 3e6, 1e7, 7e7, 1e8, 1e9])


@st.composite
def systems(draw: st.DrawFn) -> System:
    """Two or three tiers, the last one large enough for every model of `models`."""
    length = draw(st.integers(2, 3))
    capacities = [draw(st.sampled_from([4e5, 1e6, 4e6])) for _ in range(length - 1)]
    return chain_system(
        (*capacities, 1e12),
        tuple(draw(rates) for _ in range(length)),
        tuple(draw(rates) for _ in range(length - 1)),
        peak=draw(st.sampled_from([1e8, 1e10, 1e12])),
        overhead_s=draw(st.sampled_from([0.0, 1e-5])),
        static_power_w=draw(st.sampled_from([0.0, 10.0])),
    )


@st.composite
def feed_forwards(draw: st.DrawFn) -> FeedForward:
    """A small dense feed-forward."""
    gated = draw(st.booleans())
    activation = draw(st.sampled_from(["silu", "gelu", "relu"]))
    return FeedForward(draw(st.sampled_from([32, 64])), gated, activation, bias=draw(st.booleans()))


@st.composite
def blocks(draw: st.DrawFn) -> Block:
    """A small block: dense or mixture, grouped or latent attention, sequential or parallel."""
    heads = draw(st.sampled_from([2, 4]))
    attention = Attention(
        heads=heads,
        kv_heads=draw(st.sampled_from([1, 2])),
        head_dim=8,
        qkv_bias=draw(st.booleans()),
        window=draw(st.sampled_from([None, 16])),
        rotary=draw(st.booleans()),
    )
    if draw(st.integers(0, 3)) == 0:
        latent = LatentAttention(draw(st.sampled_from([None, 16])), 16, 8, 4, 8)
        attention = Attention(heads, heads, 12, latent=latent)
    dense = draw(feed_forwards())
    part: FeedForward | MixtureOfExperts = dense
    if draw(st.booleans()):
        experts = draw(st.sampled_from([4, 8]))
        shared = draw(st.sampled_from([None, FeedForward(32, True, "silu")]))
        part = MixtureOfExperts(experts, draw(st.integers(1, 3)), dense, shared, shared_gate=shared is not None)
    parallel = draw(st.booleans())
    norms = draw(st.sampled_from([1, 2])) if parallel else draw(st.sampled_from([2, 4]))
    return Block(attention, part, draw(st.sampled_from(["rms", "layer"])), norms, parallel=parallel)  # type: ignore[arg-type]


@st.composite
def models(draw: st.DrawFn) -> Model:
    """A decoder of one or two kinds of small blocks, up to twelve layers, under 4 MB in bf16."""
    hidden = draw(st.sampled_from([32, 64]))
    kinds = tuple(draw(blocks()) for _ in range(draw(st.integers(1, 2))))
    order = tuple(draw(st.lists(st.integers(0, len(kinds) - 1), min_size=1, max_size=12)))
    return Model("small", "test", hidden, 128, kinds, order, tied_embeddings=draw(st.booleans()))


@st.composite
def phases(draw: st.DrawFn) -> Phase:
    """A small prefill or decode step."""
    kind = draw(st.sampled_from([Prefill, Decode]))
    return kind(draw(st.integers(1, 4)), draw(st.sampled_from([1, 8, 40])))
