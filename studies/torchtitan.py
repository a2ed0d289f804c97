"""TorchTitan: Llama training with sharded data, tensor, context and pipeline parallelism, eager and compiled, in FP8.

A step is the simulated step of a layout (`simulator.training.step.simulate`), of a model that runs as torchtitan's
does: products of their own for queries, keys, values and gates, elementwise steps apart unless compiled, copies around
what is sharded, checkpoints that stop early or save every second product. No row of torchtitan's is fitted to. Kernels
in training run slower than alone: how much is had from another system's stages on A100, and from products measured on
H100s like these.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from hw.spec.clocks import at_clock
from hw.spec.load import load_system, override_values
from hw.spec.system import System
from mappers.kernels.constants import Entry, bundled
from simulator.training.step.layout import Parallel
from simulator.training.step.memory_trace import trace_memory
from simulator.training.step.pieces import Pieces
from simulator.training.step.result import StepResult
from simulator.training.step.setup import CONTENTION, Setup
from simulator.training.step.simulate import prepare_step, simulate_step
from studies.frame.constants import derived, fitted, of_machine, stated
from studies.frame.study import Config, Key, Metric, Miss, Study, Value
from studies.published.torchtitan import A100, PUBLISHED
from workloads.errors import InputError
from workloads.models.architecture import Model
from workloads.models.catalogue import model
from workloads.models.flops import model_flops
from workloads.phases import Checkpoint, Train
from workloads.transforms.training.async_exchanges import async_exchanges
from workloads.transforms.training.checkpoints import needed_again, saved_products
from workloads.transforms.training.context_rounds import context_rounds
from workloads.transforms.training.eager import eager
from workloads.transforms.training.formats import training_formats
from workloads.transforms.training.products_apart import products_apart
from workloads.transforms.training.sharded_copies import sharded_copies
from workloads.workload import Workload

__all__ = ["STUDY"]

_A100, _H100 = "a100-80gb-sxm", "h100-96gb-hbm2e"
MACHINES = {"a100-80gb-efa": _A100, _A100: _A100, _H100: _H100, "h100-sxm": "h100-sxm", "h200-sxm": "h200-sxm"}
CHECKPOINTS: dict[str, tuple[Checkpoint, int]] = {
    "none": ("none", 1),
    "layer": ("full", 2),
    "op": ("full", 1),
    "full": ("full", 1),
}
MODELS = (
    *("Llama-2-7B", "Llama-2-13B", "Llama-2-70B", "Llama-3-8B", "Llama-3-70B"),
    *("Llama-3.1-8B", "Llama-3.1-70B", "Llama-3.1-405B"),
)

CONSTANTS = {
    "code": stated(
        None, "", "torchtitan at 0199cbc (models/llama/model.py), 026e23a (models/norms.py), 004b314 (parallelisms/"
        "parallelize_llama.py: FSDP of each block, saved operations, every second product again, blocks compiled)",
    ),
    "micro_batches": stated(None, "", "torchtitan at 022d40f, parallelisms/pipelining_utils.py: as many as stages"),
    "gradients": stated(4, "B", "torchtitan's default mixed_precision_reduce: float32; states and master in float32"),
    "norms": derived(
        None, "", "A100: fused, since Llama-2-13B without checkpoints does not fit 80 GB otherwise; H100: not, as its "
        "configurations have it (train_configs/llama3_8b.toml at 0011fb9)",
    ),
    "layers": derived(128, "", "of Llama-3.1-405B, for its 126: as many on each of 8 or 16 parts of a pipeline"),
    "peak_a100": of_machine(_A100, "engines.tensor.throughput"),
    "hbm_a100": of_machine(_A100, "tiers.hbm.read_bandwidth"),
    "network_a100": derived(
        6.25e9, "B/s", "of each GPU: 400 Gbit/s for 8 of an AWS p4de.24xlarge; torchtitan issue 394 says that it ran "
        "there, at 400 with EFA",
    ),
    "peak_h100": of_machine(_H100, "engines.tensor.throughput"),
    "hbm_h100": of_machine(_H100, "tiers.hbm.read_bandwidth"),
    "network_h100": of_machine(_H100, "network.bandwidth"),
    "kernels": fitted(None, "", "mappers/kernels/constants: to kernels measured alone, none of them torchtitan's"),
    "flash_2": derived(
        1 / (1 / 0.35 - 0.5), "", "of the rate of products in FlashAttention-2 on H100: 35 % of the peak are attained "
        "in all (arXiv 2407.08608, abstract), half an operation's time beside them are exponentials, 16 a clock",
    ),
    "training": fitted(
        0.816, "", "clock in training on A100, to stages of four layers of Vocabulary Parallelism's artifact "
        "(sail-sg/VocabularyParallelism at 6191c3bf): 10.68 ms forward and 21.32 ms backward, both within 1 %",
    ),
    "power": fitted(
        0.845, "", "clock of an H100 under 500 W, to three bf16 products of pytorch/FBGEMM pull request 2546: 585, 575 "
        "and 546 TFLOP/s",
    ),
    "fp8": fitted(
        0.944, "", "of the efficiency of bf16 products, to the three FP8 products (row-wise, casts apart) of the same: "
        "1126, 1083 and 1141 TFLOP/s",
    ),
    "allocator": stated(None, "", "torchtitan reports max_reserved_bytes of PyTorch's caching allocator"),
}  # fmt: skip


def _machine(config: Config, clock: float) -> System:
    name = str(config["machine"])
    values: dict[str, Value] = {"devices": int(config["devices"])}
    if name == "a100-80gb-efa":
        values["network.bandwidth"] = CONSTANTS["network_a100"].value
    return at_clock(override_values(load_system(MACHINES[name]), values), clock)


def _clock(config: Config) -> float:
    """The share of their data sheet's clock at which engines run in training."""
    power = CONSTANTS["power"].value if config["machine"] == _H100 else 1.0
    return float(CONSTANTS["training"].value * power)


