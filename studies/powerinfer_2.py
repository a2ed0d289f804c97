"""PowerInfer-2: sparse models larger than a phone's memory, neurons read from its flash 4 KB at a time.

Neurons are pieces of a collection that lives in the flash; a share of them is resident. What a stage reads is what its
pieces are: rows of a neuron, each in a read of its own (``base``); halves of bundles, 4 KB with the gate's row first
and the other 4 KB only of neurons whose gate is not zero (``bundle``); then the same of neurons that a predictor names,
the popular ones being resident (``cache``), read while the layer before computes (``pipeline``), computed by processor
and NPU (``xpu``). Which neurons are active is drawn: as many as the models' cards state, and so unequally popular that
the stated share of active neurons misses the stated half of them in memory. Rates are those measured for reads of 4 KB,
and in a second metric those of our model of the drive, of which one number is fitted to one of these rates.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from hw.spec.load import load_system, override_values
from hw.spec.system import System
from mappers.assign import on_engine
from simulator.collections import CachedCollection, Fetch, Replacement
from simulator.memory.flash.chunks import chunk_rates, linear_rate
from simulator.memory.flash.drives import load_drive
from simulator.policy import Policy, Transform, unchanged
from simulator.result import Result
from simulator.road import simulate
from studies.frame.constants import derived, fitted, of_machine, stated, synthetic
from studies.frame.study import Config, Key, Metric, Miss, Published, Study, Value
from studies.published.powerinfer_2 import DRIVE_RATES, IO_SHARES, LATENCIES, PACED, TOKENS_PER_S, Keys
from workloads.formats import FormatChoice, storage_format
from workloads.models.architecture import FeedForward, Model
from workloads.models.catalogue import model
from workloads.phases import Decode
from workloads.traces.neurons import NeuronStream, most_active, neuron_stream, skewed_neurons
from workloads.transforms.edit import edit_layers
from workloads.transforms.weights import sparse_feed_forward
from workloads.workload import Layer, Op, Workload

__all__ = ["STUDY"]

MACHINE, TENSORS = "phone-ufs4", ("ffn_up_weight", "ffn_down_weight")
READ_BYTES, LAYERS, CONTEXT, STEPS = 4096, 32, 128, 1
_PAPER = "arXiv 2406.06282v3"

CONSTANTS = {
    "read_rate": stated(1.008e9, "B/s", "random reads of 4 KB within 128 MB from a middle core; 1 GB/s in the text"),
    "core_rates": stated((1.0761e9, 1.008e9, 0.7619e9), "B/s", "the same by core: big, middle, little"),
    "one_queue": stated(0.6, "", "reads from several cores at once: 40 % slower, one command queue"),
    "cpu_memory": stated(43.9e9, "B/s", "memory bandwidth of the processor alone"),
    "both_memory": of_machine(MACHINE, "tiers.lpddr.read_bandwidth"),
    "cpu_compute": derived(
        8 * 2 * 7.24e9, "op/s", "8 tokens/s of prefill of 7B on the processor, 2 operations a parameter"
    ),
    "decode_compute": fitted(
        (5.934e10, 3.829e10),
        "op/s",
        "7B: 12.4 tokens/s in memory by PowerInfer; 47B: 86.3 % of 99.76 ms computing, half of the rows on the NPU; "
        "these times less launches, for the operations of a token",
    ),
    "split": stated(0.5, "", "half of the rows on the NPU at batch 1, which is far faster"),
    "active": stated(
        (0.15, 0.10, 0.03),
        "",
        "of the feed-forward: Bamboo-7B nearly 85 % sparse (model card); TurboSparse-Mistral 90 % of neurons and "
        "Mixtral 97 % of parameters inactive (arXiv 2406.05955, section 6.2)",
    ),
    "gate_not_zero": stated(0.80, "", "gate, up and down row of a neuron are active together in 80 % of cases"),
    "missed": stated(0.035, "", "active neurons not in memory, mean, with half of the feed-forward there"),
    "fixed_47b": stated(
        (1e9, 2.6e9, 2.7e9, 0.3e9), "B", "of 7 GB: not feed-forward, predictors, scales, runtime; 0.4 GB are left"
    ),
    "window": stated(5, "", "tokens of LLM in a flash's window (arXiv 2312.11514, section 3.1)"),
    "drive": of_machine(MACHINE, "tiers.ufs.device"),
    "seed": synthetic(1, "", "one draw of active neurons"),
}
_CORES = ("big", "middle", "little")
_STAGES = ("base", "bundle", "cache", "pipeline", "xpu", "powerinfer", "llm-in-a-flash")


@dataclass(frozen=True)
class _Shape:
    """A model by what matters here: neurons of a layer, the shares active and routed, the format."""

    catalogue: str
    neurons: int
    active: float
    weights: str
    routed: float


# The scales of the 47B model stay in memory, so that its rows are read without.
_MODELS = {
    name: _Shape(catalogue, neurons, active, weights, routed)
    for (name, catalogue, neurons, weights, routed), active in zip(
        (
            ("bamboo-7b", "Mistral-7B", 14336, "q4_0", 1.0),
            ("mistral-7b", "Mistral-7B", 14336, "q4_0", 1.0),
            ("mixtral-47b", "Mistral-7B", 8 * 14336, "int4", 2 / 8),
        ),
        CONSTANTS["active"].value,
        strict=True,
    )
}


@cache
def _model(name: str) -> Model:
    """Mixtral's eight experts are one feed-forward: neurons are chosen whatever expert they are of."""
    found = model(_MODELS[name].catalogue)
    inner = FeedForward(_MODELS[name].neurons, gated=True, activation="relu")
    blocks = tuple(replace(block, feed_forward=inner) for block in found.blocks)
    return replace(found, name=name, blocks=blocks)


