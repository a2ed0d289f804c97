"""On-device training under 256 KB: a few layers learn, no gradient goes further back than they, and each is applied as
it is made.

One step of training is a graph of operations; its peak is liveness of that graph in the engine's order, beside what is
proved of every order. The update schemes are the authors'; which of them serves accuracy is theirs to say.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace
from functools import cache

from mappers.planner.order.lowering import Counting, Patches
from mappers.planner.order.networks import ConvNet
from mappers.planner.order.published import tinyengine_buffer_bytes
from mappers.planner.order.training import FRAMEWORK, Engine, TrainingGraph, training_graph
from mappers.planner.order.training_networks import convolutions, training_network, training_network_names
from mappers.planner.order.training_plan import (
    StepPlan,
    StepWork,
    best_step,
    forward_patches,
    held_bytes,
    plan_step,
    step_work,
)
from mappers.planner.order.update import (
    SCHEMES,
    Update,
    bias_update,
    expansion_update,
    extra_bytes,
    full_update,
    last_update,
    named_update,
    weight_count,
)
from mappers.planner.order.update_search import most_weights, updated_weights
from studies.frame.constants import derived, stated
from studies.frame.study import Config, Key, Metric, Miss, Published, Study, Value

__all__ = ["STUDY"]

KIB = 1024.0
_REPOSITORY = "mit-han-lab/tiny-training at c29157f"
_ENGINE = "mit-han-lab/tinyengine at 28ed334"
_VANILLA: dict[str, Value] = {"order": "held", "operators": "apart"}
"""The backward graph before reordering and the fusing that it allows: section 2.3, figure 7(a)."""


@cache
def _network(name: str, resolution: int, classes: int) -> ConvNet:
    return training_network(name, resolution, classes)


def _net(config: Config) -> ConvNet:
    return _network(str(config["network"]), int(config["resolution"]), int(config["classes"]))


def _update(config: Config) -> Update:
    """What is updated; of the published schemes the largest within the budget."""
    net, kind, name = _net(config), config["update"], str(config["network"])
    last, share = min(int(config["layers"]), len(convolutions(net))), float(config["share"])
    if kind == "scheme":
        return named_update(name, max(kib for kib in SCHEMES[name] if kib <= int(config["budget_kib"])))
    if kind == "full":
        return full_update(net)
    if kind == "classifier":
        return last_update(net, 0)
    if kind == "most":
        return most_weights(net, int(KIB * int(config["budget_kib"])))
    if kind == "biases":
        return bias_update(net, last)
    return (expansion_update if kind == "expansions" else last_update)(net, last, share)


def _engine(config: Config) -> Engine:
    of = FRAMEWORK if config["engine"] == "framework" else Engine()
    if config["engine"] == "tiny":
        of = replace(
            of,
            activation_bytes=int(config["bits"]) // 8,
            weight_bytes=int(config["bits"]) // 8,
            gradient_bytes=int(config["gradient_bits"]) // 8,
            fused=config["operators"] == "fused",
            at_once=config["order"] != "held",
            pruned=config["backward"] == "pruned",
            accumulated=config["sums"] == "kept",
        )
    return replace(of, batch=int(config["batch"]))


@cache
def _patches(net: ConvNet, update_biases: int, side: int, pruned: bool) -> tuple[Patches | None, int]:
    """The first blocks in patches, and the work of a forward pass with them."""
    plan = forward_patches(net, Update(update_biases, {}), side, Counting(), pruned=pruned)
    return plan.patches, plan.macs


_Items = tuple[tuple[str, Value], ...]


@cache
def _step(items: _Items) -> TrainingGraph:
    config = dict(items)
    net, update, engine = _net(config), _update(config), _engine(config)
    tiny = config["engine"] == "tiny"
    patches = _patches(net, update.biases, int(config["patches"]), engine.pruned)[0] if tiny else None
    return training_graph(net, update, engine, patches)


@cache
def _plan(items: _Items) -> StepPlan:
    return (best_step if dict(items)["order"] == "best" else plan_step)(_step(items))


@cache
def _held_at(items: _Items) -> int:
    return held_bytes(_step(items))


def _held(config: Config, **changes: Value) -> int:
    """The peak with something else, in bytes held at once."""
    return _held_at(tuple((dict(config) | changes).items()))


def _work(config: Config) -> StepWork:
    net, update, engine = _net(config), _update(config), _engine(config)
    side = int(config["patches"]) if config["engine"] == "tiny" else 1
    return step_work(net, update, engine, _patches(net, update.biases, side, engine.pruned)[1])


def _simulate(config: Config) -> dict[str, float]:
    net, update, engine = _net(config), _update(config), _engine(config)
    plan, step = _plan(tuple(config.items())), _step(tuple(config.items()))
    buffers = tinyengine_buffer_bytes(net) if config["engine"] == "tiny" else 0
    layers = convolutions(net)
    work = _work(config)
    found = {
        "extra": extra_bytes(net, update, engine.batch),
        "peak": float(plan.held_bytes),
        "bound": float(plan.lower_bound_bytes),
        "placed": float(plan.placed_bytes),
        "sram": float(plan.placed_bytes + buffers),
        "fits": float(plan.placed_bytes + buffers <= KIB * int(config["capacity_kib"])),
        "in_memory": float(step.parameters_bytes),
        "flash": float(sum(weight_count(one) + 8 * one.channels_out for one in layers)),
        "parameters": float(sum(weight_count(one) + one.channels_out for one in layers)),
        "macs": float(net.macs),
        "step_macs": float(work.total),
        "backward": (work.activations + work.weights) / work.forward,
    }
    if config["engine"] == "tiny":
        full = _held(config, **_VANILLA, update="full", budget_kib=100, layers=0, patches=1)
        vanilla = _held(config, **_VANILLA)
        found |= {
            "sparsity": full / vanilla,
            "reordering": vanilla / plan.held_bytes,
            "saving": full / plan.held_bytes,
            "extra_saving": extra_bytes(net, last_update(net, min(int(config["layers"]), len(layers))), engine.batch)
            / found["extra"],
        }
    return found


_SECTION = "section 3.2 and figure 10(a)"
_SCHEME = "compilation/mcu_ir_gen.py of " + _REPOSITORY + ", the name of the scheme: KiB, cut to a whole number"
_BACKBONES = {"mbv2-w0.35": (17e6, 0.25e6), "proxyless-w0.3": (19e6, 0.33e6), "mcunet-5fps": (23e6, 0.48e6)}
_PERSON: dict[str, Value] = {"network": "mcunet-5fps", "budget_kib": 50, "classes": 2}


def _published() -> list[Published]:
    rows = []
    for name, schemes in SCHEMES.items():
        for kib, budget in zip(schemes, (50, 75, 100, 125, 150), strict=True):
            rows.append(Published("extra", {"network": name, "budget_kib": budget}, KIB * kib, _SCHEME))
    twelve: dict[str, Value] = {"network": "mcunet-5fps", "update": "layers", "layers": 12}
    rows += [
        Published("extra", twelve, KIB * 448, "algorithm/scripts/sparse_update.sh of " + _REPOSITORY),
        Published("extra_saving", {"network": "mcunet-5fps", "layers": 12}, 4.5, "figure 9, the least of 4.5-7.5"),
    ]
    for name, (macs, parameters) in _BACKBONES.items():
        config = {"network": name}
        rows += [
            Published("macs", config, macs, "section 3.1"),
            Published("parameters", config, parameters, "section 3.1"),
            Published("sparsity", config, 8.0, f"{_SECTION}: 7 to 9 over the networks"),
            Published("reordering", config, 2.8, f"{_SECTION}: 2.4 to 3.2 over the networks"),
            Published("saving", config, 20.5, f"{_SECTION}: 20 to 21 over the networks"),
            Published("fits", config, 1.0, "section 3.2: all three fit 256 KB"),
        ]
    return [
        *rows,
        Published("sram", {}, KIB * 141, "figure 1 (149 in version 1 and in IEEE CAS Magazine, Q3 2023)"),
        Published("sram", _PERSON, KIB * 160, "table 5, measured"),
        Published("sram", _PERSON | {"sums": "kept"}, KIB * 188, "table 5, measured"),
        Published("sram", {"engine": "framework", "update": "full"}, 303e6, "figure 1: PyTorch"),
    ]


def _tensors_of_a_framework() -> str:
    found = _simulate(STUDY.config({"engine": "framework", "update": "full"}))
    large = _simulate(STUDY.config({"engine": "framework", "update": "full", "batch": 32}))
    return (
        f"Everything such a step holds is {found['peak'] / 1e6:.1f} MB in floats, {found['in_memory'] / 1e6:.1f} MB of "
        f"them parameters, and {large['peak'] / 1e6:.0f} MB with a batch of 32; what PyTorch takes for one image is "
        "program and runtime, which the paper puts at more than 300 MB."
    )


def _most(name: str, kind: str) -> int:
    """The last convolutions that may learn within 256 KiB, the engine's buffers included."""
    total = len(convolutions(_network(name, 128, 10)))

    def too_much(layers: int) -> bool:
        config = STUDY.config({"network": name, "update": kind, "layers": layers})
        return _held(config) + tinyengine_buffer_bytes(_net(config)) > 256 * KIB

    return bisect_left(range(total + 1), True, key=too_much) - 1


