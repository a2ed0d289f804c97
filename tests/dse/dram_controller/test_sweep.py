"""The sweep of the space against every design run by itself; the ground truth that is kept against a sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dse.dram_controller.published import compared, published_rows
from dse.dram_controller.sweep import group_outcomes, sweep
from dse.dram_controller.truth import (
    QUANTILES,
    front_rows,
    front_table,
    ground_truth,
    quantile_rows,
    quantile_table,
    space_of,
    write_truth,
)
from dse.evaluate.memory import evaluate_memory
from dse.space.space import Space
from simulator.memory.dram.queued_traces import TRACES
from workloads.errors import InputError


def short(trace: str, requests: int) -> Space:
    space = space_of(trace)
    return space.model_copy(update={"base": space.base.model_copy(update={"requests": requests})})


def sample(space: Space, count: int, seed: int) -> np.ndarray:
    ordinals = np.random.default_rng(seed).integers(0, space.codec.product, 4 * count)
    return ordinals[space.codec.is_design(ordinals)][:count]


def test_a_group_is_as_if_every_design_was_run() -> None:
    """Group: open pages, FrFcfsGrp, Bankwise, answers in order, Fifo arbiter; 8 sizes x 17 refreshes x 8 limits."""
    space = short("cloud-writes", 60)
    group = (0, 1, 0, 1, 1)
    table, runs = group_outcomes(space, group)
    assert runs < 8 * 17 * 8 / 4
    page, scheduler, buffer, responses, arbiter = group
    for size, refresh, postponed, pulled, active in np.random.default_rng(1).integers(0, (8, 2, 4, 4, 8), (150, 5)):
        choices = [page, scheduler, buffer, size, responses, refresh, postponed, pulled, arbiter, active]
        alone = evaluate_memory(space, space.codec.encode(np.array([choices])), "cycle").metrics
        expected = [alone[name][0] for name in ("total_s", "latency_s", "energy_j")]
        assert table[size, refresh, postponed, pulled, active].tolist() == expected


@pytest.mark.parametrize("trace", ["cloud-1", "cloud-writes"])  # reads alone, and not
def test_a_whole_sweep(trace: str) -> None:
    space = short(trace, 30)
    swept = sweep(space)
    assert len(swept.total_s) == 442_368
    assert np.isfinite(swept.total_s).all()
    assert swept.runs < space.codec.size / 5
    ordinals = sample(space, 150, 2)
    alone = evaluate_memory(space, ordinals, "cycle").metrics
    for name in ("total_s", "latency_s", "energy_j", "power_w"):
        assert np.array_equal(alone[name], getattr(swept, name)[ordinals]), name
    every = np.arange(space.codec.product)
    assert np.array_equal(swept.total_s, swept.total_s[space.codec.encode(space.codec.decode(every))])


def test_a_sweep_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    space, keep = short("stream", 12), tmp_path / "sweep.npz"
    whole = sweep(space)

    def stop(done: int, total: int) -> None:
        assert total == 96  # 4 pages x 2 schedulers x 2 buffers x 2 x 3: of reads alone the others are the same
        if done == 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(space, keep=keep, progress=stop)
    told: list[int] = []
    again = sweep(space, keep=keep, progress=lambda done, _: told.append(done))
    assert told[0] == 33  # what was kept at last: 32 groups
    assert again.runs == whole.runs
    assert np.array_equal(again.energy_j, whole.energy_j)
    other = short("stream", 13)  # another space: what is kept is of no use
    assert not np.array_equal(sweep(other, keep=keep).total_s, whole.total_s)


@pytest.mark.parametrize("trace", TRACES)
def test_the_ground_truth_recomputed(trace: str) -> None:
    space, known = space_of(trace), ground_truth(trace)
    ordinals = sample(space, 12, 3)
    alone = evaluate_memory(space, ordinals, "cycle").metrics
    for name in ("total_s", "latency_s", "energy_j"):
        assert np.array_equal(alone[name], getattr(known.swept, name)[ordinals]), name


@pytest.mark.parametrize("trace", TRACES)
def test_bounds_on_every_design(trace: str) -> None:
    """No design moves 10,000 bursts of four clocks of 1.25 ns faster than the bus, or for less than the reads and the
    standing power take."""
    swept = ground_truth(trace).swept
    assert swept.total_s.min() >= 10_000 * 4 * 1.25e-9
    assert (swept.energy_j >= 10_000 * 5.7e-9 + 0.54 * swept.total_s - 1e-15).all()
    assert (swept.latency_s >= 14 * 1.25e-9).all()


@pytest.mark.parametrize("trace", TRACES)
def test_refresh_costs_time(trace: str) -> None:
    """Never less than none where pages are closed anyway and requests go one by one. Elsewhere a refresh, one in 6,240
    ticks, may close the rows of eight banks which would each have taken 10 to close; and of reads and writes it may
    change the order."""
    swept = ground_truth(trace).swept
    total = swept.total_s.reshape(swept.codec.radices)
    without, with_refresh = total[:, :, :, :, :, 0], total[:, :, :, :, :, 1]
    assert (without[2, :, 2, 0] <= with_refresh[2, :, 2, 0]).all()  # Closed, Shared, a buffer of one
    if trace != "cloud-writes":
        assert (without <= (1 + 8 * 10 / 6_240) * with_refresh).all()


def test_tables_say_what_the_ground_truth_says() -> None:
    known = ground_truth("cloud-1")
    table = front_table("cloud-1")
    assert table == [dict(row) for row in front_rows(known)]
    powers, totals = [row["power_w"] for row in table], [row["total_us"] for row in table]
    assert powers == sorted(powers)
    assert totals == sorted(totals, reverse=True)
    kept = [row for row in quantile_table() if row["trace"] == "cloud-1"]
    assert [row["metric"] for row in kept] == [row["metric"] for row in quantile_rows("cloud-1", known)]
    assert len(quantile_table()) == 7 * len(TRACES)
    for row in kept:
        assert sorted(row[f"q{100 * q:g}"] for q in QUANTILES) == [row[f"q{100 * q:g}"] for q in QUANTILES]
    with pytest.raises(InputError, match="unknown trace"):
        front_table("cloud-9")


def test_what_is_kept_comes_back(tmp_path: Path) -> None:
    known = ground_truth("stream")
    first = write_truth("stream", known.swept, tmp_path).read_bytes()
    assert write_truth("stream", known.swept, tmp_path).read_bytes() == first


def test_published_results() -> None:
    """DRAMSys's own: total times to the digits given, energies to 0.04 % (its power model rounds otherwise)."""
    assert len(published_rows()) == 20
    for row, total_s, energy_j in compared():
        assert total_s == pytest.approx(row.total_s, rel=5e-8)
        assert energy_j == pytest.approx(row.energy_j, rel=4e-4)
