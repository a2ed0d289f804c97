"""The lists and schemas of a mapper's machines and cascades."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dse.cli.entry import run
from hw.spec.load import system_names
from hw.spec.load_hierarchy import hierarchy_names
from workloads.cascades import cascade_families, cascade_names


def rows(what: str, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    assert run(["list", what, "--json"]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


def test_systems_stand_before_mapper_machines(capsys: pytest.CaptureFixture[str]) -> None:
    found = rows("systems", capsys)
    names = [(row["kind"], row["name"]) for row in found]
    expected = [("system", name) for name in system_names()] + [("mapper", name) for name in hierarchy_names()]
    assert names == expected
    assert len({name for _, name in names}) == len(names)  # the map command takes both by name


def test_cascades_and_families_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert [row["name"] for row in rows("cascades", capsys)] == [*cascade_names(), *cascade_families()]


def test_both_schemas(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    documents = {}
    for what in ("system", "mapper"):
        file = tmp_path / f"{what}.json"
        assert run(["schema", what, "--out", str(file)]) == 0
        documents[what] = set(json.loads(file.read_text())["properties"])
    assert {"engines", "tiers", "links"} <= documents["system"]
    assert {"levels", "units", "execution"} <= documents["mapper"]
    assert run(["schema", "maper"]) == 2
    assert "unknown schema 'maper'; expected one of mapper, system; did you mean 'mapper'?" in capsys.readouterr().err
