"""The prediction for one measured row: a single operation by its mapper, a whole phase by the simulator."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache

from dse.validation.measurements import Measurement
from hw.spec.load import load_system, override
from hw.spec.system import System
from mappers.roofline import roofline_op
from simulator.interconnect import LIBRARIES, best_exchange, collective_time
from simulator.road import simulate
from workloads.errors import InfeasibleError, InputError
from workloads.formats import FormatChoice
from workloads.models.architecture import FeedForward, MixtureOfExperts, Model
from workloads.models.catalogue import model, model_names
from workloads.models.layer_builder import LayerBuilder, activation
from workloads.models.lower_feed_forward import add_feed_forward
from workloads.models.stored_formats import stored_formats
from workloads.phases import Decode, Prefill
from workloads.workload import Op

__all__ = ["GPUS", "Skipped", "operations", "predict"]

GPUS = {
    "A100-SXM4-80GB": "a100-80gb-sxm",
    "H100-SXM-80GB": "h100-sxm",
    "A40": "a40",
    "RTX-A6000": "rtx-a6000",
}
"""The preset of each measured GPU."""

FORMATS = {
    "": FormatChoice(),
    "bf16": FormatChoice(),
    "fp16": FormatChoice("fp16", "fp16", "fp16", "fp16"),
    "fp8": FormatChoice("fp8_e4m3", "bf16", "bf16", "fp8_e4m3"),
}
"""The number formats of each measured dtype; an unrecorded one is taken for bf16."""


MEASURED_LIBRARIES = {"A100-SXM4-80GB": "nccl-a100", "H100-SXM-80GB": "nccl-h100"}
"""The collective library of each GPU whose collectives were measured."""

COLLECTIVES = {"all_reduce": "all_reduce", "all_gather": "all_gather", "alltoall": "all_to_all"}
"""The collective of each measured operation between GPUs."""


@dataclass(frozen=True)
class Skipped:
    """A row without a prediction, and why."""

    why: str


def predict(row: Measurement) -> float | Skipped:
    """Latency in seconds at roofline fidelity, or why there is none."""
    if row.gpu not in GPUS:
        return Skipped(f"no preset for {row.gpu}")
    if row.dtype not in FORMATS and (row.op, row.dtype) != ("e2e", "fp4"):
        return Skipped(f"dtype {row.dtype}")
    if row.op in COLLECTIVES:
        return _collective(row)
    if row.op == "e2e":
        return _phase(row)
    ops = operations(row)
    if isinstance(ops, Skipped):
        return ops
    system = _system(row.gpu, 1)
    return sum(roofline_op(op, system).time_s for op in ops)


@lru_cache(maxsize=64)
def _system(gpu: str, devices: int) -> System:
    system = load_system(GPUS[gpu])
    return override(system, [f"devices={devices}"]) if devices > 1 else system


def operations(row: Measurement) -> tuple[Op, ...] | Skipped:
    """The kernels a row times; an engine call for a mixture's feed-forward is several."""
    layer = LayerBuilder("measured", FORMATS[row.dtype])
    size = row.numbers
    if row.op == "gemm":
        weights = layer.store("weights", "feed_forward", size["k"] * size["n"])
        sizes = {"m": size["m"], "n0": size["k"], "n1": size["n"]}
        layer.op("gemm", "gemm", "gemm", sizes, {"A": activation("a"), "W": weights}, {"Z": activation("z")})
    elif row.op == "attention":
        group = size["heads"] // size["kv_heads"]
        sizes = {"b": size["batch"], "h": size["kv_heads"], "g": group, "p": size["q_len"], "m": size["kv_len"]}
        sizes |= {"e": size["head_dim"], "f": size["head_dim"]}
        cascade = "attention-1pass" if size["q_len"] == 1 else "attention-1pass-causal"
        reads = {name: activation(name) for name in ("Q", "K", "V")}
        layer.op("attention", "attention", cascade, sizes, reads, {"AV": activation("out")})
    elif row.op == "moe_ffn":
        mixture = MixtureOfExperts(size["experts"], size["topk"], FeedForward(size["inter"], True, "silu"))
        layer.op("input", "elementwise", "relu", {"t": 1, "s": 1}, {"U": activation("x")}, {"H": activation("x")})
        add_feed_forward(layer, mixture, tokens=size["m"], hidden=size["k"], devices=1, source="x")
        return tuple(op for op in layer.build().ops if op.name in ("experts_up", "experts_activated", "experts_down"))
    elif row.op in ("softmax", "gelu"):
        names = ("t", "d") if row.op == "softmax" else ("t", "s")
        sizes = dict(zip(names, (size["m"], size["n"]), strict=True))
        symbols = ("X", "Y") if row.op == "softmax" else ("U", "H")
        layer.op(
            row.op, row.op, row.op, sizes, {symbols[0]: activation("x")}, {symbols[1]: activation("y")}
        )  # fmt: skip
    elif row.op == "layernorm":
        reads = {name: activation(name) for name in ("X", "G", "B")}
        layer.op("norm", "norm", "layer-norm", {"t": size["m"], "d": size["n"]}, reads, {"Y": activation("y")})
    else:
        return Skipped(f"operation {row.op}")
    return layer.build().ops


