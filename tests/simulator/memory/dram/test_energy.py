"""Energies of commands, by hand from currents."""

from __future__ import annotations

import pytest

from hw.spec.source import parse_source
from simulator.memory.dram.devices import device_names, load_device
from simulator.memory.dram.energy import CommandEnergies, Currents, device_energy
from workloads.errors import InputError

SHEET = {
    "VDD_V": 1.2,
    "IDD0_mA": 57.0,
    "IDD2N_mA": 37.0,
    "IDD3N_mA": 52.0,
    "IDD4R_mA": 168.0,
    "IDD4W_mA": 150.0,
    "IDD5B_mA": 250.0,
}
SOURCE = parse_source("synthetic: for a test")


def test_ddr4_by_hand() -> None:
    """Eight x8 dies at 1.2 V: 9.6 mW per mA of one die. tRC 46.25 ns, tRAS 32.5 ns, tBL 2.5 ns, tRFC 360 ns."""
    energy = load_device("DDR4-3200").energy
    assert energy is not None
    assert energy.read_j == pytest.approx(1.2 * (168 - 52) * 2.5 * 8 * 1e-12)
    assert energy.read_j == pytest.approx(2.784e-9)
    assert energy.write_j == pytest.approx(2.352e-9)  # 9.6e-3 * 98 * 2.5
    # 9.6e-3 * (57 * 46.25 - 52 * 32.5 - 37 * 13.75) = 9.6e-3 * 437.5
    assert energy.activate_j == pytest.approx(4.2e-9)
    assert energy.refresh_j == pytest.approx(684.288e-9)  # 9.6e-3 * 198 * 360
    assert energy.refresh_bank_j == pytest.approx(684.288e-9 / 16)
    assert energy.open_w == pytest.approx(0.4992)
    assert energy.closed_w == pytest.approx(0.3552)
    assert energy.kind == "stated"


def test_the_width_decides_how_many_dies_a_rank_has() -> None:
    """x16: four dies, 4.8 mW per mA. 4.8e-3 * (302 - 56) * 2.5 = 2.952 nJ."""
    energy = load_device("DDR4-3200-x16").energy
    assert energy is not None
    assert energy.read_j == pytest.approx(2.952e-9)
    assert energy.closed_w == pytest.approx(0.1776)


def test_ddr5_with_one_bank_open() -> None:
    """IDD3N, all banks open, exceeds IDD0; the activation is 4 * 1.1 V * (103 - 92) mA * 111 * 0.416 ns = 2.235 nJ."""
    energy = load_device("DDR5-4800").energy
    assert energy is not None
    assert energy.activate_j == pytest.approx(4.4e-3 * 11 * 111 * 0.416 * 1e-9)
    assert energy.read_j == pytest.approx(4.4e-3 * (318 - 142) * 8 * 0.416 * 1e-9)
    assert energy.open_w == pytest.approx(0.6248)
    assert energy.kind == "synthetic"


@pytest.mark.parametrize(
    ("name", "volt", "idd", "tick_ns", "ras_rp_burst_rfc"),
    [
        # CMU-SAFARI/HBM-Power 318d3d1, config/HBM2_1200MTs and config/HBM3E_6400MTs, with their own timings:
        # IDD0, IDD2N, IDD3N one bank open, IDD3N all open, IDD4R, IDD4W, IDD5B in mA of a pseudo-channel
        ("HBM2-2000", 1.2, (28.544, 11.756, 12.394, 14.281, 202.769, 137.406, 66.331), 5 / 3, (20, 9, 2, 210)),
        ("HBM3-6400", 1.1, (106.1, 70.5, 71.2, 73.3, 560.7, 389.5, 164.7), 0.625, (45, 26, 2, 560)),
    ],
)
def test_hbm_energies_follow_from_the_measured_currents(
    name: str, volt: float, idd: tuple[float, ...], tick_ns: float, ras_rp_burst_rfc: tuple[int, ...]
) -> None:
    zero, closed, one_open, all_open, read, write, refresh = idd
    ras, rp, burst, rfc = ras_rp_burst_rfc
    # read energy per bit at random data over that at static data: 3.1798 + half of 1.04, 1.4875 and 1.41
    random_data = (3.1798 + 0.5 * (1.04 + 1.4875 + 1.41)) / 3.1798
    while_open = (zero * (ras + rp) - closed * rp) / ras
    energy = load_device(name).energy
    assert energy is not None
    pJ = volt * tick_ns * 1e-12
    assert energy.activate_j == pytest.approx(pJ * (while_open - one_open) * ras, rel=1e-3)
    # 32 bytes to a burst
    assert energy.read_j == pytest.approx(pJ * (read - one_open) * random_data * burst, rel=1e-3)
    assert energy.write_j == pytest.approx(pJ * (write - one_open) * random_data * burst, rel=1e-3)
    assert energy.refresh_j == pytest.approx(pJ * (refresh - all_open) * rfc, rel=1e-3)
    assert energy.closed_w == pytest.approx(volt * closed * 1e-3, rel=1e-3)
    assert energy.open_w == pytest.approx(volt * one_open * 1e-3, rel=1e-3)
    assert energy.kind == "derived"


