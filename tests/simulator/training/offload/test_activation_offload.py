"""Activations that leave: a step by hand, the adaptive rule in its limits, the event engine as twin."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.engine import peak_bytes
from simulator.training.offload.activation_offload import (
    MEMORY,
    ActivationLink,
    adaptive_leaving,
    candidates,
    execute_offload,
    lifetime_s,
    run_offload,
)
from simulator.training.offload.activation_step import ActivationStep, StepPass
from workloads.errors import InputError

_SIZE = 100.0 * 2**20


def chain(layers: int, forward_s: float = 1.0, backward_s: float = 2.0, size: float = _SIZE) -> ActivationStep:
    """Each layer keeps one activation, which the next layer reads as well."""
    ahead = [StepPass(f"F{i}", i, False, forward_s, (f"a{i}",), (f"a{i - 1}",) if i else ()) for i in range(layers)]
    back = [StepPass(f"B{i}", i, True, backward_s, (), (f"a{i}",)) for i in reversed(range(layers))]
    names = [f"a{i}" for i in range(layers)]
    return ActivationStep(
        (*ahead, *back), dict.fromkeys(names, size), tuple(names), {name: i for i, name in enumerate(names)}
    )


def link(write: float, read: float | None = None, ahead: int = 1) -> ActivationLink:
    """Rates in activations per second."""
    return ActivationLink(write * _SIZE, (read or write) * _SIZE, ahead)


def test_keeping_all_by_hand() -> None:
    run = run_offload(chain(3), (), link(1))
    assert (run.step_s, run.stall_s, run.peak_bytes, run.written_bytes) == (9.0, 0.0, 3 * _SIZE, 0.0)
    assert lifetime_s(1.0, run) == math.inf


def test_a_step_by_hand() -> None:
    """Stores end at 2 and 3; B2 asks for a1 at 3, B1 for a0 at 5: two activations are there at any time."""
    step = chain(3)
    assert candidates(step, link(1)) == ("a0", "a1")
    run = run_offload(step, ("a0", "a1"), link(1))
    assert run.finish_s == (1, 2, 3, 5, 7, 9)
    assert run.peak_bytes == 2 * _SIZE
    assert (run.written_bytes, run.read_bytes, run.forwarded) == (2 * _SIZE, 2 * _SIZE, frozenset())
    assert lifetime_s(20 * _SIZE, run) == pytest.approx(10 * 9.0)


def test_what_is_still_being_stored_is_used_where_it_is() -> None:
    """At 0.4 a second a0 is stored at 3.5, a1 at 6: B2 asks for a1 at 3, too early; a0 comes back from 5 to 7.5."""
    run = run_offload(chain(3), ("a0", "a1"), link(0.4))
    assert run.forwarded == {"a1"}
    assert run.read_bytes == _SIZE
    assert run.stall_s == pytest.approx(0.5)
    # Kept as well, a1 is written for nothing.
    assert adaptive_leaving(chain(3), link(0.4)) == ()
    assert adaptive_leaving(chain(3), link(0.4, 1.0)) == ("a0",)


def test_all_loads_queued_at_once_hold_more() -> None:
    """From 3 on a1 and then a0 come back, although a0 is wanted at 7 only: three are there from 4 to 5."""
    run = run_offload(chain(3), ("a0", "a1"), link(1, ahead=0))
    assert run.peak_bytes == 3 * _SIZE
    assert run.step_s == 9.0


def test_with_a_fast_link_two_are_left() -> None:
    """However many layers: one that is used, one that comes."""
    step = chain(20)
    run = run_offload(step, adaptive_leaving(step, link(1000)), link(1000))
    assert run.written_bytes == 19 * _SIZE
    assert run.peak_bytes == 2 * _SIZE
    assert run.stall_s == 0


def test_small_ones_stay() -> None:
    assert candidates(chain(4, size=2.0**19), link(1)) == ()
    assert len(candidates(chain(4, size=2.0**19), link(1), smallest_bytes=0)) == 3


def test_whole_modules_keep_the_last_one() -> None:
    """Two activations a module: by passes only the very last one stays, by modules both of the last module."""
    names = ["a0", "b0", "a1", "b1"]
    passes = (
        StepPass("F0", 0, False, 1.0, ("a0", "b0")),
        StepPass("F1", 1, False, 1.0, ("a1", "b1")),
        StepPass("Bb1", 1, True, 1.0, (), ("b1",)),
        StepPass("Ba1", 1, True, 1.0, (), ("a1",)),
        StepPass("Bb0", 0, True, 1.0, (), ("b0",)),
        StepPass("Ba0", 0, True, 1.0, (), ("a0",)),
    )
    step = ActivationStep(passes, dict.fromkeys(names, _SIZE), tuple(names), {"a0": 0, "b0": 0, "a1": 1, "b1": 1})
    assert candidates(step, ActivationLink(1.0, 1.0)) == ("a0", "b0", "a1")
    assert candidates(step, ActivationLink(1.0, 1.0, 1, "module")) == ("a0", "b0")


CASES = st.tuples(
    st.lists(st.tuples(st.floats(0.1, 3), st.floats(0.1, 3), st.integers(1, 50)), min_size=1, max_size=7),
    st.floats(0.05, 50),
    st.floats(0.05, 50),
    st.integers(0, 3),
    st.sampled_from(["pass", "module"]),
    st.integers(1, 3),
)


def _random(layers: list[tuple[float, float, int]], per_module: int) -> ActivationStep:
    """Layers with an activation each and something that is handed on; modules of some layers."""
    sizes: dict[str, float] = {}
    passes = []
    for i, (seconds, _, size) in enumerate(layers):
        sizes |= {f"a{i}": size * _SIZE, f"x{i}": 7.0 * size}
        reads: tuple[str, ...] = (f"a{i - 1}", f"x{i - 1}") if i else ()
        passes.append(StepPass(f"F{i}", i // per_module, False, seconds, (f"a{i}", f"x{i}"), reads))
    for i in reversed(range(len(layers))):
        sizes[f"d{i}"] = 3.0 * layers[i][2]
        reads = (f"a{i}",) if i == len(layers) - 1 else (f"a{i}", f"d{i + 1}")
        passes.append(StepPass(f"B{i}", i // per_module, True, layers[i][1], (f"d{i}",), reads))
    kept = tuple(f"a{i}" for i in range(len(layers)))
    return ActivationStep(tuple(passes), sizes, kept, {f"a{i}": i // per_module for i in range(len(layers))})


@settings(max_examples=60, deadline=None)
@given(case=CASES, adaptive=st.booleans())
def test_the_engine_finds_the_same(
    case: tuple[list[tuple[float, float, int]], float, float, int, str, int], adaptive: bool
) -> None:
    layers, write, read, ahead, unit, per_module = case
    step = _random(layers, per_module)
    over = ActivationLink(write * _SIZE, read * _SIZE, ahead, unit)  # type: ignore[arg-type]
    leaving = adaptive_leaving(step, over) if adaptive else candidates(step, over)
    run = run_offload(step, leaving, over)
    keep = run_offload(step, (), over)
    execution = execute_offload(step, run, over)
    assert execution.latency_s >= run.step_s * (1 - 1e-12)
    assert peak_bytes(execution)[MEMORY] == pytest.approx(run.peak_bytes, rel=1e-9)
    ends = {each.name: each.finish_s for each in execution.all_runs()}
    for each, finish in zip(step.passes, run.finish_s, strict=True):
        assert ends[each.name] == pytest.approx(finish, rel=1e-12)
    # Bounds: nothing is faster than computation, nothing holds more than keeping all.
    assert run.step_s >= run.compute_s * (1 - 1e-12)
    assert run.peak_bytes <= keep.peak_bytes * (1 + 1e-12)
    assert run.read_bytes <= run.written_bytes <= step.kept_bytes * (1 + 1e-12)
    if adaptive:
        assert run.stall_s <= 2e-9 * run.compute_s


@settings(max_examples=30, deadline=None)
@given(layers=st.integers(2, 12), rate=st.floats(0.05, 5), more=st.floats(1, 10))
def test_a_faster_link_lets_no_less_leave(layers: int, rate: float, more: float) -> None:
    """Of equal layers, whose loads are asked for one ahead."""
    step = chain(layers)
    slow, fast = (len(adaptive_leaving(step, link(each))) for each in (rate, rate * more))
    assert fast >= slow


def test_what_is_wrong_is_named() -> None:
    with pytest.raises(InputError, match="x9 is not kept"):
        run_offload(chain(2), ("x9",), link(1))
    with pytest.raises(InputError, match="rate of 0"):
        ActivationLink(0.0, 1.0)
    with pytest.raises(InputError, match="-1"):
        ActivationLink(1.0, 1.0, -1)
