"""Megatron-LM: GPT models over tensor and pipeline devices, sequence parallelism, selective recomputation.

Attention was no single kernel then: its scores, what softmax and dropout make of them and the mask are written, and
kept unless recomputed (`workloads.transforms.training.unfused_attention`); residual sums with dropout are kernels
beside the norms. The step is the simulator's at kernel fidelity. ``iteration`` counts what kernels lose beside
exchanges, a constant fitted to another framework's runs; ``iteration_alone`` does not.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from hw.spec.load import load_system, override
from hw.spec.system import System
from simulator.interconnect.groups import Group, fabric_rate, group_time
from simulator.training.step.costs import PassCost
from simulator.training.step.layout import Parallel
from simulator.training.step.pieces import pieces_of
from simulator.training.step.result import StepResult
from simulator.training.step.setup import CONTENTION, Setup, lowered
from simulator.training.step.simulate import Prepared, prepare_step, simulate_step
from studies.frame.constants import derived, fitted, of_machine, stated
from studies.frame.study import Config, Key, Metric, Miss, Study
from studies.published.megatron_lm import MODELS, PUBLISHED
from workloads.models.architecture import Attention, Block, FeedForward, Model
from workloads.phases import Train
from workloads.transforms.training.eager import eager
from workloads.transforms.training.sums_apart import sums_apart
from workloads.transforms.training.unfused_attention import unfused_attention
from workloads.workload import Workload

__all__ = ["STUDY"]

_MACHINE, _VOCABULARY, _PEAK = "a100-80gb-sxm", 51_200, 312e12
CONSTANTS = {
    "models": stated(None, "", "arXiv 2104.04473, table 1; arXiv 2205.05198, table 3; 51,200 words, head tied"),
    "kept": stated(None, "", "bytes of a layer: arXiv 2205.05198, section 4; of the two norms' statistics 4 B a row"),
    "states": stated(18, "B", "of a parameter: 2, fp32 gradients 4, master copy and two moments 12; Megatron-LM"),
    "peak": of_machine(_MACHINE, "engines.tensor.throughput"),
    "network": stated(25e9, "B/s", "DGX A100 with 8 HDR adapters, both papers"),
    "kernels": fitted("kernel", "", "constants of kernel fidelity: kernels measured alone, none of these runs"),
    "contention": fitted(CONTENTION, "", "of kernels beside exchanges: MPT models under FSDP (mosaicml/llm-foundry)"),
    "order": derived("1F1B", "", "interleaved where a stage has chunks; passes executed as scheduled"),
}


def _model(name: str, context: int) -> Model:
    hidden, heads, layers = MODELS[name]
    attention = Attention(heads, heads, hidden // heads, qkv_bias=True, output_bias=True, rotary=False)
    block = Block(attention, FeedForward(4 * hidden, False, "gelu_tanh", bias=True), "layer")
    return Model(name, "gpt", hidden, _VOCABULARY, (block,), (0,) * layers, True, positions=context)


def _kernels(workload: Workload) -> Workload:
    return _fused(unfused_attention(workload))


def _fused(workload: Workload) -> Workload:
    return eager(sums_apart(workload, dropout=True), blocks=False, norms=False)


def _setup(config: Config) -> Setup:
    tensor, context = int(config["tp"]), int(config["context"])
    layout = Parallel(
        tensor=tensor,
        pipeline=int(config["pp"]),
        data=int(config["dp"]),
        zero=int(config["zero"]),
        chunks=int(config["chunks"]),
        sequence=bool(config["sequence"]) and tensor > 1,
    )
    phase = Train(int(config["micro_batch"]), context, str(config["recompute"]), gradient_format="fp32")  # type: ignore[arg-type]
    transform = _kernels if config["attention"] == "unfused" else _fused
    model = _model(str(config["model"]), context)
    return Setup(model, phase, int(config["global_batch"]), layout, transform=transform)


def _system(setup: Setup) -> System:
    return _machine(setup.parallel.devices)


@cache
def _machine(devices: int) -> System:
    return override(load_system(_MACHINE), (f"devices={devices}",))


@cache
def _prepared(setup: Setup) -> Prepared:
    return prepare_step(setup, _system(setup), fidelity="kernel")


def _alike(setup: Setup) -> Setup:
    """A micro-batch's passes do not hang on how many replicas and stages there are."""
    parallel = Parallel(tensor=setup.parallel.tensor, sequence=setup.parallel.sequence)
    return replace(setup, global_batch=setup.phase.batch, contention=None, parallel=parallel)


