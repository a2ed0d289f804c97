"""Pipelines executed: closed forms, bounds, and the event engine as twin."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.engine import execute, peak_bytes
from simulator.engine.recurrence import recurrence
from simulator.interconnect.links import effective_bandwidth, nvlink
from simulator.training.pipeline.execution import (
    Activations,
    Offload,
    StageLinks,
    StageTimes,
    run_pipeline,
    stage_times,
)
from simulator.training.pipeline.graph import execute_pipeline, memory_name, pipeline_graph
from simulator.training.pipeline.links import stage_links
from simulator.training.pipeline.memory import (
    activation_timeline,
    longest_offload,
    offload_ratio,
    peak_activation_bytes,
    selective_offload,
)
from simulator.training.pipeline.schedule_checks import in_flight
from simulator.training.pipeline.schedules import SCHEDULES, make_schedule
from workloads.errors import InputError

COUNTS = [(1, 3), (2, 6), (4, 16), (8, 24)]


def _time(name: str, p: int, m: int, f: float, b: float, w: float = 0.0, v: int | None = None) -> float:
    schedule = make_schedule(name, p, m, v)
    c = schedule.chunks
    return run_pipeline(schedule, stage_times(p, c, forward_s=f / c, backward_s=b / c, weight_s=w / c)).time_s


@pytest.mark.parametrize(("p", "m"), COUNTS)
@pytest.mark.parametrize("name", ["gpipe", "1f1b"])
def test_one_chunk_in_whole_backwards(name: str, p: int, m: int) -> None:
    """(m + p - 1) (F + B), so the bubble is (p - 1) / (m + p - 1) of it: arXiv 2104.04473, section 2.2.1."""
    schedule = make_schedule(name, p, m)
    run = run_pipeline(schedule, stage_times(p, forward_s=2.0, backward_s=3.0, weight_s=1.5))
    assert run.time_s == pytest.approx((m + p - 1) * 6.5)
    assert run.bubble_share == pytest.approx((p - 1) / (m + p - 1))


@pytest.mark.parametrize(("p", "m", "v"), [(2, 4, 2), (4, 16, 2), (4, 12, 3), (8, 16, 4)])
def test_chunks_divide_the_bubble(p: int, m: int, v: int) -> None:
    """The bubble (p - 1) (F + B) / v beside m (F + B) of work, arXiv 2104.04473, section 2.2.2: as part of the whole
    (p - 1) / (v m + p - 1)."""
    schedule = make_schedule("interleaved", p, m, v)
    run = run_pipeline(schedule, stage_times(p, v, forward_s=1.0, backward_s=2.0))
    assert run.time_s == pytest.approx(3.0 * (v * m + p - 1))
    assert run.bubble_share == pytest.approx((p - 1) / (v * m + p - 1))


@pytest.mark.parametrize(("p", "m"), [(2, 8), (4, 16), (8, 32)])
@pytest.mark.parametrize(("f", "b", "w"), [(1.0, 1.0, 1.0), (1.0, 1.25, 0.75)])
def test_zero_bubble(p: int, m: int, f: float, b: float, w: float) -> None:
    """Bubbles (p - 1) (F + B - W) and (p - 1) (F + B - 2 W): arXiv 2401.10241, table 2. That of ZB-H2 is each stage's
    own, from its first pass to its last, since stages go on to the next step without waiting for each other."""
    times = stage_times(p, forward_s=f, backward_s=b, weight_s=w)
    first = run_pipeline(make_schedule("zb-h1", p, m), times)
    assert first.time_s - m * (f + b + w) == pytest.approx((p - 1) * (f + b - w))
    second = run_pipeline(make_schedule("zb-h2", p, m), times)
    assert second.span_s.max() - m * (f + b + w) == pytest.approx((p - 1) * (f + b - 2 * w))


@pytest.mark.parametrize("p", [4, 8, 16])
def test_controllable_memory_keeps_the_bubble_below(p: int) -> None:
    """About p/2 and 2p/3 passes of 3 units where 1F1B has p, at F = B = W (the authors' page on arXiv 2405.15362)."""
    m = 8 * p
    whole = _time("1f1b", p, m, 1, 1, 1) - 3 * m
    assert whole == 3 * (p - 1)
    assert _time("v-half", p, m, 1, 1, 1) - 3 * m <= 0.62 * 3 * p
    assert _time("v-min", p, m, 1, 1, 1) - 3 * m <= 0.73 * 3 * p


@pytest.mark.parametrize("p", [2, 4, 8])
@pytest.mark.parametrize("name", ["1f1b-vocab-1", "1f1b-vocab-2"])
def test_barriers_hide_behind_passes(name: str, p: int) -> None:
    """In the steady state a micro-batch takes F + B + S + T, all-reduces cost nothing: arXiv 2411.05288's aim."""
    times = stage_times(p, forward_s=10.0, backward_s=21.0, output_first_s=2.0, output_second_s=1.0)
    links = StageLinks(0.2, 0.1, broadcast_s=0.3, barrier_s=1.0)
    short, long = (run_pipeline(make_schedule(name, p, m), times, links).time_s for m in (40, 80))
    assert long - short == pytest.approx(40 * 34.0)


@pytest.mark.parametrize("p", [2, 4, 8])
def test_interlaced_waits_for_them(p: int) -> None:
    times = stage_times(p, forward_s=10.0, backward_s=20.0, output_first_s=2.0, output_second_s=1.0)
    links = StageLinks(broadcast_s=0.3, barrier_s=1.0)
    short, long = (run_pipeline(make_schedule("interlaced", p, m), times, links).time_s for m in (40, 80))
    assert long - short == pytest.approx(40 * (33.0 + 0.3 + 2 * 1.0))


def test_links() -> None:
    """GPipe waits for each latency once a direction; a link slower than passes is what sets the pace."""
    schedule = make_schedule("gpipe", 4, 9)
    late = run_pipeline(schedule, stage_times(4, forward_s=1.0, backward_s=2.0), StageLinks(latency_s=0.25))
    assert late.time_s == pytest.approx((9 + 3) * 3.0 + 2 * 3 * 0.25)
    busy = run_pipeline(make_schedule("gpipe", 2, 9), stage_times(2, forward_s=1.0, backward_s=2.0), StageLinks(5.0))
    assert busy.time_s == pytest.approx(2 * (1 + 2) + 2 * 9 * 5.0)


def test_stragglers() -> None:
    """A last stage x times as slow: the way there and back, and its own m x (F + B) between."""
    times = stage_times(5, forward_s=1.0, backward_s=2.0).slowed({4: 1.5})
    assert run_pipeline(make_schedule("1f1b", 5, 20), times).time_s == pytest.approx(4 * 3.0 + 20 * 1.5 * 3.0)
    with pytest.raises(InputError, match="no stage 7"):
        times.slowed({7: 2.0})


def test_embedding_and_head_are_at_the_ends() -> None:
    """A head on the last stage sets the pace: m (F + B) of it, and the others' on the way there and back."""
    times = stage_times(4, forward_s=1.0, backward_s=2.0).with_ends((0.0, 0.0, 0.0), (0.5, 0.5, 0.5))
    assert run_pipeline(make_schedule("1f1b", 4, 30), times).time_s == pytest.approx(3 * 3.0 + 30 * 4.5)
    both = stage_times(3, 2, forward_s=1.0, backward_s=1.0).with_ends((0.1, 0.0, 0.2), (0.5, 0.6, 0.7), v_shape=True)
    assert both.forward_s[0].tolist() == [1.1, 1.5]
    assert both.weight_s[0].tolist() == [0.2, 0.7]
    assert (both.forward_s[1:] == 1.0).all()


PLACES = st.tuples(st.integers(1, 5), st.integers(1, 3), st.sampled_from(sorted(SCHEDULES)), st.integers(0, 10**6))


def _random(p: int, v: int, seed: int) -> tuple[StageTimes, StageLinks, Activations]:
    draw = np.random.default_rng(seed)
    wide = (p, v)
    times = StageTimes(*(draw.uniform(0.5, 2, wide) for _ in range(3)), draw.uniform(0, 1, p), draw.uniform(0, 1, p))
    links = StageLinks(draw.uniform(0, 1, (p, 2)), draw.uniform(0, 1, (p, 2)), *draw.uniform(0, 1, 2))
    held = Activations(draw.integers(10, 100, wide) * 100.0, 0.5, draw.integers(1, 50, p) * 10.0)
    return times, links, held


@settings(max_examples=40, deadline=None)
@given(case=PLACES, share=st.sampled_from([None, 0.0, 0.5, 1.0]), buffers=st.integers(1, 3))
def test_the_engine_finds_the_same(case: tuple[int, int, str, int], share: float | None, buffers: int) -> None:
    p, groups, name, seed = case
    schedule = make_schedule(name, p, p * groups)
    times, links, held = _random(p, schedule.chunks, seed)
    offload = None
    if share is not None:
        offload = Offload(np.full((p, schedule.chunks), share), 3000.0, 2000.0, buffers)
    run = run_pipeline(schedule, times, links, activations=held, offload=offload)
    execution = execute_pipeline(schedule, times, links, activations=held, offload=offload)
    assert run.time_s == pytest.approx(execution.latency_s, rel=1e-12)
    finishes = {each.name: each.finish_s for each in execution.all_runs()}
    for stage in range(p):
        for index, (kind, chunk, micro) in enumerate(schedule.order(stage)):
            expected = finishes[f"{kind.name}{micro}.{chunk}@{stage}"]
            assert run.finish_s[stage, index] == pytest.approx(expected, rel=1e-12)
    found = peak_bytes(execution)
    for stage, most in enumerate(peak_activation_bytes(run, held, offload)):
        assert most == pytest.approx(found[memory_name(stage)])


@settings(max_examples=40, deadline=None)
@given(case=PLACES)
def test_bounds(case: tuple[int, int, str, int]) -> None:
    """No step is shorter than any stage's work or than a micro-batch's way there and back; no stage holds less than any
    one micro-batch."""
    p, groups, name, seed = case
    schedule = make_schedule(name, p, p * groups)
    times, links, held = _random(p, schedule.chunks, seed)
    run = run_pipeline(schedule, times, links)
    whole = times.forward_s + times.backward_s + times.weight_s
    work = whole.sum(axis=1) * p * groups
    if schedule.waits_for is not None:
        work = work + (times.output_first_s + times.output_second_s) * p * groups
    assert run.busy_s == pytest.approx(work)
    assert run.time_s >= work.max() * (1 - 1e-12)
    back = times.backward_s.sum() + (0.0 if schedule.split else times.weight_s.sum())
    assert run.time_s >= (times.forward_s.sum() + back) * (1 - 1e-12)
    assert 0 <= run.bubble_share < 1
    assert (run.span_s <= run.time_s * (1 + 1e-12)).all()
    assert (peak_activation_bytes(run, held) >= held.bytes.max(axis=1)).all()


@settings(max_examples=30, deadline=None)
@given(name=st.sampled_from(sorted(SCHEDULES)), p=st.integers(2, 6), groups=st.integers(1, 4))
def test_more_micro_batches_never_mean_a_larger_bubble(name: str, p: int, groups: int) -> None:
    shares = []
    for many in (groups, groups + 1):
        schedule = make_schedule(name, p, p * many)
        times = stage_times(p, schedule.chunks, forward_s=1.0, backward_s=1.0, weight_s=1.0, output_first_s=0.3)
        shares.append(run_pipeline(schedule, times).bubble_share)
    assert shares[1] <= shares[0] + 1e-12


def test_names_of_stages_change_nothing() -> None:
    schedule = make_schedule("1f1b", 4, 6)
    graph = pipeline_graph(schedule, *_random(4, 1, 5)[:2])
    names = [resource.name for resource in graph.resources]
    other = dict(zip(names, reversed([f"x {name}" for name in names]), strict=True))
    tasks = tuple(
        replace(
            task,
            demands=tuple(replace(each, resource=other[each.resource]) for each in task.demands),
            held=tuple(other[each] for each in task.held),
        )
        for task in graph.segments[0].tasks
    )
    resources = tuple(replace(each, name=other[each.name]) for each in graph.resources)
    renamed = replace(graph, resources=resources, segments=(replace(graph.segments[0], tasks=tasks),))
    assert execute(renamed).latency_s == execute(graph).latency_s
    assert max(each.finish_s for each in recurrence(graph)) == pytest.approx(execute(graph).latency_s)


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_memory_is_what_is_held(name: str) -> None:
    """Equal micro-batches: peaks are their bytes times how many the order holds; all is given back."""
    schedule = make_schedule(name, 4, 12)
    held = Activations(np.full((4, schedule.chunks), 100.0 / schedule.chunks))
    run = run_pipeline(schedule, stage_times(4, schedule.chunks, forward_s=1.0, backward_s=1.5, weight_s=0.5))
    assert peak_activation_bytes(run, held) == pytest.approx(100.0 * in_flight(schedule))
    _, size = activation_timeline(run, held, 2)
    assert size[-1] == pytest.approx(0, abs=1e-9)
    assert (size >= -1e-9).all()


def test_offload() -> None:
    """Activations as fast as passes (k = 1) leave for nothing; twice as slow they set the pace."""
    p, m = 8, 40
    schedule = make_schedule("1f1b", p, m)
    times = stage_times(p, forward_s=1.0, backward_s=2.0)
    held = Activations(np.full((p, 1), 300.0))
    plain = run_pipeline(schedule, times)
    assert offload_ratio(times, held, 100.0) == pytest.approx(np.ones(p))
    for rate, factor in ((100.0, 1.0), (1000.0, 1.0), (50.0, 2.0)):
        offload = Offload(np.ones((p, 1)), rate, rate)
        run = run_pipeline(schedule, times, activations=held, offload=offload)
        assert run.time_s == pytest.approx(factor * plain.time_s, rel=0.2)
        peaks = peak_activation_bytes(run, held, offload)
        # At most two on their way out, two on their way back; the last stages keep what they need at once.
        assert peaks[0] <= 4 * 300.0
        assert peaks[0] < peak_activation_bytes(plain, held)[0]
    nothing = Offload(np.zeros((p, 1)), 1.0, 1.0)
    assert run_pipeline(schedule, times, activations=held, offload=nothing).time_s == plain.time_s
    with pytest.raises(InputError, match="offload without activations"):
        run_pipeline(schedule, times, offload=nothing)


def test_selective_offload_takes_what_lives_longest() -> None:
    """PipeOffload (arXiv 2503.01328): at k = 2 half of the bytes leave, of interleaved chunks those that live longest,
    and more than half of the peak goes, which the same bytes of every chunk do not bring. Such chunks come in bursts:
    so few buffers then hold up the pipeline."""
    p, m = 16, 64
    schedule = make_schedule("interleaved", p, m, 2)
    times = stage_times(p, 2, forward_s=1.0, backward_s=2.0)
    held = Activations(np.full((p, 2), 300.0))
    rate = 600.0 / (2 * 6.0)
    assert offload_ratio(times, held, rate) == pytest.approx(np.full(p, 2.0))
    plain = run_pipeline(schedule, times)
    chosen = selective_offload(schedule, times, held, plain, rate)
    assert chosen.share.tolist() == [[1.0, 0.0]] * p
    run = run_pipeline(schedule, times, activations=held, offload=chosen)
    even = replace(chosen, share=np.full((p, 2), 0.5))
    spread = run_pipeline(schedule, times, activations=held, offload=even)
    whole = peak_activation_bytes(plain, held)[0]
    assert peak_activation_bytes(run, held, chosen)[0] < 0.5 * whole
    assert peak_activation_bytes(spread, held, even)[0] > 0.5 * whole
    assert run.time_s > spread.time_s > plain.time_s


@pytest.mark.parametrize("p", [8, 16, 32])
def test_even_lifetimes_are_worth_more(p: int) -> None:
    """With groups of one, what waits in a chunk is its lifetime over the time between micro-batches, so that of two
    chunks on the first stage the first has 3 of 4 parts (it waits there and back over both, the other over itself):
    half of the bytes are three quarters of the peak (PipeOffload, arXiv 2503.01328, section 3)."""
    schedule = make_schedule("gis-even", p, 6 * p, 2)
    times = stage_times(p, 2, forward_s=1.0, backward_s=1.0, weight_s=1.0)
    held = Activations(np.full((p, 2), 100.0))
    plain = run_pipeline(schedule, times)
    half = longest_offload(plain, 1, 1e6)
    assert half.share.tolist() == [[1.0, 0.0]] * p
    run = run_pipeline(schedule, times, activations=held, offload=half)
    assert run.time_s == pytest.approx(plain.time_s)
    left = peak_activation_bytes(run, held, half)[0] / peak_activation_bytes(plain, held)[0]
    assert left == pytest.approx(0.25, abs=1.5 / p)
    everything = longest_offload(plain, 2, 1e6)
    assert everything.share.tolist() == [[1.0, 1.0]] * p


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(InputError, match="times"):
        run_pipeline(make_schedule("1f1b", 4, 4), stage_times(3, forward_s=1.0, backward_s=1.0))
    with pytest.raises(InputError, match="below 0"):
        stage_times(3, forward_s=-1.0, backward_s=1.0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["1f1b", "zb-h1", "v-half", "1f1b-vocab-1"])
def test_a_thousand_stages(name: str) -> None:
    schedule = make_schedule(name, 1000, 4000)
    times = stage_times(1000, schedule.chunks, forward_s=1.0, backward_s=1.0, weight_s=1.0)
    run = run_pipeline(schedule, times)
    assert run.time_s >= 4000 * 3 * schedule.chunks
    if name == "1f1b":
        assert run.time_s == pytest.approx((4000 + 999) * 3)


def test_links_by_name() -> None:
    """A tensor holds the link for its bytes; over a switch a large all-reduce takes two shots of 7/8 of it each."""
    link = nvlink(3)
    size = 2048 * 3072 * 2
    rate = effective_bandwidth(link, size)
    found = stage_links(link, size, stages=8, reduced_bytes=2.0 * size)
    assert found.transfer_s == pytest.approx(size / rate)
    assert found.latency_s == link.latency_s
    assert found.barrier_s == pytest.approx(2 * 7 / 8 * 2 * size / rate + 2 * link.latency_s)
    assert 0 < found.broadcast_s <= 7 * (size / rate) + link.latency_s
    assert stage_links(link, size, stages=8).barrier_s == 0
