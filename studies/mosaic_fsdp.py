"""MPT models under PyTorch FSDP: everything divided over all devices, in eager mode, with the kernels of 2023.

The step is the simulator's at kernel fidelity: residual sums, the loss in 32 bits, flat gradients and the optimizer are
kernels of their own, attention is FlashAttention in Triton. ``mfu_alone`` has what is stated; ``mfu`` also counts what
kernels lose beside exchanges, a constant fitted to every third row; ``mfu_fitted`` has factors of kernels fitted too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache

from hw.spec.load import load_system, override
from hw.spec.system import System
from mappers.mapped import MappedOp
from simulator.training.step.layout import Parallel
from simulator.training.step.result import StepResult
from simulator.training.step.scaled import scaled
from simulator.training.step.setup import CONTENTION, Setup
from simulator.training.step.simulate import Prepared, prepare_step, simulate_step
from studies.frame.constants import derived, fitted, of_machine, stated
from studies.frame.study import Config, Key, Metric, Miss, Study
from studies.published.mosaic_fsdp import PUBLISHED, ROWS
from workloads.models.architecture import Attention, Block, FeedForward, Model
from workloads.phases import Train
from workloads.transforms.training.eager import eager
from workloads.transforms.training.fsdp_kernels import flat_gradients, update_apart
from workloads.transforms.training.sums_apart import sums_apart
from workloads.workload import Workload

__all__ = ["FACTORS", "STUDY", "kernel_class", "prepared_of", "setup_of", "stated_factors"]

GPUS = ("a100-80gb-sxm", "a100-40gb-sxm", "h100-sxm")
MODELS = {
    "125m": (768, 12, 12),
    "350m": (1024, 16, 24),
    "760m": (1536, 12, 24),
    "1b": (2048, 16, 24),
    "3b": (2560, 20, 32),
    "7b": (4096, 32, 32),
    "13b": (5120, 40, 40),
    "30b": (7168, 56, 48),
    "70b": (8192, 64, 80),
}
_FLASH_2 = "arXiv 2307.08691"
FACTORS = {
    "a100": ({"gemm": 1.129, "forward": 1.127, "backward": 0.846, "other": 0.800}, 1.314),
    "h100": ({"gemm": 0.859, "forward": 0.926, "backward": 1.254, "other": 1.622}, 0.541),
}
"""Fitted factors on kernels by class, beside the stated ones, and contention."""

CONSTANTS = {
    "models": stated(None, "", "mosaicml/llm-foundry at 061f2c7, scripts/train/yamls: width, heads, layers; biases, "
                     "learned positions and a shared head by their numbers of parameters"),
    "precision": stated(None, "", "mosaicml/composer, trainer/mosaic_fsdp_utils.py: DEFAULT reduces gradients in fp32, "
                        "PURE in bf16"),
    "triton": stated((1.4, 2.0), "", f"FlashAttention in Triton takes 1.3 to 1.5 times as long forward as the second, "
                     f"around 2 times backward: {_FLASH_2}, section 4.1"),
    "hopper": stated((1.75, 1.625), "", "the second takes 1.5 to 2.0 times as long as the third forward, 1.5 to 1.75 "
                     "times backward: FlashAttention-3, arXiv 2407.08608, abstract and section 4.1"),
    "network": stated(None, "", "1,600 Gbit/s between nodes of A100, README; of H100 the preset's"),
    "peak": of_machine("a100-80gb-sxm", "engines.tensor.throughput"),
    "peak_hopper": of_machine("h100-sxm", "engines.tensor.throughput"),
    "kernels": fitted("kernel", "", "constants of kernel fidelity: kernels measured alone, none of these runs"),
    "order": derived(1, "", "FSDP fetches a block ahead"),
    "contention": fitted(CONTENTION, "", "every third row, `benchmarks/training.py`"),
    "factors": fitted(FACTORS, "", "every third row, `benchmarks/training.py`: matrix products, attention, others"),
}  # fmt: skip


def kernel_class(op: MappedOp) -> str:
    """The class of kernels whose time is scaled as one."""
    if op.op.kind == "attention":
        return "backward" if "backward" in op.op.cascade.name else "forward"
    return "gemm" if op.op.kind == "gemm" else "other"


def stated_factors(gpu: str) -> dict[str, float]:
    """Times that attention in Triton takes of what the mapper's kernel does: FlashAttention-2 on A100, 3 on H100."""
    forward, backward = CONSTANTS["triton"].value
    newer = CONSTANTS["hopper"].value if gpu.startswith("h100") else (1.0, 1.0)
    return {"forward": forward * newer[0], "backward": backward * newer[1]}


