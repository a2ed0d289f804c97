"""Requests per second of the DRAM controller, beside a controller that steps through every tick.

Run with ``uv run python benchmarks/dram.py [--quick] [--json FILE] [--report reports/performance.md]``. Times are CPU
seconds of this process, the best of several; a small run before loads compiled code. The baseline is below: the same
rules for DDR4, compiled by the same compiler, written as such controllers usually are, one tick after the other and
through the queue in each until a request can go. Both must agree on every count, or nothing is printed.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numba import njit

from dse.reports.sections import with_part
from simulator.memory.dram.controller import Controller
from simulator.memory.dram.device import Device
from simulator.memory.dram.devices import load_device
from simulator.memory.dram.kernel import run_channel
from simulator.memory.dram.mapping import address_mapping
from simulator.memory.dram.patterns import Geometry, Options, build_pattern
from simulator.memory.dram.requests import Requests, decode
from simulator.memory.dram.run import run
from simulator.memory.dram.streams import Stream

BASELINE_SHARE = 5  # the baseline runs the first fifth of the requests
TIMING = ("nCL", "nCWL", "nBL", "nRCD", "nRP", "nRAS", "nRC", "nWR", "nRTP", "nCCDS", "nCCDL", "nRRDS", "nRRDL")
TIMING += ("nWTRS", "nWTRL", "nFAW", "nRFC", "nREFI")


@dataclass(frozen=True)
class Case:
    """A stream on one channel. ``target_per_s`` is what the controller is meant to reach."""

    label: str
    device: str
    pattern: str
    mapping: str = "MOP4CLXOR"
    queues: tuple[int, int] = (32, 32)
    tries: int = 1
    baseline: bool = False
    target_per_s: float | None = None


CASES = (
    Case("DDR4 random", "DDR4-3200", "rand", baseline=True, target_per_s=2e6),
    Case("DDR4 sequential", "DDR4-3200", "seq", baseline=True, target_per_s=4e6),
    Case("DDR4 sequential, columns low", "DDR4-3200", "seq", "RoBaRaCoCh", baseline=True),
    Case("DDR4 two reads, one write", "DDR4-3200", "mix21", baseline=True),
    Case("DDR4 16 streams, same bank", "DDR4-3200", "streams16_alias", baseline=True),
    Case("DDR4 random, deep queues", "DDR4-3200", "rand", queues=(128, 64), tries=2, baseline=True),
    Case("DDR4 sequential, deep queues", "DDR4-3200", "seq", queues=(128, 64), tries=2, baseline=True),
    Case("DDR5 random", "DDR5-4800", "rand"),
    Case("LPDDR5 two reads, one write", "LPDDR5-6400", "mix21"),
    Case("HBM2 sequential", "HBM2-2000", "seq"),
    Case("HBM3 sequential", "HBM3-6400", "seq"),
    Case("HBM3 random", "HBM3-6400", "rand"),
)


@dataclass(frozen=True)
class Measured:
    """Requests per second: of the kernel on decoded requests, of a whole run, of the baseline where there is one."""

    case: Case
    requests: int
    kernel_per_s: float
    run_per_s: float
    baseline_per_s: float | None

    @property
    def ratio(self) -> float | None:
        """The kernel over the baseline."""
        return None if self.baseline_per_s is None else self.kernel_per_s / self.baseline_per_s


@dataclass(frozen=True)
class Scaling:
    """Seconds on the clock and of CPU for one stream over many channels."""

    workers: int
    wall_s: float
    cpu_s: float


@njit(cache=True)
def tick_by_tick(banks, rows, columns, writes, t, read_size, write_size, tries):  # type: ignore[no-untyped-def]
    """One DDR4 rank of 4 x 4 banks, row-hit scheduler, open pages, all-bank refresh; ``t`` by `TIMING`.

    Returns tick of the last acceptance, tick of the last byte, read latency summed, hits, misses, conflicts.
    """
    CL, CWL, BL, RCD, RP, RAS, RC, WR, RTP, CCDS, CCDL, RRDS, RRDL, WTRS, WTRL, FAW, RFC, REFI = t
    count = len(banks)
    queue = np.empty((2, max(read_size, write_size)), np.int64)  # request numbers, oldest first
    held = np.zeros(2, np.int64)
    active = np.empty(read_size + write_size + 16, np.int64)
    actives = 0
    arrive = np.zeros(count, np.int64)
    touched = np.zeros(count, np.bool_)
    open_row = np.full(16, -1, np.int64)
    bank_act, bank_pre = np.zeros(16, np.int64), np.zeros(16, np.int64)
    bank_col = np.zeros(16, np.int64)
    group_act, group_col = np.zeros(4, np.int64), np.zeros((2, 4), np.int64)
    rank_act = rank_pre = rank_ref = np.int64(0)
    rank_col = np.zeros(2, np.int64)
    last_four = np.full(4, -FAW, np.int64)
    outcome = np.zeros(6, np.int64)
    taken = debt = clk = 0
    refresh_waits = write_mode = False
    while True:
        for _ in range(tries if clk else 1):
            if taken == count:
                break
            kind = 1 if writes[taken] else 0
            same = False
            for k in range(held[1]):
                j = queue[1, k]
                if banks[j] == banks[taken] and rows[j] == rows[taken] and columns[j] == columns[taken]:
                    same = True
            if same:
                outcome[2] += 1 - kind
            else:
                if held[kind] == (write_size if kind else read_size):
                    break
                queue[kind, held[kind]] = taken
                held[kind] += 1
            arrive[taken] = clk
            outcome[0] = clk
            taken += 1
        clk += 1
        if clk % REFI == 0:
            debt += 1
        if debt > 0 and not refresh_waits:
            refresh_waits = True
            debt -= 1

        chosen, source, kind = -1, 0, 0
        for k in range(actives):  # a row was opened for them
            i = active[k]
            b, w = banks[i], 1 if writes[i] else 0
            if clk >= max(bank_col[b], group_col[w, b // 4], rank_col[w]) and (
                chosen < 0 or arrive[i] < arrive[active[chosen]]
            ):
                chosen = k
        if chosen >= 0:
            source = 1
        elif refresh_waits:
            some_open = False
            for b in range(16):
                some_open |= open_row[b] >= 0
            if some_open:
                if actives == 0 and clk >= rank_pre:  # every open bank of an active request is left alone
                    open_row[:] = -1
                    rank_act, rank_ref = max(rank_act, clk + RP), max(rank_ref, clk + RP)
            elif clk >= rank_ref:
                refresh_waits = False
                rank_act, rank_pre, rank_ref = clk + RFC, clk + RFC, clk + RFC
        else:
            if not write_mode:
                write_mode = held[1] > 0.8 * write_size or held[0] == 0
            elif held[1] < 0.2 * write_size and held[0] != 0:
                write_mode = False
            kind = 1 if write_mode else 0
            for k in range(held[kind]):
                i = queue[kind, k]
                b = banks[i]
                if open_row[b] == rows[i]:
                    legal = clk >= max(bank_col[b], group_col[kind, b // 4], rank_col[kind])
                elif open_row[b] < 0:
                    legal = clk >= max(bank_act[b], group_act[b // 4], rank_act, last_four[0] + FAW)
                else:
                    legal = clk >= bank_pre[b]
                    for n in range(held[kind]):
                        j = queue[kind, n]
                        if arrive[j] <= arrive[i] and banks[j] == b and rows[j] == open_row[b]:
                            legal = False
                    for n in range(actives):
                        if banks[active[n]] == b:
                            legal = False
                if legal:
                    chosen, source = k, 2
                    break

        if source > 0:
            i = active[chosen] if source == 1 else queue[kind, chosen]
            b = banks[i]
            if not touched[i]:
                touched[i] = True
                outcome[3 if open_row[b] == rows[i] else 4 if open_row[b] < 0 else 5] += 1
            if open_row[b] == rows[i]:
                if writes[i]:
                    done = clk + CWL + BL
                    bank_pre[b], rank_pre = max(bank_pre[b], done + WR), max(rank_pre, done + WR)
                    group_col[1, b // 4] = max(group_col[1, b // 4], clk + CCDL)
                    group_col[0, b // 4] = max(group_col[0, b // 4], done + WTRL)
                    rank_col[1], rank_col[0] = max(rank_col[1], clk + CCDS), max(rank_col[0], done + WTRS)
                else:
                    done = clk + CL + BL
                    outcome[2] += done - arrive[i]
                    bank_pre[b], rank_pre = max(bank_pre[b], clk + RTP), max(rank_pre, clk + RTP)
                    group_col[0, b // 4] = max(group_col[0, b // 4], clk + CCDL)
                    rank_col[0], rank_col[1] = max(rank_col[0], clk + CCDS), max(rank_col[1], done + 2 - CWL)
                outcome[1] = max(outcome[1], done)
                if source == 1:
                    actives -= 1
                    active[chosen:actives] = active[chosen + 1 : actives + 1]
            elif open_row[b] < 0:
                open_row[b] = rows[i]
                bank_col[b], bank_pre[b], bank_act[b] = clk + RCD, max(bank_pre[b], clk + RAS), clk + RC
                group_act[b // 4], rank_act = clk + RRDL, max(rank_act, clk + RRDS)
                rank_pre, rank_ref = max(rank_pre, clk + RAS), max(rank_ref, clk + RC)
                last_four[:3] = last_four[1:]
                last_four[3] = clk
                active[actives] = i
                actives += 1
            else:
                open_row[b] = -1
                bank_act[b], rank_ref = max(bank_act[b], clk + RP), max(rank_ref, clk + RP)
                source = 0
            if source == 2:
                held[kind] -= 1
                queue[kind, chosen : held[kind]] = queue[kind, chosen + 1 : held[kind] + 1]
        if taken == count and held[0] + held[1] + actives == 0:
            return outcome


def stream_of(case: Case, device: Device) -> Stream:
    geometry = Geometry(device.burst_bytes, device.row_bytes, device.banks, device.capacity_bytes)
    return build_pattern(case.pattern, geometry, Options())


def best_cpu_s(action: Callable[[], object], times: int) -> float:
    """Least CPU seconds of several tries: what others on the machine add is not part of it."""
    seconds = []
    for _ in range(times):
        begin = time.process_time()
        action()
        seconds.append(time.process_time() - begin)
    return min(seconds)


def measure(case: Case, count: int, times: int) -> Measured:
    device = load_device(case.device)
    mapping, stream = address_mapping(case.mapping, device), stream_of(case, device)
    controller = Controller(read_queue=case.queues[0], write_queue=case.queues[1], tries_per_tick=case.tries)
    _, asked = decode(device, mapping, *stream.addresses(0, count))
    run_channel(device, controller, asked[:1000], log=False)
    kernel_s = best_cpu_s(lambda: run_channel(device, controller, asked, log=False), times)
    run_s = best_cpu_s(
        lambda: run(device, stream, controller, mapping=mapping, count=count, workers=1, skip=False), times
    )
    baseline_s = None
    if case.baseline:
        few = asked[: count // BASELINE_SHARE]
        check(device, controller, few)
        timing = tuple(device.timing[name] for name in TIMING)
        arrays = (few.bank, few.row, few.column, few.write)
        baseline_s = best_cpu_s(lambda: tick_by_tick(*arrays, timing, *case.queues, case.tries), times)
    baseline_per_s = None if baseline_s is None else count // BASELINE_SHARE / baseline_s
    return Measured(case, count, count / kernel_s, count / run_s, baseline_per_s)


def check(device: Device, controller: Controller, asked: Requests) -> None:
    """Both controllers must count the same; also compiles the baseline."""
    timing = tuple(device.timing[name] for name in TIMING)
    arrays = (asked.bank, asked.row, asked.column, asked.write)
    sizes = (controller.read_queue, controller.write_queue, controller.tries_per_tick)
    theirs = tick_by_tick(*arrays, timing, *sizes).tolist()
    ours, _ = run_channel(device, controller, asked, log=False)
    counted = [ours.accepted_ticks, ours.drained_ticks, ours.read_latency_ticks, ours.hits, ours.misses, ours.conflicts]
    if theirs != counted:
        raise SystemExit(f"the baseline counts {theirs}, the controller {counted}")


def scaling(count: int, times: int) -> list[Scaling]:
    """Random bursts over 32 channels of HBM3, by workers; the best of several on the clock."""
    device = load_device("HBM3-6400")
    mapping = address_mapping("MOP4CLXOR", device, 32)
    geometry = Geometry(device.burst_bytes, device.row_bytes, 32 * device.banks, 32 * device.capacity_bytes)
    stream = build_pattern("random", geometry, Options())
    found = []
    for workers in (1, 2):
        run(device, stream, mapping=mapping, channels=32, count=10_000, workers=workers)
        tries = []
        for _ in range(times):
            wall, cpu = time.perf_counter(), time.process_time()
            run(device, stream, mapping=mapping, channels=32, count=count, workers=workers)
            tries.append((time.perf_counter() - wall, time.process_time() - cpu))
        found.append(Scaling(workers, *min(tries)))
    return found


def terabyte() -> tuple[int, int, float]:
    """All of 32 channels of 32 GiB once, in order: requests, requests not run, CPU seconds."""
    device = load_device("DDR4-3200-16Gb-x4")
    mapping = address_mapping("MOP4CLXOR", device, 32)
    total = 32 * device.capacity_bytes
    stream = build_pattern("sequential", Geometry(device.burst_bytes, device.row_bytes, 512, total), Options())
    count = total // device.burst_bytes
    begin = time.process_time()
    found = run(device, stream, mapping=mapping, channels=32, count=count, workers=1)
    return count, found.skipped_requests, time.process_time() - begin


REPORT = """# Speed of the DRAM controller

