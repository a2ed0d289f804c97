"""Orders of passes: what each stage holds, and that any schedule can be kept to."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.training.pipeline.schedule_checks import check_schedule, in_flight
from simulator.training.pipeline.schedules import SCHEDULES, Pass, Schedule, make_schedule
from workloads.errors import InputError

FREE = ("interleaved", "gis", "gis-h", "gis-even", "gis-h-even")
COUNTS = [(1, 1), (1, 4), (2, 8), (4, 4), (5, 15), (8, 32), (9, 27)]


def _held(name: str, stages: int, micro_batches: int, chunks: int | None = None) -> list[float]:
    return [float(each) for each in in_flight(make_schedule(name, stages, micro_batches, chunks))]


def test_one_forward_one_backward_by_hand() -> None:
    schedule = make_schedule("1f1b", 3, 4)
    assert schedule.text(0) == "F0 F1 F2 B0 F3 B1 B2 B3"
    assert schedule.text(1) == "F0 F1 B0 F2 B1 F3 B2 B3"
    assert schedule.text(2) == "F0 B0 F1 B1 F2 B2 F3 B3"


def test_gpipe_by_hand() -> None:
    assert make_schedule("gpipe", 2, 3).text(1) == "F0 F1 F2 B2 B1 B0"


def test_interleaved_by_hand() -> None:
    """Megatron-LM's warm-up, arXiv 2104.04473, figure 4: 2 (p - i - 1) + (v - 1) p forwards before 1F1B."""
    schedule = make_schedule("interleaved", 2, 4, 2)
    assert schedule.text(0) == ("F0 F1 F0.1 F1.1 F2 B0.1 F3 B1.1 F2.1 B0 F3.1 B1 B2.1 B3.1 B2 B3")
    assert schedule.text(1).startswith("F0 F1 F0.1 B0.1 F1.1 B1.1")


def test_zero_bubble_by_hand() -> None:
    """arXiv 2401.10241, figure 3: the last stage of ZB-H1 lets p - 1 backwards go before the first weights' part."""
    assert make_schedule("zb-h1", 3, 4).text(2) == "F0 B0 F1 B1 F2 B2 W0 F3 B3 W1 W2 W3"
    assert make_schedule("zb-h1", 3, 4).text(0) == "F0 F1 F2 B0 W0 F3 B1 W1 B2 W2 B3 W3"
    assert make_schedule("zb-h2", 3, 6).text(0).startswith("F0 F1 F2 F3 F4 B0 W0 F5")


def test_vocabulary_by_hand() -> None:
    """arXiv 2411.05288: with one barrier the last stage's backward comes one forward later, with two, two."""
    assert make_schedule("1f1b-vocab-2", 2, 4).text(1) == "F0 S0 F1 T0 S1 B0 F2 T1 S2 B1 F3 T2 S3 B2 T3 B3"
    assert make_schedule("1f1b-vocab-1", 2, 4).text(1) == "F0 S0 F1 T0 S1 F2 T1 S2 B0 F3 T2 S3 B1 T3 B2 B3"


@pytest.mark.parametrize(("p", "m"), COUNTS)
def test_micro_batches_held(p: int, m: int) -> None:
    """1F1B holds p - i on stage i (arXiv 2104.04473, section 2.2.1), each divided output layer adds one for every
    barrier (arXiv 2411.05288), ZB-H1 holds p and ZB-H2 2p - 1 (arXiv 2401.10241, table 2)."""
    stages = range(p)
    assert _held("gpipe", p, m) == [m] * p
    assert _held("1f1b", p, m) == [min(m, p - i) for i in stages]
    assert _held("1f1b-vocab-2", p, m) == [min(m, p - i + 1) for i in stages]
    assert _held("1f1b-vocab-1", p, m) == [min(m, p - i + 2) for i in stages]
    assert _held("zb-h1", p, m) == [min(m, p)] * p
    assert _held("zb-h2", p, m) == [min(m, 2 * p - 1)] * p


@pytest.mark.parametrize(("p", "v"), [(2, 2), (4, 2), (4, 3), (8, 4)])
def test_interleaved_holds_its_warm_up_and_one_more(p: int, v: int) -> None:
    expected = [(min(2 * (p - 1 - i) + (v - 1) * p, 4 * p * v) + 1) / v for i in range(p)]
    assert _held("interleaved", p, 4 * p, v) == expected


