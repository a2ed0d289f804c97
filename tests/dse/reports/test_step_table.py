"""A training step as text."""

from __future__ import annotations

from dataclasses import replace

from dse.reports.step_table import step_text
from hw.spec.load import load_system, override
from simulator.training.step.layout import Parallel
from simulator.training.step.setup import Setup
from simulator.training.step.simulate import simulate_step
from tests.simulator.training.small_models import small
from workloads.phases import Train


def test_energy_stands_by_the_token_with_its_mean_power() -> None:
    """2 sequences of 64 tokens on 2 devices: 128 uJ and 384 uJ are 4 uJ a token, and in 2 s 256 uW."""
    setup = Setup(small(2), Train(1, 64), 2, Parallel(data=2))
    result = simulate_step(setup, override(load_system("h100-sxm"), ("devices=2",)))
    result = replace(result, latency_s=2.0, energy_j={"hbm": 128e-6, "static": 384e-6})
    assert result.to_json()["total_energy_j"] == 512e-6
    line = next(line for line in step_text(result).splitlines() if line.startswith("energy per token"))
    assert line.split(maxsplit=3)[3] == "4.00 µJ (mean power 256 µW)"
