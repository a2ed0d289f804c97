"""Quantities with units: ``3.35 TB/s``, ``16 GiB``, ``3.9 pJ/bit``, and the annotated float types that hold them.

Parsing is exact: number and unit are multiplied as rationals and rounded to a float once, so writing a value and
reading it back gives the same float. Prefixes are those of the SI (k is 1000) and IEC 80000-13 (Ki is 1024); ``KB`` is
neither and is refused. ``B`` is a byte, ``bit`` a bit. A multiply-accumulate (MAC) counts as two operations.
"""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from workloads.documents import describe
from workloads.errors import InputError
from workloads.validation import field_error

__all__ = [
    "BANDWIDTH",
    "BYTES",
    "ENERGY_PER_BIT",
    "ENERGY_PER_OPERATION",
    "FREQUENCY",
    "OPERATION_RATE",
    "POWER",
    "SECONDS",
    "Bandwidth",
    "Bytes",
    "Dimension",
    "EnergyPerBit",
    "EnergyPerBitOrZero",
    "EnergyPerOperation",
    "EnergyPerOperationOrZero",
    "Frequency",
    "OperationRate",
    "Power",
    "PowerOrZero",
    "Seconds",
    "SecondsOrZero",
    "format_quantity",
    "parse_quantity",
]

_DECIMAL = {"f": -15, "p": -12, "n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50}
_NUMBER = re.compile(r"[+-]?([0-9]+(_[0-9]+)*(\.[0-9]*)?|\.[0-9]+)([eE][+-]?([0-9]+))?")
_LONGEST = 100
_SMALLEST = 1e-30  # in SI units; dividing by less could overflow


@dataclass(frozen=True)
class Dimension:
    """A physical dimension: its ``base`` unit (SI), the ``prefixes`` it is written with, and other spellings.

    ``others`` maps further units, which take the same prefixes, to their size in ``base``.
    """

    phrase: str
    example: str
    base: str
    prefixes: str
    binary: bool = False
    others: tuple[tuple[str, Fraction], ...] = ()

    @property
    def expected(self) -> str:
        """What an error message asks for."""
        return f"{self.phrase} with its unit, such as {self.example!r}"

    def units(self) -> dict[str, Fraction]:
        """Every spelling of a unit of this dimension with its size in ``base``."""
        scales = {prefix: Fraction(10) ** _DECIMAL[prefix] for prefix in ("", *self.prefixes)}
        if self.binary:
            scales |= {prefix: Fraction(2) ** exponent for prefix, exponent in _BINARY.items()}
        named = ((self.base, Fraction(1)), *self.others)
        return {prefix + unit: scale * size for unit, size in named for prefix, scale in scales.items()}


_BIT = Fraction(1, 8)
BYTES = Dimension("a number of bytes", "80 GB", "B", "kMGTPE", True, (("bit", _BIT),))
BANDWIDTH = Dimension("a bandwidth", "3.35 TB/s", "B/s", "kMGTPE", True, (("bit/s", _BIT),))
SECONDS = Dimension("a time", "450 ns", "s", "fpnum")
ENERGY_PER_BIT = Dimension("an energy per bit", "3.9 pJ/bit", "J/bit", "fpnum", False, (("J/B", _BIT),))
ENERGY_PER_OPERATION = Dimension(
    "an energy per operation",
    "0.5 pJ",
    "J",
    "fpnum",
    others=(("J/op", Fraction(1)), ("J/OP", Fraction(1)), ("J/FLOP", Fraction(1)), ("J/MAC", Fraction(1, 2))),
)
OPERATION_RATE = Dimension(
    "an operation rate",
    "989 TFLOP/s",
    "OP/s",
    "kMGTPE",
    others=(("op/s", Fraction(1)), ("FLOP/s", Fraction(1)), ("MAC/s", Fraction(2))),
)
POWER = Dimension("a power", "700 W", "W", "numkM")
FREQUENCY = Dimension("a frequency", "940 MHz", "Hz", "kMG")

_DIMENSIONS = (BYTES, BANDWIDTH, SECONDS, ENERGY_PER_BIT, ENERGY_PER_OPERATION, OPERATION_RATE, POWER, FREQUENCY)
_UNITS = {unit: (dimension, size) for dimension in _DIMENSIONS for unit, size in dimension.units().items()}


def parse_quantity(text: str, dimension: Dimension) -> float:
    """``text`` in the SI base unit of ``dimension``; `InputError` says what was found and what is expected.

    The micro sign may be written ``u`` or ``µ``. Sign and zero are not judged here.
    """
    written = text.strip().replace("µ", "u").replace("μ", "u")
    number = _NUMBER.match(written)
    if number is None or len(written) > _LONGEST:
        raise InputError(f"{describe(text)} is not a quantity", dimension.expected)
    unit = written[number.end() :].strip()
    if not unit:
        raise InputError(f"the number {written} has no unit", dimension.expected)
    if unit not in _UNITS:
        raise InputError(f"unknown unit {unit!r}", dimension.expected, nearest=_nearest_unit(unit, dimension))
    found, size = _UNITS[unit]
    if found is not dimension:
        raise InputError(f"{describe(text.strip())} is {found.phrase}", dimension.expected)
    if len(number.group(5) or "") > 3:  # an exact rational of such an exponent would not fit in memory
        raise InputError(f"the exponent of {describe(text.strip())} is out of range", dimension.expected)
    try:
        return float(Fraction(Decimal(number.group())) * size)
    except OverflowError:
        raise InputError(f"{describe(text.strip())} is too large", dimension.expected) from None


def format_quantity(value: float, dimension: Dimension) -> str:
    """``value`` (finite, in SI) as the shortest string that `parse_quantity` turns back into exactly this float."""
    exact = Decimal(repr(value))
    fitting = [prefix for prefix in ("", *dimension.prefixes) if abs(exact) >= Decimal(10) ** _DECIMAL[prefix]]
    smallest = min(("", *dimension.prefixes), key=_DECIMAL.__getitem__)
    prefix = max(fitting, key=_DECIMAL.__getitem__, default=smallest) if value else ""
    best = f"{_plain(exact.scaleb(-_DECIMAL[prefix]))} {prefix}{dimension.base}"
    if dimension.binary and value and value.is_integer():
        for name, exponent in _BINARY.items():
            whole, rest = divmod(int(value), 2**exponent)
            shorter = f"{whole} {name}{dimension.base}"
            # On equal length the decimal form stays: 1 GB is not 953.67 MiB to anybody.
            if rest == 0 and len(str(whole)) < len(best.split()[0]):
                best = shorter
    return best


def _plain(number: Decimal) -> str:
    text = f"{number.normalize():f}"
    return text if len(text) <= 24 else f"{number.normalize():e}"


def _nearest_unit(unit: str, dimension: Dimension) -> str | None:
    # Case tells milli from mega and bits from bytes, so the spelling as it stands is compared first.
    for fold in (str, str.casefold):
        matches = difflib.get_close_matches(fold(unit), {fold(u): u for u in dimension.units()}, n=1, cutoff=0.6)
        if matches:
            return {fold(u): u for u in dimension.units()}[matches[0]]
    return None


@dataclass(frozen=True)
class _Quantity:
    """Pydantic's view of a dimension: text with a unit in documents, text or SI float in Python, text in JSON."""

    dimension: Dimension
    zero_allowed: bool = False

    def __get_pydantic_core_schema__(self, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            self._validate,
            serialization=core_schema.plain_serializer_function_ser_schema(self._format, when_used="json"),
        )

    def __get_pydantic_json_schema__(self, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        units = "|".join(re.escape(unit) for unit in self.dimension.units())
        pattern = rf"^\s*\+?([0-9]+(_[0-9]+)*(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?\s*({units})\s*$"
        return {"type": "string", "pattern": pattern, "examples": [self.dimension.example]}

    def _format(self, value: float) -> str:
        return format_quantity(value, self.dimension)

    def _validate(self, value: Any, info: core_schema.ValidationInfo[Any]) -> float:
        try:
            return self._checked(value, bare=info.mode == "python")
        except InputError as error:
            raise field_error(error) from None

    def _checked(self, value: Any, bare: bool) -> float:
        if isinstance(value, str):
            number = parse_quantity(value, self.dimension)
        elif isinstance(value, bool) or not isinstance(value, int | float):
            raise InputError(f"found {describe(value)}", self.dimension.expected)
        elif bare:
            number = float(value)
        else:
            raise InputError(f"the number {describe(value)} has no unit", self.dimension.expected)
        if not math.isfinite(number):
            raise InputError(f"{describe(value)} is not finite", self.dimension.expected)
        if number < 0 or (number == 0 and not self.zero_allowed):
            least = "zero or more" if self.zero_allowed else "more than zero"
            raise InputError(f"{describe(value)} is too small", f"{self.dimension.phrase}, {least}")
        if 0 < number < _SMALLEST:
            least = f"at least {_SMALLEST:g} {self.dimension.base}"
            least = f"zero or {least}" if self.zero_allowed else least
            raise InputError(f"{describe(value)} is too small", f"{self.dimension.phrase}, {least}")
        return abs(number)  # -0.0 would be written as such


Bytes = Annotated[float, _Quantity(BYTES)]
Bandwidth = Annotated[float, _Quantity(BANDWIDTH)]
Seconds = Annotated[float, _Quantity(SECONDS)]
SecondsOrZero = Annotated[float, _Quantity(SECONDS, zero_allowed=True)]
EnergyPerBit = Annotated[float, _Quantity(ENERGY_PER_BIT)]
EnergyPerBitOrZero = Annotated[float, _Quantity(ENERGY_PER_BIT, zero_allowed=True)]
EnergyPerOperation = Annotated[float, _Quantity(ENERGY_PER_OPERATION)]
EnergyPerOperationOrZero = Annotated[float, _Quantity(ENERGY_PER_OPERATION, zero_allowed=True)]
Frequency = Annotated[float, _Quantity(FREQUENCY)]
OperationRate = Annotated[float, _Quantity(OPERATION_RATE)]
Power = Annotated[float, _Quantity(POWER)]
PowerOrZero = Annotated[float, _Quantity(POWER, zero_allowed=True)]
