"""Plans with values worked out by hand, and what every plan must keep to."""

from __future__ import annotations

import random
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mappers.planner.tiers import (
    Interval,
    Move,
    Route,
    Stay,
    Tensor,
    Tier,
    TierPlan,
    TierProblem,
    best_stream,
    faults,
    place_over_tiers,
)
from mappers.planner.tiers.bounds import crossing_bound
from mappers.planner.tiers.solve import relaxed_shares, rolling
from mappers.planner.tiers.stream import stream
from workloads.errors import InputError

LINK = Route("far", "near", (("link", 1.0),), energy_j_per_byte=2.0)
BACK = Route("near", "far", (("link back", 1.0),), energy_j_per_byte=3.0)


def ring(near: float, layers: int = 4, duration: float = 1.0, size: float = 4.0) -> TierProblem:
    """Equal layers of one tensor each, one after another for ever."""
    return TierProblem(
        "ring",
        "near",
        (Tier("near", near, 5.0), Tier("far", 1e3, 1.0)),
        (LINK, BACK),
        tuple(Interval(f"i{at}", duration) for at in range(layers)),
        tuple(Tensor(f"t{at}", size, (at,)) for at in range(layers)),
        static_power_w=0.5,
    )


def test_what_fits_stays_and_costs_nothing() -> None:
    result = place_over_tiers(ring(16))
    assert (result.status, result.value) == ("proved_optimal", 4.0)
    assert result.plan is not None
    assert result.plan.moves == ()


@pytest.mark.parametrize(("near", "moved", "expected"), [(8, 16.0, 16.0), (12, 8.0, 10.0)])
def test_a_ring_waits_for_the_bytes_that_find_no_room(near: float, moved: float, expected: float) -> None:
    """At 1 B/s. Room for two: all four come, each while the one before it is used. Room for three: every other one
    stays, and each of the other two comes while a staying one is used, 4 s, and is itself used in 1 s."""
    result = place_over_tiers(ring(near))
    assert result.status == "proved_optimal"
    assert result.value == pytest.approx(expected, rel=1e-5)
    assert result.plan is not None
    assert result.plan.moved_bytes(ring(near)) == pytest.approx(moved, rel=1e-5)


def test_long_operations_hide_every_transfer() -> None:
    result = place_over_tiers(ring(8, duration=4.0))
    assert (result.status, result.value) == ("proved_optimal", 16.0)


def test_energy_counts_bytes_and_time() -> None:
    """8 bytes at 2 J/B, and 10 s at 0.5 W."""
    result = place_over_tiers(ring(12), "energy")
    assert result.value == pytest.approx(16.0 + 5.0, rel=1e-5)
    assert result.status == "proved_optimal"


def test_cost_takes_the_dear_tier_only_where_it_must() -> None:
    """Two tensors at a time near, at 5 a byte; all four far, at 1: less than keeping one near for good."""
    result = place_over_tiers(ring(16), "cost")
    assert result.value == pytest.approx(8 * 5 + 16 * 1, rel=1e-5)


def test_cost_leaves_room_unused_in_large_problems_too() -> None:
    """120 layers, more than the search over the whole program takes: 8 bytes near at 5, all 480 far at 1."""
    tiers = (Tier("near", 1000, 5.0), Tier("far", 1e4, 1.0))
    result = place_over_tiers(replace(ring(0, layers=120), tiers=tiers), "cost")
    assert result.value == pytest.approx(8 * 5 + 480 * 1)


def test_cost_needs_a_price() -> None:
    problem = ring(16)
    free = replace(problem, tiers=tuple(replace(tier, price_per_byte=0.0) for tier in problem.tiers))
    with pytest.raises(InputError, match="no tier has a price"):
        place_over_tiers(free, "cost")


def test_too_little_room_says_how_much_is_missing_and_where() -> None:
    """An interval's tensor and the next one's are there together: 8 bytes."""
    result = place_over_tiers(ring(5))
    assert result.status == "infeasible"
    assert result.extra_bytes == pytest.approx(3.0)
    assert result.extra_by_tier == (("near", pytest.approx(3.0)),)
    enough = place_over_tiers(ring(8))
    assert enough.plan is not None


