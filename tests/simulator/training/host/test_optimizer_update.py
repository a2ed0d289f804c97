"""Optimizer updates executed: by hand, as the closed form has them, and within what each stream can do."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mappers.planner.swap.optimizer_stride import UpdateRates
from mappers.planner.swap.optimizer_stride import update_s as planned_s
from simulator.training.host.optimizer_update import (
    IterationWork,
    UpdateWork,
    replay_iteration,
    replay_update,
    schedule_update,
    update_s,
)
from workloads.errors import InputError

FREE = 1e12
rate = st.floats(1, 1000)
works = st.builds(
    UpdateWork,
    st.lists(st.floats(1, 50), min_size=1, max_size=12).map(tuple),
    st.builds(UpdateRates, rate, rate, rate, rate),
    st.none() | st.integers(1, 13),
    st.just(0),
    st.integers(1, 3),
    st.booleans(),
)


def rates(host: float = FREE, memory: float = FREE, device: float = FREE, link: float = FREE) -> UpdateRates:
    return UpdateRates(host, memory, device, link)


def test_who_updates_what() -> None:
    assert UpdateWork((1.0,) * 6, rates(), 2, resident=1).places == (
        "host", "visiting", "host", "visiting", "host", "resident",
    )  # fmt: skip
    assert set(UpdateWork((1.0,) * 3, rates()).places) == {"host"}


def test_blocking_by_hand() -> None:
    # Two subgroups of 10 at 2 parameters a second, 20 bytes each up at 4 a second, the third at home at 30 bytes a
    # parameter and 100 a second: 5 + 5 + 5 + 5 + 3 s. Side by side: 10 s of the host and 5 s of the last way up.
    work = UpdateWork((10.0,) * 3, rates(2, FREE, 100, 4), resident=1, blocking=True)
    assert replay_update(work).latency_s == pytest.approx(23)
    free = UpdateWork((10.0,) * 3, rates(2, FREE, 100, 4), resident=1)
    assert replay_update(free).latency_s == pytest.approx(15)


def test_visits_by_hand() -> None:
    # Up 12 s, update 3 s, back 12 s: one slot has them one after another, two slots overlap the ways.
    for slots, seconds in ((1, 54), (2, 39)):
        work = UpdateWork((1.0, 1.0), rates(FREE, FREE, 10, 1), 1, slots=slots)
        assert replay_update(work).latency_s == pytest.approx(seconds)


def test_memory_that_both_need() -> None:
    # The host's update takes 28 bytes and 2 of its parameters, the visit 12 each way: 54 bytes at 2 a second.
    work = UpdateWork((1.0, 1.0), rates(1e3, 2.0), 2)
    assert work.memory_s == pytest.approx(27)
    assert update_s(work) == pytest.approx(27)
    assert replay_update(work).latency_s >= 27 * (1 - 1e-12)


@given(works)
@settings(max_examples=80, deadline=None)
def test_without_a_scarce_memory_it_is_the_recurrence(work: UpdateWork) -> None:
    free = UpdateRates(
        work.rates.host_parameters_per_s, 1e15, work.rates.device_bytes_per_s, work.rates.link_bytes_per_s
    )
    work = UpdateWork(work.subgroups, free, work.stride, work.resident, work.slots, work.blocking)
    found = {run.name: run.finish_s for run in replay_update(work).all_runs()}
    for task in schedule_update(work):
        assert found[task.name] == pytest.approx(task.finish_s, rel=1e-6)


@given(works)
@settings(max_examples=80, deadline=None)
def test_no_stream_is_over_used_and_nothing_beats_the_bound(work: UpdateWork) -> None:
    execution = replay_update(work)
    assert all(use.utilisation <= 1 + 1e-9 for use in execution.uses.values())
    assert execution.latency_s >= max(work.bound_s, update_s(work)) * (1 - 1e-9)
    # Queueing for the memory costs at most its whole work once more.
    assert execution.latency_s <= (max(task.finish_s for task in schedule_update(work)) + work.memory_s) * (1 + 1e-9)
    assert sum(work.parameters(place) for place in ("host", "visiting", "resident")) == pytest.approx(
        sum(work.subgroups)
    )


@given(st.integers(1, 16), st.integers(1, 16), st.builds(UpdateRates, rate, rate, rate, rate), st.integers(1, 3))
@settings(max_examples=80, deadline=None)
def test_it_is_the_planners_closed_form(subgroups: int, stride: int, speeds: UpdateRates, slots: int) -> None:
    """That lets parameters go up in gaps of states and visits run ahead of the host: here parameters queue, which costs
    at most all of their ways, and visits keep the host's pace, which costs at most those of the last slots."""
    work = UpdateWork((10.0,) * subgroups, speeds, stride, slots=slots)
    least = planned_s(10.0 * subgroups, subgroups, stride, speeds, slots)
    sent = work.parameters("host") * 2 / speeds.link_bytes_per_s
    visit = 10.0 * (2 * 12 / speeds.link_bytes_per_s + 30 / speeds.device_bytes_per_s)
    assert least * (1 - 1e-9) <= update_s(work) <= (least + sent + slots * visit) * (1 + 1e-9)
    # Nothing visits: the last subgroup's parameters go up after all the others', at once or in a queue.
    alone = UpdateWork((10.0,) * subgroups, speeds)
    assert update_s(alone) >= planned_s(10.0 * subgroups, subgroups, None, speeds) * (1 - 1e-9)


