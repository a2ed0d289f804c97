"""Collective libraries: the time a call takes as NCCL and vLLM would run it, choosing algorithm and protocol by size.

NCCL estimates every algorithm and protocol as latency + bytes / bandwidth and takes the least (ncclTopoGetAlgoTime,
src/graph/tuning.cc in NVIDIA/nccl, b6475625); its latency is a fixed part and so much per step. So does this module:

- ``low-latency``: each word travels with its flag, so nothing waits for a fence, at a part of the bandwidth.
- ``bulk``: whole chunks behind fences (LL128 and Simple, which the measurements do not tell apart).
- ``in-switch``: the switch reduces and copies (NVLS), so each device sends its vector once whatever their number;
  above two devices, where the measurements show it.

A ring's chunk spends ``fill_steps`` of a step outside the wire, with its first send and last copy: 2(n-1) steps take
the time of 2(n-1) + fill_steps.

The numbers marked fitted are from every second all-reduce, all-gather and all-to-all of the measured GPU, counted in
the order of their ids (NCCL 2.27.3 in aiconfigurator-core 0.12.0, LLMCompass figure 5h, Vidur 7d47513); the other half
checks them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hw.spec.source import Source, parse_source
from simulator.interconnect.collectives import exchange
from workloads.errors import InputError, nearest_name

__all__ = ["LIBRARIES", "CollectiveTime", "CustomAllReduce", "Library", "Protocol", "collective_time", "library"]


@dataclass(frozen=True)
class Protocol:
    """A way to move data: seconds per call and per step, and the part of the link's bandwidth it reaches."""

    name: str
    base_s: float
    step_s: float
    bandwidth_share: float


@dataclass(frozen=True)
class CustomAllReduce:
    """An all-reduce that reads the partners' memory: one-shot below a size, two-shot up to another, by devices.

    Devices meet before they read, between the two shots and before they leave.
    """

    meeting_s: float
    bandwidth_share: float
    one_shot_below_bytes: Mapping[int, float]
    up_to_bytes: Mapping[int, float]


@dataclass(frozen=True)
class Library:
    """A collective library on one generation of devices; times hold for devices joined by one switch."""

    name: str
    protocols: tuple[Protocol, ...]
    in_switch: Protocol | None
    fill_steps: float
    arrival_skew_s: float
    pair_skew_from_bytes: float
    custom_all_reduce: CustomAllReduce | None = None
    sources: Mapping[str, Source] = field(default_factory=dict)


@dataclass(frozen=True)
class CollectiveTime:
    """One call: how it ran, the bytes of the device that sends most, and its seconds on the wire and beside it."""

    algorithm: str
    protocol: str
    sent_bytes: float
    wire_s: float
    latency_s: float

    @property
    def time_s(self) -> float:
        """Seconds of the whole call."""
        return self.wire_s + self.latency_s


def collective_time(
    library: Library,
    kind: str,
    payload_bytes: float,
    devices: int,
    bandwidth_bytes_per_s: float,
    *,
    launched: str = "together",
) -> CollectiveTime:
    """The call as the library would run it on devices that each send ``bandwidth_bytes_per_s`` into one switch.

    ``launched``: ``together`` for devices that start at once (graphs, back-to-back calls), ``apart`` for eager calls of
    a framework, whose devices wait for the last: no call is then shorter than the library's ``arrival_skew_s``, but for
    small ones between two devices.
    """
    if launched not in ("together", "apart"):
        raise InputError(f"found {launched!r}", expected="together or apart", field="launched")
    if devices == 1:
        return CollectiveTime("none", "none", exchange(kind, _plain(kind), payload_bytes, 1).sent_bytes, 0.0, 0.0)
    custom = library.custom_all_reduce
    if custom is not None and kind == "all_reduce" and payload_bytes <= custom.up_to_bytes.get(devices, -1.0):
        chosen = _custom(custom, payload_bytes, devices, bandwidth_bytes_per_s)
    else:
        options = [_by(library, way, kind, payload_bytes, devices, bandwidth_bytes_per_s) for way in library.protocols]
        if library.in_switch is not None and kind == "all_reduce" and devices > 2:
            options.append(_in_switch(library.in_switch, payload_bytes, bandwidth_bytes_per_s))
        chosen = min(options, key=lambda option: option.time_s)
    pair = devices == 2 and payload_bytes < library.pair_skew_from_bytes
    missing_s = library.arrival_skew_s - chosen.time_s if launched == "apart" and not pair else 0.0
    if missing_s <= 0:
        return chosen
    latency_s = chosen.latency_s + missing_s
    return CollectiveTime(chosen.algorithm, chosen.protocol, chosen.sent_bytes, chosen.wire_s, latency_s)


def _plain(kind: str) -> str:
    return "direct" if kind == "all_to_all" else "ring"


def _by(
    library: Library, way: Protocol, kind: str, payload_bytes: float, devices: int, bandwidth: float
) -> CollectiveTime:
    run = exchange(kind, _plain(kind), payload_bytes, devices)
    wire_s = run.sent_bytes / (bandwidth * way.bandwidth_share)
    if run.algorithm == "ring":
        wire_s *= (run.steps + library.fill_steps) / run.steps
    return CollectiveTime(run.algorithm, way.name, run.sent_bytes, wire_s, way.base_s + run.steps * way.step_s)


