"""Where keys and values lie in a drive: pages of one head, by token and by channel, and the drive's dies.

By token a page holds as many tokens of one head as fit, keys and values apart. By channel a page holds a few channels
(elements) of the keys of one head for many tokens; that copy is beside the first, so keys are held twice. Both are
those of InstInfer, arXiv 2409.04992, as is that the heads of a token are written together; the order on the dies is
our own:

* Every layer of a sequence has a *plot*, room for its longest length; plots follow one another.
* ``together`` pages of a head form a *bundle*, which lies in the planes of one die under one page number, so that one
  command reads it. A head's pages are its keys' and values' pages in turn, so a bundle of 2 is a page of keys and that
  of values of the same tokens.
* Bundles go to channels, then chips, then dies in turn. The heads of a token are neighbours, turned by one for every
  next bundle; else a number of heads that the channels divide would put each head on one channel.

Logical pages are numbered such that the drive's own order (channel, chip, die, plane in turn) gives these places.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simulator.memory.flash.drive import Geometry
from workloads.errors import InputError

__all__ = ["KvLayout", "PagePlaces", "Pages", "place_of"]

Pages = NDArray[np.int64]


@dataclass(frozen=True)
class PagePlaces:
    """Channel, chip in the channel, die in the chip, plane in the die, and page number, of every page asked for."""

    channel: Pages
    chip: Pages
    die: Pages
    plane: Pages
    row: Pages


def place_of(geometry: Geometry, pages: ArrayLike) -> PagePlaces:
    """Where logical ``pages`` lie in a drive filled in order; any shape, the answer's arrays have it too."""
    rest = np.asarray(pages, dtype=np.int64)
    parts = []
    for count in (
        geometry.channels,
        geometry.chips_per_channel,
        geometry.dies_per_chip,
        geometry.planes_per_die,
    ):
        parts.append(rest % count)
        rest = rest // count
    return PagePlaces(parts[0], parts[1], parts[2], parts[3], rest)


