"""The bundled standards: reference presets value by value, and numbers worked out by hand from them."""

from __future__ import annotations

from typing import Any

import pytest

from simulator.memory.dram.device import Device
from simulator.memory.dram.devices import device_names, load_device
from simulator.memory.dram.tables import compile_tables
from tests.reference_data import reference_file
from workloads.documents import read_document

PRESETS = {
    "DDR4_3200AA": "DDR4-3200",
    "DDR5_4800AN": "DDR5-4800",
    "DDR5_5600AN": "DDR5-5600",
    "HBM2_2000": "HBM2-2000",
    "HBM3_6400": "HBM3-6400",
    "LPDDR5_6400": "LPDDR5-6400",
}
GiB = 2**30


def least(device: Device, before: str, after: str, scope: str, *, window: int = 1, sibling: bool = False) -> int:
    """The ticks that the rules of just this scope ask for between the two commands."""
    wanted = (before, after, scope, window, sibling)
    found = [c.ticks for c in device.constraints if (c.before, c.after, c.scope, c.window, c.sibling) == wanted]
    assert found, wanted
    return max(found)


@pytest.mark.parametrize(("preset", "name"), PRESETS.items())
def test_reference_presets(preset: str, name: str) -> None:
    known: dict[str, Any] = read_document(reference_file("dram_presets.yaml")).value["presets"][preset]
    device = load_device(name)
    assert device.timing == known["timing"]
    assert device.command_ticks == known["command_ticks"]
    assert device.tick_s == pytest.approx(known["tick_ns"] * 1e-9)
    assert device.data_rate_MTps == known["data_rate_MTps"]
    assert device.channel_width_bits == known["channel_width_bits"]
    assert device.read_latency_ticks == known["read_latency_ticks"]
    assert device.rows == known["levels"]["row"]
    assert {level.name: level.count for level in device.levels} == {
        level: count for level, count in known["levels"].items() if level not in ("channel", "row", "column")
    }
    assert (device.bursts_per_row, device.burst_bytes) == (known["bursts_per_row"], known["burst_bytes"])
    assert (device.row_bytes, device.banks) == (known["row_bytes"], known["banks_per_channel"])
    assert device.peak_bytes_per_s == pytest.approx(known["peak_GBps"] * 1e9)