def _in_switch(way: Protocol, payload_bytes: float, bandwidth: float) -> CollectiveTime:
    wire_s = payload_bytes / (bandwidth * way.bandwidth_share)
    return CollectiveTime("in-switch", way.name, payload_bytes, wire_s, way.base_s + way.step_s)


def _custom(custom: CustomAllReduce, payload_bytes: float, devices: int, bandwidth: float) -> CollectiveTime:
    one_shot = payload_bytes < custom.one_shot_below_bytes[devices]
    run = exchange("all_reduce", "one-shot" if one_shot else "two-shot", payload_bytes, devices)
    wire_s = run.sent_bytes / (bandwidth * custom.bandwidth_share)
    return CollectiveTime(run.algorithm, "direct reads", run.sent_bytes, wire_s, (run.steps + 1) * custom.meeting_s)


def _sources(**texts: str) -> dict[str, Source]:
    return {name: parse_source(text) for name, text in texts.items()}


_FITTED = "fitted: every second measured row of the GPU by id, least mean |log error|; the other half checks it"
_SHARE = (
    "stated: NCCL counts {counted} GB/s of each 25 GB/s NVLink (topo.h, {constant}_NVLINK_BW), and a quarter of that "
    "for low-latency all-reduce (tuning.cc, b6475625)"
)
_SKEW = (
    "fitted: the floor of eager calls from PyTorch, Vidur 7d47513, every second row by id: 42 us (A100), 40 us (H100)"
)
_PAIR = (
    "fitted: two devices called eagerly show no floor at 2 KiB (10 us on A100) but do at 66 KiB (53 us), Vidur "
    "7d47513; where it begins between them is not known"
)
_FILL = 0.5
_PAIR_BYTES = 32.0 * 2**10

_NCCL_A100 = Library(
    "nccl-a100",
    (Protocol("low-latency", 8.0e-6, 0.99e-6, 0.8 / 4), Protocol("bulk", 44.6e-6, 3.36e-6, 0.8)),
    None,
    _FILL,
    41e-6,
    _PAIR_BYTES,
    sources=_sources(
        base_s=_FITTED,
        step_s=_FITTED,
        bandwidth_share=_SHARE.format(counted="20.0", constant="SM80"),
        fill_steps=_FITTED + ", both GPUs together",
        arrival_skew_s=_SKEW,
        pair_skew_from_bytes=_PAIR,
    ),
)

_NCCL_H100 = Library(
    "nccl-h100",
    (
        Protocol("low-latency", 6.9e-6, 0.64e-6, 0.361),
        Protocol("bulk", 15.5e-6, 1.62e-6, 20.6 / 25),
    ),
    Protocol("in-switch", 66.4e-6, 0.0, 0.583),
    _FILL,
    41e-6,
    _PAIR_BYTES,
    sources=_sources(
        base_s=_FITTED,
        step_s=_FITTED,
        bandwidth_share=_SHARE.format(counted="20.6", constant="SM90")
        + "; of low-latency calls fitted instead (0.36, where that rule says 0.21): what ran between 66 KiB and 8 MiB "
        "is faster than it by half",
        in_switch=_FITTED,
        fill_steps=_FITTED + ", both GPUs together",
        arrival_skew_s=_SKEW,
        pair_skew_from_bytes=_PAIR,
    ),
)

_KIB, _MIB = 2**10, 2**20

_VLLM_H100 = Library(
    "vllm-h100",
    _NCCL_H100.protocols,
    _NCCL_H100.in_switch,
    _FILL,
    _NCCL_H100.arrival_skew_s,
    _PAIR_BYTES,
    CustomAllReduce(
        2.1e-6,
        20.6 / 25,
        {2: float("inf"), 4: 512 * _KIB, 6: 256 * _KIB, 8: 256 * _KIB},
        {2: 64 * _MIB, 4: 32 * _MIB, 6: 512 * _KIB, 8: 256 * _KIB},
    ),
    sources={
        **_NCCL_H100.sources,
        **_sources(
            meeting_s="fitted: half of the 4.2 us of a small all-reduce of two H100 in a CUDA graph (two meetings)",
            one_shot_below_bytes="stated: vllm-project/vllm csrc/custom_all_reduce.cuh, 036bb685",
            up_to_bytes="stated: vllm-project/vllm all_reduce_utils.py, 00d618aa, compute capability 9.0; then NCCL",
        ),
    },
)

LIBRARIES = {library.name: library for library in (_NCCL_A100, _NCCL_H100, _VLLM_H100)}
"""The bundled libraries by name."""


def library(name: str) -> Library:
    """A bundled library. Raises `InputError` with the nearest name for an unknown one."""
    if name not in LIBRARIES:
        near = nearest_name(name, LIBRARIES)
        raise InputError(f"unknown collective library {name!r}", ", ".join(LIBRARIES), "fabric.library", nearest=near)
    return LIBRARIES[name]
