"""FlashFFTConv: long convolutions by FFTs cut into p matrix products, of which as many as fit stay on the chip.

An FFT of N points is p steps, each a product with a matrix of N_i x N_i; a convolution goes through them forward and
back. A step runs on the matrix engine where its matrix fills a tile of it, else on the general one, and what it hands
on stays on the chip where that part of the sequence fits. Steps are operations like any other, mapped by roofline at
the rates the paper states; as in its cost model, computing and moving do not overlap. The baseline is an FFT library:
transform, product and inverse, each through memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

from hw.spec.load import load_system, override_values
from hw.spec.system import System
from mappers.assign import Assign, on_engine
from mappers.roofline import roofline_op
from studies.frame.constants import derived, stated
from studies.frame.study import Config, Key, Metric, Published, Study
from workloads.einsum import parse_cascade
from workloads.workload import Op, Operand

__all__ = ["STUDY", "factors", "step"]

ORDERS = (2, 3, 4)
LENGTHS = tuple(2**power for power in range(8, 23))
"""Those of the evaluation."""
_COST = "cost model of section 3 and its constants for the A100, appendix"
CONSTANTS = {
    "hbm": stated(1.35e12, "B/s", _COST),
    "chip": stated(9.5e12, "B/s", _COST),
    "matrix": stated(234e12, "FLOP/s", _COST),
    "general": stated(17.6e12, "FLOP/s", _COST),
    "tile": stated(16, "", f"{_COST}: a step of at least 16 points runs on the matrix engine"),
    "memory": stated(192 * 1024, "B", "NVIDIA A100 white paper: on-chip memory of one processor"),
    "library": derived(
        2.5,
        "",
        "operations of a real FFT of N points: 2.5 N log2 N (Cooley and Tukey), single precision, three kernels",
    ),
}
_STEP = """cascade monarch-step
doc "One step of an FFT as matrix products: r transforms of n points each; c and d are real and imaginary parts."
source "FlashFFTConv, ICLR 2024 (arXiv 2311.05908), section 3.1"
rank r, n, k = |n|, c = 2, d = 2
input X[r, d, n], F[d, n, c, k]
output Y
Y[r, c, k] = X[r, d, n] * F[d, n, c, k] :: add(d, n)
"""
_POINTWISE = """cascade fft-pass
doc "A kernel of an FFT library: so many operations for each number, which is read and written."
source "Cooley and Tukey, 1965"
rank i, o
input X[i], C[o]
output Y
Y[i] = X[i] * C[o] :: add(o)
"""


def factors(length: int, order: int) -> tuple[int, ...]:
    """Powers of two as equal as can be whose product is ``length``, the larger first."""
    whole, rest = divmod(length.bit_length() - 1, order)
    return tuple(2 ** (whole + (place < rest)) for place in range(order))


@cache
def step(length: int, points: int) -> Op:
    """One of the steps of a convolution of ``length`` points, forward and back: twice as many transforms."""
    cascade = parse_cascade(_STEP)
    sizes = (("c", 2), ("d", 2), ("k", points), ("n", points), ("r", 2 * length // points))
    # What it hands on, complex numbers in half precision; matrices stay on the chip.
    handed = Operand("Y", "write", 2.0 * length, "fp16")
    return Op("step", "gemm", cascade, sizes, (handed,), "fp16", ())


@cache
def _machine(hbm: bool) -> System:
    """The device at the rates stated for it, with the memory, off or on the chip, that a step hands its result to."""
    name, rate = "a100-40gb-sxm", CONSTANTS["hbm" if hbm else "chip"].value
    changes: dict[str, object] = {f"tiers.hbm.{way}_bandwidth": rate for way in ("read", "write")}
    for engine, constant in (("tensor", "matrix"), ("vector", "general")):
        changes[f"engines.{engine}.launch_overhead"] = 0.0
        for form in ("fp16", "fp32"):
            if form in load_system(name).engines[engine].throughput_ops_per_s:
                changes[f"engines.{engine}.throughput.{form}"] = CONSTANTS[constant].value
    return override_values(load_system(name), changes)


def _seconds(op: Op, hbm: bool, assign: Assign) -> float:
    """Computing and moving one after the other, as the paper's cost model has it."""
    mapped = roofline_op(op, _machine(hbm), assign)
    return mapped.port_s + sum(share.seconds for share in mapped.shares)


