"""Every design of the DRAM-controller space on one trace, without running those that must come out the same.

A run tells the least limits (buffer size, active transactions, postponed and pulled-in refreshes) with which it would
have gone the same way; designs that differ from it in limits between these and its own have its outcome. Runs begin at
the largest limits. Where a trace has no writes, the first hit is of the direction last served and the reads are all
that waits: FrFcfs is FrFcfsGrp, and Shared is ReadWrite.

Groups of designs with the same words are spread over processes. What is done is kept in a file now and then, from which
an interrupted sweep goes on.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dse.space.codec import Codec
from dse.space.space import Base, Space
from simulator.memory.dram.devices import load_device
from simulator.memory.dram.queued_kernel import Runner, outcome_of
from simulator.memory.dram.queued_traces import queued_trace

__all__ = ["Swept", "group_outcomes", "sweep"]

_PLACES: tuple[str, ...] = (
    "page_policy",
    "scheduler",
    "scheduler_buffer",
    "request_buffer_size",
    "resp_queue",
    "refresh_policy",
    "refresh_max_postponed",
    "refresh_max_pulledin",
    "arbiter",
    "max_active_transactions",
)
_COLUMNS = 3
_NO_REFRESH, _SIMPLE = 0, 0
_FRFCFS, _GROUPED, _SHARED, _READ_WRITE = 2, 1, 2, 1
_SAVE_EVERY = 8

Group = tuple[int, int, int, int, int]
"""Choices of page policy, scheduler, scheduler buffer, response queue and arbiter."""


@dataclass(frozen=True)
class Swept:
    """Every design of the space on one trace, by ordinal (442,368 in all: those in which a parameter plays no part have
    the outcome of the design they are). ``total_s`` until the last answer, ``latency_s`` on average, ``energy_j``.
    ``runs`` counts what was run; all else follows from it."""

    codec: Codec
    total_s: NDArray[np.float64]
    latency_s: NDArray[np.float64]
    energy_j: NDArray[np.float64]
    runs: int

    @property
    def power_w(self) -> NDArray[np.float64]:
        """Energy over total time."""
        power: NDArray[np.float64] = self.energy_j / self.total_s
        return power


def sweep(
    space: Space,
    *,
    workers: int = 1,
    keep: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Swept:
    """Every design of ``space``, which has the parameters of the bundled space dram-controller, in ``workers``
    processes; what is done is kept in the file ``keep`` and taken from there. ``progress`` is told the groups done and
    how many there are."""
    codec = space.codec
    assert tuple(codec.parameters) == _PLACES
    table = np.full((*codec.radices.tolist(), _COLUMNS), np.nan)
    runs = 0
    done: set[Group] = set()
    if keep is not None and keep.exists():
        table, runs, done = _kept(keep, space, table, runs, done)
    words = (range(int(codec.radices[place])) for place in (0, 1, 2, 4, 8))
    groups: list[Group] = [(a, b, c, d, e) for a, b, c, d, e in itertools.product(*words)]
    reads_only = not _runner(space.base)[1].state["write"].any()
    twins = {group: _twin(group) if reads_only else group for group in groups}
    left = [group for group in groups if twins[group] == group and group not in done]
    total = sum(twins[group] == group for group in groups)
    for found, (group, part, count) in enumerate(_computed(space, left, workers), 1):
        table[_at(group)] = part
        runs += count
        done.add(group)
        if progress is not None:
            progress(len(done), total)
        if keep is not None and (found % _SAVE_EVERY == 0 or found == len(left)):
            _save(keep, space, table, runs, done)
    for group, twin in twins.items():
        table[_at(group)] = table[_at(twin)]
    flat = table.reshape(-1, _COLUMNS)
    total_s, latency_s, energy_j = (np.ascontiguousarray(flat[:, at]) for at in range(_COLUMNS))
    return Swept(codec, total_s, latency_s, energy_j, runs)


def group_outcomes(space: Space, group: Group) -> tuple[NDArray[np.float64], int]:
    """The designs of one group: (buffer sizes, refresh policies, postponed, pulled in, active, 3), and how many runs it
    took. The three are total time, mean latency and energy."""
    device, runner = _runner(space.base)
    page, scheduler, buffer, responses, arbiter = group
    values = [[int(v) for v in space.codec.values[_PLACES[p]]] for p in (3, 6, 7, 9)]
    shape = (len(values[0]), 2, len(values[1]), len(values[2]), len(values[3]))
    table = np.full((*shape, _COLUMNS), np.nan)
    runs = 0
    order = [range(count - 1, -1, -1) for count in shape]
    for refresh, size, active, postponed, pulled in itertools.product(order[1], order[0], order[4], order[2], order[3]):
        if not np.isnan(table[size, refresh, postponed, pulled, active, 0]):
            continue
        at = (size, postponed, pulled, active)
        limits = [values[n][place] for n, place in enumerate(at)]
        settings = [page, scheduler, buffer, limits[0], responses, refresh, limits[1], limits[2], arbiter, limits[3]]
        outcome = outcome_of(runner.run(np.array([settings], dtype=np.int64))[0], space.base.requests)
        runs += 1
        # By the order of ``needed``: buffer size, active, postponed, pulled in.
        needed = (outcome.needed[0], outcome.needed[2], outcome.needed[3], outcome.needed[1])
        lowest = [int(np.searchsorted(values[n], least)) for n, least in enumerate(needed)]
        if refresh == _NO_REFRESH:
            lowest[1] = lowest[2] = 0
        if arbiter == _SIMPLE:
            lowest[3] = 0
        spans = [slice(low, place + 1) for low, place in zip(lowest, at, strict=True)]
        table[spans[0], refresh, spans[1], spans[2], spans[3]] = (
            outcome.total_s(device),
            outcome.mean_latency_s(device),
            outcome.energy_j(device),
        )
    return table, runs


def _at(group: Group) -> Any:
    """Where the designs of a group stand in a table over all parameters."""
    page, scheduler, buffer, responses, arbiter = group
    every = slice(None)
    return (page, scheduler, buffer, every, responses, every, every, every, arbiter, every)


def _twin(group: Group) -> Group:
    """The group that comes out the same where all requests are reads."""
    page, scheduler, buffer, responses, arbiter = group
    return (
        page,
        _GROUPED if scheduler == _FRFCFS else scheduler,
        _READ_WRITE if buffer == _SHARED else buffer,
        responses,
        arbiter,
    )


def _computed(space: Space, groups: list[Group], workers: int) -> Iterator[tuple[Group, NDArray[np.float64], int]]:
    if workers == 1 or len(groups) < 2:
        for group in groups:
            yield group, *group_outcomes(space, group)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        waiting = groups[::-1]
        flying: dict[Any, Group] = {}
        while waiting or flying:
            while waiting and len(flying) < 2 * workers:
                group = waiting.pop()
                flying[pool.submit(group_outcomes, space, group)] = group
            finished, _ = wait(flying, return_when=FIRST_COMPLETED)
            for future in finished:
                yield flying.pop(future), *future.result()


@lru_cache(maxsize=2)
def _runner_of(device: str, trace: str, requests: int, mapping: str) -> tuple[Any, Runner]:
    loaded = load_device(device)
    return loaded, Runner.of(loaded, queued_trace(loaded, trace, requests, mapping))


def _runner(base: Base) -> tuple[Any, Runner]:
    return _runner_of(base.device, base.trace, base.requests, base.mapping)


def _save(keep: Path, space: Space, table: NDArray[np.float64], runs: int, done: set[Group]) -> None:
    keep.parent.mkdir(parents=True, exist_ok=True)
    aside = keep.with_name(f"{keep.name}.part")
    with aside.open("wb") as file:
        told = json.dumps({"fingerprint": space.fingerprint, "runs": runs, "done": sorted(done)})
        np.savez_compressed(file, table=table, told=np.array(told))
    os.replace(aside, keep)


def _kept(
    keep: Path, space: Space, table: NDArray[np.float64], runs: int, done: set[Group]
) -> tuple[NDArray[np.float64], int, set[Group]]:
    with np.load(keep) as file:
        told = json.loads(str(file["told"]))
        if told["fingerprint"] != space.fingerprint:
            return table, runs, done
        found: NDArray[np.float64] = file["table"]
        a_group: set[Group] = {(a, b, c, d, e) for a, b, c, d, e in told["done"]}
        return found, told["runs"], a_group
