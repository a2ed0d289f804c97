"""A campaign must find what is wrong with a unit: values, times, and streams that break their rules."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from amaranth import Module, Signal
from amaranth.lib import wiring

from hw.rtl.arith.int_dot import IntDotUnit
from hw.rtl.arith.int_dot_model import UNIT, IntDot
from hw.rtl.contract import PipelineContract
from hw.rtl.drive.campaign import CampaignResult, draw_jobs, run_campaign
from hw.rtl.ports import Field, Stream
from hw.rtl.stream.signature import unit_signature

SMALL = IntDot(lanes=2, width=4, beats=8)


class Wrapped(wiring.Component):
    """The dot product with a fault between it and its output."""

    fault = ""

    def __init__(self, parameters: IntDot) -> None:
        self.inside = IntDotUnit(parameters)
        super().__init__(unit_signature(UNIT.streams(parameters)))

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.inside = inside = self.inside
        wiring.connect(m, wiring.flipped(self.i), inside.i)
        waited = Signal(4)
        with m.If(self.o.valid & ~self.o.ready):
            m.d.sync += waited.eq(waited + 1)
        m.d.comb += [
            self.o.valid.eq(inside.o.valid),
            inside.o.ready.eq(self.o.ready),
            self.o.payload.sum.eq(inside.o.payload.sum),
        ]
        if self.fault == "value":
            m.d.comb += self.o.payload.sum.eq(inside.o.payload.sum ^ (inside.o.payload.sum == 17))
        if self.fault == "unstable":
            m.d.comb += self.o.payload.sum.eq(inside.o.payload.sum + (waited == 7))
        if self.fault == "waits for ready":
            m.d.comb += self.o.valid.eq(inside.o.valid & self.o.ready)
        return m


class WrongValue(Wrapped):
    fault = "value"


class Unstable(Wrapped):
    fault = "unstable"


class WaitsForReady(Wrapped):
    fault = "waits for ready"


def _campaign(component: str | None = None, contract: PipelineContract | None = None) -> CampaignResult:
    unit = UNIT
    if component is not None:
        unit = dataclasses.replace(unit, component=f"{__name__}:{component}")
    if contract is not None:
        unit = dataclasses.replace(unit, contract=lambda p: contract)
    return run_campaign(unit, SMALL, {}, beats=1200)


def test_an_honest_unit_passes() -> None:
    assert _campaign("Wrapped").passed


def test_a_wrong_value_is_found() -> None:
    result = _campaign("WrongValue")
    assert result.mismatches > 0
    assert result.max_cycle_difference == 0
    assert "expected" in result.failures[0]


def test_a_payload_that_changes_while_it_waits_is_found() -> None:
    assert any("changed while it waited" in failure for failure in _campaign("Unstable").failures)


def test_a_valid_that_waits_for_ready_is_found() -> None:
    assert _campaign("WaitsForReady").max_cycle_difference > 0


@pytest.mark.parametrize("latency", [2, 4])
def test_a_contract_one_cycle_off_is_found(latency: int) -> None:
    result = _campaign(contract=PipelineContract(latency, closes="last"))
    assert result.max_cycle_difference >= 1
    assert result.mismatches == 0


def test_a_closed_form_that_is_off_is_found() -> None:
    class Hopeful(PipelineContract):
        def cycles(self, *, beats: int) -> int:
            return super().cycles(beats=beats) - 1

    assert any("closed form" in failure for failure in _campaign(contract=Hopeful(3, closes="last")).failures)


def test_a_goal_not_met_is_said() -> None:
    unit = dataclasses.replace(UNIT, coverage=lambda p, inputs, outputs: {"never": False})
    result = run_campaign(unit, SMALL, {}, beats=100)
    assert result.missed_goals == ["never"]
    assert not result.passed


def test_the_seed_decides_the_jobs() -> None:
    first, again, other = (draw_jobs(UNIT, SMALL, seed, 100) for seed in (1, 1, 2))
    same = [(a.inputs["i"]["a"] == b.inputs["i"]["a"]).all() for a, b in zip(first, again, strict=True)]
    assert all(same)
    drawn = [job.inputs["i"]["a"].tobytes() for job in first], [job.inputs["i"]["a"].tobytes() for job in other]
    assert drawn[0] != drawn[1]


def test_words_are_laid_out_first_field_lowest() -> None:
    # 3 bits of a = 5, then two signed 4-bit lanes 1 and -2 (14): 5 + (1 << 3) + (14 << 7).
    stream = Stream("i", "in", (Field("a", 3), Field("b", 4, True, 2)))
    beats = {"a": [5], "b": [[1, -2]]}
    word = 5 + (1 << 3) + (14 << 7)
    assert stream.pack({name: np.array(values) for name, values in beats.items()}) == [word]
    back = stream.unpack([word])
    assert back["a"].tolist() == [5]
    assert back["b"].tolist() == [[1, -2]]


class Hangs(Wrapped):
    """Takes beats and gives none after the first few."""

    def elaborate(self, platform: Any) -> Module:
        m = super().elaborate(platform)
        given = Signal(4)
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += given.eq(given + 1)
        with m.If(given == 5):
            m.d.comb += [self.o.valid.eq(0), self.inside.o.ready.eq(0)]
        return m


def test_a_unit_that_hangs_is_given_up() -> None:
    result = _campaign("Hangs")
    assert result.mismatches > 0
    assert result.cycles < 100_000
