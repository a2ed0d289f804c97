"""Block floating point: integers of ``mantissa_bits`` (sign included) under one 8-bit exponent per block.

value = mantissa * 2^(exponent - (mantissa_bits - 2)), exponent = floor(log2 of the largest magnitude), so that the
largest magnitude lies in [1, 2) of its scale; mantissas round to nearest even and are clipped to
+-(2^(mantissa_bits - 1) - 1). With 8 bits and blocks of 32 this is MXINT8. A block of zeros has the exponent -127.

`channel_order` sorts channels by norm, so that those of like size share a block and a few large channels no longer
take the precision of small ones; applied to both operands of a product over those channels it changes nothing else.
The idea is that of block floating point KV caches with offline channel rearrangement; the order is computed once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from workloads.formats.golden.arrays import Floats, Integers, as_floats, blocks, floor_log2, only_finite, refuse

__all__ = ["SharedExponent", "channel_order", "decode_shared_exponent", "encode_shared_exponent"]

_BIAS = 127


@dataclass(frozen=True)
class SharedExponent:
    """``mantissas`` (..., n), signed; ``exponents`` (..., n / block), within [-127, 127]."""

    mantissas: Integers
    exponents: Integers
    mantissa_bits: int
    block: int

    @property
    def storage_bits(self) -> int:
        """Mantissas and 8 bits an exponent."""
        return self.mantissas.size * self.mantissa_bits + self.exponents.size * 8


def encode_shared_exponent(values: ArrayLike, mantissa_bits: int, block: int = 32) -> SharedExponent:
    """``values`` (..., n), n a multiple of ``block``, finite."""
    refuse(not 2 <= mantissa_bits <= 16, f"{mantissa_bits} mantissa bits", "2 to 16", "mantissa_bits")
    array = only_finite(values)
    cut = blocks(array, block)
    exponents = np.clip(floor_log2(np.max(np.abs(cut), axis=-1)), -_BIAS, _BIAS)
    limit = (1 << (mantissa_bits - 1)) - 1
    mantissas = np.rint(np.ldexp(cut, (mantissa_bits - 2 - exponents)[..., None].astype(np.int32)))
    mantissas = np.clip(mantissas, -limit, limit).astype(np.int64)
    return SharedExponent(mantissas.reshape(array.shape), exponents, mantissa_bits, block)


def decode_shared_exponent(tensor: SharedExponent) -> Floats:
    """Values (..., n), exact in float64."""
    cut = blocks(tensor.mantissas.astype(np.float64), tensor.block, "mantissas")
    shift = (tensor.exponents - (tensor.mantissa_bits - 2))[..., None].astype(np.int32)
    return np.ldexp(cut, shift).reshape(tensor.mantissas.shape)


def channel_order(values: ArrayLike) -> Integers:
    """Channels (last axis) of ``values`` by rising norm over all other axes; equal norms keep their order."""
    array = as_floats(values)
    norms = np.sum(array.reshape(-1, array.shape[-1]) ** 2, axis=0)
    return np.argsort(norms, kind="stable").astype(np.int64)
