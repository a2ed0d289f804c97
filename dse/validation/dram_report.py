"""Runs of DRAM simulators: their part of the accuracy report in Markdown, and what is printed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from dse.validation.compared import markdown_table
from dse.validation.dram import DramComparison, compare_dram, dram_document
from dse.validation.dram_curves import GRANULES, MAPPING, STREAMS, Curve, curves, granule_figure, stream_figure
from dse.validation.dram_rows import read_dram_rows
from dse.validation.validation import Report, Validation

__all__ = ["dram_report", "validate_dram"]

_HEAD = """# Accuracy of the DRAM controller

Runs of two published simulators, repeated. Errors are ours / theirs - 1. A simulator is no silicon: that two agree says
that the same rules are written down twice. Regenerate with
`tiercade validate DRAM_REFERENCE.csv --report reports/accuracy.md`.
"""

_RAMULATOR = """## Ramulator 2.1: the same rules

One channel; open pages; its queues, scheduler, refresh and mapping as each row has them. Its clock stops when the last
request is accepted, so that is the cycle compared; the requests that then still wait (at most the two queues and the
active list) are in our latency and hit rate only. No other difference is meant, and none is known.

{summary}
"""

_DRAMSIM3 = """## DRAMsim3: other rules

Devices with its structure and timings (`dse/validation/dramsim3/`; the matched DDR4 machines are our DDR4-3200), its
mapping, and our controller: row-hit scheduler, one shared queue of 32 reads and one of 32 writes. These rows inform;
nothing passes or fails. DRAMsim3 has lists of 32 reads and 32 writes that feed queues of 8 per bank, served round
robin, moves one transaction per tick, gives a row up after 4 hits when others wait, starts to drain writes at a full
list, and calls a write done one tick after it was taken. **Deep** is our controller with one read queue as long as its
list and bank queues together: 32 + 8 per bank. Cycles are those until the last byte has moved.

{summary}

What differs, and why:

- *Latency* in a full closed loop is queue length over throughput: where the cycles agree, theirs lies between ours with
  32 and ours deep in all rows but two. One request per 400 cycles leaves no queue, and there both agree.
- *Sequential, columns in the low address bits* (`robabgracoch`, the stock file): a stream stays in one bank group until
  a window reaches into the next row; theirs reaches further than 32 requests and less far than the deep window.
- *Streams whose bases share a bank* (`streams16_alias`, and `streams16_skew` and `kv16_256B` where the mapping undoes
  the skew): a shared window holds the next bursts of a row that is open, a queue of 8 those of 8 streams only. The hit
  rate differs first, then everything that follows from it.
- *Random rows* (`rand`, `stride_bank`): it serves the banks in turn, we the oldest request that can go.
- *Two ranks* (the stock DDR4 file, LPDDR4): it refreshes ranks in turn, we all at once, so it can work in one while the
  other refreshes. That does not explain `stride_bank` on the stock file, where it is a fifth slower than we are.
- *Eight channels*: its front end is one stream that stops at a full channel; our channels take their own requests
  without waiting for one another.
- *Mixed reads and writes*: its writes are done when taken, and it turns the bus at other fill levels.

The causes are read from its source and from the deep runs; none was tested in isolation.
"""

_CURVES = """## Bandwidth against granularity

One channel of each device, mapping {mapping}, the controller's defaults (row-hit, queues of 32 and 32, open pages,
all-bank refresh, one request offered per tick), reads only, 6.4 MB per point. The mapping XORs
the bank group with the lowest column bits: four neighbouring bursts lie in four rows, and the next bursts of those rows
are among the four after. So granules of up to four bursts open a row per burst, and the first points are alike.

![Fraction of peak against the size of random granules](figures/dram-granularity.png)

{granules}
![Fraction of peak against the number of streams](figures/dram-streams.png)

Streams that take turns, one burst each, that begin 1/64 of the channel apart and, second number, a row further apart:

