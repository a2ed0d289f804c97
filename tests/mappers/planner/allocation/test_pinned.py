"""Pinned memory: powers of two, blocks used again, pools by hand, and what looking for infinities takes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappers.planner.allocation.pinned import (
    PAGE,
    PinnedResult,
    class_pool,
    overflow_check_bytes,
    pinned_bytes,
    replay_pinned,
    uniform_pool,
)
from mappers.planner.allocation.requests import Request, parse_requests
from workloads.errors import InputError


def test_powers_of_two() -> None:
    # 8.03 G parameters in fp32 are 29.9 GiB and pin 32; 4.88 GiB pin 8 (a run of others that reports it).
    assert [pinned_bytes(size, "power-of-two") for size in (0, 1, 2, 3, 4, 5, 1 << 30, (1 << 30) + 1)] == [
        0, 1, 2, 4, 4, 8, 1 << 30, 1 << 31,
    ]  # fmt: skip
    assert pinned_bytes(8_030_261_248 * 4, "power-of-two") == 32 << 30
    assert pinned_bytes(int(4.88 * 2**30), "power-of-two") == 8 << 30


def test_pages() -> None:
    assert [pinned_bytes(size, "page") for size in (0, 1, PAGE, PAGE + 1)] == [0, PAGE, PAGE, 2 * PAGE]
    with pytest.raises(InputError, match="found -1 bytes"):
        pinned_bytes(-1, "page")


def test_a_freed_block_serves_its_class_only() -> None:
    # 3 and 4 share a block of 4; 5 takes 8, and a 2 does not take the free 4.
    trace = parse_requests("malloc a 3\nfree a\nmalloc b 4\nfree b\nmalloc c 5\nmalloc d 2\nmalloc e 0\n")
    assert replay_pinned(trace, "power-of-two") == PinnedResult(7, 3, 4 + 8 + 2, 7)
    assert replay_pinned(trace, "power-of-two").waste == pytest.approx(0.5)
    assert replay_pinned((), "page") == PinnedResult(0, 0, 0, 0)


def test_pools_by_hand() -> None:
    # Tensors of 100, 3 x 10 and 2 x 4 KiB in flight. One size: 6 x 100, of which 138 are used.
    sizes = [1024 * size for size in (100, 10, 10, 10, 4, 4)]
    one, own = uniform_pool(sizes), class_pool(sizes)
    assert one.requests == (600 * 1024,)
    assert one.waste == pytest.approx(1 - 138 / 600)
    assert one.pinned("power-of-two") == 1 << 20
    assert own.requests == (100 * 1024, 30 * 1024, 8 * 1024)
    assert (own.waste, own.pinned("page")) == (0.0, (100 + 32 + 8) * 1024)
    assert uniform_pool([]).requests == class_pool([]).requests == ()
    assert uniform_pool([1], threads=4).requests == (4096,)


def test_the_check_by_hand() -> None:
    # fp32: absolute values and flags, so the peak is 2.25 times the buffer. 16 bits: widened, and a copy of that.
    assert overflow_check_bytes(100, 4) == 500
    assert (400 + overflow_check_bytes(100, 4)) / 400 == 2.25
    assert overflow_check_bytes(100, 2) == 900
    assert overflow_check_bytes(100, 2, 2) == 300


@given(st.lists(st.tuples(st.integers(0, 1 << 40), st.booleans()), max_size=30))
def test_what_holds_of_every_replay(sizes: list[tuple[int, bool]]) -> None:
    requests: list[Request] = []
    for number, (size, freed) in enumerate(sizes):
        requests.append(Request(True, f"{number}", size))
        if freed:
            requests.append(Request(False, f"{number}", size))
    for rounding in ("power-of-two", "page"):
        found = replay_pinned(requests, rounding)  # type: ignore[arg-type]
        assert found.allocated_bytes <= found.reserved_bytes
        assert found.blocks <= sum(size > 0 for size, _ in sizes)
    kept = [size for size, freed in sizes if not freed]
    if len(kept) == len(sizes):
        assert replay_pinned(requests, "power-of-two").reserved_bytes <= 2 * sum(kept)
        assert replay_pinned(requests, "page").reserved_bytes < sum(kept) + PAGE * max(len(kept), 1)


@given(st.lists(st.integers(1, 1 << 30), min_size=1, max_size=20))
def test_classes_are_never_larger(sizes: list[int]) -> None:
    one, own = uniform_pool(sizes), class_pool(sizes)
    assert own.held_bytes == one.held_bytes == sum(sizes)
    assert sum(sizes) <= sum(own.requests) <= sum(one.requests)
    if len(set(sizes)) == 1:
        assert sum(own.requests) == sum(one.requests)
