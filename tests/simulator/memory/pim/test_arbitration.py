"""Host and units on the same memory: taking turns, and both at once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from simulator.memory.pim.arbitration import share
from simulator.memory.pim.executor import execute
from simulator.memory.pim.gemv import gemv_program
from simulator.memory.pim.host import host_gemv
from simulator.memory.pim.presets import load_pim
from workloads.errors import InputError


def test_taking_turns_adds_up() -> None:
    pim = load_pim("hbm-pim")
    program, host = gemv_program(pim, 2048, 2048), host_gemv(pim, 1024, 1024)
    alone = execute(pim, program).cycles
    shares = share(pim, program, host, 3)
    assert shares.cycles == 3 * alone + host.cycles + 3 * 2 * 14  # rows closed (tRP) before and after each turn
    assert shares.pim_share + shares.host_share + shares.switch_share == pytest.approx(1)
    assert shares.switch_share > 0
    assert 0 < shares.bus_load < 1


def test_finer_turns_cost_more_switches() -> None:
    pim = load_pim("hbm-pim")
    host = host_gemv(pim, 1024, 1024)
    coarse = share(pim, gemv_program(pim, 4096, 4096, 16, 4), host, 1)
    fine = share(pim, gemv_program(pim, 4096, 4096, 16, 1), host, 4)
    assert fine.cycles > coarse.cycles
    assert fine.switch_share > 3 * coarse.switch_share


def test_two_row_buffers_hide_the_shorter() -> None:
    taking_turns = load_pim("attacc-bank")
    both = replace(taking_turns, two_row_buffers=True)
    program, host = gemv_program(both, 4096, 4096), host_gemv(both, 2048, 2048)
    alone = execute(both, program).cycles
    overlapped, exclusive = share(both, program, host, 1), share(taking_turns, program, host, 1)
    assert max(alone, host.cycles) <= overlapped.cycles < exclusive.cycles
    assert overlapped.bus_load <= 1
    assert 1 < exclusive.cycles / overlapped.cycles <= 2.01
    with pytest.raises(InputError, match="0 turns"):
        share(both, program, host, 0)