def _model(name: str, context: int) -> Model:
    hidden, heads, layers = MODELS[name]
    attention = Attention(heads, heads, hidden // heads, qkv_bias=True, output_bias=True, rotary=False)
    block = Block(attention, FeedForward(4 * hidden, False, "gelu", bias=True), "layer")
    return Model(name, "mpt", hidden, 50368, (block,), (0,) * layers, True, positions=context)


def _pure(workload: Workload) -> Workload:
    return update_apart(flat_gradients(sums_apart(workload)))


def _default(workload: Workload) -> Workload:
    return _pure(eager(workload, blocks=False, norms=False))


def setup_of(config: Config) -> Setup:
    """The step of a configuration."""
    gpus, micro, pure = int(config["gpus"]), int(config["micro_batch"]), config["precision"] == "pure"
    context = int(config["context"])
    phase = Train(
        micro, context, "full" if config["checkpointing"] else "none", gradient_format="bf16" if pure else "fp32"
    )
    return Setup(
        _model(str(config["model"]), context),
        phase,
        micro * int(config["micro_batches"]) * gpus,
        Parallel(data=gpus, zero=3),
        from_master=True,
        transform=_pure if pure else _default,
    )


@cache
def _system(gpu: str, devices: int) -> System:
    return override(load_system(gpu), (f"devices={devices}",))


@cache
def _passes(gpu: str, alone: Setup) -> Prepared:
    return prepare_step(alone, _system(gpu, 1), fidelity="kernel")


def prepared_of(config: Config) -> Prepared:
    """A micro-batch on one device, with the mapper's kernels; no exchange is in it."""
    setup = setup_of(config)
    return _passes(str(config["gpu"]), replace(setup, parallel=Parallel(), global_batch=setup.phase.batch))


def _step(config: Config, passes: Prepared, contention: float) -> StepResult:
    setup = replace(setup_of(config), contention=contention)
    return simulate_step(setup, _system(str(config["gpu"]), setup.parallel.devices), fidelity="kernel", prepared=passes)


def _with(config: Config, factors: Mapping[str, float]) -> Prepared:
    system = _system(str(config["gpu"]), 1)
    return scaled(prepared_of(config), lambda op: factors.get(kernel_class(op), 1.0), system)


def _simulate(config: Config) -> dict[str, float]:
    known = stated_factors(str(config["gpu"]))
    more, contention = FACTORS[str(config["gpu"])[:4]]
    passes = _with(config, known)
    step = _step(config, passes, CONTENTION)
    further = _with(config, {kind: known.get(kind, 1.0) * factor for kind, factor in more.items()})
    return {
        "mfu": step.mfu,
        "mfu_alone": _step(config, passes, 0.0).mfu,
        "mfu_fitted": _step(config, further, contention).mfu,
        "peak": step.peak_bytes,
    }


def _full_memories() -> str:
    """How full devices are where the step is far slower than ours, and beside it."""
    parts = []
    for wanted in (
        {"gpu": "h100-sxm", "model": "30b", "gpus": 8},
        {"gpu": "a100-80gb-sxm", "model": "30b", "gpus": 8},
        {"gpu": "a100-40gb-sxm", "model": "70b"},
        {"gpu": "a100-40gb-sxm", "model": "13b"},
    ):
        capacity = load_system(str(wanted["gpu"])).tiers["hbm"].capacity_bytes
        for config, published in ROWS:
            if wanted.items() <= config.items():
                found = _simulate(STUDY.config(config))
                parts.append(
                    f"{config['model']} at {config['context']:,} tokens on {config['gpus']} {config['gpu']}: "
                    f"{found['peak'] / capacity:.0%} full, ours {found['mfu'] / published:.2f} times the published"
                )
    return "; ".join(parts) + "."


def _one_model_falls() -> str:
    """What 512 tokens cost beside 2,048, the same tokens at a time, for all models on both machines."""
    parts = []
    for gpu in ("a100-80gb-sxm", "h100-sxm"):
        for name in ("350m", "760m", "1b", "3b"):
            found = {
                int(config["context"]): mfu
                for config, mfu in ROWS
                if (config["gpu"], config["model"], config["gpus"]) == (gpu, name, 8)
            }
            if {512, 2048} <= found.keys():
                parts.append(f"{name} on {gpu} {found[512] / found[2048]:.2f}")
    return "Published at 512 over at 2,048 tokens: " + ", ".join(parts) + "."


_ALONE = (
    "models", "precision", "triton", "hopper", "network", "peak", "peak_hopper", "kernels", "order",
)  # fmt: skip
STUDY = Study(
    title="MPT training with PyTorch FSDP",
    claim="Models of 125 million to 70 billion parameters train at 26 to 64 % of the peak with nothing but sharding.",
    source="mosaicml/llm-foundry at 061f2c7, scripts/train/benchmarking/README.md",
    machine="A100 80 GB and 40 GB and H100, 8 to 128 of them",
    workload="training steps of MPT models, 512 to 65,536 tokens",
    policy="parameters, gradients and states divided over all devices, gathered block by block; checkpointing or none",
    baseline="the same with nothing lost beside exchanges (mfu_alone)",
    keys={
        "gpu": Key("a100-80gb-sxm", "machine", choices=GPUS),
        "model": Key("7b", "parameters", choices=tuple(MODELS)),
        "context": Key(2048, "tokens of a sequence", low=16, high=131072),
        "gpus": Key(8, "devices", low=1, high=4096),
        "micro_batch": Key(6, "sequences at a time on a device", low=1, high=1024),
        "micro_batches": Key(2, "of them in a step", low=1, high=1024),
        "checkpointing": Key(False, "each block is computed again", choices=(True, False)),
        "precision": Key("default", "gradients reduced in fp32, or all in bf16", choices=("default", "pure")),
    },
    constants=CONSTANTS,
    metrics={
        "mfu": Metric("useful operations over those of the peak", "", (*_ALONE, "contention")),
        "mfu_alone": Metric("the same with nothing lost beside exchanges", "", _ALONE),
        "mfu_fitted": Metric("the same with fitted factors on kernels", "", (*_ALONE, "contention", "factors")),
        "peak": Metric("bytes of a device", "B", ("models", "precision", "order")),
    },
    published=PUBLISHED,
    simulate=_simulate,
    misses=(
        Miss(
            ("mfu", "mfu_alone", "mfu_fitted"),
            "Devices of most are nearly full: PyTorch's allocator frees and asks again, which is not modelled.",
            _full_memories,
        ),
        Miss(
            ("mfu", "mfu_alone", "mfu_fitted"),
            "One model falls by a fifth at short contexts on A100, others do not; the cause is not published.",
            _one_model_falls,
        ),
    ),
)
