"""A flash drive as data: geometry, cells, channel, mapping layer, cache and host link, and the numbers they imply."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, model_validator

from hw.spec.source import Source
from workloads.errors import InputError
from workloads.validation import field_error

__all__ = [
    "MOST_CHANNELS",
    "MOST_CHIPS",
    "MOST_PLANES",
    "MOST_PLANES_PER_DIE",
    "SECTOR_BYTES",
    "Cache",
    "Cells",
    "Channel",
    "Collection",
    "Drive",
    "Geometry",
    "HostLink",
    "MappingLayer",
    "Suspension",
    "WearLevelling",
    "page_type",
]

SECTOR_BYTES = 512
MOST_CHANNELS = 64
MOST_CHIPS = 512
MOST_PLANES = 2048
MOST_PLANES_PER_DIE = 8
_MOST_PAGES = 2**30

Few = Annotated[int, Field(ge=1, le=4096)]
Share = Annotated[float, Field(gt=0, lt=1)]
Times = Annotated[tuple[PositiveFloat, ...], Field(min_length=1, max_length=3)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Geometry(_Part):
    """Counts from the channel down to the page. A chip serves one command at a time, on one of its dies."""

    channels: Annotated[int, Field(ge=1, le=MOST_CHANNELS)]
    chips_per_channel: Few
    dies_per_chip: Annotated[int, Field(ge=1, le=64)]
    planes_per_die: Annotated[int, Field(ge=1, le=MOST_PLANES_PER_DIE)]
    blocks_per_plane: Annotated[int, Field(ge=4, le=2**20)]
    pages_per_block: Annotated[int, Field(ge=2, le=2**14)]
    page_bytes: Annotated[int, Field(ge=SECTOR_BYTES, le=16384, multiple_of=SECTOR_BYTES)]

    @property
    def chips(self) -> int:
        return self.channels * self.chips_per_channel

    @property
    def planes(self) -> int:
        return self.chips * self.dies_per_chip * self.planes_per_die

    @property
    def pages(self) -> int:
        return self.planes * self.blocks_per_plane * self.pages_per_block


class Cells(_Part):
    """Times inside the die: one per kind of page, LSB (CSB) MSB. ``ready_ns`` passes before a read is noticed."""

    read_us: Times
    program_us: Times
    erase_us: PositiveFloat
    ready_ns: NonNegativeFloat = 0.0
    endurance_cycles: Annotated[int, Field(ge=1)] | None = None


class Suspension(_Part):
    """Whether a read may interrupt an erase or a program, how long the interruption takes to take effect, and how much
    must be left of the operation for it to be worth while."""

    erase: bool = False
    program: bool = False
    erase_us: NonNegativeFloat = 0.0
    program_us: NonNegativeFloat = 0.0
    least_left_erase_us: NonNegativeFloat = 0.0
    least_left_program_us: NonNegativeFloat = 0.0


class Channel(_Part):
    """The bus that the chips of a channel share: data rate and the ONFI command and address times, in ns.

    A bus that falls idle moves out pages read, and only then looks for commands to send; with ``commands_first`` the
    other way round, which keeps chips reading while the pages of others are moved out.
    """

    rate_MTps: PositiveFloat
    width_bits: Literal[8, 16] = 8
    commands_first: bool = False
    t_cs_ns: NonNegativeFloat = 20
    t_wc_ns: NonNegativeFloat = 25
    t_wb_ns: NonNegativeFloat = 100
    t_rr_ns: NonNegativeFloat = 20
    t_adl_ns: NonNegativeFloat = 70
    t_cals_ns: NonNegativeFloat = 15
    t_wpst_ns: NonNegativeFloat = 6
    t_wpsth_ns: NonNegativeFloat = 15
    t_dbsy_ns: NonNegativeFloat = 500

    @property
    def bytes_per_s(self) -> float:
        return self.rate_MTps * 1e6 * self.width_bits / 8

    def read_command_ns(self, planes: int) -> float:
        """Command and address of a read of ``planes`` pages, up to the array's start: six cycles for each page."""
        between = self.t_dbsy_ns + 6 * self.t_wc_ns
        return self.t_cs_ns + 6 * self.t_wc_ns + (planes - 1) * between + self.t_wb_ns + self.t_rr_ns

    def program_command_ns(self, planes: int) -> float:
        """Command and address of a program of ``planes`` pages, without their data."""
        load = self.t_adl_ns + self.t_wpst_ns + self.t_wb_ns
        first = 5 * self.t_wc_ns + load + self.t_cals_ns + self.t_dbsy_ns
        return self.t_cs_ns + (planes - 1) * first + 6 * self.t_wc_ns + load + self.t_wpsth_ns

    def erase_command_ns(self, planes: int) -> float:
        """Command and address of an erase of ``planes`` blocks."""
        one = 4 * self.t_wc_ns + self.t_wb_ns
        return self.t_cs_ns + one + (planes - 1) * (one + self.t_dbsy_ns)

    @property
    def suspend_command_ns(self) -> float:
        return self.t_cs_ns + 3 * self.t_wc_ns


