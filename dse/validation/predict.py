"""Predictions for measured rows: kernels by their models or the roofline, collectives by their library, whole phases.

At kernel fidelity all rows of one operation, GPU and software are predicted at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dse.validation.calibration import held_out
from dse.validation.end_to_end import predict_phase
from dse.validation.kernel_rows import FAMILIES, KernelRows, predict_kernels
from dse.validation.machines import FORMATS, GPUS, Skipped, measured_system, preset_of
from dse.validation.measurements import Measurement
from mappers.kernels.constants import Entry
from mappers.kernels.software import measured_software
from mappers.roofline import roofline_op
from simulator.interconnect import LIBRARIES, best_exchange, collective_time
from workloads.errors import InputError
from workloads.models.architecture import FeedForward, MixtureOfExperts
from workloads.models.layer_builder import LayerBuilder, activation
from workloads.models.lower_feed_forward import add_feed_forward
from workloads.workload import Op

__all__ = ["GPUS", "Prediction", "Skipped", "operations", "predict", "predict_all"]

MEASURED_LIBRARIES = {"A100-SXM4-80GB": "nccl-a100", "H100-SXM-80GB": "nccl-h100"}
"""The collective library of each GPU whose collectives were measured."""

COLLECTIVES = {"all_reduce": "all_reduce", "all_gather": "all_gather", "alltoall": "all_to_all"}
"""The collective of each measured operation between GPUs."""


FIDELITIES = ("kernel", "roofline")
"""How kernels are predicted."""


@dataclass(frozen=True)
class Prediction:
    """Seconds of one row, with the interval around them where it is known, and the software whose kernels they are of.

    ``held_out`` rows took no part in fitting the bundled constants; ``remark`` says what was assumed.
    """

    seconds: float
    low_s: float | None = None
    high_s: float | None = None
    software: str = ""
    held_out: bool = False
    remark: str = ""


def predict(row: Measurement, fidelity: str = "roofline") -> float | Skipped:
    """Latency of one row in seconds, or why there is none."""
    (found,) = predict_all([row], fidelity)
    return found if isinstance(found, Skipped) else found.seconds


def predict_all(
    rows: Sequence[Measurement], fidelity: str = "kernel", given: tuple[Entry, ...] = ()
) -> list[Prediction | Skipped]:
    """A prediction of every row, or why there is none; ``given`` kernel constants stand before the bundled ones.

    Raises `InputError` for an unknown fidelity or routing law.
    """
    if fidelity not in FIDELITIES:
        raise InputError(f"unknown fidelity {fidelity!r}", " or ".join(FIDELITIES), "fidelity")
    out = held_out(rows)
    found: list[Prediction | Skipped | None] = [None] * len(rows)
    groups: dict[tuple[str, ...], list[int]] = {}
    for index, row in enumerate(rows):
        known = preset_of(row.gpu)
        if isinstance(known, Skipped):
            found[index] = known
        elif row.dtype not in FORMATS and (row.op, row.dtype) != ("e2e", "fp4"):
            found[index] = Skipped(f"dtype {row.dtype}")
        elif fidelity == "kernel" and row.op in FAMILIES:
            groups.setdefault((known, row.op, row.phase, row.framework, row.dtype), []).append(index)
        else:
            found[index] = _alone(row, fidelity)
    for (_, _, _, framework, _), members in groups.items():
        for index, prediction in zip(members, _kernels([rows[i] for i in members], framework, given), strict=True):
            found[index] = prediction
    predictions = [one for one in found if one is not None]
    for index in np.flatnonzero(out).tolist():
        one = predictions[index]
        if isinstance(one, Prediction):
            predictions[index] = replace(one, held_out=True)
    return predictions


def _kernels(rows: Sequence[Measurement], framework: str, given: tuple[Entry, ...]) -> list[Prediction | Skipped]:
    """Rows of one operation, GPU and framework, at once."""
    system = measured_system(rows[0].gpu, 1)
    architecture = next((engine.architecture for engine in system.engines.values() if engine.architecture), "")
    software, known = measured_software(framework, architecture)
    try:
        group = KernelRows.of(rows, system, software, given)
    except InputError as error:
        remark = f"roofline fidelity: {error.problem}"
        alone = [_alone(row, "roofline") for row in rows]
        return [one if isinstance(one, Skipped) else Prediction(one.seconds, remark=remark) for one in alone]
    predicted = predict_kernels(group)
    remark = "" if known else f"framework {framework or 'not recorded'} taken for {software}"
    times = np.stack([predicted.best_s, predicted.low_s, predicted.high_s], axis=1).tolist()
    return [Prediction(best, low, high, software, remark=remark) for best, low, high in times]


def _alone(row: Measurement, fidelity: str) -> Prediction | Skipped:
    """A collective by its library, a phase by the simulator, anything else by the roofline."""
    if row.op in COLLECTIVES:
        found = _collective(row)
    elif row.op == "e2e":
        found = predict_phase(row, fidelity)
    else:
        ops = operations(row)
        if isinstance(ops, Skipped):
            return ops
        system = measured_system(row.gpu, 1)
        found = sum(roofline_op(op, system).time_s for op in ops)
    return found if isinstance(found, Skipped) else Prediction(found)


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
    kind, fabric = COLLECTIVES[row.op], measured_system(row.gpu, devices).fabric
    if fabric is None:
        return Skipped(f"no fabric between GPUs of {row.gpu}")
    bandwidth = fabric.bandwidth_bytes_per_s
    if fabric.library in LIBRARIES:
        measured = LIBRARIES[fabric.library]
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
