"""First fit and what it loses, worked by hand; what Orca's rules reserve."""

from __future__ import annotations

import pytest

from simulator.serving.kv.contiguous import ContiguousMemory
from simulator.serving.kv.memory import Grant
from simulator.serving.kv.waste import Waste
from tests.simulator.serving.kv.twins import BYTE
from workloads.errors import InputError


def test_free_room_in_two_holes_does_not_serve_one_piece() -> None:
    memory = ContiguousMemory(BYTE, 100)
    for sequence, tokens in ((1, 40), (2, 30), (3, 30)):
        assert memory.admit(sequence, tokens, tokens) == Grant(tokens)
    memory.free(1)
    memory.free(3)
    # Holes of 40 at 0 and 30 at 70: 70 are free and 50 do not fit.
    assert memory.admit(4, 50, 50) is None
    assert memory.waste == Waste(external_bytes=30)
    memory.free(2)
    assert memory.waste == Waste()
    assert memory.admit(4, 50, 50) == Grant(50)


def test_the_first_hole_is_taken_though_a_later_one_fits_better() -> None:
    memory = ContiguousMemory(BYTE, 100)
    for sequence, tokens in ((1, 40), (2, 30), (3, 20), (4, 10)):
        memory.admit(sequence, tokens, tokens)
    memory.free(1)
    memory.free(3)
    memory.admit(5, 20, 20)  # at 0, not in the hole of just 20
    assert memory.waste.external_bytes == 20
    assert memory.admit(6, 21, 21) is None


@pytest.mark.parametrize(("rule", "reserved"), [("oracle", 35), ("pow2", 42), ("max", 2048)])
def test_what_is_reserved_for_ten_tokens_and_an_answer_of_25(rule: str, reserved: int) -> None:
    # 25 becomes 32 in section 6.1 of the vLLM paper, whose longest sequence is 2048.
    memory = ContiguousMemory(BYTE, 4096, rule, 2048)
    assert memory.admit(1, 10, 35) == Grant(reserved)
    assert memory.waste == Waste(reserved_bytes=reserved - 10)
    assert memory.extend(1, 35) == Grant(reserved)
    assert (memory.used_bytes, memory.held_bytes) == (reserved, 35)
    assert memory.extend(1, reserved + 1) is None


def test_reserving_the_most_needs_to_know_it() -> None:
    with pytest.raises(InputError, match=r"^most_tokens: no longest sequence to reserve; expected the model's most"):
        ContiguousMemory(BYTE, 10, "max")
    with pytest.raises(InputError, match=r"^reserve: unknown rule of reserving 'pow'; .*; did you mean 'pow2'\?$"):
        ContiguousMemory(BYTE, 10, "pow")
