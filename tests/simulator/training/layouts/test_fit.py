"""Changes that are named fit, nothing smaller of their kind does, and they cost what they cost by hand."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hw.spec.load import load_system, override
from hw.spec.system import System
from mappers.planner.placement import tier_capacity
from simulator.training.layouts.changes import KINDS, steps
from simulator.training.layouts.fit import Change, lacks, smallest_changes
from simulator.training.step.inventory import stage_memories
from simulator.training.step.layout import Parallel, read_parallel
from simulator.training.step.pieces import pieces_of
from simulator.training.step.setup import Setup, check_setup, lowered
from simulator.training.step.simulate import simulate_step
from workloads.errors import ImpossibleError, InfeasibleError, InputError
from workloads.models.catalogue import model
from workloads.models.flops import forward_flops
from workloads.phases import Checkpoint, Train

PARAMETERS = 8_030_261_248
"""Of Llama-3-8B."""


def machine(devices: int, capacity: str = "80 GB") -> System:
    return override(load_system("a100-80gb-sxm"), (f"devices={devices}", f"tiers.hbm.capacity={capacity}"))


def eight_b(layout: str, context: int = 256, global_batch: int = 8, batch: int = 1) -> Setup:
    return Setup(model("llama-3-8b"), Train(batch, context), global_batch, read_parallel(layout))


def fits(setup: Setup, system: System) -> bool:
    """Said apart from the search: by all stages and tiers."""
    memories = stage_memories(setup, pieces_of(lowered(setup)))
    held = [("hbm", memory.total) for memory in memories] + [each for memory in memories for each in memory.elsewhere]
    return all(size <= tier_capacity(system, tier) for tier, size in held)


def by_kind(found: tuple[Change, ...]) -> dict[str, Change]:
    return {change.kinds[0]: change for change in found if len(change.kinds) == 1}


def test_what_fits_needs_no_change() -> None:
    setup, system = eight_b("dp=8,zero=3"), machine(8)
    assert lacks(setup, system) is None
    assert smallest_changes(setup, system) == ()


@pytest.mark.parametrize(("capacity", "zero"), [("60 GB", 1), ("40 GB", 2), ("25 GB", 3)])
def test_zero_divides_as_much_as_it_must(capacity: str, zero: int) -> None:
    """16 bytes a parameter are 128.5 GB; over eight devices with states divided (2 + 2 + 12/8) 44.2 GB, gradients too
    30.1 GB, parameters too 16.1 GB, and the layers in use beside them."""
    found = by_kind(smallest_changes(eight_b("dp=8"), machine(8, capacity)))
    assert found["zero"].setup.parallel == Parallel(data=8, zero=zero)
    divided = {1: 2 + 2 + 12 / 8, 2: 2 + (2 + 12) / 8, 3: 16 / 8}[zero] * PARAMETERS
    assert divided < found["zero"].peak_bytes < divided + 6e9


def test_what_lacks_is_named() -> None:
    tier, needed, available = lacks(eight_b("dp=8"), machine(8, "40 GB")) or ("", 0.0, 0.0)
    assert (tier, available) == ("hbm", 40e9)
    assert 16 * PARAMETERS < needed < 16 * PARAMETERS + 4e9


def test_states_in_the_host_travel_there_and_back() -> None:
    """12 bytes a parameter, twice, over a link: and a device keeps 4."""
    found = by_kind(smallest_changes(eight_b("dp=8"), machine(8)))["optimizer"]
    assert found.setup.optimizer == "ddr"
    assert found.more_moved_bytes == pytest.approx(24 * PARAMETERS)
    assert found.more_sent_bytes == 0
    assert 4 * PARAMETERS < found.peak_bytes < 4 * PARAMETERS + 4e9


def test_divided_states_send_what_one_reduction_does_and_divided_weights_half_again() -> None:
    """ZeRO, arXiv 1910.02054, section 7: with n devices 2 (n - 1) / n of the gradients' bytes up to its second stage,
    3 (n - 1) / n with parameters, of one micro-batch."""
    one = by_kind(smallest_changes(eight_b("dp=8"), machine(8, "60 GB")))["zero"]
    assert one.more_sent_bytes == pytest.approx(0.0, abs=1e3)
    three = by_kind(smallest_changes(eight_b("dp=8"), machine(8, "25 GB")))["zero"]
    assert three.more_sent_bytes == pytest.approx(7 / 8 * 2 * PARAMETERS, rel=1e-6)


def test_full_checkpoints_compute_the_layers_forward_again() -> None:
    """A third of three forwards, without the head's; the kernels of attention's backward pass have the forward's
    scores in them already (FlashAttention-2), which makes it a little less."""
    setup = eight_b("tp=2,dp=4,zero=3", context=16384)
    system = machine(8, "36 GB")
    found = by_kind(smallest_changes(setup, system))["checkpoint"]
    assert (found.setup.phase.checkpoint, found.setup.phase.every) == ("full", 1)
    whole = forward_flops(setup.model, 1, 16384)
    again = forward_flops(setup.model, 1, 16384, logit_tokens=0)
    assert found.more_operations == pytest.approx(again / (3 * whole), rel=0.06)
    assert found.more_devices == 0
    assert found.more_time > 0.2


def test_smaller_micro_batches_are_parts_of_the_first() -> None:
    setup = eight_b("tp=2,dp=4,zero=3", context=4096, global_batch=96, batch=12)
    system = machine(8, "70 GB")
    found = by_kind(smallest_changes(setup, system))["micro-batch"].setup
    assert fits(found, system)
    larger = min(size for size in (1, 2, 3, 4, 6, 12) if size > found.phase.batch)
    assert not fits(replace(setup, phase=replace(setup.phase, batch=larger)), system)


def test_two_changes_where_no_single_one_does() -> None:
    setup, system = eight_b("dp=2", context=8192, global_batch=2), machine(2, "3 GB")
    start = time.perf_counter()
    found = smallest_changes(setup, system)
    assert time.perf_counter() - start < 10
    assert found
    assert all(len(change.kinds) == 2 and change.kinds[0] != change.kinds[1] for change in found)
    for kind in KINDS:
        for step in steps(kind, setup, system, "hbm"):
            try:
                larger = machine(step.setup.parallel.devices, "3 GB")
                check_setup(step.setup, larger)
                assert not fits(step.setup, larger)
            except (InputError, InfeasibleError):
                continue
    for change in found:
        assert fits(change.setup, machine(change.setup.parallel.devices, "3 GB"))


def test_nothing_is_named_where_nothing_helps() -> None:
    assert smallest_changes(eight_b(""), machine(1, "10 MB")) == ()


def test_layouts_that_cannot_be_are_errors() -> None:
    with pytest.raises(ImpossibleError):
        smallest_changes(eight_b("tp=3"), machine(3))
    with pytest.raises(InfeasibleError):
        lacks(eight_b("tp=4"), machine(2))


@settings(max_examples=20, deadline=None)
@given(
    layout=st.sampled_from(
        ["dp=8", "dp=8,zero=1", "dp=8,zero=3", "tp=2,dp=4", "tp=2,pp=2,dp=2", "pp=4,dp=2,zero=1", "cp=2,dp=4,zero=2"]
    ),
    batch=st.sampled_from([1, 2, 4]),
    context=st.sampled_from([1024, 8192]),
    checkpoint=st.sampled_from(["none", "selective"]),
    capacity=st.integers(16, 128),
    schedule=st.sampled_from(["1f1b", "gpipe", "zb-h1"]),
)
def test_changes_named_fit_and_nothing_smaller_does(
    layout: str, batch: int, context: int, checkpoint: Checkpoint, capacity: int, schedule: str
) -> None:
    phase = Train(batch, context, checkpoint)
    setup = Setup(model("llama-3-8b"), phase, 32, read_parallel(layout), schedule)
    system = machine(8, f"{capacity} GB")
    assume(not fits(setup, system))
    found = smallest_changes(setup, system)
    assert [change.more_devices for change in found] == sorted(change.more_devices for change in found)
    for change in found:
        larger = machine(change.setup.parallel.devices, f"{capacity} GB")
        assert fits(change.setup, larger)
        assert change.peak_bytes <= 1e9 * capacity
        assert change.more_devices == change.setup.parallel.devices - 8
    for kind, change in by_kind(found).items():
        for step in steps(kind, setup, system, "hbm"):
            if step.setup == change.setup:
                break
            less = machine(step.setup.parallel.devices, f"{capacity} GB")
            try:
                check_setup(step.setup, less)
            except (InputError, InfeasibleError):
                continue
            assert not fits(step.setup, less)
    zero = by_kind(found).get("zero")
    if zero is not None and zero.setup.parallel.zero > setup.parallel.zero + 1:
        lower = replace(setup.parallel, zero=zero.setup.parallel.zero - 1)
        assert not fits(replace(setup, parallel=lower), system)


@settings(max_examples=4, deadline=None)
@given(capacity=st.integers(18, 40))
def test_the_step_with_a_change_runs_and_fits(capacity: int) -> None:
    setup, system = eight_b("dp=8", context=2048), machine(8, f"{capacity} GB")
    for change in smallest_changes(setup, system):
        result = simulate_step(change.setup, machine(change.setup.parallel.devices, f"{capacity} GB"))
        assert result.lacking() is None
        assert result.peak_bytes == pytest.approx(change.peak_bytes)


@pytest.mark.parametrize(
    ("name", "layout", "batch", "global_batch"),
    [("llama-3-70b", "dp=64,zero=3", 1, 64), ("llama-3-8b", "dp=8", 1, 64), ("llama-3-70b", "tp=8,pp=4,dp=2", 4, 256)],
)
def test_estimates_are_near_the_step_that_is_executed(name: str, layout: str, batch: int, global_batch: int) -> None:
    """What changes are ordered by, beside the executed step at the roofline: within 5 % of its time."""
    setup = Setup(model(name), Train(batch, 8192), global_batch, read_parallel(layout))
    system = machine(setup.parallel.devices)
    before = simulate_step(setup, system).latency_s
    found = smallest_changes(setup, system)
    assert found
    for change in found:
        after = simulate_step(change.setup, machine(change.setup.parallel.devices)).latency_s
        assert 1 + change.more_time == pytest.approx(after / before, rel=0.05), change.words
