"""Steps run layer by layer against the engine's executor, which is given every layer on its own."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.spec.load import load_system
from simulator.collections import CachedCollection, Fetch
from simulator.collections.elsewhere import ELSEWHERE
from simulator.collections.sequence import execute_sequence
from simulator.engine import Buffer, Demand, Dependency, Resource, Segment, Task, TaskGraph, execute, peak_bytes
from simulator.policy import Policy
from simulator.result import Result
from simulator.road import simulate
from workloads.models.catalogue import model
from workloads.phases import Decode
from workloads.traces import synthetic_routing

RESOURCES = (Resource("gpu", "engine"), Resource("hbm", "tier"), Resource("link", "link"))


@st.composite
def layers(draw: st.DrawFn) -> tuple[Segment, ...]:
    """A few layers of tasks with names in common, that wait for each other within and across layers."""
    found = []
    for number in range(draw(st.integers(1, 3))):
        tasks: list[Task] = []
        for at in range(draw(st.integers(1, 4))):
            after: list[str | Dependency] = [task.name for task in tasks if draw(st.booleans())]
            if draw(st.booleans()):
                after.append(Dependency("t0", draw(st.integers(1, 3))))
            wanted = draw(st.lists(st.sampled_from(["hbm", "link"]), unique=True, max_size=2))
            demands = tuple(Demand(name, draw(st.integers(0, 5)) * 0.5, 1.0) for name in wanted)
            held = ("gpu",) if draw(st.booleans()) else ()
            tasks.append(Task(f"t{at}", "compute", demands, held, draw(st.integers(0, 2)) * 0.25, tuple(after)))
        buffers = (Buffer("room", "hbm", 10, "t0", (tasks[-1].name,)),)
        found.append(Segment(f"layer {number}", tuple(tasks), 1, entry=(), exit=(), buffers=buffers))
    return tuple(found)


@given(layers(), st.lists(st.integers(0, 2), min_size=1, max_size=8))
@settings(max_examples=80)
def test_times_are_those_of_the_engine(found: tuple[Segment, ...], choice: list[int]) -> None:
    order = [number % len(found) for number in choice]
    used = sorted(set(order))
    graph = TaskGraph(RESOURCES, tuple(replace(found[number], repeat=order.count(number)) for number in used))
    ours = execute_sequence(graph, [used.index(number) for number in order])
    plain = TaskGraph(
        RESOURCES, tuple(replace(found[number], name=f"{at} of {number}") for at, number in enumerate(order))
    )
    theirs = execute(plain, unroll=True)
    assert ours.latency_s == theirs.latency_s
    for mine, other in zip(ours.runs, theirs.runs, strict=True):
        assert (mine.name, mine.start_s, mine.finish_s, mine.served) == (
            other.name,
            other.start_s,
            other.finish_s,
            other.served,
        )
        assert (mine.waited_for, mine.waited_on, mine.stall_s) == (other.waited_for, other.waited_on, other.stall_s)
    for name, use in ours.uses.items():
        assert (use.busy_s, use.held_s, use.amount) == pytest.approx(
            (theirs.uses[name].busy_s, theirs.uses[name].held_s, theirs.uses[name].amount)
        )
    assert peak_bytes(ours) == peak_bytes(theirs)


def run(
    fetch: Fetch | None = None, *, slots: int = 3, batch: int = 1, steps: int = 4, system: str = "a40", **rest: object
) -> Result:
    stream = synthetic_routing(steps=steps + 8, layers=32, batch=batch, experts=8, top_k=2, repeat=0.3, seed=5)
    cached = CachedCollection(stream, "ddr", slots, 8, fetch=fetch or Fetch(), **rest)  # type: ignore[arg-type]
    return simulate(
        model("Mixtral-8x7B"), Decode(batch, 512), load_system(system), policy=Policy(collections=(cached,))
    )


LINK = "host-pcie:ddr>gddr"
EXPERT_BYTES = 3 * 4096 * 14336 * 2


def test_knowing_earlier_is_never_slower_and_moves_the_same() -> None:
    on_demand = run()
    known = [run(Fetch("pre-gated", ahead)) for ahead in (1, 2)]
    decoupled = run(Fetch("decoupled", 2))
    assert known[0].latency_s < on_demand.latency_s
    assert known[1].latency_s <= known[0].latency_s
    assert decoupled.latency_s <= known[1].latency_s
    for other in (*known, decoupled):
        assert other.moved_bytes[LINK] == pytest.approx(on_demand.moved_bytes[LINK])
        assert other.latency_s >= other.bounds.latency_s


def test_a_router_before_attention_lets_experts_travel_beside_it() -> None:
    chosen = model("SmallThinker-4B-A0.6B")
    layers = len(chosen.order)
    stream = synthetic_routing(steps=6, layers=layers, batch=1, experts=32, top_k=4, seed=2)

    def latency_s(kind: str) -> float:
        policy = Policy(collections=(CachedCollection(stream, "ddr", 4, 4, fetch=Fetch(kind)),))
        return simulate(chosen, Decode(1, 4096), load_system("rtx-4090"), policy=policy).latency_s

    assert latency_s("as-routed") < latency_s("on-demand")
    # In Mixtral the router comes last: nothing is left to travel beside.
    assert run(Fetch("as-routed")).latency_s == pytest.approx(run().latency_s, rel=1e-3)


def test_a_perfect_predictor_is_a_gate_ahead_and_a_blind_one_fetches_on_demand() -> None:
    assert run(Fetch("predicted")).latency_s == run(Fetch("pre-gated")).latency_s
    assert run(Fetch("predicted", recall=0.0)).latency_s == run().latency_s


def test_wrong_guesses_cost_their_bytes() -> None:
    right, wrong = (run(Fetch("predicted", recall=0.8, precision=p), steps=40) for p in (1.0, 0.5))
    assert wrong.latency_s > right.latency_s
    # As many names are wrong as right: 0.8 of two experts; of the six not used, five of eight are not cached.
    in_vain = 31 * 2 * 0.8 * 5 / 6
    assert (wrong.moved_bytes[LINK] - right.moved_bytes[LINK]) / EXPERT_BYTES == pytest.approx(in_vain, rel=0.15)
    assert any("travelled in vain" in note for note in wrong.notes)


def test_fetching_all_moves_all_that_is_not_cached() -> None:
    found = run(Fetch("prefetch-all"), slots=0)
    assert found.moved_bytes[LINK] == pytest.approx(32 * 8 * EXPERT_BYTES, rel=1e-5)
    kept = run(Fetch("prefetch-all"), slots=2)
    assert kept.moved_bytes[LINK] == pytest.approx(32 * 6 * EXPERT_BYTES, rel=1e-5)


def test_missed_experts_may_be_computed_where_they_live() -> None:
    on_demand = run(slots=3, system="h100-xeon")
    found = run(slots=3, system="h100-xeon", misses_on="cpu")
    link = next(name for name in found.moved_bytes if name.endswith("ddr>hbm"))
    # Down come the rows that were computed there: two at most in each layer, instead of experts.
    assert found.moved_bytes[link] < 32 * 2 * 4096 * 4 + 1e6
    assert found.latency_s < on_demand.latency_s
    # What the processor reads are the missed experts; nothing else has it at work.
    busy_s = found.utilisation["ddr"] * found.latency_s
    missed = sum(bytes_of(name, found) for name in ("experts_up", "experts_down"))
    assert busy_s >= missed / load_system("h100-xeon").tiers["ddr"].read_bandwidth_bytes_per_s * 0.999


def bytes_of(op: str, result: Result) -> float:
    """Bytes per step of the operations on missed experts."""
    return sum(row.bytes * row.count for row in result.ops if row.op == f"{op}{ELSEWHERE}") / result.steps


def test_narrow_experts_travel_as_they_are_stored() -> None:
    whole = run()
    formats = [["int4_g128"] * 8] * 32
    narrow = run(formats=formats)
    # Four bits and a scale of sixteen for each 128: 4.125 of 16 bits, or 4.25 with a zero point.
    assert narrow.moved_bytes[LINK] / whole.moved_bytes[LINK] == pytest.approx(4.19 / 16, rel=0.02)
    mixed = run(formats=[["bf16"] * 4 + ["int4_g128"] * 4] * 32)
    assert narrow.moved_bytes[LINK] < mixed.moved_bytes[LINK] < whole.moved_bytes[LINK]


def test_shared_experts_stay_at_home() -> None:
    chosen = model("Qwen1.5-MoE-A2.7B")
    stream = synthetic_routing(steps=4, layers=len(chosen.order), batch=1, experts=60, top_k=4)
    policy = Policy(collections=(CachedCollection(stream, "ddr", 8, 2),))
    result = simulate(chosen, Decode(1, 256), load_system("rtx-4090"), policy=policy)
    assert set(result.placement_bytes["feed_forward"]) == {"gddr"}
    assert set(result.placement_bytes["experts"]) == {"ddr"}
