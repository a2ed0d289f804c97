"""Collective libraries: rules and bounds by hand, and calls measured on A100 and H100."""

from __future__ import annotations

from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse.validation import Measurement, read_measurements
from dse.validation.predict import COLLECTIVES, predict
from hw.spec.load import load_system, override
from simulator.interconnect import LIBRARIES, collective_time, least_sent_bytes, library
from simulator.transport import collective_cost
from tests.reference_data import reference_file
from workloads.errors import InputError
from workloads.workload import Collective

H100_BYTES_PER_S = 450e9
NCCL = st.sampled_from([LIBRARIES["nccl-a100"], LIBRARIES["nccl-h100"]])
KINDS = st.sampled_from(["all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast"])


@given(NCCL, KINDS, st.integers(1, 64), st.floats(1, 1e11), st.floats(1, 1e11), st.sampled_from(["together", "apart"]))
def test_calls_grow_with_bytes_and_keep_the_bound(
    chosen: object, kind: str, devices: int, one: float, other: float, launched: str
) -> None:
    few, many = sorted((one, other))
    calls = [
        collective_time(chosen, kind, size, devices, H100_BYTES_PER_S, launched=launched)  # type: ignore[arg-type]
        for size in (few, many)
    ]
    assert calls[0].time_s <= calls[1].time_s * (1 + 1e-12)
    for call, size in zip(calls, (few, many), strict=True):
        # A switch that reduces takes the vector once instead of twice (n-1)/n of it.
        least = size if call.algorithm == "in-switch" else least_sent_bytes(kind, size, devices)
        assert call.time_s >= least / H100_BYTES_PER_S * (1 - 1e-12)
        assert call.wire_s >= call.sent_bytes / H100_BYTES_PER_S * (1 - 1e-12)
        if devices == 1:
            assert (call.time_s, call.sent_bytes) == (0, 0)


def test_small_calls_are_low_latency_and_large_ones_bulk() -> None:
    def protocol(payload: float, devices: int) -> str:
        return collective_time(library("nccl-h100"), "all_reduce", payload, devices, H100_BYTES_PER_S).protocol

    assert [protocol(2048, 8), protocol(2**22, 8), protocol(2**30, 8)] == ["low-latency", "bulk", "in-switch"]
    assert protocol(2**30, 2) == "bulk"


def test_a_ring_call_by_hand() -> None:
    """Two A100 at 300 GB/s, 1 GiB: bulk, 2 steps of 3.36 us, 44.6 us, and 1.25 x 1 GiB at 0.8 x 300 GB/s."""
    call = collective_time(library("nccl-a100"), "all_reduce", 2**30, 2, 300e9)
    assert call.latency_s == pytest.approx(44.6e-6 + 2 * 3.36e-6)
    assert call.wire_s == pytest.approx(1.25 * 2**30 / 240e9)
    assert call.sent_bytes == 2**30


def test_vllm_switches_at_its_published_sizes() -> None:
    """One-shot below 256 KiB on eight devices; on four below 512 KiB, two-shot to 32 MiB, then NCCL."""

    def algorithm(payload: float, devices: int) -> str:
        return collective_time(library("vllm-h100"), "all_reduce", payload, devices, H100_BYTES_PER_S).algorithm

    kib, mib = 2**10, 2**20
    assert [algorithm(512 * kib - 2, 4), algorithm(512 * kib, 4), algorithm(32 * mib, 4)] == [
        "one-shot",
        "two-shot",
        "two-shot",
    ]
    assert algorithm(32 * mib + 2, 4) in ("ring", "in-switch")
    assert algorithm(256 * kib - 2, 8) == "one-shot"
    assert algorithm(257 * kib, 8) in ("ring", "in-switch")
    assert algorithm(2 * kib, 3) == "ring"


def test_calls_launched_apart_wait_for_the_last_device() -> None:
    together = collective_time(library("nccl-h100"), "all_reduce", 2048, 4, H100_BYTES_PER_S)
    apart = collective_time(library("nccl-h100"), "all_reduce", 2048, 4, H100_BYTES_PER_S, launched="apart")
    assert together.time_s < apart.time_s == pytest.approx(41e-6)
    assert apart.wire_s == together.wire_s
    with pytest.raises(InputError, match="launched: found 'late'; expected together or apart"):
        collective_time(library("nccl-h100"), "all_reduce", 2048, 4, H100_BYTES_PER_S, launched="late")


