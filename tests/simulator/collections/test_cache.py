"""Caches of collections: replacement against slow twins, and the bytes an expert cache moves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw.spec.load import load_system
from simulator.collections import CachedCollection, lru_misses, run_cache
from simulator.policy import Policy
from simulator.road import simulate
from workloads.errors import InputError
from workloads.models.catalogue import model
from workloads.phases import Decode, Prefill
from workloads.traces import synthetic_routing

single_accesses = st.lists(st.integers(0, 9), max_size=80)


def slow_lru(accesses: list[int], slots: int) -> int:
    """Misses by the definition: a hit is a piece among the last ``slots`` different ones."""
    misses = 0
    for at, piece in enumerate(accesses):
        recent: list[int] = []
        for earlier in reversed(accesses[:at]):
            if earlier not in recent:
                recent.append(earlier)
        misses += piece not in recent[:slots]
    return misses


def belady(accesses: list[int], slots: int) -> int:
    """Misses of the best possible replacement (Belady, IBM Systems Journal 5(2), 1966)."""
    cache: set[int] = set()
    misses = 0
    for at, piece in enumerate(accesses):
        if piece in cache:
            continue
        misses += 1
        if len(cache) == slots:
            rest = accesses[at + 1 :]
            cache.remove(max(cache, key=lambda held: rest.index(held) if held in rest else len(rest)))
        cache.add(piece)
    return misses


@given(single_accesses, st.integers(1, 6))
def test_lru_is_what_its_name_says(accesses: list[int], slots: int) -> None:
    missed = lru_misses([[piece] for piece in accesses], slots)
    assert sum(map(len, missed)) == slow_lru(accesses, slots)


@given(single_accesses, st.integers(1, 6))
def test_lru_never_beats_belady_and_improves_with_room(accesses: list[int], slots: int) -> None:
    steps = [[piece] for piece in accesses]
    misses, with_more = (sum(map(len, lru_misses(steps, room))) for room in (slots, slots + 1))
    assert belady(accesses, slots) <= misses
    assert with_more <= misses


def test_pieces_of_one_step_do_not_evict_each_other() -> None:
    # 0 and 1 are cached, 0 the older; the step wants 2 and 0: 1 must go, not 0.
    assert lru_misses([[0, 1], [2, 0], [0]], 2) == [[0, 1], [2], []]


def test_a_uniform_stream_hits_as_often_as_slots_allow() -> None:
    stream = synthetic_routing(steps=6000, layers=1, batch=1, experts=16, top_k=1, seed=0)
    outcome = run_cache(CachedCollection(stream, "ddr", slots=4, warmup=100))
    # Independent uniform picks: 4 of 16 are cached; standard deviation sqrt(0.1875 / 5900) = 0.0056.
    assert outcome.hit_rate == pytest.approx(0.25, abs=5 * 0.0056)


def mixtral(slots: int, steps: int = 6, warmup: int = 20) -> CachedCollection:
    stream = synthetic_routing(steps=steps + warmup, layers=32, batch=1, experts=8, top_k=2, repeat=0.3, seed=5)
    return CachedCollection(stream, "ddr", slots, warmup)


def test_an_expert_cache_moves_the_missed_experts_and_nothing_else() -> None:
    system = load_system("a40")
    cached = mixtral(slots=2)
    result = simulate(model("Mixtral-8x7B"), Decode(1, 512), system, policy=Policy(collections=(cached,)))
    outcome = run_cache(cached)
    expert_bytes = 3 * 4096 * 14336 * 2
    streamed = result.moved_bytes["host-pcie:ddr>gddr"]
    # Beside the experts only the embedding row may come from outside the home tier.
    assert streamed == pytest.approx(outcome.missed.sum() / 6 * expert_bytes, rel=1e-5)
    assert result.steps == 6
    assert result.peak_bytes["gddr"] >= 32 * 2 * expert_bytes
    assert result.latency_s >= streamed / system.links["host-pcie"].bandwidth_bytes_per_s


def test_a_cache_of_all_experts_moves_none_once_warm() -> None:
    system = load_system("a100-80gb-sxm")
    big = system.model_copy(
        update={"tiers": {**system.tiers, "hbm": system.tiers["hbm"].model_copy(update={"capacity_bytes": 2e11})}}
    )
    cached = mixtral(slots=8, warmup=60)
    assert run_cache(cached).missed.sum() == 0
    result = simulate(model("Mixtral-8x7B"), Decode(1, 512), big, policy=Policy(collections=(cached,)))
    assert result.moved_bytes["host-pcie:ddr>hbm"] < 1e6


def test_more_slots_are_never_slower() -> None:
    system = load_system("rtx-4090")
    small = model("Qwen1.5-MoE-A2.7B")
    layers = len(small.order)
    stream = synthetic_routing(steps=30, layers=layers, batch=1, experts=60, top_k=4, skew=0.8, repeat=0.4, seed=2)
    latencies = [
        simulate(
            small, Decode(1, 256), system, policy=Policy(collections=(CachedCollection(stream, "ddr", slots, 26),))
        ).latency_s
        for slots in (4, 8, 16, 32)
    ]
    assert latencies == sorted(latencies, reverse=True)


def test_a_stream_of_another_model_is_refused() -> None:
    stream = synthetic_routing(steps=2, layers=5, batch=1, experts=8, top_k=2)
    policy = Policy(collections=(CachedCollection(stream, "ddr", 2),))
    with pytest.raises(InputError, match=r"a routing stream of 5 layers for 32 mixture-of-experts layers"):
        simulate(model("Mixtral-8x7B"), Decode(1, 64), load_system("rtx-4090"), policy=policy)
    with pytest.raises(InputError, match=r"Llama-3\.1-8B has no tensor 'experts_weight' to cache"):
        simulate(model("Llama-3.1-8B"), Decode(1, 64), load_system("rtx-4090"), policy=policy)
    with pytest.raises(InputError, match="caches work on decode steps"):
        simulate(model("Mixtral-8x7B"), Prefill(1, 64), load_system("rtx-4090"), policy=policy)
