"""MEMO: activations of long contexts swapped by tokens, what stays planned in two levels, beside recomputation.

Shares of tokens, times on three streams and both levels of the allocation are the planner's; the plan is then executed
and its times are what the engine finds. The baseline is full recomputation on the same machine and kernels, its memory
from an allocator as PyTorch has it that replays the step's requests. How fast kernels run is not published: two sets
stand beside each other, one measured within frameworks, one the best their authors published.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

from hw.spec.load import load_system, override
from mappers.planner.allocation.caching import CachingResult, replay_requests
from mappers.planner.swap import KERNELS, POLICIES, PlannedStep, machine_of, plan_step, setting_of
from mappers.planner.swap.gpt_models import GPT_MODELS, gpt_model
from mappers.planner.swap.layer_graph import LayerOp
from mappers.planner.swap.step_ops import StepOps, step_requests
from simulator.training.offload.replay import replay_step
from studies.frame.constants import derived, of_machine, stated
from studies.frame.study import Config, Key, Metric, Miss, Published, Study
from workloads.errors import InputError

__all__ = ["STUDY"]

_MACHINE = "a100-80gb-sxm"
_BEST = KERNELS["best"]
CONSTANTS = {
    "models": stated(None, "", "table 2; the head shares the embedding, positions take no table"),
    "skeletal": stated(2, "B", "figure 4: the skeletal activations of a layer, 2 bytes an element"),
    "states": stated(18, "B", "Megatron Core's guide: of a parameter, fp32 gradients and states, not distributed"),
    "shared": stated(12, "B", "of these, fp32 copy and moments; ZeRO, 1910.02054, section 5.1"),
    "peak": of_machine(_MACHINE, "engines.tensor.throughput"),
    "memory": of_machine(_MACHINE, "tiers.hbm.capacity"),
    "fabric": stated(200e9, "B/s", "A800 data sheet: 400 GB/s of NVLink, both ways together"),
    "host": stated(2e12, "B", "section 5: 2 TB of host memory for 8 devices"),
    "link": derived(25e9, "B/s", "mappers/planner/swap/machine.py: PCIe 4.0 x16 as an A100 attains it, one a device"),
    "gemm": derived(_BEST.gemm, "", _BEST.sources["gemm"].removeprefix("derived: ")),
    "attention": stated(
        (_BEST.attention_forward, _BEST.attention_backward), "", "up to 73 % and 63 % of the A100's peak, 2307.08691"
    ),
    "head": derived(1, "", "Megatron-LM's cross-entropy takes all tokens at once"),
    "loss": stated(
        None,
        "",
        "NVIDIA/Megatron-LM at 8e6e7cd, core/tensor_parallel/cross_entropy.py, subtracts the maximum into a copy, as "
        "it still did in June 2024 (pull request 863); looked up since figure 1a lacked just such a copy",
    ),
    "allocator": stated(None, "", "mappers/planner/allocation/caching.py: pytorch/pytorch at eb42ad6"),
    "binary": derived(
        2**30, "B", "the request of 4.0 GB that fails is 524,288 tokens x 4,096 x 2 bytes, so GB are GiB"
    ),
}


@dataclass(frozen=True)
class _Case:
    """What a plan depends on; ``head`` 0 takes the loss in as many chunks as need no more than a layer.

    Each of ``groups`` has its own sequence; they share the optimizer's states, and exchange gradients for nothing.
    """

    model: str
    context: int
    devices: int
    kernels: str
    host_tb: float
    link_gb_per_s: float
    groups: int
    head: int = 0


def _case(config: Config) -> _Case:
    model, context, devices, kernels = (config[name] for name in ("model", "context", "devices", "kernels"))
    host, link = float(config["host"]), float(config["link"])
    return _Case(str(model), int(context), int(devices), str(kernels), host, link, int(config["groups"]))


@cache
def _plan(case: _Case, policy: str) -> PlannedStep:
    if case.context % case.devices:
        raise InputError(f"found {case.context}", f"a multiple of {case.devices}", "--config context")
    changes = (
        f"devices={case.devices}",
        f"fabric.bandwidth={CONSTANTS['fabric'].value / 1e9:g} GB/s",
        f"tiers.ddr.capacity={case.host_tb * case.devices / 8:g} TB",
        f"links.host-pcie.bandwidth={case.link_gb_per_s:g} GB/s",
    )
    machine = machine_of(override(load_system(_MACHINE), changes), KERNELS[case.kernels], drives=False)
    setting = setting_of(gpt_model(case.model), machine, case.context, case.head or None)
    if case.groups > 1:
        # Master copy and moments are divided; weights and gradients are not (ZeRO's first stage).
        shared = CONSTANTS["shared"].value
        held = setting.state_bytes * (1 - shared / CONSTANTS["states"].value * (1 - 1 / case.groups))
        setting = replace(setting, state_bytes=math.ceil(held))
    return plan_step(setting, policy, allocate_by="search")


def _shifted(step: StepOps) -> StepOps:
    """The loss as Megatron-LM has it: logits less their maximum are a copy, made while both others are held."""
    sizes, blocks = dict(step.bytes_of), []
    for block in step.blocks:
        ops: list[LayerOp] = []
        for op in block.ops:
            if op.name != "loss":
                ops.append(op)
                continue
            wide, logits = op.reads[0], op.reads[0].replace("probabilities", "logits")
            sizes[f"{wide}.shifted"] = sizes[wide]
            ops.append(replace(op, reads=(logits, wide), writes=(f"{wide}.shifted",)))
            ops.append(LayerOp("d_loss", (f"{wide}.shifted",), op.writes))
        blocks.append(replace(block, ops=tuple(ops)))
    return StepOps(tuple(blocks), sizes, step.skeletal)


@cache
def _cached(case: _Case, policy: str, copied: bool) -> CachingResult:
    plan = _plan(replace(case, head=CONSTANTS["head"].value), policy)
    resident = {"states": plan.setting.state_bytes}
    step = _shifted(plan.step) if copied else plan.step
    return replay_requests(step_requests(step, with_skeletal=True, resident=resident))


def _simulate(config: Config) -> dict[str, float]:
    case = _case(config)
    plan, baseline = _plan(case, str(config["policy"])), _plan(case, "recompute")
    caching = _cached(case, "recompute", config["loss"] == "copied")
    setting, graph = plan.setting, plan.setting.graph
    found = {
        "attention_share": graph.bytes_of["attention"] / graph.skeletal_bytes,
        "skeletal": setting.layers * graph.skeletal_bytes,
        "fits": float(plan.fits),
        "reserved": caching.reserved_bytes,
        "allocated": caching.allocated_bytes,
        "unused": caching.fragmentation,
    }
    if not plan.fits:
        return found
    step_s = replay_step(plan).step_s
    found |= {
        "mfu": plan.model_flops / (step_s * case.devices * setting.machine.peak_flops_per_s),
        "mfu_recomputed": baseline.mfu,
        "speed_up": baseline.times.step_s / step_s,
        "step": step_s,
        "planned": plan.device_bytes,
    }
    return found | ({"alpha": plan.alpha.alpha} if plan.alpha and plan.alpha.alpha is not None else {})


def _baselines() -> str:
    """What recomputation alone costs, and what the published ratios ask of the baselines."""
    parts = []
    for kernels in KERNELS:
        found = _simulate(STUDY.config({"kernels": kernels}))
        parts.append(f"{100 * found['mfu_recomputed']:.1f} % with kernels {kernels} ({found['speed_up']:.2f}x)")
    case = _case(STUDY.config({}))
    times, lacking = _plan(case, "recompute").times, _plan(case, "recompute").missing["hbm"]
    most = 1 + times.forward_s / (times.forward_s + times.backward_s)
    return (
        f"On the same kernels full recomputation attains {' and '.join(parts)}, and no more than {most:.2f}x can "
        "come of running each forward pass once instead of twice. The published averages ask for baselines of "
        f"{52.3 / 1.97:.1f} % and {52.3 / 1.80:.1f} %. At 1 Mi tokens recomputation's plan lacks "
        f"{lacking / 1e9:.1f} GB a device even without waste, so they ran in other layouts, with an allocator that "
        "rearranges its segments: neither layouts nor stalls are published."
    )


def _curve() -> Sequence[str]:
    half = {loss: _simulate(STUDY.config({"context": 1 << 19, "loss": loss})) for loss in ("copied", "in place")}
    lines = [
        "Figure 1a depends on how the loss is taken: "
        + "; ".join(
            f"{loss}, {found['allocated'] / 2**30:.1f} GiB allocated of {found['reserved'] / 2**30:.1f} reserved"
            for loss, found in half.items()
        )
        + "; published are 65.7 of 73.5.",
        "",
        "Share of tokens swapped and utilisation by context, 7B on 8 devices, best kernels.",
        "",
        "| tokens | alpha | held back by | utilisation | recomputed | planned peak |",
        "| ---: | ---: | --- | ---: | ---: | ---: |",
    ]
    for exponent in range(14, 21):
        found = _simulate(STUDY.config({"context": 1 << exponent}))
        plan = _plan(_case(STUDY.config({"context": 1 << exponent})), "memo")
        if plan.alpha is None or "mfu" not in found:
            continue
        lines.append(
            f"| {1 << exponent:,} | {found['alpha']:.2f} | {plan.alpha.bound} | {100 * found['mfu']:.1f} % | "
            f"{100 * found['mfu_recomputed']:.1f} % | {found['planned'] / 1e9:.1f} GB |"
        )
    return lines


_ABSTRACT, _FIGURE = "abstract", "figure 1a"
_HALF = {"context": 1 << 19}
_GIB = CONSTANTS["binary"].value
_MEMORY = ("models", "skeletal", "states", "head", "loss", "allocator", "binary")
_TIME = ("models", "skeletal", "states", "peak", "memory", "fabric", "host", "link", "gemm", "attention")
STUDY = Study(
    title="MEMO",
    claim="7B trains on 1 M tokens with 8 GPUs at 52.30 % of their peak, 1.97x of Megatron-LM, 1.80x of DeepSpeed.",
    source="Zhao et al., SIGMOD 2025, arXiv 2407.12117",
    machine="8 A800 (a100-80gb-sxm with less NVLink) and 2 TB of host memory",
    workload="a training step of GPT models on one long sequence, bf16, tensor and sequence parallel",
    policy="inputs and attention's outputs swapped, of all else a share of the tokens; two buffers, two levels",
    baseline="full recomputation on the same machine; memory from a caching allocator",
    keys={
        "model": Key("gpt-7b", "model of table 2", choices=tuple(GPT_MODELS)),
        "context": Key(1 << 20, "tokens", low=1024, high=1 << 24),
        "devices": Key(8, "devices, all in one tensor-parallel group", choices=(1, 2, 4, 8)),
        "groups": Key(1, "groups of devices, each with its own sequence, that share states", low=1, high=1024),
        "policy": Key("memo", "what becomes of activations", choices=POLICIES),
        "kernels": Key("best", "as attained in frameworks, or at their best", choices=tuple(KERNELS)),
        "loss": Key(
            "copied", "the caching allocator's: maximum subtracted into a copy or not", choices=("copied", "in place")
        ),
        "host": Key(2.0, "TB of host memory for 8 devices", low=0.1, high=100),
        "link": Key(31.5, "GB/s of each device's host link, of which 79 % are attained", low=1, high=1000),
    },
    constants=CONSTANTS,
    metrics={
        "mfu": Metric("useful operations over those of the peak", "", _TIME),
        "mfu_recomputed": Metric("the same with full recomputation", "", _TIME),
        "speed_up": Metric("a step with full recomputation over this one", "", _TIME),
        "step": Metric("a step", "s", _TIME),
        "alpha": Metric("share of tokens that is swapped", "", _TIME),
        "fits": Metric("1 where the plan fits, else 0", "", _TIME),
        "planned": Metric("planned peak of a device", "B", ("models", "skeletal", "states", "shared")),
        "attention_share": Metric("attention's output among a layer's skeletal bytes", "", ("skeletal",)),
        "skeletal": Metric("skeletal bytes of all layers on a device", "B", ("models", "skeletal")),
        "reserved": Metric("what a caching allocator reserves, activations recomputed", "B", _MEMORY),
        "allocated": Metric("what is allocated of it at most", "B", _MEMORY),
        "unused": Metric("share of the reserved bytes that is never asked for at once", "", _MEMORY),
    },
    published=(
        Published("mfu", {}, 0.5230, _ABSTRACT),
        Published("mfu", {"kernels": "attained"}, 0.5230, _ABSTRACT),
        Published("attention_share", {}, 0.0625, "section 4.1"),
        Published("unused", _HALF, 1 - 65.7 / 73.5, _FIGURE),
        Published("unused", _HALF, 1 - 68.2 / 76.5, f"{_FIGURE}, second peak"),
        Published("reserved", _HALF, 73.5 * _GIB, _FIGURE),
        Published("reserved", _HALF, 76.5 * _GIB, f"{_FIGURE}, second peak"),
        Published("allocated", _HALF, 65.7 * _GIB, _FIGURE),
        Published("allocated", _HALF, 68.2 * _GIB, f"{_FIGURE}, second peak"),
        Published("mfu_recomputed", {}, 0.30, "DeepSpeed, third-party notes"),
        Published("mfu_recomputed", {"kernels": "attained"}, 0.30, "DeepSpeed, third-party notes"),
        Published("speed_up", {}, 1.97, f"{_ABSTRACT}, mean over Megatron-LM"),
        Published("speed_up", {}, 1.80, f"{_ABSTRACT}, mean over DeepSpeed"),
    ),
    simulate=_simulate,
    misses=(
        Miss(
            ("speed_up", "mfu_recomputed"), "The baselines' layouts and allocator stalls are not published.", _baselines
        ),
    ),
    notes=_curve,
)