def _collective(row: Measurement) -> float | Skipped:
    """By the collective library that was measured; calls through PyTorch wait for the last device to start them."""
    devices, payload_bytes = row.numbers["ngpus"], row.numbers["bytes"]
    kind, fabric = COLLECTIVES[row.op], _system(row.gpu, devices).fabric
    if fabric is None:
        return Skipped(f"no fabric between GPUs of {row.gpu}")
    bandwidth = fabric.bandwidth_bytes_per_s
    if row.gpu in MEASURED_LIBRARIES:
        measured = LIBRARIES[MEASURED_LIBRARIES[row.gpu]]
        launched = "apart" if row.framework.startswith("torch") else "together"
        return collective_time(measured, kind, payload_bytes, devices, bandwidth, launched=launched).time_s
    run = best_exchange(
        kind,
        payload_bytes,
        devices,
        topology=fabric.topology,
        bandwidth_bytes_per_s=bandwidth,
        latency_s=fabric.latency_s,
    )
    return run.time_s(bandwidth, fabric.latency_s)


def _phase(row: Measurement) -> float | Skipped:
    """Time per output token at the mean context; time to first token where nothing queues before it."""
    found = _catalogue_model(row.model)
    if found is None:
        return Skipped(f"model {row.model}")
    size = row.numbers
    if row.phase == "ttft" and size["batch"] > 1:
        return Skipped("time to first token under concurrency holds queueing")
    if row.phase not in ("ttft", "tpot"):
        return Skipped(f"phase {row.phase or 'not recorded'}")
    system = _system(row.gpu, size.get("tp", 1))
    if row.phase == "tpot":
        phase: Prefill | Decode = Decode(size["batch"], (size["q_len"] + size["kv_len"]) // 2)
    else:
        phase = Prefill(size["batch"], size["q_len"])
    formats = stored_formats(found) if row.dtype == "fp4" else FORMATS[row.dtype]
    try:
        result = simulate(found, phase, _without_host(system), formats=formats)
    except InfeasibleError:
        return Skipped("the concurrency does not fit the GPUs at once, so the engine queued")
    except InputError as error:
        return Skipped(str(error))
    return result.latency_s


def _without_host(system: System) -> System:
    """The GPU alone: serving engines of these measurements do not spill."""
    homes = {engine.home for engine in system.engines.values()}
    tiers = {name: tier for name, tier in system.tiers.items() if name in homes or tier.holds == "tiles"}
    return system.model_copy(update={"tiers": tiers, "links": {}})


ALIASES = {"llama-7b": "Llama-2-7B"}
"""Measured names of models whose shapes stand in the catalogue under another name."""


@lru_cache(maxsize=64)
def _catalogue_model(name: str) -> Model | None:
    plain = re.sub(r"-(instruct|fp8|chat|hf)$", "", name.split("/")[-1], flags=re.IGNORECASE).casefold()
    plain = ALIASES.get(plain, plain).casefold()
    match = next((known for known in model_names() if known.casefold() == plain), None)
    return None if match is None else replace(model(match), max_positions=None)