def test_small_calls_between_two_devices_do_not_wait() -> None:
    """Measured apart at 2 KiB on two H100: 7 us; at 66 KiB, and on four of them, near 40 us."""

    def apart_s(payload: int, devices: int) -> float:
        call = collective_time(library("nccl-h100"), "all_reduce", payload, devices, H100_BYTES_PER_S, launched="apart")
        return call.time_s

    assert apart_s(2048, 2) == pytest.approx(7e-6, rel=0.25)
    assert apart_s(67_584, 2) == apart_s(2048, 4) == pytest.approx(41e-6)


def test_the_fabric_names_its_library() -> None:
    system = override(load_system("h100-sxm"), ["devices=8", "fabric.library=nccl-h100"])
    step = Collective("reduce", "all_reduce", 2**20, "bf16", ())
    call = collective_time(library("nccl-h100"), "all_reduce", 2**21, 8, H100_BYTES_PER_S)
    assert collective_cost(system, step, 8) == (call.sent_bytes, call.wire_s, call.latency_s)
    assert collective_cost(system, step, 1) == (0, 0, 0)
    wrong = override(system, ["fabric.library=nccl-h10"])
    with pytest.raises(InputError, match=r"fabric\.library: unknown collective library 'nccl-h10'.*'nccl-h100'"):
        collective_cost(wrong, step, 8)


def test_a_library_needs_a_switch() -> None:
    system = override(load_system("a40"), ["devices=2", "fabric.library=nccl-a100"])
    with pytest.raises(InputError, match=r"fabric\.topology: a ring of devices; expected a switch"):
        collective_cost(system, Collective("reduce", "all_reduce", 2**20, "bf16", ()), 2)


@pytest.mark.parametrize("name", sorted(LIBRARIES))
def test_every_number_has_a_source(name: str) -> None:
    expected = {"base_s", "step_s", "bandwidth_share", "fill_steps", "arrival_skew_s", "pair_skew_from_bytes"}
    if LIBRARIES[name].in_switch is not None:
        expected.add("in_switch")
    if LIBRARIES[name].custom_all_reduce is not None:
        expected |= {"meeting_s", "one_shot_below_bytes", "up_to_bytes"}
    assert expected == set(LIBRARIES[name].sources)


def measured_collectives() -> list[Measurement]:
    rows = read_measurements(reference_file("gpu_measurements.csv"))
    return sorted((row for row in rows if row.op in COLLECTIVES), key=lambda row: int(row.id))


def error(row: Measurement) -> float:
    predicted = predict(row)
    assert isinstance(predicted, float)
    return abs(predicted / row.latency_s - 1)


def test_a_gpu_without_a_measured_library_takes_the_steps_of_its_fabric() -> None:
    """Two A40 on a bridge of 56.25 GB/s: two steps of 6.5 us, and 1 MB once."""
    row = Measurement("1", "A40", "NCCL", "all_reduce", "", "fp16", "", {"bytes": 1_000_000, "ngpus": 2}, 1e-4)
    assert predict(row) == pytest.approx(2 * 6.5e-6 + 1e6 / 56.25e9)


SIZES = {"up to 64 KiB": (0, 68_000), "up to 8 MiB": (68_000, 2**23), "above": (2**23, float("inf"))}


@pytest.mark.parametrize("gpu", ["A100-SXM4-80GB", "H100-SXM-80GB"])
def test_the_half_that_was_not_fitted_is_met(gpu: str) -> None:
    held_out = [row for row in measured_collectives() if row.gpu == gpu][1::2]
    assert len(held_out) >= 20
    assert median(map(error, held_out)) < 0.15


@pytest.mark.parametrize("gpu", ["A100-SXM4-80GB", "H100-SXM-80GB"])
def test_measured_all_reduce_is_met_at_both_ends(gpu: str) -> None:
    """Median error below 20 % by size and by number of GPUs, fitted and held-out rows together."""
    rows = [row for row in measured_collectives() if row.gpu == gpu and row.op == "all_reduce"]
    for low, high in SIZES.values():
        assert median(error(row) for row in rows if low < row.numbers["bytes"] <= high) < 0.2
    for devices in (2, 4, 8):
        assert median(error(row) for row in rows if row.numbers["ngpus"] == devices) < 0.2


def test_no_measured_collective_beats_the_bound() -> None:
    """NVLink's rate in one direction bounds every row; above two GPUs an H100's switch may reduce, so its vector counts
    once."""
    rate = {"A100-SXM4-80GB": 300e9, "H100-SXM-80GB": 450e9}
    for row in measured_collectives():
        payload, devices = row.numbers["bytes"], row.numbers["ngpus"]
        least = least_sent_bytes(COLLECTIVES[row.op], payload, devices)
        if row.op == "all_reduce" and row.gpu.startswith("H100") and devices > 2:
            least = payload
        assert row.latency_s >= least / rate[row.gpu], row