@pytest.mark.parametrize(
    ("name", "peak_GBps", "capacity_bytes", "row_bytes", "banks"),
    [
        # 64 bits at 3200 MT/s: 8 B * 3.2 = 25.6; eight dies of 8 Gb: 8 GiB; a page of 1 KiB in each of eight
        ("DDR4-2400", 19.2, 8 * GiB, 8192, 16),
        ("DDR4-2666", 21.328, 8 * GiB, 8192, 16),
        ("DDR4-2933", 23.464, 8 * GiB, 8192, 16),
        ("DDR4-3200", 25.6, 8 * GiB, 8192, 16),
        # eight dies of 1 Gb
        ("DDR3-1600", 12.8, GiB, 8192, 8),
        # sixteen dies of x4 with pages of 512 B, four of x16 with 2 KiB and half the bank groups
        ("DDR4-3200-x4", 25.6, 16 * GiB, 8192, 16),
        ("DDR4-3200-x16", 25.6, 4 * GiB, 8192, 8),
        ("DDR4-3200-16Gb-x4", 25.6, 32 * GiB, 8192, 16),
        ("DDR4-3200-16Gb-x8", 25.6, 16 * GiB, 8192, 16),
        ("DDR4-3200-16Gb-x16", 25.6, 8 * GiB, 8192, 8),
        # a sub-channel of 32 bits: four dies of 16 Gb
        ("DDR5-3200", 12.8, 8 * GiB, 4096, 32),
        ("DDR5-4800", 19.2, 8 * GiB, 4096, 32),
        ("DDR5-6400", 25.6, 8 * GiB, 4096, 32),
        # half a device: 16 bits at 14 Gb/s, 4 Gb or 8 Gb
        ("GDDR6-14000", 28.0, GiB // 2, 2048, 16),
        ("GDDR6-14000-16Gb", 28.0, GiB, 2048, 16),
        # two pseudo-channels of 64 bits and 8 Gb
        ("HBM2-2000", 32.0, 2 * GiB, 1024, 32),
        ("HBM2-2400", 38.4, 2 * GiB, 1024, 32),
        ("HBM2E-3600", 57.6, 2 * GiB, 1024, 32),
        # two of 32 bits; 16 channels of a stack with eight dies of 16 Gb: 1 GiB each
        ("HBM3-5200", 41.6, GiB, 1024, 64),
        ("HBM3-6400", 51.2, GiB, 1024, 64),
        ("HBM3E-9600", 76.8, GiB, 1024, 64),
        ("LPDDR5-6400", 12.8, GiB, 2048, 16),
        ("LPDDR5X-8533", 17.066, 2 * GiB, 2048, 16),
    ],
)
def test_sizes_and_rates(name: str, peak_GBps: float, capacity_bytes: int, row_bytes: int, banks: int) -> None:
    device = load_device(name)
    assert device.peak_bytes_per_s == pytest.approx(peak_GBps * 1e9)
    assert (device.capacity_bytes, device.row_bytes, device.banks) == (capacity_bytes, row_bytes, banks)


def test_h100_bandwidth() -> None:
    """An H100 has five stacks of 16 channels and 3.35 TB/s (its data sheet): 5 * 16 * 41.6 GB/s = 3.33 TB/s."""
    assert 80 * load_device("HBM3-5200").peak_bytes_per_s == pytest.approx(3.35e12, rel=0.01)


@pytest.mark.parametrize(
    ("name", "refresh_ns", "interval_ns"),
    [
        ("DDR3-1600", 110, 7800),
        ("DDR4-2400", 360, 7800),
        ("DDR4-2666", 360, 7800),
        ("DDR4-2933", 360, 7800),
        ("DDR4-3200-x16", 360, 7800),
        ("DDR4-3200-16Gb-x8", 550, 7800),
        ("DDR5-3200", 295, 3900),
        ("DDR5-6400", 295, 3900),
        ("HBM2-2400", 350, 3900),
        ("HBM2E-3200", 350, 3900),
        ("HBM2E-3600", 350, 3900),
        ("HBM2E-3800", 350, 3900),
        ("HBM3-5200", 350, 3900),
        ("HBM3-5200-AttAcc", 350, 3900),
        ("HBM3E-8000", 350, 3900),
        ("HBM3E-9200", 350, 3900),
        ("HBM3E-9600", 350, 3900),
        ("LPDDR5-6400-16Gb", 280, 3906),
        ("LPDDR5X-8533", 280, 3906),
        ("GDDR6-14000", 180, 32e6 / 16384),
    ],
)
def test_refresh_times(name: str, refresh_ns: float, interval_ns: float) -> None:
    """Times are fixed in nanoseconds whatever the clock; GDDR6: 16k refreshes in 32 ms, at a rounder 1.9 us."""
    device = load_device(name)
    tick_ns = device.tick_s * 1e9
    assert device.timing["nRFC"] * tick_ns == pytest.approx(refresh_ns, abs=2.01 * tick_ns)
    slack_ns = 50 if device.standard == "GDDR6" else 2.01 * tick_ns
    assert device.timing["nREFI"] * tick_ns == pytest.approx(interval_ns, abs=slack_ns)


def test_clocked_values_scale_with_the_clock() -> None:
    """A derived bin has its base's nanoseconds in the fewest whole clocks (HBM3: of two ticks)."""
    for base, derived, ratio, clock, names in (
        (
            "HBM2-2000",
            "HBM2E-3200",
            1.6,
            1,
            "nCL nRCDRD nRCDWR nRP nRAS nWR nRTPL nCWL nWTRS nWTRL nRRDS nFAW nRFC nRFCpb",
        ),
        (
            "HBM2-2000",
            "HBM2E-3600",
            1.8,
            1,
            "nCL nRCDRD nRCDWR nRP nRAS nWR nRTPL nCWL nWTRS nWTRL nRRDS nFAW nRFC nRFCpb",
        ),
        (
            "HBM3-6400",
            "HBM3-5200",
            0.8125,
            2,
            "nCL nRCDRD nRCDWR nRP nRAS nRC nWR nRTP nCWL nWTRS nWTRL nRTW nFAW nRFC",
        ),
    ):
        known, made = load_device(base).timing, load_device(derived).timing
        for name in names.split():
            exact = known[name] * ratio
            assert exact - 1e-9 <= made[name] < exact + clock, (derived, name)


def test_ddr4_rules_by_hand() -> None:
    device = load_device("DDR4-3200")
    assert least(device, "WR", "RD", "rank") == 16 + 4 + 4
    assert least(device, "WR", "RD", "bankgroup") == 16 + 4 + 12
    assert least(device, "RD", "WR", "rank") == 22 + 4 + 2 - 16
    assert least(device, "WR", "PREpb", "bank") == 16 + 4 + 24
    assert least(device, "WRA", "ACT", "bank") == 16 + 4 + 24 + 22
    assert least(device, "RD", "RD", "rank", sibling=True) == 4 + 2
    assert least(device, "RD", "WR", "rank", sibling=True) == 22 + 4 + 2 - 16
    assert least(device, "REFab", "REFab", "rank") == 576
    assert least(device, "ACT", "ACT", "rank", window=4) == 34


def test_ddr5_rules_by_hand() -> None:
    """ACT, RD and WR take two clocks, PRE and REF one: a rule from a long command to a short one gains one."""
    device = load_device("DDR5-4800")
    assert least(device, "ACT", "RD", "bank") == 34
    assert least(device, "ACT", "PREpb", "bank") == 77 + 1
    assert least(device, "PREpb", "ACT", "bank") == 34 - 1
    assert least(device, "RD", "PREpb", "bank") == 18 + 1
    assert least(device, "WR", "PREpb", "bank") == 32 + 8 + 72 + 1
    assert least(device, "ACT", "REFab", "rank") == 111 + 1
    assert least(device, "REFab", "ACT", "rank") == 710 - 1
    assert least(device, "PREpb", "PREpb", "rank") == 2
    assert least(device, "RD", "WR", "rank") == 34 + 8 + 2 - 32 + 2
    assert least(device, "WR", "WR", "bankgroup") == 48
    assert least(device, "ACT", "PREpb", "channel") == 2
    assert not [c for c in device.constraints if c.before == "PREpb" and c.scope == "channel"]


def test_hbm2_rules_by_hand() -> None:
    device = load_device("HBM2-2000")
    assert least(device, "ACT", "RD", "bank") == 14 + 1
    assert least(device, "ACT", "WR", "bank") == 12 + 1
    assert least(device, "PREpb", "ACT", "bank") == 14 - 1
    assert least(device, "RDA", "ACT", "bank") == 5 + 14 - 1
    assert least(device, "REFab", "ACT", "pseudochannel") == 350 - 1
    assert least(device, "REFpb", "ACT", "bank") == 160 - 1
    assert least(device, "REFpb", "ACT", "pseudochannel") == 8 - 1
    assert least(device, "ACT", "REFpb", "pseudochannel") == 4 + 1
    # the row bus is busy for two clocks after an activation; the column bus does not notice
    assert least(device, "ACT", "PREpb", "channel") == 2
    assert not [c for c in device.constraints if (c.before, c.after, c.scope) == ("ACT", "RD", "channel")]


def test_hbm3_rules_by_hand() -> None:
    """Half clocks: an activation takes three, a column command two, the others one."""
    device = load_device("HBM3-6400")
    assert least(device, "ACT", "RD", "bank") == 62 + 2 - 1
    assert least(device, "ACT", "WR", "bank") == 30 + 2 - 1
    assert least(device, "ACT", "PREpb", "bank") == 90 + 2
    assert least(device, "PREpb", "ACT", "bank") == 52 - 2
    assert least(device, "RD", "PREpb", "bank") == 18 + 1
    assert least(device, "WR", "PREpb", "bank") == 20 + 4 + 66 + 1
    assert least(device, "RDA", "ACT", "bank") == 18 + 52 + 1 - 2
    assert least(device, "RD", "RD", "sid") == 4
    assert least(device, "RD", "RD", "sid", sibling=True) == 6
    assert least(device, "RD", "RD", "bankgroup") == 8
    assert least(device, "REFpb", "REFpb", "pseudochannel") == 16
    assert least(device, "REFpb", "ACT", "bank") == 640 - 2
    assert (least(device, "ACT", "REFpb", "channel"), least(device, "RD", "WR", "channel")) == (3, 2)
    assert device.half_clock


def test_lpddr5_rules_by_hand() -> None:
    device = load_device("LPDDR5-6400")
    assert least(device, "WR", "RD", "rank") == 9 + 2 + 5
    assert least(device, "WR", "RD", "bankgroup") == 9 + 4 + 10
    assert least(device, "PREab", "ACT1", "rank") == 17
    assert least(device, "REFpb", "REFpb", "rank") == 72
    assert least(device, "REFpb", "ACT1", "rank") == 6
    assert least(device, "REFpb", "ACT1", "bank") == 96
    assert device.second_activate_within == 8
    assert device.clock_sync_ticks == (17 + 2 + 1, 9 + 2 + 1)
    assert (device.burst_ticks, device.read_latency_ticks, device.write_latency_ticks) == (2, 19, 11)


@pytest.mark.parametrize("name", device_names())
def test_every_device_is_whole(name: str) -> None:
    """Each resolves, its rules are ones the controller can keep, and says where its numbers are from."""
    device = load_device(name)
    compile_tables(device)
    assert {"constraints", "timing", "speed_bin.timing", "refresh"} <= device.sources.keys()
    assert all(
        source.split(":")[0] in ("stated", "derived", "fitted", "synthetic") for source in device.sources.values()
    )
    # a row must be open for its column command and its precharge before it can be opened again
    clock = 2 if device.half_clock else 1  # each is rounded up by itself, so the sum may be a clock more
    assert device.timing["nRC"] >= device.timing["nRAS"] + device.timing["nRP"] - clock
    if device.standard == "DDR3":  # no bank groups
        assert device.timing["nFAW"] >= device.timing["nRRD"]
        assert device.timing["nCCD"] >= device.burst_ticks
    else:
        assert device.timing["nFAW"] >= device.timing["nRRDS"]
        assert device.timing.get("nCCDL", 0) >= device.timing["nCCDS"] >= device.burst_ticks


def test_timings_nobody_published_are_marked() -> None:
    for name in ("HBM2E-3200", "HBM2E-3600", "HBM3E-8000", "HBM3E-9200", "HBM3E-9600", "LPDDR5X-8533"):
        assert load_device(name).sources["speed_bin.timing"].startswith("synthetic: "), name
    for name in PRESETS.values():
        assert load_device(name).sources["speed_bin.timing"].startswith("stated: "), name


@pytest.mark.parametrize("name", [name for name in device_names() if load_device(name).has_bank_refresh])
def test_a_refreshing_bank_takes_no_command(name: str) -> None:
    """After REFpb its bank, and after REFab any bank, takes neither activation, precharge nor refresh for the time."""
    device = load_device(name)
    whole = device.levels[0].name if device.levels[0].name != "bankgroup" else "channel"
    activate = "ACT1" if "ACT1" in device.commands else "ACT"
    longer = device.command_ticks[activate] - 1
    bank_ticks, all_ticks = device.timing["nRFCpb"], device.timing["nRFC"]
    assert least(device, "REFpb", activate, "bank") == bank_ticks - longer
    assert least(device, "REFpb", "REFpb", "bank") == least(device, "REFpb", "PREpb", "bank") == bank_ticks
    assert least(device, "REFpb", "REFab", whole) == least(device, "REFpb", "PREab", whole) == bank_ticks
    assert least(device, "REFab", activate, whole) == all_ticks - longer
    for after in ("REFab", "REFpb", "PREab"):
        assert least(device, "REFab", after, whole) == all_ticks
    assert least(device, "PREpb", "REFpb", "bank") == device.timing["nRP"]
    assert least(device, activate, "REFpb", "bank") == device.timing["nRC"] + longer