class Collection(_Part):
    """Collection of garbage in a plane: it starts when fewer than ``start_share`` of the blocks are free, or
    fewer than ``most_at_once`` or ``stop_blocks``; user writes wait below ``stop_blocks`` free blocks."""

    policy: Literal["greedy", "random-greedy"] = "greedy"
    start_share: Share = 0.05
    most_at_once: Annotated[int, Field(ge=1, le=64)] = 1
    stop_blocks: Annotated[int, Field(ge=1, le=64)] = 2


class WearLevelling(_Part):
    """Static wear levelling of each plane: when a block has been erased ``static_threshold`` times more than the full
    block erased least often, that one's pages are moved to the free block erased most often."""

    static_threshold: Annotated[int, Field(ge=1)]


class MappingLayer(_Part):
    """Page-level mapping. Of the table, ``mapping_cache_bytes`` are kept on the controller; the rest is in flash."""

    over_provisioning: Share
    mapping_cache_bytes: Annotated[int, Field(ge=1)]
    collection: Collection = Collection()
    wear_levelling: WearLevelling | None = None


class Cache(_Part):
    """The write cache, DRAM of ``channels`` x ``rate_MTps`` x ``width_bytes``: the rows of ``row_bytes`` that an access
    touches, opened in t_rcd + t_cl + t_rp, lie in the channels in turn, and each channel moves its own."""

    capacity_bytes: Annotated[int, Field(ge=0)]
    rate_MTps: PositiveFloat
    width_bytes: Few
    row_bytes: Annotated[int, Field(ge=64)]
    t_rcd_ns: NonNegativeFloat
    t_cl_ns: NonNegativeFloat
    t_rp_ns: NonNegativeFloat
    channels: Annotated[int, Field(ge=1, le=16)] = 1

    def access_ns(self, size_bytes: int) -> float:
        """One access of ``size_bytes``: the first channel, which has the most to do, opens its rows and moves them."""
        rows = max(1, math.ceil(size_bytes / self.row_bytes))
        mine = math.ceil(rows / self.channels)
        missing = rows * self.row_bytes - size_bytes if (rows - 1) % self.channels == 0 else 0
        opened = mine * (self.t_rcd_ns + self.t_cl_ns) + (mine - 1) * self.t_rp_ns
        return opened + (mine * self.row_bytes - missing) / (self.rate_MTps * self.width_bytes) * 1e3


class HostLink(_Part):
    """The link to the host: packets of up to ``payload_bytes`` with ``overhead_bytes`` each, over all lanes."""

    lanes: Few
    lane_GBps: PositiveFloat
    payload_bytes: Few = 128
    overhead_bytes: Annotated[int, Field(ge=0, le=512)] = 28
    queue_entries: Annotated[int, Field(ge=1, le=65535)] = 65535
    fetched_at_once: Annotated[int, Field(ge=1, le=65535)] = 512
    command_us: NonNegativeFloat = 0.0

    @property
    def bytes_per_s(self) -> float:
        """Payload bytes over the link, packets full."""
        return self.lanes * self.lane_GBps * 1e9 * self.payload_bytes / (self.payload_bytes + self.overhead_bytes)

    def message_ns(self, payload_bytes: int) -> float:
        """A message of ``payload_bytes`` in packets."""
        packets = max(1, math.ceil(payload_bytes / self.payload_bytes))
        return (payload_bytes + packets * self.overhead_bytes) / (self.lanes * self.lane_GBps)


