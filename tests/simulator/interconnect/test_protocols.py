"""Links by name: the line rates of the standards, and names that stand for nothing."""

from __future__ import annotations

import pytest

from simulator.interconnect.links import protocol_efficiency
from simulator.interconnect.protocols import EXAMPLES, link_type
from workloads.errors import InputError


@pytest.mark.parametrize(
    ("name", "rate"),
    [
        # Transfers per second and lane x lanes x 128/130 / 8 (PCI Express 3.0 to 5.0); flits from 6.0 on.
        ("pcie-3.0-x4", 8e9 * 4 * 128 / 130 / 8),
        ("pcie-4.0-x16", 16e9 * 16 * 128 / 130 / 8),
        ("pcie-5-x1", 32e9 * 128 / 130 / 8),
        ("pcie-6.0-x16", 64e9 * 16 / 8),
        ("cxl-5.0-x8", 32e9 * 8 * 128 / 130 / 8),
        # 12 links of 25 GB/s of an A100, 18 of an H100; two of its links.
        ("nvlink-3", 300e9),
        ("nvlink-4", 450e9),
        ("nvlink-4-x2", 50e9),
        ("connectx-7-ndr", 50e9),
        ("8*pcie-4.0-x4", 8 * 16e9 * 4 * 128 / 130 / 8),
    ],
)
def test_names_stand_for_line_rates(name: str, rate: float) -> None:
    assert link_type(name).rate_bytes_per_s == pytest.approx(rate)


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_is_a_link(name: str) -> None:
    assert link_type(name).name == link_type(link_type(name).name).name


def test_read_completions_carry_the_data() -> None:
    # 256 bytes behind a header of three double words and 8 bytes of framing, number and CRC.
    assert protocol_efficiency(link_type("pcie-4.0-x16"), 1 << 20) == pytest.approx(256 / 276)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("pcie-4.0-16", "did you mean 'pcie-4.0-x16'?"),
        ("pcie-4.0-x3", "has 3 lanes"),
        ("pcie-9.0-x4", "found 9"),
        ("nvlink-7", "found 7"),
        ("infiniband", "unknown link 'infiniband'"),
    ],
)
def test_other_names_are_refused(name: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        link_type(name)
    assert words in str(caught.value)