def test_a_row_activation_of_hbm2_as_published() -> None:
    """O'Connor et al., MICRO 2017, table 3, model 0.909 nJ for 1 KiB; the measured currents give 4 % more."""
    energy = load_device("HBM2-2000").energy
    assert energy is not None
    assert energy.activate_j == pytest.approx(0.909e-9, rel=0.05)


def test_no_source_no_energy() -> None:
    without = {name for name in device_names() if load_device(name).energy is None}
    assert {"LPDDR5-6400", "LPDDR5X-8533", "GDDR6-14000", "DDR4-3200-16Gb-x8"} <= without
    assert not {name for name in without if name.startswith("HBM")}


def test_energies_nobody_measured_say_so() -> None:
    for name in ("HBM2E-3200", "HBM2E-3600", "HBM2E-3800", "HBM3E-8000", "HBM3E-9200", "HBM3E-9600", "DDR5-6400"):
        energy = load_device(name).energy
        assert energy is not None
        assert energy.kind == "synthetic"


def test_published_energies_per_bit() -> None:
    """DDR4's burst is 64 bytes: 512 bits at 2 pJ are 1.024 nJ."""
    given = CommandEnergies(
        activate_nJ=3, read_pJ_per_bit=2, write_pJ_per_bit=4, refresh_nJ=160, standby_mW=50, source=SOURCE
    )
    energy = device_energy(load_device("DDR4-3200"), given, 8).energy
    assert energy is not None
    assert energy.read_j == pytest.approx(1.024e-9)
    assert energy.write_j == pytest.approx(2.048e-9)
    assert energy.activate_j == pytest.approx(3e-9)
    assert energy.refresh_j == pytest.approx(160e-9)
    assert energy.refresh_bank_j == pytest.approx(10e-9)
    assert energy.open_w == energy.closed_w == pytest.approx(0.05)
    opened = given.model_copy(update={"open_mW": 70.0})
    energy = device_energy(load_device("DDR4-3200"), opened, 8).energy
    assert energy is not None
    assert energy.open_w == pytest.approx(0.07)
    assert energy.closed_w == pytest.approx(0.05)


def test_currents_that_leave_nothing_for_an_activation() -> None:
    given = Currents(**{**SHEET, "IDD0_mA": 40.0}, source=SOURCE)
    with pytest.raises(InputError, match="IDD0 is no more than standby takes"):
        device_energy(load_device("DDR4-3200"), given, 8)


def test_twice_the_dies_take_twice_the_energy() -> None:
    """Sixteen x4 dies against eight x8 of the same currents."""
    device = load_device("DDR4-3200")
    given = Currents(**SHEET, source=SOURCE)
    wide, narrow = (device_energy(device, given, width).energy for width in (4, 8))
    assert wide is not None
    assert narrow is not None
    for field in ("activate_j", "read_j", "write_j", "refresh_j", "open_w", "closed_w"):
        assert getattr(wide, field) == pytest.approx(2 * getattr(narrow, field))