class Drive(_Part):
    """A drive's file. ``sources`` say where its numbers are from, by field; ``note`` what is known to be missing."""

    name: str = Field(min_length=1)
    description: str = ""
    note: str = ""
    geometry: Geometry
    cells: Cells
    suspension: Suspension = Suspension()
    channel: Channel
    mapping: MappingLayer
    cache: Cache
    host: HostLink
    sources: dict[str, Source] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Drive:
        geometry = self.geometry
        for field, found, most in (
            ("geometry.chips_per_channel", geometry.chips, MOST_CHIPS),
            ("geometry.dies_per_chip", geometry.planes, MOST_PLANES),
            ("geometry.blocks_per_plane", geometry.pages, _MOST_PAGES),
        ):
            if found > most:
                what = {MOST_CHIPS: "chips", MOST_PLANES: "planes", _MOST_PAGES: "pages"}[most]
                raise field_error(InputError(f"found {found:,} {what}", f"at most {most:,}", field))
        if len(self.cells.read_us) != len(self.cells.program_us):
            raise field_error(
                InputError(
                    f"{len(self.cells.read_us)} read times and {len(self.cells.program_us)} program times",
                    "one of each per kind of page",
                    "cells.program_us",
                )
            )
        if geometry.blocks_per_plane <= self.mapping.collection.stop_blocks + 3:
            raise field_error(
                InputError(
                    f"{geometry.blocks_per_plane} blocks with {self.mapping.collection.stop_blocks} kept free",
                    "room for data beside three open blocks",
                    "geometry.blocks_per_plane",
                )
            )
        return self

    @property
    def sectors_per_page(self) -> int:
        return self.geometry.page_bytes // SECTOR_BYTES

    @property
    def logical_pages(self) -> int:
        """Pages the host sees."""
        return int(self.geometry.pages * (1 - self.mapping.over_provisioning))

    @property
    def capacity_bytes(self) -> int:
        return self.logical_pages * self.geometry.page_bytes

    @property
    def mapping_entries(self) -> int:
        """Entries that fit the controller: logical and physical page and a bit per sector, in whole bytes."""
        bits = 2 * math.log2(self.geometry.pages) + self.sectors_per_page
        return self.mapping.mapping_cache_bytes // math.ceil(bits / 8)

    @property
    def entries_per_mapping_page(self) -> int:
        """Entries of one page of the table in flash: physical page and a bit per sector, in whole bytes."""
        bits = math.log2(self.geometry.pages) + self.sectors_per_page
        return self.geometry.page_bytes // math.ceil(bits / 8)

    @property
    def mapping_pages(self) -> int:
        return -(-self.logical_pages // self.entries_per_mapping_page)

    @property
    def collection_start_blocks(self) -> int:
        """Collection starts below this many free blocks in a plane."""
        collection = self.mapping.collection
        most = max(collection.most_at_once, collection.stop_blocks)
        return max(int(collection.start_share * self.geometry.blocks_per_plane), most)

    @property
    def internal_bytes_per_s(self) -> float:
        """All channels together."""
        return self.geometry.channels * self.channel.bytes_per_s

    @property
    def endurance_bytes(self) -> float | None:
        """Bytes that may be programmed until every block has had its cycles; None where these are not stated."""
        if self.cells.endurance_cycles is None:
            return None
        return float(self.cells.endurance_cycles) * self.geometry.pages * self.geometry.page_bytes


def page_type(page: int, kinds: int) -> int:
    """Which of ``kinds`` cell bits holds page number ``page`` of a block.

    Two bits: even pages are LSB. Three bits: Yaakobi et al., "Characterization and Error-Correcting Codes for TLC Flash
    Memories", ICNC 2012: pages 0-5 LSB, 6 and 7 CSB, then pairs in turn.
    """
    if kinds == 1:
        return 0
    if kinds == 2:
        return page % 2
    if page <= 5:
        return 0
    return 1 if page <= 7 else ((page - 8) >> 1) % 3
