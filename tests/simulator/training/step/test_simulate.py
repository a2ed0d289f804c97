"""Training steps over many devices, against closed forms, bounds, and the road of one device."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.spec.load import load_system, override
from hw.spec.system import System
from mappers.map_workload import map_workload
from simulator.road import simulate
from simulator.training.step.costs import piece_costs
from simulator.training.step.exchange import piece_exchanges
from simulator.training.step.layout import Parallel, read_parallel
from simulator.training.step.pass_graph import PassStep, run_pass
from simulator.training.step.pieces import pieces_of
from simulator.training.step.result import StepResult
from simulator.training.step.setup import Setup, lowered
from simulator.training.step.simulate import simulate_step
from tests.simulator.training.small_models import small
from workloads.errors import InfeasibleError, InputError
from workloads.models.catalogue import model
from workloads.models.flops import model_flops
from workloads.phases import Train


def cluster(devices: int, *changes: str) -> System:
    return override(load_system("a100-80gb-sxm"), (f"devices={devices}", *changes))


def step(setup: Setup, *changes: str) -> StepResult:
    return simulate_step(setup, cluster(setup.parallel.devices, *changes))


@pytest.mark.parametrize("checkpoint", ["none", "selective", "full"])
@pytest.mark.parametrize("tensor", [1, 2])
def test_one_group_of_devices_takes_what_the_road_takes(checkpoint: str, tensor: int) -> None:
    """Nothing overlaps between layers on either, so the times are the same but for exchanges that hide there."""
    phase = Train(2, 512, checkpoint)  # type: ignore[arg-type]
    road = simulate(small(6, 512), phase, cluster(tensor))
    found = step(Setup(small(6, 512), phase, 2, Parallel(tensor)))
    assert found.latency_s == pytest.approx(road.latency_s, rel=0.02)
    assert found.mfu == pytest.approx(road.mfu, rel=0.02)


def test_micro_batches_are_accumulated() -> None:
    one = step(Setup(small(4), Train(1, 256), 1))
    four = step(Setup(small(4), Train(1, 256), 4))
    passes = one.latency_s - one.time_s["update"]
    assert four.latency_s == pytest.approx(4 * passes + one.time_s["update"], rel=1e-9)


@pytest.mark.parametrize(
    ("layout", "weights", "gradients"),
    [
        ("dp=8", 0, 2),  # all-reduce of gradients: twice the vector
        ("dp=8,zero=1", 1, 1),
        ("dp=8,zero=2", 1, 1),
        ("dp=8,zero=3", 2, 1),  # half as much again: ZeRO, arXiv 1910.02054, section 7.2.2
        ("dp=8,zero=3,reshard=0", 1, 1),
    ],
)
def test_bytes_that_zero_sends(layout: str, weights: int, gradients: int) -> None:
    found = step(Setup(small(4), Train(1, 64), 8, read_parallel(layout)))
    whole = sum(each.weights for each in step(Setup(small(4), Train(1, 64), 1)).memory)
    assert found.sent_bytes["weights"] == pytest.approx(weights * 7 / 8 * whole)
    assert found.sent_bytes["gradients"] == pytest.approx(gradients * 7 / 8 * whole)


def test_gathers_and_scatters_of_every_micro_batch() -> None:
    found = step(Setup(small(4), Train(1, 64), 32, read_parallel("dp=8,zero=3")))
    once = step(Setup(small(4), Train(1, 64), 8, read_parallel("dp=8,zero=3")))
    assert found.sent_bytes["weights"] == pytest.approx(4 * once.sent_bytes["weights"])


def test_a_pass_with_exchanges_by_hand() -> None:
    """Three pieces of 2 s, gathers of 1 s one piece ahead, scatters of 1.5 s on the same stream, each begun when a
    piece
    ends, the scatter first: g0 0-1, c0 1-3, g1 1-2, c1 3-5, r0 3-4.5, g2 4.5-5.5, c2 5.5-7.5, r1 5.5-7, r2 7.5-9."""
    run = run_pass([PassStep(name, 2.0, 1.0, 1.5) for name in "abc"])
    times = {each.name: (each.begin_s, each.finish_s) for each in run.runs}
    assert times["a 0"] == (1, 3)
    assert times["gather 2"] == (4.5, 5.5)
    assert times["reduce 0"] == (3, 4.5)
    assert times["c 2"] == (5.5, 7.5)
    assert run.latency_s == 9


def test_activations_wait_for_their_buffer() -> None:
    """Pieces of 1 s whose activations take 3 s out: two buffers by turns, so the third waits for the first's."""
    run = run_pass([PassStep(str(at), 1.0, out_s=3.0) for at in range(4)])
    times = {each.name: (each.begin_s, each.finish_s) for each in run.runs}
    assert times["2 2"] == (4, 5)  # the first piece's are out at 4
    assert times["3 3"] == (7, 8)
    assert run.latency_s == 13


@settings(max_examples=40, deadline=None)
@given(
    steps=st.lists(
        st.builds(
            PassStep,
            name=st.just("p"),
            compute_s=st.floats(0.1, 3),
            before_s=st.floats(0, 3),
            after_s=st.floats(0, 3),
            out_s=st.floats(0, 3),
            in_s=st.floats(0, 3),
        ),
        min_size=1,
        max_size=8,
    ),
    prefetch=st.integers(0, 4),
)
def test_no_stream_is_beaten_and_more_ahead_is_no_slower(steps: list[PassStep], prefetch: int) -> None:
    found = run_pass(steps, prefetch).latency_s
    serial = sum(s.compute_s + s.before_s + s.after_s + s.out_s + s.in_s for s in steps)
    streams = ("compute_s", "out_s", "in_s")
    bound = max(*(sum(getattr(s, name) for s in steps) for name in streams), sum(s.before_s + s.after_s for s in steps))
    assert bound * (1 - 1e-9) <= found <= serial * (1 + 1e-9)


