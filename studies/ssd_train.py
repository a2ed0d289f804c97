"""SSDTrain: activations written to drives in the forward pass and read back in the backward pass, beside computation.

Passes, their times and what they keep are those of the lowered training step on kernels of the machine at its locked
clock. What leaves is decided and executed by `simulator.training.offload.activation_offload`; nothing here knows a
result. The same step is run with all kept and with every layer computed again.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from hw.spec.clocks import at_clock
from hw.spec.load import load_system, override_values
from hw.spec.system import System
from mappers.map_workload import map_workload
from mappers.planner.swap import KERNELS
from simulator.training.offload.activation_offload import (
    ActivationLink,
    OffloadRun,
    adaptive_leaving,
    execute_offload,
    lifetime_s,
    run_offload,
)
from simulator.training.offload.activation_step import ActivationStep, activation_step, with_dropout
from simulator.training.offload.crossovers import hide_point
from studies.frame.constants import derived, fitted, of_machine, stated
from studies.frame.study import Config, Key, Metric, Miss, Published, Study
from workloads.models.architecture import Attention, Block, FeedForward, Model
from workloads.models.counts import parameters
from workloads.models.flops import model_flops
from workloads.models.lower import lower
from workloads.models.stored_formats import phase_formats
from workloads.phases import Train

__all__ = ["STUDY"]

_MACHINE = "a100-40gb-pcie"
_CODE = "K-Wu/FlashTrain"
CONSTANTS = {
    "clock": stated(765e6, "Hz", f"section IV-A: base clock; {_CODE} at 0806358, set_a100_pcie_clock.sh"),
    "boost": of_machine(_MACHINE, "engines.tensor.clock"),
    "peak": of_machine(_MACHINE, "engines.tensor.throughput"),
    "memory_rate": of_machine(_MACHINE, "tiers.hbm.read_bandwidth"),
    "kernels": fitted("kernel", "", "constants of kernel fidelity: kernels measured alone, none of these runs"),
    "attained": derived(
        KERNELS["best"].gemm,
        "",
        "at a clock held down power holds nothing back; " + KERNELS["best"].sources["gemm"],
    ),
    "fabric": of_machine(_MACHINE, "fabric.bandwidth"),
    "drives": stated(4, "", f"section IV-A: the GPU that was measured has 4 of 7; {_CODE} at 14bb2c6, RAID-0"),
    "p5800x": stated(
        (6.2e9, 7.2e9, 292e15),
        "B/s, B/s, B",
        "Optane P5800X 1.6 TB, Intel's brief (recalled): 100 writes a day",
    ),
    "980-pro": stated((5.0e9, 7.0e9, 600e12), "B/s, B/s, B", "Samsung 980 PRO 1 TB, data sheet: 600 TB written"),
    "wear": stated((2.5, 86), "", "section III-D: rated for random writes, 2.5x; kept a day, not 3 years, 86x (flash)"),
    "pcie": derived(25e9, "B/s", "mappers/planner/swap/machine.py: PCIe 4.0 x16 as an A100 attains it"),
    "shape": stated((1024, 128, 2), "", "section IV-A: tokens of a sequence, width of a head, tensor parallel"),
    "vocabulary": derived(30592, "", "BERT's 30,522 entries padded for 2 devices, Megatron-LM's multiple of 128"),
    "llama": derived(8 / 3, "", "width of a gated feed-forward over the model's, Llama"),
    "update": derived({"sgd": 6, "adam": 30}, "B", "of a parameter: read, gradient, written; Adam with fp32 states"),
    "ahead": stated(0, "", "section III-C: no more is needed than that loads keep the link busy; 0: all are queued"),
    "smallest": derived(2**20, "B", f"{_CODE} at aa0fef1, tensor_cache.py: small tensors stay; here below 1 MiB"),
    "inventory": stated(None, "", "workloads/models/lower_train.py: arXiv 2205.05198 with fused attention"),
    "dropout": stated(
        1, "B", f"{_CODE} at 1abffeb: dropout at its default in BERT and GPT, none in Llama; a mask's byte"
    ),
}
_DRIVES = ("p5800x", "980-pro")
_PLACES = ((1024, 1, 765e6), (1024, 16, 765e6), (8192, 2, 765e6), (32768, 1, 765e6), (8192, 2, 1410e6))
"""Tokens, batches and clocks that are shown side by side."""


@cache
def _system(clock: float, devices: int, attained: bool = False) -> System:
    """At another clock; ``attained``: products at the share of the peak that frameworks attain, no other overheads."""
    system = override_values(load_system(_MACHINE), {"devices": devices, "tiers.hbm.capacity": 1e15})
    if attained:
        rates = {form: rate * CONSTANTS["attained"].value for form, rate in CONSTANTS["peak"].value.items()}
        changes: dict[str, float] = {f"engines.tensor.throughput.{form}": rate for form, rate in rates.items()}
        changes |= {f"engines.{name}.launch_overhead": 0.0 for name in system.engines}
        system = override_values(system, changes | {"fabric.latency": 0.0})
    return at_clock(system, clock / CONSTANTS["boost"].value)


def _model(name: str, hidden: int, layers: int, tokens: int) -> Model:
    heads = hidden // CONSTANTS["shape"].value[1]
    gated = name == "llama"
    attention = Attention(heads, heads, CONSTANTS["shape"].value[1], rotary=gated, causal=name != "bert")
    wide = 256 * -(-int(CONSTANTS["llama"].value * hidden) // 256) if gated else 4 * hidden
    block = Block(attention, FeedForward(wide, gated, "silu" if gated else "gelu"), "rms" if gated else "layer")
    vocabulary = CONSTANTS["vocabulary"].value
    return Model(name, name, hidden, vocabulary, (block,), (0,) * layers, False, positions=0 if gated else tokens)


def _model_of(config: Config) -> Model:
    name, hidden, layers, tokens = (config[key] for key in ("model", "hidden", "layers", "tokens"))
    return _model(str(name), int(hidden), int(layers), int(tokens))


@cache
def _step(
    model: Model, batch: int, tokens: int, devices: int, clock: float, again: bool, attained: bool
) -> ActivationStep:
    phase = Train(batch, tokens, checkpoint="full" if again else "none")
    system = _system(clock, devices, attained)
    workload = lower(model, phase, phase_formats(model, phase), devices=devices)
    mapped = map_workload(workload, system, fidelity="roofline" if attained else "kernel")
    step = activation_step(workload, mapped, system)
    return step if again or model.name == "llama" else with_dropout(step)


def _link(config: Config) -> ActivationLink:
    write, read, _ = CONSTANTS[str(config["drive"])].value
    count, most = int(config["drives"]), CONSTANTS["pcie"].value
    return ActivationLink(min(most, count * write), min(most, count * read), int(config["ahead"]))


def _passes(config: Config, policy: str, *, attained: bool = False) -> ActivationStep:
    batch, tokens, devices = (int(config[key]) for key in ("batch", "tokens", "devices"))
    clock = float(config["clock"]) * 1e6
    return _step(_model_of(config), batch, tokens, devices, clock, "recompute" in policy, attained)


def _run(config: Config, policy: str, *, attained: bool = False) -> OffloadRun:
    step, link = _passes(config, policy, attained=attained), _link(config)
    leaving = adaptive_leaving(step, link, smallest_bytes=CONSTANTS["smallest"].value) if "offload" in policy else ()
    return run_offload(step, leaving, link)


def _whole_s(config: Config, run: OffloadRun) -> float:
    """A step with the update, which goes through memory once."""
    size = CONSTANTS["update"].value[config["optimizer"]] * parameters(_model_of(config)).total / int(config["devices"])
    return float(run.step_s + size / CONSTANTS["memory_rate"].value)


def _rate(config: Config, run: OffloadRun) -> float:
    """FLOP/s of the model that each device attains."""
    flops = model_flops(_model_of(config), int(config["batch"]), int(config["tokens"]))
    return flops / _whole_s(config, run) / int(config["devices"])


def _largest(config: Config, policy: str, peak_bytes: float) -> int:
    """The largest batch whose peak is no more."""
    low, high = int(config["batch"]), 8 * int(config["batch"])
    while high > low:
        middle = -(-(low + high) // 2)
        fits = _run({**config, "batch": middle}, policy).peak_bytes <= peak_bytes
        low, high = (middle, high) if fits else (low, middle - 1)
    return low


def _memory(config: Config, policy: str, *, attained: bool) -> dict[str, float]:
    """What leaves, what is left, and how fast it must leave."""
    run, keep = (_run(config, name, attained=attained) for name in (policy, "keep"))
    return {
        "peak_reduction": 1 - run.peak_bytes / keep.peak_bytes,
        "written": run.written_bytes,
        "write_rate": _passes(config, "keep", attained=attained).kept_bytes / (keep.step_s / 2),
    }


def _simulate(config: Config) -> dict[str, float]:
    policy = str(config["policy"])
    step = _passes(config, policy)
    run, keep, again = (_run(config, name) for name in (policy, "keep", "recompute"))
    executed_s = execute_offload(step, run, _link(config)).latency_s
    count, (_, _, endurance) = int(config["drives"]), CONSTANTS[str(config["drive"])].value
    flash = 1.0
    if config["drive"] != "p5800x":
        flash = CONSTANTS["wear"].value[0] * CONSTANTS["wear"].value[1]
    batch = _largest(config, policy, keep.peak_bytes)
    larger = {**config, "batch": batch}
    found = {
        "step": executed_s,
        "slowdown": executed_s / keep.step_s,
        "peak": run.peak_bytes,
        "recompute_reduction": 1 - again.peak_bytes / keep.peak_bytes,
        "recompute_slowdown": again.step_s / keep.step_s,
        "throughput": _rate(config, run),
        "batch_factor": batch / int(config["batch"]),
        "speedup": _rate(larger, _run(larger, policy)) / _rate(config, keep),
    }
    found |= _memory(config, policy, attained=False)
    found |= {f"{name}_attained": value for name, value in _memory(config, policy, attained=True).items()}
    if run.written_bytes:
        found["lifetime"] = lifetime_s(count * endurance * flash, run)
    return found


def _curve() -> Sequence[str]:
    lines = [
        _batches(),
        "",
        "Recompute, offload, keep: 3 layers 12,288 wide, by micro-batch; activations' peak and throughput of a device.",
        "",
        "| batch | keep | offload | recompute | offloaded checkpoints |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    for batch in (4, 8, 16, 32):
        config = STUDY.config({"hidden": 12288, "layers": 3, "batch": batch})
        cells = []
        for policy in ("keep", "offload", "recompute", "recompute-offload"):
            run = _run(config, policy)
            cells.append(f"{run.peak_bytes / 1e9:.1f} GB, {_rate(config, run) / 1e12:.0f} TFLOP/s")
        lines.append(f"| {batch} | " + " | ".join(cells) + " |")
    return [*lines, *_drives()]


def _drives() -> Sequence[str]:
    """Drives that a device needs so that all it keeps hides."""
    write = CONSTANTS["p5800x"].value[0]
    lines = [
        "",
        "What a device must write a second, and P5800X for it, so that all of a GPT layer's activations hide (tensor "
        "parallel over two, at 765 and at 1,410 MHz):",
        "",
        "| hidden | 1,024 tokens x 1 | 1,024 x 16 | 8,192 x 2 | 32,768 x 1 | 8,192 x 2, 1,410 MHz |",
        "| ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for hidden in (2048, 4096, 8192, 16384):
        cells = []
        for tokens, batch, clock in _PLACES:
            model = _model("gpt", hidden, 1, tokens)
            point = hide_point(model, _system(clock, 2), tokens, batch=batch, fidelity="kernel")
            cells.append(f"{point.needed_bytes_per_s() / 1e9:.1f} GB/s, {point.drives(write)}")
        lines.append(f"| {hidden:,} | " + " | ".join(cells) + " |")
    return lines


def _bounds() -> str:
    parts = []
    for hidden, layers in ((8192, 4), (12288, 3), (16384, 2)):
        config = STUDY.config({"hidden": hidden, "layers": layers})
        early, late = _simulate(config), _simulate({**config, "ahead": 2})
        parts.append(
            f"{layers} layers of {hidden:,}: {100 * early['peak_reduction']:.0f} % and "
            f"{100 * late['peak_reduction']:.0f} %, recomputed {100 * late['recompute_reduction']:.0f} %"
        )
    return (
        "When room is given back hangs on how far the host runs ahead of the device, which is not published: with all "
        "loads queued at once, and with each asked for two passes before its use, peaks fall by "
        + "; ".join(parts)
        + ". Published are 28 to 40 %, and less than that with recomputation: there both hold more than they must."
    )


def _batches() -> str:
    parts = []
    for optimizer in ("sgd", "adam"):
        for batch in (1, 2, 4):
            found = _simulate(STUDY.config({"batch": batch, "optimizer": optimizer}))
            parts.append(f"{found['speedup']:.3f} from batch {batch} with {optimizer} (x{found['batch_factor']:.2g})")
    return (
        "Model, batch and optimizer behind the 31 % were not read. What a larger batch in the same memory brings here: "
        + ", ".join(parts)
        + "; it is the update and narrow kernels that are saved, of which ours cost less."
    )


def _both(metric: str, config: Config, value: float, source: str) -> tuple[Published, Published]:
    """Beside our kernels and beside products at an attained rate."""
    return Published(metric, config, value, source), Published(f"{metric}_attained", config, value, source)


_PREPRINT = "arXiv 2408.10013, section IV-B"
_WIDE: Config = {"hidden": 12288, "layers": 3}
_WIDEST: Config = {"hidden": 16384, "layers": 2}
_TIME = ("clock", "boost", "peak", "memory_rate", "kernels", "shape", "vocabulary")
_STATED = ("clock", "boost", "peak", "memory_rate", "attained", "fabric", "shape", "vocabulary", "inventory", "dropout")
_LINK = ("drives", "p5800x", "pcie", "ahead", "smallest")
STUDY = Study(
    title="SSDTrain",
    claim="Activations on drives: up to 47 % less peak memory of activations at the same speed, or up to 31 % faster.",
    source="Wu et al., arXiv 2408.10013; DAC 2025; K-Wu/FlashTrain",
    machine="two A100 of 40 GB at 765 MHz, four Optane P5800X as RAID-0 for the one that is measured",
    workload="a training step of BERT, GPT or Llama layers, 1,024 tokens, tensor parallel over two devices, fp16, SGD",
    policy="as much leaves as hides, in the order in which it is made; what is still being written is used where it is",
    baseline="all activations kept; every layer computed again; the same kernels",
    keys={
        "model": Key("bert", "kind of layers", choices=("bert", "gpt", "llama")),
        "hidden": Key(8192, "width of the model, heads of 128", low=1024, high=65536),
        "layers": Key(4, "layers", low=1, high=128),
        "batch": Key(16, "sequences of a micro-batch", low=1, high=1024),
        "tokens": Key(1024, "tokens of a sequence", low=64, high=131072),
        "devices": Key(2, "devices, tensor parallel", choices=(1, 2, 4, 8)),
        "policy": Key(
            "offload", "what becomes of activations", choices=("offload", "keep", "recompute", "recompute-offload")
        ),
        "optimizer": Key("sgd", "what the update goes through memory for", choices=("sgd", "adam")),
        "drive": Key("p5800x", "drives", choices=_DRIVES),
        "drives": Key(4, "drives of a device", low=1, high=64),
        "ahead": Key(0, "passes by which a load comes before its use; 0: all are queued at once", low=0, high=10000),
        "clock": Key(765, "MHz of the device", low=200, high=1410),
    },
    constants=CONSTANTS,
    metrics={
        "step": Metric("forward and backward", "s", (*_TIME, *_LINK)),
        "slowdown": Metric("that over the same with all kept", "", (*_TIME, *_LINK)),
        "peak": Metric("most that activations hold on a device", "B", ("inventory", "dropout", *_TIME, *_LINK)),
        "peak_reduction": Metric("share of the peak saved", "", ("inventory", "dropout", *_TIME, *_LINK)),
        "recompute_reduction": Metric("the same where all layers run again", "", ("inventory", "dropout", "shape")),
        "recompute_slowdown": Metric("its step over that with all kept", "", _TIME),
        "throughput": Metric("FLOP/s of the model on a device, update included", "FLOP/s", (*_TIME, *_LINK, "update")),
        "written": Metric("bytes a device writes in a step", "B", ("inventory", "dropout", *_TIME, *_LINK)),
        "write_rate": Metric("kept bytes over half a step", "B/s", ("inventory", "dropout", *_TIME)),
        "peak_reduction_attained": Metric("share saved, products at an attained rate", "", (*_STATED, *_LINK)),
        "written_attained": Metric("bytes written, products at an attained rate", "B", (*_STATED, *_LINK)),
        "write_rate_attained": Metric("kept over half a step, products at an attained rate", "B/s", _STATED),
        "batch_factor": Metric(
            "largest batch in keeping's peak, over the batch", "", ("inventory", "dropout", *_TIME, *_LINK)
        ),
        "speedup": Metric("throughput at that batch over keeping at this", "", (*_TIME, *_LINK, "update")),
        "lifetime": Metric("until the drives have written what they are rated for", "s", (*_TIME, *_LINK, "wear")),
    },
    published=(
        *_both("peak_reduction", {}, 0.47, "abstract, up to"),
        *_both("peak_reduction", {"model": "llama"}, 0.45, "DAC 2025, abstract, of Llama, BERT and T5"),
        *_both("peak_reduction", {}, 0.40, f"{_PREPRINT}: 28 to 40 %, the most taken for the most layers"),
        *_both("peak_reduction", _WIDEST, 0.28, f"{_PREPRINT}: 28 to 40 %, the least taken for the fewest layers"),
        *(Published("slowdown", shape, 1.0, f"{_PREPRINT}: almost none") for shape in ({}, _WIDE, _WIDEST)),
        Published("batch_factor", _WIDE, 2.0, "arXiv 2408.10013, section IV-C: figure 7"),
        Published("batch_factor", {"hidden": 14336, "layers": 3}, 2.0, "arXiv 2408.10013, section IV-C: figure 7"),
        Published("speedup", {"batch": 1}, 1.31, "DAC 2025, abstract, up to; not read where, the least batch taken"),
    ),
    simulate=_simulate,
    misses=(
        Miss(
            ("peak_reduction", "peak_reduction_attained", "batch_factor"),
            "How long the framework holds what has left is not published.",
            _bounds,
        ),
    ),
    notes=_curve,
)
