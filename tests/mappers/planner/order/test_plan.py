"""Orders against every order there is, against the MIP, and against peaks worked by hand."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mappers.planner.allocation import faults as allocation_faults
from mappers.planner.order import Op, OrderGraph, Tensor, faults, plan_memory, plan_order
from mappers.planner.order.bounds import least_peak_bytes
from mappers.planner.order.greedy import beam_order, greedy_orders
from mappers.planner.order.mip import order_by_mip
from mappers.planner.order.search import search_orders
from mappers.planner.order.steps import Moves
from mappers.planner.order.verify import plain_peak_bytes
from tests.mappers.planner.order.graphs import lowest_peak, peak_of, random_graph
from workloads.errors import InputError


def graph(sizes: dict[str, int], ops: list[Op], *outputs: str) -> OrderGraph:
    return OrderGraph("g", tuple(Tensor(name, size) for name, size in sizes.items()), tuple(ops), outputs)


def two_branches() -> OrderGraph:
    """From x (4): big (10) to small a (1), and b (5) to small c (1); joined.

    Big branch first: x + big = 14, x + big + a = 15, then x + a + b = 10, a + b + c = 7. The other first: x + b = 9,
    x + b + c = 10, then x + c + big = 15, c + big + a = 12. Interleaved big and b together: 4 + 10 + 5 = 19. In the
    first, big and a are there together with x: 15. In the second x dies with big: 4 + 1 + 10 = 15.
    """
    return graph(
        {"x": 4, "big": 10, "a": 1, "b": 5, "c": 1, "out": 1},
        [
            Op("make big", ("x",), ("big",)),
            Op("make b", ("x",), ("b",)),
            Op("shrink big", ("big",), ("a",)),
            Op("shrink b", ("b",), ("c",)),
            Op("join", ("a", "c"), ("out",)),
        ],
        "out",
    )


def test_two_branches_are_not_interleaved() -> None:
    plan = plan_order(two_branches())
    assert (plan.status, plan.peak_bytes, plan.lower_bound_bytes) == ("proved_optimal", 15, 15)
    assert plain_peak_bytes(two_branches(), ["make big", "make b", "shrink big", "shrink b", "join"]) == 19


def test_in_place_takes_the_larger_of_the_two() -> None:
    # in + out = 12 apart; max(in, out) = 8 in place; when something else reads the input later, 12 again.
    sizes, wide = {"a": 8, "b": 4}, Op("f", ("a",), ("b",), ("a",))
    assert plan_order(graph(sizes, [Op("f", ("a",), ("b",))], "b")).peak_bytes == 12
    assert plan_order(graph(sizes, [wide], "b")).peak_bytes == 8
    assert plan_order(graph(sizes, [wide], "a", "b")).peak_bytes == 12
    # g has to run before f, or f cannot overwrite a: g first 8 + 1, then 8 + 1; f first 8 + 4.
    both = graph({**sizes, "c": 1}, [wide, Op("g", ("a",), ("c",))], "b", "c")
    plan = plan_order(both)
    assert (plan.order, plan.peak_bytes) == (("g", "f"), 9)


def test_scratch_is_held_only_while_the_operation_runs() -> None:
    held = graph({"a": 2, "b": 3, "c": 4}, [Op("f", ("a",), ("b",), (), 10), Op("g", ("b",), ("c",))], "c")
    assert plan_order(held).peak_bytes == 2 + 3 + 10


def test_the_order_is_the_lowest_of_all_orders() -> None:
    for seed in range(300):
        problem = random_graph(seed, 3 + seed % 4)
        lowest = lowest_peak(problem)
        bound, _ = least_peak_bytes(problem)
        assert bound <= lowest
        plan = plan_order(problem)
        assert (plan.status, plan.peak_bytes, plan.lower_bound_bytes) == ("proved_optimal", lowest, lowest), seed
        assert not faults(problem, plan.order, plan.peak_bytes)
        found = search_orders(Moves(problem), bound, 1 << 60, lambda: False)  # no rule or beam before it
        assert found.order is not None
        assert plain_peak_bytes(problem, [problem.ops[i].name for i in found.order]) == lowest


def test_the_mixed_integer_program_agrees() -> None:
    for seed in range(12):
        problem = random_graph(seed, 5)
        by_mip = order_by_mip(problem)
        assert (by_mip.status, by_mip.peak_bytes) == ("proved_optimal", plan_order(problem).peak_bytes), seed


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 14))
def test_rules_and_beams_give_orders_that_hold(seed: int, count: int) -> None:
    problem = random_graph(seed, count)
    moves = Moves(problem)
    bound, _ = least_peak_bytes(problem)
    beam = beam_order(moves, 8, bound)
    assert beam is not None
    for order in (*greedy_orders(moves).values(), beam):
        ops = tuple(problem.ops[i] for i in order)
        assert not faults(problem, [op.name for op in ops])
        assert plain_peak_bytes(problem, [op.name for op in ops]) == peak_of(problem, ops)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 9))
def test_offsets_hold_what_the_order_holds(seed: int, count: int) -> None:
    problem = random_graph(seed, count)
    plan = plan_memory(problem)
    assert plan.allocation.offsets is not None
    assert not allocation_faults(plan.problem, plan.allocation.offsets)
    # The bytes held at once of the buffers are those of the order: nothing is forgotten, nothing counted twice.
    most = 0
    for at in range(len(problem.ops)):
        pieces = [p for buffer in plan.problem.buffers for p in buffer.pieces if p.lower <= at < p.upper]
        most = max(most, sum(piece.high - piece.low for piece in pieces))
    assert most == plan.order.peak_bytes <= plan.peak_bytes


def test_corrupted_orders_are_refused() -> None:
    problem = two_branches()
    good = list(plan_order(problem).order)
    assert not faults(problem, good, 15)
    assert faults(problem, good, 14) == ["the peak is 15 bytes and not 14"]
    assert faults(problem, good[:-1]) == ["join does not run"]
    assert faults(problem, [*good, "join"]) == ["join runs 2 times"]
    assert faults(problem, [*good, "joint"]) == ["joint is no operation"]
    early = ["join", *good[:-1]]
    assert faults(problem, early) == [
        "join reads a before shrink big has written it",
        "join reads c before shrink b has written it",
    ]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_an_order_with_two_operations_exchanged_is_judged_right(data: st.DataObject) -> None:
    problem = random_graph(data.draw(st.integers(0, 10**6)), 8)
    order = list(plan_order(problem).order)
    i, j = sorted(data.draw(st.lists(st.integers(0, 7), min_size=2, max_size=2, unique=True)))
    order[i], order[j] = order[j], order[i]
    by_name = {op.name: op for op in problem.ops}
    peak = peak_of(problem, tuple(by_name[name] for name in order))
    if peak is None:
        assert faults(problem, order)
    else:
        assert not faults(problem, order, peak)


def test_infeasible_says_exactly_what_is_missing() -> None:
    for seed in range(40):
        problem = random_graph(seed, 5)
        lowest = lowest_peak(problem)
        if lowest == 0:
            continue
        plan = plan_order(problem, lowest - 1)
        assert (plan.status, plan.fits, plan.extra_bytes) == ("infeasible", False, (1, 1)), seed
        enough = plan_order(problem, lowest)
        assert enough.fits
        assert enough.extra_bytes == (0, 0)


def test_within_a_capacity_any_order_will_do() -> None:
    plan = plan_order(two_branches(), 19)
    assert plan.fits
    assert plan.peak_bytes <= 19
    assert plan.status in ("feasible", "proved_optimal")


def test_without_time_the_standing_is_honest() -> None:
    problem = random_graph(1060, 60)
    stopped = plan_order(problem, should_stop=lambda: True)
    assert stopped.stopped == "interrupt"
    assert stopped.status == "feasible"
    assert stopped.lower_bound_bytes < stopped.peak_bytes
    assert not faults(problem, stopped.order, stopped.peak_bytes)
    unknown = plan_order(problem, stopped.lower_bound_bytes, should_stop=lambda: True)
    assert unknown.status == "unknown"
    least, enough = unknown.extra_bytes
    assert least == 0 < enough
    limited = plan_order(problem, time_limit_s=0.01)
    assert limited.stopped == "time limit"


@pytest.mark.parametrize(("capacity", "limit", "field"), [(-1, 1.0, "capacity"), (None, 0.0, "time_limit")])
def test_options_out_of_range(capacity: int | None, limit: float, field: str) -> None:
    with pytest.raises(InputError) as caught:
        plan_order(two_branches(), capacity, time_limit_s=limit)
    assert caught.value.field == field


@pytest.mark.slow
def test_larger_graphs_against_the_mixed_integer_program() -> None:
    for seed in range(40):
        problem = random_graph(seed, 8)
        by_mip = order_by_mip(problem, 120.0)
        assert by_mip.peak_bytes == plan_order(problem).peak_bytes, seed