def _notes() -> list[str]:
    lines = [
        "What it takes, by network. How many of the last convolutions may learn within 256 KiB, biases alone or all of "
        "them. Weights: how many the published scheme of 100 KiB changes, of the most that any choice of layers "
        "and shares could. Peaks of that scheme, in KiB: the vanilla graph; fused; in the best order there is while "
        "gradients are whole; applied as they are made. Work: multiply-accumulates of a full step over its own; the "
        "23 to 25 times published are of latency, with other kernels besides.",
        "",
        "| network | biases | all | weights | vanilla | fused | best order | at once | work |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in training_network_names():
        config = STUDY.config({"network": name})
        net, update = _net(config), _update(config)
        total = len(convolutions(net))
        whole = best_step(_step(tuple((config | {"order": "held"}).items()))).held_bytes
        most = most_weights(net, int(extra_bytes(net, update)))
        work = [_work(config | {"update": kind}).total for kind in ("full", "scheme")]
        cells = [
            name,
            *(f"{_most(name, kind)} of {total}" for kind in ("biases", "layers")),
            f"{updated_weights(net, update):,} of {updated_weights(net, most):,}",
            *(f"{size / KIB:.0f}" for size in (_held(config, **_VANILLA), _held(config, order="held"), whole)),
            f"{_held(config) / KIB:.0f}",
            f"{work[0] / work[1]:.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


_LIVENESS = ("activations", "gradients", "masks", "copies", "classifier", "in_place", "patches", "stage", "fusing")
_TABLES = ("schemes", "networks")
STUDY = Study(
    title="On-device training under 256 KB",
    claim="Sparse updates, a pruned backward graph and gradients applied at once train in 1/1000 of PyTorch's memory.",
    source="Lin et al., NeurIPS 2022, arXiv 2206.15472v3; mit-han-lab/tiny-training and tinyengine",
    machine="a microcontroller's SRAM beside flash that holds what does not change",
    workload="one step on one image of 128 x 128: MobileNetV2-w0.35, ProxylessNAS-w0.3, MCUNet-5FPS",
    policy="the authors' update schemes; gradients of parameters applied at once",
    baseline="the graph before fusing, gradients held until the update, for all parameters; a framework's in floats",
    keys={
        "network": Key("mbv2-w0.35", "network", choices=training_network_names()),
        "update": Key(
            "scheme",
            "a published scheme, everything, of the last layers all or biases and the weights of expansions or biases "
            "alone, the classifier, or the most weights within the budget",
            choices=("scheme", "full", "layers", "expansions", "biases", "classifier", "most"),
        ),
        "budget_kib": Key(100, "what may be added: by the largest published scheme", low=49, high=1024),
        "layers": Key(12, "convolutions that learn, where they are the last ones", low=0, high=60),
        "share": Key(1.0, "of those layers' input channels", low=0, high=1),
        "order": Key(
            "at-once",
            "gradients applied at once, held to the end, or the best order",
            choices=("at-once", "held", "best"),
        ),
        "operators": Key("fused", "fused as TinyEngine's, or apart", choices=("fused", "apart")),
        "backward": Key("pruned", "gradients that an update needs, or all", choices=("pruned", "whole")),
        "engine": Key("tiny", "Tiny Training Engine, or a framework in floats", choices=("tiny", "framework")),
        "bits": Key(8, "of activations and of the convolutions' weights", choices=(8, 32)),
        "gradient_bits": Key(32, "of gradients; 8 are rounded from sums", choices=(8, 32)),
        "sums": Key("none", "gradients summed over steps", choices=("none", "kept")),
        "patches": Key(2, "patches a side of the first blocks; 1: none", low=1, high=8),
        "resolution": Key(128, "pixels along a side", low=32, high=512),
        "batch": Key(1, "images in a step", low=1, high=128),
        "classes": Key(10, "classes", low=2, high=1000),
        "capacity_kib": Key(256, "memory to fit", low=1, high=65536),
    },
    constants={
        "activations": stated(1, "B", "section 2: int8"),
        "gradients": stated(4, "B", f"assets/49kb-int8-graph.json of {_ENGINE}: float32 (section 2 says int8)"),
        "masks": stated(1, "bit", f"section 3.1; code_generator/constant.py and TTEParser.py of {_ENGINE}"),
        "copies": stated("of what changes", "", "section 2.2: parameters in flash cannot be written"),
        "classifier": stated(4, "B", "appendix C: floats"),
        "in_place": stated("depthwise", "", f"code_generator/GeneralMemoryScheduler.py of {_ENGINE}"),
        "patches": stated("2 x 2", "", "section 3.1"),
        "stage": derived("blocks", "", "as many frozen blocks as bring the forward peak lowest"),
        "fusing": stated("all", "", f"FUSHION_CONFIG in code_generator/constant.py of {_ENGINE}"),
        "buffers": derived("im2col and kernels", "", f"code_generator/operators of {_ENGINE}"),
        "schemes": stated("15", "", f"compilation/mcu_ir_gen.py of {_REPOSITORY}"),
        "budget": derived(100, "KiB", "4.5 of figure 9 is 448 KiB for the last 12 layers over MCUNet's scheme of 99"),
        "person_budget": derived(
            50, "KiB", "table 5's sums take 28 KiB: as wide as what MCUNet's scheme of 49 changes"
        ),
        "networks": stated("tables", "", "mit-han-lab/tinyml at e899b1b; widths by its 38.3M at 176 pixels"),
        "floats": stated(4, "B", "section 2: frameworks compute in fp32"),
    },
    metrics={
        "extra": Metric("beside inference, whatever the implementation", "B", ("masks", "activations", *_TABLES)),
        "extra_saving": Metric("of the last layers over this update, beside inference", "", ("masks", *_TABLES)),
        "peak": Metric("held at once", "B", (*_LIVENESS, *_TABLES)),
        "bound": Metric("what no order of the operations goes below", "B", (*_LIVENESS, *_TABLES)),
        "placed": Metric("with offsets by first fit", "B", (*_LIVENESS, *_TABLES)),
        "sram": Metric(
            "with offsets, and the engine's buffers",
            "B",
            (*_LIVENESS, *_TABLES, "buffers", "budget", "person_budget", "floats"),
        ),
        "fits": Metric("whether that fits: 1 or 0", "", (*_LIVENESS, *_TABLES, "buffers", "budget")),
        "sparsity": Metric(
            "peak of a full update over this one's, gradients held", "", (*_LIVENESS, *_TABLES, "budget")
        ),
        "reordering": Metric("peak of the vanilla graph over this", "", (*_LIVENESS, *_TABLES, "budget")),
        "saving": Metric("peak of a full update's vanilla graph over this", "", (*_LIVENESS, *_TABLES, "budget")),
        "in_memory": Metric("parameters in memory", "B", ("copies", "classifier", *_TABLES)),
        "flash": Metric("weights, and biases and scales of 32 bits, of the convolutions", "B", _TABLES),
        "parameters": Metric("weights and biases of the convolutions", "", _TABLES),
        "macs": Metric("multiply-accumulates of the forward pass of an image", "", _TABLES),
        "step_macs": Metric("multiply-accumulates of a step", "", ("patches", "stage", *_TABLES)),
        "backward": Metric("those of gradients over those of the forward pass", "", ("patches", "stage", *_TABLES)),
    },
    published=_published(),
    simulate=_simulate,
    misses=(Miss(("sram",), "PyTorch's memory is not that of its tensors.", _tensors_of_a_framework),),
    notes=_notes,
)
