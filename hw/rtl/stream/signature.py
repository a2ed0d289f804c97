"""The ports of a unit as an Amaranth signature."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth import Shape, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.rtl.ports import Field, Stream

__all__ = ["payload_layout", "unit_signature"]


def payload_layout(fields: Sequence[Field]) -> data.StructLayout:
    """The packed payload: the first field in the lowest bits, fields with lanes as arrays."""
    return data.StructLayout({field.name: _shape(field) for field in fields})


def _shape(field: Field) -> Shape | data.ArrayLayout:
    element = signed(field.width) if field.signed else unsigned(field.width)
    return element if field.lanes is None else data.ArrayLayout(element, field.lanes)


def unit_signature(streams: Sequence[Stream]) -> wiring.Signature:
    """Every stream of ``streams`` as a port with ``payload``, ``valid`` and ``ready``."""
    sides = {"in": In, "out": Out}
    return wiring.Signature({s.name: sides[s.direction](stream.Signature(payload_layout(s.fields))) for s in streams})
