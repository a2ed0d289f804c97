"""Streams of a unit as numpy arrays and as packed words.

A beat carries named fields; the first field lies in the lowest bits of the packed payload, lane 0 of a field in its
lowest bits, as Amaranth lays out a structure (docs, "Data structures"). Arrays of a stream have one row for each beat.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Beats", "Field", "Stream", "Streams", "beat_count", "inputs_of", "outputs_of"]

Beats = dict[str, NDArray[Any]]
"""The fields of the beats of one stream: name to (beats,) or (beats, lanes) integers."""

Streams = dict[str, Beats]
"""Beats of several streams, by the streams' names."""


@dataclass(frozen=True)
class Field:
    """``lanes`` integers of ``width`` bits (at most 64); without lanes one of them, and no axis for it."""

    name: str
    width: int
    signed: bool = False
    lanes: int | None = None

    @property
    def bits(self) -> int:
        return self.width * (self.lanes or 1)


@dataclass(frozen=True)
class Stream:
    """One valid/ready stream: ``direction`` is "in" or "out", seen from the unit."""

    name: str
    direction: str
    fields: tuple[Field, ...]

    @property
    def bits(self) -> int:
        return sum(field.bits for field in self.fields)

    def pack(self, beats: Beats) -> list[int]:
        """Each beat's payload as one unsigned integer."""
        count = beat_count(beats)
        columns = []
        for field in self.fields:
            values = np.asarray(beats[field.name]).astype(np.int64).reshape(count, field.lanes or 1)
            shifts = np.arange(field.width, dtype=np.int64)
            columns.append(((values[:, :, None] >> shifts) & 1).astype(np.uint8).reshape(count, field.bits))
        rows = np.packbits(np.concatenate(columns, axis=1), axis=1, bitorder="little")
        return [int.from_bytes(row.tobytes(), "little") for row in rows]

    def unpack(self, words: Sequence[int]) -> Beats:
        """What `pack` made of it: int64 arrays, signed fields with their sign."""
        size = (self.bits + 7) // 8
        raw = b"".join(word.to_bytes(size, "little") for word in words)
        rows = np.frombuffer(raw, dtype=np.uint8).reshape(len(words), size)
        bits = np.unpackbits(rows, axis=1, bitorder="little")
        beats: Beats = {}
        at = 0
        for field in self.fields:
            part = bits[:, at : at + field.bits].reshape(len(words), field.lanes or 1, field.width).astype(np.int64)
            at += field.bits
            values = (part << np.arange(field.width, dtype=np.int64)).sum(axis=2)
            if field.signed and field.width < 64:
                values -= (values >> (field.width - 1)) << field.width
            beats[field.name] = values if field.lanes else values[:, 0]
        return beats


def beat_count(beats: Mapping[str, NDArray[Any]]) -> int:
    """How many beats the arrays hold; ValueError where they differ."""
    counts = {len(values) for values in beats.values()}
    if len(counts) != 1:
        raise ValueError(f"fields of one stream have {sorted(counts)} beats")
    return counts.pop()


def inputs_of(streams: Sequence[Stream]) -> tuple[Stream, ...]:
    return tuple(stream for stream in streams if stream.direction == "in")


def outputs_of(streams: Sequence[Stream]) -> tuple[Stream, ...]:
    return tuple(stream for stream in streams if stream.direction == "out")
