"""Sequences moved out whole, and oldest blocks that stay elsewhere, by hand."""

from __future__ import annotations

import pytest

from hw.spec.load import load_system
from simulator.serving.kv.away import AwayTier, away_tier, remote_tier
from simulator.serving.kv.memory import Grant
from simulator.serving.kv.sizes import KvPart, KvSizes, kv_sizes
from simulator.serving.kv.tiered import TieredMemory
from tests.simulator.serving.kv.twins import BYTE
from workloads.errors import InputError
from workloads.models import model

DDR = AwayTier("ddr", 30, 10.0, 5.0, 1.0, 2.0)
FLASH = AwayTier("flash", 40, 1.0, 0.5)


def test_a_parked_sequence_takes_its_bytes_over_the_link_both_ways() -> None:
    memory = TieredMemory(BYTE, 40, [DDR, FLASH], 10)
    assert memory.admit(1, 25, 30) == Grant(30)
    assert memory.park(1) == 2.0 + 30 / 5
    assert (memory.used_bytes, memory.held_bytes, memory.away.used_bytes) == (0, 0, 30)
    assert memory.admit(2, 20, 30) == Grant(20)
    assert memory.unpark(1) is None
    # DDR is full: the next goes to flash.
    assert memory.park(2) == 20 / 0.5
    assert memory.unpark(1) == Grant(30, 0, 1.0 + 30 / 10)
    memory.free(1)
    assert memory.unpark(2) == Grant(20, 0, 20.0)
    memory.free(2)
    assert memory.away.used_bytes == memory.used_bytes == 0


def test_no_tier_has_room_to_park_in() -> None:
    memory = TieredMemory(BYTE, 100, [AwayTier("ddr", 19, 1.0, 1.0)], 10)
    memory.admit(1, 20, 20)
    assert memory.park(1) is None
    assert memory.held_bytes == 20
    assert memory.extend(1, 20) == Grant(20)


def test_oldest_blocks_make_place_for_the_latest() -> None:
    memory = TieredMemory(BYTE, 40, [DDR, FLASH], 10, spill=True)
    memory.admit(1, 20, 100)
    memory.admit(2, 20, 20)
    assert memory.extend(1, 21) == Grant(30, 0, 2.0 + 10 / 5)
    assert memory.away_tokens(1) == (("ddr", 10),)
    assert memory.away_tokens(2) == ()
    assert memory.extend(1, 60) == Grant(60, 0, 2.0 + 20 / 5 + 10 / 0.5)
    assert memory.away_tokens(1) == (("ddr", 30), ("flash", 10))
    assert (memory.used_bytes, memory.held_bytes) == (40, 40)
    memory.free(2)
    # Two blocks are free again: what is away stays.
    assert memory.extend(1, 80) == Grant(80)
    assert memory.away_tokens(1) == (("ddr", 30), ("flash", 10))
    memory.free(1)
    assert memory.away.used_bytes == 0


def test_a_sequence_too_long_for_the_tier_begins_with_its_first_blocks_away() -> None:
    memory = TieredMemory(BYTE, 40, [DDR], 10, spill=True, hidden_s=3.0)
    assert memory.admit(1, 65, 70) == Grant(70, 0, 2.0 + 30 / 5 - 3.0)
    assert memory.away_tokens(1) == (("ddr", 30),)
    assert memory.used_bytes == 40


def test_the_longest_context_is_all_memory_by_bytes_of_a_token() -> None:
    # Infinite-LLM (arXiv 2401.02669): the sum of memories over the bytes of a token. Llama-2-7B, 10 GB and 30 GB.
    sizes = kv_sizes(model("Llama-2-7B"))
    longest = int((10e9 // (16 * 524_288) + 30e9 // (16 * 524_288)) * 16)
    memory = TieredMemory(sizes, 10e9, [AwayTier("remote", 30e9, 1e11, 1e11)], 16, spill=True)
    assert memory.admit(1, longest, longest) is not None
    assert longest == pytest.approx(40e9 / 524_288, rel=1e-3)


def test_spilling_needs_layers_that_keep_all() -> None:
    with pytest.raises(InputError, match=r"^spill: oldest blocks moved away where layers drop tokens; expected a mod"):
        TieredMemory(KvSizes((KvPart(1, 1.0, 1.0, keeps_tokens=4),)), 40, [DDR], spill=True)


def test_tiers_of_a_machine_by_the_slowest_of_their_route() -> None:
    system = load_system("h100-sxm")
    tier = away_tier(system, "ddr", "hbm")
    link = next(link for link in system.links.values() if set(link.between) == {"hbm", "ddr"})
    assert tier.capacity_bytes == system.tiers["ddr"].capacity_bytes
    slowest = min(link.bandwidth_bytes_per_s, system.tiers["ddr"].read_bandwidth_bytes_per_s)
    assert tier.in_bytes_per_s == slowest
    assert tier.in_s(slowest) == pytest.approx(1 + tier.in_latency_s)
    with pytest.raises(InputError, match=r"^kv: tier 'hbm' is the one that computes; expected another tier$"):
        away_tier(system, "hbm", "hbm")
    assert system.fabric is not None
    assert remote_tier(system, 5e9).in_bytes_per_s == system.fabric.bandwidth_bytes_per_s
