"""What a tier of flash serves: bounds of the drive's parts, and what systems may ask for."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.spec.load import load_system, override
from simulator.memory.drive_service import DriveService
from simulator.memory.flash.drives import load_drive
from simulator.memory.tier_services import tier_services
from simulator.memory.traffic import SEQUENTIAL_BYTES, Demand
from workloads.errors import InputError


def service(drives: int = 1, reads: int = 32) -> DriveService:
    return DriveService(load_drive("ssd-mqsim-default"), drives, reads, 32, 1.6e9, 0.6e9)


def test_reading_in_order_is_bound_by_channels_and_link() -> None:
    # 8 channels of 333 MB/s; 4 lanes of 1 GB/s with 28 bytes around 128.
    assert service().rate("read", SEQUENTIAL_BYTES) <= min(8 * 333e6, 4e9 * 128 / 156)


def test_single_reads_of_4_kib_wait_for_cells_channel_and_mapping() -> None:
    # MQSim: 6034 requests a second with one outstanding, 73,190 with 16 (runs of 7ec40e3; table of this project's
    # accuracy report); a whole working set of half the drive.
    assert service(reads=1).rate("read", 4096) / 4096 == pytest.approx(6034, rel=0.05)
    assert service(reads=16).rate("read", 4096) / 4096 == pytest.approx(73190, rel=0.05)


def test_drives_share_the_traffic() -> None:
    assert service(drives=3).rate("read", 65536) == pytest.approx(3 * service().rate("read", 65536))


@settings(max_examples=15, deadline=None)
@given(st.integers(9, 22), st.floats(0, 1))
def test_a_fraction_is_above_nothing_and_at_most_everything(power: int, written: float) -> None:
    assert 0 < KEPT.fraction(Demand(1 << power, 1, written)) <= 1


KEPT = service()


def test_asking_twice_simulates_once() -> None:
    asked = service()
    first = asked.fraction(Demand(4096))
    assert (asked.fraction(Demand(4096, 7)), asked.runs) == (first, 1)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("tiers.ssd.device=ssd-m1-mx", "tiers.ssd.device: unknown drive 'ssd-m1-mx'; "),
        ("tiers.ssd.channels=2", "tiers.ssd.channels: 2 x ssd-m1-max reads 12."),
        ("tiers.ssd.read_queue=100000", "tiers.ssd.read_queue: found 100000 requests outstanding; expected 1 to 4096"),
        ("tiers.ssd.mapping=RoBaRaCoCh", "tiers.ssd.mapping: a drive maps its addresses itself"),
    ],
)
def test_what_does_not_fit_is_refused(setting: str, words: str) -> None:
    assert words in refusal(["tiers.ssd.device=ssd-m1-max", setting])


def refusal(changes: list[str]) -> str:
    try:
        tier_services(override(load_system("laptop-m1-max"), changes))
    except InputError as error:
        return str(error)
    return ""


def test_few_outstanding_requests_are_slow_but_no_mistake() -> None:
    changes = ["tiers.ssd.device=ssd-m1-max", "tiers.ssd.read_queue=1"]
    found = tier_services(override(load_system("laptop-m1-max"), changes))["ssd"]
    assert found.fraction(Demand(SEQUENTIAL_BYTES)) < 0.8