def test_what_would_do_is_the_least_though_small_tensors_would_stay() -> None:
    """Two layers of 4 bytes must be together; a norm of 0.0005 beside each comes and goes with it: 8.001 bytes.

    With what is small kept near for good, all norms would be: 120 layers' would take 0.06. The search over the whole
    program is not asked for so many.
    """
    problem = ring(8, layers=120)
    norms = tuple(Tensor(f"n{at}", 0.0005, (at,)) for at in range(120))
    problem = replace(problem, tensors=(*problem.tensors, *norms), tiers=(Tier("near", 8), Tier("far", 1e4)))
    result = place_over_tiers(problem)
    assert result.extra_bytes == pytest.approx(0.001)
    assert result.extra_by_tier == (("near", pytest.approx(0.001)),)


def test_room_is_held_from_the_first_byte_on() -> None:
    """Each takes 4 s to come, all of the second before its own: none comes earlier, whatever room there is."""
    problem = ring(16)
    plan = stream(problem, {tensor.name: "far" for tensor in problem.tensors})
    assert plan is not None
    for stay in plan.stays:
        if stay.arriving:
            fed = {move.interval for move in plan.moves if move.tensor == stay.tensor}
            assert stay.first in fed


def test_the_program_ends_soon_after_it_is_told_to() -> None:
    draw = random.Random(3)
    reads = [tuple(sorted(draw.sample(range(24), draw.randint(1, 4)))) for _ in range(30)]
    tensors = tuple(Tensor(f"t{at}", float(draw.randint(1, 9)), each) for at, each in enumerate(reads))
    problem = replace(ring(85, layers=24), tensors=tensors)
    begun = time.monotonic()
    result = place_over_tiers(problem, time_limit_s=120, should_stop=lambda: time.monotonic() - begun > 1.5)
    assert time.monotonic() - begun < 15
    assert result.status == "feasible"
    assert result.plan is not None
    assert faults(problem, result.plan) == []


def test_all_tiers_together_too_small() -> None:
    problem = replace(ring(8), tiers=(Tier("near", 8), Tier("far", 7)))
    result = place_over_tiers(problem)
    assert result.status == "infeasible"
    # One byte more for a place of each; but what passes through the near tier has to lie somewhere else meanwhile.
    assert result.extra_bytes is not None
    assert result.extra_bytes >= 1.0
    assert result.extra_by_tier is not None
    more = dict(result.extra_by_tier)
    tiers = tuple(
        replace(tier, capacity_bytes=tier.capacity_bytes + more.get(tier.name, 0.0)) for tier in problem.tiers
    )
    assert place_over_tiers(replace(problem, tiers=tiers)).plan is not None


def test_two_routes_share_a_bridge() -> None:
    """Each of four intervals needs 2 bytes from each of two tiers: 4 s behind one bridge of 1 B/s, 2 s on two links."""
    pairs = tuple(Tensor(f"{home}{at}", 2.0, (at,), home=home) for at in range(4) for home in ("far", "other"))
    tiers = (Tier("near", 8), Tier("far", 8), Tier("other", 8))
    shared = tuple(Route(home, "near", (("bridge", 1.0), (home, 0.1))) for home in ("far", "other"))
    problem = replace(ring(8), tiers=tiers, routes=shared, tensors=pairs)
    assert place_over_tiers(problem).value == pytest.approx(16.0, rel=1e-5)
    apart = tuple(Route(home, "near", ((home, 1.0),)) for home in ("far", "other"))
    assert place_over_tiers(replace(problem, routes=apart)).value == pytest.approx(8.0, rel=1e-5)


def test_a_cache_that_grows_is_brought_up_to_date_where_it_lives() -> None:
    """4 bytes come in and 1 goes back in each interval, on a link of its own for each way."""
    problem = ring(8)
    grown = replace(problem, tensors=tuple(replace(t, written=((t.reads[0], 1.0),)) for t in problem.tensors))
    result = place_over_tiers(grown)
    assert result.plan is not None
    assert result.plan.moved_bytes(grown) == pytest.approx(16 + 4, rel=1e-5)
    assert result.value == pytest.approx(16.0, rel=1e-5)


def activations(near: float) -> TierProblem:
    """Forward through three layers and back: what the first two make in interval i is read in interval 5 - i."""
    steps = tuple(Interval(f"i{at}", 2.0) for at in range(6))
    made = tuple(Tensor(f"a{at}", 2.0, (5 - at,), produced=at) for at in range(2))
    return TierProblem(
        "step", "near", (Tier("near", near), Tier("far", 100.0)), (LINK, BACK), steps, made, cyclic=False
    )