def _kernels(config: Config) -> tuple[Entry, ...]:
    """Kernels of the time: FlashAttention-2 on Hopper, and FP8 products as measured there."""
    found = []
    for family, architecture, change in (
        ("attention", "ampere", {"compute_efficiency": CONSTANTS["flash_2"].value}),
        ("gemm", "hopper", {"narrow_compute_share": CONSTANTS["fp8"].value}),
    ):
        if family == "attention" and config["attention"] == "flash-3":
            continue
        latest = [entry for entry in bundled(family) if entry.architecture == architecture][-1]
        found.append(replace(latest, architecture="hopper", gpu=_H100, values={**latest.values, **change}))
    return tuple(found)


def _model(config: Config) -> Model:
    """The model, with as many layers as divide into the parts of the pipeline."""
    found = model(str(config["model"]))
    parts = int(config["pp"]) * _chunks(config)
    if parts > len(found.order):
        raise InputError(f"{parts} parts of {len(found.order)} layers", "a layer to each at least", "--config pp")
    layers = -(-len(found.order) // parts) * parts
    return found if layers == len(found.order) else replace(found, order=(0,) * layers)


def _chunks(config: Config) -> int:
    return int(config["chunks"]) if config["schedule"] == "interleaved" else 1


def _replicas(config: Config) -> int:
    each = int(config["tp"]) * int(config["cp"]) * int(config["pp"])
    if int(config["devices"]) % each:
        raise InputError(f"{config['devices']} devices for tp x cp x pp = {each}", f"a multiple of {each}", "devices")
    return int(config["devices"]) // each


def _setup(config: Config) -> Setup:
    tp, cp, pp, batch = (int(config[name]) for name in ("tp", "cp", "pp", "batch"))
    checkpoint, every = CHECKPOINTS[str(config["checkpoint"])]
    if pp == 1 and config["schedule"] == "interleaved":
        raise InputError("a schedule 'interleaved' of one stage", "pp of 2 or more", "--config schedule")
    micro = batch // min(pp, batch)
    if batch % micro or (pp > 1 and batch % pp):
        raise InputError(f"{batch} sequences for {pp} stages", f"a multiple of {pp}", "--config batch")
    dp = _replicas(config)
    layout = Parallel(tp, pp, dp, cp, zero=3, chunks=_chunks(config), sequence=tp > 1, reshard=pp == 1)
    phase = Train(micro, int(config["context"]), checkpoint, "logits", every, "fp32")
    return Setup(
        _model(config), phase, batch * dp, layout, exchange="gather", from_master=True, contention=0.0,
        transform=lambda workload: _as_run(config, workload),
    )  # fmt: skip


def _as_run(config: Config, workload: Workload) -> Workload:
    """The workload as torchtitan's code runs it."""
    compiled = config["compile"] == "yes"
    fused = config["norms"] == "fused" or (config["norms"] == "auto" and str(config["machine"]).startswith("a100"))
    workload = context_rounds(products_apart(workload))
    if config["checkpoint"] != "none":
        workload = needed_again(workload)
    if config["checkpoint"] == "op":
        workload = saved_products(workload)
    if config["fp8"] == "yes":
        workload = training_formats(workload, "fp8", "fp8")
    if config["loss"] == "eager" or not compiled:
        workload = eager(workload, blocks=not compiled, norms=not fused)
    workload = sharded_copies(workload)
    return async_exchanges(workload) if config["async_tp"] == "yes" else workload


@cache
def _step(items: tuple[tuple[str, Value], ...], clock: float) -> tuple[StepResult, Pieces]:
    config = dict(items)
    setup, machine = _setup(config), _machine(config, clock)
    ready = prepare_step(setup, machine, fidelity="kernel", constants=_kernels(config))
    return simulate_step(setup, machine, fidelity="kernel", prepared=ready), ready.pieces


@cache
def _reserved(items: tuple[tuple[str, Value], ...]) -> float:
    """What the allocator of the fullest stage's devices reserves."""
    config = dict(items)
    result, pieces = _step(items, _clock(config))
    return float(trace_memory(_setup(config), pieces, result.run, result.fullest).cached().reserved_bytes)


def _tokens(config: Config, **changes: Value) -> float:
    items = tuple(sorted({**config, **changes}.items()))
    return _step(items, _clock(config))[0].tokens_per_s_per_device


def _simulate(config: Config) -> dict[str, float]:
    items = tuple(sorted(config.items()))
    if config["fp8"] == "yes" and str(config["machine"]).startswith("a100"):
        raise InputError("FP8 on an A100, which has none", "no", "--config fp8")
    (training, _), (alone, _) = _step(items, _clock(config)), _step(items, 1.0)
    machine = load_system(MACHINES[str(config["machine"])])
    per_token = model_flops(model(str(config["model"])), 1, int(config["context"])) / int(config["context"])
    of_peak = per_token / machine.engines["tensor"].throughput("bf16")
    reserved = _reserved(items)
    found = {
        "tokens": training.tokens_per_s_per_device,
        "tokens_alone": alone.tokens_per_s_per_device,
        "mfu": training.tokens_per_s_per_device * of_peak,
        "mfu_alone": alone.tokens_per_s_per_device * of_peak,
        "held": training.peak_bytes,
        "reserved": reserved,
        "fits": float(reserved <= machine.tiers["hbm"].capacity_bytes),
        "bubble": training.bubble_share,
    }
    if config["compile"] == "yes":
        found["gain_1d"] = found["tokens"] / _tokens(config, compile="no", fp8="no", async_tp="no")
    if config["async_tp"] == "yes":
        found["gain_async"] = found["tokens"] / _tokens(config, async_tp="no")
    if config["schedule"] == "interleaved":
        found["gain_interleaved"] = found["tokens"] / _tokens(config, schedule="1f1b")
    return found


def _mean_ratio(metric: str) -> float:
    """Of simulated over published numbers, the geometric mean of all rows of a metric."""
    rows = [row for row in PUBLISHED if row.metric == metric]
    ratios = [_simulate(STUDY.config(row.config))[metric] / row.value for row in rows]
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


def _slower() -> str:
    return (
        f"At stated clocks utilisation on A100 is {_mean_ratio('mfu_alone'):.2f} times the published one in the mean, "
        f"throughput on H100 {_mean_ratio('tokens_alone'):.2f} times. At the clock at which stages of another system "
        f"ran on A100, nothing exchanged beside them, utilisation there is {_mean_ratio('mfu'):.3f} times the "
        "published one; with that of products on H100s of 500 W too, and their FP8 products, all throughputs are "
        f"{_mean_ratio('tokens'):.3f} times."
    )


def _notes() -> Sequence[str]:
    whole = {**A100, "model": "Llama-2-13B", "context": 4096, "batch": 2, "checkpoint": "none"}
    fused, plain = (_simulate(STUDY.config({**whole, "norms": norms}))["reserved"] for norms in ("fused", "plain"))
    short = {**A100, "model": "Llama-2-70B", "context": 4096, "checkpoint": "op"}
    slow, fast = (_tokens(STUDY.config({**short, "machine": name})) for name in ("a100-80gb-efa", _A100))
    other = _tokens(STUDY.config({**A100, "norms": "plain"}))
    config = STUDY.config(A100)
    contended = replace(_setup(config), contention=CONTENTION)
    instead, both = (
        simulate_step(contended, _machine(config, clock), fidelity="kernel").tokens_per_s_per_device
        for clock in (1.0, _clock(config))
    )
    return [
        "What is not published of the A100 runs is had from what is. Norms: Llama-2-13B without checkpoints reserves "
        f"{plain / 1e9:.1f} GB with norms in many kernels, {fused / 1e9:.1f} GB with fused ones, so they were fused; "
        f"Llama-3-8B, saved by operations, would be at {other:,.0f} tokens/s otherwise (published 2,973). Network: "
        f"with 200 Gbit/s for each GPU Llama-2-70B on one sequence would be at {fast:,.0f} tokens/s, with 400 for "
        f"eight it is at {slow:,.0f} (published 355).",
        "",
        "Kernels lose nothing here to exchanges beside them, and run at the clock of other runs instead. At what they "
        "lose to exchanges in others still (`simulator.training.step.setup.CONTENTION`), and the data sheet's clock, "
        f"Llama-3-8B saved by operations would be at {instead:,.0f} tokens/s, with both at {both:,.0f} (published "
        "2,973): either explains about all of it, and which it was these numbers do not tell.",
        "",
        "Pipelines divide 126 layers evenly here, as 128.",
    ]


_SAME = ("code", "micro_batches", "gradients", "norms", "layers")
_MACHINE_A100 = ("peak_a100", "hbm_a100", "network_a100")
_ALONE = (*_SAME, *_MACHINE_A100, "peak_h100", "hbm_h100", "network_h100", "kernels", "flash_2", "fp8")
_TRAINING = (*_ALONE, "training", "power")
STUDY = Study(
    title="TorchTitan",
    claim="Llama 3.1 8B, 70B and 405B: 65 % faster on 128 GPUs, 13 % more on 256, 30 % more on 512 by what is stacked.",
    source="Liang et al., arXiv 2410.06511; pytorch/torchtitan, docs/performance.md at 0413364 and eaea6f6",
    machine="A100 80 GB with 400 Gbit/s a node; H100 of 96 GB HBM2e at 500 W with 400 Gbit/s a GPU; H200",
    workload="a training step of a Llama model in bf16, or FP8 products but for the output layer, fp32 states",
    policy="FSDP2, tensor, context and pipeline parallelism; checkpoints; compiled blocks; exchanges beside products",
    baseline="the same without compiling and FP8, without asynchronous tensor parallelism, by 1F1B",
    keys={
        "model": Key("Llama-3.1-8B", "model", choices=MODELS),
        "machine": Key(_H100, "machine of all devices", choices=tuple(MACHINES)),
        "devices": Key(8, "devices in all", low=1, high=4096),
        "batch": Key(2, "sequences of a data-parallel replica, taken in as many parts as stages", low=1, high=256),
        "context": Key(8192, "tokens of a sequence", low=256, high=1 << 21),
        "tp": Key(1, "tensor parallelism, with sequence parallelism", choices=(1, 2, 4, 8)),
        "cp": Key(1, "context parallelism", choices=(1, 2, 4, 8, 16, 32)),
        "pp": Key(1, "stages of the pipeline", low=1, high=64),
        "schedule": Key("1f1b", "order of passes", choices=("1f1b", "interleaved")),
        "chunks": Key(2, "parts of a stage where interleaved", low=2, high=16),
        "checkpoint": Key("op", "what is computed again: every second layer, by operation", choices=tuple(CHECKPOINTS)),
        "compile": Key("no", "layers compiled", choices=("no", "yes")),
        "fp8": Key("no", "products of layers in FP8", choices=("no", "yes")),
        "async_tp": Key("no", "tensor-parallel exchanges beside products", choices=("no", "yes")),
        "norms": Key("auto", "norms as one kernel or as many; fused on A100", choices=("auto", "fused", "plain")),
        "loss": Key("eager", "whether the loss is compiled with the layers", choices=("eager", "compiled")),
        "attention": Key("flash-2", "kernel of attention on Hopper", choices=("flash-2", "flash-3")),
    },
    constants=CONSTANTS,
    metrics={
        "tokens": Metric("tokens per second and device", "1/s", _TRAINING),
        "tokens_alone": Metric("the same with kernels as fast as measured alone at stated clocks", "1/s", _ALONE),
        "mfu": Metric("6 N + 12 L h s FLOPs of every token over the stated peak", "", _TRAINING),
        "mfu_alone": Metric("the same with kernels as fast as measured alone", "", _ALONE),
        "reserved": Metric("bytes that the allocator reserves on the fullest device", "B", (*_SAME, "allocator")),
        "held": Metric("bytes held there, peaks of different times added", "B", _SAME),
        "fits": Metric("1 where what is reserved fits the memory, else 0", "", (*_SAME, "allocator")),
        "bubble": Metric("share of the stages' time without a pass", "", _TRAINING),
        "gain_1d": Metric("tokens over those without compiling and FP8", "", _TRAINING),
        "gain_async": Metric("tokens over those without asynchronous tensor parallelism", "", _TRAINING),
        "gain_interleaved": Metric("tokens over those by 1F1B", "", _TRAINING),
    },
    published=PUBLISHED,
    simulate=_simulate,
    misses=(Miss(("tokens_alone",), "Kernels in training run slower than measured alone.", _slower),),
    notes=_notes,
)