@cache
def _drive_rate(read_kb: int, order: str, range_mb: int) -> float:
    """Bytes a second of our model of the drive, reads of a size at random within a range or one after another."""
    drive = load_drive(str(CONSTANTS["drive"].value))
    if order == "sequential":
        return linear_rate(drive, request_bytes=read_kb * 1024, queue_depth=drive.host.queue_entries, requests=4000)
    share = min(0.5, range_mb * 1e6 / drive.capacity_bytes)
    rates = chunk_rates(drive, (read_kb * 1024,), (drive.host.queue_entries,), requests=20000, working_set=share)
    return rates[0].bandwidth_bytes_per_s


def _machine(name: str, stage: str, core: str, parts: int, kind: str) -> System:
    """The phone: its processor's share of the memory and of the work, and reads of 4 KB for each part of a neuron."""
    both = stage == "xpu"
    shape = _MODELS[name]
    reads = dict(zip(_CORES, CONSTANTS["core_rates"].value, strict=True))[core]
    if kind == "drive":
        # Neurons of a layer lie together: bundles of two reads each.
        reads = _drive_rate(4, "random", round(shape.neurons * 2 * READ_BYTES / 1e6))
    part = 3 * storage_format(shape.weights).storage_bytes(4096) / parts
    rate = reads * part / READ_BYTES * (CONSTANTS["one_queue"].value if stage == "powerinfer" else 1)
    paced = CONSTANTS["decode_compute"].value[name == "mixtral-47b"]
    ops = (paced if kind == "paced" else CONSTANTS["cpu_compute"].value) / (CONSTANTS["split"].value if both else 1)
    memory = CONSTANTS["both_memory" if both else "cpu_memory"].value
    changes: dict[str, float] = {
        "tiers.lpddr.capacity": 64e9,
        "tiers.lpddr.read_bandwidth": memory,
        "tiers.ufs.read_bandwidth": rate,
        "links.ufs-link.bandwidth": rate,
        "links.ufs-link.message_cost": 0.0,
    }
    changes |= {f"engines.cpu.throughput.{kind}": ops for kind in ("fp32", "fp16", "int8")}
    return override_values(load_system(MACHINE), changes)


@cache
def _active(name: str, missed: float, steps: int) -> NeuronStream:
    shape = _MODELS[name]
    router = skewed_neurons(shape.active, 0.5, missed)
    seed = CONSTANTS["seed"].value
    return neuron_stream(router, neurons=shape.neurons, layers=LAYERS, steps=steps, seed=seed)


