"""Every KV memory against its slow twin, and what holds for all of them in any order of calls."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.serving.kv.away import AwayTier
from simulator.serving.kv.contiguous import RESERVES, ContiguousMemory
from simulator.serving.kv.memory import KvMemory
from simulator.serving.kv.paged import PagedMemory
from simulator.serving.kv.pages import VirtualMemory
from simulator.serving.kv.prefix import PrefixMemory
from simulator.serving.kv.sizes import KvPart, KvSizes
from simulator.serving.kv.tiered import TieredMemory
from tests.simulator.serving.kv.twins import (
    BYTE,
    ContiguousTwin,
    Operation,
    PagedTwin,
    PrefixTwin,
    operations,
    run,
    run_beside,
)
from workloads.errors import InfeasibleError

# Two layers that keep everything, one with a window of 7 tokens, over two devices.
MIXED = KvSizes((KvPart(2, 1.0, 1.0, 8.0, 8.0), KvPart(1, 2.0, 2.0, 8.0, 4.0, 2, keeps_tokens=7, slides=True)))
# Room for a few of the sequences, so that it runs out.
CAPACITY, BLOCK = st.integers(10, 60), st.integers(1, 5)
TIERS = (AwayTier("ddr", 24, 10.0, 5.0, 1.0, 2.0), AwayTier("flash", 30, 1.0, 1.0))


@settings(max_examples=40, deadline=None)
@given(operations, CAPACITY, BLOCK)
def test_paged_is_its_twin(program: list[Operation], capacity: int, block: int) -> None:
    run_beside(PagedMemory(BYTE, capacity, block), PagedTwin(capacity, block), program)


@settings(max_examples=40, deadline=None)
@given(operations, CAPACITY, st.sampled_from(RESERVES))
def test_contiguous_is_its_twin(program: list[Operation], capacity: int, rule: str) -> None:
    run_beside(ContiguousMemory(BYTE, capacity, rule, 40), ContiguousTwin(capacity, rule, 40), program)


@settings(max_examples=40, deadline=None)
@given(operations, CAPACITY, BLOCK)
def test_pages_taken_back_at_once_are_blocks_of_their_size(program: list[Operation], capacity: int, block: int) -> None:
    # One tensor of one byte a token: a page is a block.
    run_beside(VirtualMemory(BYTE, capacity, block, keep_mapped=False), PagedTwin(capacity, block), program)


@settings(max_examples=40, deadline=None)
@given(operations, CAPACITY, BLOCK)
def test_prefixes_are_their_twin(program: list[Operation], capacity: int, block: int) -> None:
    # Whole blocks: a prompt that ends inside one has that one for itself.
    whole = [(what, who, tokens, more, blocks[: tokens // block]) for what, who, tokens, more, blocks in program]
    run_beside(PrefixMemory(BYTE, capacity, block), PrefixTwin(capacity, block), whole)


@settings(max_examples=40, deadline=None)
@given(operations, CAPACITY, BLOCK)
def test_without_known_prompts_prefixes_are_paged(program: list[Operation], capacity: int, block: int) -> None:
    unknown = [(what, who, tokens, more, ()) for what, who, tokens, more, _ in program]
    run_beside(PrefixMemory(BYTE, capacity, block), PagedTwin(capacity, block), unknown)


@settings(max_examples=40, deadline=None)
@given(operations, st.integers(10, 120), BLOCK, st.booleans(), st.sampled_from([BYTE, MIXED]))
def test_in_any_order_of_calls(program: list[Operation], capacity: int, block: int, flag: bool, sizes: KvSizes) -> None:
    memories: list[tuple[KvMemory, bool]] = [
        (PagedMemory(sizes, capacity, block, 0.1 if flag else 0.0), False),
        (ContiguousMemory(sizes, capacity, "pow2" if flag else "oracle"), False),
        (VirtualMemory(sizes, capacity, block, map_s=1.0, hidden_s=2.0, joined=flag), True),
        (PrefixMemory(sizes, capacity, block, 2 * block, leaves_first=flag), True),
        (PrefixMemory(sizes, capacity, block, below=TIERS[0]), True),
        (TieredMemory(sizes, capacity, TIERS, block, spill=flag and sizes is BYTE, watermark=0.1), False),
    ]
    for memory, kept in memories:
        run(memory, program, kept)
        if isinstance(memory, VirtualMemory | PrefixMemory):
            assert memory.used_bytes == memory.waste.kept_bytes
        if isinstance(memory, TieredMemory):
            assert memory.away.used_bytes == 0


@settings(max_examples=30, deadline=None)
@given(operations, st.integers(60, 200), BLOCK)
def test_waste_adds_up(program: list[Operation], capacity: int, block: int) -> None:
    for memory in (
        PagedMemory(BYTE, capacity, block),
        ContiguousMemory(BYTE, capacity, "pow2"),
        VirtualMemory(BYTE, capacity, block),
        PrefixMemory(BYTE, capacity, block),
    ):
        for what, sequence, tokens, more, blocks in program:
            if what == "admit":
                memory.admit(sequence + 10 * tokens + 1000 * len(memory._tokens), tokens, tokens + more, blocks)
            waste = memory.waste
            lost = waste.reserved_bytes + waste.internal_bytes + waste.kept_bytes
            assert memory.used_bytes == memory.held_bytes + lost
            assert 0 <= waste.external_bytes <= memory.capacity_bytes - memory.used_bytes


@pytest.mark.parametrize(
    ("memory", "constraint", "needed", "available"),
    [
        (PagedMemory(BYTE, 100, 16), "KV memory for one sequence of 97 tokens", 112, 100),
        (ContiguousMemory(BYTE, 100, "pow2"), "KV memory for one sequence of 138 reserved tokens", 138, 100),
        (VirtualMemory(BYTE, 100, 16), "KV memory for one sequence of 97 tokens", 112, 96),
        (PrefixMemory(BYTE, 100, 16), "KV memory for one sequence of 97 tokens", 112, 96),
        (
            TieredMemory(BYTE, 32, TIERS, 16, spill=True),
            "KV memory and the tiers behind it for one sequence of 97 tokens",
            112,
            64,
        ),
    ],
)
def test_what_would_not_fit_alone_is_refused_with_bytes(
    memory: KvMemory, constraint: str, needed: float, available: float
) -> None:
    with pytest.raises(InfeasibleError) as caught:
        memory.admit(1, 10, 97)
    refusal = caught.value
    assert (refusal.constraint, refusal.needed, refusal.available) == (constraint, needed, available)


@pytest.mark.slow
@settings(max_examples=3000, deadline=None)
@given(operations, CAPACITY, BLOCK)
def test_twins_at_length(program: list[Operation], capacity: int, block: int) -> None:
    run_beside(PagedMemory(BYTE, capacity, block), PagedTwin(capacity, block), program)
    run_beside(ContiguousMemory(BYTE, capacity, "pow2"), ContiguousTwin(capacity, "pow2", 0), program)
    whole = [(what, who, tokens, more, blocks[: tokens // block]) for what, who, tokens, more, blocks in program]
    run_beside(PrefixMemory(BYTE, capacity, block), PrefixTwin(capacity, block), whole)