@pytest.mark.parametrize(("p", "v"), [(2, 2), (4, 2), (4, 3), (7, 3), (8, 3), (9, 4)])
def test_groups_set_what_is_held(p: int, v: int) -> None:
    """A pass of each kind in every three slots: a chunk's activations live from its forward over the way to the last
    chunk, there and back over the stages behind, and back: distance x (v - 1) + p - i of v chunks. Groups of p: p,
    where interleaved has 1.5 p; of p/2: half of interleaved, PipeOffload's GIS and GIS-H (arXiv 2503.01328)."""
    for name, distance in (("gis", p), ("gis-h", (p + 1) // 2)):
        expected = [(distance * (v - 1) + p - i) / v for i in range(p)]
        assert _held(name, p, 6 * p, v) == pytest.approx(expected)
    whole = (2 * (p - 1) + (v - 1) * p + 1) / v
    assert max(_held("gis-h", p, 6 * p, v)) <= 0.5 * whole + 1
    # One by one: as much, and one chunk more where passes had to be put off.
    for name, distance in (("gis-even", p), ("gis-h-even", (p + 1) // 2)):
        off = 0 if math.gcd(v, distance) == 1 else math.gcd(v, distance) - 1
        expected = [(distance * (v - 1) + off + p - i) / v for i in range(p)]
        assert _held(name, p, 6 * p, v) == pytest.approx(expected)


def test_groups_by_hand() -> None:
    """Two stages, two chunks, one by one at a distance of one: 0.1 follows F0 at once, a micro-batch every two."""
    assert make_schedule("gis-h-even", 2, 2, 2).text(1) == "F0 F0.1 B0.1 W0.1 F1 B0 W0 F1.1 B1.1 W1.1 B1 W1"


@pytest.mark.parametrize("p", [2, 3, 4, 5, 6, 7, 8, 9, 12, 16, 31])
def test_controllable_memory(p: int) -> None:
    """V-Half holds (p + 2) // 2 micro-batches and V-Min (p + 4) // 3: the authors' page on arXiv 2405.15362
    (huggingface.co/spaces/sail/pipeline-parallelism-with-controllable-memory)."""
    assert max(_held("v-half", p, 6 * p)) == (p + 2) // 2
    assert max(_held("v-min", p, 6 * p)) == (p + 4) // 3


@pytest.mark.parametrize("p", [2, 4, 8, 16])
def test_interlaced_holds_half_more(p: int) -> None:
    """1.5 p for even p: arXiv 2411.05288."""
    assert max(_held("interlaced", p, 8 * p)) == 1.5 * p


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(sorted(SCHEDULES)), p=st.integers(1, 9), groups=st.integers(1, 4), v=st.integers(1, 4))
def test_any_schedule_can_be_kept_to(name: str, p: int, groups: int, v: int) -> None:
    schedule = make_schedule(name, p, p * groups, v if name in FREE else None)
    check_schedule(schedule)
    held = in_flight(schedule)
    assert (held >= 1 / schedule.chunks).all()
    assert (held <= p * groups).all()
    for position in range(schedule.positions):
        assert schedule.position(*schedule.place(position)) == position


@settings(max_examples=30, deadline=None)
@given(name=st.sampled_from(sorted(set(SCHEDULES) - {"interleaved"})), p=st.integers(1, 7), m=st.integers(1, 9))
def test_any_number_of_micro_batches(name: str, p: int, m: int) -> None:
    check_schedule(make_schedule(name, p, m))


def _swapped(schedule: Schedule, stage: int, first: int, second: int) -> Schedule:
    parts = {}
    for field in ("kind", "chunk", "micro"):
        array = np.array(getattr(schedule, field))
        array[stage, [first, second]] = array[stage, [second, first]]
        parts[field] = array
    return replace(schedule, **parts)


def test_what_is_wrong_is_named() -> None:
    schedule = make_schedule("1f1b", 3, 4)
    with pytest.raises(InputError, match="stage 2, B0 of chunk 0: before its F"):
        check_schedule(_swapped(schedule, 2, 0, 1))
    twice = np.array(schedule.micro)
    twice[1, 0] = 1
    with pytest.raises(InputError, match="stage 1, F1 of chunk 0: done twice"):
        check_schedule(replace(schedule, micro=twice))
    kinds = np.array(schedule.kind)
    kinds[0, 0] = Pass.S
    with pytest.raises(InputError, match="stage 0, S0 of chunk 0: no such pass"):
        check_schedule(replace(schedule, kind=kinds))
    # Backwards in another order on the next stage than forwards on the first: each waits for the other.
    crossed = _swapped(make_schedule("1f1b", 2, 2), 0, 1, 2)
    crossed = _swapped(crossed, 1, 1, 2)
    with pytest.raises(InputError, match="waits for ever"):
        check_schedule(crossed)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("interleaved", 4, 6, 2), "micro_batches: 6 micro-batches over 4 stages; expected a multiple of the stages"),
        (("1f1b", 4, 6, 2), "chunks: 2 chunks in 1f1b; expected 1, or the schedule 'interleaved'"),
        (("1f1b", 0, 6, None), "stages: found 0; expected 1 or more"),
    ],
)
def test_impossible_schedules(arguments: tuple[str, int, int, int | None], message: str) -> None:
    with pytest.raises(InputError) as error:
        make_schedule(*arguments)
    assert str(error.value) == message


def test_an_unknown_schedule_names_the_nearest() -> None:
    with pytest.raises(InputError) as error:
        make_schedule("1f1b-vocab", 2, 2)
    assert str(error.value.nearest).startswith("1f1b-vocab")