layouts = st.sampled_from(
    ["", "tp=2", "tp=2,sp=1", "pp=2", "pp=4,chunks=2", "dp=4", "dp=4,zero=1", "dp=2,zero=3", "cp=2",
     "tp=2,pp=2,dp=2,zero=2", "pp=2,dp=2,zero=3,reshard=0"]
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(
    layout=layouts,
    micro=st.sampled_from([4, 8]),
    checkpoint=st.sampled_from(["none", "full"]),
    faster=st.floats(1, 16),
)
def test_bounds_and_monotony(layout: str, micro: int, checkpoint: str, faster: float) -> None:
    parallel = read_parallel(layout)
    setup = Setup(small(8), Train(1, 64, checkpoint), micro * parallel.data, parallel)  # type: ignore[arg-type]
    found = step(setup)
    assert sum(found.time_s.values()) == pytest.approx(found.latency_s, rel=1e-6)
    assert min(found.time_s.values()) >= 0
    # No more than the devices can do: what attention's mask saves is at most half of it all.
    flops = model_flops(small(8), setup.global_batch, 64)
    assert found.latency_s >= flops / 2 / (312e12 * parallel.devices)
    wider = step(setup, f"fabric.bandwidth={300 * faster} GB/s")
    assert wider.latency_s <= found.latency_s * (1 + 1e-9)
    recomputed = step(replace(setup, phase=Train(1, 64, "full")))
    assert recomputed.latency_s >= step(replace(setup, phase=Train(1, 64))).latency_s * (1 - 1e-9)


@settings(max_examples=20, deadline=None)
@given(micro=st.integers(1, 4), zero=st.integers(2, 3), prefetch=st.integers(0, 2), slow=st.floats(0.001, 1))
def test_against_all_passes_in_one_graph(micro: int, zero: int, prefetch: int, slow: float) -> None:
    """The twin: all micro-batches' passes as one sequence. There exchanges also hide behind the next pass's kernels, so
    it is never slower, and never faster by more than each pass's first gather and last scatter."""
    parallel = Parallel(data=8, zero=zero)
    setup = Setup(small(6), Train(1, 64), 8 * micro, parallel, prefetch=prefetch)
    system = cluster(8, f"fabric.bandwidth={300 * slow} GB/s")
    found = simulate_step(setup, system)
    workload = lowered(setup)
    pieces = pieces_of(workload)
    costs = piece_costs(pieces, map_workload(workload, system, fidelity="roofline"), system)
    exchanges = piece_exchanges(pieces, parallel, system)
    order = pieces.of_stage(1, 1, 0)
    steps = []
    for number in range(micro):
        for kind, held in (("forward", order), ("backward", order[::-1])):
            for piece in held:
                exchange = exchanges[piece.name]
                gathers = zero == 3 or (number == 0 and kind == "forward")
                steps.append(
                    PassStep(
                        piece.name,
                        getattr(costs[piece.name], kind).span_s,
                        exchange.gather_s if gathers else 0.0,
                        exchange.scatter_s if kind == "backward" else 0.0,
                    )
                )
    twin = run_pass(steps, prefetch).latency_s
    passes = found.latency_s - found.time_s["update"]
    slack = max(e.gather_s for e in exchanges.values()) * (1 + prefetch) + max(e.scatter_s for e in exchanges.values())
    assert twin <= passes * (1 + 1e-9)
    assert passes <= twin + 2 * micro * slack * 2


def test_a_pipeline_has_the_ideal_bubble() -> None:
    """Equal stages, tiny ends, no links to speak of: (p - 1) / (m + p - 1) idle (arXiv 2104.04473, section 2.2)."""
    body = replace(small(16, 512), vocabulary=64)
    setup = Setup(body, Train(4, 512), 32, Parallel(pipeline=4))
    found = step(setup, "fabric.bandwidth=300 TB/s", "fabric.latency=1 ns")
    assert found.bubble_share == pytest.approx(3 / (8 + 3), abs=0.02)


def test_memory_that_does_not_suffice() -> None:
    found = step(Setup(model("llama-3.1-70b"), Train(1, 4096), 8, read_parallel("tp=8")))
    with pytest.raises(InfeasibleError, match="memory hbm of a device"):
        found.require_fit()


def test_states_on_the_host_come_and_go() -> None:
    setup = Setup(small(4), Train(1, 64), 1)
    away = step(replace(setup, optimizer="ddr"))
    assert away.memory[0].optimizer == 0
    assert dict(away.memory[0].elsewhere)["ddr"] == pytest.approx(step(setup).memory[0].optimizer)
    assert away.time_s["update"] == pytest.approx(step(setup).memory[0].optimizer / 31.5e9, rel=0.01)


def test_an_unknown_tier() -> None:
    with pytest.raises(InputError, match=r"place.optimizer: unknown tier 'nvm'") as error:
        step(Setup(small(4), Train(1, 64), 1, optimizer="nvm"))
    assert error.value.nearest == "nvme"


def test_70b_at_128k_on_64_devices_is_simulated_at_all_depths() -> None:
    setup = Setup(model("llama-3.1-70b"), Train(1, 131072, "full"), 8, read_parallel("tp=8,cp=8,sp=1,zero=1"))
    rough, fine = (simulate_step(setup, cluster(64), fidelity=depth) for depth in ("roofline", "kernel"))
    assert rough.latency_s < fine.latency_s
    assert fine.tokens == 8 * 131072