{streams}
"""


def dram_report(compared: Sequence[DramComparison], skipped: Counter[str], found: Sequence[Curve]) -> str:
    """The part of the report, from its heading to its last line; figures are named, not drawn."""
    same = [one for one in compared if one.same_rules]
    other = [one for one in compared if not one.same_rules]
    parts = [_HEAD]
    if same:
        parts += [_RAMULATOR.format(summary=_same_summary(same)), _same_table(same)]
    if other:
        parts += [_DRAMSIM3.format(summary=_other_summary(other)), _other_table(other)]
    if skipped:
        parts += [
            "## DRAM runs not repeated\n",
            markdown_table(("rows", "why"), "rl", [(str(n), why) for why, n in skipped.most_common()]),
        ]
    if found:
        parts.append(_CURVES.format(mapping=MAPPING, granules=_granule_table(found), streams=_stream_table(found)))
    return "\n".join(parts).rstrip() + "\n"


def _same_summary(rows: Sequence[DramComparison]) -> str:
    exact = sum(one.cycles == one.row.cycles for one in rows)
    latency, hits = [abs(one.latency_error) for one in rows], [abs(one.hit_difference) for one in rows]
    cycles = [abs(one.cycles_error) for one in rows]
    return (
        f"**{exact} of {len(rows)} runs take exactly as many cycles.** Absolute errors, median and maximum: cycles "
        f"{median(cycles):.3%} and {max(cycles):.3%}, mean read latency {median(latency):.3%} and {max(latency):.3%}, "
        f"hit rate {median(hits):.5f} and {max(hits):.5f}."
    )


def _same_table(rows: Sequence[DramComparison]) -> str:
    gathered: dict[tuple[str, str], list[DramComparison]] = {}
    for one in rows:
        gathered.setdefault((one.row.preset, one.row.pattern), []).append(one)
    cells = [
        (
            preset, pattern, str(len(group)), str(sum(one.cycles == one.row.cycles for one in group)),
            _worst([one.cycles_error for one in group], "+.3%"),
            _worst([one.latency_error for one in group], "+.3%"),
            _worst([one.hit_difference for one in group], "+.5f"),
        )
        for (preset, pattern), group in gathered.items()
    ]  # fmt: skip
    heading = ("preset", "pattern", "runs", "exact", "worst cycles", "worst latency", "worst hit rate")
    return markdown_table(heading, "llrrrrr", cells)


def _other_summary(rows: Sequence[DramComparison]) -> str:
    aliased = [one for one in rows if one.row.pattern in ("streams16_alias", "streams16_skew", "kv16_256B")]
    plain = [one for one in rows if one not in aliased]
    parts = []
    for name, group in (("Without the interleaved streams", plain), ("Interleaved streams", aliased)):
        cycles = [abs(one.cycles_error) for one in group]
        if cycles:
            parts.append(f"{name}, {len(group)} rows: cycles {median(cycles):.1%} median, {max(cycles):.1%} maximum.")
    matched = [abs(e) for one in plain if one.row.preset.startswith("ddr4") and (e := one.energy_error) is not None]
    if matched:
        parts.append(
            f"Energy on DDR4, whose currents are the same: {median(matched):.1%} median, {max(matched):.1%} maximum."
        )
    return "\n".join(parts)


def _other_table(rows: Sequence[DramComparison]) -> str:
    cells = []
    for one in rows:
        tick_s = one.run.device.tick_s
        rate = one.row.requests * one.run.device.burst_bytes / (one.row.cycles * tick_s)
        deep = one.deep_errors or (0.0, 0.0)
        cells.append(
            (
                one.row.preset, one.row.pattern, f"{rate / 1e9:.2f}", f"{one.run.bandwidth_bytes_per_s / 1e9:.2f}",
                f"{one.cycles_error:+.1%}", f"{deep[0]:+.1%}", f"{one.latency_error:+.0%}", f"{deep[1]:+.0%}",
                f"{one.hit_difference:+.3f}", "-" if one.energy_error is None else f"{one.energy_error:+.1%}",
            )
        )  # fmt: skip
    heading = (
        "machine", "pattern", "theirs GB/s", "ours GB/s", "cycles", "deep", "latency", "deep", "hit rate", "energy"
    )  # fmt: skip
    return markdown_table(heading, "llrrrrrrrr", cells)


def _granule_table(found: Sequence[Curve]) -> str:
    shown = [GRANULES.index(size) for size in (64, 256, 1024, 4096, 65536)]
    heading = ("device", *(f"{GRANULES[at]:,} B" for at in shown))
    return markdown_table(
        heading, "l" + "r" * len(shown), [(c.device, *(f"{c.granules[at]:.1%}" for at in shown)) for c in found]
    )


def _stream_table(found: Sequence[Curve]) -> str:
    rows = [(c.device, *(f"{a:.1%}, {s:.1%}" for a, s in zip(c.aligned, c.skewed, strict=True))) for c in found]
    return markdown_table(("device", *(str(count) for count in STREAMS)), "l" + "r" * len(STREAMS), rows)


def _worst(values: Sequence[float], form: str) -> str:
    worst = max(values, key=abs)
    return "0" if worst == 0 else format(worst, form)


def validate_dram(path: Path) -> Validation:
    """All rows of a file of DRAM runs. Raises `InputError` as `read_dram_rows` does."""
    compared, skipped = compare_dram(read_dram_rows(path))
    same = [one for one in compared if one.same_rules]
    exact = sum(one.cycles == one.row.cycles for one in same)

    def report() -> Report:
        found = curves()
        figures = {"dram-granularity.png": granule_figure(found), "dram-streams.png": stream_figure(found)}
        return Report((dram_report(compared, skipped, found),), figures)

    return Validation(
        rows=[
            {
                "simulator": one.row.simulator,
                "preset": one.row.preset,
                "mapping": one.row.mapping,
                "queue": one.row.read_queue,
                "refresh": one.row.refresh,
                "pattern": one.row.pattern,
                "cycles": f"{one.cycles_error:+.2%}",
                "latency": f"{one.latency_error:+.2%}",
                "hit rate": f"{one.hit_difference:+.4f}",
            }
            for one in compared
        ],
        notes=[
            f"{exact} of {len(same)} runs of simulators with our rules take exactly as many cycles",
            *(f"{count} rows not repeated: {why}" for why, count in skipped.most_common()),
        ],
        document=dram_document(compared, skipped),
        report=report,
    )