def _convolution(length: int, order: int, memory: int) -> float:
    """Seconds of one sequence of one channel."""
    total, part = 0.0, length
    for points in factors(length, order):
        engine = "tensor" if points >= CONSTANTS["tile"].value else "vector"
        total += _seconds(step(length, points), 4 * part > memory, on_engine(engine))
        part //= points
    return total


def _library(length: int) -> float:
    """Seconds of one sequence with an FFT library: a real transform, a complex product, the way back."""
    cascade = parse_cascade(_POINTWISE)
    transform = max(1, round(CONSTANTS["library"].value * math.log2(length) / 2))
    total = 0.0
    for operations, read, written in ((transform, 1, 1), (3, 1, 1), (transform, 1, 1)):
        operands = (
            Operand("X", "read", float(read * length), "fp32"),
            Operand("Y", "write", float(written * length), "fp32"),
        )
        op = Op("pass", "fft", cascade, (("i", length), ("o", operations)), operands, "fp32", ())
        total += _seconds(op, True, on_engine("vector"))
    return total


@cache
def _costs(length: int, memory: int) -> dict[int, float]:
    return {order: _convolution(length, order, memory) for order in ORDERS}


def _simulate(config: Config) -> dict[str, float]:
    length, memory = int(config["length"]), int(config["memory"])
    costs = _costs(length, memory)
    best = min(costs, key=lambda order: costs[order])
    chosen = costs[int(config["order"]) or best]
    return {
        "best_order": best,
        "time": int(config["batch"]) * int(config["channels"]) * chosen,
        "speed_up": _library(length) / chosen,
        "speed_up_most": max(_library(each) / min(_costs(each, memory).values()) for each in LENGTHS),
    }


def _orders() -> Sequence[str]:
    """What each order takes at each length."""
    memory = CONSTANTS["memory"].value
    lines = [
        "Nanoseconds of one convolution by its order, and of the library. Whole models (4.4 times) are not rebuilt.",
        "",
        "| points | p = 2 | p = 3 | p = 4 | library |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    for length in LENGTHS[::2]:
        each = " | ".join(f"{seconds * 1e9:,.1f}" for seconds in _costs(length, memory).values())
        lines.append(f"| {length:,} | {each} | {_library(length) * 1e9:,.1f} |")
    return lines


_RATES = ("hbm", "chip", "matrix", "general", "tile", "memory")
_CHOICE = "section 3.2 and implementation: order of the decomposition by length"
STUDY = Study(
    title="FlashFFTConv",
    claim="Convolutions as long as the sequence are up to 7.93 times faster by FFTs in matrix products, models 4.4.",
    source="Fu et al., ICLR 2024, arXiv 2311.05908",
    machine="one A100 40 GB at the rates of the paper's cost model, 192 KiB on the chip for a sequence",
    workload="convolutions of 256 to 4,194,304 points, 64 sequences of 768 channels, fp16",
    policy="an FFT in 2 to 4 steps; steps whose part of the sequence fits stay on the chip",
    baseline="an FFT library in single precision: transform, product and inverse, each through memory",
    keys={
        "length": Key(4096, "points of the FFT", choices=tuple(2**power for power in range(8, 25))),
        "order": Key(0, "steps of the FFT; 0: the order of least time", choices=(0, *ORDERS)),
        "batch": Key(64, "sequences", low=1, high=4096),
        "channels": Key(768, "channels", low=1, high=65536),
        "memory": Key(192 * 1024, "bytes on the chip for a sequence", low=1024, high=2**28),
    },
    constants=CONSTANTS,
    metrics={
        "best_order": Metric("steps of least time", "", _RATES),
        "time": Metric("the convolutions", "s", _RATES),
        "speed_up": Metric("over an FFT library on the same device", "", (*_RATES, "library")),
        "speed_up_most": Metric(
            "the largest of 256 to 4,194,304 points, each by its best order", "", (*_RATES, "library")
        ),
    },
    published=(
        *(Published("best_order", {"length": length}, 2, _CHOICE) for length in (256, 1024)),
        *(Published("best_order", {"length": length}, 3, _CHOICE) for length in (4096, 8192, 16384, 32768)),
        *(Published("best_order", {"length": 2**power}, 4, _CHOICE) for power in (20, 21, 22)),
        Published("speed_up_most", {}, 7.93, "abstract, over PyTorch"),
    ),
    simulate=_simulate,
    notes=_orders,
)
