"""Streams by name: the patterns of the reference measurements, and general ones with options.

The reference patterns cover 1 GiB, or a memory that is smaller whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np

from simulator.memory.dram.streams import (
    Gather,
    Interleaved,
    RandomGranules,
    Sequential,
    Stream,
    Strided,
    WriteEvery,
    WriteShare,
    check_seed,
)
from workloads.errors import InputError, unknown_name

__all__ = ["PATTERNS", "Geometry", "Options", "Pattern", "build_pattern"]

_MiB, _GiB = 1 << 20, 1 << 30
_OPTION_OF = {"spacing_bytes": "stride_bytes", "chunk_bytes": "granule_bytes", "stream_bytes": "region_bytes"}


@dataclass(frozen=True)
class Geometry:
    """What patterns are cut to: bytes of a burst and of a row, banks, and the bytes there are."""

    burst_bytes: int
    row_bytes: int
    banks: int
    capacity_bytes: int


@dataclass(frozen=True)
class Options:
    """What a user may choose; None where the pattern decides."""

    region_bytes: int | None = None
    granule_bytes: int | None = None
    streams: int | None = None
    stride_bytes: int | None = None
    indices: tuple[int, ...] | None = None
    seed: int = 1
    write_every: int | None = None
    write_share: float | None = None


@dataclass(frozen=True)
class Pattern:
    """A pattern: what it is, the options it takes beside those of writes, and how it is made of them.

    ``interval_ticks`` is the time between requests that belongs to it; 0: as fast as they are taken.
    """

    about: str
    takes: tuple[str, ...]
    build: Callable[[Geometry, Options], Stream]
    write_every: int | None = None
    interval_ticks: int = 0


def build_pattern(name: str, geometry: Geometry, options: Options) -> Stream:
    """The stream ``name`` of `PATTERNS` for a memory of that geometry.

    Raises `InputError` with the option as its field: for an unknown name, for options that mean nothing for the
    pattern (a seed never hurts), and for values outside their range.
    """
    if name not in PATTERNS:
        raise unknown_name("pattern", name, PATTERNS, field="pattern")
    pattern = PATTERNS[name]
    takes = {*pattern.takes, *(() if pattern.write_every else ("write_every", "write_share"))}
    for option in fields(options):
        if getattr(options, option.name) is not None and option.name not in {*takes, "seed"}:
            expected = f"one of {', '.join(sorted(takes))}" if takes else "no option"
            raise InputError(f"means nothing for pattern {name}", expected, option.name)
    check_seed(options.seed)
    try:
        stream = pattern.build(geometry, options)
    except InputError as error:
        raise replace(error, field=_OPTION_OF.get(error.field or "", error.field)) from None
    if options.write_every is not None and options.write_share is not None:
        raise InputError("stands beside write_share", "one of the two", "write_every")
    every = pattern.write_every if options.write_every is None else options.write_every
    if every is not None:
        return WriteEvery(stream, every)
    return stream if options.write_share is None else WriteShare(stream, options.write_share, options.seed)


def _region(options: Options, otherwise: int) -> int:
    return otherwise if options.region_bytes is None else options.region_bytes


def _granule(geometry: Geometry, options: Options) -> int:
    granule = geometry.burst_bytes if options.granule_bytes is None else options.granule_bytes
    if granule < 1 or granule % geometry.burst_bytes:
        raise InputError(f"found {granule:,} bytes", f"whole bursts of {geometry.burst_bytes} bytes", "granule_bytes")
    return granule


def _sequential_1g(geometry: Geometry, options: Options) -> Stream:
    return Sequential(geometry.burst_bytes, _region(options, min(_GiB, geometry.capacity_bytes)))


def _random_1g(geometry: Geometry, options: Options) -> Stream:
    burst = geometry.burst_bytes
    return RandomGranules(burst, _region(options, min(_GiB, geometry.capacity_bytes)), burst, options.seed)


def _stride_bank(geometry: Geometry, options: Options) -> Stream:
    return Strided(geometry.burst_bytes, geometry.row_bytes, _region(options, min(_GiB, geometry.capacity_bytes)))


def _stride_row(geometry: Geometry, options: Options) -> Stream:
    return Strided(
        geometry.burst_bytes, geometry.row_bytes * geometry.banks, _region(options, min(_GiB, geometry.capacity_bytes))
    )


def _sixteen(geometry: Geometry, chunk_bytes: int, skew_bytes: int) -> Stream:
    return Interleaved(geometry.burst_bytes, 16, 64 * _MiB + skew_bytes, chunk_bytes, 64 * _MiB)


def _sequential(geometry: Geometry, options: Options) -> Stream:
    return Sequential(geometry.burst_bytes, _region(options, geometry.capacity_bytes))


def _strided(geometry: Geometry, options: Options) -> Stream:
    stride = geometry.row_bytes if options.stride_bytes is None else options.stride_bytes
    return Strided(geometry.burst_bytes, stride, _region(options, geometry.capacity_bytes))


def _random(geometry: Geometry, options: Options) -> Stream:
    region = _region(options, geometry.capacity_bytes)
    return RandomGranules(geometry.burst_bytes, region, _granule(geometry, options), options.seed)


def _streams(geometry: Geometry, options: Options) -> Stream:
    """Streams that share the region evenly, unless ``stride_bytes`` says how far apart they begin."""
    count = 16 if options.streams is None else options.streams
    if count < 1:
        raise InputError(f"found {count} streams", "at least 1", "streams")
    granule, region = _granule(geometry, options), _region(options, geometry.capacity_bytes)
    share = region // count // granule * granule
    if share < granule:
        problem = f"{count:,} streams of granules of {granule:,} bytes in a region of {region:,}"
        raise InputError(problem, "room for a granule of each", "streams")
    spacing = share if options.stride_bytes is None else options.stride_bytes
    room = region - (count - 1) * spacing
    own = min(share, room // granule * granule)
    if own < granule:
        problem = f"{count:,} streams {spacing:,} bytes apart in a region of {region:,}"
        raise InputError(problem, "room for a granule of each", "stride_bytes")
    return Interleaved(geometry.burst_bytes, count, spacing, granule, own)


def _gather(geometry: Geometry, options: Options) -> Stream:
    if options.indices is None:
        raise InputError("pattern gather needs the numbers of its granules", "a list of whole numbers", "indices")
    indices = np.array(options.indices, dtype=np.int64)
    return Gather(geometry.burst_bytes, _granule(geometry, options), indices)


PATTERNS: dict[str, Pattern] = {
    "seq": Pattern("one burst after the other over 1 GiB", ("region_bytes",), _sequential_1g),
    "rand": Pattern("bursts drawn at random from 1 GiB", ("region_bytes",), _random_1g),
    "stride_bank": Pattern("one burst of every row, over 1 GiB", ("region_bytes",), _stride_bank),
    "stride_row": Pattern("as many rows apart as there are banks, over 1 GiB", ("region_bytes",), _stride_row),
    "mix21": Pattern("as seq, every third request a write", ("region_bytes",), _sequential_1g, write_every=3),
    "streams16_alias": Pattern(
        "16 streams 64 MiB apart, a burst of each in turn", (), lambda g, _: _sixteen(g, g.burst_bytes, 0)
    ),
    "streams16_skew": Pattern(
        "16 streams 64 MiB and a row apart, a burst of each in turn",
        (),
        lambda g, _: _sixteen(g, g.burst_bytes, g.row_bytes),
    ),
    "kv16_256B": Pattern(
        "as streams16_skew, 256 bytes of each in turn", (), lambda g, _: _sixteen(g, 256, g.row_bytes)
    ),
    "idle_rand": Pattern("as rand, one request per 400 ticks", ("region_bytes",), _random_1g, interval_ticks=400),
    "sequential": Pattern("one burst after the other over the whole memory", ("region_bytes",), _sequential),
    "strided": Pattern("every stride_bytes, then one burst further on", ("region_bytes", "stride_bytes"), _strided),
    "random": Pattern("granules drawn at random", ("region_bytes", "granule_bytes"), _random),
    "streams": Pattern(
        "streams that take turns of a granule each",
        ("region_bytes", "granule_bytes", "streams", "stride_bytes"),
        _streams,
    ),
    "gather": Pattern("granules by their numbers", ("granule_bytes", "indices"), _gather),
}
