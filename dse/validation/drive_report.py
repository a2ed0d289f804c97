"""The part of the accuracy report about drives, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dse.validation.compared import Compared, error_text, markdown_table, median_error
from dse.validation.drive_rows import DriveRow

__all__ = ["drive_report"]

_HEAD = """# Accuracy of drives

Our drive that MQSim describes by default (`ssd-mqsim-default`: every time and size stated by its configuration file
and source, none fitted), beside runs of MQSim 7ec40e3. Rows of altered devices change that drive as the row says. Both
are simulators: agreement says that the same mechanisms are written down twice, not that a drive behaves so. A row's
requests, queue, working set and cache are asked as it has them. A drive that was not preconditioned starts empty; a
preconditioned one is filled in order and then written at random until every physical page was programmed once, while
MQSim deals the valid pages out by a closed form. A run lasts as long as the reference's requests kept the queue full,
where the reference's own rate and latency disagree. Errors are ours / theirs - 1.
"""

_MISS = 0.05
_SHOWN = ("IOPS", "bandwidth", "mean latency")

_CAUSES = {
    "seqwrite128k_qd16": "both keep the chips busy and send as many commands; what differs is how many of them are on "
    "two planes, and with it the bandwidth. Why ours finds more pairs has not been isolated.",
    "gc8k_off_precond_b256": "the reference wrote less than one block of each plane (233 pages of 256), so it measured "
    "the state it started from, and ours does not start from that state. What a collection moves is near; how long "
    "requests wait behind collections is not.",
}
"""What is known of the cause, by row."""


def drive_report(
    compared: Sequence[tuple[DriveRow, Mapping[str, Compared]]], left: Sequence[tuple[DriveRow, str]]
) -> str:
    """The part, from its heading to its last line: rates, what the flash did, misses, rows left out."""
    parts = [_HEAD]
    if compared:
        summary = ", ".join(
            f"{name} {error:.1%}"
            for name in _SHOWN
            if (error := median_error(pairs[name] for _, pairs in compared)) is not None
        )
        parts += [f"Median absolute errors of {len(compared)} rows: {summary}.\n", _rates(compared), _flash(compared)]
        missed = [(row, pairs) for row, pairs in compared if _missed(pairs)]
        if missed:
            parts.append(f"Misses, rows with a rate or latency more than {_MISS:.0%} off:\n")
            parts.append("\n".join(f"- `{row.name}`: {_CAUSES.get(row.name, _UNKNOWN)}" for row, _ in missed) + "\n")
    if left:
        parts.append("Rows that are not compared:\n")
        parts.append(markdown_table(("row", "why"), "ll", [(f"`{row.name}`", why) for row, why in left]))
    return "\n".join(parts)


_UNKNOWN = "the cause is not known."


def _missed(pairs: Mapping[str, Compared]) -> bool:
    return any(abs(pairs[name].error or 0) > _MISS for name in _SHOWN)


def _rates(compared: Sequence[tuple[DriveRow, Mapping[str, Compared]]]) -> str:
    heading = ["row", "requests", "outstanding"]
    for name, unit in (("IOPS", ""), ("MB/s", ""), ("mean", " us")):
        heading += [f"theirs {name}{unit}", "ours", "error"]
    cells = []
    for row, pairs in compared:
        line = [f"`{row.name}`", f"{row.pattern} {row.size_bytes // 1024} KiB", str(row.queue_depth)]
        for name, digits in zip(_SHOWN, (0, 1, 0), strict=True):
            one = pairs[name]
            line += [f"{one.reference:,.{digits}f}", f"{one.predicted:,.{digits}f}", error_text(one.error)]
        cells.append(line)
    return markdown_table(heading, "llr" + "rrr" * len(_SHOWN), cells)


def _flash(compared: Sequence[tuple[DriveRow, Mapping[str, Compared]]]) -> str:
    heading = (
        "row", "flash commands", "of them on two planes: theirs", "ours", "mapping reads", "collections: theirs",
        "ours", "pages moved by each: theirs", "ours",
    )  # fmt: skip
    cells = []
    for row, pairs in compared:
        shares = pairs["share of commands on two planes"]
        line = [f"`{row.name}`", error_text(pairs["flash commands"].error), f"{shares.reference:.1%}"]
        line += [f"{shares.predicted:.1%}", error_text(pairs["mapping reads"].error)]
        for name, form in (("collections", ",.0f"), ("pages moved per collection", ".1f")):
            one = pairs.get(name)
            line += ["-", "-"] if one is None else [format(one.reference, form), format(one.predicted, form)]
        cells.append(line)
    return markdown_table(heading, "lrrrrrrrr", cells)