Requests per second, in thousands, on one core: of the kernel on requests that are already cut into bank, row and
column; of a whole run, which makes the addresses and cuts them; and of a controller with the same rules for DDR4 that
steps through every tick, and in each through its queue until it finds a request that can go, compiled the same way. It
agrees with the kernel on every count. CPU seconds, best of {times}, compiling excluded; {count:,} requests each, none
of them skipped, of which tick by tick the first fifth. Python {python} on two shared cores, which make single figures
vary by some ten per cent. Regenerate with `uv run python benchmarks/dram.py --report reports/performance.md`.

{table}
Closed loop on DDR4, Ramulator 2.1 (CMU-SAFARI/ramulator2 c5b1c3a) took 23 to 576 thousand requests per second and
DRAMsim3 (umd-memsys/DRAMsim3 2981759) 25 to 414 thousand on a machine of the same kind: other code, so for orientation
only.

**Many channels.** {many:,} random bursts over 32 channels of HBM3-6400, on the clock, best of {times}:
{scaling}.

**A terabyte.** One pass over 32 channels of 32 GiB (DDR4-3200-16Gb-x4), {requests:,} requests in order:
{terabyte_s:.2f} CPU seconds. The stream returns to the same state but for the row, so {skipped:.2%} of it is known
without being run; the result is that of the whole run.
"""
COLUMNS = ("case", "device", "kernel", "whole run", "tick by tick", "ratio", "target")


def cells(found: Measured) -> tuple[str, ...]:
    case = found.case
    baseline = "-" if found.baseline_per_s is None else f"{found.baseline_per_s / 1e3:,.0f}"
    ratio = "-" if found.ratio is None else f"{found.ratio:.1f}x"
    target = "-" if case.target_per_s is None else f"{case.target_per_s / 1e3:,.0f}"
    rates = (f"{found.kernel_per_s / 1e3:,.0f}", f"{found.run_per_s / 1e3:,.0f}")
    return (case.label, case.device, *rates, baseline, ratio, target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer requests, one try")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--report", type=Path, help="put the report's part into this Markdown file")
    options = parser.parse_args()
    count, times, many = (50_000, 1, 200_000) if options.quick else (500_000, 3, 2_000_000)
    found = []
    print("".join(name.ljust(30) if place == 0 else name.rjust(14) for place, name in enumerate(COLUMNS)))
    for case in CASES:
        found.append(measure(case, count, times))
        row = cells(found[-1])
        print("".join(cell.ljust(30) if place == 0 else cell.rjust(14) for place, cell in enumerate(row)), flush=True)
    scaled, (requests, skipped, terabyte_s) = scaling(many, times), terabyte()
    for one in scaled:
        print(
            f"{many:,} random bursts on 32 channels, {one.workers} workers: {one.wall_s:.2f} s, CPU {one.cpu_s:.2f} s"
        )
    print(f"{requests:,} requests in order, {skipped:,} known from repetition: {terabyte_s:.2f} CPU s")
    if options.json is not None:
        document = {
            "cases": [asdict(one) for one in found],
            "channels": [asdict(one) for one in scaled],
            "terabyte": {"requests": requests, "skipped": skipped, "cpu_s": terabyte_s},
        }
        options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    if options.report is not None:
        marks = ["---", "---", *["--:"] * (len(COLUMNS) - 2)]
        lines = [f"| {' | '.join(row)} |" for row in (COLUMNS, marks, *map(cells, found))]
        by_workers = " and ".join(
            f"{one.wall_s:.2f} s with {one.workers} worker{'s' * (one.workers > 1)} ({one.cpu_s:.2f} CPU s)"
            for one in scaled
        )
        part = REPORT.format(
            times=times, count=count, python=platform.python_version(), table="\n".join(lines) + "\n", many=many,
            scaling=by_workers, requests=requests, terabyte_s=terabyte_s, skipped=skipped / requests,
        )  # fmt: skip
        before = options.report.read_text(encoding="utf-8") if options.report.exists() else ""
        options.report.write_text(with_part(before, part), encoding="utf-8")


if __name__ == "__main__":
    main()
