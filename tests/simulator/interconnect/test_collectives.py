"""Collectives: every algorithm moved by hand on small arrays, its bytes and steps against the formulas, and bounds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from simulator.interconnect.collectives import ALGORITHMS, best_exchange, exchange, least_sent_bytes
from workloads.errors import InputError

Vectors = list[NDArray[np.int64]]


class Wire:
    """Devices that hold vectors, send parts of them in steps, and count what each sends."""

    def __init__(self, vectors: Vectors) -> None:
        self.held = [vector.copy() for vector in vectors]
        self.sent = [0] * len(vectors)
        self.received = [0] * len(vectors)
        self.steps = 0

    def step(self, messages: list[tuple[int, int, NDArray[np.int64], bool]]) -> None:
        """Every (source, target, positions, reduce) at once: data as it was before the step."""
        before = [vector.copy() for vector in self.held]
        for source, target, positions, reduce in messages:
            data = before[source][positions]
            self.sent[source] += data.nbytes
            self.received[target] += data.nbytes
            if reduce:
                self.held[target][positions] += data
            else:
                self.held[target][positions] = data
        self.steps += 1


def parts(devices: int, length: int) -> list[NDArray[np.int64]]:
    return np.split(np.arange(length), devices)


def ring_all_reduce(wire: Wire, devices: int, part: list[NDArray[np.int64]]) -> None:
    for reduce, ahead in ((True, 0), (False, 1)):
        for turn in range(devices - 1):
            wire.step([(d, (d + 1) % devices, part[(d + ahead - turn) % devices], reduce) for d in range(devices)])


def one_shot_all_reduce(wire: Wire, devices: int, part: list[NDArray[np.int64]]) -> None:
    every = np.concatenate(part)
    pairs = [(d, t) for d in range(devices) for t in range(devices) if d != t]
    wire.step([(d, t, every, True) for d, t in pairs])


def two_shot_all_reduce(wire: Wire, devices: int, part: list[NDArray[np.int64]]) -> None:
    pairs = [(d, t) for d in range(devices) for t in range(devices) if d != t]
    wire.step([(d, t, part[t], True) for d, t in pairs])
    wire.step([(d, t, part[d], False) for d, t in pairs])


def doubling_all_reduce(wire: Wire, devices: int, part: list[NDArray[np.int64]]) -> None:
    every = np.concatenate(part)
    distance = 1
    while distance < devices:
        wire.step([(d, d ^ distance, every, True) for d in range(devices)])
        distance *= 2


def _block(part: list[NDArray[np.int64]], device: int, size: int) -> NDArray[np.int64]:
    """The ``size`` neighbouring parts among which the device's own is."""
    first = device // size * size
    return np.concatenate(part[first : first + size])


def halving_all_reduce(wire: Wire, devices: int, part: list[NDArray[np.int64]]) -> None:
    distances = []
    distance = devices // 2
    while distance:
        distances.append(distance)
        distance //= 2
    for at in distances:
        above = ~(2 * at - 1)
        wire.step(
            [
                (
                    d,
                    d ^ at,
                    np.concatenate([part[p] for p in range(devices) if (p ^ d) & above == 0 and (p ^ d) & at]),
                    True,
                )
                for d in range(devices)
            ]
        )
    for at in reversed(distances):
        wire.step([(d, d ^ at, _block(part, d, at), False) for d in range(devices)])


MOVERS: dict[str, Callable[[Wire, int, list[NDArray[np.int64]]], None]] = {
    "ring": ring_all_reduce,
    "one-shot": one_shot_all_reduce,
    "two-shot": two_shot_all_reduce,
    "recursive-doubling": doubling_all_reduce,
    "halving-doubling": halving_all_reduce,
}


POWERS_OF_TWO_ONLY = ("recursive-doubling", "halving-doubling")  # as moved by hand above


@pytest.mark.parametrize(
    ("algorithm", "devices"),
    [
        (algorithm, devices)
        for algorithm in sorted(ALGORITHMS["all_reduce"])
        for devices in (2, 3, 4, 5, 8)
        if algorithm not in POWERS_OF_TWO_ONLY or devices in (2, 4, 8)
    ],
)
def test_all_reduce_moved_by_hand(algorithm: str, devices: int) -> None:
    """Every device ends with the sum, having sent as many bytes in as many steps as the formula says."""
    length = 6 * devices
    random = np.random.default_rng(devices)
    vectors = [random.integers(0, 1000, length) for _ in range(devices)]
    wire = Wire(vectors)
    MOVERS[algorithm](wire, devices, parts(devices, length))
    for held in wire.held:
        assert np.array_equal(held, sum(vectors))
    expected = exchange("all_reduce", algorithm, vectors[0].nbytes, devices)
    assert wire.steps == expected.steps
    assert wire.sent == pytest.approx([expected.sent_bytes] * devices)
    assert sum(wire.sent) == sum(wire.received)


