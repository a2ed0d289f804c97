"""The ramp converter with its function inside, against a converter and a digital function.

Claim: arXiv 2411.18271 (Nature Communications 16:1136): "manifold" gains in energy, area and throughput; its table was
not available. The ramp's own time and energy are quoted by its successor (Hong et al., Nature Communications 2025,
s41467-025-65233-w). The digital arm is a survey's best converter with a table of the function in SRAM.
"""

from __future__ import annotations

from hw.cost.converters import RAMP_5BIT, Converter, survey_adc
from hw.cost.sram import SramCost, sram
from simulator.memory.arrays.ramp import activation_arms
from simulator.memory.arrays.seeds import SeedRow, SeedTable

__all__ = ["compare_seed_ramp", "needed_activation_j"]

_COLUMNS, _BITS, _MEAN_CODE, _NODE_NM = 128, 5, 15.5, 16
_HONG_J, _HONG_S, _HONG_MM2, _HONG_SHARED = 12.58e-15, 0.165e-9, 24.29e-6, 4
_HONG_ENERGY, _HONG_TIME = 26.6, 48.5
_SUCCESSOR_ENERGY, _SUCCESSOR_AREA = 2.2, 1.6  # arXiv 2512.06362, 65 nm, whole systems
_RATE = 1.28e9
_LEAST_WORD_BITS = 8


def needed_activation_j(gain: float, adc: Converter) -> float:
    """What one digital function must take for the ramp to be ``gain`` times cheaper; negative: the converter does."""
    return gain * RAMP_5BIT.energy_j(_COLUMNS, _MEAN_CODE) / _COLUMNS - adc.energy_j


def _table() -> SramCost:
    return sram(2**_BITS * _LEAST_WORD_BITS // 8, word_bits=_LEAST_WORD_BITS, node_nm=_NODE_NM)


def compare_seed_ramp() -> SeedTable:
    """What is stated of the ramp, the gain over a table behind the best converter, and what larger gains would need."""
    adc, table = survey_adc(bits=_BITS, rate_per_s=_RATE, node_nm=_NODE_NM), _table()
    ramp_j = RAMP_5BIT.energy_j(_COLUMNS, _MEAN_CODE)
    bare, looked_up = (
        [
            activation_arms(
                RAMP_5BIT, adc, columns=_COLUMNS, mean_code=_MEAN_CODE, adcs=adcs, activation_j=activation_j,
                activation_s=activation_s, units=adcs,
            )
            for adcs in (1, 4, _COLUMNS)
        ]
        for activation_j, activation_s in ((0.0, 0.0), (table.read_energy_j, table.cycle_s))
    )  # fmt: skip
    shared = (
        f"{_COLUMNS} columns of {_BITS} bits at {_NODE_NM} nm, codes equally likely; converter: the survey's bound at"
        f" {_RATE / 1e9:g} GS/s"
    )
    lookup = f"a table of {2**_BITS} words of {_LEAST_WORD_BITS} bits in SRAM behind each converter"
    one_step_j, one_step_s = _COLUMNS * _HONG_J, _HONG_SHARED * _HONG_S
    return SeedTable(
        "Function inside the ramp converter: manifold gain in energy, area and throughput (arXiv 2411.18271)",
        (
            SeedRow(
                "ramp, time of 128 columns", "ns", 32.0, RAMP_5BIT.time_s * 1e9, RAMP_5BIT.time_s * 1e9, "reproduced",
                "two to the five clocks of 1 ns",
            ),
            SeedRow(
                "ramp over the one-step converter, energy", "x", _HONG_ENERGY, ramp_j / one_step_j,
                ramp_j / one_step_j, "reproduced", "42.82 pJ and 128 x 12.58 fJ, both stated by Hong et al.",
            ),
            SeedRow(
                "ramp over the one-step converter, time", "x", _HONG_TIME, RAMP_5BIT.time_s / one_step_s,
                RAMP_5BIT.time_s / one_step_s, "reproduced", "32 ns and 4 x 0.165 ns, both stated by Hong et al.",
            ),
            _gain("energy gain, converter alone", [arms.energy_gain for arms in bare], f"{shared}; no function"),
            _gain(
                "energy gain, converter and table", [arms.energy_gain for arms in looked_up],
                f"{shared}; {lookup}, {table.read_energy_j * 1e15:.1f} fJ a read",
                f"a digital function of {needed_activation_j(_SUCCESSOR_ENERGY, adc) * 1e12:.2f} pJ for the"
                f" {_SUCCESSOR_ENERGY:g} x that a 65 nm successor states for whole systems (arXiv 2512.06362)",
            ),
            _gain(
                "time gain, converter and table", [arms.time_gain for arms in looked_up],
                f"{shared}; {lookup}; from one converter a column to one for all",
            ),
            SeedRow(
                "area of the digital arm, 1 to 128 converters and tables", "um2", None,
                1e6 * (adc.area_mm2 + table.area_mm2), 1e6 * _COLUMNS * (adc.area_mm2 + table.area_mm2), "prediction",
                f"{shared}; {lookup}. The ramp's own area is not stated; 32 one-step converters take"
                f" {32 * _HONG_MM2 * 1e6:.0f} um2. A 65 nm successor states {_SUCCESSOR_AREA:g} x for whole systems",
            ),
        ),
        (
            "energy, time and area of the digital function that the paper compares with",
            "the ramp's and its comparators' area, and how 42.82 pJ divide over ramp, comparators and counters",
            "the paper's linear converter; the survey's bound is the best published, so the gains here are low ends",
        ),
    )  # fmt: skip


def _gain(quantity: str, gains: list[float], assumptions: str, needed: str = "") -> SeedRow:
    return SeedRow(quantity, "x", None, min(gains), max(gains), "prediction", assumptions, needed)
