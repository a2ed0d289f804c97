"""Elements of the OCP Microscaling formats taken apart, as circuits."""

from __future__ import annotations

from amaranth import C, Module, Mux, Value, signed, unsigned

from hw.rtl.arith.float_blocks import exact_value
from hw.rtl.arith.float_parts import Exact, wire
from hw.rtl.dequant.mx_elements import one_exponent
from workloads.formats.golden.microscaling import MX_ELEMENTS

__all__ = ["exact_element"]


def exact_element(m: Module, code: Value, element: str) -> Exact:
    """The number of an element's code. INT8 keeps one exponent, its magnitude has 8 bits (128 of the code -128)."""
    fmt = MX_ELEMENTS[element]
    if fmt is not None:
        return exact_value(m, code, fmt)
    sign, lowest = code[-1], one_exponent(element)
    magnitude = wire(m, Mux(sign, -code, code), "magnitude", unsigned(8))
    return Exact(sign, C(lowest, signed(4)), magnitude, C(0, 1), C(0, 1), lowest)
