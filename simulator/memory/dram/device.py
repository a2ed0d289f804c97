"""A DRAM device resolved to numbers: what one channel consists of, and every constraint between its commands.

Time is counted in ticks: one clock of the command bus, half a clock where the standard lets commands start on both
edges (HBM3). A command's time is the tick of its first cycle; constraints are already corrected for commands that
take more than one cycle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

__all__ = ["Constraint", "Device", "DeviceEnergy", "Level"]


@dataclass(frozen=True)
class Constraint:
    """After a command of ``before``, one of ``after`` may follow no sooner than ``ticks`` later within ``scope``.

    ``scope`` is a level's name: the rule holds for two commands to the same node of that level. With ``sibling`` it
    holds for commands to two *different* nodes of that level under the same parent. With ``window`` n it is counted
    from the n-th last such command (four-activate window: 4), else from the last.
    """

    name: str
    before: str
    after: str
    scope: str
    ticks: int
    window: int = 1
    sibling: bool = False


@dataclass(frozen=True)
class Level:
    """One level of the hierarchy below the channel: its name and how many of it stand under one parent."""

    name: str
    count: int


@dataclass(frozen=True)
class DeviceEnergy:
    """Joules per command of one rank (pseudo-channel), and watts while a row is open or none is.

    ``activate_j`` holds the precharge that ends the activation. ``kind`` says how the numbers were got.
    """

    activate_j: float
    read_j: float
    write_j: float
    refresh_j: float
    refresh_bank_j: float
    open_w: float
    closed_w: float
    kind: str
    source: str


@dataclass(frozen=True)
class Device:
    """One channel of a DRAM device.

    ``levels`` run from below the channel down to ``bank``; a rank stands first in DDR and LPDDR, a pseudo-channel in
    HBM. ``rank`` below means that first level, whatever its name (GDDR6 has none: its one bank-group level is under
    a rank of count 1). ``bursts_per_row`` counts column commands per open row, ``burst_bytes`` what one of them moves.
    """

    name: str
    standard: str
    organisation: str
    speed_bin: str
    data_rate_MTps: float
    tick_s: float
    levels: tuple[Level, ...]
    rows: int
    bursts_per_row: int
    burst_bytes: int
    channel_width_bits: int
    commands: tuple[str, ...]
    buses: tuple[tuple[str, ...], ...]
    command_ticks: dict[str, int]
    timing: dict[str, int]
    constraints: tuple[Constraint, ...]
    burst_ticks: int
    read_latency_ticks: int
    write_latency_ticks: int
    half_clock: bool = False
    second_activate_within: int = 0
    clock_sync_ticks: tuple[int, int] | None = None
    most_postponed: int = 8
    most_pulled_in: int = 8
    energy: DeviceEnergy | None = None
    sources: dict[str, str] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Ranks (pseudo-channels), stacks (SID), bank groups and banks of a group; 1 where a level is missing."""
        counts = {level.name: level.count for level in self.levels}
        first = counts.get("rank", counts.get("pseudochannel", 1))
        return first, counts.get("sid", 1), counts.get("bankgroup", 1), counts["bank"]

    @property
    def rank_name(self) -> str:
        """What the first level is called: rank, or pseudochannel."""
        return "pseudochannel" if any(level.name == "pseudochannel" for level in self.levels) else "rank"

    @property
    def banks(self) -> int:
        """Banks of the channel."""
        return math.prod(self.shape)

    @property
    def row_bytes(self) -> int:
        """Bytes of one open row."""
        return self.bursts_per_row * self.burst_bytes

    @property
    def capacity_bytes(self) -> int:
        """Bytes of the channel."""
        return self.banks * self.rows * self.row_bytes

    @property
    def data_buses(self) -> int:
        """Independent data buses: one per pseudo-channel, else one."""
        return self.shape[0] if self.rank_name == "pseudochannel" else 1

    @property
    def peak_bytes_per_s(self) -> float:
        """Nominal rate: width times data rate, of all pseudo-channels."""
        return self.data_buses * self.channel_width_bits / 8 * self.data_rate_MTps * 1e6

    @property
    def has_bank_refresh(self) -> bool:
        """Whether the standard can refresh one bank at a time."""
        return "REFpb" in self.commands
