"""Collectives between equal devices: what each algorithm sends in how many steps, and the time that costs.

Cost is steps x latency + bytes / bandwidth, the model and the algorithms of Thakur, Rabenseifner and Gropp,
Optimization of Collective Communication Operations in MPICH, IJHPCA 19(1), 2005; one-shot and two-shot all-reduce
read all partners at once over a switch or a full mesh.

``payload_bytes`` is the whole vector on one device: reduced, gathered, before it is scattered, to be exchanged, or
sent to all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from workloads.errors import InputError, nearest_name

__all__ = ["ALGORITHMS", "CollectiveKind", "Exchange", "Topology", "best_exchange", "exchange", "least_sent_bytes"]

CollectiveKind = Literal["all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast"]
Topology = Literal["switch", "ring", "mesh"]


@dataclass(frozen=True)
class Exchange:
    """One collective by one algorithm: its steps in sequence and the bytes of the device that sends most."""

    algorithm: str
    steps: int
    sent_bytes: float

    def time_s(self, bandwidth_bytes_per_s: float, latency_s: float) -> float:
        """Seconds at so much bandwidth out of a device and so much latency per step."""
        return self.steps * latency_s + self.sent_bytes / bandwidth_bytes_per_s


def _log2_up(devices: int) -> int:
    return (devices - 1).bit_length()


def _doubling(devices: int, payload: float) -> tuple[int, float]:
    """Recursive doubling; devices beyond a power of two hand their vector in first and get the result last."""
    within = devices.bit_length() - 1
    steps = within if devices == 1 << within else within + 2
    return steps, steps * payload


def _halving(devices: int, payload: float) -> tuple[int, float]:
    """Rabenseifner: recursive halving, then doubling, each half of what is left; odd devices as in `_doubling`."""
    within = devices.bit_length() - 1
    power = 1 << within
    outside = devices != power
    return 2 * within + 2 * outside, (2 * (power - 1) / power + 2 * outside) * payload


def _share(devices: int, payload: float) -> float:
    return (devices - 1) / devices * payload


_Cost = Callable[[int, float], tuple[int, float]]

ALGORITHMS: dict[str, dict[str, _Cost]] = {
    "all_reduce": {
        "one-shot": lambda n, b: (1, (n - 1) * b),
        "two-shot": lambda n, b: (2, 2 * _share(n, b)),
        "recursive-doubling": _doubling,
        "halving-doubling": _halving,
        "ring": lambda n, b: (2 * (n - 1), 2 * _share(n, b)),
    },
    "all_gather": {
        "direct": lambda n, b: (1, _share(n, b)),
        "ring": lambda n, b: (n - 1, _share(n, b)),
    },
    "reduce_scatter": {
        "direct": lambda n, b: (1, _share(n, b)),
        "ring": lambda n, b: (n - 1, _share(n, b)),
    },
    "all_to_all": {
        "direct": lambda n, b: (1, _share(n, b)),
        "ring": lambda n, b: (n - 1, (n - 1) / 2 * b),
    },
    "broadcast": {
        "one-shot": lambda n, b: (1, (n - 1) * b),
        "tree": lambda n, b: (_log2_up(n), _log2_up(n) * b),
        "two-shot": lambda n, b: (2, 2 * _share(n, b)),
        "ring": lambda n, b: (2 * (n - 1), 2 * _share(n, b)),
    },
}
"""Steps and bytes sent, by kind and algorithm, for n devices and b bytes.

A two-shot broadcast scatters and gathers; on a ring every piece is passed on from neighbour to neighbour.
"""

_DIRECT = ("one-shot", "two-shot", "direct")


def _fitting(kind: str, topology: Topology) -> list[str]:
    """Algorithms that use all of a device's bandwidth on this topology.

    On a ring only neighbours exchange; on a full mesh a device has a link to each partner, and only what sends to all
    of them at once fills them; behind a switch everything does.
    """
    names = ALGORITHMS[kind]
    if topology == "ring":
        return ["ring"]
    return [name for name in names if topology == "switch" or name in _DIRECT]


def exchange(kind: str, algorithm: str, payload_bytes: float, devices: int) -> Exchange:
    """The collective by one algorithm; one device exchanges nothing. Raises `InputError` for unknown names."""
    if kind not in ALGORITHMS:
        raise InputError(f"unknown kind {kind!r}", "a collective", "kind", nearest=nearest_name(kind, ALGORITHMS))
    known = ALGORITHMS[kind]
    if algorithm not in known:
        expected = f"one of {', '.join(known)}"
        raise InputError(f"no {kind} by {algorithm!r}", expected, "algorithm", nearest=nearest_name(algorithm, known))
    if devices < 1:
        raise InputError(f"found {devices}", expected="1 or more", field="devices")
    if not payload_bytes >= 0:
        raise InputError(f"found {payload_bytes:g}", expected="0 or more", field="payload_bytes")
    if devices == 1:
        return Exchange(algorithm, 0, 0.0)
    steps, sent = known[algorithm](devices, payload_bytes)
    return Exchange(algorithm, steps, sent)


def best_exchange(
    kind: str,
    payload_bytes: float,
    devices: int,
    *,
    topology: Topology,
    bandwidth_bytes_per_s: float,
    latency_s: float,
) -> Exchange:
    """The algorithm with the least time on the topology: few steps for small vectors, few bytes for large ones."""
    if kind not in ALGORITHMS:
        raise InputError(f"unknown kind {kind!r}", "a collective", "kind", nearest=nearest_name(kind, ALGORITHMS))
    options = [exchange(kind, name, payload_bytes, devices) for name in _fitting(kind, topology)]
    return min(options, key=lambda option: option.time_s(bandwidth_bytes_per_s, latency_s))


def least_sent_bytes(kind: str, payload_bytes: float, devices: int) -> float:
    """Bytes that the device which sends most must send, whatever the algorithm, where no switch reduces or copies.

    Twice (n-1)/n of the vector for an all-reduce, once for the others; a broadcast's root sends the vector once.
    """
    if devices == 1:
        return 0.0
    if kind == "broadcast":
        return payload_bytes
    return (2 if kind == "all_reduce" else 1) * _share(devices, payload_bytes)
