"""All designs of a run as a table: columns, order, units, and what is left empty."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from dse.explore.pool import InProcess
from dse.explore.run import Exploration, explore
from dse.explore.store import Store
from dse.reports.design_table import Table, table_of, write_csv, write_parquet
from dse.space.space import Space, load_space
from tests.dse.explore.spaces import small_space
from workloads.errors import InputError


def run_of(space: Space, folder: Path, options: Exploration) -> Path:
    """A run folder as far as tables are concerned."""
    folder.mkdir(parents=True)
    (folder / "inputs.json").write_text(json.dumps({"space": space.model_dump(mode="json"), "options": {}}))
    store = Store(folder / "designs.sqlite", space)
    explore(space, store, InProcess(space), options)
    store.close()
    return folder


def rows_of(table: Table) -> list[dict[str, str]]:
    text = io.StringIO(newline="")
    count = write_csv(table, text)
    rows = list(csv.DictReader(io.StringIO(text.getvalue(), newline="")))
    assert len(rows) == count
    return rows


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("table")
    options = Exploration("exhaustive", None, ("roofline", "mapped"), promote=0.01)
    return run_of(small_space(folder), folder / "run", options)


def test_a_row_for_each_design_at_each_fidelity(run: Path) -> None:
    table = table_of(run)
    # Two parameters are quantities, so their columns say in what; metrics end in their units.
    assert table.columns[:6] == ("ordinal", "fidelity", "macs", "bandwidth [B/s]", "capacity [B]", "weights")
    assert table.columns[6:8] == ("latency_s", "tokens_per_s")
    assert table.columns[-4:] == ("area_mm2", "status", "reason", "bottleneck")
    rows = rows_of(table)
    at = [(row["fidelity"], int(row["ordinal"])) for row in rows]
    assert at[:378] == [("roofline", ordinal) for ordinal in range(378)]
    assert len(at) > 378
    assert at[378:] == sorted(at[378:])
    assert {fidelity for fidelity, _ in at[378:]} == {"mapped"}
    # A third of the designs has 1 GB, in which nothing fits; they are not simulated.
    rows = rows[:378]
    too_small = [row for row in rows if row["capacity [B]"] == "1000000000.0"]
    assert len(too_small) == 126
    assert {(row["status"], row["reason"], row["latency_s"]) for row in too_small} == {
        ("infeasible", "does not fit", "")
    }
    assert {row["status"] for row in rows if row not in too_small} == {"ok"}


def test_numbers_are_those_of_the_store_to_the_last_bit(run: Path) -> None:
    space = small_space(run.parent)
    store = Store(run / "designs.sqlite", space)
    rows = [row for row in rows_of(table_of(run)) if row["fidelity"] == "roofline"]
    kept = store.get("roofline")
    store.close()
    for at, row in enumerate(rows):
        design = space.codec.named(space.codec.decode(kept.ordinals[at : at + 1])[0])
        assert float(row["macs"]) == design["macs"]
        assert float(row["bandwidth [B/s]"]) == design["bandwidth"]
        assert row["weights"] == design["weights"]
        assert row["bottleneck"] == kept.bottleneck[at]
        for name, values in kept.metrics.items():
            assert (row[name] == "") == bool(np.isnan(values[at]))
            assert not row[name] or float(row[name]) == values[at]


def test_a_block_at_a_time_is_held(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = rows_of(table_of(run))
    monkeypatch.setattr("dse.reports.design_table._BLOCK", 100)
    told: list[int] = []
    write_csv(table_of(run), io.StringIO(newline=""), told.append)
    assert max(np.diff([0, *told])) == 100
    assert told[-1] == len(whole)
    assert rows_of(table_of(run)) == whole


def test_what_plays_no_part_is_empty_and_names_are_told_apart(tmp_path: Path) -> None:
    file = tmp_path / "odd-space.yaml"
    small_space(tmp_path)
    text = (tmp_path / "small-space.yaml").read_text()
    text = text.replace("weights: {choices: [bf16, int4_g128]}", "weights: {choices: [bf16, int4_g128]}\n  status: {choices: [x, y], when: {weights: bf16}}")  # fmt: skip  # noqa: E501
    file.write_text(text)
    folder = run_of(load_space(file), tmp_path / "run", Exploration("random", 60))
    rows = rows_of(table_of(folder))
    assert {row["status"] for row in rows} <= {"ok", "infeasible"}
    assert {(row["weights"], row["status (parameter)"]) for row in rows} == {
        ("bf16", "x"),
        ("bf16", "y"),
        ("int4_g128", ""),
    }


def test_a_run_that_goes_on_can_be_read(tmp_path: Path) -> None:
    space = small_space(tmp_path)
    folder = run_of(space, tmp_path / "run", Exploration("random", 20))
    store = Store(folder / "designs.sqlite", space)  # somebody has it open, with a log of writes beside it
    store.add(InProcess(space).run(np.arange(3), "mapped").__next__(), "mapped")
    rows = rows_of(table_of(folder))
    store.close()
    assert len(rows) == 23


def test_parquet_is_the_same_table(run: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip(
        "pyarrow.parquet", reason="pyarrow is not installed (extra parquet): PARQUET EXPORT IS NOT TESTED HERE"
    )
    table = table_of(run)
    assert write_parquet(table, tmp_path / "designs.parquet") == len(rows_of(table))
    found = parquet.read_table(tmp_path / "designs.parquet")
    assert tuple(found.column_names) == table.columns
    kinds = {field.name: str(field.type) for field in found.schema}
    assert (kinds["ordinal"], kinds["macs"], kinds["weights"], kinds["latency_s"]) == (
        "int64",
        "int64",
        "string",
        "double",
    )
    for row, other in zip(rows_of(table), found.to_pylist(), strict=True):
        assert {name: "" if value is None else str(value) for name, value in other.items()} == row


def test_without_pyarrow_one_sentence_names_the_extra(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(InputError) as caught:
        write_parquet(table_of(run), tmp_path / "designs.parquet")
    assert str(caught.value) == (
        "--parquet: the package pyarrow is not installed; expected the extra parquet: pip install "
        "'tiercade[parquet]'; or --csv"
    )


def test_what_is_no_run_is_said(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no folder"):
        table_of(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"inputs\.json: is not there"):
        table_of(tmp_path)
    (tmp_path / "inputs.json").write_text((run / "inputs.json").read_text().replace('"small"', '"other"'))
    (tmp_path / "designs.sqlite").write_bytes((run / "designs.sqlite").read_bytes())
    with pytest.raises(InputError, match="holds designs of another space"):
        table_of(tmp_path)
    (tmp_path / "designs.sqlite").write_bytes(b"no database at all, but long enough to look at" * 40)
    with pytest.raises(InputError, match="cannot be read: file is not a database"):
        table_of(tmp_path)
    (tmp_path / "inputs.json").write_text("{}")
    with pytest.raises(InputError, match="found no space"):
        table_of(tmp_path)


def test_a_store_that_breaks_half_way_is_said(run: Path, tmp_path: Path) -> None:
    (tmp_path / "inputs.json").write_text((run / "inputs.json").read_text())
    (tmp_path / "designs.sqlite").write_bytes((run / "designs.sqlite").read_bytes())
    database = sqlite3.connect(tmp_path / "designs.sqlite")
    database.execute("DROP TABLE designs")
    database.close()
    with pytest.raises(InputError, match="cannot be read: no such table"):
        rows_of(table_of(tmp_path))
