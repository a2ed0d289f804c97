"""The Huffman decoder: RTL against golden and contract, tables by hand, codes of the formats, and its speed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.rtl.dequant.huffman_contract import HuffmanContract
from hw.rtl.dequant.huffman_decode_model import (
    UNIT,
    HuffmanDecode,
    code_words,
    streams_of_packets,
    table_rows,
)
from hw.rtl.drive.campaign import packed, run_campaign, run_jobs_in_amaranth
from hw.rtl.drive.job import Job, Trace, play_contract
from hw.rtl.ports import Streams
from hw.rtl.units import parameters_of
from workloads.errors import InputError
from workloads.formats.golden.huffman import canonical_code, huffman_code

FREE = np.ones(1, np.bool_)


def freely(inputs: Streams) -> Job:
    return Job("free", inputs, {"t": FREE, "i": FREE}, {"o": FREE})


def promised(p: HuffmanDecode, inputs: Streams) -> Trace:
    return play_contract(UNIT.contract(p), inputs, packed(UNIT, p, freely(inputs), UNIT.golden(p, inputs)))


@pytest.mark.parametrize("chosen", [{}, *UNIT.variants])
def test_rtl_is_golden_and_on_time(chosen: dict[str, int]) -> None:
    result = run_campaign(UNIT, parameters_of(UNIT, chosen), chosen, beats=300)
    assert result.passed, result
    assert result.beats > 1000
    assert result.closed_form_cases >= 3


def test_table_by_hand() -> None:
    # a: 0, b: 10, c: 110, d: 111. Below 1 of one bit: a. Below 11 of two: b. Three bits: all. Each length's first
    # symbol lies at its place less its code: 0 - 0, 1 - 0b10, 2 - 0b110, modulo 4.
    p = HuffmanDecode(longest=4, entries=4)
    rows = table_rows(p, canonical_code({5: 1, 9: 2, 7: 3, 8: 3}))
    assert rows["symbol"].tolist() == [5, 9, 7, 8]
    assert rows["limit"].tolist() == [0b1, 0b11, 0b1000, 0b10000]
    assert rows["offset"][:3].tolist() == [0, (1 - 2) % 4, (2 - 6) % 4]
    assert rows["last"].tolist() == [0, 0, 0, 1]


def test_words_and_beats_by_hand() -> None:
    # d a b | b: 111 0 10 10 in one word of 16 bits, eight of them unused; two symbols a beat.
    p = HuffmanDecode(symbols=3, longest=4, entries=4, word=16)
    code = canonical_code({5: 1, 9: 2, 7: 3, 8: 3})
    inputs = streams_of_packets(p, [(code, np.array([8, 5, 9, 9]))])
    assert inputs["i"]["word"].tolist() == [0b1110_1010_0000_0000]
    assert inputs["i"]["unused"].tolist() == [8]
    beats = UNIT.golden(p, inputs)["o"]
    assert beats["symbols"].tolist() == [[8, 5, 9], [9, 0, 0]]
    assert beats["count"].tolist() == [3, 1]
    assert beats["last"].tolist() == [0, 1]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 255), min_size=1, max_size=200), st.integers(1, 4), st.sampled_from([8, 32, 64]))
def test_any_symbols_come_back(symbols: list[int], lanes: int, word: int) -> None:
    """And the closed form is the automaton's time."""
    p = HuffmanDecode(symbols=lanes, word=word)
    inputs = streams_of_packets(p, [(huffman_code(symbols), np.array(symbols)), (huffman_code([3]), np.array([3, 3]))])
    beats = UNIT.golden(p, inputs)["o"]
    there = np.arange(lanes) < beats["count"][:, None]
    assert beats["symbols"][there].tolist() == [*symbols, 3, 3]
    contract = UNIT.contract(p)
    times = promised(p, inputs)
    assert times.given["o"][-1] + 1 == contract.cycles(**contract.shape(inputs))


@pytest.mark.parametrize("longest", [8, 12])
def test_every_window_of_a_full_table(longest: int) -> None:
    """256 symbols with codes of many lengths: RTL decodes each of them, after each of the shortest."""
    counts = np.maximum(1, (4000 / np.arange(1, 257) ** 1.2).astype(int))
    code = huffman_code(np.repeat(np.arange(256), counts), longest)
    p = HuffmanDecode(symbols=2, longest=longest, entries=256, word=16)
    symbols = np.concatenate([np.arange(256), np.repeat(np.arange(256), 2)])
    inputs = streams_of_packets(p, [(code, symbols)])
    trace = run_jobs_in_amaranth(UNIT, p, [packed(UNIT, p, freely(inputs), UNIT.golden(p, inputs))])[0]
    beats = UNIT.streams(p)[2].unpack(trace.outputs["o"])
    assert beats["symbols"].reshape(-1).tolist() == symbols.tolist()


@pytest.mark.parametrize(("lanes", "word"), [(1, 32), (2, 32), (4, 32), (4, 8), (4, 64)])
def test_speed_is_the_bound_for_codes_of_one_length(lanes: int, word: int) -> None:
    """256 symbols as often as each other have codes of 8 bits: min(lanes, word / 8) symbols a cycle, but for the five
    cycles of a packet's beginning and end and the table's 256 (hand count: first word, decode, two registers, start).
    """
    p = HuffmanDecode(symbols=lanes, word=word, longest=8)
    code = huffman_code(np.arange(256))
    inputs = streams_of_packets(p, [(code, np.tile(np.arange(256), 16))])
    contract = UNIT.contract(p)
    assert contract.most_symbols_per_cycle(8.0) == min(lanes, word / 8)
    cycles = contract.cycles(**contract.shape(inputs)) - 256
    assert 4096 / min(lanes, word / 8) <= cycles <= 4096 / min(lanes, word / 8) + 5


def test_words_too_narrow_for_the_codes_cost_cycles() -> None:
    # 3 symbols of 8 bits a beat from words of 8: the n-th beat waits for word 3n; 100 beats, the last decoded in the
    # cycle after word 300.
    contract = HuffmanContract(symbols=3, longest=8, word=8)
    assert contract.cycles(packets=((256, (8,) * 300),)) == 256 + 300 + 3


def test_refused() -> None:
    with pytest.raises(InputError) as caught:
        table_rows(HuffmanDecode(longest=2), canonical_code({1: 1, 2: 2, 3: 3, 4: 3}))
    assert str(caught.value) == "longest: a code of 3 bits; expected at most 2"
    with pytest.raises(InputError) as caught:
        table_rows(HuffmanDecode(entries=2), canonical_code({1: 1, 2: 2, 3: 2}))
    assert str(caught.value) == "entries: 3 symbols; expected at most 2"
    p = HuffmanDecode(longest=4)
    code = canonical_code({1: 1, 2: 2, 3: 3, 4: 3})
    words = {**code_words(p, code, np.array([4, 4])), "unused": np.array([27])}
    with pytest.raises(InputError) as caught:
        UNIT.golden(p, {"t": table_rows(p, code), "i": words})
    assert str(caught.value) == "i: a packet ends within a code; expected a sequence of codes"


@pytest.mark.parametrize(("name", "value"), [("symbols", 5), ("longest", 33), ("entries", 1), ("word", 65)])
def test_parameters_are_checked(name: str, value: int) -> None:
    with pytest.raises(InputError) as caught:
        HuffmanDecode(**{name: value})
    assert caught.value.field == name