def test_all_on_the_device_needs_no_host() -> None:
    work = UpdateWork((5.0, 5.0), rates(1e-3, 1e-3, 100, 1e-3), 1, resident=2)
    assert replay_update(work).latency_s == pytest.approx(10 * 30 / 100)
    assert work.bound_s == pytest.approx(3)


def test_an_iteration_by_hand() -> None:
    # Forward 1 s; backward 2 s in four parts, the three of the host with 10 gradients of 5 a second after each: 2 s.
    # Exposed: 2 + 3 x 2. Hidden: the last three parts end at 1, 1.5 and 2 s, ways down follow one another: 1 + 6.
    update = UpdateWork((10.0,) * 4, rates(10, FREE, FREE, FREE), resident=1)
    for exposed, seconds in ((True, 8.0), (False, 7.0)):
        found = replay_iteration(IterationWork(1.0, 2.0, update, 5.0, exposed))
        assert found.forward_s == pytest.approx(1)
        assert found.backward_s == pytest.approx(seconds)
        assert found.update_s == pytest.approx(3)
        assert found.seconds == pytest.approx(found.execution.latency_s)


@given(works, st.floats(0.1, 10), st.floats(0.1, 10), st.booleans())
@settings(max_examples=40, deadline=None)
def test_phases_of_any_iteration(work: UpdateWork, forward: float, backward: float, exposed: bool) -> None:
    gradients = work.rates.link_bytes_per_s / 8
    iteration = IterationWork(forward, backward, work, gradients, exposed)
    found = replay_iteration(iteration)
    assert found.forward_s == pytest.approx(forward)
    memory_s = 4 * work.parameters("host") / work.rates.host_bytes_per_s
    least = max(backward, iteration.flush_s, memory_s)
    assert least * (1 - 1e-9) <= found.backward_s <= (backward + iteration.flush_s + memory_s) * (1 + 1e-9)
    if exposed:
        assert found.backward_s >= (backward + iteration.flush_s) * (1 - 1e-9)
    assert all(use.utilisation <= 1 + 1e-9 for use in found.execution.uses.values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"subgroups": ()}, "subgroups: found 0 subgroups"),
        ({"resident": 3}, "resident: found 3"),
        ({"stride": 0}, "stride: found 0"),
        ({"slots": 0}, "slots: found 0"),
    ],
)
def test_messages(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError) as caught:
        UpdateWork(**{"subgroups": (1.0, 1.0), "rates": rates(), "slots": 1, **change})  # type: ignore[arg-type]
    assert message in str(caught.value)


def test_gradients_faster_than_the_link_are_refused() -> None:
    with pytest.raises(InputError, match="above 0 and at most 25 gradients a second"):
        IterationWork(1.0, 1.0, UpdateWork((1.0,), rates(link=100)), 26, exposed=True)
