"""A device's constraints as dense arrays, in the order the kernel reads them.

Commands are numbered by their role in the controller, the same for every standard, so that the kernel knows no names.
A rule holds for one of six kinds of node: the same rank, another rank, the same bank group, another group of the same
stack, another stack of the same rank, the same bank. Rules of channel scope hold for the same rank and every other.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from simulator.memory.dram.device import Constraint, Device
from workloads.errors import InputError

__all__ = ["ACT", "ACT2", "CAS_RD", "CAS_WR", "COMMANDS", "PRE", "PREA", "RD", "RDA", "REF", "REFB", "WR", "WRA"]
__all__ += ["KINDS", "MOST_BANKS", "MOST_GROUPS", "MOST_RANKS", "TABLES", "Tables", "command_number", "compile_tables"]

ACT, PRE, PREA, RD, WR, RDA, WRA, REF, REFB, ACT2, CAS_RD, CAS_WR = range(12)
COMMANDS = ("ACT", "PREpb", "PREab", "RD", "WR", "RDA", "WRA", "REFab", "REFpb", "ACT2", "CAS_RD", "CAS_WR")
MOST_RANKS, MOST_GROUPS, MOST_BANKS = 16, 136, 520
_WIDTH = 16  # commands padded to whole vectors
_RANK_WIDE = ("PREab", "REFab", "RFMab")


def command_number(name: str) -> int:
    """The role of the command ``name``; an ACT1 is an activation. -1 for commands the controller never sends."""
    name = "ACT" if name == "ACT1" else name
    return COMMANDS.index(name) if name in COMMANDS else -1


TABLES = np.dtype(
    [
        # Ticks from [command before] to [command after], 0 for no rule.
        ("same_rank", np.int64, (_WIDTH, _WIDTH)),
        ("other_rank", np.int64, (_WIDTH, _WIDTH)),
        ("same_group", np.int64, (_WIDTH, _WIDTH)),
        ("same_stack", np.int64, (_WIDTH, _WIDTH)),
        ("other_stack", np.int64, (_WIDTH, _WIDTH)),
        ("same_bank", np.int64, (_WIDTH, _WIDTH)),
        ("reaches", np.int64, (6, _WIDTH)),  # [table in this order, command before] whether it has any rule
        ("rank_of_bank", np.int64, MOST_BANKS),
        ("group_of_bank", np.int64, MOST_BANKS),
        ("stack_of_group", np.int64, MOST_GROUPS),
        ("rank_of_group", np.int64, MOST_GROUPS),
        ("four_activates", np.int64),
        ("read_latency", np.int64),
        ("write_latency", np.int64),
        ("read_sync", np.int64),  # ticks the data clock runs on after a read command, -1 where it never stops
        ("write_sync", np.int64),
        ("second_activate", np.int64),  # an ACT2 follows within so many ticks; 0 without ACT2
        ("split_buses", np.int64),
        ("half_clock", np.int64),
    ]
)
"""What the kernel knows of a device. Of one size for all devices, so that the kernel is compiled once."""

KINDS = TABLES.names[:6] if TABLES.names else ()

Tables = np.ndarray[Any, Any]
"""A record array of one `TABLES`."""


def compile_tables(device: Device) -> Tables:
    """``device`` as arrays.

    Raises `InputError` for rules the controller cannot keep (see the checks below) and for more nodes than it has room
    for.
    """
    ranks, stacks, groups, banks = device.shape
    for what, count, most in (
        ("ranks", ranks, MOST_RANKS),
        ("bank groups", ranks * stacks * groups, MOST_GROUPS),
        ("banks", device.banks, MOST_BANKS),
    ):
        if count > most:
            raise InputError(f"{device.name} has {count} {what} in a channel", f"at most {most}")
    tables = np.zeros(1, dtype=TABLES)
    one = tables[0]
    for rule in device.constraints:
        before, after = command_number(rule.before), command_number(rule.after)
        _check(rule, device)
        if before < 0 or after < 0:
            continue
        if rule.window > 1:
            one["four_activates"] = max(one["four_activates"], rule.ticks)
            continue
        for kind in _kinds(rule):
            one[kind][before, after] = max(one[kind][before, after], rule.ticks)
    for number, kind in enumerate(KINDS):
        one["reaches"][number] = one[kind].any(axis=1)
    bank, group = np.arange(device.banks), np.arange(ranks * stacks * groups)
    one["rank_of_bank"][: len(bank)] = bank // (stacks * groups * banks)
    one["group_of_bank"][: len(bank)] = bank // banks
    one["stack_of_group"][: len(group)] = group // groups
    one["rank_of_group"][: len(group)] = group // (stacks * groups)
    one["read_latency"], one["write_latency"] = device.read_latency_ticks, device.write_latency_ticks
    one["read_sync"], one["write_sync"] = device.clock_sync_ticks or (-1, -1)
    one["second_activate"] = device.second_activate_within
    one["split_buses"] = len(device.buses) > 1
    one["half_clock"] = device.half_clock
    return tables


def _kinds(rule: Constraint) -> tuple[str, ...]:
    if rule.scope == "channel":
        return ("same_rank", "other_rank")
    if rule.scope in ("rank", "pseudochannel"):
        return ("other_rank",) if rule.sibling else ("same_rank",)
    if rule.scope == "sid":
        return ("other_stack",) if rule.sibling else ("same_group", "same_stack")
    return {"bankgroup": ("same_group",), "bank": ("same_bank",)}[rule.scope]


def _check(rule: Constraint, device: Device) -> None:
    where = f"{rule.name}: {rule.before} -> {rule.after}"
    wide = rule.before in _RANK_WIDE or rule.after in _RANK_WIDE
    if wide and rule.scope not in ("channel", "rank", "pseudochannel"):
        raise InputError(f"{where} has scope {rule.scope}", "channel or the first level, for a command to all banks")
    if rule.window > 1 and (rule.window != 4 or rule.sibling or command_number(rule.before) != ACT):
        raise InputError(f"{where} has window {rule.window}", "a window of 4 activations")
    if rule.window > 1 and (command_number(rule.after) != ACT or rule.scope != device.levels[0].name):
        expected = f"activations within one {device.levels[0].name}"
        if not (rule.scope == "channel" and device.shape[0] == 1):
            raise InputError(f"{where} is a window of scope {rule.scope}", expected)
    if rule.sibling and rule.scope not in ("rank", "pseudochannel", "sid"):
        raise InputError(f"{where} holds between siblings of scope {rule.scope}", "rank, pseudochannel or sid")
