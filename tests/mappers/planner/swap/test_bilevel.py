"""Two levels of allocation: optimal and quick for the published models, what they lose, and what caching wastes."""

from __future__ import annotations

import time

import pytest

from mappers.planner.allocation import Buffer, faults
from mappers.planner.allocation.caching import replay_requests
from mappers.planner.allocation.requests import parse_requests, problem_of
from mappers.planner.allocation.sections import least_peak_bytes
from mappers.planner.swap.bilevel import bilevel_plan, flat_plan, flat_problem
from mappers.planner.swap.gpt_models import GPT_MODELS, gpt_model
from mappers.planner.swap.layer_graph import layer_graph
from mappers.planner.swap.step_ops import StepOps, head_chunks_of, step_ops, step_requests


def step_of(name: str, tokens: int, layers: int | None = None, *, recompute: bool = False) -> StepOps:
    model = gpt_model(name)
    graph = layer_graph(model, tokens, 8)
    chunks = head_chunks_of(graph, model.vocabulary, model.hidden)
    again = {op.name: 1.0 for op in graph.forward} if recompute else {}
    count = layers or len(model.order)
    return step_ops(graph, count, model.vocabulary, model.hidden, recomputed=again, head_chunks=chunks)


@pytest.mark.parametrize("name", GPT_MODELS)
def test_optimal_within_ten_seconds(name: str) -> None:
    # MEMO: under 5 minutes in all experiments. The bound of level 2 is contention, so the proof needs no search.
    # Seconds of this process, as others may be running beside it.
    started = time.process_time()
    plan = bilevel_plan(step_of(name, 1 << 20))
    assert plan.proved
    assert time.process_time() - started < 10
    assert plan.level_2.offsets is not None
    assert faults(plan.problem, plan.level_2.offsets) == []


@pytest.mark.parametrize("recompute", [False, True])
def test_the_search_finds_the_programs_peaks(recompute: bool) -> None:
    step = step_of("gpt-7b", 1 << 16, 5, recompute=recompute)
    program, search = bilevel_plan(step), bilevel_plan(step, by="search")
    assert program.proved
    assert search.proved
    assert (program.peak_bytes, program.blocks) == (search.peak_bytes, search.blocks)


def test_a_layers_backward_by_hand() -> None:
    # At the feed-forward's first product: the gathered input and its gradient (2 s h bytes each) and one of 2 s f / 8.
    tokens = 1 << 16
    plan = bilevel_plan(step_of("gpt-7b", tokens, 3))
    whole, wide = 2 * tokens * 4096, 2 * tokens * 16384 // 8
    assert plan.blocks["backward.1"] == 2 * whole + wide
    # Forward, at the projection's reduction: the whole and its part of a device; the gathered inputs are gone.
    assert plan.blocks["forward.1"] == whole + whole // 8


@pytest.mark.parametrize("name", ["gpt-7b", "gpt-30b"])
@pytest.mark.parametrize("recompute", [False, True])
def test_two_levels_lose_one_gradient(name: str, recompute: bool) -> None:
    # A layer's incoming gradient and the one it hands on are both held for the whole block; at its peak the second is
    # not yet written. That is one part of the sequence: 2 s h / 8 bytes.
    tokens = 1 << 16
    step = step_of(name, tokens, recompute=recompute)
    two, flat = bilevel_plan(step), flat_plan(step)
    assert flat.status == "proved_optimal"
    assert flat.peak_bytes == least_peak_bytes(flat_problem(step))[0]
    assert two.peak_bytes - flat.peak_bytes == 2 * tokens * gpt_model(name).hidden // 8


def test_requests_are_a_trace() -> None:
    step = step_of("gpt-7b", 4096, 4)
    requests = step_requests(step, with_skeletal=True, resident={"states": 1000})
    text = "".join(f"{'malloc' if r.wanted else 'free'} {r.id} {r.size}\n" for r in requests)
    assert parse_requests(text) == tuple(requests)
    freed = {r.id for r in requests if not r.wanted}
    assert {r.id for r in requests if r.wanted} - freed == {"states"}
    # The same buffers, whichever way lifetimes are counted: in requests or in operations.
    transients = problem_of(tuple(step_requests(step, with_skeletal=False)), "trace")
    assert sorted(b.size for b in transients.buffers) == sorted(b.size for b in flat_problem(step).buffers)
    assert least_peak_bytes(transients)[0] == least_peak_bytes(flat_problem(step))[0]


def test_skeletal_tensors_live_until_their_backward() -> None:
    step = step_of("gpt-7b", 4096, 3)
    names = [block.name for block in step.blocks]
    for life in step.lifetimes(with_skeletal=True):
        if life.name in step.skeletal:
            layer = life.name.split(".")[1]
            assert names[life.last[0]] == f"backward.{layer}"
            assert names[life.first[0]] in (f"forward.{layer}", f"forward.{int(layer) - 1}", "embed")
    assert len(step.skeletal) == 3 * 10


def test_recomputed_activations_are_other_tensors() -> None:
    step = step_of("gpt-7b", 4096, 3, recompute=True)
    lives = {life.name: life for life in step.lifetimes(with_skeletal=True)}
    names = [block.name for block in step.blocks]
    assert names[lives["up.1"].last[0]] == "forward.1"
    assert names[lives["up.1.again"].first[0]] == "recompute.1"
    assert names[lives["up.1.again"].last[0]] == "backward.1"
    assert names[lives["input.1"].last[0]] == "backward.1"


def test_head_in_the_fewest_chunks() -> None:
    model = gpt_model("gpt-7b")
    graph = layer_graph(model, 1 << 16, 8)
    chunks = head_chunks_of(graph, model.vocabulary, model.hidden)
    peaks = {}
    for count in (chunks, chunks // 2):
        blocks = bilevel_plan(step_ops(graph, 2, model.vocabulary, model.hidden, head_chunks=count)).blocks
        peaks[count] = (blocks["head"], blocks["backward.0"])
    assert peaks[chunks][0] <= peaks[chunks][1]
    assert peaks[chunks // 2][0] > peaks[chunks // 2][1]


def test_a_caching_allocator_needs_more_than_the_plan() -> None:
    # MEMO, figure 1a: 10.6 and 10.8 % of what 7B reserves at 512 K tokens is unusable. Ours is not fitted to it: the
    # same order of magnitude is expected, between a twentieth and a fifth.
    step = step_of("gpt-7b", 512 * 1024, recompute=True)
    whole = replay_requests(step_requests(step, with_skeletal=True, resident={"states": 15 * 10**9}))
    assert 0.05 < whole.fragmentation < 0.2
    transients = replay_requests(step_requests(step, with_skeletal=False))
    assert transients.reserved_bytes > bilevel_plan(step).peak_bytes


def test_blocks_stand_for_themselves_on_level_two() -> None:
    plan = bilevel_plan(step_of("gpt-7b", 4096, 2))
    buffers = {buffer.id: buffer for buffer in plan.problem.buffers}
    assert isinstance(buffers["forward.1"], Buffer)
    assert buffers["forward.1"].size == plan.blocks["forward.1"]
    # A gradient between two layers crosses from one block into the next.
    crossing = buffers["d_output.0"]
    assert (crossing.lower, crossing.upper) == (buffers["backward.1"].lower, buffers["backward.0"].upper)
