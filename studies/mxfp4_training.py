"""Training with MXFP4: both gradients' products in four bits, after a blockwise random Hadamard transform.

The step is a lowered one whose backward products are given another format: casts and transforms are operations that
read and write what they do. No machine of the authors had MXFP4; they measured INT8 and INT4 on an A100 in its place
and estimate from that, and both are here, beside a machine with FP4.
"""

from __future__ import annotations

from functools import cache

from hw.spec.load import load_system
from simulator.training.offload.layer_times import layer_times
from studies.frame.constants import derived, fitted, of_machine, stated, synthetic
from studies.frame.study import Config, Key, Metric, Published, Study
from workloads.models.architecture import Attention, Block, FeedForward, Model
from workloads.models.catalogue import model
from workloads.models.lower import lower
from workloads.models.stored_formats import stored_formats
from workloads.phases import Train
from workloads.transforms.training.formats import CASTS, PRODUCTS, direction, training_formats
from workloads.workload import Workload

__all__ = ["STUDY", "gpt"]

_SHAPES = {"GPT-345M": (24, 1024, 16), "GPT-1.3B": (24, 2048, 16), "GPT-6.7B": (32, 4096, 32)}
_MODELS = (
    *_SHAPES, "Llama-2-7B", "Llama-2-13B", "Llama-2-70B", "Llama-3-8B", "Llama-3-70B", "Llama-3.1-405B", "OPT-6.7B",
    "GPT-3-175B", "Mistral-7B", "Qwen2.5-7B", "Qwen2.5-32B",
)  # fmt: skip
_EIGHT = {"int4": "int8", "int8": "int8"}
_FORMATS = {"16-bit": "", **{name: name for name in PRODUCTS if name not in ("bf16", "fp16")}}
CONSTANTS = {
    "recipe": stated(None, "", "section 3: gradients' products of the decoder's linear layers, blocks of 32"),
    "shapes": stated(_SHAPES, "", "amazon-science/mxfp4-llm at 0cc57fe, scripts/gpt3: layers, width, heads"),
    "casts": synthetic("apart", "", "transform and cast as kernels of their own; the authors' are not published"),
    "proxy": stated(("int8", "int4"), "", "table 5: INT8 and INT4 on an A100 stand for FP8 and MXFP4"),
    "machine": derived("a100-40gb-sxm", "", "AWS P4, the authors' A100 instances, have 40 GB (p4d)"),
    "tokens": synthetic(16_384, "", "tokens of table 5 are not published; none of its rates hangs on them by 1 %"),
    "peak": of_machine("a100-40gb-sxm", "engines.tensor.throughput"),
    "bandwidth": of_machine("a100-40gb-sxm", "tiers.hbm.read_bandwidth"),
    "fp4": of_machine("b200-sxm", "engines.tensor.throughput"),
    "kernels": fitted(
        None, "", "kernels' constants, to measured GEMMs, attention and row kernels of others: reports/accuracy.md"
    ),
}