@cache
def _step(setup: Setup) -> StepResult:
    return simulate_step(setup, _system(setup), fidelity="kernel", prepared=_prepared(_alike(setup)))


def _layer_s(setup: Setup) -> tuple[float, float]:
    """A layer's forward and backward pass of a micro-batch."""
    ready = _prepared(_alike(setup))
    cost, rate = ready.costs[ready.pieces.layers[0].name], fabric_rate(_system(setup))

    def seconds(each: PassCost) -> float:
        hidden = max(0.0, 1 - each.exposed_s / each.exchange_s) if each.exchange_s else 0.0
        return each.span_s + CONTENTION * hidden * each.sent_bytes / rate

    return seconds(cost.forward), seconds(cost.backward)


@cache
def _kept(setup: Setup) -> float:
    return pieces_of(lowered(setup)).layers[0].kept_bytes


def _simulate(config: Config) -> dict[str, float]:
    setup = _setup(config)
    step, parallel = _step(setup), setup.parallel
    whole = replace(setup, phase=replace(setup.phase, checkpoint="none"), parallel=replace(parallel, sequence=False))
    first = step.memory[0]
    hidden, _, layers = MODELS[str(config["model"])]
    context = setup.phase.context
    # Equation 3 of arXiv 2104.04473: matrix products with the forward pass again.
    work = 96 * setup.tokens * layers * hidden**2 * (1 + context / (6 * hidden) + _VOCABULARY / (16 * layers * hidden))
    rate = work / step.devices / step.latency_s
    found = {
        "iteration": step.latency_s,
        "iteration_alone": _step(replace(setup, contention=0.0)).latency_s,
        "mfu": step.mfu,
        "activations": first.activations,
        "states": min(stage.weights + stage.gradients + stage.optimizer for stage in step.memory),
        "activation_share": _kept(setup) / _kept(whole),
        "peak": step.peak_bytes,
    }
    if setup.phase.checkpoint == "full":
        found["rate_zero_3" if parallel.zero == 3 else "rate"] = rate
    found["layer_forward"], found["layer_backward"] = _layer_s(setup)
    if setup.phase.checkpoint != "full" and parallel.zero < 3:
        full = replace(setup, phase=replace(setup.phase, checkpoint="full"), parallel=whole.parallel)
        found["speed_up"] = _step(full).latency_s / step.latency_s
    return found


def _tensor_by_tensor() -> str:
    """What gathering each parameter on its own takes in rings over all devices."""
    parts = []
    for name, devices, published in (("175b", 384, 144e12), ("175b", 1536, 44e12), ("530b", 2240, 48e12)):
        micro = 1536 // devices if name == "175b" else 1
        some = {"model": name, "tp": 1, "pp": 1, "chunks": 1, "dp": devices, "zero": 3, "recompute": "full"}
        config = STUDY.config({**some, "global_batch": devices * micro, "micro_batch": micro, "sequence": False})
        setup = _setup(config)
        system, step = _system(setup), _step(setup)
        ours = _simulate(config)["rate_zero_3"]
        # Weights and biases of four products, gains and biases of two norms; gathered twice and scattered once.
        calls = 3 * 12 * MODELS[name][2]
        hop = system.network.latency_s if system.network else 0.0
        later = step.latency_s + calls * (devices - 1) * hop
        tree = group_time(system, "all_gather", 1.0, Group(devices)).latency_s
        parts.append(
            f"{name} on {devices:,}: {ours / 1e12:.0f} TFLOP/s; {calls:,} rings of {devices - 1:,} steps of "
            f"{hop * 1e6:.0f} us (ours: {tree * 1e3:.1f} ms a layer) make it "
            f"{ours * step.latency_s / later / 1e12:.0f}, published {published / 1e12:.0f}"
        )
    return "Each of a layer's twelve tensors gathered and scattered on its own: " + "; ".join(parts) + "."