def _with_predictors(name: str) -> Transform:
    """A predictor before each feed-forward: two products in 16 bits that take the stated bytes, of routed experts."""
    shape = _MODELS[name]
    bytes_each = CONSTANTS["fixed_47b"].value[1] / _MODELS["mixtral-47b"].neurons / LAYERS
    rank = round(bytes_each * shape.neurons / 2 / (4096 + shape.neurons))

    def edit(layer: Layer) -> Layer:
        steps = []
        for step in layer.steps:
            if isinstance(step, Op) and step.name.startswith("ffn_predict"):
                rows = shape.routed if step.name == "ffn_predict" else 1.0
                sizes = tuple((rank, round(size * rows) if rank == "n1" else size) for rank, size in step.sizes)
                operands = tuple(
                    replace(o, format="fp16", elements=o.elements * (rows if o.symbol == "W" else 1))
                    for o in step.operands
                )
                step = replace(step, sizes=sizes, operands=operands)
            steps.append(step)
        # They stay in memory with what is no feed-forward.
        held = tuple(
            replace(tensor, role="attention", format="fp16") if tensor.name.startswith("ffn_predict") else tensor
            for tensor in layer.stored
        )
        return replace(layer, steps=tuple(steps), stored=held)

    def transform(workload: Workload) -> Workload:
        return edit_layers(sparse_feed_forward(workload, 1.0, rank), edit)

    return transform


@cache
def _pieces(name: str, stage: str, missed: float) -> tuple[NeuronStream, int]:
    """The parts of neurons that a stage touches, numbered part by part, and how many there are of each neuron."""
    neurons = _MODELS[name].neurons
    everything = np.arange(neurons)
    if stage == "base":
        rows = np.arange(3 * neurons)
        return NeuronStream((tuple(rows for _ in range(LAYERS)),), 3 * neurons), 3
    steps = 1 + CONSTANTS["window"].value if stage == "llm-in-a-flash" else STEPS
    stream = _active(name, missed, steps)
    random = np.random.default_rng(CONSTANTS["seed"].value)

    def parts(active: NDArray[np.int64]) -> NDArray[np.int64]:
        if stage == "bundle":
            return np.concatenate([everything, neurons + active])
        if stage == "powerinfer":
            return np.concatenate([active, neurons + active, 2 * neurons + active])
        if stage == "llm-in-a-flash":
            return np.concatenate([active, neurons + active])
        passes = random.random(active.size) < CONSTANTS["gate_not_zero"].value
        return np.concatenate([active, neurons + active[passes]])

    of_each = 3 if stage == "powerinfer" else 2
    touched = tuple(tuple(parts(active) for active in step) for step in stream.active)
    return NeuronStream(touched, of_each * neurons), of_each


@cache
def _popular(neurons: int, count: int) -> tuple[NDArray[np.int64], ...]:
    return most_active(neurons=neurons, layers=LAYERS, count=count, seed=CONSTANTS["seed"].value)


@cache
def _run(name: str, stage: str, resident: float, missed: float, core: str, kind: str) -> Result:
    stream, parts = _pieces(name, stage, missed)
    neurons = _MODELS[name].neurons
    count = round(resident * neurons)
    windowed = stage == "llm-in-a-flash" and resident < 1
    if stage in ("base", "bundle", "powerinfer"):
        # Whatever the pages of memory hold.
        kept = tuple(np.arange(count) for _ in range(LAYERS))
    else:
        kept = _popular(neurons, count)
    most = max(active.size for step in stream.active for active in step)
    collection = CachedCollection(
        stream,
        "ufs",
        # Where a token's do not fit, nothing is kept.
        parts * count if windowed and parts * count >= most else 0,
        warmup=stream.steps - 1 if windowed else 0,
        tensors=TENSORS,
        replacement=Replacement("window", CONSTANTS["window"].value) if windowed else Replacement("lru"),
        fetch=Fetch("decoupled" if stage in ("pipeline", "xpu") else "on-demand"),
        resident=None if windowed else tuple(np.concatenate([p * neurons + k for p in range(parts)]) for k in kept),
    )
    formats = FormatChoice(weights=_MODELS[name].weights, activations="fp16", kv_cache="fp16", compute="fp16")
    return simulate(
        _model(name),
        Decode(1, CONTEXT),
        _machine(name, stage, core, parts, kind),
        formats=formats,
        policy=Policy(
            transform=unchanged if stage in ("base", "bundle") else _with_predictors(name),
            assign=on_engine("cpu"),
            collections=(collection,),
        ),
    )


