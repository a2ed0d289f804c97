"""COAT: products, activations and optimizer states in FP8.

The step is a lowered one: products in FP8 with their casts, kept activations each in the format that COAT keeps it in.
What the framework keeps beside, running operation by operation, is the authors' own list. States, weights and
gradients are divided over the devices; a unit of layers is gathered while another is worked on.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from hw.spec.load import load_system
from simulator.training.offload.layer_times import layer_times
from studies.frame.constants import derived, fitted, of_machine, stated, synthetic
from studies.frame.study import Config, Key, Metric, Miss, Published, Study
from studies.published.coat import LAYER, MEMORY, UNITS
from workloads.formats import storage_format
from workloads.models.architecture import Attention, Block, FeedForward, Model
from workloads.models.catalogue import model
from workloads.models.lower import lower
from workloads.models.stored_formats import stored_formats
from workloads.phases import Train
from workloads.transforms.training.formats import fp8_training, kept_formats, kept_in_fp8, training_formats
from workloads.transforms.training.sparsity import keeping_also
from workloads.transforms.training.unfused import MOVED, unfused
from workloads.workload import Workload

__all__ = ["STUDY"]

METHODS = ("bf16", "te", "coat")
_APART = {"bf16": ("add", "rotary", "swiglu"), "te": ("rotary", "swiglu"), "coat": ("rotary",)}
"""What runs operation by operation: all, all but TransformerEngine's norms, all but COAT's kernels."""
_MODELS = (
    "layer-2048", "layer-4096", "Llama-2-7B", "Llama-2-13B", "LLaMA-33B", "LLaMA-65B", "Llama-2-70B", "Llama-3-8B",
    "Llama-3-70B", "TinyLlama-1.1B", "Mistral-7B", "Qwen2.5-7B",
)  # fmt: skip
CONSTANTS = {
    "kept": stated(
        UNITS, "", "table 2: RMSNorm in fp32, SiLU's result beside its input, queries and keys before and after RoPE"
    ),
    "formats": stated(
        (1, 16), "", "sections 5.1, 5.2: a scale for a tensor into products, for 1 x 16 into other layers"
    ),
    "states": stated("fp8_g128_expanded", "", "section 4: both moments in E4M3, a scale and an exponent for 128"),
    "adam": stated((4, 4), "B", "Adam's moments in fp32 otherwise"),
    "sharded": stated(8, "B", "PyTorch FSDP, mixed precision: weights and gradients in fp32, divided over devices"),
    "gathered": derived(2, "", "PyTorch FSDP: the unit in use and the one fetched ahead, in 16 bits, and a gradient"),
    "head": derived(8, "B", "transformers' loss: logits in fp32 and their log-softmax, for each token and class"),
    "tokens": stated((2048, 4), "", "tables 6 and 7: tokens of a sequence, sequences of the layer's benchmark"),
    "width": synthetic(8 / 3, "", "channels of table 6's layers over their width, rounded to 128: as Llama's"),
    "capacity": of_machine("h100-sxm", "tiers.hbm.capacity"),
    "peak": of_machine("h100-sxm", "engines.tensor.throughput"),
    "bandwidth": of_machine("h100-sxm", "tiers.hbm.read_bandwidth"),
    "eager": derived(
        None, "", "workloads/transforms/training/unfused.py: kernels of transformers' norms, rotary, activation"
    ),
    "kernels": fitted(None, "", "kernels' constants, to measured GEMMs and row kernels of others: reports/accuracy.md"),
}
_REST = (
    ("norm_fp32", "residual_of_attention_norm", 1.0), ("ffn_norm_fp32", "residual_of_ffn_norm", 1.0),
    ("gates_activated", "ffn_activated", 1.0), ("queries_before", "q", 1.0), ("keys_before", "keys_values", 0.5),
)  # fmt: skip
"""What is kept beside, by the tensor that it is as large as: in bf16 all of it, otherwise without norms in fp32."""


@cache
def _model(name: str) -> Model:
    if not name.startswith("layer-"):
        return model(name)
    hidden = int(name.removeprefix("layer-"))
    attention = Attention(hidden // 128, hidden // 128, 128)
    inner = round(hidden * float(CONSTANTS["width"].value) / 128) * 128
    return Model(
        name, "llama", hidden, 32_000, (Block(attention, FeedForward(inner, True, "silu"), "rms"),), (0,), False
    )


@cache
def _step(name: str, batch: int, context: int, method: str) -> Workload:
    """The step with what the framework keeps; a repetition of every layer suffices, as layers are counted."""
    found = _model(name)
    step = lower(found, Train(batch, context), replace(stored_formats(found), activations="bf16", compute="bf16"))
    rest = _REST if method == "bf16" else _REST[2:]
    if method == "coat":
        forms = {"gates_activated": "fp8_g16"}
        made = fp8_training(step)
    elif method == "te":
        forms = {}
        kept = kept_formats(step, lambda tensor: kept_in_fp8(tensor) if kept_in_fp8(tensor) == "fp8_e4m3" else None)
        made = training_formats(kept, "fp8", "fp8")
    else:
        forms, made = {}, step
    return keeping_also(made, [(tensor, of, times, forms.get(tensor, "bf16")) for tensor, of, times in rest])


def _bytes(config: Config) -> dict[str, float]:
    """Bytes of a device by what they are for."""
    name, batch, context = str(config["model"]), int(config["batch"]), int(config["context"])
    method, devices = str(config["method"]), int(config["devices"])
    step = _step(name, batch, context, method)
    learnt = step.stored_bytes("gradients") / 2
    layer = max(sum(t.elements for t in one.stored if t.role == "gradients") for one, _ in step.layers())
    form = storage_format(str(CONSTANTS["states"].value))
    return {
        "weights": float(CONSTANTS["sharded"].value) * learnt / devices,
        "optimizer": (2 * form.bits_per_element / 8 if method == "coat" else 8.0) * learnt / devices,
        "activations": step.stored_bytes("activations")
        + float(CONSTANTS["head"].value) * _model(name).vocabulary * step.phase.tokens,
        "gathered": 2.0 * (float(CONSTANTS["gathered"].value) + 1) * layer if devices > 1 else 0.0,
    }


def _largest(config: Config) -> int:
    """The largest batch, in powers of two, whose peak is within the capacity; 0 where one sequence is too much."""
    batch = 0
    while sum(_bytes({**config, "batch": max(1, 2 * batch)}).values()) <= float(config["capacity"]) * 1e9:
        batch = max(1, 2 * batch)
        if batch >= 1 << 14:
            break
    return batch


@cache
def _layer_s(name: str, batch: int, context: int, method: str, device: str, fidelity: str) -> float:
    step = _step(name, batch, context, method)
    if fidelity == "kernel":
        step = unfused(step, [cascade for cascade in MOVED if cascade.startswith(_APART[method])])
    times = layer_times(step, load_system(device), fidelity=fidelity)
    return times["layer"] + times["layer_backward"]


def _simulate(config: Config) -> dict[str, float]:
    name, method = str(config["model"]), str(config["method"])
    batch, context = int(config["batch"]), int(config["context"])
    found, step = _model(name), _step(name, batch, context, method)
    unit = 2.0 * step.phase.tokens * found.hidden * len(found.order)
    mine, plain = (_bytes({**config, "method": m}) for m in (method, "bf16"))
    layers = {m: _step(name, batch, context, m).stored_bytes("activations") for m in (method, "bf16")}
    device = str(config["device"])
    times = {m: _layer_s(name, batch, context, m, device, str(config["fidelity"])) for m in layers}
    bounds = {m: _layer_s(name, batch, context, m, device, "roofline") for m in layers}
    return {
        "units": layers[method] / unit,
        "layer_memory_ratio": layers["bf16"] / layers[method],
        "optimizer": mine["optimizer"],
        "activations": mine["activations"],
        "peak": sum(mine.values()),
        "peak_ratio": sum(plain.values()) / sum(mine.values()),
        "fits": float(sum(mine.values()) <= float(config["capacity"]) * 1e9),
        "largest_batch": _largest(config),
        "layer": times[method],
        "speed_up": times["bf16"] / times[method],
        "speed_up_bound": bounds["bf16"] / bounds[method],
    }


def _narrow() -> str:
    """What lacks of the layers of table 6, by their width and tokens."""
    parts = []
    for (name, context), times in LAYER.items():
        lack = times["bf16"] - _layer_s(name, 4, context, "bf16", "h100-sxm", "kernel") * 1e3
        parts.append(f"{name.removeprefix('layer-')} wide, {context:,} tokens {lack:.1f} of {times['bf16']:.1f}")
    narrow, wide = LAYER["layer-2048", 2048]["bf16"], LAYER["layer-4096", 2048]["bf16"]
    work = 6 * 8192 * (4 * 4096**2 + 3 * 4096 * 10_880) / 1e12
    return (
        f"Milliseconds that lack in BF16: {'; '.join(parts)}. They double with the tokens, so no launches, but not "
        "with the width: products grow fourfold with it and all else twofold, so the wider layer's products would be "
        f"2 x ({wide:.1f} - 2 x {narrow:.1f}) ms, {work:.1f} TFLOP at {work / (2 * (wide - 2 * narrow)):.1f} PFLOP/s, "
        "and the H100 has 1. The narrow layers' shapes are not known. Ratios of methods hold."
    )


def _close() -> str:
    """How full the device is at the next batch where that fits here and did not there."""
    parts = []
    for (name, devices, _), methods in MEMORY.items():
        for method, (*_, largest) in methods.items():
            config = STUDY.config({"model": name, "devices": devices, "method": method})
            if _largest(config) != largest:
                peak = sum(_bytes({**config, "batch": 2 * int(largest or 0)}).values())
                parts.append(f"{name} on {devices} in {method} {peak / 80e9:.2f}")
    return f"Of 80 GB twice the published batch takes: {', '.join(parts)}; our peaks are 2 to 6 % below the published."


def _rows() -> list[Published]:
    rows = [Published("units", {"method": m, "model": "layer-4096"}, u, "table 2") for m, u in UNITS.items()]
    for (name, context), times in LAYER.items():
        for method, milliseconds in times.items():
            at: Config = {"model": name, "context": context, "batch": 4, "method": method}
            rows.append(Published("layer", at, milliseconds * 1e-3, "table 6"))
            if method != "bf16":
                gain = times["bf16"] / milliseconds
                rows += [Published(metric, at, gain, "table 6") for metric in ("speed_up", "speed_up_bound")]
                rows.append(Published("layer_memory_ratio", at, {"te": 1.20, "coat": 1.65}[method], "table 6"))
    for (name, devices, batch), methods in MEMORY.items():
        for method, (states, activations, peak, largest) in methods.items():
            at = {"model": name, "devices": devices, "batch": batch, "method": method}
            for metric, value in (("optimizer", states), ("activations", activations), ("peak", peak)):
                if value is not None:
                    rows.append(Published(metric, at, value * 1e9, "table 7"))
            rows.append(Published("largest_batch", at, largest, "table 7"))
    rows.append(Published("peak_ratio", {"devices": 4, "batch": 2}, 1.54, "abstract; table 7"))
    rows.append(Published("peak_ratio", {"devices": 8, "batch": 2}, 1.52, "table 7"))
    rows.append(Published("speed_up", {"devices": 8, "batch": 8}, 1.43, "abstract, end to end"))
    return rows


_MEMORY = ("kept", "formats", "sharded", "gathered", "head", "tokens")
_SPEED = ("formats", "tokens", "peak", "bandwidth")
STUDY = Study(
    title="COAT",
    claim="FP8 for optimizer states, activations and products: 1.54x less memory and 1.43x faster than BF16.",
    source="Xi et al., ICLR 2025, arXiv 2410.19313 (tables read in third-party notes); NVlabs/COAT",
    machine="h100-sxm, 1 to 8 of them that divide weights, gradients and states",
    workload="a training step of Llama 2 or another model, or a layer of width 2,048 or 4,096",
    policy="products in FP8, kept activations in FP8 with a scale a tensor or for 16, moments in FP8 for 128",
    baseline="BF16; TransformerEngine, with products and their inputs in FP8 alone",
    keys={
        "model": Key("Llama-2-7B", "model, or one layer of it", choices=_MODELS),
        "method": Key("coat", "what is in FP8", choices=METHODS),
        "batch": Key(1, "sequences of a device", low=1, high=4096),
        "context": Key(2048, "tokens of a sequence", low=1, high=131_072),
        "devices": Key(1, "devices that divide states", low=1, high=4096),
        "device": Key("h100-sxm", "machine", choices=("h100-sxm", "h200-sxm", "h100-pcie", "b200-sxm", "l40s")),
        "fidelity": Key("kernel", "kernels as frameworks run them, or bounds", choices=("kernel", "roofline")),
        "capacity": Key(80.0, "GB of a device", low=1, high=10_000),
    },
    constants=CONSTANTS,
    metrics={
        "units": Metric("a layer's activations over tokens x width x 2 bytes", "", ("kept", "formats")),
        "layer_memory_ratio": Metric("a layer's activations in BF16 over these", "", ("kept", "formats")),
        "optimizer": Metric("moments on a device", "B", ("states", "adam")),
        "activations": Metric("activations and logits", "B", ("kept", "formats", "head", "tokens")),
        "peak": Metric("peak of a device", "B", (*_MEMORY, "states", "adam")),
        "peak_ratio": Metric("peak in BF16 over this one", "", (*_MEMORY, "states", "adam")),
        "fits": Metric("1 where the peak is within the capacity, else 0", "", (*_MEMORY, "states", "capacity")),
        "largest_batch": Metric("largest batch that fits, in powers of two", "", (*_MEMORY, "states", "capacity")),
        "layer": Metric("a layer's forward and backward pass", "s", (*_SPEED, "width", "eager", "kernels")),
        "speed_up": Metric("a layer's passes in BF16 over these", "", (*_SPEED, "eager", "kernels")),
        "speed_up_bound": Metric("the same of bounds, all fused, products at the peak", "", _SPEED),
    },
    published=tuple(_rows()),
    simulate=_simulate,
    misses=(
        Miss(("layer",), "The narrow layers of table 6 take longer than their shapes explain.", _narrow),
        Miss(("largest_batch",), "What an allocator wastes decides where a batch just fits.", _close),
    ),
)
