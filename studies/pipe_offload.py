"""PipeOffload: activations of a pipeline sent to the host, most or all of them, in schedules that make it worth more.

Schedules, their execution and what stages hold are `simulator.training.pipeline.schedules`, ``pipeline`` and
``pipeline_memory``. A layer's time is had from the rate and the count of operations that the authors' own criterion
states (``k``), or from our kernels and the lowered step's kept activations (``k_kernels``, and all that compares with
tensor parallelism, which the criterion does not know).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from hw.spec.load import load_system, override_values
from hw.spec.system import System
from mappers.map_workload import map_workload
from simulator.interconnect.links import nvlink
from simulator.training.offload.activation_step import activation_step
from simulator.training.offload.crossovers import context_where_offload_hides
from simulator.training.pipeline.execution import (
    Activations,
    Offload,
    PipelineRun,
    StageTimes,
    run_pipeline,
    stage_times,
)
from simulator.training.pipeline.links import stage_links
from simulator.training.pipeline.memory import (
    longest_offload,
    offload_ratio,
    peak_activation_bytes,
    selective_offload,
)
from simulator.training.pipeline.schedules import make_schedule
from studies.frame.constants import derived, fitted, of_machine, stated
from studies.frame.study import Config, Key, Metric, Published, Study
from workloads.errors import InputError
from workloads.models.architecture import Attention, Block, FeedForward, Model
from workloads.models.lower import lower
from workloads.models.stored_formats import phase_formats
from workloads.phases import Train
from workloads.transforms.training.sequence_parallel import sequence_parallel

__all__ = ["STUDY"]

_MACHINE = "a100-80gb-sxm"
_NOTES = "third-party notes on the paper"
_CODE = "sail-sg/zero-bubble-pipeline-parallelism"
SHAPES = {"10.5B": (5120, 38), "18.1B": (6144, 46), "42.9B": (8192, 62), "66.6B": (10240, 62), "83.8B": (10240, 78)}
SCHEDULES = ("1f1b", "interleaved", "gis", "gis-h", "gis-even", "gis-h-even", "v-half", "v-min")
OFFLOADS = ("none", "half", "full", "selective")
_ONE_LAYER = ("interleaved", "gis", "gis-h", "gis-even", "gis-h-even")
CONSTANTS = {
    "criterion": stated(10 / 3, "", f"k = 10 / (3 (6 h + s)) x rate of computation / rate of the link ({_NOTES})"),
    "rate": stated(220e12, "FLOP/s", f"the criterion's rate of computation ({_NOTES})"),
    "link": stated(15e9, "B/s", f"the criterion's rate of the host link, both ways together ({_NOTES})"),
    "layer_bytes": derived(20, "B", "per token and channel: 40 both ways, as 10 / 3 x 12 of the criterion"),
    "input_bytes": stated(2, "B", "per token and channel: a layer's input, all that full recomputation keeps"),
    "layer_flops": derived((24, 4), "", "24 s h^2 + 4 s^2 h of a forward pass: the criterion's 12 (6 h + s) s h both"),
    "peak": of_machine(_MACHINE, "engines.tensor.throughput"),
    "shapes": derived(SHAPES, "", "width and layers of the stated counts with 8 groups of keys; k p - 2 layers"),
    "groups": stated(8, "", f"{_CODE} at 2426d8b, pretrain_offload.sh: query groups"),
    "micro_batches": stated(2, "", f"{_CODE} at 2426d8b, pretrain_offload.sh: micro-batches of a step, per stage"),
    "chunk": stated(1, "", f"{_CODE} at 2426d8b, pretrain_offload.sh: layers of a virtual stage"),
    "vocabulary": derived(32000, "", "what the stated counts leave beside the layers, 24,000 to 33,000; SentencePiece"),
    "buffers": derived(2, "", "one leaves, or comes, while the next is made, or used"),
    "stays": stated(None, "", f"{_CODE} at 00fac1e, offloading.py: what could not be out and in again in time stays"),
    "again": stated(None, "", f"{_CODE} at 2426d8b: --recompute-lgd, results of norms and GELU are computed again"),
    "states": stated(18, "B", "a parameter, its gradient and Adam's states: Megatron Core's guide, not distributed"),
    "kernels": fitted("kernel", "", "constants of kernel fidelity: kernels measured alone, none of these runs"),
    "nvlink": stated(nvlink(3).rate_bytes_per_s, "B/s", "A100 white paper: 12 links of 25 GB/s in each direction"),
    "exchanges": derived((4, 4, 2), "", "a divided layer's gathers and scatters, arXiv 2205.05198, section 4.2.2"),
    "tensor": stated(8, "", f"the baseline's tensor parallelism, with sequence parallelism ({_NOTES})"),
}


def _shape(config: Config) -> tuple[int, int]:
    hidden, layers = SHAPES[str(config["model"])]
    return int(config["hidden"]) or hidden, int(config["layers"]) or layers


def _gpt(hidden: int, tokens: int, devices: int) -> Model:
    """One layer; each of ``devices`` has keys of its own."""
    heads = hidden // 128
    kv_heads = max(min(CONSTANTS["groups"].value, heads), devices)
    block = Block(Attention(heads, kv_heads, 128, rotary=False), FeedForward(4 * hidden, False, "gelu"), "layer")
    return Model("gpt", "gpt", hidden, CONSTANTS["vocabulary"].value, (block,), (0,), False, positions=tokens)


@cache
def _system(devices: int) -> System:
    return override_values(load_system(_MACHINE), {"devices": devices, "tiers.hbm.capacity": 1e15})


@cache
def _kernel_layer(hidden: int, tokens: int, batch: int, devices: int) -> tuple[float, float, float, float]:
    """Seconds of one layer's passes on our kernels (forward, for the input, for the weights), and the bytes it keeps
    where results of norms and GELU are computed again."""
    model, system = _gpt(hidden, tokens, devices), _system(devices)
    phase = Train(batch, tokens)
    workload = sequence_parallel(lower(model, phase, phase_formats(model, phase), devices=devices))
    step = activation_step(workload, map_workload(workload, system, fidelity="kernel"), system)
    layer = step.module_of[step.kept[0]]
    ours = [each for each in step.passes if each.module == layer]
    weights = sum(each.seconds for each in ours if each.backward and "_wgrad" in each.name)
    back = sum(each.seconds for each in ours if each.backward) - weights
    again = ("attention_norm@", "ffn_norm@", "ffn_activated@")
    held = sum(step.bytes_of[name] for name in step.kept if not name.startswith(again))
    return sum(each.seconds for each in ours if not each.backward), back, weights, held


def _flops(hidden: int, tokens: int, batch: int) -> tuple[float, float]:
    """Of a layer's and of the head's forward pass."""
    square, scores = CONSTANTS["layer_flops"].value
    layer = square * tokens * hidden**2 + scores * tokens**2 * hidden
    return batch * layer, batch * 2.0 * tokens * hidden * CONSTANTS["vocabulary"].value


def _slots(layers: int, stages: int, chunks: int) -> np.ndarray:
    """Layers at each position [stages x chunks]: embedding and head count as one each."""
    count = stages * chunks
    slots = np.array([(layers + 2) // count + (place < (layers + 2) % count) for place in range(count)], float)
    slots[0] -= 1
    slots[-1] = max(0.0, slots[-1] - 1)
    return slots


class _Pipeline:
    """A pipeline of this configuration: its schedule, times and activations; ``tensor`` devices to a stage."""

    def __init__(self, config: Config, schedule: str, *, tensor: int = 1, kernels: bool = False) -> None:
        devices, tokens, batch = (int(config[key]) for key in ("devices", "tokens", "batch"))
        hidden, layers = _shape(config)
        if devices % tensor:
            raise InputError(f"found {devices}", f"a multiple of {tensor}", "--config devices")
        stages = devices // tensor
        chunks = {"1f1b": 1, "v-half": 2, "v-min": 2}.get(schedule, max(1, -(-(layers + 2) // stages)))
        count = int(config["micro_batches"]) * devices
        count += -count % stages
        free = schedule in _ONE_LAYER
        self.schedule = make_schedule(schedule, stages, count, chunks if free else None)
        here = np.zeros((stages, chunks))
        for position, many in enumerate(_slots(layers, stages, chunks)):
            here[self.schedule.place(position)] = many
        layer, head = _flops(hidden, tokens, batch)
        rate = CONSTANTS["rate"].value
        if kernels:
            *parts, self.layer_bytes = _kernel_layer(hidden, tokens, batch, tensor)
        else:
            sent_s = 2.0 * tokens * hidden * batch * (tensor - 1) / tensor / CONSTANTS["nvlink"].value
            parts = [layer / rate / tensor + many * sent_s for many in CONSTANTS["exchanges"].value]
            self.layer_bytes = float(CONSTANTS["layer_bytes"].value * tokens * hidden * batch / tensor)
        self.working_bytes = 0.0
        if config["recompute"] == "full":
            parts[1] += parts[0]
            self.working_bytes = self.layer_bytes
            self.layer_bytes = CONSTANTS["input_bytes"].value * tokens * hidden * batch / tensor
        head_s = head / rate / tensor
        times = stage_times(
            stages, chunks, forward_s=parts[0] * here, backward_s=parts[1] * here, weight_s=parts[2] * here
        )
        self.times: StageTimes = times.with_ends((0.0,) * 3, (head_s,) * 3, v_shape=self.schedule.v_shape)
        self.held = Activations(self.layer_bytes * here)
        self.links = stage_links(nvlink(3), 2.0 * tokens * hidden * batch / tensor, stages=stages)
        self.flops = 3 * (layers * layer + head) * count
        self.micro_batches = count

    def peak_bytes(self, run: PipelineRun, offload: Offload | None = None) -> float:
        """Activations of the fullest device; a layer that is computed again holds its own meanwhile."""
        return float(peak_activation_bytes(run, self.held, offload).max()) + self.working_bytes

    def run(self, offload: Offload | None = None) -> PipelineRun:
        held = None if offload is None else self.held
        return run_pipeline(self.schedule, self.times, self.links, activations=held, offload=offload)

    def rate(self, run: PipelineRun) -> float:
        """Micro-batches a second."""
        return self.micro_batches / run.time_s

    def offloaded(self, how: str, link_bytes_per_s: float) -> Offload | None:
        """``how`` much leaves: nothing, the longer living half of the chunks, all, or what hides. Out and in take turns
        on the link: each finds what the other leaves of it, and half where both have more than it carries."""
        if how == "none":
            return None
        plain, buffers, chunks = self.run(), CONSTANTS["buffers"].value, self.schedule.chunks
        ratio = float(offload_ratio(self.times, self.held, link_bytes_per_s / 2).max())
        count = -(-chunks // 2) if how == "half" else chunks
        busy = min(1.0, ratio * count / chunks)
        rate = link_bytes_per_s * (1 - busy / 2)
        if how == "selective":
            found = selective_offload(self.schedule, self.times, self.held, plain, rate, buffers)
        else:
            found = longest_offload(plain, count, rate, buffers)
        # What is wanted before it could be out and in again stays.
        passes = float(plain.busy_s.max()) / self.schedule.kind.shape[1]
        away_s = 2 * float(self.held.bytes.max()) / rate
        return replace(found, apart=math.ceil(away_s / passes))


def _simulate(config: Config) -> dict[str, float]:
    hidden, layers = _shape(config)
    tokens, devices, batch = (int(config[key]) for key in ("tokens", "devices", "batch"))
    link, how = float(config["link"]) * 1e9, str(config["offload"])
    tensor, wide = int(config["tensor"]), CONSTANTS["tensor"].value
    if hidden % (128 * tensor):
        raise InputError(f"found {tensor}", f"a divisor of {hidden // 128} heads of 128", "--config tensor")
    ours = _Pipeline(config, str(config["schedule"]), tensor=tensor)
    offload = ours.offloaded(how, link)
    plain, run = ours.run(), ours.run(offload)
    peak, other = ours.peak_bytes(run, offload), _Pipeline({**config, "recompute": "norms"}, "interleaved")
    layer_s = 3 * _flops(hidden, tokens, batch)[0] / CONSTANTS["rate"].value
    size = CONSTANTS["layer_bytes"].value * tokens * hidden * batch
    *passes, held = _kernel_layer(hidden, tokens, batch, 1)
    count = layers * (10 * hidden**2 + 2 * hidden * 128 * CONSTANTS["groups"].value)
    count += 2 * hidden * CONSTANTS["vocabulary"].value
    found = {
        "k": 2 * size / link / layer_s,
        "k_kernels": 2 * held / link / sum(passes),
        "activation_peak": peak,
        "held_layers": peak / (size / tensor),
        "peak_over_interleaved": peak / other.peak_bytes(other.run()),
        "offload_reduction": 1 - peak / ours.peak_bytes(plain),
        "offload_slowdown": run.time_s / plain.time_s,
        "bubble": run.bubble_share,
        "mfu": ours.flops / (run.time_s * devices * CONSTANTS["peak"].value["bf16"]),
        "memory": peak + count / devices * CONSTANTS["states"].value,
    }
    if devices % wide == 0 and hidden % (128 * wide) == 0:
        own = _Pipeline(config, str(config["schedule"]), tensor=tensor, kernels=True)
        base = _Pipeline({**config, "recompute": "norms"}, "interleaved", tensor=wide, kernels=True)
        plain = base.run()
        moved = own.offloaded(how, link)
        run = own.run(moved)
        found["speedup"] = own.rate(run) / base.rate(plain)
        found["peak_over_tensor"] = own.peak_bytes(run, moved) / base.peak_bytes(plain)
    return found


def _margins() -> Sequence[str]:
    lines = [
        "k by width and context, as stated and on our kernels (at 1 or less all activations leave for nothing):",
        "",
        "| hidden | 4,096 tokens | 8,192 | 16,384 | 32,768 |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    for hidden in (4096, 5120, 6144, 8192, 10240):
        cells = []
        for tokens in (4096, 8192, 16384, 32768):
            found = _simulate(STUDY.config({"hidden": hidden, "layers": 14, "devices": 8, "tokens": tokens}))
            cells.append(f"{found['k']:.2f} / {found['k_kernels']:.2f}")
        lines.append(f"| {hidden:,} | " + " | ".join(cells) + " |")
    places = [
        f"{'none' if found is None else f'{found:,}'} at {rate:g} GB/s"
        for rate in (7.5, 15, 25, 50)
        for found in [context_where_offload_hides(_gpt(6144, 8192, 1), _system(1), rate * 1e9, fidelity="kernel")]
    ]
    lines += [
        "",
        "Context from which on all that 6,144 wide layers keep leaves for nothing, nothing computed again: "
        + ", ".join(places)
        + ".",
        "",
        "Peaks of activations on the fullest of 32 stages, 66.6B at 4,096 tokens, in layers of a micro-batch, and the "
        "step's time over that of interleaved 1F1B:",
        "",
        "| schedule | none leaves | half | all |",
        "| --- | ---: | ---: | ---: |",
    ]
    base = _Pipeline(STUDY.config({}), "interleaved").run().time_s
    for schedule in SCHEDULES:
        cells = []
        for how in ("none", "half", "full"):
            pipeline = _Pipeline(STUDY.config({}), schedule)
            offload = pipeline.offloaded(how, 15e9)
            run = pipeline.run(offload)
            held = pipeline.peak_bytes(run, offload) / pipeline.layer_bytes
            cells.append(f"{held:.0f}, {run.time_s / base:.2f}")
        lines.append(f"| {schedule} | " + " | ".join(cells) + " |")
    speedups = {many: _simulate(STUDY.config({"micro_batches": many}))["speedup"] for many in (2, 4, 8)}
    lines += [
        "",
        "How many micro-batches the comparison with tensor parallelism had was not read; with more of them the longer "
        "pipeline loses less at its ends: "
        + ", ".join(f"{value:.2f} with {count} a device" for count, value in speedups.items())
        + ".",
    ]
    return lines


_CRITERION = f"what the criterion gives ({_NOTES})"
_TIME = ("criterion", "rate", "layer_flops", "shapes", "micro_batches", "chunk", "vocabulary", "nvlink")
_HELD = (*_TIME, "exchanges", "link", "layer_bytes", "input_bytes", "buffers", "stays", "again")
_KERNELS = ("shapes", "micro_batches", "chunk", "vocabulary", "groups", "kernels", "nvlink", "tensor", "rate")
STUDY = Study(
    title="PipeOffload",
    claim="Half or all activations of a pipeline leave for nothing: up to 19 % faster than tensor parallelism.",
    source="Wan et al., ICML 2025, arXiv 2503.01328; sail-sg/zero-bubble-pipeline-parallelism",
    machine="32 A100 of 80 GB in nodes of 8, a host link of 15 GB/s, both ways together",
    workload="GPTs of 10.5 to 83.8 billion parameters, 8 groups of keys, one layer a virtual stage, training steps",
    policy="generalised interleaved schedules; none, the longer living half, or all chunks leave through two buffers",
    baseline="interleaved 1F1B, over stages of one device or of eight in tensor and sequence parallel",
    keys={
        "model": Key("66.6B", "model", choices=tuple(SHAPES)),
        "hidden": Key(0, "width instead of the model's; 0: the model's", low=0, high=32768),
        "layers": Key(0, "layers instead of the model's; 0: the model's", low=0, high=512),
        "tokens": Key(4096, "tokens of a sequence", low=256, high=131072),
        "batch": Key(1, "sequences of a micro-batch", low=1, high=64),
        "devices": Key(32, "devices, all stages of the pipeline", low=2, high=256),
        "micro_batches": Key(2, "micro-batches of a step over devices", low=1, high=64),
        "schedule": Key("gis-h-even", "order of passes", choices=SCHEDULES),
        "offload": Key("full", "what leaves", choices=OFFLOADS),
        "tensor": Key(1, "devices of a stage, in tensor and sequence parallel", choices=(1, 2, 4, 8)),
        "recompute": Key("norms", "what runs again: norms and GELU, or whole layers", choices=("norms", "full")),
        "link": Key(15.0, "GB/s of the host link, both ways together", low=0.1, high=1000),
    },
    constants=CONSTANTS,
    metrics={
        "k": Metric("seconds to move a layer out and in over those of its passes", "", ("criterion", "rate", "link")),
        "k_kernels": Metric("the same by our kernels and kept activations", "", ("link", "again", "groups", "kernels")),
        "activation_peak": Metric("most activations on a device", "B", _HELD),
        "held_layers": Metric("that in layers of a micro-batch", "", _HELD),
        "peak_over_interleaved": Metric("that over interleaved 1F1B's without offload", "", _HELD),
        "offload_reduction": Metric("share of the schedule's peak that offloading saves", "", _HELD),
        "offload_slowdown": Metric("step over the same without offload", "", _HELD),
        "bubble": Metric("share of the stages' time without a pass", "", _HELD),
        "mfu": Metric("model FLOPs over the peak", "", (*_HELD, "peak")),
        "memory": Metric("activations and states of the fullest device", "B", (*_HELD, "states")),
        "speedup": Metric("throughput over interleaved 1F1B with 8 devices a stage", "", _KERNELS),
        "peak_over_tensor": Metric("peak of activations over that one's", "", (*_HELD, "tensor")),
    },
    published=(
        Published("speedup", {}, 1.19, "abstract, up to"),
        Published("speedup", {}, 1.12, f"{_NOTES}: 12 to 19 %; which models was not read"),
        Published("activation_peak", {"schedule": "interleaved", "offload": "none"}, 80e9, f"{_NOTES}, about"),
        Published("held_layers", {}, 4.0, f"{_NOTES}: about four layers, however many stages"),
        Published("held_layers", {"devices": 16}, 4.0, f"{_NOTES}: about four layers, however many stages"),
        Published("peak_over_interleaved", {"schedule": "gis-h", "offload": "none"}, 0.5, f"{_NOTES}, about"),
        Published("offload_reduction", {"schedule": "gis-even", "offload": "half"}, 0.75, f"{_NOTES}, about"),
        Published("offload_reduction", {"schedule": "interleaved", "offload": "half"}, 0.5, "caption of figure 2"),
        Published("k_kernels", {"hidden": 8192}, 10 / 3 / (6 * 8192 + 4096) * 220 / 0.015, _CRITERION),
        Published("k_kernels", {}, 10 / 3 / (6 * 10240 + 4096) * 220 / 0.015, _CRITERION),
        Published(
            "k_kernels", {"model": "18.1B"}, 10 / 3 / (6 * 6144 + 4096) * 220 / 0.015, f"the criterion ({_NOTES})"
        ),
    ),
    simulate=_simulate,
    misses=(),
    notes=_margins,
)
