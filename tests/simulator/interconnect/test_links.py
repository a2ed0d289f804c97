"""Links: header arithmetic worked out by hand, published rates, and what no link may exceed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.interconnect.links import (
    NICS,
    NVLINK_GENERATIONS,
    PCIE_GENERATIONS,
    LinkType,
    concurrency_bandwidth,
    cxl_mem,
    effective_bandwidth,
    message_time_s,
    nic,
    nvlink,
    pcie,
    protocol_efficiency,
    wire_bytes,
)
from workloads.errors import InputError

LINKS = (
    *(pcie(generation, 16, payload_bytes=size) for generation in PCIE_GENERATIONS for size in (128, 256, 4096)),
    pcie(4, 4, transfer="read"),
    cxl_mem(5),
    cxl_mem(6, 16),
    *(nvlink(generation) for generation in NVLINK_GENERATIONS),
    *(nic(name, over="infiniband") for name in NICS),
    *(nic(name, over="ethernet") for name in NICS),
)


def test_pcie_writes_by_hand() -> None:
    """Generation 4 x16: 16 GT/s x 16 x 128/130 / 8 = 31.508 GB/s; 4096 bytes are 16 packets of 256 + 24 bytes."""
    link = pcie(4)
    assert link.rate_bytes_per_s == pytest.approx(31.5077e9, rel=1e-5)
    assert wire_bytes(link, 4096) == 16 * (256 + 24)
    assert effective_bandwidth(link, 4096) == pytest.approx(31.5077e9 * 256 / 280, rel=1e-5)
    assert wire_bytes(link, 4096, both_ways=True) == 16 * (256 + 24 + 16)


def test_pcie_completions_have_the_shorter_header() -> None:
    """Intel AN 829: 5 to 7 double words around the payload; completions 5, writes with 64-bit addresses 6."""
    assert wire_bytes(pcie(3, transfer="read"), 256) - 256 == 5 * 4
    assert wire_bytes(pcie(3), 256) - 256 == 6 * 4


def test_pcie_6_flits_by_hand() -> None:
    """64 GT/s x 16 / 8 = 128 GB/s, 236 of 256 bytes for packets (92.2 %), a packet of 256 behind 16 of header."""
    link = pcie(6)
    assert link.rate_bytes_per_s == 128e9
    assert effective_bandwidth(link, 256) == pytest.approx(128e9 * 236 / 256 * 256 / 272)


def test_partial_packets_are_rounded_up() -> None:
    assert wire_bytes(pcie(4), 1) == 4 + 24
    assert wire_bytes(nvlink(3), 1) == 16 + 16
    assert wire_bytes(cxl_mem(5), 1) == pytest.approx((16 + 16) * 68 / 64)


def test_cxl_lines_by_hand() -> None:
    """A line is five slots of 16 bytes, and 64 of a flit's 68 bytes are slots: 75.3 % of 31.5 GB/s on eight lanes."""
    assert protocol_efficiency(cxl_mem(5, 8), 64 * 1000) == pytest.approx(4 / 5 * 64 / 68)
    assert effective_bandwidth(cxl_mem(5, 8), 64) == pytest.approx(31.5077e9 * 4 / 5 * 64 / 68, rel=1e-5)
    assert protocol_efficiency(cxl_mem(6, 8), 64) == pytest.approx(4 / 5 * 240 / 256)


def test_nvlink_writes_both_ways_reach_what_nccl_counts() -> None:
    """NCCL counts 20.0 GB/s of each 25 GB/s link of an A100: eight data flits, a header and the partner's answer."""
    assert effective_bandwidth(nvlink(3, 1), 2**20, both_ways=True) == pytest.approx(20.0e9)
    assert nvlink(4).rate_bytes_per_s == 450e9
    assert protocol_efficiency(nvlink(3, payload_bytes=256), 2**20) == pytest.approx(16 / 17)


def test_small_messages_are_bound_by_the_message_rate() -> None:
    """ConnectX-6: 215 million messages per second; of 8 bytes each that is 1.72 GB/s."""
    assert effective_bandwidth(nic("connectx-6-hdr"), 8) == pytest.approx(8 * 215e6)
    assert effective_bandwidth(nic("connectx-6-hdr"), 2**20) == pytest.approx(25e9 * 4096 / (4096 + 26))


def test_ethernet_carries_82_bytes_around_each_payload() -> None:
    assert wire_bytes(nic("connectx-7-ndr", over="ethernet"), 4096) == 4096 + 82


def test_requests_under_way_bound_the_bandwidth() -> None:
    """Ten lines of 64 bytes per 250 ns are 2.56 GB/s, what one core's fill buffers draw from an expander."""
    assert concurrency_bandwidth(10 * 64, 250e-9) == pytest.approx(2.56e9)


@pytest.mark.parametrize("link", LINKS, ids=lambda link: link.name)
def test_every_number_has_a_source(link: LinkType) -> None:
    assert {"rate_bytes_per_s", "header_bytes", "latency_s"} <= set(link.sources)


@given(st.sampled_from(LINKS), st.integers(1, 2**30), st.integers(1, 2**30), st.integers(1, 16), st.booleans())
def test_links_keep_their_bounds(link: LinkType, one: int, other: int, sharers: int, both_ways: bool) -> None:
    few, many = sorted((one, other))
    assert 0 < protocol_efficiency(link, few, both_ways=both_ways) <= 1
    alone = effective_bandwidth(link, few, both_ways=both_ways)
    assert alone <= link.rate_bytes_per_s
    assert effective_bandwidth(link, few, sharers=sharers, both_ways=both_ways) == pytest.approx(alone / sharers)
    assert message_time_s(link, few, sharers=sharers) <= message_time_s(link, many, sharers=sharers)
    assert message_time_s(link, few) > link.latency_s
    assert wire_bytes(link, few, both_ways=True) >= wire_bytes(link, few)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pcie(2), "generation: found 2; expected one of 3, 4, 5, 6"),
        (lambda: pcie(4, payload_bytes=100), "payload_bytes: found 100; expected a power of two from 128 to 4096"),
        (lambda: nvlink(3, payload_bytes=8), "payload_bytes: found 8; expected 16 to 256"),
        (lambda: nic("connectx-6"), "name: unknown adapter 'connectx-6'; expected a bundled adapter"),
        (lambda: wire_bytes(pcie(4), 0), "message_bytes: found 0; expected a number above 0"),
        (lambda: effective_bandwidth(pcie(4), 64, sharers=0), "sharers: found 0; expected 1 or more"),
    ],
)
def test_broken_calls_are_named(call: object, message: str) -> None:
    assert callable(call)
    with pytest.raises(InputError) as caught:
        call()
    assert message in str(caught.value)
