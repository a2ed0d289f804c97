"""Reading run folders back: the same summary, the same order; broken ones in one sentence."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from dse.explore.engines import RandomSearch
from dse.explore.store import Store
from dse.reports.exploration.run import read_run
from tests.dse.reports.exploration.runs import explored
from workloads.errors import InputError


@pytest.mark.parametrize("name", ["whole_run", "random_run", "local_run"])
def test_a_run_read_back_has_the_summary_it_was_left_with(name: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(name)
    found = read_run(folder)
    assert json.loads(json.dumps(found.summary)) == json.loads((folder / "summary.json").read_text())


def test_designs_come_in_the_order_in_which_they_were_proposed(random_run: Path) -> None:
    found = read_run(random_run)
    proposed = RandomSearch(found.space.codec, 0, 3).ask(200)
    assert np.array_equal(found.stages[0].outcomes.ordinals, proposed)
    assert len(found.random) == 0  # nothing is beside random designs


def test_random_designs_beside_a_search_are_told_from_it(local_run: Path) -> None:
    found = read_run(local_run)
    assert len(found.stages[0].outcomes) == len(found.random) == 80
    assert np.array_equal(found.random.ordinals, RandomSearch(found.space.codec, 1, 3).ask(80))


def test_a_metric_newer_than_the_run_is_not_known(random_run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(random_run, tmp_path / "run"))
    with sqlite3.connect(folder / "designs.sqlite") as database:
        database.execute("ALTER TABLE designs DROP COLUMN kv_cache_error")
    database.close()
    outcomes = read_run(folder).stages[0].outcomes
    assert np.isnan(outcomes.metrics["kv_cache_error"]).all()
    assert np.isfinite(outcomes.metrics["latency_s"]).any()


def test_reading_changes_nothing_in_the_folder(random_run: Path) -> None:
    before = {file.name: file.read_bytes() for file in random_run.iterdir()}
    read_run(random_run)
    after = {file.name: file.read_bytes() for file in random_run.iterdir()}
    assert after == before


def test_a_run_that_was_stopped_shows_what_it_has(local_run: Path, tmp_path: Path) -> None:
    # As after a kill in the third batch of ten: what was proposed later is not in the store.
    folder = Path(shutil.copytree(local_run, tmp_path / "run"))
    order = read_run(local_run).stages[0].outcomes.ordinals
    with sqlite3.connect(folder / "designs.sqlite") as database:
        marks = ", ".join(str(ordinal) for ordinal in order[:24])
        database.execute(f"DELETE FROM designs WHERE ordinal NOT IN ({marks})")
    database.close()
    found = read_run(folder)
    assert found.stages[0].outcomes.ordinals.tolist() == order[:24].tolist()
    assert found.summary["interrupted"]
    assert found.summary["designs"] == 24


_EMPTY = '{"parameters": {}, "quantities": {}, "objectives": {}}'


def test_a_run_that_is_going_on(random_run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(random_run, tmp_path / "run"))
    read = read_run(folder)
    (folder / "designs.sqlite").unlink()
    store = Store(folder / "designs.sqlite", read.space)
    store.add(read.stages[0].outcomes.take(np.arange(50)), "roofline")  # in the log beside the file, so far
    try:
        assert len(read_run(folder).stages[0].outcomes) == 50
    finally:
        store.close()


@pytest.mark.parametrize("place", [1, 3])
def test_a_shard(place: int, tmp_path: Path) -> None:
    # 200 designs in three parts: 67, 67 and 66.
    folder = explored(tmp_path, "--budget", "200", "--shard", f"{place}/3")
    found = read_run(folder)
    assert len(found.stages[0].outcomes) == {1: 67, 3: 66}[place]
    assert found.summary["shard"] == f"{place}/3"


def _broken(source: Path, folder: Path, name: str, text: str | None) -> Path:
    copy = Path(shutil.copytree(source, folder / "run"))
    if text is None:
        (copy / name).unlink()
    else:
        (copy / name).write_text(text)
    return copy


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("inputs.json", None, "is not there"),
        ("inputs.json", "{", "cannot be read"),
        ("inputs.json", "[]", "is no mapping"),
        ("inputs.json", '{"options": {}}', "found no 'space'"),
        ("inputs.json", '{"space": {}, "options": {"fidelities": ["roofline"]}}', "found no 'parameters'"),
        (
            "inputs.json",
            f'{{"space": {_EMPTY}, "options": {{"fidelities": []}}}}',
            "found a space or options that are none",
        ),
        ("inputs.json", '{"space": 3, "options": 4}', "found a space or options that are none"),
        ("summary.json", "{", "cannot be read"),
        ("designs.sqlite", None, "is not there"),
        ("designs.sqlite", "no database, but long enough to have a header of one", "cannot be read"),
    ],
)
def test_broken_folders(name: str, text: str | None, said: str, random_run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        read_run(_broken(random_run, tmp_path, name, text))


def test_no_folder_and_no_designs(random_run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no folder"):
        read_run(tmp_path / "nowhere")
    folder = Path(shutil.copytree(random_run, tmp_path / "run"))
    with sqlite3.connect(folder / "designs.sqlite") as database:
        database.execute("DELETE FROM designs")
    database.close()
    with pytest.raises(InputError, match="holds no evaluated designs"):
        read_run(folder)
    (folder / "designs.sqlite").unlink()
    sqlite3.connect(folder / "designs.sqlite").close()  # an empty file is an empty database
    with pytest.raises(InputError, match="holds no evaluated designs"):
        read_run(folder)
