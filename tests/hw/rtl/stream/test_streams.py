"""Queues and arbiters against golden model and contract."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hw.rtl.drive.campaign import run_campaign
from hw.rtl.drive.job import Packed, play_contract
from hw.rtl.stream.arbiter_model import Arbiter, ArbiterContract
from hw.rtl.stream.queue_contract import QueueContract
from hw.rtl.units import parameters_of, unit
from workloads.errors import InputError

CASES = [(name, settings) for name in ("fifo", "arbiter") for settings in ({}, *unit(name).variants)]


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_rtl_is_golden_and_on_time(name: str, settings: dict[str, Any]) -> None:
    chosen = unit(name)
    result = run_campaign(chosen, parameters_of(chosen, dict(settings)), dict(settings), beats=600)
    assert result.passed, result


@pytest.mark.parametrize(
    ("name", "field", "value"), [("fifo", "depth", 0), ("fifo", "width", 65), ("arbiter", "sources", 1)]
)
def test_parameters_are_checked(name: str, field: str, value: int) -> None:
    with pytest.raises(InputError) as caught:
        parameters_of(unit(name), {field: value})
    assert caught.value.field == field


def test_a_queue_holds_as_much_as_it_says_and_no_more() -> None:
    inputs = {"i": {"data": np.arange(9)}}
    never = Packed({"i": [0] * 9}, {"i": [True]}, {"o": [False]}, {"o": 9}, None, 20)
    assert play_contract(QueueContract(5), inputs, never).accepted["i"] == [0, 1, 2, 3, 4]


def test_waiting_sources_get_a_packet_each_in_every_round() -> None:
    """Three sources that always wait: packets of one beat leave in turn; a packet of three beats is not broken."""
    single, triple = np.ones(4, np.int64), np.array([0, 0, 1] * 4)
    inputs = {f"i{n}": {"data": last, "last": last} for n, last in enumerate((single, triple, single))}
    words = {name: [0] * len(beats["last"]) for name, beats in inputs.items()}
    job = Packed(words, {name: [True] for name in words}, {"o": [True]}, {"o": 20}, None, 100)
    accepted = play_contract(ArbiterContract(3), inputs, job).accepted
    assert accepted["i0"] == [0, 5, 10, 15]
    assert accepted["i1"] == [1, 2, 3, 6, 7, 8, 11, 12, 13, 16, 17, 18]
    assert accepted["i2"] == [4, 9, 14, 19]
    assert Arbiter(sources=3).names == ("i0", "i1", "i2")