def _simulate(config: Config) -> dict[str, float]:
    name, stage, core = str(config["model"]), str(config["stage"]), str(config["core"])
    missed, memory = float(config["missed"]), float(config["memory"])
    resident = 1 - float(config["offloaded"])
    whole = _run(name, stage, 1.0, missed, core, "stated")
    if memory:
        shape = _MODELS[name]
        rows = LAYERS * shape.neurons * 3 * storage_format(shape.weights).storage_bytes(4096)
        others = whole.peak_bytes["lpddr"] - rows + CONSTANTS["fixed_47b"].value[-1]
        fixed = sum(CONSTANTS["fixed_47b"].value) if name == "mixtral-47b" else others
        resident = min(1.0, max(0.0, memory * 1e9 - fixed) / rows)
    result = _run(name, stage, resident, missed, core, "stated")
    found = {"tokens_drive": _run(name, stage, resident, missed, core, "drive").tokens_per_s} if not memory else {}
    return found | {
        "tokens": result.tokens_per_s,
        "tokens_paced": _run(name, stage, resident, missed, core, "paced").tokens_per_s,
        "latency": result.latency_s,
        "io": result.utilisation["ufs"] * result.latency_s,
        "io_share": 1 - whole.latency_s / result.latency_s,
        "read": result.moved_bytes["ufs"],
        "resident": resident,
        "drive_rate": _drive_rate(int(config["read_kb"]), str(config["order"]), int(config["range_mb"])),
    }


def _published() -> tuple[Published, ...]:
    rows = []
    for config, rate, source in TOKENS_PER_S:
        rows.append(Published("tokens", config, rate, source))
        rows.append(Published("tokens_paced", config, rate, source, calibrates=config in PACED))
    rows += [Published("tokens_drive", config, rate, source) for config, rate, source in TOKENS_PER_S[:2]]
    rows += [Published("io_share", *row) for row in IO_SHARES]
    rows += [Published("latency", *row) for row in LATENCIES]
    rows.append(Published("resident", {"model": "mixtral-47b", "memory": 7.0}, 0.018, "split of 7 GB"))
    for read_kb, order, range_mb, rate in DRIVE_RATES:
        at: Keys = {"read_kb": read_kb, "order": order, "range_mb": range_mb}
        fits = (read_kb, order, range_mb) == (4, "random", 128)
        rows.append(Published("drive_rate", at, rate, "UFS 4.0 measured", calibrates=fits))
    return tuple(rows)


_IO = ("core_rates", "one_queue", "active", "gate_not_zero", "missed", "window", "fixed_47b", "seed")
_TIME = (*_IO, "cpu_memory", "both_memory", "cpu_compute", "split")


def _notes() -> tuple[str, ...]:
    return (
        "Not simulated: what other engines reach (llama.cpp 0.55 tokens/s of the 47B model in 19 GB, MLC-LLM, QNN, and "
        "the ratios over them), prefill, best of 4, and the Ace 2. Latencies of 97.42 ms (median) and 116.16 ms (90th "
        "percentile) need the share of misses there, which is not stated; those of mean and 99th percentile are.",
    )


def _ask(**keys: Value) -> dict[str, float]:
    return _simulate(STUDY.config(keys))


def _reads_for_the_rest() -> str:
    seconds = 1 / 4.18 - 1 / _ask(stage="cache", offloaded=0.0)["tokens_paced"]
    shares = {missed: _ask(stage="cache", missed=missed)["tokens_paced"] for missed in (0.035, 0.2, 0.4)}
    found = ", ".join(f"{rate:.2f} tokens/s where {missed:.1%} miss" for missed, rate in shares.items())
    flash = _ask(model="mistral-7b", stage="llm-in-a-flash")
    return (
        f"Of the 239 ms of the stage with a cache, {seconds * 1e3:.0f} ms would be reading; ours: {found}. "
        "The share that misses is stated for the 47B model only. LLM in a flash is said to read for "
        f"{0.767 / 2.3 * 1e3:.0f} ms a token, 41,000 bundles of 46,000 active neurons; ours reads for "
        f"{flash['io'] * 1e3:.0f} ms. In memory the processor takes twice what its rates say."
    )