def test_an_activation_is_swapped_out_and_back_without_a_stall() -> None:
    """With room for both none moves. With an arena in the middle one goes out and comes back, 2 bytes each way."""
    roomy, tight = place_over_tiers(activations(4.0)), place_over_tiers(replace(activations(4.0), intervals=arena(2.0)))
    assert roomy.value == pytest.approx(12.0)
    assert roomy.plan is not None
    assert roomy.plan.moves == ()
    assert tight.plan is not None
    assert faults(replace(activations(4.0), intervals=arena(2.0)), tight.plan) == []
    assert tight.value == pytest.approx(12.0)
    assert tight.plan.moved_bytes(activations(4.0)) == pytest.approx(4.0, rel=1e-4)


def arena(size: float) -> tuple[Interval, ...]:
    """Intervals 2 and 3 need room of their own."""
    return tuple(Interval(f"i{at}", 2.0, arena_bytes=size if at in (2, 3) else 0.0) for at in range(6))


def test_rolling_windows_plan_what_whole_programs_do() -> None:
    problem = replace(activations(4.0), intervals=arena(2.0))
    plan = rolling(problem)
    assert plan is not None
    assert faults(problem, plan) == []
    assert plan.latency_s(problem) == pytest.approx(12.0)


def test_the_first_deadlines_are_met_at_the_beginning_where_time_begins() -> None:
    """Of four, two lie near at the start; the others come while the first two are used up: at 1, and after it."""
    problem = replace(ring(8), cyclic=False)
    result = place_over_tiers(problem)
    assert result.value == pytest.approx(1 + 4 + 4 + 1, rel=1e-5)


GOOD = TierPlan(
    (
        *(Stay(f"t{at}", "far", 0, 4) for at in range(4)),
        *(Stay(f"t{at}", "near", (at - 1) % 4, 2, 1) for at in range(4)),
    ),
    tuple(Move(f"t{at}", "far", "near", (at - 1) % 4, 1.0) for at in range(4)),
)


def test_the_verifier_passes_what_holds() -> None:
    assert faults(ring(8), GOOD) == []
    assert GOOD.latency_s(ring(8)) == 16.0
    assert [arrival.slack_s for arrival in GOOD.arrivals(ring(8))] == [0.0] * 4


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (replace(GOOD, moves=GOOD.moves[1:]), "t0 is not whole in near after 0.000000"),
        (replace(GOOD, stays=GOOD.stays[1:]), "t0 moves from far in interval 3, where it is not whole"),
        (replace(GOOD, stays=GOOD.stays[:-1]), "t3 is not whole in near when interval 3 reads it"),
        (replace(GOOD, stays=(*GOOD.stays, Stay("t0", "near", 3, 1))), "t0 stays twice in near"),
        (replace(GOOD, stays=(*GOOD.stays[:4], Stay("t0", "near", 0, 1, 0), *GOOD.stays[5:])), "from nowhere"),
        (replace(GOOD, moves=(*GOOD.moves, Move("t2", "far", "near", 3, 0.1))), "where it has no room"),
        (replace(GOOD, moves=(*GOOD.moves, Move("t2", "near", "near", 2, 0.1))), "which no route joins"),
    ],
)
def test_the_verifier_finds(plan: TierPlan, said: str) -> None:
    assert any(said in fault for fault in faults(ring(8), plan)), faults(ring(8), plan)


def test_the_verifier_counts_room() -> None:
    assert "near holds 8 bytes in interval 0, has 7" in faults(ring(7), GOOD)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"compute": "close"}, "unknown tier 'close'; expected one of far, near"),
        ({"intervals": ()}, "intervals: no intervals; expected at least one"),
        ({"tensors": (Tensor("a", 1.0, (4,)),)}, "interval 4 of 'a'; expected 0 to 3"),
        ({"tensors": (Tensor("a", -1.0, (0,)),)}, "size -1.0 of 'a'; expected a finite number of 0 or more"),
        (
            {"tensors": (Tensor("a", 1.0, (0,)), Tensor("a", 1.0, (1,)))},
            "tensor 'a' is given twice; expected each name once",
        ),
        (
            {"tensors": (Tensor("a", 1.0, (2,), produced=1),)},
            "'a' is produced; expected no produced tensors in a cyclic problem",
        ),
    ],
)
def test_wrong_problems_say_so(change: dict[str, object], said: str) -> None:
    with pytest.raises(InputError) as caught:
        replace(ring(8), **change)  # type: ignore[arg-type]
    assert str(caught.value).startswith(said)


