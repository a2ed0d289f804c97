"""What the authors of BitMoD published of their machine: cycles, energies, and widths of weights.

Chen et al., "BitMoD: Bit-serial Mixture-of-Datatype LLM Acceleration", HPCA 2025, arXiv 2411.11745, whose authors
state that the method is subject to a patent application by Cornell University. Repository abdelfattah-lab/
BitMoD-HPCA-25: cycles from the cells of sim/plot/speedup_plot.ipynb at 48975fc, energies from those of
sim/plot/energy_plot.ipynb at 578f207, both drawn as figures 7 and 8 of the paper. Each tuple is in the order of
`MODELS`. Decode is one step behind 256 tokens, prefill 256 tokens, batch 1.
"""

from __future__ import annotations

from typing import Literal

__all__ = [
    "ABSTRACT_SPEEDUP",
    "DECODE_STEPS",
    "MODELS",
    "PRESENT_WIDTHS",
    "PUBLISHED_CYCLES",
    "PUBLISHED_DRAM_UJ",
    "PUBLISHED_UJ",
    "PUBLISHED_WIDTHS",
    "Task",
]

Task = Literal["decode", "prefill"]

MODELS = ("OPT-1.3B", "Phi-2", "Yi-6B", "Llama-2-7B", "Llama-2-13B", "Llama-3-8B")

DECODE_STEPS = 20
"""Tokens that a generative task makes behind its prefill; a discriminative task is the prefill alone."""

ABSTRACT_SPEEDUP = {"ANT": 1.69, "OliVe": 1.48}
"""Of lossy BitMoD over each, "an average of" (abstract)."""

PUBLISHED_CYCLES: dict[tuple[str, Task], tuple[int, ...]] = {
    ("FP16", "prefill"): (669255680, 1399816192, 2878668800, 3156574208, 6676111360, 3969089536),
    ("ANT", "prefill"): (440975360, 847773696, 1734868992, 1949564928, 4076584960, 2266234880),
    ("OliVe", "prefill"): (403718144, 779268096, 1575157760, 1768062976, 3648512000, 2008645632),
    ("BitMoD lossless", "prefill"): (336236544, 693780480, 1414209536, 1649680384, 3537397760, 1901133824),
    ("BitMoD lossy", "prefill"): (233070592, 515194880, 946937856, 1202921472, 2601461760, 1273233408),
    ("FP16", "decode"): (82153718, 165841248, 362970848, 413518608, 804330080, 469624976),
    ("ANT", "decode"): (25779238, 51998112, 119342816, 129497936, 251907680, 132370576),
    ("OliVe", "decode"): (20018374, 41655712, 96691936, 97236816, 189155680, 105031744),
    ("BitMoD lossless", "decode"): (31220054, 62986912, 137681120, 156919888, 305157360, 178109840),
    ("BitMoD lossy", "decode"): (15857750, 31959712, 69662944, 79493200, 154552560, 90099088),
}

