"""Streams of requests that are computed, not stored: any stretch of one can be had without the requests before it.

A stream gives the byte address of request i, and whether it writes. Every request is one burst. Streams that repeat say
with what period, so that a run can skip what it has seen. Streams go on for ever: those of a bounded region start over
at its end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from workloads.errors import InputError

__all__ = ["Gather", "Interleaved", "RandomGranules", "Recorded", "Sequential", "Stream", "Strided"]
__all__ += ["WriteEvery", "WriteShare", "check_seed", "splitmix64"]

Addresses = tuple[NDArray[np.int64], NDArray[np.bool_]]
Period = tuple[int, int]

_MOST_BYTES = 1 << 54  # what a mapping can decode: 48 bits of burst number


class Stream(Protocol):
    """What a run needs of its requests."""

    @property
    def burst_bytes(self) -> int:
        """Bytes one request moves."""

    def addresses(self, start: int, count: int) -> Addresses:
        """Byte addresses and write flags of requests ``start`` to ``start + count - 1``."""

    def period(self, unit_bytes: int, count: int | None = None) -> Period | None:
        """The smallest number of requests d > 0 after which the stream repeats, and by how many bytes it has moved.

        For all i: address(i + d) = address(i) + S with S a multiple of ``unit_bytes``, and equal write flags. With
        ``count`` this is only promised for i + d < count: before a region starts over, d is far smaller. None for
        streams without a period.
        """

    def top_bytes(self, count: int) -> int:
        """One more than the highest byte that the first ``count`` requests touch, or a bound on it."""


@dataclass(frozen=True)
class Sequential:
    """One burst after the other from ``start_bytes`` on, over ``region_bytes`` and then again; None: without an end."""

    burst_bytes: int
    region_bytes: int | None = None
    start_bytes: int = 0

    def __post_init__(self) -> None:
        _check_bursts(self.burst_bytes, start_bytes=self.start_bytes)
        if self.region_bytes is not None:
            _check_bursts(self.burst_bytes, region_bytes=self.region_bytes, least=1)

    def addresses(self, start: int, count: int) -> Addresses:
        """As in `Stream`."""
        at = np.arange(start * self.burst_bytes, (start + count) * self.burst_bytes, self.burst_bytes, dtype=np.int64)
        if self.region_bytes is not None:
            at %= self.region_bytes
        if self.start_bytes:
            at += self.start_bytes
        return at, np.zeros(count, dtype=np.bool_)

    def period(self, unit_bytes: int, count: int | None = None) -> Period | None:
        """As in `Stream`."""
        around = None if self.region_bytes is None else self.region_bytes // self.burst_bytes
        return _straight_or_around(1, self.burst_bytes, unit_bytes, count, around)

    def top_bytes(self, count: int) -> int:
        """As in `Stream`."""
        span = count * self.burst_bytes
        return self.start_bytes + (span if self.region_bytes is None else min(span, self.region_bytes))


@dataclass(frozen=True)
class Strided:
    """``stride_bytes`` from request to request over ``region_bytes``; then again, one burst further on.

    When every burst of the region was read the stream starts over.
    """

    burst_bytes: int
    stride_bytes: int
    region_bytes: int

    def __post_init__(self) -> None:
        _check_bursts(self.burst_bytes, stride_bytes=self.stride_bytes, region_bytes=self.region_bytes, least=1)
        if self.region_bytes % self.stride_bytes:
            problem = f"a region of {self.region_bytes:,} bytes with a stride of {self.stride_bytes:,}"
            raise InputError(problem, "a region that is a multiple of the stride", "region_bytes")

    def addresses(self, start: int, count: int) -> Addresses:
        """As in `Stream`."""
        steps, bursts = self.region_bytes // self.stride_bytes, self.stride_bytes // self.burst_bytes
        sweep, step = np.divmod(np.arange(start, start + count, dtype=np.int64), steps)
        at = step * self.stride_bytes + sweep % bursts * self.burst_bytes
        return at, np.zeros(count, dtype=np.bool_)

    def period(self, unit_bytes: int, count: int | None = None) -> Period | None:
        """As in `Stream`."""
        steps, around = self.region_bytes // self.stride_bytes, self.region_bytes // self.burst_bytes
        if steps > 1 and count is not None and count <= steps:
            return _straight_or_around(1, self.stride_bytes, unit_bytes, count, around)
        return _straight_or_around(steps, self.burst_bytes, unit_bytes, count, around)

    def top_bytes(self, count: int) -> int:
        """As in `Stream`."""
        steps = self.region_bytes // self.stride_bytes
        return self.region_bytes if count > steps else (count - 1) * self.stride_bytes + self.burst_bytes


@dataclass(frozen=True)
class Interleaved:
    """Sequential streams that take turns: ``chunk_bytes`` of each; stream s begins at s times ``spacing_bytes``.

    A stream reads ``stream_bytes`` and then starts over; None: without an end.
    """

    burst_bytes: int
    streams: int
    spacing_bytes: int
    chunk_bytes: int
    stream_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.streams < 1:
            raise InputError(f"found {self.streams} streams", "at least 1", "streams")
        _check_bursts(self.burst_bytes, spacing_bytes=self.spacing_bytes, chunk_bytes=self.chunk_bytes, least=1)
        if self.stream_bytes is not None:
            _check_bursts(self.burst_bytes, stream_bytes=self.stream_bytes, least=1)
            if self.stream_bytes % self.chunk_bytes:
                problem = f"streams of {self.stream_bytes:,} bytes in chunks of {self.chunk_bytes:,}"
                raise InputError(problem, "whole chunks", "stream_bytes")
        if (self.streams - 1) * self.spacing_bytes >= _MOST_BYTES:
            problem = f"{self.streams:,} streams {self.spacing_bytes:,} bytes apart"
            raise InputError(problem, f"addresses below {_MOST_BYTES:,}", "streams")

    def addresses(self, start: int, count: int) -> Addresses:
        """As in `Stream`."""
        bursts = self.chunk_bytes // self.burst_bytes
        at = np.arange(start, start + count, dtype=np.int64)
        turn, burst = np.divmod(at, bursts) if bursts > 1 else (at, 0)
        chunk, stream = np.divmod(turn, self.streams) if self.streams > 1 else (turn, 0)
        if self.stream_bytes is not None:
            chunk %= self.stream_bytes // self.chunk_bytes
        at = stream * self.spacing_bytes + chunk * self.chunk_bytes + burst * self.burst_bytes
        return at, np.zeros(count, dtype=np.bool_)

    def period(self, unit_bytes: int, count: int | None = None) -> Period | None:
        """As in `Stream`."""
        chunk = self.chunk_bytes // self.burst_bytes
        requests, step = self.streams * chunk, self.chunk_bytes
        if self.streams == 1:
            requests, step = 1, self.burst_bytes
        elif self.streams * self.spacing_bytes == self.chunk_bytes:  # the next chunk of all is one more stream
            requests, step = chunk, self.spacing_bytes
        around = None if self.stream_bytes is None else self.streams * (self.stream_bytes // self.burst_bytes)
        return _straight_or_around(requests, step, unit_bytes, count, around)

    def top_bytes(self, count: int) -> int:
        """As in `Stream`."""
        chunks = -(-count * self.burst_bytes // (self.streams * self.chunk_bytes)) * self.chunk_bytes
        own = chunks if self.stream_bytes is None else min(chunks, self.stream_bytes)
        return (self.streams - 1) * self.spacing_bytes + own


@dataclass(frozen=True)
class RandomGranules:
    """Granules of ``region_bytes`` drawn uniformly and independently (`splitmix64`), each read whole, in order.

    The draw is the generator's output modulo the number of granules, so uniform to 1 part in 2^64 / granules.
    """

    burst_bytes: int
    region_bytes: int
    granule_bytes: int
    seed: int = 1

    def __post_init__(self) -> None:
        _check_bursts(self.burst_bytes, granule_bytes=self.granule_bytes, region_bytes=self.region_bytes, least=1)
        check_seed(self.seed)
        if self.region_bytes % self.granule_bytes:
            problem = f"a region of {self.region_bytes:,} bytes in granules of {self.granule_bytes:,}"
            raise InputError(problem, "whole granules", "granule_bytes")

    def addresses(self, start: int, count: int) -> Addresses:
        """As in `Stream`."""
        bursts = self.granule_bytes // self.burst_bytes
        first, end = start // bursts, -(-(start + count) // bursts)
        granule = splitmix64(self.seed, first, end - first) % np.uint64(self.region_bytes // self.granule_bytes)
        at = _expand(granule.astype(np.int64) * self.granule_bytes, self.burst_bytes, bursts, start - first * bursts)
        return at[:count], np.zeros(count, dtype=np.bool_)

    def period(self, unit_bytes: int, count: int | None = None) -> Period | None:  # noqa: ARG002
        """None, but where there is only one granule."""
        if self.region_bytes == self.granule_bytes:
            return self.granule_bytes // self.burst_bytes, 0
        return None

    def top_bytes(self, count: int) -> int:  # noqa: ARG002
        """As in `Stream`."""
        return self.region_bytes


@dataclass(frozen=True, eq=False)
class Gather:
    """Granules by their numbers, each read whole, in the order given and then again."""

    burst_bytes: int
    granule_bytes: int
    indices: NDArray[np.int64]

    def __post_init__(self) -> None:
        _check_bursts(self.burst_bytes, granule_bytes=self.granule_bytes, least=1)
        object.__setattr__(self, "indices", np.array(self.indices, dtype=np.int64).reshape(-1))
        if not len(self.indices):
            raise InputError("found no granule", "at least one index", "indices")
        for value in (int(self.indices.min()), int(self.indices.max())):
            if not 0 <= value < _MOST_BYTES // self.granule_bytes:
                raise InputError(f"found granule {value:,}", "a number of 0 or more, within any memory", "indices")

    def addresses(self, start: int, count: int) -> Addresses:
        """As in `Stream`."""
        bursts = self.granule_bytes // self.burst_bytes
        first, end = start // bursts, -(-(start + count) // bursts)
        granule = self.indices[np.arange(first, end) % len(self.indices)]
        at = _expand(granule * self.granule_bytes, self.burst_bytes, bursts, start - first * bursts)
        return at[:count], np.zeros(count, dtype=np.bool_)

    def period(self, unit_bytes: int, count: int | None = None) -> Period | None:  # noqa: ARG002
        """As in `Stream`: the list, or the part of it that it consists of."""
        length = len(self.indices)
        divisors = [d for d in range(1, math.isqrt(length) + 1) if length % d == 0]
        for part in sorted({*divisors, *(length // d for d in divisors)}):
            if np.array_equal(self.indices[part:], self.indices[: length - part]):
                return part * (self.granule_bytes // self.burst_bytes), 0
        return None

    def top_bytes(self, count: int) -> int:  # noqa: ARG002
        """As in `Stream`."""
        return (int(self.indices.max()) + 1) * self.granule_bytes


@dataclass(frozen=True)
class WriteEvery:
    """The addresses of ``stream``, with every ``every``-th request a write: the last of each ``every``."""

    stream: Stream
    every: int

    def __post_init__(self) -> None:
        if self.every < 1:
            raise InputError(f"found {self.every}", "1 (all writes) or more", "write_every")

    @property
    def burst_bytes(self) -> int:
        """As in `Stream`."""
        return self.stream.burst_bytes

    def addresses(self, start: int, count: int) -> Addresses:
        """As in `Stream`."""
        at, _ = self.stream.addresses(start, count)
        writes = np.zeros(count, dtype=np.bool_)
        writes[(self.every - 1 - start) % self.every :: self.every] = True
        return at, writes

    def period(self, unit_bytes: int, count: int | None = None) -> Period | None:
        """As in `Stream`."""
        inner = self.stream.period(unit_bytes, count)
        if inner is None:
            return None
        times = self.every // math.gcd(self.every, inner[0])
        return inner[0] * times, inner[1] * times

    def top_bytes(self, count: int) -> int:
        """As in `Stream`."""
        return self.stream.top_bytes(count)


@dataclass(frozen=True)
class WriteShare:
    """The addresses of ``stream``, each request a write with probability ``share``, drawn by `splitmix64`."""

    stream: Stream
    share: float
    seed: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise InputError(f"found {self.share:g}", "a share from 0 to 1", "write_share")
        check_seed(self.seed)

    @property
    def burst_bytes(self) -> int:
        """As in `Stream`."""
        return self.stream.burst_bytes

    def addresses(self, start: int, count: int) -> Addresses:
        """As in `Stream`."""
        at, _ = self.stream.addresses(start, count)
        # The seed's complement: another sequence than that of random addresses with the same seed.
        drawn = splitmix64(~self.seed, start, count) >> np.uint64(11)
        return at, drawn < np.uint64(round(self.share * 2**53))

    def period(self, unit_bytes: int, count: int | None = None) -> Period | None:
        """As in `Stream`: none unless all requests are alike."""
        return self.stream.period(unit_bytes, count) if self.share in (0, 1) else None

    def top_bytes(self, count: int) -> int:
        """As in `Stream`."""
        return self.stream.top_bytes(count)


@dataclass(frozen=True, eq=False)
class Recorded:
    """Requests from a list, such as a trace; it ends with its last."""

    burst_bytes: int
    recorded: NDArray[np.int64]
    writes: NDArray[np.bool_] = field(repr=False)

    def __len__(self) -> int:
        return len(self.recorded)

    def addresses(self, start: int, count: int) -> Addresses:
        """As in `Stream`; raises `InputError` past the end."""
        if start + count > len(self.recorded):
            raise InputError(f"asked for {start + count:,} requests", f"at most the {len(self.recorded):,} recorded")
        part = slice(start, start + count)
        return self.recorded[part], self.writes[part]

    def period(self, unit_bytes: int, count: int | None = None) -> Period | None:  # noqa: ARG002
        """None: it is not searched for one."""
        return None

    def top_bytes(self, count: int) -> int:
        """As in `Stream`."""
        return int(self.recorded[:count].max(initial=-self.burst_bytes)) + self.burst_bytes


def splitmix64(seed: int, start: int, count: int) -> NDArray[np.uint64]:
    """Outputs ``start`` to ``start + count - 1`` of the generator seeded with ``seed``.

    Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014; constants of S. Vigna's public
    domain splitmix64.c. Output i depends on seed and i alone.
    """
    first = (seed + (start + 1) * 0x9E3779B97F4A7C15) % 2**64
    state = np.arange(count, dtype=np.uint64)
    state *= np.uint64(0x9E3779B97F4A7C15)
    state += np.uint64(first)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        state ^= state >> np.uint64(shift)
        state *= np.uint64(factor)
    state ^= state >> np.uint64(31)
    return state


def _expand(bases: NDArray[np.int64], burst_bytes: int, bursts: int, first: int) -> NDArray[np.int64]:
    """Every burst of the granules at ``bases``, one granule after the other, without the ``first`` ones."""
    if bursts == 1:
        return bases[first:]
    return (bases[:, None] + np.arange(bursts, dtype=np.int64) * burst_bytes).reshape(-1)[first:]


def _straight_or_around(
    requests: int, step_bytes: int, unit_bytes: int, count: int | None, around: int | None
) -> Period:
    """The period of a stream that moves ``step_bytes`` in ``requests`` and starts over after ``around`` requests.

    From there on it is bounded, so that it repeats only without having moved: after whole rounds.
    """
    if around is None or (count is not None and count <= around):
        times = unit_bytes // math.gcd(unit_bytes, step_bytes)
        return requests * times, step_bytes * times
    return around, 0


def _check_bursts(burst_bytes: int, *, least: int = 0, **sizes: int) -> None:
    """Every size is a multiple of the burst, and at least ``least`` bursts."""
    for name, size in sizes.items():
        if size % burst_bytes or not least * burst_bytes <= size <= _MOST_BYTES:
            expected = f"a multiple of the burst of {burst_bytes} bytes, {least * burst_bytes:,} to {_MOST_BYTES:,}"
            raise InputError(f"found {size:,} bytes", expected, name)


def check_seed(seed: int) -> None:
    """Raise `InputError` for a seed that is not a number of 64 bits."""
    if not 0 <= seed < 2**64:
        raise InputError(f"found seed {seed}", "a whole number from 0 to 2^64 - 1", "seed")
