"""What methods of shrinking keys and values keep, and what a decode step still reads, as changes of `KvPart`.

Each is a value with ``apply``; `transformed` applies several in turn. Accuracy is outside: these are bytes. A prompt is
counted as if it were shrunk while it is computed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from simulator.serving.kv.sizes import KvPart, KvSizes
from workloads.errors import InputError
from workloads.formats import storage_format

__all__ = [
    "EvictTokens",
    "KeepShare",
    "KvTransform",
    "PruneChannels",
    "Quantise",
    "SelectPages",
    "SelectTokens",
    "SinksAndWindow",
    "StreamingHeads",
    "transformed",
]


class KvTransform(Protocol):
    """Turns keys and values kept alike into parts that are kept otherwise."""

    def apply(self, part: KvPart) -> tuple[KvPart, ...]:
        """The parts that stand for ``part``."""
        ...


def transformed(sizes: KvSizes, *transforms: KvTransform) -> KvSizes:
    """``sizes`` after each of ``transforms`` in turn.

    A layer that attends to a window is left alone by those that drop or select tokens where it keeps less already.
    """
    parts = sizes.parts
    for transform in transforms:
        parts = tuple(new for part in parts for new in transform.apply(part))
    return KvSizes(parts)


@dataclass(frozen=True)
class Quantise:
    """Keys and values in storage formats ``keys`` and ``values``, scales included; the latest tokens stay as they are.

    KIVI (arXiv 2402.02750, section 3) keeps the last ``recent_tokens`` in full precision: 128 there.
    """

    keys: str
    values: str
    recent_tokens: int = 0

    def __post_init__(self) -> None:
        storage_format(self.keys)
        storage_format(self.values)
        _at_least(self, 0, "recent_tokens")

    def apply(self, part: KvPart) -> tuple[KvPart, ...]:
        """Narrower elements; the difference to full width stands in ``recent_bytes``."""
        bits = storage_format(self.keys).bits_per_element, storage_format(self.values).bits_per_element
        narrow = replace(part, key_bits=bits[0], value_bits=bits[1])
        return (_keeping_recent(part, narrow, self.recent_tokens),)


@dataclass(frozen=True)
class PruneChannels:
    """Only ``keep`` of the channels of keys, and ``keep_values`` of those of values (ThinK, arXiv 2407.21018).

    The latest ``recent_tokens`` keep all channels.
    """

    keep: float
    keep_values: float = 1.0
    recent_tokens: int = 0

    def __post_init__(self) -> None:
        _shares(self, "keep", "keep_values")
        _at_least(self, 0, "recent_tokens")

    def apply(self, part: KvPart) -> tuple[KvPart, ...]:
        """Fewer elements per token."""
        keys, values = part.key_elements * self.keep, part.value_elements * self.keep_values
        narrow = replace(part, key_elements=keys, value_elements=values)
        return (_keeping_recent(part, narrow, self.recent_tokens),)


@dataclass(frozen=True)
class EvictTokens:
    """At most ``heavy`` tokens of most attention and the latest ``recent`` (H2O, arXiv 2306.14048).

    The sums of attention by which the heavy are chosen are not counted.
    """

    heavy: int
    recent: int

    def __post_init__(self) -> None:
        _at_least(self, 0, "heavy", "recent")
        _at_least(self, 1, "budget")

    @property
    def budget(self) -> int:
        """Tokens kept at most."""
        return self.heavy + self.recent

    def apply(self, part: KvPart) -> tuple[KvPart, ...]:
        """A cap, packed: evicted places are used again."""
        return (_capped(part, self.budget, slides=False),)


@dataclass(frozen=True)
class KeepShare:
    """``share`` of the context (Keyformer, arXiv 2403.09054, keeps 0.5 to 0.7; LazyEviction 0.5)."""

    share: float

    def __post_init__(self) -> None:
        _shares(self, "share")

    def apply(self, part: KvPart) -> tuple[KvPart, ...]:
        """A share, where no window keeps less."""
        return (replace(part, keeps_share=part.keeps_share * self.share),)


@dataclass(frozen=True)
class SinksAndWindow:
    """The first ``sinks`` tokens and the latest ``window`` (StreamingLLM, arXiv 2309.17453)."""

    sinks: int
    window: int

    def __post_init__(self) -> None:
        _at_least(self, 0, "sinks")
        _at_least(self, 1, "window")

    def apply(self, part: KvPart) -> tuple[KvPart, ...]:
        """A cap with a window that moves on."""
        return (_capped(part, self.sinks + self.window, slides=True, pinned=self.sinks),)


@dataclass(frozen=True)
class StreamingHeads:
    """``full`` of the key-value heads keep everything, the others sinks and window (DuoAttention, arXiv 2410.10819)."""

    full: float
    sinks: int
    window: int

    def __post_init__(self) -> None:
        _shares(self, "full", least_open=False)
        _at_least(self, 0, "sinks")
        _at_least(self, 1, "window")

    def apply(self, part: KvPart) -> tuple[KvPart, ...]:
        """Two parts, split by heads."""
        if not part.value_elements:
            raise InputError("a latent has no heads to tell apart", "keys and values by head", "full")
        whole, rest = _heads(part, self.full), _heads(part, 1 - self.full)
        streaming = SinksAndWindow(self.sinks, self.window).apply(rest)
        return tuple(new for new in (whole, *streaming) if new.key_elements)


@dataclass(frozen=True)
class SelectPages:
    """All is kept; a step reads the best pages, ``budget`` tokens together (Quest, arXiv 2406.10774, section 3).

    A page of ``page_tokens`` has the smallest and largest value of each channel of its keys beside it, read every step.
    """

    budget: int
    page_tokens: int = 16

    def __post_init__(self) -> None:
        _at_least(self, 1, "budget", "page_tokens")

    def apply(self, part: KvPart) -> tuple[KvPart, ...]:
        """Whole pages are read: the budget rounds up to them."""
        budget = -(-self.budget // self.page_tokens) * self.page_tokens
        reads = budget if part.reads_tokens is None else min(budget, part.reads_tokens)
        bounds = 2 * part.key_bytes
        return (replace(part, reads_tokens=reads, page_tokens=self.page_tokens, page_bytes=bounds, scan_bytes=bounds),)


@dataclass(frozen=True)
class SelectTokens:
    """All is kept; a step reads ``channels`` of the keys of all tokens, then ``tokens`` of them whole.

    SparQ (arXiv 2312.04985); SparF (InstInfer, arXiv 2409.04992) stores keys twice, by channel and by token, because
    flash reads pages: ``twice``. Both as shares; pages that are read for a part of them are left out here
    (`simulator.memory.storage` counts them).
    """

    channels: float
    tokens: float
    twice: bool = False

    def __post_init__(self) -> None:
        _shares(self, "channels", "tokens")

    def apply(self, part: KvPart) -> tuple[KvPart, ...]:
        """A scan of some channels, and fewer tokens read."""
        copy = part.key_bytes if self.twice else 0.0
        scan, reads = part.key_bytes * self.channels, part.reads_share * self.tokens
        return (replace(part, reads_share=reads, page_tokens=1, page_bytes=copy, scan_bytes=scan),)


def _keeping_recent(part: KvPart, narrow: KvPart, recent_tokens: int) -> KvPart:
    if not recent_tokens:
        return narrow
    return replace(narrow, recent_tokens=recent_tokens, recent_bytes=part.token_bytes - narrow.token_bytes)


def _capped(part: KvPart, most: int, *, slides: bool, pinned: int = 0) -> KvPart:
    if part.keeps_tokens is not None and part.keeps_tokens <= most:
        return part
    return replace(part, keeps_tokens=most, slides=slides, pinned_tokens=pinned)


def _heads(part: KvPart, share: float) -> KvPart:
    return replace(
        part,
        key_elements=part.key_elements * share,
        value_elements=part.value_elements * share,
        page_bytes=part.page_bytes * share,
        scan_bytes=part.scan_bytes * share,
        recent_bytes=part.recent_bytes * share,
    )


def _at_least(value: object, least: int, *names: str) -> None:
    for name in names:
        found = getattr(value, name)
        if isinstance(found, bool) or not isinstance(found, int) or found < least:
            raise InputError(f"{found!r} tokens", f"a whole number of at least {least}", name)


def _shares(value: object, *names: str, least_open: bool = True) -> None:
    for name in names:
        found = getattr(value, name)
        if not (0 < found <= 1 or (found == 0 and not least_open)):
            raise InputError(f"a share of {found:g}", f"{'above 0' if least_open else 'from 0'} to 1", name)