def _computing() -> str:
    ours = _ask(model="mixtral-47b", offloaded=0.0)
    half = _ask(model="mixtral-47b")
    return (
        f"Published, 86.3 % of 99.76 ms are computing: 86 ms. Ours compute for {1e3 / ours['tokens']:.0f} ms at "
        f"the rates stated for prefill and memory, and hide nearly all of the {half['io'] * 1e3:.0f} ms of reading "
        "behind it. Where reading is all there is, in 7 GB, ours is "
        f"{_ask(model='mixtral-47b', memory=7.0)['tokens']:.2f} tokens/s (2.13 published)."
    )


def _one_at_a_time() -> str:
    drive = load_drive(str(CONSTANTS["drive"].value))
    rates = [linear_rate(drive, request_bytes=4096, queue_depth=depth, requests=4000) for depth in (1, 8, 32)]
    return (
        "How many reads were outstanding is not said. Of 4 KB one after another our drive gives "
        f"{', '.join(f'{rate / 1e6:.0f} MB/s' for rate in rates)} with 1, 8 and 32 of them; 450 MB/s were measured."
    )


STUDY = Study(
    title="PowerInfer-2",
    claim="A 47-billion-parameter sparse mixture at 11.68 tokens/s on a phone, up to 27.8 times as fast as others.",
    source="Xue et al., arXiv 2406.06282v3",
    machine="phone-ufs4: LPDDR5X at the rates measured for processor and NPU, UFS 4.0",
    workload="Bamboo-7B, TurboSparse-Mistral-7B and TurboSparse-Mixtral-47B in 4 bits, one decode step at context 128",
    policy="neurons as a collection in the flash, the popular resident, others read by halves of 4 KB",
    baseline="PowerInfer (rows from several cores) and LLM in a flash (bundles, a window) on the same phone",
    keys={
        "model": Key("bamboo-7b", "which model", choices=tuple(_MODELS)),
        "stage": Key("xpu", "what is done about reading and computing", choices=_STAGES),
        "offloaded": Key(0.5, "share of the feed-forward that is not in memory", low=0.0, high=1.0),
        "memory": Key(0.0, "GB, which then say what is offloaded; 0: offloaded does", low=0.0, high=64.0),
        "missed": Key(0.035, "active neurons not in memory where half of the feed-forward is", low=0.001, high=0.5),
        "core": Key("middle", "which core reads", choices=_CORES),
        "read_kb": Key(4, "KiB of a read (drive_rate)", low=1, high=4096),
        "order": Key("random", "order of reads (drive_rate)", choices=("random", "sequential")),
        "range_mb": Key(128, "MB that random reads go to (drive_rate)", low=1, high=100000),
    },
    constants=CONSTANTS,
    metrics={
        "tokens": Metric("tokens a second, reads at the rates measured", "1/s", _TIME),
        "tokens_drive": Metric(
            "tokens a second, reads as our model of the drive serves them", "1/s", (*_TIME, "drive")
        ),
        "tokens_paced": Metric(
            "tokens a second, the processor as fast as one published time of each size of model shows",
            "1/s",
            (*_TIME, "decode_compute"),
        ),
        "latency": Metric("a token", "s", _TIME),
        "io": Metric("reading, a token", "s", _IO),
        "io_share": Metric("share of a token's time that reading adds to computing", "", _TIME),
        "read": Metric("bytes of neurons read, a token", "B", _IO),
        "resident": Metric("share of the feed-forward in memory", "", ("fixed_47b",)),
        "drive_rate": Metric("rate of reads from our model of the drive", "B/s", ("drive",)),
    },
    published=_published(),
    simulate=_simulate,
    misses=(
        Miss(
            ("tokens", "tokens_paced", "tokens_drive"),
            "Which neurons miss is not known, nor what the processor's kernels reach.",
            _reads_for_the_rest,
        ),
        Miss(("latency", "io_share"), "Computing takes longer than rates and bytes say.", _computing),
        Miss(("drive_rate",), "How the drive was asked.", _one_at_a_time),
    ),
    notes=_notes,
)
