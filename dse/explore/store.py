"""Where evaluated designs are kept: one SQLite file, one row for a design at a fidelity.

Rows are written in transactions, so a process that is killed leaves whole ones; several processes may write at once.
A row that is there is never evaluated again, unless it failed: to resume is to run again over the same store.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dse.evaluate.on_road import metric_columns
from dse.evaluate.outcomes import FAILED, Outcomes
from dse.space.space import Space
from workloads.errors import InputError

__all__ = ["Store"]

_WAIT_S = 60.0
_MOST_NAMES = 500
_MOST_LOOKED_UP = 5000


class Store:
    """The designs of one space. Raises `InputError` where the file holds those of another, or no designs at all."""

    def __init__(self, path: Path, space: Space) -> None:
        self.path, self.space = path, space
        self.columns = metric_columns(space)
        try:
            self._db = sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            with self._transaction():
                self._prepare()
        except sqlite3.DatabaseError as error:
            raise InputError(f"cannot be used as a store: {error}", "a store, or no file yet", file=str(path)) from None

    def _prepare(self) -> None:
        run = self._db.execute
        run("CREATE TABLE IF NOT EXISTS about (key TEXT PRIMARY KEY, value TEXT)")
        wanted = {"space": self.space.fingerprint, "name": self.space.name}
        for key, value in wanted.items():
            run("INSERT OR IGNORE INTO about VALUES (?, ?)", (key, value))
        self._same_space(self.path, dict(run("SELECT key, value FROM about").fetchall()))
        columns = ", ".join(f"{_quoted(name)} REAL" for name in self.columns)
        run(
            "CREATE TABLE IF NOT EXISTS designs (ordinal INTEGER, fidelity TEXT, status INTEGER, reason TEXT, "
            f"bottleneck TEXT, {columns}, PRIMARY KEY (fidelity, ordinal)) WITHOUT ROWID"
        )

    def _same_space(self, path: Path, about: dict[str, str]) -> None:
        if about["space"] != self.space.fingerprint:
            raise InputError(
                f"holds designs of space {about['name']!r} ({about['space']})",
                f"those of {self.space.name!r} ({self.space.fingerprint}), or another folder",
                file=str(path),
            )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def close(self) -> None:
        """Close the file; what was added is in it."""
        self._db.close()

    def add(self, outcomes: Outcomes, fidelity: str) -> None:
        """Keep ``outcomes``, all of them or none; rows that are there stay as they are, but for failed ones."""
        metrics = [
            [None if np.isnan(value) else value for value in outcomes.metrics[name].tolist()] for name in self.columns
        ]
        fields = (outcomes.status.tolist(), outcomes.reason.tolist(), outcomes.bottleneck.tolist(), *metrics)
        rows = zip(outcomes.ordinals.tolist(), [fidelity] * len(outcomes), *fields, strict=True)
        marks = ", ".join("?" * (5 + len(self.columns)))
        with self._transaction():
            self._db.executemany(f"INSERT INTO designs VALUES ({marks}) {self._over_failed}", rows)

    def take_over(self, run: Path) -> int:
        """Keep the rows of another run of the space, at every fidelity, beside those that are here; how many were new.

        ``run`` is its folder or its file, which is only read. Raises `InputError` where it is no run of this space.
        """
        file = run / "designs.sqlite" if run.is_dir() else run
        if not file.is_file():
            raise InputError("no run is there", "a run's folder, or its designs.sqlite", "--merge", file=str(run))
        if file.samefile(self.path):
            return 0
        names = ("ordinal", "fidelity", "status", "reason", "bottleneck", *(_quoted(name) for name in self.columns))
        theirs = ", ".join(f"theirs.{name}" for name in names)
        try:
            self._db.execute("ATTACH ? AS other", (str(file),))
            try:
                self._same_space(file, dict(self._db.execute("SELECT key, value FROM other.about").fetchall()))
                with self._transaction():
                    # WHERE, because ON would otherwise be read as a join's.
                    return self._db.execute(
                        f"INSERT INTO designs ({', '.join(names)}) SELECT {theirs} FROM other.designs AS theirs "
                        f"WHERE true {self._over_failed}"
                    ).rowcount
            finally:
                self._db.execute("DETACH other")
        except sqlite3.DatabaseError as error:
            raise InputError(f"cannot be taken over: {error}", "a run's store", "--merge", file=str(file)) from None

    @property
    def _over_failed(self) -> str:
        names = ("status", "reason", "bottleneck", *(_quoted(name) for name in self.columns))
        updates = ", ".join(f"{name} = excluded.{name}" for name in names)
        return f"ON CONFLICT (fidelity, ordinal) DO UPDATE SET {updates} WHERE designs.status = {FAILED}"

    def count(self, fidelity: str) -> int:
        """How many designs are kept at ``fidelity``."""
        return int(self._db.execute("SELECT count(*) FROM designs WHERE fidelity = ?", (fidelity,)).fetchone()[0])

    @property
    def empty(self) -> bool:
        """Whether no design is kept at any fidelity."""
        return self._db.execute("SELECT 1 FROM designs LIMIT 1").fetchone() is None

    def fidelities(self) -> list[str]:
        """The fidelities at which designs are kept."""
        return [row[0] for row in self._db.execute("SELECT DISTINCT fidelity FROM designs ORDER BY fidelity")]

    def known(self, fidelity: str, ordinals: Sequence[int] | NDArray[np.int64]) -> set[int]:
        """Those of ``ordinals`` that are kept at ``fidelity``, failed ones left out."""
        select = f"SELECT ordinal FROM designs WHERE status != {FAILED} AND fidelity = ?"
        if len(ordinals) > _MOST_LOOKED_UP:
            rows = self._db.execute(select, (fidelity,))
            return {row[0] for row in rows} & {int(ordinal) for ordinal in ordinals}
        return {row[0] for row in self._looked_up(select, fidelity, ordinals)}

    def _looked_up(
        self, select: str, fidelity: str, ordinals: Sequence[int] | NDArray[np.int64]
    ) -> Iterator[tuple[Any, ...]]:
        wanted = [int(ordinal) for ordinal in ordinals]
        for start in range(0, len(wanted), _MOST_NAMES):
            part = wanted[start : start + _MOST_NAMES]
            marks = ", ".join("?" * len(part))
            yield from self._db.execute(f"{select} AND ordinal IN ({marks})", (fidelity, *part))

    def get(self, fidelity: str, ordinals: Sequence[int] | NDArray[np.int64] | None = None) -> Outcomes:
        """The designs kept at ``fidelity``: all in the order of their ordinals, or those asked for in that order.

        KeyError for one that is not there.
        """
        names = ", ".join(_quoted(name) for name in self.columns)
        select = f"SELECT ordinal, status, reason, bottleneck, {names} FROM designs WHERE fidelity = ?"
        if ordinals is None:
            return self._outcomes(self._db.execute(f"{select} ORDER BY ordinal", (fidelity,)).fetchall())
        rows = {row[0]: row for row in self._looked_up(select, fidelity, ordinals)}
        return self._outcomes([rows[int(ordinal)] for ordinal in ordinals])

    def _outcomes(self, rows: Sequence[Sequence[object]]) -> Outcomes:
        columns = list(zip(*rows, strict=True)) if rows else [()] * (4 + len(self.columns))
        metrics = {name: np.array(columns[4 + at], dtype=np.float64) for at, name in enumerate(self.columns)}
        reason, bottleneck = (np.array(columns[at], dtype=object) for at in (2, 3))
        ordinals, status = np.array(columns[0], dtype=np.int64), np.array(columns[1], dtype=np.int8)
        return Outcomes(ordinals, status, reason, bottleneck, metrics)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
