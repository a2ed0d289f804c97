"""Analogue-to-digital converters: the best of the published ones, the one of ISAAC, and a ramp shared by columns."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hw.spec.source import Source
from workloads.errors import InputError

__all__ = ["ISAAC_ADC", "RAMP_5BIT", "SURVEY_SOURCE", "Converter", "RampConverter", "survey_adc"]

SURVEY_SOURCE = Source(
    "fitted",
    "bound on the ADC survey of 1997 to 2023 (Accelergy-Project/accelergy-adc-plug-in ff0fb48)",
)


@dataclass(frozen=True)
class Converter:
    """Energy of a conversion in J, conversions per second, area in mm2; resolution in bits."""

    bits: float
    energy_j: float
    rate_per_s: float
    area_mm2: float
    source: Source


ISAAC_ADC = Converter(
    bits=8,
    energy_j=2e-3 / 1.28e9,
    rate_per_s=1.28e9,
    area_mm2=0.0012,
    source=Source("stated", "1.8 mW + 0.2 mW leakage at 1.28 GS/s, 32 nm (PUMA's constants.py, a206f75, after ISAAC)"),
)


def survey_adc(*, bits: float, rate_per_s: float, node_nm: float) -> Converter:
    """The least energy published converters suggest, and the area that goes with it: optimistic by construction.

    Raises `InputError` outside 2 to 16 bits, or where rate or node is not positive.
    """
    if not 2 <= bits <= 16:
        raise InputError(f"bits is {bits:g}", "between 2 and 16", "bits")
    for field, value in (("rate_per_s", rate_per_s), ("node_nm", node_nm)):
        if not value > 0:
            raise InputError(f"{field} is {value:g}", "more than 0", field)
    sndr_db = 6.0206 * bits + 1.7609
    merit_db = min(213.781 - 2.8719 * math.log(rate_per_s), 141.189 + 3.22051 * (math.ceil(bits) - 4))
    scale = math.exp(26.0496 + 1.88004 * math.log(node_nm) - 2.82913 * math.log(bits) - 1.4702)
    energy_pj = 0.5 * 10 ** ((sndr_db - merit_db) / 10) * scale
    area_um2 = math.exp(
        1.34619 + 0.99328 * math.log(node_nm) + 0.18072 * math.log(rate_per_s) + 0.29912 * math.log(energy_pj)
    )
    return Converter(bits, energy_pj * 1e-12, rate_per_s, area_um2 * 1e-6, SURVEY_SOURCE)


@dataclass(frozen=True)
class RampConverter:
    """One ramp for all columns: a step a clock; every column compares until the ramp passes it.

    ``compare_j`` is one column's comparator and counter for one step, ``ramp_j`` the ramp's own step.
    """

    bits: int
    clock_hz: float
    compare_j: float
    ramp_j: float
    source: Source

    @property
    def time_s(self) -> float:
        """All columns at once: two to the bits clocks."""
        return (1 << self.bits) / self.clock_hz

    def energy_j(self, columns: int, mean_code: float) -> float:
        """Energy of one conversion of ``columns`` columns whose codes average ``mean_code``.

        Raises `InputError` for codes the ramp does not have.
        """
        if not 0 <= mean_code <= (1 << self.bits) - 1:
            raise InputError(f"mean_code is {mean_code:g}", f"between 0 and {(1 << self.bits) - 1}", "mean_code")
        return columns * mean_code * self.compare_j + (1 << self.bits) * self.ramp_j


_RAMP_ARRAY_J, _RAMP_COLUMNS, _RAMP_MEAN_CODE = 42.82e-12, 128, 15.5
RAMP_5BIT = RampConverter(
    bits=5,
    clock_hz=1e9,
    compare_j=_RAMP_ARRAY_J / (_RAMP_COLUMNS * _RAMP_MEAN_CODE),
    ramp_j=0.0,
    source=Source(
        "derived",
        "32 ns and 42.82 pJ for the ramp of arXiv 2411.18271 as quoted in Nature Comm. 2025, s41467-025-65233-w;"
        " spread over 128 columns and the mean of equally likely codes, all of it on the comparators",
    ),
)