@dataclass(frozen=True)
class KvLayout:
    """Keys and values of ``kv_heads`` heads of ``head_size`` elements, up to ``most_tokens`` of each sequence.

    ``channels_per_page`` is the number of channels in a page of the copy by channel; None keeps no such copy.
    ``together`` divides the planes of a die. Raises `InputError`, with the field, for what does not fit a page.
    """

    geometry: Geometry
    kv_heads: int
    head_size: int
    most_tokens: int
    element_bytes: int = 2
    channels_per_page: int | None = None
    together: int = 1

    def __post_init__(self) -> None:
        page, planes = self.geometry.page_bytes, self.geometry.planes_per_die
        for field in ("kv_heads", "head_size", "most_tokens", "element_bytes"):
            if getattr(self, field) < 1:
                raise InputError(f"found {getattr(self, field)}", "at least 1", field)
        if self.head_size * self.element_bytes > page:
            found = f"a token of one head takes {self.head_size * self.element_bytes:,} bytes"
            raise InputError(found, f"at most a page of {page:,} bytes", "head_size")
        if self.together < 1 or planes % self.together:
            raise InputError(f"found {self.together} pages", f"a divisor of the {planes} planes of a die", "together")
        if self.channels_per_page is not None and not 1 <= self.channels_per_page <= self.head_size:
            expected = f"1 to {self.head_size}, the channels of a head"
            raise InputError(f"found {self.channels_per_page} channels a page", expected, "channels_per_page")
        if self.channels_per_page is not None and self.channels_per_page * self.element_bytes > page:
            raise InputError(
                f"one token takes {self.channels_per_page * self.element_bytes:,} bytes of a page by channel",
                f"at most a page of {page:,} bytes",
                "channels_per_page",
            )

    # Counts

    @property
    def tokens_per_page(self) -> int:
        """Of one head, in a page by token."""
        return self.geometry.page_bytes // (self.head_size * self.element_bytes)

    @property
    def tokens_per_channel_page(self) -> int:
        """Of one head, in a page by channel. Raises `InputError` where there is no such copy."""
        return self.geometry.page_bytes // (self._channels * self.element_bytes)

    @property
    def channel_groups(self) -> int:
        """Pages by channel that cover one head."""
        return -(-self.head_size // self._channels)

    @property
    def tokens_written_together(self) -> int:
        """Tokens whose keys and values fill one bundle of every head."""
        return self.tokens_per_page * max(1, self.together // 2)

    @property
    def _channels(self) -> int:
        if self.channels_per_page is None:
            raise InputError("keys are held by token only", "channels_per_page", "channels_per_page")
        return self.channels_per_page

    @property
    def _token_rows(self) -> int:
        """Bundles of one head for its longest length."""
        return -(-2 * -(-self.most_tokens // self.tokens_per_page) // self.together)

    @property
    def _group_bundles(self) -> int:
        """Bundles of one head that hold all its channels for as many tokens as a page by channel has."""
        return -(-self.channel_groups // self.together)

    @property
    def _channel_rows(self) -> int:
        if self.channels_per_page is None:
            return 0
        return -(-self.most_tokens // self.tokens_per_channel_page) * self._group_bundles

    @property
    def pages_per_plot(self) -> int:
        """Of one layer of one sequence."""
        return (self._token_rows + self._channel_rows) * self.kv_heads * self.together

    @property
    def plots(self) -> int:
        """Layers of sequences that the drive's pages have room for, none kept back for collection."""
        return self.geometry.pages // self.pages_per_plot

    @property
    def bytes_per_token(self) -> int:
        """Of keys and values of one layer, held once."""
        return 2 * self.kv_heads * self.head_size * self.element_bytes

    @property
    def capacity_factor(self) -> float:
        """Bytes of a plot over those of keys and values held once: copies, and pages not full."""
        return self.pages_per_plot * self.geometry.page_bytes / (self.most_tokens * self.bytes_per_token)

    @property
    def erased_together_bytes(self) -> int:
        """Blocks of the same number in every plane, which fill side by side."""
        return self.geometry.planes * self.geometry.pages_per_block * self.geometry.page_bytes

    def held_bytes(self, layers: int, sequences: int = 1) -> int:
        """Flash held by sequences that end, and are erased, together: blocks in every plane, whole."""
        used = layers * sequences * self.pages_per_plot * self.geometry.page_bytes
        return -(-used // self.erased_together_bytes) * self.erased_together_bytes

    # Page numbers

    def token_pages(self, plot: ArrayLike, head: ArrayLike, group: ArrayLike, *, values: ArrayLike) -> Pages:
        """The page of ``head`` with tokens ``group * tokens_per_page`` on; ``values`` true for values, false for keys.

        Arguments broadcast. Raises `InputError` outside the layout.
        """
        heads, groups = self._checked(head, self.kv_heads, "head"), np.asarray(group, dtype=np.int64)
        self._checked(groups, -(-self.most_tokens // self.tokens_per_page), "group")
        index = 2 * groups + np.asarray(values, dtype=np.int64)
        return self._number(plot, heads, index // self.together, index % self.together)

    def channel_pages(self, plot: ArrayLike, head: ArrayLike, group: ArrayLike, stretch: ArrayLike) -> Pages:
        """The page of ``head`` with channels ``group * channels_per_page`` on of tokens ``stretch *
        tokens_per_channel_page`` on. Arguments broadcast. Raises `InputError` outside the layout."""
        heads = self._checked(head, self.kv_heads, "head")
        groups = self._checked(group, self.channel_groups, "group")
        stretches = self._checked(stretch, -(-self.most_tokens // self.tokens_per_channel_page), "stretch")
        row = self._token_rows + stretches * self._group_bundles + groups // self.together
        return self._number(plot, heads, row, groups % self.together)

    def _number(self, plot: ArrayLike, heads: Pages, row: Pages, within: Pages) -> Pages:
        plots = self._checked(plot, self.plots, "plot")
        rows = plots * (self._token_rows + self._channel_rows) + row
        bundle = rows * self.kv_heads + (heads + row) % self.kv_heads
        geometry = self.geometry
        dies = geometry.chips * geometry.dies_per_chip
        sharing = geometry.planes_per_die // self.together  # bundles under one page number of a die
        turn = bundle // dies
        plane = turn % sharing * self.together + within
        pages: Pages = (turn // sharing * geometry.planes_per_die + plane) * dies + bundle % dies
        return pages

    @staticmethod
    def _checked(values: ArrayLike, end: int, field: str) -> Pages:
        numbers = np.asarray(values, dtype=np.int64)
        if numbers.size and not (int(numbers.min()) >= 0 and int(numbers.max()) < end):
            raise InputError(f"found {int(numbers.min())} to {int(numbers.max())}", f"0 to {end - 1}", field)
        return numbers
