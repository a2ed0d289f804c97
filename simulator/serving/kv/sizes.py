"""Bytes of keys and values: what layers keep of a sequence, and what one decode step reads of it."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import cached_property

from workloads.errors import InputError
from workloads.formats import FormatChoice, storage_format
from workloads.models.architecture import Attention, Model

__all__ = ["KvPart", "KvSizes", "kv_sizes"]


@dataclass(frozen=True)
class KvPart:
    """Keys and values that ``layers`` layers keep alike, over all ``devices`` that hold a share of each layer.

    A token has ``key_elements`` and ``value_elements`` per layer, of ``key_bits`` and ``value_bits`` with scales; a
    latent counts as keys. Of a context, ``keeps_share`` is kept, at most ``keeps_tokens``; ``slides`` says that what is
    kept, but for the first ``pinned_tokens``, is a window that moves on token by token, so that it may touch one block
    more than its length needs. A decode step reads ``reads_share`` of the kept tokens, at most ``reads_tokens``, and
    ``scan_bytes`` of every page of ``page_tokens``, which takes ``page_bytes`` beside keys and values. The latest
    ``recent_tokens`` take ``recent_bytes`` more each (and are always read).
    """

    layers: int
    key_elements: float
    value_elements: float
    key_bits: float = 16.0
    value_bits: float = 16.0
    devices: int = 1
    keeps_share: float = 1.0
    keeps_tokens: int | None = None
    slides: bool = False
    pinned_tokens: int = 0
    reads_share: float = 1.0
    reads_tokens: int | None = None
    page_tokens: int = 1
    page_bytes: float = 0.0
    scan_bytes: float = 0.0
    recent_tokens: int = 0
    recent_bytes: float = 0.0

    @property
    def key_bytes(self) -> float:
        """Of a token's keys in one layer, over all devices."""
        return self.key_elements * self.key_bits / 8

    @property
    def value_bytes(self) -> float:
        """Of a token's values in one layer, over all devices."""
        return self.value_elements * self.value_bits / 8

    @property
    def token_bytes(self) -> float:
        """Of a token's keys and values in one layer."""
        return self.key_bytes + self.value_bytes

    @property
    def linear(self) -> bool:
        """Whether a layer's bytes are its tokens times `token_bytes`."""
        return self.keeps_share == 1 and self.keeps_tokens is None and not self.page_bytes and not self.recent_bytes

    def kept_tokens(self, context: int) -> int:
        """Tokens one layer keeps of ``context``."""
        kept = math.ceil(self.keeps_share * context)
        return kept if self.keeps_tokens is None else min(kept, self.keeps_tokens)

    def kept_bytes(self, context: int) -> float:
        """Bytes one layer keeps of ``context`` tokens."""
        return self._bytes(self.kept_tokens(context))

    def touched_tokens(self, context: int) -> int:
        """Tokens whose keys and values one layer reads in a decode step."""
        kept = self.kept_tokens(context)
        read = math.ceil(self.reads_share * kept)
        return read if self.reads_tokens is None else min(read, self.reads_tokens)

    def touched_bytes(self, context: int) -> float:
        """Bytes one layer reads in a decode step over ``context`` tokens."""
        kept, read = self.kept_tokens(context), self.touched_tokens(context)
        scanned = -(-kept // self.page_tokens) * self.scan_bytes
        return read * self.token_bytes + scanned + min(read, self.recent_tokens) * self.recent_bytes

    def room_bytes(self, tokens: int, granule: int) -> float:
        """Bytes one layer needs for ``tokens`` where room is given in granules of so many tokens."""
        granules = math.ceil(self.keeps_share * -(-tokens // granule))
        if self.keeps_tokens is not None:
            cap = -(-self.keeps_tokens // granule)
            if self.slides and granule > 1:
                # A window of w tokens touches up to ceil((w - 1) / granule) + 1 granules.
                window = self.keeps_tokens - self.pinned_tokens
                cap = -(-self.pinned_tokens // granule) + (window + granule - 2) // granule + 1
            granules = min(granules, cap)
        return self._bytes(granules * granule)

    def _bytes(self, kept: int) -> float:
        pages = -(-kept // self.page_tokens)
        return kept * self.token_bytes + pages * self.page_bytes + min(kept, self.recent_tokens) * self.recent_bytes


@dataclass(frozen=True)
class KvSizes:
    """All layers of a replica, in parts; a layer may stand in several (heads that are kept differently)."""

    parts: tuple[KvPart, ...]

    @cached_property
    def token_bytes(self) -> float:
        """Bytes a token adds over all layers and devices while nothing is dropped."""
        return sum(part.layers * part.token_bytes * part.keeps_share for part in self.parts)

    @cached_property
    def linear(self) -> bool:
        """Whether the bytes of a sequence are its tokens times `token_bytes`."""
        return all(part.linear for part in self.parts)

    def kept_bytes(self, context: int) -> float:
        """Bytes kept of a sequence of ``context`` tokens."""
        return sum(part.layers * part.kept_bytes(context) for part in self.parts)

    def touched_bytes(self, context: int) -> float:
        """Bytes that a decode step reads of a sequence of ``context`` tokens."""
        return sum(part.layers * part.touched_bytes(context) for part in self.parts)

    def room_bytes(self, tokens: int, granule: int = 1) -> int:
        """Bytes needed for ``tokens`` where room is given in granules of so many tokens, rounded up to a byte."""
        return math.ceil(sum(part.layers * part.room_bytes(tokens, granule) for part in self.parts))


def kv_sizes(model: Model, formats: FormatChoice | None = None, devices: int = 1) -> KvSizes:
    """What ``model`` keeps over all layers, each layer's heads spread over ``devices`` (tensor parallelism).

    Where there are fewer key heads than devices, each device still has one; a latent is whole on every device
    (DeepSeek-V2, arXiv 2405.04434, has one for all heads). Layers that attend to a window keep no more than it. The
    format is that of ``formats.kv_cache``, scales included. Raises `InputError` for a model that keeps nothing.
    """
    bits = storage_format((formats or FormatChoice()).kv_cache).bits_per_element
    times = Counter(model.blocks[index].attention for index in model.order)
    parts = tuple(_part(attention, layers, bits, devices) for attention, layers in times.items() if attention.causal)
    if not parts:
        raise InputError(f"{model.name} keeps no keys and values", "a model that decodes", "model")
    return KvSizes(parts)


def _part(attention: Attention, layers: int, bits: float, devices: int) -> KvPart:
    if attention.latent:
        keys, values = devices * (attention.latent.kv_rank + attention.latent.rope_dim), 0
    else:
        keys = values = devices * -(-attention.kv_heads // devices) * attention.head_dim
    return KvPart(
        layers=layers,
        key_elements=keys,
        value_elements=values,
        key_bits=bits,
        value_bits=bits,
        devices=devices,
        keeps_tokens=attention.window,
        slides=attention.window is not None,
    )
