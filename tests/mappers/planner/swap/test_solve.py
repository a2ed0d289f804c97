"""The best shares against every choice on small problems, against MEMO's alpha, and what no plan means."""

from __future__ import annotations

import pulp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mappers.planner.swap import solve as solver
from mappers.planner.swap.alpha import AlphaProblem, best_alpha
from mappers.planner.swap.machine import HostTier
from mappers.planner.swap.shares import RecomputeStep, Share, SwapProblem, TensorClass, cost_of
from mappers.planner.swap.solve import Status, best_shares, extra_bytes, solver_status
from tests.mappers.planner.swap.swap_problems import best_of_all, small_problem

rates = st.floats(0.5, 40)


@settings(max_examples=25, deadline=None)
@given(
    parts=st.sampled_from([1, 2]), link=rates, second=st.floats(0, 2), third=st.floats(0, 2),
    free=st.integers(30, 110), host=st.integers(0, 80), drive=st.booleans(), wear=st.floats(0.1, 10),
)  # fmt: skip
def test_as_good_as_trying_all(
    parts: int, link: float, second: float, third: float, free: int, host: int, drive: bool, wear: float
) -> None:
    tiers = [HostTier("host", host + 0.5, 30.0, 20.0)]
    if drive:
        tiers.append(HostTier("drive", 1000.0, 3.0, 5.0, wear, 2))
    # Half a byte beside whole ones, so that no choice fits to the last bit.
    problem = small_problem(seconds=(second, third), link=link, tiers=tuple(tiers), free=free + 0.5)
    best = best_of_all(problem, parts)
    found = best_shares(problem, parts=parts)
    if best is None:
        assert found.status == "infeasible"
    else:
        assert found.status == "optimal"
        assert found.cost is not None
        assert found.cost.times.step_s == pytest.approx(best, rel=1e-6)
        assert not found.cost.missing(problem)
        linear = best_shares(problem).cost
        assert linear is not None
        assert linear.times.step_s <= best * (1 + 1e-6)


@settings(max_examples=40, deadline=None)
@given(
    link=st.floats(2, 60), host=st.floats(30, 500), layers=st.integers(3, 20),
    seconds=st.tuples(*[st.floats(0, 1)] * 2), forward=st.floats(0.1, 3), free=st.floats(40, 500),
)  # fmt: skip
def test_never_worse_than_alpha(
    link: float, host: float, layers: int, seconds: tuple[float, float], forward: float, free: float
) -> None:
    # a is the layer's input, b stands for attention's output: both always leave; c is swapped by alpha.
    tier = HostTier("host", host, 1e9, 1e9)
    problem = small_problem(
        layers=layers, seconds=seconds, link=link, tiers=(tier,), free=free, forward=forward, backward=2 * forward
    )
    alpha = best_alpha(AlphaProblem(4, 4, 8, link, forward, layers, host)).alpha
    if alpha is None:
        return
    rule = {"a": Share(swap={"host": 1}), "b": Share(swap={"host": 1}), "c": Share(0, {"host": alpha}, 1 - alpha)}
    ruled = cost_of(problem, rule)
    found = best_shares(problem)
    assert found.cost is not None
    assert found.cost.times.step_s <= ruled.times.step_s * (1 + 1e-5)


def test_what_is_cheap_is_made_again_and_what_is_dear_leaves() -> None:
    # Forward 1 s at 10 bytes/s: 10 of 16 bytes may leave unseen. c costs 0.1 s to make again, b 5 s; nothing stays.
    problem = small_problem(seconds=(5.0, 0.1), link=10.0, free=32.001)
    found = best_shares(problem)
    assert found.status == "optimal"
    assert found.shares is not None
    assert found.cost is not None
    # a and b leave (8 bytes), 2 bytes of c leave too, the other 6 of 8 are made again.
    assert found.shares["c"].recompute == pytest.approx(0.75, abs=1e-4)
    assert found.cost.times.step_s == pytest.approx(1 + 6 * 3 + 4 * 0.075, abs=1e-3)


def test_a_tie_moves_the_fewest_bytes() -> None:
    # All would hide, but 6 layers of 16 bytes fit: nothing moves.
    found = best_shares(small_problem(link=1000.0, free=97.0))
    assert found.cost is not None
    assert found.cost.moved_bytes == 0


