"""What a machine gives to one device of a training step: rates, capacities, and where each number is from."""

from __future__ import annotations

from dataclasses import dataclass

from hw.spec.system import Engine, Link, System, Tier
from mappers.planner.swap.layer_graph import LayerOp
from workloads.errors import InputError

__all__ = ["KERNELS", "HostTier", "Kernels", "Machine", "machine_of"]

_HOST_LINK_SHARE = 25 / 31.5


@dataclass(frozen=True)
class Kernels:
    """The share of the matrix engine's peak that kernels attain, and where each share is from."""

    name: str
    gemm: float
    attention_forward: float
    attention_backward: float
    sources: dict[str, str]


KERNELS = {
    "attained": Kernels(
        "attained",
        gemm=195 / 312,
        attention_forward=175.6 / 312,
        attention_backward=175.6 / 312 * 63 / 73,
        sources={
            "gemm": "derived: 190 to 200 TFLOP/s in whole transformer passes on A100, raw times of "
            "sail-sg/VocabularyParallelism@6191c3bf",
            "attention_forward": "derived: 8 x 16,384 tokens, 32 heads of 128, causal, 100,164 us on A100-SXM4-80GB, "
            "aiconfigurator-core 0.12.0, vllm_flash_attn",
            "attention_backward": "derived: the forward share x 63 / 73, FlashAttention-2's best backward and forward "
            "shares (arXiv 2307.08691)",
        },
    ),
    "best": Kernels(
        "best",
        gemm=247.6 / 312,
        attention_forward=0.73,
        attention_backward=0.63,
        sources={
            "gemm": "derived: 8,192 x 6,144 x 4,096 in bf16 on A100-SXM4-80GB, aiconfigurator-core 0.12.0",
            "attention_forward": "stated: up to 73 % of the A100's peak, FlashAttention-2 (arXiv 2307.08691)",
            "attention_backward": "stated: up to 63 % of the A100's peak, FlashAttention-2 (arXiv 2307.08691)",
        },
    ),
}
"""Two ends: kernels as they were measured within frameworks, and as their authors published them at best."""


@dataclass(frozen=True)
class HostTier:
    """A tier behind the device's host link, as one device's share of it.

    ``wear_bytes_per_s`` is how fast it may be written over its lifetime, None where it does not wear. ``links`` is how
    many links lie between it and the device.
    """

    name: str
    capacity_bytes: float
    write_bytes_per_s: float
    read_bytes_per_s: float
    wear_bytes_per_s: float | None = None
    links: int = 1


@dataclass(frozen=True)
class Machine:
    """One of ``devices`` equal devices. ``link_bytes_per_s`` is the host link's rate in each direction, 0 for none."""

    name: str
    devices: int
    peak_flops_per_s: float
    memory_bytes_per_s: float
    memory_bytes: float
    memory_name: str
    fabric_bytes_per_s: float
    link_bytes_per_s: float
    tiers: tuple[HostTier, ...]
    kernels: Kernels
    sources: dict[str, str]

    def seconds(self, op: LayerOp) -> float:
        """How long one operation takes: products, attention, memory traffic and collectives, one after another."""
        attention = self.kernels.attention_forward if op.attention_forward else self.kernels.attention_backward
        seconds = op.gemm_flops / (self.peak_flops_per_s * self.kernels.gemm)
        seconds += op.attention_flops / (self.peak_flops_per_s * attention)
        seconds += op.memory_bytes / self.memory_bytes_per_s
        return seconds + (op.fabric_bytes / self.fabric_bytes_per_s if op.fabric_bytes else 0.0)


def machine_of(
    system: System,
    kernels: Kernels,
    *,
    wear_bytes_per_s: float | None = None,
    drives: bool = True,
) -> Machine:
    """``system`` as its training sees it: the fastest matrix engine in bf16, its memory, and what lies behind the link.

    A shared tier or link is split evenly over the devices. ``drives`` allows flash behind the host's memory;
    ``wear_bytes_per_s`` is what all drives together may be written over their lifetime.
    """
    engines = [engine for engine in system.engines.values() if engine.kind == "matrix"]
    if not engines:
        raise InputError(f"{system.name} has no matrix engine", "a machine that trains", "system")
    engine = max(engines, key=_rate)
    memory = system.tiers[engine.home]
    if system.devices > 1 and system.fabric is None:
        raise InputError(f"{system.name} has no fabric between its {system.devices} devices", "1 device", "devices")
    tiers: list[HostTier] = []
    host = _behind(system, engine.home, ("dram", "cxl"))
    link_rate = 0.0
    if host is not None:
        host_name, link = host
        link_rate = _part(link.bandwidth_bytes_per_s, link, system.node_devices) * _HOST_LINK_SHARE
        tiers.append(_tier(system, host_name, None, None))
        flash = _behind(system, host_name, ("flash",)) if drives else None
        if flash is not None:
            wear = None if wear_bytes_per_s is None else wear_bytes_per_s / system.node_devices
            tiers.append(_tier(system, flash[0], flash[1], wear))
    return Machine(
        system.name,
        system.devices,
        _rate(engine),
        memory.read_bandwidth_bytes_per_s,
        memory.capacity_bytes,
        engine.home,
        system.fabric.bandwidth_bytes_per_s if system.fabric else 0.0,
        link_rate,
        tuple(tiers),
        kernels,
        {
            **{f"kernels.{name}": text for name, text in kernels.sources.items()},
            "link": "derived: the link's rate x 25 / 31.5, an A100's measured peak on PCIe 4.0 x16 (BaM, ASPLOS 2023; "
            "ZaidQureshi/bam issue 54); every device has a link of its own",
            "memory": "stated: the tier's rate, all of it",
            "fabric": "stated: the fabric's rate, all of it; collectives hide behind nothing",
            "tiers": "derived: capacity and rate of a shared tier over the devices; all of the capacity",
        },
    )


def _rate(engine: Engine) -> float:
    return engine.throughput("bf16")


def _part(rate: float, component: Tier | Link, devices: int) -> float:
    return rate / devices if component.shared else rate


def _behind(system: System, name: str, kinds: tuple[str, ...]) -> tuple[str, Link] | None:
    """The largest tier of such a kind that a link joins to ``name``, and the link."""
    found = [
        (link.between[0] if link.between[1] == name else link.between[1], link)
        for link in system.links.values()
        if name in link.between
    ]
    fitting = [(other, link) for other, link in found if system.tiers[other].kind in kinds]
    return max(fitting, key=lambda pair: system.tiers[pair[0]].capacity_bytes, default=None)


def _tier(system: System, name: str, link: Link | None, wear: float | None) -> HostTier:
    tier, devices = system.tiers[name], system.node_devices
    through = float("inf") if link is None else _part(link.bandwidth_bytes_per_s, link, devices)
    return HostTier(
        name,
        _part(tier.capacity_bytes, tier, devices),
        min(_part(tier.write_bandwidth_bytes_per_s, tier, devices), through),
        min(_part(tier.read_bandwidth_bytes_per_s, tier, devices), through),
        wear,
        1 if link is None else 2,
    )