@st.composite
def problems(draw: st.DrawFn) -> TierProblem:
    """Three tiers in a row, with the routes of a host that relays."""
    length = draw(st.integers(3, 8))
    tensors = tuple(
        Tensor(f"t{number}", float(draw(st.integers(1, 9))), (draw(st.integers(0, length - 1)),))
        for number in range(draw(st.integers(1, 8)))
    )
    steps = tuple(
        Interval(f"i{at}", draw(st.floats(0, 5)), (("port", draw(st.floats(0, 2))),), float(draw(st.integers(0, 2))))
        for at in range(length)
    )
    tiers = (
        Tier("near", float(draw(st.integers(9, 30)))),
        Tier("host", float(draw(st.integers(0, 20)))),
        Tier("drive", 1e3),
    )
    routes = (
        Route("host", "near", (("bus", 1.0), ("port", 0.1))),
        Route("drive", "near", (("drive", 3.0), ("bus", 1.0), ("port", 0.1))),
    )
    return TierProblem("random", "near", tiers, routes, steps, tensors)


@given(problems())
@settings(max_examples=40, deadline=None)
def test_every_streamed_plan_holds_and_none_beats_the_bound(problem: TierProblem) -> None:
    found = best_stream(problem)
    bound = crossing_bound(problem, "latency")
    if found is None:
        return
    plan, _ = found
    assert faults(problem, plan) == []
    assert bound is not None
    assert plan.latency_s(problem) >= bound * (1 - 1e-9)
    assert all(arrival.slack_s >= 0 for arrival in plan.arrivals(problem))


def test_no_room_for_two_in_a_row_is_no_stream() -> None:
    problem = ring(7)
    assert stream(problem, {tensor.name: "far" for tensor in problem.tensors}) is None


def test_a_drive_is_reached_through_the_host() -> None:
    """No way leads from the drive past the host, so that what it holds stops there on its way: two links in turn.

    Near and host have room for two of three tensors of 4 bytes: one goes on while the next one comes. Intervals of 4 s
    hide each link's 4 bytes.
    """
    tiers = (Tier("near", 8), Tier("host", 8), Tier("drive", 12))
    routes = (Route("host", "near", (("bus", 1.0),)), Route("drive", "host", (("cable", 1.0),)))
    problem = replace(ring(8, layers=3, duration=4.0), tiers=tiers, routes=routes)
    assert stream(problem, {tensor.name: "drive" for tensor in problem.tensors}) is None
    result = place_over_tiers(problem, time_limit_s=30)
    assert result.plan is not None
    assert faults(problem, result.plan) == []
    assert result.value == pytest.approx(12.0, rel=1e-5)


@given(problems())
@settings(max_examples=15, deadline=None)
def test_a_result_is_what_it_says_and_no_worse_than_a_stream(problem: TierProblem) -> None:
    found = best_stream(problem)
    result = place_over_tiers(problem, time_limit_s=1.0)
    if result.plan is None:
        assert found is None
        return
    assert faults(problem, result.plan) == []
    assert result.value == pytest.approx(result.plan.latency_s(problem))
    assert result.bound <= result.value
    assert found is None or result.value <= found[0].latency_s(problem) * (1 + 1e-6)
    assert result.status in ("proved_optimal", "feasible")


@given(problems())
@settings(max_examples=15, deadline=None)
def test_fractions_are_below_every_plan(problem: TierProblem) -> None:
    found, relaxed = best_stream(problem), relaxed_shares(problem)
    if found is None:
        return
    assert relaxed is not None
    bound, shares = relaxed
    assert bound <= found[0].latency_s(problem) * (1 + 1e-6) + 1e-6
    assert all(sum(by_tier.values()) >= 1 - 1e-6 for by_tier in shares.values())


def test_equal_layers_have_fractions_like_flexgen_s() -> None:
    """Half of four equal tensors has room near for good when each is also whole there while it is used."""
    relaxed = relaxed_shares(ring(12))
    assert relaxed is not None
    bound, shares = relaxed
    assert bound <= 10.0 + 1e-6
    assert all(0.25 <= by_tier["near"] <= 1.0 for by_tier in shares.values())