@cache
def gpt(name: str) -> Model:
    """A GPT as the authors' scripts shape it, or a model of the catalogue."""
    if name not in _SHAPES:
        return model(name)
    layers, hidden, heads = _SHAPES[name]
    attention = Attention(heads, heads, hidden // heads, qkv_bias=True, output_bias=True, rotary=False)
    block = Block(attention, FeedForward(4 * hidden, gated=False, activation="gelu", bias=True), "layer")
    return Model(name, "gpt2", hidden, 50_257, (block,), (0,) * layers, tied_embeddings=True)


@cache
def _step(name: str, batch: int, context: int) -> Workload:
    found = gpt(name)
    return lower(found, Train(batch, context), stored_formats(found))


@cache
def _times(config: tuple[tuple[str, object], ...], backward: str, hadamard: int) -> tuple[float, float]:
    """Seconds of a layer's forward and backward pass."""
    at = dict(config)
    step = _step(str(at["model"]), int(str(at["batch"])), int(str(at["context"])))
    forward, block = _FORMATS[str(at["forward"])], hadamard if backward != "16-bit" else 0
    made = training_formats(step, forward, _FORMATS[backward], block, at["casts"])  # type: ignore[arg-type]
    times = layer_times(made, load_system(str(at["device"])), fidelity=str(at["fidelity"]))
    return times["layer"], times["layer_backward"]


def _simulate(config: Config) -> dict[str, float]:
    backward, block = str(config["backward"]), int(config["hadamard"])
    rest = tuple((k, config[k]) for k in ("model", "batch", "context", "forward", "casts", "device", "fidelity"))
    step = _step(str(config["model"]), int(config["batch"]), int(config["context"]))
    tokens = step.phase.tokens
    forward_s, backward_s = _times(rest, backward, block)
    narrow = sum(
        count * op.work.contraction
        for layer, count in step.layers()
        for op in layer.ops
        if direction(layer, op) == "backward"
    )
    _, sixteen_s = _times(rest, "16-bit", 0)
    _, eight_s = _times(rest, _EIGHT.get(backward, "fp8"), 0)
    _, plain_s = _times(rest, backward, 0)
    return {
        "rate": tokens / (forward_s + backward_s),
        "backward_rate": tokens / backward_s,
        "speed_up_bf16": sixteen_s / backward_s,
        "speed_up_fp8": eight_s / backward_s,
        "share": narrow / step.total_work().contraction,
        "transform": backward_s / plain_s - 1,
    }


def _by_model() -> list[str]:
    lines = ["Backward pass of a layer in MXFP4 with blocks of 64, 8,192 tokens, on a B200:", ""]
    lines += ["| model | over BF16 | over FP8 | share of products | transform |", "| --- | ---: | ---: | ---: | ---: |"]
    for name in (*_SHAPES, "Llama-2-70B", "Llama-3.1-405B"):
        found = _simulate(STUDY.config({"model": name, "context": 2048}))
        lines.append(
            f"| {name} | {found['speed_up_bf16']:.2f} | {found['speed_up_fp8']:.2f} | {100 * found['share']:.0f} % | "
            f"{100 * found['transform']:.0f} % |"
        )
    lines += ["", "The published speed-ups are estimates from the A100's rates, not runs with MXFP4."]
    return lines


_TABLE = "table 5, Llama 2 70B, one layer on an A100 (read in third-party notes)"
_A100: Config = {"device": "a100-40gb-sxm", "model": "Llama-2-70B"}


def _row(backward: str, block: int, rate: float, backward_rate: float) -> tuple[Published, Published]:
    at = {"backward": backward, "hadamard": block, **_A100}
    return Published("rate", at, rate, _TABLE), Published("backward_rate", at, backward_rate, _TABLE)


_TIMES = ("recipe", "casts", "tokens", "proxy", "machine", "peak", "bandwidth", "kernels")
STUDY = Study(
    title="Training with MXFP4",
    claim="Gradients in MXFP4, over half of the training's operations: > 1.3x over FP8, > 1.7x over BF16 (estimated).",
    source="Tseng, Yu, Park, AISTATS 2025, arXiv 2502.20586; amazon-science/mxfp4-llm",
    machine="a100-40gb-sxm, whose INT8 and INT4 stand for FP8 and MXFP4; b200-sxm, which has FP4",
    workload="a layer's forward and backward pass of Llama 2 70B, of GPT to 6.7B or of another model",
    policy="backward products in MXFP4, both operands transformed in blocks of 64 and rounded by chance",
    baseline="the same backward pass in BF16, and in FP8 (INT8 on the A100)",
    keys={
        "model": Key("Llama-2-70B", "model", choices=_MODELS),
        "batch": Key(4, "sequences", low=1, high=4096),
        "context": Key(4096, "tokens of a sequence", low=1, high=1 << 20),
        "forward": Key("16-bit", "format of forward products", choices=tuple(_FORMATS)),
        "backward": Key("mxfp4", "format of backward products", choices=tuple(_FORMATS)),
        "hadamard": Key(64, "block of the transform, 0 for none", choices=(0, 16, 32, 64, 128, 256, 512, 1024)),
        "casts": Key("apart", "transform and cast as two kernels, as one, or in the product's", choices=tuple(CASTS)),
        "device": Key(
            "b200-sxm", "machine", choices=("b200-sxm", "a100-40gb-sxm", "a100-80gb-sxm", "h100-sxm", "h200-sxm")
        ),
        "fidelity": Key("kernel", "kernels as libraries have them, or bounds", choices=("kernel", "roofline")),
    },
    constants=CONSTANTS,
    metrics={
        "rate": Metric("tokens a second of a layer, forward and backward", "1/s", _TIMES),
        "backward_rate": Metric("tokens a second of its backward pass", "1/s", _TIMES),
        "speed_up_bf16": Metric("backward pass in BF16 over this one", "", (*_TIMES, "fp4")),
        "speed_up_fp8": Metric("backward pass in FP8 (for INT4: INT8) over this one", "", (*_TIMES, "fp4")),
        "share": Metric("backward products of the layers among all of the step", "", ("recipe", "shapes")),
        "transform": Metric("time that the transform adds to the backward pass", "", (*_TIMES, "fp4")),
    },
    published=(
        *_row("16-bit", 0, 46_983, 72_563),
        *_row("int8", 0, 55_469, 94_688),
        *_row("int4", 0, 67_306, 133_952),
        *_row("int4", 64, 64_335, 123_056),
        *_row("int4", 128, 64_171, 122_734),
        *_row("int4", 256, 63_979, 121_823),
        Published("speed_up_bf16", {"backward": "int4", **_A100}, 1.7, "abstract, estimated: more than"),
        Published("speed_up_fp8", {"backward": "int4", **_A100}, 1.3, "abstract, estimated: more than"),
        Published("share", {"model": "GPT-6.7B", "context": 2048}, 0.5, "abstract: more than"),
    ),
    simulate=_simulate,
    notes=_by_model,
)