# Microjoules (on chip, in all), as the energy notebook has them.
_ENERGY_UJ: dict[tuple[str, Task], tuple[tuple[int, int], ...]] = {
    ("FP16", "prefill"): (
        (656667, 2549498),
        (1273252, 6252349),
        (2614171, 13014774),
        (2928682, 15511220),
        (5742951, 36365138),
        (3279511, 18528840),
    ),
    ("ANT", "prefill"): (
        (459880, 1360903),
        (888236, 3147508),
        (1815179, 5659691),
        (2035862, 7426912),
        (3981122, 16936053),
        (2270541, 7910575),
    ),
    ("OliVe", "prefill"): (
        (501789, 1308354),
        (969019, 2969260),
        (1960581, 5182082),
        (2192068, 6898215),
        (4285634, 15557969),
        (2440769, 7165633),
    ),
    ("BitMoD lossless", "prefill"): (
        (317887, 1272043),
        (615118, 3020095),
        (1255562, 5452484),
        (1410390, 7186699),
        (2763255, 16664646),
        (1572255, 7727074),
    ),
    ("BitMoD lossy", "prefill"): (
        (221382, 986623),
        (428524, 2315439),
        (871622, 3820005),
        (981870, 5388371),
        (1924566, 12460765),
        (1091548, 5416024),
    ),
    ("FP16", "decode"): (
        (25745, 419862),
        (51929, 847599),
        (113537, 1854106),
        (129318, 2113617),
        (251588, 4110960),
        (146812, 2399478),
    ),
    ("ANT", "decode"): (
        (22139, 145879),
        (44668, 294259),
        (97934, 669718),
        (111292, 732882),
        (216575, 1425302),
        (125750, 760225),
    ),
    ("OliVe", "decode"): (
        (23250, 119339),
        (46840, 246787),
        (104204, 567264),
        (115455, 582192),
        (225859, 1133377),
        (131179, 624942),
    ),
    ("BitMoD lossless", "decode"): (
        (15691, 165547),
        (31662, 334000),
        (69245, 729367),
        (78882, 832097),
        (153502, 1618257),
        (89561, 943899),
    ),
    ("BitMoD lossy", "decode"): (
        (10470, 86588),
        (21129, 174535),
        (46198, 380148),
        (52631, 434198),
        (102418, 844271),
        (59753, 491953),
    ),
}

PUBLISHED_UJ: dict[tuple[str, Task], tuple[int, ...]] = {
    key: tuple(whole for _, whole in values) for key, values in _ENERGY_UJ.items()
}

PUBLISHED_DRAM_UJ: dict[tuple[str, Task], tuple[int, ...]] = {
    key: tuple(whole - on_chip for on_chip, whole in values) for key, values in _ENERGY_UJ.items()
}
"""All energy less that on the chip, each rounded to 1 uJ."""

_SAME: dict[tuple[str, Task], tuple[float, ...]] = {
    ("FP16", "prefill"): (16.0,) * 6,
    ("FP16", "decode"): (16.0,) * 6,
    ("BitMoD lossless", "prefill"): (6.0625,) * 6,
    ("BitMoD lossless", "decode"): (6.0625,) * 6,
    ("BitMoD lossy", "prefill"): (4.0625,) * 6,
    ("BitMoD lossy", "decode"): (3.0625,) * 6,
}

PRESENT_WIDTHS: dict[tuple[str, Task], tuple[float, ...]] = {
    **_SAME,
    ("ANT", "prefill"): (5.0, 5.0, 5.25, 5.0, 4.0, 5.0),
    ("ANT", "decode"): (5.0, 5.0, 5.25, 5.0, 4.0, 5.0),
    ("OliVe", "prefill"): (4.0, 4.0, 4.0, 4.0, 4.0, 4.5),
    ("OliVe", "decode"): (4.0, 4.0, 4.0, 4.0, 4.0, 4.5),
}
"""Stated: bits of a weight, scales included, in bitmod_sim/test_*.py at e445a5f, after the paper."""

PUBLISHED_WIDTHS: dict[tuple[str, Task], tuple[float, ...]] = {
    **PRESENT_WIDTHS,
    ("ANT", "prefill"): (5.5, 5.5, 5.5, 5.5, 5.5, 5.5),
    ("ANT", "decode"): (5.0, 5.0, 5.25, 5.0, 5.0, 4.5),
    ("OliVe", "prefill"): (4.5, 4.5, 4.5, 4.5, 4.5, 4.5),
    ("OliVe", "decode"): (3.875, 4.0, 4.25, 3.75, 3.75, 3.5),
}
"""Derived from `PUBLISHED_DRAM_UJ`: of the multiples of 1/64 bit from 3 to 9, the only one each that gives the
published energy to 1.5 uJ (a test searches again). No cycle count enters; but where a count is DRAM's, as in all decode
steps of ANT and most of OliVe, it is the same traffic as the energy, and meets it by necessity. The 24 counts of these
two designs check the machine therefore less than the 36 of the others, whose widths are stated.
"""
