"""The online-softmax attention engine: RTL against golden model and contract; utilisation; parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.rtl.attention.online_attention_contract import OnlineAttentionContract
from hw.rtl.attention.online_attention_model import UNIT, Row, beats_of, rows_of
from hw.rtl.attention.online_attention_parameters import OnlineAttention
from hw.rtl.drive.campaign import packed, run_campaign, run_jobs_in_amaranth
from hw.rtl.drive.job import Job, Packed, Trace, play_contract
from hw.rtl.units import parameters_of
from workloads.errors import InputError
from workloads.formats.golden.floats import encode

ALWAYS = np.ones(1, np.bool_)


@pytest.mark.parametrize("chosen", [{}, *UNIT.variants])
def test_rtl_is_golden_and_on_time(chosen: dict[str, Any]) -> None:
    result = run_campaign(UNIT, parameters_of(UNIT, chosen), chosen, beats=120)
    assert result.passed, result
    assert result.beats > 1000
    assert result.closed_form_cases == 8  # each corner, the least row, and the one random job that flows freely


@pytest.mark.slow
@pytest.mark.parametrize("chosen", [{}, *UNIT.variants, {"head": 8, "lanes": 4, "block": 16}])
@pytest.mark.parametrize("seed", [2, 3])
def test_rtl_is_golden_and_on_time_for_long(chosen: dict[str, Any], seed: int) -> None:
    result = run_campaign(UNIT, parameters_of(UNIT, chosen), chosen, seed=seed, beats=6000)
    assert result.passed, result


def free_job(p: OnlineAttention, lengths: list[int], seed: int = 1) -> tuple[Packed, dict[str, Any]]:
    """Rows of ordinary numbers, all of whose positions count, among neighbours that never wait."""
    rng = np.random.default_rng(seed)

    def drawn(rows: int, fmt: Any) -> Any:
        return encode(rng.normal(size=(rows, p.head)), fmt)

    rows = [
        Row(drawn(p.group, p.query_format), drawn(n, p.cache_format), drawn(n, p.cache_format), p.positions)
        for n in lengths
    ]
    inputs = beats_of(p, rows)
    job = Job("free", inputs, dict.fromkeys("qkv", ALWAYS), {"o": ALWAYS})
    expected = {"o": {"data": np.zeros((sum(p.group * p.parts for _ in lengths), p.lanes), np.int64)}}
    return packed(UNIT, p, job, expected), inputs


def lane_share(trace: Trace) -> float:
    """Useful lane-cycles of all lanes' cycles, from the first key beat accepted to the last output."""
    keys, outputs = trace.accepted["k"], trace.given["o"]
    return len(keys) / (outputs[-1] - keys[0] + 1)


SHAPES: list[dict[str, Any]] = [
    {"head": 2, "lanes": 2, "group": 1},
    {"head": 64, "lanes": 64, "group": 1},
    {"head": 64, "lanes": 64, "group": 8},
    {"head": 128, "lanes": 128, "group": 4, "block": 16},
    {"head": 128, "lanes": 32, "group": 4, "block": 8},
    {"head": 128, "lanes": 16, "group": 8, "block": 16},
]


@pytest.mark.parametrize("chosen", SHAPES)
@pytest.mark.parametrize("length", [1024, 1500])
def test_lanes_are_used_for_95_percent_of_a_long_row(chosen: dict[str, Any], length: int) -> None:
    p = OnlineAttention(**chosen)
    contract = OnlineAttentionContract(p)
    words, inputs = free_job(p, [length])
    measured = lane_share(play_contract(contract, inputs, words))
    assert measured == contract.utilisation(length)
    assert measured >= 0.95


def test_utilisation_in_rtl() -> None:
    # Keys in 1024 cycles; 1 for the first block, 6 and 2 stages, 1 to add, 18 to divide, 1 row beat, 4 output stages:
    # the last output comes 1024 + 32 cycles after the first key beat, both counted.
    p = OnlineAttention(head=2, lanes=2, group=1)
    words, _ = free_job(p, [1024])
    (trace,) = run_jobs_in_amaranth(UNIT, p, [words])
    assert trace.given["o"][-1] - trace.accepted["k"][0] + 1 == 1024 + 1 + 6 + 2 + 18 + 1 + 4
    assert lane_share(trace) == OnlineAttentionContract(p).utilisation(1024) == 1024 / 1056


@pytest.mark.parametrize("chosen", SHAPES)
def test_rows_follow_one_another(chosen: dict[str, Any]) -> None:
    """A row's queries and first scores overlap the division and output of the row before."""
    p = OnlineAttention(**chosen)
    contract = OnlineAttentionContract(p)
    apart = contract.cycles(lengths=(40, 40, 40)) - contract.cycles(lengths=(40, 40))
    assert apart == contract.row_interval_cycles(40)
    # What no beat of keys overlaps is the longer of the two, not their sum.
    refill = p.group * p.parts + min(p.block, 40) * p.parts + 6
    empty = 1 + (p.precision + 5) + p.group * p.parts
    assert apart - 40 * p.parts == max(refill, empty)


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    parts=st.integers(1, 3),
    group=st.integers(1, 3),
    block=st.integers(1, 9),
    precision=st.integers(6, 16),
)
def test_closed_form_is_the_automaton(lengths: list[int], parts: int, group: int, block: int, precision: int) -> None:
    p = OnlineAttention(head=parts, lanes=1, group=group, block=block, precision=precision)
    contract = OnlineAttentionContract(p)
    words, inputs = free_job(p, lengths)
    trace = play_contract(contract, inputs, words)
    assert trace.given["o"][-1] - trace.accepted["q"][0] + 1 == contract.cycles(**contract.shape(inputs))
    first_row = trace.given["o"][0]
    assert first_row - trace.accepted["v"][lengths[0] * parts - 1] >= contract.latency_cycles


def test_latency_of_one_row() -> None:
    p = OnlineAttention()
    contract = OnlineAttentionContract(p)
    words, inputs = free_job(p, [9])
    trace = play_contract(contract, inputs, words)
    assert trace.given["o"][0] - trace.accepted["v"][-1] == contract.latency_cycles


def test_rows_survive_being_made_into_beats() -> None:
    p = OnlineAttention(head=6, lanes=2, group=2, causal=True)
    rng = np.random.default_rng(3)
    rows = []
    for count in (1, 4, 2):
        q, k, v = (rng.integers(0, 99, (n, 6)) for n in (2, count, count))
        rows.append(Row(q, k, v, length=7, position=count))
    for row, again in zip(rows, rows_of(p, beats_of(p, rows, rng)), strict=True):
        assert (row.length, row.position) == (again.length, again.position)
        for name in "qkv":
            np.testing.assert_array_equal(getattr(row, name), getattr(again, name))


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("head", 0, "0 head"),
        ("lanes", 3, "3 lanes for a head of 4"),
        ("group", 65, "65 group"),
        ("block", 0, "0 block"),
        ("positions", 0, "0 positions"),
        ("precision", 5, "5 precision"),
        ("range_bits", 25, "25 range_bits"),
        ("queries", "fp32", "fp32"),
        ("cache", "bf61", "bf61"),
        ("result", "fp8_e4m3", "fp8_e4m3"),
    ],
)
def test_parameters_are_checked(name: str, value: Any, text: str) -> None:
    with pytest.raises(InputError, match=text) as caught:
        OnlineAttention(**{name: value})
    assert caught.value.field == name
