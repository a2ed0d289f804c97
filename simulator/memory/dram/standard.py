"""Device standards as files: what a standard's YAML may say, and how it resolves to a `Device`.

One file per standard in ``standards/``: levels, commands and their buses, timing constraints with expressions over
timing names, organisations, speed bins, currents or energies, and the devices that combine them. A user's own device is
a file with the same fields, or one that names a bundled device in ``based_on`` and changes single numbers.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat

from hw.spec.source import Source
from simulator.memory.dram.device import Constraint, Device, Level
from simulator.memory.dram.energy import CommandEnergies, Currents, device_energy
from simulator.memory.dram.timing import evaluate
from workloads.errors import InputError, unknown_name

__all__ = ["Rule", "Standard", "resolve"]

LevelName = Literal["rank", "pseudochannel", "sid", "bankgroup", "bank"]
_ROW_COMMANDS = ("ACT", "ACT1", "ACT2", "PREpb", "PREab", "REFab", "REFpb", "RFMab", "RFMpb")
_COMMANDS = (*_ROW_COMMANDS, "RD", "WR", "RDA", "WRA", "CAS_RD", "CAS_WR")
_LEVEL_ORDER = ("rank", "pseudochannel", "sid", "bankgroup", "bank")
_MUST = ("PREpb", "PREab", "RD", "WR", "RDA", "WRA", "REFab")

_MOST_TICKS = 10**7
_MOST_BANKS = 2**16

Count = Annotated[int, Field(ge=1, le=2**30)]
Few = Annotated[int, Field(ge=1, le=4096)]
Refreshes = Annotated[int, Field(ge=0, le=64)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Rule(_Part):
    """One timing rule: every command of ``before`` to every command of ``after``, as the standard counts it.

    ``ticks`` counts from the last cycle of the first command to the last cycle of the second, as JEDEC does; `resolve`
    turns that to first cycles.
    """

    name: str = Field(min_length=1)
    before: tuple[str, ...] = Field(min_length=1)
    after: tuple[str, ...] = Field(min_length=1)
    scope: Literal["channel", "rank", "pseudochannel", "sid", "bankgroup", "bank"]
    ticks: str
    window: Few = 1
    sibling: bool = False


class Organisation(_Part):
    """Counts of one die or stack: ``levels`` per parent, rows of a bank, columns of a row (of the device's width)."""

    density_Gbit: PositiveFloat
    device_width_bits: Few
    channel_width_bits: Few
    levels: dict[LevelName, Few]
    rows: Count
    columns: Count


class SpeedBin(_Part):
    """Timing of one speed grade, in ticks."""

    data_rate_MTps: PositiveFloat
    tick_ns: PositiveFloat
    timing: dict[str, NonNegativeInt]
    sources: dict[str, Source] = Field(default_factory=dict)


class Refresh(_Part):
    """How many refreshes may be postponed and pulled in."""

    most_postponed: Refreshes
    most_pulled_in: Refreshes


class ClockSync(_Part):
    """LPDDR5's data clock: it runs on after a command for the expression's ticks; restarting it takes a CAS."""

    read: str
    write: str


class DeviceEntry(_Part):
    """A device: an organisation at a speed, the timings that depend on both, and what its energy is computed from."""

    organisation: str
    speed_bin: str
    timing: dict[str, NonNegativeInt] = Field(default_factory=dict)
    energy: str | None = None
    note: str = ""
    sources: dict[str, Source] = Field(default_factory=dict)


class Standard(_Part):
    """A standard's file. What only shows when a device is put together is checked by `resolve`, not here."""

    standard: str = Field(min_length=1)
    description: str = ""
    levels: tuple[LevelName, ...] = Field(min_length=1)
    prefetch: Few
    half_clock: bool = False
    buses: dict[str, tuple[str, ...]] = Field(min_length=1)
    command_ticks: dict[str, Few] = Field(default_factory=dict)
    burst: str = "nBL"
    read_latency: str = "nCL + nBL"
    write_latency: str = "nCWL + nBL"
    second_activate_within: str | None = None
    clock_sync: ClockSync | None = None
    refresh: Refresh
    constraints: tuple[Rule, ...] = Field(min_length=1)
    organisations: dict[str, Organisation] = Field(min_length=1)
    speed_bins: dict[str, SpeedBin] = Field(min_length=1)
    currents: dict[str, Currents] = Field(default_factory=dict)
    energies: dict[str, CommandEnergies] = Field(default_factory=dict)
    devices: dict[str, DeviceEntry] = Field(min_length=1)
    sources: dict[str, Source] = Field(default_factory=dict)


def resolve(standard: Standard, name: str) -> Device:
    """The device ``name`` of ``standard`` in numbers.

    Raises `InputError`, with the field, for names that are not defined, timings that are missing or contradict each
    other (a row cycle shorter than its parts, refresh longer than its interval, a burst that does not fit the data
    rate), and counts that are no powers of two.
    """
    if name not in standard.devices:
        raise unknown_name("device", name, standard.devices, field="devices")
    entry, where = standard.devices[name], f"devices.{name}"
    energies: dict[str, Currents | CommandEnergies] = {**standard.currents, **standard.energies}
    for kind, wanted, defined in (
        ("organisation", entry.organisation, tuple(standard.organisations)),
        ("speed_bin", entry.speed_bin, tuple(standard.speed_bins)),
        ("energy", entry.energy, tuple(energies)),
    ):
        if wanted is not None and wanted not in defined:
            raise unknown_name(kind.replace("_", " "), wanted, defined, field=f"{where}.{kind}")
    organisation, speed = standard.organisations[entry.organisation], standard.speed_bins[entry.speed_bin]
    commands = tuple(command for bus in standard.buses.values() for command in bus)
    _check_commands(standard, commands)
    timing = {**speed.timing, **entry.timing}
    origin = dict.fromkeys(speed.timing, f"speed_bins.{entry.speed_bin}.timing")
    _check_timing(timing, {**origin, **dict.fromkeys(entry.timing, f"{where}.timing")}, f"{where}.timing")
    levels = _levels(standard, organisation, f"organisations.{entry.organisation}")
    burst_ticks = _ticks(standard.burst, timing, "burst", least=1)
    _check_burst(standard, entry.speed_bin, burst_ticks)
    second, sync = standard.second_activate_within, standard.clock_sync
    device = Device(
        name=name,
        standard=standard.standard,
        organisation=entry.organisation,
        speed_bin=entry.speed_bin,
        data_rate_MTps=speed.data_rate_MTps,
        tick_s=speed.tick_ns * 1e-9,
        levels=levels,
        rows=organisation.rows,
        bursts_per_row=organisation.columns // standard.prefetch,
        burst_bytes=organisation.channel_width_bits * standard.prefetch // 8,
        channel_width_bits=organisation.channel_width_bits,
        commands=commands,
        buses=tuple(standard.buses.values()),
        command_ticks={command: standard.command_ticks.get(command, 1) for command in commands},
        timing=timing,
        constraints=_constraints(standard, commands, timing),
        burst_ticks=burst_ticks,
        read_latency_ticks=_ticks(standard.read_latency, timing, "read_latency", least=burst_ticks),
        write_latency_ticks=_ticks(standard.write_latency, timing, "write_latency", least=burst_ticks),
        half_clock=standard.half_clock,
        second_activate_within=_ticks(second, timing, "second_activate_within", least=1) if second else 0,
        clock_sync_ticks=(
            _ticks(sync.read, timing, "clock_sync.read", least=0),
            _ticks(sync.write, timing, "clock_sync.write", least=0),
        )
        if sync
        else None,
        most_postponed=standard.refresh.most_postponed,
        most_pulled_in=standard.refresh.most_pulled_in,
        sources={
            **{field: str(source) for field, source in standard.sources.items()},
            **{f"speed_bin.{field}": str(source) for field, source in speed.sources.items()},
            **{field: str(source) for field, source in entry.sources.items()},
        },
    )
    if entry.energy is None:
        return device
    try:
        return device_energy(device, energies[entry.energy], organisation.device_width_bits)
    except InputError as error:
        group = "currents" if entry.energy in standard.currents else "energies"
        raise replace(error, field=f"{group}.{entry.energy}") from None


def _ticks(expression: str, timing: dict[str, int], field: str, *, least: int | None = None) -> int:
    """``expression`` in ticks, with ``field`` in what is wrong with it."""
    try:
        ticks = evaluate(expression, timing)
    except InputError as error:
        raise replace(error, field=field) from None
    if least is not None and ticks < least:
        raise InputError(f"{expression} is {ticks} ticks", f"at least {least}", field)
    if abs(ticks) > 10 * _MOST_TICKS:
        raise InputError(f"{expression} is {ticks:,} ticks", f"at most {10 * _MOST_TICKS:,}", field)
    return ticks


def _check_commands(standard: Standard, commands: tuple[str, ...]) -> None:
    for bus, sent in standard.buses.items():
        for number, command in enumerate(sent):
            if command not in _COMMANDS:
                raise unknown_name("command", command, _COMMANDS, field=f"buses.{bus}[{number}]")
            if commands.count(command) > 1:
                raise InputError(f"{command} is on the buses twice", "each command once", f"buses.{bus}[{number}]")
    missing = [name for name in (*_MUST, "ACT1" if "ACT2" in commands else "ACT") if name not in commands]
    if missing:
        raise InputError(f"command {missing[0]} is missing", "it is on some bus", "buses")
    if len(standard.buses) > 2:
        raise InputError(f"found {len(standard.buses)} buses", "one bus, or a row and a column bus", "buses")
    if len(standard.buses) == 2 and set(standard.buses) != {"row", "column"}:
        raise InputError(f"found the buses {', '.join(standard.buses)}", "row and column, or a single one", "buses")
    for command in standard.buses.get("column", ()):
        if command in _ROW_COMMANDS and len(standard.buses) == 2:
            raise InputError(f"{command} is on the column bus", "RD, WR, RDA and WRA there", "buses.column")
    if ("ACT2" in commands) != (standard.second_activate_within is not None):
        raise InputError("ACT2 and second_activate_within go together", "both or neither", "second_activate_within")
    if ("CAS_RD" in commands and "CAS_WR" in commands) != (standard.clock_sync is not None):
        raise InputError("CAS_RD, CAS_WR and clock_sync go together", "all three or none", "clock_sync")
    for command in standard.command_ticks:
        if command not in commands:
            raise unknown_name("command", command, commands, field=f"command_ticks.{command}")


def _check_timing(timing: dict[str, int], origin: dict[str, str], where: str) -> None:
    for needed in ("nRAS", "nRP", "nRC", "nRFC", "nREFI", "nFAW", "nCL", "nCWL"):
        if needed not in timing:
            raise InputError(f"timing {needed} is missing", "it is in the speed bin or the device", where)
    for name, value in timing.items():
        if value > _MOST_TICKS:
            raise InputError(f"{name} is {value:,} ticks", f"at most {_MOST_TICKS:,}", f"{origin[name]}.{name}")
    if timing["nRC"] < timing["nRAS"]:
        problem = f"nRC is {timing['nRC']} and nRAS {timing['nRAS']}"
        expected = "a row cycle no shorter than the time its row stays open"
        raise InputError(problem, expected, f"{origin['nRC']}.nRC")
    if timing["nREFI"] <= timing["nRFC"] + timing["nRP"]:
        problem = f"nREFI is {timing['nREFI']}, nRFC + nRP {timing['nRFC'] + timing['nRP']}"
        raise InputError(problem, "time left between refreshes", f"{origin['nREFI']}.nREFI")


def _check_burst(standard: Standard, speed_bin: str, burst_ticks: int) -> None:
    """A burst's transfers at the data rate must last what the burst's ticks do, or bandwidths would be nonsense."""
    speed = standard.speed_bins[speed_bin]
    counted_ns, moved_ns = burst_ticks * speed.tick_ns, standard.prefetch * 1e3 / speed.data_rate_MTps
    if not 0.99 <= counted_ns / moved_ns <= 1.01:
        problem = f"a burst takes {burst_ticks} ticks of {speed.tick_ns:g} ns, {counted_ns:.4g} ns"
        expected = (
            f"the {moved_ns:.4g} ns of {standard.prefetch} transfers at {speed.data_rate_MTps:g} MT/s, within 1 %"
        )
        raise InputError(problem, expected, f"speed_bins.{speed_bin}.tick_ns")


def _levels(standard: Standard, organisation: Organisation, where: str) -> tuple[Level, ...]:
    names = [*standard.levels]
    if len(set(names)) != len(names) or names != sorted(names, key=_LEVEL_ORDER.index) or names[-1] != "bank":
        raise InputError(f"found levels {', '.join(names)}", f"some of {', '.join(_LEVEL_ORDER)}, in order", "levels")
    if "rank" in names and "pseudochannel" in names:
        raise InputError("both ranks and pseudo-channels", "one of them", "levels")
    if set(organisation.levels) != set(names):
        problem = f"found levels {', '.join(organisation.levels)}"
        raise InputError(problem, f"those of the standard: {', '.join(names)}", f"{where}.levels")
    for name, count in organisation.levels.items():
        if count & (count - 1):
            raise InputError(f"found {count}", "a power of two: addresses are cut into bits", f"{where}.levels.{name}")
    for field in ("rows", "columns", "channel_width_bits", "device_width_bits"):
        value = getattr(organisation, field)
        if value & (value - 1):
            raise InputError(f"found {value}", "a power of two: addresses are cut into bits", f"{where}.{field}")
    if organisation.channel_width_bits % organisation.device_width_bits:
        problem = f"found {organisation.device_width_bits} bits in a channel of {organisation.channel_width_bits}"
        raise InputError(problem, "whole devices side by side", f"{where}.device_width_bits")
    if organisation.columns % standard.prefetch:
        problem = f"{organisation.columns} columns with bursts of {standard.prefetch}"
        raise InputError(problem, "a multiple of the prefetch", f"{where}.columns")
    if organisation.channel_width_bits * standard.prefetch % 8:
        problem = f"{organisation.channel_width_bits} bits with bursts of {standard.prefetch}"
        raise InputError(problem, "bursts of whole bytes", f"{where}.channel_width_bits")
    if math.prod(organisation.levels.values()) > _MOST_BANKS:
        problem = f"found {math.prod(organisation.levels.values()):,} banks in a channel"
        raise InputError(problem, f"at most {_MOST_BANKS:,}", f"{where}.levels")
    return tuple(Level(name, organisation.levels[name]) for name in standard.levels)


def _constraints(standard: Standard, commands: tuple[str, ...], timing: dict[str, int]) -> tuple[Constraint, ...]:
    """Every pair of every rule, from first cycle to first cycle, after the rules that a bus carries one at a time."""
    length = {command: standard.command_ticks.get(command, 1) for command in commands}
    out = [
        Constraint(f"{name} bus", before, after, "channel", length[before])
        for name, bus in standard.buses.items()
        for before in bus
        for after in bus
        if length[before] > 1
    ]
    for number, rule in enumerate(standard.constraints):
        where = f"constraints[{number}]"
        for field in ("before", "after"):
            for command in getattr(rule, field):
                if command not in commands:
                    raise unknown_name("command", command, commands, field=f"{where}.{field}")
        if rule.scope not in ("channel", *standard.levels):
            expected = f"channel or one of {', '.join(standard.levels)}"
            raise InputError(f"scope {rule.scope}, a level the standard does not have", expected, f"{where}.scope")
        ticks = _ticks(rule.ticks, timing, f"{where}.ticks")
        for before in rule.before:
            for after in rule.after:
                shifted = ticks + (length[before] - 1) - (length[after] - 1)
                out.append(Constraint(rule.name, before, after, rule.scope, shifted, rule.window, rule.sibling))
    return tuple(out)