def test_transient_inputs_are_made_again_too() -> None:
    # c is made from a transient that costs 2 s for all tokens: half of c costs 1 s and its own half.
    steps = (RecomputeStep("gather", 2.0, ()), RecomputeStep("make", 1.0, ("c",), ("gather",)))
    problem = SwapProblem(4, (TensorClass("c", 8),), steps, 1.0, 2.0, 0.0, 1.0, (), 8.0)
    cost = cost_of(problem, {"c": Share(0.5, {}, 0.5)})
    assert cost.steps == {"gather": 0.5, "make": 0.5}
    assert cost.times.recompute_s == 1.5
    # One buffer, one layer that stays: 3 layers of a kept half beside the buffer's and the last layer's.
    assert cost.device_bytes == 4 * 4 + 4


def test_infeasible_and_the_smallest_extra() -> None:
    # a cannot be made again: 4 layers of 4 bytes go to a host of 6 bytes or stay beside two buffers of 16 in 33.
    # Shares of the rest cost nothing to drop. Room for a: 1 + 6 bytes, for 16: 9 more bytes of either.
    problem = small_problem(free=33.0, tiers=(HostTier("host", 6.0, 100.0, 100.0),))
    found = best_shares(problem)
    assert (found.status, found.shares, found.cost) == ("infeasible", None, None)
    extra = extra_bytes(problem)
    assert extra == {"device": pytest.approx(9, abs=1e-3), "host": pytest.approx(9, abs=1e-3)}
    # Below two buffers no host memory helps.
    assert list(extra_bytes(small_problem(free=31.0))) == ["device"]


def test_wear_limits_what_is_written() -> None:
    # A drive that may take 1 byte a second: a step of about 19 s writes 19 of 4 layers' bytes, not 64.
    drive = HostTier("drive", 1e9, 100.0, 100.0, 1.0, 2)
    problem = small_problem(seconds=(5.0, 5.0), link=1000.0, tiers=(drive,), free=60.0)
    found = best_shares(problem)
    assert found.cost is not None
    assert found.cost.worn_bytes_per_s["drive"] <= 1 + 1e-6
    free = best_shares(
        small_problem(seconds=(5.0, 5.0), link=1000.0, tiers=(HostTier("drive", 1e9, 100, 100),), free=60.0)
    )
    assert free.cost is not None
    assert free.cost.times.step_s < found.cost.times.step_s


def test_the_solvers_words() -> None:
    # After a time limit PuLP's status says optimal of any point; only the second status tells.
    optimal, point = pulp.LpSolutionOptimal, pulp.LpSolutionIntegerFeasible
    assert solver_status(pulp.LpStatusOptimal, optimal) == "optimal"
    assert solver_status(pulp.LpStatusOptimal, point) == "feasible"
    assert solver_status(pulp.LpStatusNotSolved, point) == "feasible"
    assert solver_status(pulp.LpStatusInfeasible, pulp.LpSolutionInfeasible) == "infeasible"
    assert solver_status(pulp.LpStatusNotSolved, pulp.LpSolutionNoSolutionFound) == "unknown"
    assert solver_status(pulp.LpStatusUndefined, pulp.LpSolutionNoSolutionFound) == "unknown"


@pytest.mark.parametrize(
    ("first", "second", "status"),
    [
        ("optimal", "optimal", "optimal"),
        ("feasible", "optimal", "feasible"),
        ("optimal", "feasible", "feasible"),
        ("optimal", "unknown", "feasible"),
        ("infeasible", "optimal", "infeasible"),
        ("unknown", "optimal", "unknown"),
    ],
)
def test_a_time_limit_is_not_a_proof(
    first: Status, second: Status, status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The program is solved, but one of its two answers comes back as a solver under a time limit would give it.
    solve = solver.Program.minimise
    said = iter([first, second])

    def limited(program: solver.Program, objective: object, time_limit_s: float) -> Status:
        solve(program, objective, time_limit_s)
        return next(said)

    monkeypatch.setattr(solver.Program, "minimise", limited)
    found = best_shares(small_problem())
    assert found.status == status
    assert (found.shares is None) == (status in ("infeasible", "unknown"))