@pytest.mark.parametrize("devices", [2, 3, 4, 8])
@pytest.mark.parametrize("algorithm", ["ring", "direct"])
def test_all_gather_moved_by_hand(algorithm: str, devices: int) -> None:
    length = 4 * devices
    whole = np.arange(length) + 1
    part = parts(devices, length)
    vectors = [np.zeros(length, np.int64) for _ in range(devices)]
    for device, positions in enumerate(part):
        vectors[device][positions] = whole[positions]
    wire = Wire(vectors)
    if algorithm == "ring":
        for turn in range(devices - 1):
            wire.step([(d, (d + 1) % devices, part[(d - turn) % devices], False) for d in range(devices)])
    else:
        wire.step([(d, t, part[d], False) for d in range(devices) for t in range(devices) if d != t])
    assert all(np.array_equal(held, whole) for held in wire.held)
    expected = exchange("all_gather", algorithm, whole.nbytes, devices)
    assert wire.steps == expected.steps
    assert wire.sent == pytest.approx([expected.sent_bytes] * devices)


@pytest.mark.parametrize("devices", [2, 3, 4, 7])
def test_all_to_all_around_a_ring_forwards(devices: int) -> None:
    """A piece for the neighbour k places on is sent k times: 1 + 2 + ... + (n-1) pieces of b/n leave each device."""
    expected = exchange("all_to_all", "ring", 1000.0 * devices, devices)
    assert expected.sent_bytes == pytest.approx(1000.0 * sum(range(1, devices)))
    assert expected.steps == devices - 1


def test_closed_forms_of_a_power_of_two() -> None:
    """Eight devices and 1 MB, from Thakur et al. 2005: ring 14 steps, halving and doubling 6, doubling 3 of 1 MB."""
    mega = 1e6
    assert exchange("all_reduce", "ring", mega, 8).steps == 14
    assert exchange("all_reduce", "halving-doubling", mega, 8).steps == 6
    assert exchange("all_reduce", "halving-doubling", mega, 8).sent_bytes == pytest.approx(1.75e6)
    assert exchange("all_reduce", "recursive-doubling", mega, 8).sent_bytes == pytest.approx(3e6)
    assert exchange("broadcast", "tree", mega, 8).steps == 3
    assert exchange("broadcast", "tree", mega, 5).steps == 3


def test_devices_beyond_a_power_of_two_cost_two_steps_more() -> None:
    assert exchange("all_reduce", "recursive-doubling", 8.0, 6).steps == 4
    assert exchange("all_reduce", "halving-doubling", 8.0, 6).steps == 6
    assert exchange("all_reduce", "halving-doubling", 8.0, 6).sent_bytes == pytest.approx(2 * 0.75 * 8 + 2 * 8)


KINDS = st.sampled_from(sorted(ALGORITHMS))
TOPOLOGIES = st.sampled_from(["switch", "ring", "mesh"])
PAYLOADS = st.floats(1, 1e11)


@given(KINDS, TOPOLOGIES, st.integers(1, 64), PAYLOADS, PAYLOADS, st.floats(1e8, 1e12), st.floats(0, 1e-4))
def test_time_grows_with_bytes_and_keeps_the_bound(
    kind: str, topology: str, devices: int, one: float, other: float, bandwidth: float, latency: float
) -> None:
    def time_s(payload: float) -> float:
        run = best_exchange(
            kind,
            payload,
            devices,
            topology=topology,  # type: ignore[arg-type]
            bandwidth_bytes_per_s=bandwidth,
            latency_s=latency,
        )
        seconds = run.time_s(bandwidth, latency)
        assert seconds >= least_sent_bytes(kind, payload, devices) / bandwidth * (1 - 1e-12)
        return seconds

    few, many = sorted((one, other))
    assert time_s(few) <= time_s(many) * (1 + 1e-12)
    if devices == 1:
        assert time_s(few) == 0


@given(KINDS, st.integers(2, 64), PAYLOADS)
def test_no_algorithm_sends_less_than_the_bound(kind: str, devices: int, payload: float) -> None:
    for name in ALGORITHMS[kind]:
        assert exchange(kind, name, payload, devices).sent_bytes >= least_sent_bytes(kind, payload, devices) * (
            1 - 1e-12
        )


def test_small_vectors_take_few_steps_and_large_ones_few_bytes() -> None:
    """Eight devices at 100 GB/s and 2 us: 8 B in one step; 1 GB with the 2 x 7/8 of a two-shot."""

    def algorithm(payload: float) -> str:
        return best_exchange(
            "all_reduce", payload, 8, topology="switch", bandwidth_bytes_per_s=1e11, latency_s=2e-6
        ).algorithm

    assert algorithm(8) == "one-shot"
    assert algorithm(1e9) == "two-shot"


@pytest.mark.parametrize(
    ("kind", "algorithm", "devices", "payload", "message"),
    [
        (
            "all_reduc",
            "ring",
            2,
            1.0,
            "kind: unknown kind 'all_reduc'; expected a collective",
        ),
        ("all_gather", "tree", 2, 1.0, "algorithm: no all_gather by 'tree'; expected one of direct, ring"),
        ("all_gather", "ring", 0, 1.0, "devices: found 0; expected 1 or more"),
        ("all_gather", "ring", 2, -1.0, "payload_bytes: found -1; expected 0 or more"),
    ],
)
def test_broken_calls_are_named(kind: str, algorithm: str, devices: int, payload: float, message: str) -> None:
    with pytest.raises(InputError) as caught:
        exchange(kind, algorithm, payload, devices)
    assert message in str(caught.value)
