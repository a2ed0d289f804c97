"""What keeping keys and values in flash writes: pages of appended tokens, the memory they wait in, and wear.

A token's keys and values wait in the controller's DRAM until they fill pages, and sequences that ended are erased as a
whole (InstInfer, arXiv 2409.04992), so nothing is moved to collect garbage and a page is programmed once.
"""

from __future__ import annotations

from dataclasses import dataclass

from simulator.memory.flash.drive import Drive
from simulator.memory.storage.layout import KvLayout
from workloads.errors import InputError

__all__ = ["RELAXED_RETENTION", "AppendCosts", "append_costs", "lifetime_s"]

RELAXED_RETENTION = 6.67
"""Times the program and erase cycles when data need be kept 3 weeks, not 3 years: stated, InstInfer, arXiv 2409.04992,
for V-NAND of its drive's generation."""


@dataclass(frozen=True)
class AppendCosts:
    """Of all layers of all sequences. ``waiting`` is DRAM in use, on average over the fill of pages and at most, when
    all sequences are about to fill a page at once."""

    appended_bytes: int
    pages_programmed: int
    programmed_bytes: int
    pages_read_back: int
    mean_waiting_bytes: float
    most_waiting_bytes: int

    @property
    def write_amplification(self) -> float:
        """Bytes programmed over bytes appended. Over a few tokens it says where in their pages they lie."""
        return self.programmed_bytes / self.appended_bytes


def append_costs(
    layout: KvLayout,
    tokens: int,
    *,
    layers: int = 1,
    sequences: int = 1,
    start: int = 0,
    waits: bool = True,
    reads_back: bool = False,
) -> AppendCosts:
    """Append ``tokens`` one by one to sequences of ``start`` tokens.

    Without ``waits`` every token is programmed at once, its page with what it held before in a new place.
    ``reads_back`` builds the pages by channel from the pages by token, so that keys need not wait in DRAM for as many
    tokens as a page by channel has. Raises `InputError` for numbers below their least, or more tokens than there is
    room for.
    """
    for field, value, least in (("tokens", tokens, 1), ("layers", layers, 1), ("sequences", sequences, 1)):
        if value < least:
            raise InputError(f"found {value}", f"at least {least}", field)
    if not 0 <= start <= layout.most_tokens - tokens:
        expected = f"0 to {layout.most_tokens - tokens}, of {layout.most_tokens} tokens in all"
        raise InputError(f"found {start}", expected, "start")
    heads, page = layout.kv_heads, layout.geometry.page_bytes
    one_vector = layout.head_size * layout.element_bytes
    both_copies = layout.channels_per_page is not None
    end = start + tokens
    per_page, filled = layout.tokens_per_page, layout.tokens_written_together
    by_channel = layout.tokens_per_channel_page if both_copies else filled
    groups = layout.channel_groups if both_copies else 0
    read_back = 0
    if waits:
        pages = (end // filled - start // filled) * 2 * (filled // per_page) * heads
        stretches = end // by_channel - start // by_channel
        pages += stretches * groups * heads
        if reads_back and both_copies:
            read_back = stretches * -(-by_channel // per_page) * heads
        keys_wait = filled if reads_back else max(filled, by_channel)
        waiting = heads * one_vector * (keys_wait + filled)
        mean = heads * one_vector * ((keys_wait - 1) / 2 + (filled - 1) / 2)
    else:
        pages = tokens * (2 + groups) * heads
        read_back = sum(2 for t in range(start, end) if t % per_page) * heads
        read_back += sum(groups for t in range(start, end) if both_copies and t % by_channel) * heads
        waiting, mean = 0, 0.0
    copies = layers * sequences
    return AppendCosts(
        appended_bytes=copies * tokens * layout.bytes_per_token,
        pages_programmed=copies * pages,
        programmed_bytes=copies * pages * page,
        pages_read_back=copies * read_back,
        mean_waiting_bytes=copies * mean,
        most_waiting_bytes=copies * waiting,
    )


def lifetime_s(drive: Drive, programmed_bytes_per_s: float, *, cycles_factor: float = 1.0) -> float:
    """How long ``drive``'s cycles last, evenly spread; ``cycles_factor`` times those of its file.

    Raises `InputError` for a drive whose cycles are not stated, and rates or factors not above 0.
    """
    if drive.endurance_bytes is None:
        raise InputError(f"{drive.name} does not say its cycles", "cells.endurance_cycles", "drive")
    for field, value in (("programmed_bytes_per_s", programmed_bytes_per_s), ("cycles_factor", cycles_factor)):
        if not value > 0:
            raise InputError(f"found {value}", "more than 0", field)
    return drive.endurance_bytes * cycles_factor / programmed_bytes_per_s
