"""All designs of a run as one table: a stream of blocks of rows, written as CSV or as Parquet.

One row for a design at a fidelity, fidelities in rising order and designs in the order of their numbers: ``ordinal``,
``fidelity``, the parameters in SI units (the unit in brackets; empty where a parameter plays no part in the design),
the metrics and quantities (their units end their names; empty where they are not known), ``status`` (ok, infeasible,
failed), ``reason`` and ``bottleneck``. The store is read, never written, and only a block of it is held at a time.
"""

from __future__ import annotations

import csv
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import IO, Any

import numpy as np

from dse.evaluate.outcomes import FAILED, INFEASIBLE, OK
from dse.explore.proposals import playing
from dse.reports.exploration.labels import parameter_unit
from dse.space.parameter import Value
from dse.space.space import Space
from simulator.road import FIDELITIES
from workloads.documents import Document, read_document
from workloads.errors import InputError
from workloads.validation import validate

__all__ = ["Table", "table_of", "write_csv", "write_parquet"]

_BLOCK = 16_384
_STATUSES = {OK: "ok", INFEASIBLE: "infeasible", FAILED: "failed"}
_FIRST = ("ordinal", "fidelity")
_LAST = ("status", "reason", "bottleneck")

Progress = Callable[[int], None]
"""Told how many rows are written."""


@dataclass(frozen=True)
class Table:
    """The designs in the store ``file``, which are of ``space``."""

    space: Space
    file: Path

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """The metrics and quantities that the store has."""
        with _reading(self.file) as database:
            names = [row[1] for row in database.execute("PRAGMA table_info(designs)")]
        return tuple(name for name in names if name not in (*_FIRST, *_LAST))

    @cached_property
    def parameters(self) -> dict[str, list[Value]]:
        """Column name -> the values a parameter has: its name, its unit in brackets where it has one."""
        found = {}
        taken = {*_FIRST, *_LAST, *self.metrics}
        for name, parameter in self.space.parameters.items():
            unit = parameter_unit(parameter)
            column = f"{name} [{unit}]" if unit else name
            found[f"{column} (parameter)" if column in taken else column] = self.space.codec.values[name]
        return found

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of all columns."""
        return (*_FIRST, *self.parameters, *self.metrics, *_LAST)

    def blocks(self) -> Iterator[list[Sequence[Any]]]:
        """The columns of some thousand rows at a time, in the order of `columns`."""
        codec = self.space.codec
        names = ", ".join('"' + name.replace('"', '""') + '"' for name in self.metrics)
        select = f"SELECT ordinal, status, reason, bottleneck{', ' if names else ''}{names} FROM designs"
        with _reading(self.file) as database:
            database.execute("BEGIN")  # one moment of a run that may be going on
            kept = {row[0] for row in database.execute("SELECT DISTINCT fidelity FROM designs")}
            for fidelity in sorted(kept, key=FIDELITIES.index):
                rows = database.execute(f"{select} WHERE fidelity = ? ORDER BY ordinal", (fidelity,))
                while part := rows.fetchmany(_BLOCK):
                    ordinals, status, reason, bottleneck, *metrics = zip(*part, strict=True)
                    choices = codec.decode(np.array(ordinals, dtype=np.int64))
                    plays = playing(codec, choices)
                    settings = [
                        [values[choice] if does else None for choice, does in zip(chosen, does_play, strict=True)]
                        for values, chosen, does_play in zip(
                            self.parameters.values(), choices.T.tolist(), plays.T.tolist(), strict=True
                        )
                    ]
                    words = [_STATUSES[each] for each in status]
                    yield [ordinals, [fidelity] * len(part), *settings, *metrics, words, reason, bottleneck]


@contextmanager
def _reading(file: Path) -> Iterator[sqlite3.Connection]:
    """The store opened for reading alone: a run may be writing to it, and nobody may write where it is."""
    # While somebody has the store open, or was killed with it open, there is a log of writes beside it.
    still = "" if file.with_name(f"{file.name}-wal").exists() else "&immutable=1"
    database = sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro{still}", uri=True, isolation_level=None)
    try:
        yield database
    except sqlite3.DatabaseError as error:
        raise InputError(f"cannot be read: {error}", "a store of designs", file=str(file)) from None
    finally:
        database.close()


def table_of(folder: Path) -> Table:
    """The table of the run in ``folder``, which may be going on. Raises `InputError` where there is no run."""
    if not folder.is_dir():
        raise InputError("is no folder", "a run folder of 'tiercade explore'", file=str(folder))
    inputs, file = folder / "inputs.json", folder / "designs.sqlite"
    for each in (inputs, file):
        if not each.is_file():
            raise InputError("is not there", "a run folder of 'tiercade explore'", file=str(each))
    document = read_document(inputs)
    if not isinstance(document.value, dict) or "space" not in document.value:
        raise InputError("found no space", "space and options as 'tiercade explore' writes them", file=str(inputs))
    space = validate(Space, Document(str(inputs), document.value["space"], {}))
    with _reading(file) as database:
        kept = dict(database.execute("SELECT key, value FROM about").fetchall())
    if kept["space"] != space.fingerprint:
        raise InputError(
            f"holds designs of another space or of another version ({kept['space']}, not {space.fingerprint})",
            "the store of the run's own space",
            file=str(file),
        )
    return Table(space, file)


def write_csv(table: Table, file: IO[str], progress: Progress = lambda _: None) -> int:
    """Write ``table`` with a head of its columns to ``file`` (opened with ``newline=""``); how many rows there are."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(table.columns)
    rows = 0
    for block in table.blocks():
        writer.writerows(zip(*block, strict=True))
        rows += len(block[0])
        progress(rows)
    return rows


def write_parquet(table: Table, file: Path, progress: Progress = lambda _: None) -> int:
    """Write ``table`` as Parquet (zstd) to ``file``; how many rows there are. Raises `InputError` without pyarrow."""
    try:
        pa, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError:
        raise InputError(
            "the package pyarrow is not installed",
            "the extra parquet: pip install 'tiercade[parquet]'; or --csv",
            "--parquet",
        ) from None
    kinds = {"int": pa.int64(), "float": pa.float64(), "bool": pa.bool_(), "str": pa.string()}
    schema = pa.schema(
        [
            ("ordinal", pa.int64()),
            ("fidelity", pa.string()),
            *((name, kinds[_kind(values)]) for name, values in table.parameters.items()),
            *((name, pa.float64()) for name in table.metrics),
            *((name, pa.string()) for name in _LAST),
        ]
    )
    texts = {name for name, values in table.parameters.items() if _kind(values) == "str"}
    rows = 0
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for block in table.blocks():
            columns = [
                [None if value is None else str(value) for value in column] if name in texts else column
                for name, column in zip(table.columns, block, strict=True)
            ]
            arrays = [pa.array(column, type=field.type) for column, field in zip(columns, schema, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
            rows += len(block[0])
            progress(rows)
    return rows


def _kind(values: Sequence[Value]) -> str:
    """What all of ``values`` are: int, float (some of them whole), bool, or words."""
    kinds = {type(value) for value in values}
    if kinds == {bool} or kinds == {int}:
        return kinds.pop().__name__
    return "float" if kinds <= {int, float} else "str"
