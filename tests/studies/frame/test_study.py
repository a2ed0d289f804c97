"""Keys, constants and rows of studies."""

from __future__ import annotations

from dataclasses import replace

import pytest

from studies.frame.catalogue import load_study, study_names
from studies.frame.constants import derived, fitted, of_machine, stated
from studies.frame.rows import counts_text, rows_at, rows_of, within
from studies.frame.study import Config, Key, Metric, Published, Study
from workloads.errors import InputError


def double(config: Config) -> dict[str, float]:
    return {"twice": 2.0 * float(config["size"]), "rate": 10.0}


SMALL = Study(
    title="Small",
    claim="c",
    source="s",
    machine="m",
    workload="w",
    policy="p",
    baseline="b",
    keys={"size": Key(3, "a size", low=1, high=9), "kind": Key("a", "a kind", choices=("a", "b"))},
    constants={"two": stated(2, "", "table 1"), "rate": fitted(10, "B/s", "other rows"), "d": derived(1, "", "two")},
    metrics={"twice": Metric("twice the size", "", ("two", "d")), "rate": Metric("a rate", "B/s", ("rate", "two"))},
    published=(
        Published("twice", {"size": 4}, 10, "table 2"),
        Published("rate", {"kind": "b"}, 8, "x", calibrates=True),
    ),
    simulate=double,
    name="small",
)


def test_rows_stand_beside_published_numbers() -> None:
    one, other = rows_of(SMALL)
    assert (one.published, one.simulated, one.error) == (10, 8.0, pytest.approx(-0.2))
    assert (one.inputs, one.free_of_fits) == ("stated, derived", True)
    assert (other.inputs, other.free_of_fits, other.calibrates) == ("stated, fitted", False, True)
    assert within([one, other]) == [0, 0, 2, 0]
    assert counts_text([one]) == "1 published numbers: 0 within 5%, 0 within 10%, 1 within 25%, 0 beyond"


def test_any_configuration_can_be_asked() -> None:
    twice, rate = rows_at(SMALL, SMALL.read_config(["size=5,kind=b"]))
    assert (twice.published, twice.simulated, twice.error) == (None, 10.0, None)
    assert rate.config == {"size": 5, "kind": "b"}
    assert rows_at(SMALL, SMALL.read_config(["size=4"]))[0].published == 10


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("siz=3", "did you mean 'size'"),
        ("size", "key=value"),
        ("size=12", "whole number from 1 to 9"),
        ("size=x", "whole number from 1 to 9"),
        ("kind=c", "expected one of a, b"),
    ],
)
def test_what_cannot_be_asked_is_said(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        SMALL.read_config([text])


@pytest.mark.parametrize(
    "broken",
    [
        {"published": (Published("thrice", {}, 1, "x"),)},
        {"published": (Published("twice", {"length": 1}, 1, "x"),)},
        {"metrics": {"twice": Metric("m", "", ("three",)), "rate": Metric("r")}},
    ],
)
def test_a_study_that_names_what_is_not_there_is_refused(broken: dict[str, object]) -> None:
    with pytest.raises(InputError, match="unknown"):
        replace(SMALL, **broken)


def test_ranges_are_said_in_full() -> None:
    assert Key(1, "tokens", low=1, high=16_777_216).range_text == "whole number from 1 to 16,777,216"
    assert Key(0.5, "share", low=0.01, high=1).range_text == "any number from 0.01 to 1"


def test_numbers_of_machines_bring_their_kinds() -> None:
    found = of_machine("a40", "tiers.gddr.read_bandwidth")
    assert (found.value, found.kind) == (696e9, "stated")
    with pytest.raises(InputError, match="has no source"):
        of_machine("a40", "tiers.gddr.kind")


def test_studies_are_found_by_their_files() -> None:
    assert {"bitmod", "llm-in-a-flash"} <= set(study_names())
    assert load_study("bitmod").name == "bitmod"
    with pytest.raises(InputError, match="did you mean 'bitmod'"):
        load_study("bitmid")
