"""Sources of numbers."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter

from hw.spec.source import Source, parse_source
from workloads.errors import InputError

EXPECTED = "expected 'kind: where the number is from' with kind stated, derived, fitted or synthetic"


def test_round_trip() -> None:
    source = parse_source("stated: NVIDIA H100 data sheet: table 2")
    assert source == Source("stated", "NVIDIA H100 data sheet: table 2")
    assert parse_source(str(source)) == source


def test_folds_white_space() -> None:
    assert parse_source(" derived :  8 channels\n  x 38.4 GB/s ").text == "8 channels x 38.4 GB/s"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a data sheet", f"'a data sheet' does not say its kind; {EXPECTED}"),
        ("state: a data sheet", f"unknown kind of source 'state'; {EXPECTED}; did you mean 'stated'?"),
        ("stated: ", f"'stated: ' names no source; {EXPECTED}"),
        (3, f"found 3; {EXPECTED}"),
        (None, f"found nothing; {EXPECTED}"),
    ],
)
def test_refuses_with_this_text(text: object, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_source(text)
    assert str(caught.value) == message


def test_json_is_text() -> None:
    adapter = TypeAdapter(dict[str, Source])
    sources = {"capacity": Source("fitted", "GEMM timings")}
    assert adapter.dump_json(sources) == b'{"capacity":"fitted: GEMM timings"}'
    assert adapter.validate_json(adapter.dump_json(sources)) == sources
    assert adapter.validate_python(sources) == sources
