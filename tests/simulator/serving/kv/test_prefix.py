"""Prompts that share blocks: reuse, eviction, what sharing saves and what all have in common, by hand."""

from __future__ import annotations

import pytest

from simulator.serving.kv.away import AwayTier
from simulator.serving.kv.memory import Grant
from simulator.serving.kv.prefix import PrefixMemory
from simulator.serving.kv.sizes import kv_sizes
from tests.simulator.serving.kv.twins import BYTE
from workloads.errors import InputError
from workloads.models import model


def test_a_prompt_reuses_its_leading_blocks_but_never_its_last_token() -> None:
    memory = PrefixMemory(BYTE, 1000, 10)
    assert memory.admit(1, 30, 50, (1, 2, 3)) == Grant(30, 0)
    assert memory.admit(2, 30, 50, (1, 2, 3)) == Grant(30, 29)
    assert memory.admit(3, 35, 50, (1, 2, 4)) == Grant(40, 20)
    assert memory.admit(4, 25, 50, (1, 9, 3)) == Grant(30, 10)
    # 1, 2, 3, 4 and 9's whole block once each; the third's last 5 tokens; the fourth ends inside block 3, which is
    # another block of its own.
    assert memory.held_bytes == 5 * 10 + 5 + 5
    assert (memory.hit_blocks, memory.prompt_blocks) == (0 + 3 + 2 + 1, 3 + 3 + 3 + 2)


def test_shared_prompts_take_their_blocks_once() -> None:
    # A system prompt of 512 tokens before eight requests of 100 own tokens, Llama-2-7B: 7 x 512 tokens are saved.
    sizes = kv_sizes(model("Llama-2-7B"))
    memory = PrefixMemory(sizes, 40e9, 16)
    system = tuple(range(32))
    for request in range(8):
        own = tuple(1000 * (request + 1) + block for block in range(7))
        assert memory.admit(request, 612, 700, system + own) is not None
    assert memory.saved_bytes == 7 * 512 * 524_288
    assert memory.held_bytes == (512 + 8 * 100) * 524_288
    assert memory.shared_tokens == 512
    memory.admit(8, 16, 20, (99_999,))
    assert memory.shared_tokens == 0
    memory.free(8)
    for request in range(7):
        memory.free(request)
    # Alone, it shares its whole prompt with itself.
    assert (memory.shared_tokens, memory.saved_bytes) == (612, 0)


def test_the_oldest_go_first_root_before_leaf_or_the_other_way() -> None:
    for leaves_first, left in ((False, 0), (True, 20)):
        memory = PrefixMemory(BYTE, 50, 10, leaves_first=leaves_first)
        memory.admit(1, 30, 30, (1, 2, 3))
        memory.free(1)
        assert memory.waste.kept_bytes == 30
        memory.admit(2, 30, 30, (4, 5, 6))
        memory.free(2)
        # Room for five: of the first prompt block 1 went, or block 3.
        grant = memory.admit(3, 30, 30, (1, 2, 3))
        assert grant is not None
        assert grant.reused_tokens == left


def test_a_block_in_use_is_never_evicted() -> None:
    memory = PrefixMemory(BYTE, 50, 10)
    memory.admit(1, 30, 40, (1, 2, 3))
    assert memory.admit(2, 40, 40, (1, 7, 8, 9)) is None
    assert memory.admit(2, 30, 30, (1, 7, 8)) == Grant(30, 10)
    assert memory.extend(1, 31) is None
    memory.free(2)
    assert memory.extend(1, 31) == Grant(40)


def test_prefixes_known_by_longer_pieces_than_blocks() -> None:
    memory = PrefixMemory(BYTE, 100, 4, 12)
    # Pieces of 12, 12 and 3 tokens: blocks 3 + 3 + 1; answers begin in a block of their own.
    assert memory.admit(1, 27, 40, (1, 2, 3)) == Grant(27, 0)
    assert memory.used_bytes == 28
    assert memory.extend(1, 28) == Grant(31)
    assert memory.used_bytes == 32
    # The same last piece is the same three tokens; a longer prompt has another there.
    assert memory.admit(2, 27, 30, (1, 2, 3)) == Grant(27, 26)
    assert memory.admit(3, 36, 40, (1, 2, 3)) == Grant(36, 24)


def test_evicted_blocks_come_back_from_the_tier_below_in_time() -> None:
    below = AwayTier("ddr", 30, 5.0, 1.0, in_latency_s=2.0)
    for hidden_s, wait_s in ((0.0, 2.0 + 20 / 5), (4.5, 1.5), (9.0, 0.0)):
        memory = PrefixMemory(BYTE, 30, 10, below=below, hidden_s=hidden_s)
        memory.admit(1, 20, 20, (1, 2))
        memory.free(1)
        memory.admit(2, 30, 30, (7, 8, 9))
        memory.free(2)
        assert memory.admit(3, 25, 25, (1, 2)) == Grant(30, 20, wait_s)


def test_the_tier_below_forgets_its_oldest() -> None:
    memory = PrefixMemory(BYTE, 20, 10, below=AwayTier("ddr", 20, 5.0, 1.0))
    for sequence, names in enumerate(((1, 2), (3, 4), (5, 6))):
        memory.admit(sequence, 20, 20, names)
        memory.free(sequence)
    # 3 and 4 are below, 1 and 2 are gone.
    assert memory.admit(7, 20, 20, (1, 2)) == Grant(20, 0)
    memory.free(7)
    grant = memory.admit(8, 20, 20, (5, 6))
    assert grant is not None
    assert grant.reused_tokens == 19


def test_pieces_are_whole_blocks() -> None:
    with pytest.raises(InputError, match=r"^block_tokens: prefixes known by 512 tokens in blocks of 24; expected bl"):
        PrefixMemory(BYTE, 100, 24, 512)
