"""The top-k filter against its golden model and contract, and that model against orders by hand."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.rtl.attention.topk_filter_model import UNIT, TopkFilter, TopkFilterContract
from hw.rtl.drive.campaign import packed, run_campaign, run_jobs_in_amaranth
from hw.rtl.drive.job import Job
from hw.rtl.ports import Streams
from hw.rtl.units import parameters_of
from workloads.errors import InputError


@pytest.mark.parametrize("settings", [{}, *UNIT.variants])
def test_rtl_is_golden_and_on_time(settings: dict[str, int]) -> None:
    result = run_campaign(UNIT, parameters_of(UNIT, settings), settings, beats=1200)
    assert result.passed, result
    assert result.beats > 1800
    assert result.closed_form_cases >= 6


def packets(rows: list[list[tuple[int, int]]]) -> Streams:
    """Of packets of (score, id)."""
    entries = np.array([entry for packet in rows for entry in packet])
    last = np.array([n == len(packet) - 1 for packet in rows for n in range(len(packet))], np.int64)
    return {"i": {"score": entries[:, 0], "id": entries[:, 1], "last": last}}


def test_every_packet_of_small_entries() -> None:
    """All packets of up to three entries of two-bit scores and one-bit ids, the two best kept, one after another."""
    p = TopkFilter(kept=2, score_width=2, id_width=1)
    entries = list(itertools.product(range(-2, 2), range(2)))
    rows = [list(packet) for length in (1, 2, 3) for packet in itertools.product(entries, repeat=length)]
    assert len(rows) == 8 + 64 + 512
    inputs, always = packets(rows), np.ones(1, np.bool_)
    expected = UNIT.golden(p, inputs)
    job = Job("all", inputs, {"i": always}, {"o": always})
    (trace,) = run_jobs_in_amaranth(UNIT, p, [packed(UNIT, p, job, expected)])
    by_sorting = [sorted(packet, key=lambda entry: (-entry[0], entry[1]))[:2] for packet in rows]
    found = UNIT.streams(p)[1].unpack(trace.outputs["o"])
    assert list(zip(found["score"].tolist(), found["id"].tolist(), strict=True)) == [
        e for best in by_sorting for e in best
    ]
    assert trace.given["o"][-1] - trace.accepted["i"][0] + 1 == TopkFilterContract(2).cycles(lengths=[*map(len, rows)])


def test_golden_by_hand() -> None:
    # 7 twice: the lower id first; -1 is dropped. Then two entries where three are kept.
    given = UNIT.golden(TopkFilter(kept=3), packets([[(7, 9), (-1, 0), (7, 4), (3, 2)], [(-5, 1), (-4, 8)]]))["o"]
    assert given["score"].tolist() == [7, 7, 3, -4, -5]
    assert given["id"].tolist() == [4, 9, 2, 8, 1]
    assert given["last"].tolist() == [0, 0, 1, 0, 1]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(-4, 4), st.integers(0, 15)), min_size=1, max_size=12), st.randoms())
def test_the_order_of_entries_does_not_matter(entries: list[tuple[int, int]], random: Any) -> None:
    shuffled = random.sample(entries, len(entries))
    first, second = (UNIT.golden(TopkFilter(kept=5), packets([rows]))["o"] for rows in (entries, shuffled))
    assert all((first[name] == second[name]).all() for name in first)


def test_cycles_by_hand() -> None:
    """Nine entries in, one cycle to close, four out. Four more go in while four leave; one alone waits for them."""
    contract = TopkFilterContract(kept=4)
    assert contract.cycles(lengths=[9]) == 9 + 1 + 4
    assert contract.cycles(lengths=[9, 4]) == 9 + 4 + 1 + 4
    assert contract.cycles(lengths=[9, 1]) == 9 + 4 + 1 + 1


@pytest.mark.parametrize(("name", "value"), [("kept", 0), ("kept", 257), ("score_width", 1), ("id_width", 33)])
def test_parameters_are_checked(name: str, value: int) -> None:
    with pytest.raises(InputError) as caught:
        TopkFilter(**{name: value})
    assert caught.value.field == name
