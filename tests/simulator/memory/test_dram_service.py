"""What DRAM serves of a kind of traffic: closed forms of the devices' timings, and invariants of asking."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.spec.load import load_system, override, system_names
from simulator.memory.dram.controller import Controller
from simulator.memory.dram.device import Device
from simulator.memory.dram.devices import load_device
from simulator.memory.dram.mapping import address_mapping
from simulator.memory.dram_service import MAPPING, QUEUE, DramService, _Turns
from simulator.memory.tier_services import tier_services
from simulator.memory.traffic import SEQUENTIAL_BYTES, Demand
from workloads.errors import InputError

DEVICES = ("DDR4-3200", "DDR5-4800", "LPDDR5-6400", "GDDR6-14000", "HBM2-2400", "HBM2E-3200", "HBM3-5200")


def service(name: str, channels: int = 16) -> DramService:
    device = load_device(name)
    controller = Controller(read_queue=QUEUE, write_queue=QUEUE, tries_per_tick=2)
    return DramService(device, channels, address_mapping(MAPPING, device), controller)


def outside_refresh(device: Device) -> float:
    """The share of the time that all-bank refresh leaves."""
    return 1 - device.timing["nRFC"] / device.timing["nREFI"]


@pytest.mark.parametrize("name", DEVICES)
def test_single_bursts_at_random_are_bound_by_activations(name: str) -> None:
    # Every burst opens a row: four per nFAW and one per nRRDS and rank. On HBM2's shared row bus each burst costs two
    # ticks of activation and one of precharge; its two pseudo-channels could move one burst per tick together.
    asked = service(name)
    device, ticks = asked.device, asked.device.timing
    bound = min(4 / ticks["nFAW"], 1 / ticks["nRRDS"]) * device.burst_ticks
    if device.standard == "HBM2":
        bound = min(bound, 1 / 3)
    bound *= outside_refresh(device)
    served = asked.fraction(Demand(device.burst_bytes, 64))
    assert 0.93 * bound < served <= bound * 1.003


@pytest.mark.parametrize("name", DEVICES)
def test_one_sequential_stream_loses_little_but_refresh(name: str) -> None:
    asked = service(name)
    served = asked.fraction(Demand(SEQUENTIAL_BYTES))
    assert 0.96 * outside_refresh(asked.device) < served <= outside_refresh(asked.device) * 1.003


@pytest.mark.parametrize("streams", [1, 64])
@pytest.mark.parametrize("name", DEVICES)
def test_longer_pieces_are_never_much_slower(name: str, streams: int) -> None:
    # Not monotone to the last percent: a piece of a few KiB lies in few banks, one of a block does not care.
    asked = service(name)
    granules = [asked.device.burst_bytes << power for power in range(0, 12, 2)] + [SEQUENTIAL_BYTES]
    served = [asked.fraction(Demand(granule, streams)) for granule in granules]
    for at, fraction in enumerate(served):
        assert fraction > 0.93 * max(served[: at + 1])
    assert served[-1] > 1.3 * served[0]


@pytest.mark.parametrize("name", DEVICES)
def test_writes_among_reads_cost_turnarounds(name: str) -> None:
    asked = service(name)
    reads, mixed, writes = (asked.fraction(Demand(SEQUENTIAL_BYTES, 4, share)) for share in (0.0, 0.5, 1.0))
    assert mixed < 0.98 * min(reads, writes)
    assert mixed > 0.6 * reads


@pytest.mark.parametrize("name", ["DDR5-4800", "HBM3-5200"])
def test_gpus_and_servers_stream_at_the_rates_that_are_measured(name: str) -> None:
    # Measured streaming reads keep 85 to 95 % of nominal; however many streams there are.
    asked = service(name)
    for power in range(7):
        assert 0.85 < asked.fraction(Demand(SEQUENTIAL_BYTES, 1 << power)) < 0.95


demands = st.builds(
    Demand,
    st.floats(1, 1e9),
    st.integers(1, 10**6),
    st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 1.0]),
)
shared = {name: service(name, 24) for name in ("DDR5-4800", "HBM2-2400")}


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(shared)), demands)
def test_every_fraction_is_a_fraction_and_asking_again_costs_nothing(name: str, demand: Demand) -> None:
    asked = shared[name]
    served = asked.fraction(demand)
    assert 0 < served <= 1
    runs = asked.runs
    assert asked.fraction(demand) == served
    assert asked.fraction(demand.quantised(asked.device.burst_bytes)) == served
    assert asked.runs == runs


def test_traffic_is_told_apart_in_steps() -> None:
    # 64-byte bursts: granules down to powers of two, streams up to them, writes to eighths.
    assert Demand(1, 1).quantised(64) == Demand(64, 1)
    assert Demand(40_000, 5, 0.3).quantised(64) == Demand(32_768, 8, 0.25)
    assert Demand(1e12, 1000, 0.95).quantised(64) == Demand(SEQUENTIAL_BYTES, 64, 1.0)
    assert Demand(SEQUENTIAL_BYTES - 1, 64, 0.06).quantised(64) == Demand(SEQUENTIAL_BYTES // 2, 64, 0.0)


def test_what_looks_alike_to_a_channel_is_simulated_once() -> None:
    asked = service("DDR5-4800", 16)
    # 4 KiB over 16 channels of 256-byte blocks: one block each, as of 2 KiB and 1 KiB, which reach half and a quarter.
    for demand in (Demand(4096, 8), Demand(2048, 16), Demand(1024, 32), Demand(5000, 7)):
        asked.fraction(demand)
    assert asked.runs == 1
    asked.fraction(Demand(8192, 8))
    assert asked.runs == 2


def test_the_answer_depends_on_nothing_that_was_asked_before() -> None:
    forward, backward = service("HBM2-2400"), service("HBM2-2400")
    asked = [Demand(256, 16), Demand(SEQUENTIAL_BYTES, 4, 0.5), Demand(32, 64)]
    first = [forward.fraction(demand) for demand in asked]
    assert first == [backward.fraction(demand) for demand in reversed(asked)][::-1]


def test_streams_take_turns_and_writers_are_streams_of_their_own() -> None:
    # Turns of 4 bursts, pieces of 2 turns, 4 streams of which 2 of 8 turns' worth (one stream) writes.
    stream = _Turns(32, 1 << 20, 128, 2, 4, 2)
    at, writes = stream.addresses(0, 64 * 4)
    turns = at.reshape(-1, 4)
    assert (np.diff(turns, axis=1) == 32).all()
    assert (turns[:, 0] % 128 == 0).all()
    assert writes.reshape(-1, 4).all(axis=1).sum() == 16
    # Writers write a quarter of the turns; each piece's second turn follows where its first ended.
    written = turns[writes[::4], 0]
    assert (written[1::2] == (written[::2] + 128) % (1 << 20)).all()
    read = turns[~writes[::4], 0]
    assert (read.reshape(-1, 2, 3)[:, 1] == (read.reshape(-1, 2, 3)[:, 0] + 128) % (1 << 20)).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 500), st.integers(1, 9), st.integers(0, 8), st.integers(1, 40))
def test_any_stretch_of_the_streams_is_a_stretch_of_the_whole(
    start: int, count: int, streams: int, share: int, turns: int
) -> None:
    stream = _Turns(64, 1 << 24, 256, turns, streams, share)
    at, writes = stream.addresses(0, start + count)
    part, part_writes = stream.addresses(start, count)
    assert (at[start:] == part).all()
    assert (writes[start:] == part_writes).all()
    assert ((at >= 0) & (at < 1 << 24)).all()
    assert writes.sum() >= (start + count) * share // 8 - 4


@pytest.mark.parametrize("name", system_names())
def test_every_device_a_preset_names_has_the_presets_bandwidth(name: str) -> None:
    system = load_system(name)
    for tier, found in tier_services(system).items():
        stated = system.tiers[tier].read_bandwidth_bytes_per_s
        if not isinstance(found, DramService):
            continue
        assert found.device.peak_bytes_per_s * found.channels == pytest.approx(stated, rel=0.15)


@pytest.mark.parametrize(
    ("name", "tier", "pins", "rate_gbit"),
    [
        # Pins of the memory as published, and Gbit/s of each: 5 stacks of 1024 on A100 and H100, 6 on H200, and so on.
        ("a100-40gb-sxm", "hbm", 5120, 2.4),
        ("a100-80gb-sxm", "hbm", 5120, 3.2),
        ("h100-sxm", "hbm", 5120, 5.2),
        ("h200-sxm", "hbm", 6144, 6.4),
        ("hbm-pim", "hbm", 4096, 2.4),
        ("tpu-v4i", "hbm", 2048, 2.4),
        ("xeon-ddr5", "ddr", 512, 4.8),
        ("laptop-m1-max", "lpddr", 512, 6.4),
        ("a40", "gddr", 384, 14.0),
    ],
)
def test_memories_are_as_wide_as_published(name: str, tier: str, pins: int, rate_gbit: float) -> None:
    found = tier_services(load_system(name))[tier]
    assert isinstance(found, DramService)
    assert found.device.channel_width_bits * found.device.data_buses * found.channels == pins
    assert found.device.data_rate_MTps == pytest.approx(1e3 * rate_gbit)


@pytest.mark.parametrize(
    ("setting", "field", "words"),
    [
        ("tiers.hbm.device=NOPE", "tiers.hbm.device", "unknown device 'NOPE'"),
        ("tiers.hbm.device=HBM3-520", "tiers.hbm.device", "did you mean 'HBM3-5200'?"),
        ("tiers.hbm.device=no/such.yaml", None, "no/such.yaml"),
        ("tiers.hbm.channels=40", "tiers.hbm.channels", "40 channels of HBM3-5200 give 1,664.0 GB/s"),
        ("tiers.hbm.bandwidth=1 TB/s", "tiers.hbm.channels", "read_bandwidth says 1,000.0 GB/s"),
        ("tiers.hbm.mapping=bad", "tiers.hbm.mapping", "unknown mapping 'bad'"),
        ("tiers.hbm.read_queue=5000", "tiers.hbm.read_queue", "from 1 to 1,024"),
    ],
)
def test_what_no_device_can_be_is_refused(setting: str, field: str | None, words: str) -> None:
    with pytest.raises(InputError) as caught:
        tier_services(override(load_system("h100-sxm"), [setting]))
    assert words in str(caught.value)
    if field is not None:
        assert caught.value.field == field
