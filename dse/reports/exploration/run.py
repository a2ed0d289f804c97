"""The run folder of ``tiercade explore``, read back: its designs in the order in which they were proposed.

The store does not say which design was proposed when, but an engine's proposals depend on nothing but its seed and what
it was told: the exploration is run again over a copy of the store, and stops where a design is not there.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from dse.evaluate.on_road import metric_columns
from dse.evaluate.outcomes import Outcomes
from dse.explore.run import Exploration, explore
from dse.explore.store import Store
from dse.space.space import Space
from workloads.errors import InputError

__all__ = ["ExploredRun", "Stage", "read_run"]


@dataclass(frozen=True)
class Stage:
    """The designs proposed at one fidelity, in that order."""

    fidelity: str
    outcomes: Outcomes


@dataclass(frozen=True)
class ExploredRun:
    """A run: ``stages`` by rising fidelity; ``random`` are designs drawn at random beside it, at the last fidelity and
    in the order drawn (empty where the run itself was random, or of everything); ``summary`` is as in summary.json."""

    space: Space
    options: Exploration
    stages: tuple[Stage, ...]
    random: Outcomes
    summary: dict[str, Any]


class _Kept:
    """An evaluator that has nothing evaluated: designs that failed stay failed, the first unknown one ends the run."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.ended = False

    def run(self, ordinals: NDArray[np.int64], fidelity: str) -> Iterator[Outcomes]:
        if not len(ordinals):
            return
        kept = self._store.get(fidelity)
        yield kept.take(np.isin(kept.ordinals, ordinals))
        if not np.isin(ordinals, kept.ordinals).all():
            self.ended = True
            raise KeyboardInterrupt  # how an exploration is ended early

    def close(self) -> None:
        """There is nothing to let go."""


def read_run(folder: Path) -> ExploredRun:
    """The run in ``folder``, which may be running still, or read-only. Raises `InputError` where there is none."""
    if not folder.is_dir():
        raise InputError("is no folder", "a run folder of 'tiercade explore'", file=str(folder))
    document = _document(folder / "inputs.json")
    summary = _document(folder / "summary.json") if (folder / "summary.json").exists() else {}
    space, options = _inputs(folder / "inputs.json", document, summary)
    with tempfile.TemporaryDirectory(prefix="tiercade-") as scratch:
        copy = Path(scratch) / "designs.sqlite"
        _copy(folder / "designs.sqlite", copy)
        _add_newer_metrics(copy, space)
        store = Store(copy, space)
        try:
            return _replayed(folder, space, options, store)
        finally:
            store.close()


def _replayed(folder: Path, space: Space, options: Exploration, store: Store) -> ExploredRun:
    kept = _Kept(store)
    run = explore(space, store, kept, options)
    if run.interrupted and not kept.ended:
        raise KeyboardInterrupt  # somebody's Ctrl-C
    stages = tuple(Stage(name, store.get(name, ordinals)) for name, ordinals in run.proposed.items() if len(ordinals))
    if not stages:
        raise InputError("holds no evaluated designs", "a run that went on for longer", file=str(folder))
    return ExploredRun(space, options, stages, store.get(stages[-1].fidelity, run.random), run.summary(store))


def _document(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError("is not there", "a run folder of 'tiercade explore'", file=str(file)) from None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read: {error}", "JSON as 'tiercade explore' writes it", file=str(file)) from None
    if not isinstance(found, dict):
        raise InputError("is no mapping", "JSON as 'tiercade explore' writes it", file=str(file))
    return found


def _inputs(file: Path, document: dict[str, Any], summary: dict[str, Any]) -> tuple[Space, Exploration]:
    try:
        space = dict(document["space"])
        # Keys may be sorted in the file; the order of the parameters is in every design of the front.
        if summary.get("front"):
            space["parameters"] = _ordered(space["parameters"], summary["front"][0]["parameters"])
            space["quantities"] = _ordered(space["quantities"], summary["front"][0]["metrics"])
            space["objectives"] = _ordered(space["objectives"], summary["objectives"])
        known = {field.name for field in fields(Exploration)}
        options: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in document["options"].items()
            if name in known
        }
        return Space.model_validate(space), Exploration(**options)
    except (KeyError, TypeError, AttributeError, ValidationError) as error:
        what = f"found no {error}" if isinstance(error, KeyError) else "found a space or options that are none"
        raise InputError(what, "space and options as 'tiercade explore' writes them", file=str(file)) from None


def _ordered(found: dict[str, Any], order: dict[str, Any]) -> dict[str, Any]:
    return {name: found[name] for name in [*(n for n in order if n in found), *(n for n in found if n not in order)]}


def _copy(source: Path, target: Path) -> None:
    """A consistent copy: a run may be writing to ``source``, which may be where nobody else may write."""
    if not source.is_file():
        raise InputError("is not there", "a run folder of 'tiercade explore'", file=str(source))
    # While somebody has the store open, or was killed with it open, there is a log of writes beside it.
    still = "" if source.with_name(f"{source.name}-wal").exists() else "&immutable=1"
    try:
        before = sqlite3.connect(f"{source.resolve().as_uri()}?mode=ro{still}", uri=True)
        after = sqlite3.connect(target)
        try:
            before.backup(after)
        finally:
            before.close()
            after.close()
    except sqlite3.DatabaseError as error:
        raise InputError(f"cannot be read: {error}", "a store of designs", file=str(source)) from None


def _add_newer_metrics(copy: Path, space: Space) -> None:
    """Metrics that came up after the run was made are not known of its designs."""
    database = sqlite3.connect(copy)
    try:
        found = {row[1] for row in database.execute("PRAGMA table_info(designs)")}
        for name in metric_columns(space):
            if found and name not in found:
                quoted = name.replace('"', '""')
                database.execute(f'ALTER TABLE designs ADD COLUMN "{quoted}" REAL')
    finally:
        database.close()
