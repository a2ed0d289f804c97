"""Logs keep every rule, seen by two checkers that know nothing of the executor; and both see a rule broken."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.memory.dram.checker import check
from simulator.memory.dram.outcome import CommandLog
from simulator.memory.dram.tables import command_number
from simulator.memory.pim.checker import broken_rules
from simulator.memory.pim.device import PimDevice
from simulator.memory.pim.executor import Entry, execute
from simulator.memory.pim.gemv import gemv_program
from simulator.memory.pim.lowering_registers import eltwise_registers
from simulator.memory.pim.presets import load_pim, pim_names
from simulator.memory.pim.program import COMPUTE, DRAIN, FILL, MOVE, Group, Loop, Op, Pass, Program


def _seen_by(pim: PimDevice, log: list[Entry], bank: int) -> CommandLog:
    """``log`` as an ordinary one in which ``bank`` stands for every set that holds it, the first bank for others."""
    commands = [pim.commands[entry.role].like for entry in log]
    wide = [command == "REFab" for command in commands]
    places = [bank if bank in pim.sets[entry.where] else min(pim.sets[entry.where]) for entry in log]
    keeps_row = ("ACT", "RD", "WR")
    rows = [entry.row if command in keeps_row else -1 for entry, command in zip(log, commands, strict=True)]
    return CommandLog(
        np.array([entry.tick for entry in log]),
        np.array([command_number(command) for command in commands]),
        np.zeros(len(log), np.int64),
        np.array([-1 if all_banks else place for all_banks, place in zip(wide, places, strict=True)]),
        np.array(rows),
    )


@pytest.mark.parametrize("name", pim_names())
@pytest.mark.parametrize("batch", [1, 5])
def test_products_break_no_rule(name: str, batch: int) -> None:
    pim = load_pim(name)
    log = execute(pim, gemv_program(pim, 1500, 3000, 16, batch), log=True).log
    assert broken_rules(pim, log) == ()


@pytest.mark.parametrize("bank", [0, 1, 5, 10, 15])
def test_samsungs_logs_pass_the_memorys_own_checker(bank: int) -> None:
    pim = load_pim("hbm-pim")
    for program in (gemv_program(pim, 4096, 2048), eltwise_registers(pim, 1 << 20)):
        log = execute(pim, program, log=True).log
        assert check(pim.dram, _seen_by(pim, log, bank), refresh_rate=True).count == 0


@pytest.mark.parametrize(("name", "step"), [("hbm-pim", 1), ("attacc-bank", 2), ("duplex-logic-pim", 2)])
def test_computes_and_refreshes_are_not_later_than_they_must_be(name: str, step: int) -> None:
    """One step earlier (half clocks: two), each breaks a rule with what was sent before it."""
    pim = load_pim(name)
    log = execute(pim, gemv_program(pim, 128, 512), log=True).log
    for number, entry in enumerate(log):
        if entry.role in ("compute", "refresh"):
            moved = [*log[max(0, number - 60) : number], replace(entry, tick=entry.tick - step)]
            assert any(broken.after == len(moved) - 1 for broken in broken_rules(pim, moved)), (number, entry)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda log: [*log[:4], *log[5:]], "column of a row that is not open"),  # an activation left out
        (lambda log: [e for e in log if e.role != "refresh"], "refresh rate"),
        (lambda log: [e for e in log if e.role != "fill"], "compute without operands"),
        (lambda log: [*log[:2], log[1], *log[2:]], "activation of an open bank"),
    ],
)
def test_states_that_must_not_be(change, rule) -> None:  # type: ignore[no-untyped-def]
    pim = load_pim("attacc-bank")
    fill, compute = Op("fill", "all", None, 4, FILL), Op("compute", "compute_all", 0, 1800, COMPUTE)
    program = Program((Pass((Loop((Group((fill,)), Group((compute,)))),)),), 0, 0, 0, 0)
    log = execute(pim, program, log=True).log
    assert broken_rules(pim, log) == ()
    if rule == "activation of an open bank":
        at = next(i for i, entry in enumerate(log) if entry.role == "activate")
        log = [*log[: at + 1], log[at], *log[at + 1 :]]
    else:
        log = change(log)
    assert rule in {broken.rule for broken in broken_rules(pim, log)}


def test_all_bank_commands_need_their_mode() -> None:
    pim = load_pim("hbm-pim")
    log = execute(pim, gemv_program(pim, 512, 512), log=True).log
    without = [entry for entry in log if entry.row != 0x17FF]
    assert "wrong mode" in {broken.rule for broken in broken_rules(pim, without)}


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.sampled_from(pim_names()), st.integers(1, 6000), st.integers(1, 6000), st.integers(1, 40))
def test_any_product_keeps_the_rules(name: str, rows: int, columns: int, batch: int) -> None:
    pim = load_pim(name)
    program = gemv_program(pim, rows, columns, 16, batch, read_results=True)
    quick = execute(pim, program)
    if quick.commands.total() < 40_000:
        whole = execute(pim, program, log=True)
        assert broken_rules(pim, whole.log) == ()
        assert (quick.cycles, quick.commands, quick.ticks_by_cause) == (
            whole.cycles,
            whole.commands,
            whole.ticks_by_cause,
        )


_Given = tuple[str, tuple[str, str], int, int, int]
_OPS = st.tuples(
    st.sampled_from(["compute_even", "compute_odd"]),
    st.sampled_from([("compute", COMPUTE), ("read", MOVE), ("write", DRAIN)]),
    st.integers(0, 2),
    st.integers(1, 9),
    st.integers(0, 1),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(_OPS, min_size=1, max_size=3), min_size=1, max_size=6), st.integers(1, 12))
def test_any_program_keeps_the_rules(
    groups: list[list[tuple[str, tuple[str, str], int, int, int]]], count: int
) -> None:
    pim = load_pim("hbm-pim")
    made = tuple(
        Group(tuple(Op(what, where, row, times, why, step) for where, (what, why), row, times, step in group))
        for group in groups
    )
    program = Program((Pass((Loop(made, count),)),), 0, 0, 0, 0)
    whole, quick = execute(pim, program, log=True), execute(pim, program)
    ignored = {"compute without operands", "wrong mode"}  # not what such a program is about
    assert {broken.rule for broken in broken_rules(pim, whole.log)} <= ignored
    assert check(pim.dram, _seen_by(pim, whole.log, 1), refresh_rate=True).count == 0
    assert (quick.cycles, quick.commands, quick.ticks_by_cause) == (whole.cycles, whole.commands, whole.ticks_by_cause)
    assert sum(whole.ticks_by_cause.values()) == whole.cycles
