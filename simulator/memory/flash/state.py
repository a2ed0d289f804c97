"""The compiled kernel's state: one record of numbers and short lists, and four arrays that grow with the drive.

The record is passed by address. ``tx`` holds flash operations, ``blk`` blocks, ``m`` the tables: where each page is and
whose it is, the mapping pages, and the two caches with their order of use.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.memory.flash.drive import (
    MOST_CHANNELS,
    MOST_CHIPS,
    MOST_PLANES,
    MOST_PLANES_PER_DIE,
    SECTOR_BYTES,
    Drive,
    Geometry,
)
from simulator.memory.flash.plan import REQUEST, Plan, pattern_plan
from simulator.memory.flash.workload import MOST_OUTSTANDING, DriveWorkload

__all__ = ["BLOCK", "LANES", "LANE_ROOM", "LOG_ROOM", "OPERATION", "STATE", "Memory", "latency_bin_ns", "new_memory"]

LOG_ROOM = 4096
LANES = 4
LANE_ROOM = 2 * MOST_OUTSTANDING  # a request has one event at a time
_EVENTS = 4 * MOST_OUTSTANDING + 2 * MOST_CHIPS + 64
_CLASSES = 7
_MANY_REQUESTS = 10_000  # of a run that is only bounded in time
_LATENCY_BINS = 64 * 64  # 64 to each power of two of nanoseconds

_SETTINGS = (
    *("channels", "chips", "chips_per_channel", "planes_per_die", "planes_per_chip", "planes"),
    *("blocks", "pages", "page_bytes", "sectors", "kinds", "ready_ns", "erase_ns"),
    *("suspend_erase", "suspend_program", "suspend_erase_ns", "suspend_program_ns"),
    *("commands_first", "suspend_command_ns", "least_erase_ns", "least_program_ns", "byte_ps"),
    *("collect_below", "most_collections", "stop_below", "static_threshold", "random_greedy", "candidates", "logical"),
    *("entries_per_page", "mapping_pages", "ideal", "cached", "most_waiting_sectors"),
    *("doorbell_ns", "ask_ns", "entry_ns", "data_ns", "completion_ns", "command_ns", "fetched_at_once"),
    *("inside", "traced", "open_loop", "writes", "random", "request_sectors", "depth", "units", "stop_ns"),
    *("most_requests", "occupied", "mapped", "overwrites", "overwrite_span", "seed"),
    *("l2p", "p2l", "tp", "cmt", "cmt_n", "cmt_mask", "dc", "dc_n", "dc_mask"),
    *("row_bytes", "row_open_ns", "row_close_ns", "dram_byte_ps", "dram_channels"),
)
_RUNNING = (
    *("now", "seq", "stopped", "events", "free_tx", "op_seq", "status", "address_rng", "pick_rng", "draws"),
    *("next_unit",),
    *("down_free", "up_free", "dram_free", "in_flight", "fetch_head", "fetch_tail", "waiting_sectors"),
    *("admit_head", "admit_tail", "timed", "pending", "touched", "logged", "logs", "submitted"),
    *(
        "arrived",
        "free_slot",
        "done",
        "done_sectors",
        "latency_ns",
        "read_commands",
        "multi_reads",
        "program_commands",
        "multi_programs",
        "erases",
    ),
    *("pages_read", "pages_programmed", "host_programs", "moved", "mapping_reads", "mapping_programs"),
    *(
        "merge_reads",
        "collections",
        "levellings",
        "levelled",
        "suspensions",
        "channel_busy_ns",
        "die_busy_ns",
        "most_written",
        "absorbed",
    ),
)

STATE = np.dtype(
    [(name, np.int64) for name in (*_SETTINGS, *_RUNNING)]
    + [
        ("read_ns", np.int64, 3),
        ("program_ns", np.int64, 3),
        ("read_command", np.int64, MOST_PLANES_PER_DIE + 1),
        ("program_command", np.int64, MOST_PLANES_PER_DIE + 1),
        ("erase_command", np.int64, MOST_PLANES_PER_DIE + 1),
        ("ev_time", np.int64, _EVENTS),
        ("ev_seq", np.int64, _EVENTS),
        ("ev_what", np.int64, _EVENTS),  # kind + 16 * argument
        ("latencies", np.int64, _LATENCY_BINS),  # requests of a pattern by latency
        ("lane_time", np.int64, (LANES, LANE_ROOM)),
        ("lane_seq", np.int64, (LANES, LANE_ROOM)),
        ("lane_what", np.int64, (LANES, LANE_ROOM)),
        ("lane_head", np.int64, LANES),
        ("lane_tail", np.int64, LANES),
        ("r_number", np.int64, MOST_OUTSTANDING),  # in the trace
        ("r_write", np.int64, MOST_OUTSTANDING),
        ("r_lpa", np.int64, MOST_OUTSTANDING),  # the first page touched
        ("r_skip", np.int64, MOST_OUTSTANDING),  # sectors of that page before the request
        ("r_sectors", np.int64, MOST_OUTSTANDING),
        ("r_data_ns", np.int64, MOST_OUTSTANDING),
        ("r_left", np.int64, MOST_OUTSTANDING),  # pages not yet served
        ("r_page", np.int64, MOST_OUTSTANDING),  # pages already admitted to the cache
        ("r_since", np.int64, MOST_OUTSTANDING),
        ("r_next", np.int64, MOST_OUTSTANDING),
        ("plane_at", np.int64, MOST_PLANES),  # of a logical page, by its remainder
        ("chip_at", np.int64, MOST_PLANES),  # of a plane
        ("channel_at", np.int64, MOST_CHIPS),  # of a chip
        ("chip_does", np.int64, MOST_CHIPS),
        ("chip_until", np.int64, MOST_CHIPS),
        ("chip_run", np.int64, MOST_CHIPS),  # counts commands, so that an event of a suspended one is known
        ("chip_out", np.int64, MOST_CHIPS),  # pages still to be moved out
        ("chip_n", np.int64, MOST_CHIPS),
        ("chip_tx", np.int64, (MOST_CHIPS, MOST_PLANES_PER_DIE)),
        ("held_n", np.int64, MOST_CHIPS),  # the suspended operation
        ("held_does", np.int64, MOST_CHIPS),
        ("held_ns", np.int64, MOST_CHIPS),
        ("held_tx", np.int64, (MOST_CHIPS, MOST_PLANES_PER_DIE)),
        ("queued", np.int64, (MOST_CHIPS, _CLASSES)),
        ("erases_due", np.int64, MOST_CHIPS),
        ("q_head", np.int64, (MOST_PLANES, _CLASSES)),
        ("q_tail", np.int64, (MOST_PLANES, _CLASSES)),
        ("ch_busy", np.int64, MOST_CHANNELS),
        ("ch_turn", np.int64, MOST_CHANNELS),
        ("ch_queued", np.int64, MOST_CHANNELS),  # operations that wait in its chips
        ("out_head", np.int64, (MOST_CHANNELS, 3)),
        ("out_tail", np.int64, (MOST_CHANNELS, 3)),
        ("pool", np.int64, MOST_PLANES),  # free blocks
        ("open", np.int64, (MOST_PLANES, 4)),  # the block being written: data, mapping, moved pages, cold data or -1
        ("collecting", np.int64, MOST_PLANES),
        ("levelling", np.int64, MOST_PLANES),  # whether a block is emptied to level wear
        ("moving", np.int64, MOST_PLANES),  # pages that collections still have to move
        ("stop_head", np.int64, MOST_PLANES),
        ("stop_tail", np.int64, MOST_PLANES),
        ("log", np.int64, (LOG_ROOM, 5)),  # time, chip, what, pages, first page
    ]
)
"""All of a run that does not grow with the drive: settings, running numbers, queues and the first commands sent."""

OPERATION = np.dtype(
    [("seq", np.int64)]
    + [("bits", np.int64)]
    + [
        (name, np.int32)
        for name in ("next", "cls", "plane", "page", "block", "lpa", "bytes", "request", "linked", "kind")
    ]
)
"""A flash operation on one page or block; ``linked`` is the program that waits for this read, -1 if none."""

BLOCK = np.dtype(
    [
        (name, np.int32)
        for name in ("valid", "written", "erases", "busy", "collected", "left", "open", "levelled", "drawn")
    ]
)
"""A block: pages valid and written, operations under way on it, whether it is being emptied, to level wear or not,
pages left to move, and the last collection that drew it."""


@dataclass
class Memory:
    """The state of one run."""

    state: NDArray[Any]
    operations: NDArray[Any]
    blocks: NDArray[Any]
    tables: NDArray[np.int32]
    requests: NDArray[Any]


def _power_of_two(least: int) -> int:
    return 1 << max(3, (least - 1).bit_length())


def _round(value: float) -> int:
    return value if isinstance(value, int) else int(value + 0.5)  # whole numbers may be too large for a float


def latency_bin_ns(number: int) -> float:
    """The middle of a bin of ``latencies``: bin 64 e + k is from 2**(e-1) (1 + k/64) to 2**(e-1) (1 + (k + 1)/64)."""
    exponent, part = divmod(number, 64)
    return float((0.5 + (part + 0.5) / 128) * 2.0**exponent)


def _tables(size: int, mapped: int, plan: Plan) -> NDArray[np.int32]:
    """The tables, of which the first ``mapped`` numbers say where logical pages are.

    Most are touched here and there: pages of memory of the usual size serve them, not the large ones that numpy asks
    for. But many random writes touch most of the first part, and there a large page costs less than all it replaces.
    """
    room = mmap.mmap(-1, 4 * size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    touched = max(plan.occupied_pages, min(plan.most_requests, _MANY_REQUESTS) if plan.writes else 0)
    if hasattr(mmap, "MADV_HUGEPAGE") and touched >= 4 * mapped // mmap.PAGESIZE // 16:
        length = 4 * mapped // mmap.PAGESIZE * mmap.PAGESIZE
        if length >= 2**22:
            room.madvise(mmap.MADV_HUGEPAGE, 0, length)
            tables = np.frombuffer(room, dtype=np.int32)
            # Getting memory from the system may take longer than the run; it is none of the run's work.
            tables[: length // 4 : mmap.PAGESIZE // 4] = 0
            return tables
    return np.frombuffer(room, dtype=np.int32)


def new_memory(drive: Drive, workload: DriveWorkload | Plan, *, log: bool = False) -> Memory:
    """The state before anything is written. Raises `InputError` for a pattern the drive cannot be asked."""
    plan = pattern_plan(drive, workload) if isinstance(workload, DriveWorkload) else workload
    geometry, collection, levelling = drive.geometry, drive.mapping.collection, drive.mapping.wear_levelling
    page = geometry.page_bytes
    logical = drive.logical_pages
    outstanding, whole = plan.outstanding_pages, plan.whole_table
    cmt_n = 1 if whole else min(drive.mapping_entries, plan.most_entries)
    dc_n = min(drive.cache.capacity_bytes // page, plan.used_pages) if plan.cached else 1
    sizes = {
        "l2p": 2 * plan.mapped_pages,
        "p2l": geometry.pages,
        "tp": 8 * drive.mapping_pages,
        "cmt": 8 + 8 * cmt_n + _power_of_two(2 * cmt_n),
        "dc": 8 + 8 * dc_n + _power_of_two(2 * dc_n),
    }
    state = np.zeros(1, dtype=STATE)
    one = state[0]
    at = 0
    for name, size in sizes.items():
        one[name] = at
        at += -(-size // 16) * 16  # parts begin with a line of a processor's cache
    numbers: dict[str, float] = {
        "channels": geometry.channels,
        "chips": geometry.chips,
        "chips_per_channel": geometry.chips_per_channel,
        "planes_per_die": geometry.planes_per_die,
        "planes_per_chip": geometry.dies_per_chip * geometry.planes_per_die,
        "planes": geometry.planes,
        "blocks": geometry.blocks_per_plane,
        "pages": geometry.pages_per_block,
        "page_bytes": page,
        "sectors": drive.sectors_per_page,
        "kinds": len(drive.cells.read_us),
        "ready_ns": drive.cells.ready_ns,
        "erase_ns": drive.cells.erase_us * 1e3,
        "suspend_erase": drive.suspension.erase,
        "suspend_program": drive.suspension.program,
        "suspend_erase_ns": drive.suspension.erase_us * 1e3,
        "suspend_program_ns": drive.suspension.program_us * 1e3,
        "commands_first": drive.channel.commands_first,
        "suspend_command_ns": drive.channel.suspend_command_ns,
        "least_erase_ns": drive.suspension.least_left_erase_us * 1e3,
        "least_program_ns": drive.suspension.least_left_program_us * 1e3,
        "byte_ps": 1e12 / drive.channel.bytes_per_s,
        "collect_below": drive.collection_start_blocks,
        "most_collections": collection.most_at_once,
        "stop_below": collection.stop_blocks,
        "static_threshold": 0 if levelling is None else levelling.static_threshold,
        "random_greedy": collection.policy == "random-greedy",
        "candidates": max(1, geometry.blocks_per_plane.bit_length() - 1),
        "logical": logical,
        "entries_per_page": drive.entries_per_mapping_page,
        "mapping_pages": 0 if whole else drive.mapping_pages,
        "ideal": whole,
        "cached": plan.cached,
        "most_waiting_sectors": geometry.planes * drive.sectors_per_page,
        "doorbell_ns": drive.host.message_ns(2),
        "ask_ns": drive.host.message_ns(4),
        "entry_ns": drive.host.message_ns(64),
        "data_ns": drive.host.message_ns(plan.size_bytes),
        "completion_ns": drive.host.message_ns(16),
        "command_ns": drive.host.command_us * 1e3,
        "fetched_at_once": drive.host.fetched_at_once,
        "inside": plan.inside,
        "traced": len(plan.requests) > 0,
        "open_loop": plan.open_loop,
        "writes": plan.writes,
        "random": plan.random,
        "request_sectors": plan.size_bytes // SECTOR_BYTES,
        "depth": plan.queue_depth,
        "units": plan.units,
        "stop_ns": plan.stop_ns,
        "most_requests": plan.most_requests,
        "occupied": plan.occupied_pages,
        "mapped": plan.mapped_pages,
        "overwrites": plan.overwrites,
        "overwrite_span": plan.overwrite_span,
        "seed": plan.seed,
        "cmt_n": cmt_n,
        "cmt_mask": _power_of_two(2 * cmt_n) - 1,
        "dc_n": dc_n,
        "dc_mask": _power_of_two(2 * dc_n) - 1,
        "row_bytes": drive.cache.row_bytes,
        "row_open_ns": drive.cache.t_rcd_ns + drive.cache.t_cl_ns,
        "row_close_ns": drive.cache.t_rp_ns,
        "dram_byte_ps": 1e6 / (drive.cache.rate_MTps * drive.cache.width_bytes),
        "dram_channels": drive.cache.channels,
        "logs": log,
    }
    for name, value in numbers.items():
        one[name] = _round(value)
    shape = (geometry.planes_per_die, geometry.dies_per_chip, geometry.chips_per_channel, geometry.channels)
    physical = np.arange(geometry.planes).reshape(shape[::-1])  # channel, chip, die, plane
    one["plane_at"][: geometry.planes] = physical.transpose(3, 2, 1, 0).ravel()
    one["chip_at"][: geometry.planes] = np.arange(geometry.planes) // (geometry.dies_per_chip * geometry.planes_per_die)
    one["channel_at"][: geometry.chips] = np.arange(geometry.chips) // geometry.chips_per_channel
    for kind, (read, program) in enumerate(zip(drive.cells.read_us, drive.cells.program_us, strict=True)):
        one["read_ns"][kind], one["program_ns"][kind] = _round(read * 1e3), _round(program * 1e3)
    for planes in range(1, geometry.planes_per_die + 1):
        one["read_command"][planes] = _round(drive.channel.read_command_ns(planes))
        one["program_command"][planes] = _round(drive.channel.program_command_ns(planes))
        one["erase_command"][planes] = _round(drive.channel.erase_command_ns(planes))
    for name in ("q_head", "q_tail", "out_head", "out_tail", "stop_head", "stop_tail"):
        one[name][:] = -1
    for name in ("fetch_head", "fetch_tail", "admit_head", "admit_tail", "free_slot"):
        one[name] = -1
    one["pool"][: geometry.planes] = geometry.blocks_per_plane
    moves = geometry.planes * (collection.most_at_once + (levelling is not None)) * geometry.pages_per_block
    room = 4 * outstanding + moves + geometry.planes * (collection.most_at_once + 8) + 2 * dc_n + 64
    operations = np.zeros(room, dtype=OPERATION)
    operations["next"] = np.arange(1, room + 1)
    operations["next"][-1] = -1
    tables = _tables(at, int(one["p2l"]), plan)
    blocks = np.zeros(geometry.planes * geometry.blocks_per_plane, dtype=BLOCK)
    requests = plan.requests.copy() if len(plan.requests) else np.zeros(1, dtype=REQUEST)
    memory = Memory(state, operations, blocks, tables, requests)
    if plan.valid_pages:
        _fill(memory, drive.geometry, plan.valid_pages)
    return memory


def _fill(memory: Memory, geometry: Geometry, valid_pages: tuple[tuple[int, ...], ...]) -> None:
    """Full blocks with so many valid pages each, which hold the first logical pages of their plane."""
    s = memory.state[0]
    pages = geometry.pages_per_block
    for lpa in range(geometry.planes):  # each plane's first logical page
        channel, rest = lpa % geometry.channels, lpa // geometry.channels
        way, rest = rest % geometry.chips_per_channel, rest // geometry.chips_per_channel
        die, plane = rest % geometry.dies_per_chip, rest // geometry.dies_per_chip
        chip = channel * geometry.chips_per_channel + way
        number = (chip * geometry.dies_per_chip + die) * geometry.planes_per_die + plane
        valid = np.array(valid_pages[number % len(valid_pages)], dtype=np.int64)
        first = number * geometry.blocks_per_plane
        memory.blocks["valid"][first : first + len(valid)] = valid
        memory.blocks["written"][first : first + len(valid)] = pages
        s["pool"][number] -= len(valid)
        inside = np.arange(pages) < valid[:, None]
        places = first * pages + np.flatnonzero(inside)
        owners = lpa + geometry.planes * np.arange(len(places))
        memory.tables[int(s["p2l"]) + places] = owners + 1
        at = int(s["l2p"]) + 2 * owners
        memory.tables[at] = places + 1
        memory.tables[at + 1] = (1 << int(s["sectors"])) - 1