_TIME = ("models", "peak", "network", "kernels", "contention", "order")
_LAYER = ("models", "peak", "kernels", "contention")
_ALONE = ("models", "peak", "network", "kernels", "order")
STUDY = Study(
    title="Megatron-LM: sequence parallelism and selective recomputation",
    claim="Keeping all but attention's scores, divided by tokens too, makes a step 29 to 32 % faster than recomputing "
    "everything, at up to 56.3 % of the peak; a trillion parameters train at 52 % of it on 3,072 devices.",
    source="Korthikanti et al., MLSys 2023, arXiv 2205.05198; Narayanan et al., SC 2021, arXiv 2104.04473",
    machine="A100 80 GB SXM, 8 to a node, an HDR adapter each",
    workload="training steps of GPT models, 1.7 to 1,008 billion parameters, 2,048 tokens",
    policy="tensor parallelism in a node, pipeline between nodes, sequence parallelism, attention's scores recomputed",
    baseline="full recomputation without sequence parallelism; ZeRO-3 without tensor and pipeline devices",
    keys={
        "model": Key("22b", "parameters", choices=tuple(MODELS)),
        "context": Key(2048, "tokens of a sequence", low=16, high=131072),
        "tp": Key(8, "tensor-parallel devices", choices=(1, 2, 4, 8, 16)),
        "pp": Key(1, "stages", low=1, high=128),
        "dp": Key(1, "replicas", low=1, high=4096),
        "zero": Key(0, "what replicas divide: 1 states, 2 gradients, 3 parameters", choices=(0, 1, 2, 3)),
        "chunks": Key(1, "pieces of a stage's layers, interleaved", low=1, high=16),
        "global_batch": Key(4, "sequences of a step", low=1, high=65536),
        "micro_batch": Key(1, "sequences at a time in a replica", low=1, high=256),
        "recompute": Key("selective", "what is computed again", choices=("none", "selective", "full")),
        "sequence": Key(True, "norms and sums divided by tokens", choices=(True, False)),
        "attention": Key("unfused", "attention's scores in memory, or one kernel", choices=("unfused", "fused")),
    },
    constants=CONSTANTS,
    metrics={
        "iteration": Metric("a step", "s", _TIME),
        "iteration_alone": Metric("a step whose kernels lose nothing beside exchanges", "s", _ALONE),
        "rate": Metric("operations of the products, recomputation counted, of a device", "FLOP/s", _TIME),
        "rate_zero_3": Metric("the same where parameters are divided over replicas", "FLOP/s", _TIME),
        "mfu": Metric("useful operations over those of the peak", "", _TIME),
        "speed_up": Metric("the step with everything recomputed over this one", "", _TIME),
        "layer_forward": Metric("a layer's forward pass", "s", _LAYER),
        "layer_backward": Metric("a layer's backward pass, with what is computed again", "s", _LAYER),
        "activations": Metric("kept on a device of the first stage", "B", ("models", "kept", "order")),
        "activation_share": Metric("kept bytes of a layer over all, tensor devices alone", "", ("models", "kept")),
        "states": Metric("weights, gradients, optimizer on a device of the lightest stage", "B", ("models", "states")),
        "peak": Metric("bytes of the fullest device", "B", ("models", "kept", "states", "order")),
    },
    published=PUBLISHED,
    simulate=_simulate,
    misses=(
        Miss(
            ("rate_zero_3",),
            "Parameters are gathered a layer at a time here; what the runs gathered at once is not published.",
            _tensor_by_tensor,
        ),
    ),
)
