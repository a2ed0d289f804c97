"""LASP-2: linear attention over sequences of millions of tokens, each device with a chunk, states gathered once.

A training step of Linear-Llama3-1B runs on the step simulator: every device has its chunk of the sequence, as a data
parallel replica does whose attention exchanges states (`workloads.transforms.training.linear_attention`). LASP-1 hands
states
from device to device (`simulator.training.sequences.relay`), Ring Attention computes scores as softmax attention does,
keys and values passing by: the paper says that its baselines do without the right product.

What a step takes however short the sequence, 1.5 s, is no work of the GPUs: one constant, fitted to the table's row of
2,048 tokens on 64 GPUs. Memory rests on stated numbers alone.

States that are handed on need not hold up a step: while the last GPU waits for a layer's, the first is layers ahead
(``over_lasp1``). The paper counts them one after another in each layer, which is what was measured if layers did not
overlap (``over_lasp1_together``).
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial

from hw.spec.load import load_system, override_values
from hw.spec.system import System
from mappers.map_workload import map_workload
from simulator.interconnect.groups import send_time
from simulator.training.sequences.relay import RelayPass, relay_finish_s
from simulator.training.step.layout import Parallel
from simulator.training.step.result import StepResult
from simulator.training.step.setup import CONTENTION, Setup, lowered
from simulator.training.step.simulate import simulate_step
from studies.frame.constants import derived, fitted, of_machine, stated
from studies.frame.study import Config, Key, Metric, Miss, Study
from studies.published.lasp_2 import PUBLISHED, SPEED
from workloads.errors import InputError
from workloads.formats import storage_format
from workloads.models.architecture import Attention, Block, FeedForward, Model
from workloads.phases import Train
from workloads.transforms.training.linear_attention import CHUNK, linear_attention
from workloads.workload import Collective, Layer, Op, Workload

__all__ = ["STUDY"]

MACHINE = "a100-80gb-sxm"
HIDDEN, HEADS, KV_HEADS, WIDE, LAYERS, VOCABULARY = 2048, 16, 4, 8192, 16, 128256
_SCRIPT = "examples/linear_llama3/run_pretrain_mcore_llama.sh in weigao266/Linear-MoE, f9954592"
CONSTANTS = {
    "model": stated(None, "", f"{_SCRIPT}, 1B: 16 layers, width 2048, feed-forward 8192, untied; 16 heads (A.5.3)"),
    "groups": derived(KV_HEADS, "", f"{_SCRIPT}: 8 groups of keys and values for 32 heads, so 4 for the paper's 16"),
    "state_bytes": derived(18, "B", "bf16 2, gradient in fp32 4, master copy 4, moments 8: Megatron, not divided"),
    "tensor_rate": of_machine(MACHINE, "engines.tensor.throughput"),
    "hbm_rate": of_machine(MACHINE, "tiers.hbm.read_bandwidth"),
    "hbm_capacity": of_machine(MACHINE, "tiers.hbm.capacity"),
    "nvlink": of_machine(MACHINE, "fabric.bandwidth"),
    "network": of_machine(MACHINE, "network.bandwidth"),
    "network_step": of_machine(MACHINE, "network.latency"),
    "chunk": stated(CHUNK, "", "BLOCK of lasp/lasp_naive.py in OpenNLPLab/LASP, 19750091"),
    "kernels": fitted("kernel", "", "constants of kernel fidelity: kernels measured alone, none of these runs"),
    "contention": fitted(CONTENTION, "", "seconds lost to an exchange beside kernels: MPT models (simulator.training)"),
    "outside": fitted(1.4745, "s", "a step's time that no sequence length changes: table 6, 2K tokens on 64 GPUs"),
}
_TIMES = (
    "model",
    "groups",
    "tensor_rate",
    "hbm_rate",
    "nvlink",
    "network",
    "network_step",
    "chunk",
    "kernels",
    "contention",
)


def _model() -> Model:
    attention = Attention(HEADS, KV_HEADS, HIDDEN // HEADS)
    block = Block(attention, FeedForward(WIDE, gated=True, activation="silu"), "rms")
    return Model("linear-llama3-1b", "llama", HIDDEN, VOCABULARY, (block,), (0,) * LAYERS, tied_embeddings=False)


@cache
def _system(gpus: int) -> System:
    return override_values(load_system(MACHINE), {"devices": gpus})


def _setup(strategy: str, sequence: int, gpus: int) -> Setup:
    """A sequence over all GPUs: by scores in a ring, or in chunks that are each a replica's own sequence."""
    if sequence % gpus:
        raise InputError(f"{sequence} tokens over {gpus} GPUs", f"a multiple of {gpus}", "--config sequence")
    if strategy == "ring":
        return Setup(_model(), Train(1, sequence, gradient_format="fp32"), 1, Parallel(context=gpus))
    exchange = partial(linear_attention, devices=gpus, exchange="lasp-1" if strategy == "lasp-1" else "lasp-2")
    phase = Train(1, sequence // gpus, gradient_format="fp32")
    return Setup(_model(), phase, gpus, Parallel(data=gpus), transform=exchange)


@cache
def _workload(strategy: str, sequence: int, gpus: int) -> Workload:
    return lowered(_setup(strategy, sequence, gpus))


@cache
def _step(strategy: str, sequence: int, gpus: int) -> StepResult:
    return simulate_step(_setup(strategy, sequence, gpus), _system(gpus), fidelity="kernel")


@cache
def _waves(sequence: int, gpus: int) -> tuple[RelayPass, ...]:
    """LASP-1's layers, forward and backward: what stands before a state comes in, what needs it, what follows."""
    workload = _workload("lasp-1", sequence, gpus)
    mapped = map_workload(workload, _system(gpus), fidelity="kernel")
    passes = []
    for name in ("layer", "layer_backward"):
        times = {op.name: mapped.layers[name].ops[op.name].time_s for op in _layer(workload, name).ops}
        late = [op for op in times if op.endswith(("_sum", "_inter"))]
        first, end = list(times).index(late[0]), list(times).index(late[-1]) + 1
        spans = list(times.values())
        seconds = (sum(spans[:first]), sum(spans[first:end]), sum(spans[end:]))
        passes += [RelayPass(*seconds, name == "layer_backward")] * LAYERS
    return tuple(passes)


def _relay_s(sequence: int, gpus: int, *, together: bool) -> float:
    """Seconds that states on their way from GPU to GPU, there and back, add to a step."""
    system, passes = _system(gpus), [replace(each, together=together) for each in _waves(sequence, gpus)]
    size = storage_format("bf16").storage_bytes(HEADS * (HIDDEN // HEADS) ** 2)
    per_node = system.node_devices
    within = send_time(override_values(system, {"devices": per_node}), size, 1)
    across = send_time(system, size, 1) if gpus > per_node else within
    hops = [within if (at + 1) % per_node else across for at in range(gpus - 1)]
    alone = sum(each.before_s + each.with_s + each.after_s for each in passes)
    return float(relay_finish_s(passes, hops).max()) - alone


def _layer(workload: Workload, name: str) -> Layer:
    return next(layer for layer, _ in workload.layers() if layer.name == name)


def _step_s(strategy: str, sequence: int, gpus: int, *, together: bool = False) -> float:
    seconds = _step(strategy, sequence, gpus).latency_s + float(CONSTANTS["outside"].value)
    return seconds + (_relay_s(sequence, gpus, together=together) if strategy == "lasp-1" else 0.0)


def _exchanges(strategy: str, sequence: int, gpus: int) -> dict[str, float]:
    """Exchanges of a layer, one after another, and the bytes a GPU sends in them."""
    workload = _workload(strategy, sequence, gpus)
    steps = [s for name in ("layer", "layer_backward") for s in _layer(workload, name).steps]
    if strategy == "lasp-1":
        states = [
            o for s in steps if isinstance(s, Op) for o in s.operands if (o.activation or "").endswith("own_state")
        ]
        size = sum(o.bytes for o in states if o.access == "write")
        return {"exchanges": 2 * (gpus - 1), "sent": size}
    calls = [s for s in steps if isinstance(s, Collective)]
    count = len(calls) * (gpus - 1 if strategy == "ring" else 1)
    return {"exchanges": count, "sent": sum(s.bytes for s in calls) * (gpus - 1) / gpus}


def _simulate(config: Config) -> dict[str, float]:
    strategy, sequence, gpus = str(config["strategy"]), int(config["sequence"]), int(config["gpus"])
    ours, step = _step_s(strategy, sequence, gpus), _step(strategy, sequence, gpus)
    return {
        "tokens_per_s": sequence / ours,
        "step": ours,
        "gpu_step": ours - CONSTANTS["outside"].value,
        "memory": step.peak_bytes,
        "fits": float(step.lacking() is None),
        "over_lasp1": _step_s("lasp-1", sequence, gpus) / ours,
        "over_lasp1_together": _step_s("lasp-1", sequence, gpus, together=True) / ours,
        "over_ring": _step_s("ring", sequence, gpus) / ours,
        **_exchanges(strategy, sequence, gpus),
    }


def _scores_alone() -> str:
    """What Ring Attention must compute, at the peak rate and nothing else, against the whole published step."""
    said = []
    for kilo, speed, gain in ((512, SPEED[512][2], 1.178), (1024, SPEED[1024][2], None)):
        assert speed is not None
        workload = _workload("ring", kilo * 1024, 64)
        scores = sum(
            op.work.contraction for name in ("layer", "layer_backward") for op in _layer(workload, name).ops
            if op.kind == "attention"
        )  # fmt: skip
        floor = LAYERS * scores / _system(64).engines["tensor"].throughput("bf16")
        published = kilo * 1024 / speed
        more = "" if gain is None else f", which Ring Attention is said to exceed by {published * (gain - 1):.2f} s"
        peak = f"at {kilo}K tokens scores take {floor:.2f} s at the A100's peak"
        said.append(f"{peak}; LASP-2's whole step {published:.2f} s{more}")
    sent = _exchanges("ring", 2048 * 1024, 64)["sent"] * LAYERS
    return (
        f"Scores of all pairs of tokens: {'; '.join(said)}. Keys and values that pass by at 2048K are "
        f"{sent / 1e9:.0f} GB for a GPU, {sent / _system(64).network.bandwidth_bytes_per_s:.1f} s through its adapter."  # type: ignore[union-attr]
    )


def _outside_share() -> str:
    """How much of the time is the fitted constant, and what grows that is neither it nor a GPU's work."""
    parts = [f"{k}K: {_step('lasp-2', k * 1024, 64).latency_s:.2f} s" for k in (2, 512, 1024, 2048)]
    slower = _step("lasp-2", 2048 * 1024, 128).latency_s
    long, short = 2048 * 1024 / 769030, 256 * 1024 / 135635
    return (
        f"GPUs work {', '.join(parts)} of a step on 64. On 128 GPUs 2048K tokens take {slower:.2f} s by our count, "
        f"{long:.2f} s in table 6, where 256K tokens on 16, as many a GPU, take {short:.2f} s: what grows with the "
        "length and not with a GPU's share is outside the GPUs too, and not in our constant."
    )


STUDY = Study(
    title="LASP-2",
    claim="Gathering states once trains linear attention 15.2 % faster than handing them on, 36.6 % than a ring.",
    source="Sun et al., 2025, arXiv 2502.07563v1",
    machine="a100-80gb-sxm: nodes of 8 A100 on NVSwitch, an HDR adapter each, 8 to 128 GPUs",
    workload="one training step of Linear-Llama3-1B on one sequence over all GPUs",
    policy="a chunk of the sequence on each GPU; its state gathered, handed on, or scores over passing keys and values",
    baseline="LASP-1 and Ring Attention, on the same machine with the same other operations",
    keys={
        "strategy": Key("lasp-2", "how tokens see those on other GPUs", choices=("lasp-2", "lasp-1", "ring")),
        "sequence": Key(1048576, "tokens of the sequence", low=1024, high=16777216),
        "gpus": Key(64, "GPUs that share the sequence", choices=(8, 16, 32, 64, 128)),
    },
    constants=CONSTANTS,
    metrics={
        "tokens_per_s": Metric("tokens per second, all GPUs together", "1/s", (*_TIMES, "outside")),
        "step": Metric("a step", "s", (*_TIMES, "outside")),
        "gpu_step": Metric("a step without what is outside the GPUs", "s", _TIMES),
        "memory": Metric("bytes on a GPU", "B", ("model", "groups", "state_bytes")),
        "fits": Metric("1 where a GPU's memory suffices", "", ("model", "groups", "state_bytes", "hbm_capacity")),
        "over_lasp1": Metric("speed over LASP-1's", "", (*_TIMES, "outside")),
        "over_lasp1_together": Metric(
            "speed over LASP-1's where its layers do not overlap: all wait for the last GPU in each",
            "",
            (*_TIMES, "outside"),
        ),
        "over_ring": Metric("speed over Ring Attention's", "", (*_TIMES, "outside")),
        "exchanges": Metric("exchanges of a layer one after another, forward and backward", "", ("model",)),
        "sent": Metric("bytes a GPU sends for a layer, forward and backward", "B", ("model", "groups")),
    },
    published=PUBLISHED,
    simulate=_simulate,
    misses=(
        Miss(
            ("over_ring",),
            "Without the right product, as the paper says its baselines run, Ring Attention computes quadratic scores: "
            "what was measured cannot have done that.",
            _scores_alone,
        ),
        Miss(("tokens_per_s",), "Most of the published step is outside the GPUs and not a constant.", _outside_share),
    ),
)
