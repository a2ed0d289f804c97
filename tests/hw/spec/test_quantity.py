"""Quantities: exact values, exact round trips, exact error texts."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from hw.spec import quantity as q
from tests.hw.spec.machines import refusal
from workloads.errors import InputError

DIMENSIONS = (q.BYTES, q.BANDWIDTH, q.SECONDS, q.ENERGY_PER_BIT, q.ENERGY_PER_OPERATION, q.OPERATION_RATE, q.POWER)


@pytest.mark.parametrize(
    ("text", "dimension", "value"),
    [
        ("3.35 TB/s", q.BANDWIDTH, 3.35e12),
        ("400 Gbit/s", q.BANDWIDTH, 50e9),
        ("1 GiB/s", q.BANDWIDTH, 2.0**30),
        ("16 GiB", q.BYTES, 16 * 2.0**30),
        ("2 MiB", q.BYTES, 2.0**21),
        ("128 B", q.BYTES, 128.0),
        ("512 Mbit", q.BYTES, 64e6),
        ("80GB", q.BYTES, 80e9),
        ("1_000 kB", q.BYTES, 1e6),
        ("1e3 kB", q.BYTES, 1e6),
        (".5 MB", q.BYTES, 5e5),
        ("450 ns", q.SECONDS, 450e-9),
        ("1 us", q.SECONDS, 1e-6),
        ("1 µs", q.SECONDS, 1e-6),
        ("5.0e-1 ms", q.SECONDS, 5e-4),
        ("989 TFLOP/s", q.OPERATION_RATE, 989e12),
        ("250 TOP/s", q.OPERATION_RATE, 250e12),
        ("1 TMAC/s", q.OPERATION_RATE, 2e12),
        ("3.9 pJ/bit", q.ENERGY_PER_BIT, 3.9e-12),
        ("28.8 pJ/B", q.ENERGY_PER_BIT, 3.6e-12),
        ("0.5 pJ", q.ENERGY_PER_OPERATION, 0.5e-12),
        ("0.5 pJ/FLOP", q.ENERGY_PER_OPERATION, 0.5e-12),
        ("0.084 pJ/MAC", q.ENERGY_PER_OPERATION, 0.042e-12),
        ("700 W", q.POWER, 700.0),
        ("0 s", q.SECONDS, 0.0),
    ],
)
def test_parses(text: str, dimension: q.Dimension, value: float) -> None:
    assert q.parse_quantity(text, dimension) == value


@pytest.mark.parametrize(
    ("text", "dimension", "message"),
    [
        ("80", q.BYTES, "the number 80 has no unit; expected a number of bytes with its unit, such as '80 GB'"),
        ("0", q.SECONDS, "the number 0 has no unit; expected a time with its unit, such as '450 ns'"),
        ("80 GB", q.BANDWIDTH, "'80 GB' is a number of bytes; expected a bandwidth with its unit, such as '3.35 TB/s'"),
        (
            "3 pJ/bit",
            q.ENERGY_PER_OPERATION,
            "'3 pJ/bit' is an energy per bit; expected an energy per operation with its unit, such as '0.5 pJ'",
        ),
        (
            "3 TB/sec",
            q.BANDWIDTH,
            "unknown unit 'TB/sec'; expected a bandwidth with its unit, such as '3.35 TB/s'; did you mean 'TB/s'?",
        ),
        (
            "3 Gb/s",
            q.BANDWIDTH,
            "unknown unit 'Gb/s'; expected a bandwidth with its unit, such as '3.35 TB/s'; did you mean 'Gbit/s'?",
        ),
        (
            "4 KB",
            q.BYTES,
            "unknown unit 'KB'; expected a number of bytes with its unit, such as '80 GB'; did you mean 'KiB'?",
        ),
        (
            "989 TFLOPS",
            q.OPERATION_RATE,
            "unknown unit 'TFLOPS'; expected an operation rate with its unit, such as '989 TFLOP/s'; "
            "did you mean 'TFLOP/s'?",
        ),
        ("fast", q.POWER, "'fast' is not a quantity; expected a power with its unit, such as '700 W'"),
        ("", q.POWER, "'' is not a quantity; expected a power with its unit, such as '700 W'"),
        ("1__0 W", q.POWER, "unknown unit '__0 W'; expected a power with its unit, such as '700 W'"),
        (
            "1e99999 W",
            q.POWER,
            "the exponent of '1e99999 W' is out of range; expected a power with its unit, such as '700 W'",
        ),
        ("1e308 MW", q.POWER, "'1e308 MW' is too large; expected a power with its unit, such as '700 W'"),
    ],
)
def test_refuses_with_this_text(text: str, dimension: q.Dimension, message: str) -> None:
    with pytest.raises(InputError) as caught:
        q.parse_quantity(text, dimension)
    assert str(caught.value) == message


@pytest.mark.parametrize("dimension", DIMENSIONS, ids=lambda d: d.base)
@given(value=st.floats(min_value=0, allow_infinity=False, allow_nan=False))
def test_round_trip_is_exact(dimension: q.Dimension, value: float) -> None:
    text = q.format_quantity(value, dimension)
    assert q.parse_quantity(text, dimension) == value


@given(value=st.integers(min_value=1, max_value=2**63))
def test_round_trip_of_whole_bytes_is_exact(value: int) -> None:
    assert q.parse_quantity(q.format_quantity(float(value), q.BYTES), q.BYTES) == float(value)


@given(text=st.text(max_size=40))
def test_any_text_parses_or_is_an_input_error(text: str) -> None:
    for dimension in DIMENSIONS:
        error = refusal(q.parse_quantity, text, dimension)
        assert dimension.phrase in str(error) if error else math.isfinite(q.parse_quantity(text, dimension))


@pytest.mark.parametrize(
    ("value", "dimension", "text"),
    [
        (3.35e12, q.BANDWIDTH, "3.35 TB/s"),
        (16 * 2.0**30, q.BYTES, "16 GiB"),
        (80e9, q.BYTES, "80 GB"),
        (64.0, q.BYTES, "64 B"),
        (450e-9, q.SECONDS, "450 ns"),
        (3.9e-12, q.ENERGY_PER_BIT, "3.9 pJ/bit"),
        (0.042e-12, q.ENERGY_PER_OPERATION, "42 fJ"),
        (989.4e12, q.OPERATION_RATE, "989.4 TOP/s"),
        (0.0, q.POWER, "0 W"),
    ],
)
def test_formats_as_people_write(value: float, dimension: q.Dimension, text: str) -> None:
    assert q.format_quantity(value, dimension) == text


def test_every_unit_belongs_to_one_dimension() -> None:
    units = [unit for dimension in DIMENSIONS for unit in dimension.units()]
    assert len(units) == len(set(units))


class _Part(BaseModel):
    size: q.Bytes
    delay: q.SecondsOrZero = 0.0


def test_python_may_pass_floats_and_documents_may_not() -> None:
    assert _Part(size=80e9, delay=0).size == 80e9
    assert _Part(size=80) == _Part.model_validate({"size": "80 B"})
    with pytest.raises(ValidationError, match="the number 80 has no unit"):
        _Part.model_validate_json('{"size": 80}')


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": 0.0}, "0.0 is too small; expected a number of bytes, more than zero"),
        ({"size": "-1 GB"}, "'-1 GB' is too small; expected a number of bytes, more than zero"),
        ({"size": 1.0, "delay": -1}, "-1 is too small; expected a time, zero or more"),
        ({"size": "1e-300 B"}, "'1e-300 B' is too small; expected a number of bytes, at least 1e-30 B"),
        ({"size": 1.0, "delay": "1e-40 ns"}, "'1e-40 ns' is too small; expected a time, zero or at least 1e-30 s"),
        ({"size": math.inf}, "inf is not finite; expected a number of bytes with its unit, such as '80 GB'"),
        ({"size": math.nan}, "nan is not finite; expected a number of bytes with its unit, such as '80 GB'"),
        ({"size": True}, "found true; expected a number of bytes with its unit, such as '80 GB'"),
        ({"size": None}, "found nothing; expected a number of bytes with its unit, such as '80 GB'"),
        ({"size": [1]}, "found a list; expected a number of bytes with its unit, such as '80 GB'"),
    ],
)
def test_fields_refuse_with_this_text(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        _Part.model_validate(fields)
    assert [error["msg"] for error in caught.value.errors()] == [message]


def test_the_smallest_quantity_is_accepted() -> None:
    assert _Part.model_validate({"size": "1e-30 B", "delay": "0 s"}).size == 1e-30


def test_json_holds_text_that_reads_back() -> None:
    part = _Part(size=16 * 2.0**30, delay=1e-7)
    assert part.model_dump_json() == '{"size":"16 GiB","delay":"100 ns"}'
    assert part.model_dump() == {"size": 16 * 2.0**30, "delay": 1e-7}
    assert _Part.model_validate_json(part.model_dump_json()) == part


@pytest.mark.parametrize("text", ["80 GB", "1_000 kB", ".5 MiB", "3e2 Gbit"])
def test_schema_accepts_what_the_parser_accepts(text: str) -> None:
    pattern = _Part.model_json_schema()["properties"]["size"]["pattern"]
    assert re.search(pattern, text)
    assert not re.search(pattern, "80")
    assert not re.search(pattern, "80 GB/s")
