"""Duplex: experts and decode attention on the logic dies of a GPU's memory, the rest of a model on the GPU.

A run of equal requests, batch after batch without a pause: in as many steps as a request has new tokens, each of the
batch's places takes in one new prompt, which a decode step then carries along. Which engine runs an operation is a
policy, experts on both at once another (`share_experts`); tokens choose experts uniformly, as the paper has them.
Collectives take as long as NCCL's on H100s, or what stated latencies of links leave (``gain_stated``); launches cost
nothing, as in the paper's simulator, or what they cost on an H100 (``gain_launched``).
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import product

from hw.spec.load import load_system, override_values
from hw.spec.memory_only import memory_only
from hw.spec.system import System
from mappers.assign import Assign, Assignment, engines_with
from mappers.roofline import roofline_op
from simulator.collections.coprocess import ExpertLoads, share_experts, uniform_loads
from simulator.collections.elsewhere import assign_elsewhere
from simulator.memory.pim.matching import rates
from simulator.memory.pim.presets import load_pim
from simulator.policy import Policy, Transform
from simulator.result import Result
from simulator.road import simulate
from studies.frame.constants import derived, of_machine, stated
from studies.frame.study import Config, Key, Metric, Miss, Study
from studies.published.duplex import ROWS
from workloads.errors import InfeasibleError, InputError
from workloads.formats import FormatChoice
from workloads.models import model
from workloads.models.architecture import MixtureOfExperts, Model
from workloads.models.lower import lower
from workloads.models.lower_feed_forward import ExpertShare
from workloads.phases import Decode
from workloads.transforms.edit import part_of
from workloads.transforms.mixed_step import PROMPTS, with_prompts
from workloads.workload import Op, Workload

__all__ = ["STUDY"]

MODELS = {"Mixtral-8x7B": 4, "GLaM-8B-64E": 8, "Grok-1": 16, "OPT-66B": 4, "Llama-3-70B": 4}
"""Models and devices (table I)."""
LENGTHS = {"GLaM-8B-64E": (512, 1024, 2048)}
GRID, BATCHES = (256, 1024, 4096), (32, 64, 128)
UNITS = {"duplex": "duplex-logic-pim", "bankgroup-pim": "duplex-bank-group-pim", "bank-pim": "duplex-bank-pim"}
SYSTEMS = ("gpu", "2xgpu", *UNITS)
NODE = 8
GPU, PIM = "tensor", "logic-pim"
HALVES = FormatChoice(weights="fp16", kv_cache="fp16", activations="fp16", compute="fp16")
CONSTANTS = {
    "gpu": of_machine("duplex", "engines.tensor.throughput"),
    "hbm": of_machine("duplex", "tiers.hbm.read_bandwidth"),
    "logic_rate": of_machine("duplex", "engines.logic-pim.throughput"),
    "logic_bandwidth": of_machine("duplex", "engines.logic-pim.home_bandwidth"),
    "bank_bandwidth": stated(16, "", "section 4: Bank-PIM has 16 times the bandwidth"),
    "bank_rate": derived(16 * 3.352e12, "FLOP/s", "section 4: at one operation a byte"),
    "links": of_machine("duplex", "fabric.bandwidth"),
    "link_latency": stated(0.8e-6, "s", "LLMSimulator at f71dde4, src/hardware/hardware_config.h: a device's link"),
    "calls": of_machine("duplex", "fabric.latency"),
    "launch": of_machine("duplex", "engines.tensor.launch_overhead"),
    "device": of_machine("duplex", "engines.logic-pim.device"),
    "static": of_machine("duplex", "static_power"),
    "routing": derived(128, "", "draws whose mean stands for the uniform choice of experts that section 6 states"),
}


@cache
def _model(name: str) -> Model:
    """Its shapes; how many positions a checkpoint has tables for is not asked."""
    return replace(model(name), max_positions=None)


@cache
def _machine(system: str, devices: int, beside: str) -> System:
    base = memory_only(load_system("duplex"))
    engines = {name: engine for name, engine in base.engines.items() if name != PIM or system in UNITS}
    base = base.model_copy(update={"engines": engines, "devices": devices * (2 if system == "2xgpu" else 1)})
    changes: dict[str, object] = {}
    if beside != "launches":
        changes = {f"engines.{name}.launch_overhead": 0.0 for name in engines}
    if beside == "stated":
        changes |= {"fabric.latency": CONSTANTS["link_latency"].value, "fabric.library": None}
    if system == "bank-pim":
        port = base.tiers["hbm"].read_bandwidth_bytes_per_s
        changes[f"engines.{PIM}.home_bandwidth"] = CONSTANTS["bank_bandwidth"].value * port
        changes[f"engines.{PIM}.throughput"] = {"fp16": CONSTANTS["bank_rate"].value}
    if system in UNITS:
        changes[f"engines.{PIM}.device"] = UNITS[system]
    return override_values(base, changes)


def _assign(experts_apart: bool) -> Assign:
    """The GPU, but experts and the attention of decodes where a roofline has them sooner."""

    def assign(op: Op, system: System) -> Assignment:
        there = part_of(op, "attention") and op.name != PROMPTS
        if PIM not in system.engines or not (there or (op.kind == "grouped_gemm" and not experts_apart)):
            return engines_with(GPU, system)
        choices = [engines_with(name, system) for name in (GPU, PIM)]
        return min(choices, key=lambda choice: roofline_op(op, system, lambda _op, _system: choice).time_s)

    return assign_elsewhere(assign, PIM)


def _transform(name: str, system: System, prompts: int, tokens: int, new: int, pe: bool, et: bool) -> Transform:
    """Experts divided or cut over devices, ``prompts`` prompts of ``tokens`` in the step, experts on both engines."""
    mixtures = [block.feed_forward for block in _model(name).blocks if isinstance(block.feed_forward, MixtureOfExperts)]
    share: ExpertShare | None = None
    loads: ExpertLoads | None = None
    if mixtures:
        mixture = mixtures[0]
        ways = 1 if et else min(system.devices, mixture.experts)
        draws = CONSTANTS["routing"].value if new < 1024 else 8  # many tokens hardly differ from their mean
        loads = uniform_loads(mixture.experts, mixture.top_k, new, ways=ways, draws=draws)
        share = None if et else ExpertShare(ways, imbalance=loads.imbalance)

    def change(plain: Workload) -> Workload:
        step = lower(_model(name), plain.phase, HALVES, devices=system.devices, experts=share)
        if prompts:
            step = with_prompts(_model(name), prompts, tokens, HALVES, experts=share)(step)
        return share_experts(step, system, loads, GPU, PIM) if pe and loads is not None else step

    return change


Run = tuple[str, int, int, int, int]
"""Model, devices, batch, prompt and output."""


@cache
def _step(run: Run, system: str, pe: bool, et: bool, prompts: int, beside: str, fidelity: str) -> Result:
    name, devices, batch, lin, lout = run
    machine, pe = _machine(system, devices, beside), pe and system in UNITS
    transform = _transform(name, machine, prompts, lin, batch + prompts * lin, pe, et)
    policy = Policy(transform=transform, assign=_assign(pe))
    middle = Decode(batch, lin + lout // 2)
    return simulate(_model(name), middle, machine, formats=HALVES, policy=policy, fidelity=fidelity)


@cache
def _of_run(run: Run, system: str, pe: bool, et: bool, beside: str, fidelity: str) -> tuple[float, float]:
    """Tokens a second and joules a token."""
    batch, lout = run[2], run[4]
    prompts = -(-batch // lout)
    with_them = batch / prompts / lout
    alone, mixed = (_step(run, system, pe, et, count, beside, fidelity) for count in (0, prompts))
    seconds = (1 - with_them) * alone.latency_s + with_them * mixed.latency_s
    joules = (1 - with_them) * alone.total_energy_j + with_them * mixed.total_energy_j
    return batch / seconds, joules / batch


def _rate(run: Run, system: str, pe: bool, et: bool, beside: str, fidelity: str) -> float:
    return _of_run(run, system, pe, et, beside, fidelity)[0]


def _simulate(config: Config) -> dict[str, float]:
    name, system, fidelity = str(config["model"]), str(config["system"]), str(config["fidelity"])
    batch, lin, lout, op_b = (int(config[key]) for key in ("batch", "lin", "lout", "op_b"))
    pe, et = bool(config["pe"]), bool(config["et"])
    devices = int(config["devices"]) or MODELS[name]
    found: dict[str, float] = {}
    if system in UNITS and op_b:
        products = {key: _product(key, op_b) for key in UNITS}
        found["energy_delay"] = products[system] / max(products.values())
    runs = [(name, devices, batch, lin, lout)]
    if config["scope"] == "grid":
        runs = [(name, devices, b, n, n) for b, n in product(BATCHES, LENGTHS.get(name, GRID))]
    bases = (
        {"gain": "gpu"}
        if fidelity == "cycle"
        else {"gain": "gpu", "over_duplex": "duplex", "over_bank_pim": "bank-pim"}
    )
    ratios: dict[str, list[float]] = {metric: [] for metric in bases}
    try:
        for run in runs:
            ours = _rate(run, system, pe, et, "calls", fidelity)
            for metric, base in bases.items():
                ratios[metric].append(ours / _rate(run, base, False, False, "calls", fidelity))
        if config["scope"] == "grid":
            found |= {f"most_{key}": max(values) for key, values in ratios.items()}
            return found | {f"mean_{key}": sum(values) / len(values) for key, values in ratios.items()}
        found |= {key: values[0] for key, values in ratios.items()}
        rate, joules = _of_run(runs[0], system, pe, et, "calls", fidelity)
        found |= {"fits": 1.0, "tokens_per_s": rate, "requests_per_s": rate / lout}
        if fidelity == "cycle":
            return found | {"energy": joules / _of_run(runs[0], "gpu", False, False, "calls", fidelity)[1]}
        for beside, metric in (("stated", "gain_stated"), ("launches", "gain_launched")):
            ours = _rate(runs[0], system, pe, et, beside, fidelity)
            found[metric] = ours / _rate(runs[0], "gpu", False, False, beside, fidelity)
        return found | _use(runs[0])
    except (InfeasibleError, InputError):  # no room, or heads that so many devices cannot share
        return {"fits": 0.0}


def _use(run: Run) -> dict[str, float]:
    """What part of the GPU's arithmetic experts and attention use in a decode step, heads cut over one node."""
    name, devices, batch, lin, lout = run
    system = _machine("gpu", min(devices, NODE), "stated")
    step = lower(_model(name), Decode(batch, lin + lout // 2), HALVES, devices=min(devices, NODE))
    found = {}
    for metric, kind in (("use_moe", "grouped_gemm"), ("use_attention", "attention")):
        ops = [
            roofline_op(op, system, _assign(True)) for layer, _ in step.layers() for op in layer.ops if op.kind == kind
        ]
        if ops:
            operations = sum(share.operations for op in ops for share in op.shares if share.engine == GPU)
            found[metric] = operations / sum(op.time_s for op in ops) / system.engines[GPU].throughput("fp16")
    return found


@cache
def _product(key: str, op_b: int) -> float:
    """Energy times delay of one stack's units on the 16384 x 4096 product."""
    (point,) = rates(load_pim(UNITS[key]), 16384, 4096, (op_b,))
    return point.energy_j * point.seconds


def _areas() -> str:
    """What areas would do where they can be worked out."""
    dies, die, tsv, units = 9, 121, 10.89, 17.80  # mm2 of a stack of nine dies; on a DRAM die logic takes ten times
    part = (dies * die + tsv + units) / (dies * die + 10 * units)
    ours = [_product("duplex", op_b) / _product("bankgroup-pim", op_b) for op_b in (1, 2, 32)]
    said = ", ".join(f"{ratio:.2f} ({part * ratio:.2f} with areas)" for ratio in ours)
    return (
        "Areas are left out, as those of Bank-PIM, to which the misses are relative, are not published. Logic-PIM over "
        f"BankGroup-PIM is {said} at 1, 2 and 32 operations a byte; published are 0.66, 0.66 and {0.40 / 0.67:.2f}."
    )


def _launches() -> str:
    """What launches are of the steps of both."""
    run = ("Mixtral-8x7B", 4, 32, 4096, 4096)
    parts = []
    for system in ("gpu", "bank-pim"):
        free, with_them = (_step(run, system, False, False, 0, beside, "roofline") for beside in ("calls", "launches"))
        parts.append(
            f"{(with_them.latency_s - free.latency_s) * 1e3:.1f} of {with_them.latency_s * 1e3:.1f} ms on {system}"
        )
    return (
        f"The paper's simulator launches nothing. At {CONSTANTS['launch'].value * 1e6:.0f} us each, launches take "
        f"{' and '.join(parts)} of a step with batch 32, which a GPU that replays graphs of kernels does not pay."
    )


def _notes() -> list[str]:
    run = ("Mixtral-8x7B", 4, 32, 4096, 4096)
    full, both = (
        _rate(run, "duplex", True, True, "calls", "roofline"),
        _rate(run, "2xgpu", False, False, "calls", "roofline"),
    )
    alone = _rate(run, "gpu", False, False, "calls", "roofline")
    return [
        f"At batch 32 and 4,096 tokens twice as many H100 give {both / alone:.2f} times the throughput, Duplex "
        f"{full / alone:.2f}; with launches at what they cost on an H100 the gains shrink, as those of small batches "
        "consist of them. Grok-1's attention is cut over all 16 devices, so that its 8 heads of keys lie twice.",
    ]


_MACHINE = ("gpu", "hbm", "logic_rate", "logic_bandwidth", "links", "routing")
_STATED = (*_MACHINE, "link_latency", "bank_bandwidth", "bank_rate")
_BANKS = (*_MACHINE, "bank_bandwidth", "bank_rate", "calls")
STUDY = Study(
    title="Duplex",
    claim="Experts and attention on logic dies below a GPU's memory give up to 2.67 times an H100's throughput.",
    source="Yun et al., MICRO 2024, arXiv 2409.01141",
    machine="duplex: H100s; five stacks each, with 21.3 TFLOP/s and 4 times the bandwidth on each logic die",
    workload="decode steps in the middle of equal requests, new prompts taken along, in 16 bits",
    policy="experts and decode attention in memory; those of many tokens on the GPU (+PE); cut, not divided (+ET)",
    baseline="the same number of H100, or twice as many; units at banks, or at bank groups",
    keys={
        "model": Key("Mixtral-8x7B", "model", choices=tuple(MODELS)),
        "system": Key("duplex", "machine", choices=SYSTEMS),
        "batch": Key(64, "requests at a time", low=1, high=1024),
        "lin": Key(4096, "tokens of a prompt", low=1, high=131072),
        "lout": Key(4096, "new tokens", low=1, high=131072),
        "pe": Key(1, "whether experts are on both engines at once", choices=(0, 1)),
        "et": Key(1, "whether experts are cut over all devices", choices=(0, 1)),
        "devices": Key(0, "devices; 0: as many as in table I", low=0, high=64),
        "op_b": Key(0, "operations a byte of the product for energy and delay; 0: none", low=0, high=64),
        "scope": Key("one", "this batch and lengths, or all of the paper's", choices=("one", "grid")),
        "fidelity": Key("roofline", "cycle: memory and units by their commands", choices=("roofline", "cycle")),
    },
    constants=CONSTANTS,
    metrics={
        "gain": Metric("throughput over that of as many H100", "", _BANKS),
        "gain_stated": Metric("the same, collectives at the links' stated latency", "", _STATED),
        "gain_launched": Metric("the same, launches as on an H100", "", (*_BANKS, "launch")),
        "over_duplex": Metric("throughput over Duplex without +PE and +ET", "", _BANKS),
        "over_bank_pim": Metric("throughput over Bank-PIM", "", _BANKS),
        "most_gain": Metric("largest gain of batches 32, 64, 128 and lengths", "", _BANKS),
        "mean_gain": Metric("mean gain of these", "", _BANKS),
        "most_over_duplex": Metric("largest ratio to Duplex without +PE and +ET", "", _BANKS),
        "mean_over_duplex": Metric("mean ratio to it", "", _BANKS),
        "most_over_bank_pim": Metric("largest ratio to Bank-PIM", "", _BANKS),
        "mean_over_bank_pim": Metric("mean ratio to it", "", _BANKS),
        "tokens_per_s": Metric("new tokens", "1/s", _BANKS),
        "requests_per_s": Metric("requests, batch always full", "1/s", _BANKS),
        "fits": Metric("whether it fits the memories and its heads the devices", "", ("gpu",)),
        "use_moe": Metric("part of the arithmetic that experts use on H100s", "", ("gpu", "hbm", "routing")),
        "use_attention": Metric("part of the arithmetic that decode attention uses on H100s", "", ("gpu", "hbm")),
        "energy": Metric("of a token over that on H100s", "", (*_BANKS, "device", "static")),
        "energy_delay": Metric("energy times delay of the units, over the worst kind's", "", ("device",)),
    },
    published=ROWS,
    simulate=_simulate,
    misses=(
        Miss(("energy_delay",), "Areas are not counted.", _areas),
        Miss(("gain_launched",), "Launches as measured one by one hide what memory gains.", _launches),
    ),
    notes=_notes,
)
