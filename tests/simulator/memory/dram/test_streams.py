"""Streams against their formulas: the reference traces by their hashes, periods by their definition."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.memory.dram.patterns import PATTERNS, Geometry, Options, build_pattern
from simulator.memory.dram.streams import (
    Gather,
    Interleaved,
    RandomGranules,
    Recorded,
    Sequential,
    Stream,
    Strided,
    WriteEvery,
    WriteShare,
    splitmix64,
)
from tests.reference_data import reference_file
from workloads.errors import InputError

BURST = 64
MiB = 1 << 20

# Bytes of a row and banks that each reference run gave to its generator; its burst stands in the table.
GIVEN = {
    "DDR4_3200AA": (8192, 16),
    "DDR5_4800AN": (4096, 32),
    "DDR5_5600AN": (4096, 32),
    "HBM2_2000": (1024, 32),
    "HBM3_6400": (1024, 64),
    "LPDDR5_6400": (2048, 16),
    "ddr4_3200_default": (8192, 16),
    "ddr4_3200_matched_robabgraco": (8192, 16),
    "ddr4_3200_matched_bglsb": (8192, 16),
    "hbm2_1ch_robabgraco": (1024, 16),
    "hbm2_1ch_bglsb": (1024, 16),
    "hbm2_8ch_default": (1024, 128),
    "lpddr4_2400_default": (8192, 8),
}


def whole(stream: Stream, count: int, start: int = 0) -> list[tuple[int, bool]]:
    at, writes = stream.addresses(start, count)
    assert (str(at.dtype), str(writes.dtype), len(at), len(writes)) == ("int64", "bool", count, count)
    return list(zip(at.tolist(), writes.tolist(), strict=True))


# The reference traces


def test_every_reference_trace_by_its_hash() -> None:
    with reference_file("dram_reference.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["pattern"] for row in rows} < set(PATTERNS)
    hashes: dict[tuple[str, str, int], str] = {}
    for row in rows:
        key = (row["preset"], row["pattern"], int(row["requests"]))
        if key not in hashes:
            geometry = Geometry(int(row["tx_bytes"]), *GIVEN[row["preset"]], capacity_bytes=1 << 40)
            stream = build_pattern(row["pattern"], geometry, Options())
            at, writes = stream.addresses(0, key[2])
            assert int(writes.sum()) == int(row["writes"])
            words = at.astype("<u8") | writes.astype("<u8") << np.uint64(63)
            hashes[key] = hashlib.sha256(words.tobytes()).hexdigest()
        assert hashes[key] == row["trace_sha256"], key
    assert len(rows) == 220


def test_splitmix64_of_its_author() -> None:
    # The first outputs of S. Vigna's splitmix64.c for seed 1234567, as Rosetta Code lists them
    # ("Pseudo-random numbers/Splitmix64").
    expected = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert splitmix64(1234567, 0, 5).tolist() == expected
    assert splitmix64(1234567, 3, 2).tolist() == expected[3:]


# The formulas by hand


def test_sequential_starts_over() -> None:
    assert whole(Sequential(64, 192, 128), 5) == [(128, False), (192, False), (256, False), (128, False), (192, False)]
    assert whole(Sequential(64), 2, 1 << 40) == [(1 << 46, False), ((1 << 46) + 64, False)]


def test_strided_moves_on_by_a_burst_and_starts_over() -> None:
    at = [0, 128, 256, 64, 192, 320, 0, 128]
    assert [a for a, _ in whole(Strided(64, 128, 384), 8)] == at


def test_interleaved_takes_chunks_in_turn() -> None:
    # Two streams 1,000 bursts apart, two bursts of each in turn, four bursts long.
    at = [0, 1, 1000, 1001, 2, 3, 1002, 1003, 0, 1]
    stream = Interleaved(64, 2, 64_000, 128, 256)
    assert [a // 64 for a, _ in whole(stream, 10)] == at


def test_gather_reads_granules_whole_and_again() -> None:
    stream = Gather(64, 128, np.array([5, 0]))
    assert [a for a, _ in whole(stream, 6)] == [640, 704, 0, 64, 640, 704]


def test_random_granules_are_whole_and_uniform() -> None:
    at = np.array([a for a, _ in whole(RandomGranules(64, 16 * 256, 256, seed=3), 64_000)]).reshape(-1, 4)
    assert (np.diff(at, axis=1) == 64).all()
    counts = np.bincount(at[:, 0] // 256, minlength=16)
    # 16,000 draws of 16 values: the chi-square sum of 15 degrees stays below 44.3 but once in 10,000 seeds.
    assert counts.sum() == 16_000
    assert ((counts - 1000.0) ** 2 / 1000).sum() < 44.3


def test_every_third_is_a_write() -> None:
    assert [w for _, w in whole(WriteEvery(Sequential(64), 3), 7)] == [False, False, True, False, False, True, False]
    assert [w for _, w in whole(WriteEvery(Sequential(64), 1), 3)] == [True] * 3


def test_a_share_of_writes() -> None:
    writes = np.array([w for _, w in whole(WriteShare(RandomGranules(64, 1 << 20, 64, 7), 0.25, 7), 40_000)])
    assert abs(writes.mean() - 0.25) < 4 * (0.25 * 0.75 / 40_000) ** 0.5
    assert not any(w for _, w in whole(WriteShare(Sequential(64), 0), 1000))
    assert all(w for _, w in whole(WriteShare(Sequential(64), 1), 1000))


def test_recorded_ends() -> None:
    stream = Recorded(64, np.array([0, 640, 64]), np.array([False, True, False]))
    assert whole(stream, 2, 1) == [(640, True), (64, False)]
    assert (len(stream), stream.top_bytes(3), stream.period(64)) == (3, 704, None)
    with pytest.raises(InputError, match="asked for 4 requests; expected at most the 3 recorded"):
        stream.addresses(1, 3)


# Properties

bursts = st.integers(1, 12)


@st.composite
def streams(draw: st.DrawFn) -> Stream:
    """Small streams of every kind, of at most a few hundred requests before they start over."""
    kind = draw(st.sampled_from(["sequential", "strided", "interleaved", "gather", "random"]))
    stream: Stream
    if kind == "sequential":
        region = draw(st.none() | bursts)
        stream = Sequential(BURST, region and region * BURST, draw(st.integers(0, 5)) * BURST)
    elif kind == "strided":
        stride = draw(bursts) * BURST
        stream = Strided(BURST, stride, stride * draw(bursts))
    elif kind == "interleaved":
        chunk, length = draw(st.integers(1, 4)) * BURST, draw(st.none() | st.integers(1, 5))
        spacing = draw(bursts) * BURST
        stream = Interleaved(BURST, draw(st.integers(1, 5)), spacing, chunk, length and length * chunk)
    elif kind == "gather":
        indices = draw(st.lists(st.integers(0, 2), min_size=1, max_size=6)) * draw(st.integers(1, 3))
        stream = Gather(BURST, draw(st.integers(1, 3)) * BURST, np.array(indices))
    else:
        granule = draw(st.integers(1, 3)) * BURST
        stream = RandomGranules(BURST, granule * draw(bursts), granule, draw(st.integers(0, 2**64 - 1)))
    mix = draw(st.sampled_from(["reads", "every", "share"]))
    if mix == "every":
        return WriteEvery(stream, draw(st.integers(1, 7)))
    return stream if mix == "reads" else WriteShare(stream, draw(st.sampled_from([0, 0.5, 1])), draw(st.integers(0, 9)))


@given(streams(), st.integers(0, 400), st.integers(0, 90), st.integers(0, 90))
def test_any_stretch_is_the_same_requests(stream: Stream, start: int, first: int, second: int) -> None:
    together = whole(stream, first + second, start)
    assert whole(stream, first, start) + whole(stream, second, start + first) == together
    assert all(at >= 0 and at % BURST == 0 for at, _ in together)
    assert all(at < stream.top_bytes(start + first + second) for at, _ in together)


def repeats(requests: list[tuple[int, bool]], period: int, unit: int) -> bool:
    """The definition, request by request."""
    pairs = list(zip(requests[period:], requests, strict=False))
    moved = {later[0] - earlier[0] for later, earlier in pairs}
    same = all(later[1] == earlier[1] for later, earlier in pairs)
    return same and len(moved) == 1 and next(iter(moved)) % unit == 0


@given(streams(), st.integers(1, 6), st.none() | st.integers(1, 60))
def test_periods_are_the_smallest_by_definition(stream: Stream, units: int, count: int | None) -> None:
    unit = units * BURST
    found = stream.period(unit, count)
    if found is None:
        return
    period, moved = found
    assert period >= 1
    assert moved % unit == 0
    if count is None:
        # Long enough that a smaller period would have failed: every stream starts over within 12 x 12 x 7 requests.
        requests = whole(stream, max(2500, 3 * period))
        assert repeats(requests, period, unit)
        assert requests[period][0] - requests[0][0] == moved
        assert not any(repeats(requests, d, unit) for d in range(1, min(period, 300)))
    elif period < count:
        requests = whole(stream, count)
        assert repeats(requests, period, unit)
        assert requests[period][0] - requests[0][0] == moved


def test_only_random_streams_have_no_period() -> None:
    geometry = Geometry(64, 8192, 16, 8 << 30)
    lacking = set()
    for name in PATTERNS:
        options = Options(indices=(3, 4)) if name == "gather" else Options()
        if build_pattern(name, geometry, options).period(1 << 17) is None:
            lacking.add(name)
    assert lacking == {"rand", "idle_rand", "random"}
    assert WriteShare(Sequential(64), 0.5).period(64) is None


@pytest.mark.parametrize(
    ("stream", "count", "expected"),
    [
        # Rows of all 16 banks are 128 KiB: 2,048 bursts.
        (Sequential(64), None, (2048, 1 << 17)),
        (Sequential(64, 1 << 30), 200_000, (2048, 1 << 17)),
        (Sequential(64, 1 << 30), None, (1 << 24, 0)),
        (WriteEvery(Sequential(64), 3), None, (3 * 2048, 3 << 17)),
        (WriteEvery(Sequential(64), 4), None, (2048, 1 << 17)),
        # One burst of every row: 16 rows.
        (Strided(64, 8192, 1 << 30), 131_072, (16, 1 << 17)),
        # 16 streams in chunks of 256 bytes: each moves 128 KiB in 512 turns of all.
        (Interleaved(64, 16, 64 * MiB, 256), None, (16 * 2048, 1 << 17)),
    ],
)
def test_periods_worked_out_by_hand(stream: Stream, count: int | None, expected: tuple[int, int]) -> None:
    assert stream.period(1 << 17, count) == expected


# Options and refusals

GEOMETRY = Geometry(64, 8192, 16, 1 << 30)


def test_options_shape_the_stream() -> None:
    def at(name: str, **options: int) -> list[int]:
        return [a for a, _ in whole(build_pattern(name, GEOMETRY, Options(**options)), 4)]

    assert at("strided", stride_bytes=256, region_bytes=512) == [0, 256, 64, 320]
    assert at("streams", streams=2, granule_bytes=128) == [0, 64, 1 << 29, (1 << 29) + 64]
    assert at("streams", streams=2, stride_bytes=640) == [0, 640, 64, 704]
    assert at("seq", region_bytes=128) == [0, 64, 0, 64]
    assert at("random", seed=5) != at("random", seed=6)
    first, *rest = at("random", granule_bytes=256)
    assert (first % 256, rest) == (0, [first + 64, first + 128, first + 192])


def test_a_memory_below_1_gib_is_covered_whole() -> None:
    small = Geometry(32, 2048, 16, 1 << 29)
    assert build_pattern("seq", small, Options()).period(1 << 15) == (1 << 24, 0)
    assert build_pattern("rand", small, Options()).top_bytes(10) == 1 << 29


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sequential(64, 100), "region_bytes: found 100 bytes; expected a multiple of the burst of 64 bytes"),
        (lambda: Sequential(64, 0), "region_bytes: found 0 bytes"),
        (lambda: Sequential(64, 64, -64), "start_bytes: found -64 bytes"),
        (lambda: Strided(64, 0, 128), "stride_bytes: found 0 bytes"),
        (lambda: Strided(64, 128, 192), "region_bytes: a region of 192 bytes with a stride of 128"),
        (lambda: Interleaved(64, 0, 64, 64), "streams: found 0 streams"),
        (lambda: Interleaved(64, 2, 64, 128, 192), "stream_bytes: streams of 192 bytes in chunks of 128"),
        (lambda: Interleaved(64, 1 << 50, 1 << 30, 64), "streams: "),
        (lambda: RandomGranules(64, 192, 128), "granule_bytes: a region of 192 bytes in granules of 128"),
        (lambda: RandomGranules(64, 128, 64, -1), "seed: found seed -1"),
        (lambda: Gather(64, 64, np.array([], dtype=np.int64)), "indices: found no granule"),
        (lambda: Gather(64, 64, np.array([1, -1])), "indices: found granule -1"),
        (lambda: WriteEvery(Sequential(64), 0), "write_every: found 0"),
        (lambda: WriteShare(Sequential(64), 1.5), "write_share: found 1.5"),
        (lambda: WriteShare(Sequential(64), float("nan")), "write_share: found nan"),
        (lambda: build_pattern("sequental", GEOMETRY, Options()), "did you mean 'sequential'"),
        (lambda: build_pattern("seq", GEOMETRY, Options(streams=2)), "streams: means nothing for pattern seq"),
        (lambda: build_pattern("mix21", GEOMETRY, Options(write_every=2)), "write_every: means nothing for pattern"),
        (lambda: build_pattern("gather", GEOMETRY, Options()), "indices: pattern gather needs"),
        (lambda: build_pattern("streams", GEOMETRY, Options(streams=0)), "streams: found 0 streams"),
        (lambda: build_pattern("streams", GEOMETRY, Options(granule_bytes=0)), "granule_bytes: found 0 bytes"),
        (lambda: build_pattern("streams", GEOMETRY, Options(stride_bytes=-64)), "stride_bytes: found -64 bytes"),
        (lambda: build_pattern("streams", GEOMETRY, Options(stride_bytes=1 << 29)), "stride_bytes: 16 streams"),
        (lambda: build_pattern("streams", GEOMETRY, Options(streams=1 << 40)), "streams: 1,099,511,627,776 streams"),
        (lambda: build_pattern("seq", GEOMETRY, Options(seed=-1)), "seed: found seed -1"),
        (
            lambda: build_pattern("seq", GEOMETRY, Options(write_every=2, write_share=0.5)),
            "write_every: stands beside write_share",
        ),
    ],
)
def test_refusals(make: Callable[[], Stream], message: str) -> None:
    with pytest.raises(InputError) as caught:
        make()
    assert message in str(caught.value)
