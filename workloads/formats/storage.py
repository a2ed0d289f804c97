"""Storage formats: bits per element and the scales that groups of elements share.

``block`` elements share ``block_bits`` bits of scale, zero point and padding. Bits per element, scales included, is
``element_bits + block_bits / block``.

Sources: IEEE 754-2019 (fp64, fp32, fp16); Intel BFLOAT16 definition, 2018 (bf16); OCP 8-bit Floating Point 1.0, 2023
(fp8_e4m3, fp8_e5m2); OCP Microscaling Formats (MX) 1.0, 2023 (mx*: blocks of 32, one 8-bit scale); NVIDIA, "Introducing
NVFP4", 2025 (nvfp4: blocks of 16, one E4M3 scale); Lin et al., AWQ, arXiv 2306.00978 and Frantar et al., GPTQ,
arXiv 2210.17323 (int4_g128, int3_g128, int2_g64: fp16 scale and a zero point of the element's width); Dettmers et al.,
QLoRA, arXiv 2305.14314 (nf4: blocks of 64, fp32 absolute maximum; nf4_double: that maximum in 8 bits, of which 256
share an fp32 one); ggml `block_q4_0`, `block_q8_0`, `block_q4_K` (18 bytes per 32, 34 bytes per 32, 144 bytes per 256);
Chen et al., BitMoD, arXiv 2411.11745 (bitmod_fp*: 8-bit scale per 128; with the 2 bits that choose the special value,
which the paper's own count leaves out); block floating point (bfp*: sign and mantissa, an 8-bit exponent per 32, as
`golden.shared_exponent`); ternary weights, one scale a tensor (not counted): 2-bit codes, or five base-3 digits a byte
(8 bits per 5, counted as 1 each and 3 more); Zhang et al., DFloat11, arXiv 2504.11651 (dfloat11: "about 11 bits" on
average: published models take 10.8 to 11.1, as their weights give; `golden.dfloat11` counts exactly);
Xi et al., COAT, arXiv 2410.19313 (fp8_g16: a 16-bit scale for 1 x 16 elements; fp8_g128_expanded: a scale and an
exponent of 16 bits each for 128).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from workloads.errors import unknown_name

__all__ = ["FORMATS", "StorageFormat", "storage_format"]


@dataclass(frozen=True)
class StorageFormat:
    """``element_bits`` for each value and ``block_bits`` for each group of ``block`` values."""

    name: str
    element_bits: int
    block: int = 1
    block_bits: int = 0

    @property
    def bits_per_element(self) -> float:
        """Bits per element with the scales spread over their block."""
        return self.element_bits + self.block_bits / self.block

    def storage_bytes(self, elements: float) -> float:
        """Bytes for ``elements`` values; a part of a block still needs its whole scale.

        ``elements`` may be fractional (an expected number of values); then the scales are spread evenly.
        """
        if float(elements).is_integer():
            return (elements * self.element_bits + math.ceil(elements / self.block) * self.block_bits) / 8
        return elements * self.bits_per_element / 8


FORMATS: dict[str, StorageFormat] = {
    fmt.name: fmt
    for fmt in (
        StorageFormat("fp64", 64),
        StorageFormat("fp32", 32),
        StorageFormat("tf32", 32),
        StorageFormat("int32", 32),
        StorageFormat("bf16", 16),
        StorageFormat("fp16", 16),
        StorageFormat("int16", 16),
        StorageFormat("fp8_e4m3", 8),
        StorageFormat("fp8_e5m2", 8),
        StorageFormat("int8", 8),
        StorageFormat("fp8_g16", 8, 16, 16),
        StorageFormat("fp8_g128_expanded", 8, 128, 16 + 16),
        StorageFormat("int4", 4),
        StorageFormat("fp6_e2m3", 6),
        StorageFormat("fp6_e3m2", 6),
        StorageFormat("fp4_e2m1", 4),
        StorageFormat("bool", 1),
        StorageFormat("int8_g128", 8, 128, 16),
        StorageFormat("int4_g128", 4, 128, 16 + 4),
        StorageFormat("int3_g128", 3, 128, 16 + 3),
        StorageFormat("int2_g64", 2, 64, 16 + 2),
        StorageFormat("mxfp8", 8, 32, 8),
        StorageFormat("mxint8", 8, 32, 8),
        StorageFormat("mxfp6", 6, 32, 8),
        StorageFormat("mxfp4", 4, 32, 8),
        StorageFormat("nvfp4", 4, 16, 8),
        StorageFormat("nf4", 4, 64, 32),
        StorageFormat("nf4_double", 4, 64 * 256, 256 * 8 + 32),
        StorageFormat("bfp6", 6, 32, 8),
        StorageFormat("bfp4", 4, 32, 8),
        StorageFormat("bitmod_fp4", 4, 128, 8 + 2),
        StorageFormat("bitmod_fp3", 3, 128, 8 + 2),
        StorageFormat("ternary", 2),
        StorageFormat("ternary_base3", 1, 5, 3),
        StorageFormat("dfloat11", 11),
        StorageFormat("q8_0", 8, 32, 16),
        StorageFormat("q4_0", 4, 32, 16),
        StorageFormat("q4_k", 4, 256, 128),
    )
}


def storage_format(name: str) -> StorageFormat:
    """The format called ``name``; an `InputError` names the nearest one when there is none."""
    try:
        return FORMATS[name]
    except KeyError:
        raise unknown_name("number format", name, FORMATS) from None
