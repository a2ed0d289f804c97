"""Run folders: whole or not at all, the same bytes for the same inputs, and nobody else's files touched."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from dse.reports import run_folder
from dse.reports.chrome_trace import validate_trace
from dse.reports.run_folder import input_hash, publish, write_comparison, write_run
from hw.spec.system import System
from simulator.result import Result
from workloads.errors import InputError

Case = tuple[Result, System]
INPUTS: dict[str, Any] = {"model": "llama-3.1-8b", "batch": 1, "rate": 0.1}
FILES = {"summary.json": b"{}\n", "report.txt": b"text\n"}


def full_disk(*_: object) -> int:
    raise OSError("disk full")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_same_inputs_give_the_same_files(tmp_path: Path, server: Case) -> None:
    folder = write_run(tmp_path, *server, resolved_inputs=INPUTS)
    first = contents(folder)
    assert write_run(tmp_path, *server, resolved_inputs=INPUTS) == folder
    second = contents(folder)
    assert {name for name in first if first[name] != second[name]} == {"manifest.json"}
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]

    assert folder.name == f"llama-3.1-8b-h100-sxm-decode-{input_hash(INPUTS)}"
    expected = {"inputs.json", "summary.json", "manifest.json", "trace.json", "report.txt", "report.html"}
    for figure in ("roofline", "layer-stack", "time-by-bound", "memory-map"):
        expected |= {f"{figure}{width}.{kind}" for width in ("", "-column") for kind in ("svg", "png")}
    assert set(first) == expected
    assert json.loads(first["inputs.json"]) == INPUTS
    assert json.loads(first["summary.json"])["latency_s"] == server[0].latency_s
    validate_trace(json.loads(first["trace.json"]))
    manifest = json.loads(first["manifest.json"])
    assert manifest["files"] == {
        name: hashlib.sha256(data).hexdigest() for name, data in first.items() if name != "manifest.json"
    }
    assert manifest["tool"] == "tiercade"
    assert {"version", "python", "created"} <= set(manifest)
    assert {"numpy", "matplotlib", "simpy"} <= set(manifest["packages"])
    assert "dask" not in manifest["packages"]


def test_a_comparison_holds_every_result(tmp_path: Path, server: Case, laptop: Case) -> None:
    results, systems = zip(server, laptop, strict=True)
    folder = write_comparison(tmp_path / "deep" / "er", results, systems, resolved_inputs=INPUTS, name="Two machines")
    files = contents(folder)
    assert folder.name == f"two-machines-{input_hash(INPUTS)}"
    assert {"roofline-h100-sxm.svg", "roofline-laptop-nvme.svg", "trace-laptop-nvme.json", "layer-stack.png"} <= set(
        files
    )
    assert [row["system"] for row in json.loads(files["summary.json"])["results"]] == ["h100-sxm", "laptop-nvme"]


def test_the_hash_is_of_the_inputs_not_of_their_order() -> None:
    assert input_hash({"a": 1, "b": [1, 2]}) == input_hash({"b": (1, 2), "a": 1})
    assert input_hash({"a": 1}) != input_hash({"a": 2})
    assert len(input_hash({})) == 8


def test_an_earlier_run_is_replaced_whole(tmp_path: Path) -> None:
    folder = publish(tmp_path, "run", INPUTS, {**FILES, "old.svg": b"old"})
    assert publish(tmp_path, "run", INPUTS, FILES) == folder
    assert set(contents(folder)) == {"summary.json", "report.txt", "inputs.json", "manifest.json"}


@pytest.mark.parametrize("manifest", [None, "{", "[]", '{"tool": "other", "files": {}}', '{"tool": "tiercade"}'])
def test_what_is_no_run_folder_is_left_alone(tmp_path: Path, manifest: str | None) -> None:
    folder = tmp_path / f"run-{input_hash(INPUTS)}"
    folder.mkdir()
    (folder / "thesis.tex").write_text("years of work")
    if manifest is not None:
        (folder / "manifest.json").write_text(manifest)
    with pytest.raises(InputError, match=r"is in the way and no run folder; expected a place for one$"):
        publish(tmp_path, "run", INPUTS, FILES)
    assert (folder / "thesis.tex").read_text() == "years of work"
    assert len(list(tmp_path.iterdir())) == 1


def test_what_was_added_to_a_run_folder_is_left_alone(tmp_path: Path) -> None:
    folder = publish(tmp_path, "run", INPUTS, FILES)
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds notes\.txt, which no run wrote; expected a run folder as it was"):
        publish(tmp_path, "run", INPUTS, FILES)
    assert (folder / "notes.txt").read_text() == "mine"


def test_files_and_links_in_the_way_are_left_alone(tmp_path: Path) -> None:
    ours = publish(tmp_path / "elsewhere", "run", INPUTS, FILES)
    (tmp_path / ours.name).symlink_to(ours)
    with pytest.raises(InputError, match="no run folder"):
        publish(tmp_path, "run", INPUTS, FILES)
    assert ours.is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file; expected a folder"):
        publish(tmp_path / "file", "run", INPUTS, FILES)


@pytest.mark.parametrize("earlier", [False, True])
def test_a_failure_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, earlier: bool) -> None:
    folder = tmp_path / f"run-{input_hash(INPUTS)}"
    if earlier:
        publish(tmp_path, "run", INPUTS, FILES)
    before = contents(folder) if earlier else None
    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(OSError, match="full"):
        publish(tmp_path, "run", INPUTS, FILES)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ([folder.name] if earlier else [])
    assert before is None or contents(folder) == before


def test_a_rename_that_fails_brings_the_earlier_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = publish(tmp_path, "run", INPUTS, FILES)
    before = contents(folder)
    rename = os.rename

    def only_aside(self: Path, target: Path) -> Path:
        if self.suffix == ".partial":
            raise OSError("no")
        rename(self, target)
        return target

    monkeypatch.setattr(Path, "rename", only_aside)
    with pytest.raises(OSError, match="no"):
        publish(tmp_path, "run", INPUTS, FILES)
    assert contents(folder) == before
    assert list(tmp_path.iterdir()) == [folder]


def test_drawing_is_not_begun_when_the_place_is_taken(
    tmp_path: Path, server: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"name-{input_hash(INPUTS)}").write_text("in the way")
    monkeypatch.setattr(run_folder, "_json", None)  # needed for the first of the files
    with pytest.raises(InputError, match="no run folder"):
        write_run(tmp_path, *server, resolved_inputs=INPUTS, name="name")
