"""The layouts that are found, against all of them executed."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from hw.spec.load import load_system, override
from hw.spec.system import System
from simulator.training.layouts.search import best_layouts
from simulator.training.step.layout import Parallel
from simulator.training.step.setup import Setup, check_setup
from simulator.training.step.simulate import Prepared, prepare_step, simulate_step
from tests.simulator.training.small_models import small
from workloads.errors import InfeasibleError, InputError
from workloads.phases import Train


def machine(devices: int, *changes: str) -> System:
    return override(load_system("a100-80gb-sxm"), (f"devices={devices}", *changes))


def all_of(setup: Setup, system: System) -> list[float]:
    """Seconds of every layout that divides and fits."""
    found: list[float] = []
    ready: dict[tuple[int, int, Train], Prepared] = {}
    degrees = [1, 2, 4]
    depths = [("none", 1), ("full", 4), ("full", 2), ("full", 1)]
    for tensor, pipeline, context, zero, chunks, micro, (kind, every) in product(
        degrees, degrees, degrees, range(4), [1, 2, 4], [1, 2, 4], depths
    ):
        data, rest = divmod(system.devices, tensor * pipeline * context)
        if rest or not data or (zero and data * context == 1):
            continue
        parallel = Parallel(tensor, pipeline, data, context, 1, zero, chunks, tensor > 1)
        phase = replace(setup.phase, batch=micro, checkpoint=kind, every=every)  # type: ignore[arg-type]
        candidate = replace(setup, parallel=parallel, phase=phase)
        try:
            check_setup(candidate, system)
            if (key := (tensor, context, phase)) not in ready:
                ready[key] = prepare_step(candidate, system)
            result = simulate_step(candidate, system, prepared=ready[key])
            result.require_fit()
        except (InputError, InfeasibleError):
            continue
        found.append(result.latency_s)
    return found


@pytest.mark.parametrize("room", ["2 MB", pytest.param("80 GB", marks=pytest.mark.slow)])
def test_nothing_that_fits_is_faster(room: str) -> None:
    setup, system = Setup(small(4), Train(1, 64), 4), machine(4, f"tiers.hbm.capacity={room}")
    every = all_of(setup, system)
    found = best_layouts(setup, system, keep=3)
    assert found.complete
    assert found.best[0].result.latency_s == pytest.approx(min(every), rel=1e-9)
    seconds = [each.result.latency_s for each in found.best]
    assert seconds == sorted(seconds)
    assert found.executed <= found.fitting <= 4 * found.divided
    for each in found.best:
        each.result.require_fit()


def test_what_nothing_holds() -> None:
    with pytest.raises(InfeasibleError, match=r"memory of a device in the smallest of [\d,]+ layouts"):
        best_layouts(Setup(small(8), Train(1, 64), 8), machine(4, "tiers.hbm.capacity=100 kB"))


def test_a_search_that_is_stopped_says_so() -> None:
    asked = iter(range(10_000))
    found = best_layouts(Setup(small(8), Train(1, 64), 8), machine(4), should_stop=lambda: next(asked) > 3)
    assert not found.complete
    assert found.best
