"""Measured latencies of GPUs: their part of the accuracy report in Markdown, and what is printed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from dse.validation.collectives import all_reduce_figure, collective_document, collective_report
from dse.validation.decode_table import DecodeRow, decode_rows
from dse.validation.kinds import regeneration
from dse.validation.measurements import read_measurements
from dse.validation.summary import Comparison, compare, groups, to_document
from dse.validation.validation import Report, Validation

__all__ = ["accuracy_report", "validate_gpus"]

HEAD = """# Accuracy

Predictions at roofline fidelity (datasheet peaks and a fixed overhead per call) beside measured latencies. Collectives
take the times of their library (`simulator/interconnect/libraries.py`), fitted to every second of their rows here;
nothing else is fitted. A roofline is a lower bound: a negative bias is how far real kernels stay away from it. Error is
predicted / measured - 1.

This file is made part by part, and a part replaces only itself. All of it, in this order:

```
{commands}
```

Names in capitals are files of measurements and of other simulators' runs that are not part of the project; the others
lie in it.
"""


def accuracy_report(compared: list[Comparison], skipped: Counter[str], decode: Sequence[DecodeRow]) -> str:
    """All groups, the decode table and what was not predicted."""
    lines = [HEAD.format(commands=regeneration()), "## By operation, phase and GPU\n"]
    lines += [
        "| op | phase | GPU | rows | MAPE | bias | median | p90 | worst |",
        "|---|---|---|--:|--:|--:|--:|--:|---|",
    ]
    for group in groups(compared):
        worst = f"{group.worst.error:+.0%} ({group.worst.row.case})"
        lines.append(
            f"| {group.op} | {group.phase or '-'} | {group.gpu} | {group.rows} | {group.mape:.1%} | {group.bias:+.1%} "
            f"| {group.median:.1%} | {group.p90:.1%} | {worst} |"
        )
    lines += ["\n## Decode steps on H100 SXM, 16 bit\n"]
    lines += [
        "| model | GPUs | batch | context | bound ms | simulated ms | measured ms | error | measured with |",
        "|---|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    for row in decode:
        bound, simulated = (_ms(value) for value in (row.bound_s, row.latency_s))
        measured = _ms(row.measured.latency_s) if row.measured else "none"
        error = f"{row.error:+.0%}" if row.error is not None else "-"
        engine = row.measured.framework if row.measured else "-"
        lines.append(
            f"| {row.model} | {row.devices} | {row.batch} | {row.context} | {bound} | {simulated} | {measured} "
            f"| {error} | {engine} |"
        )
    lines += ["\nA step without a time does not fit the GPUs' memory.", "\n## Not predicted\n"]
    lines += ["| rows | why |", "|--:|---|"]
    lines += [f"| {count} | {why} |" for why, count in skipped.most_common()]
    return "\n".join(lines) + "\n"


def validate_gpus(path: Path) -> Validation:
    """All rows of a file of measured latencies. Raises `InputError` as `read_measurements` does."""
    rows = read_measurements(path)
    compared, skipped = compare(rows)

    def report() -> Report:
        parts = (accuracy_report(compared, skipped, decode_rows(rows)), collective_report(compared))
        return Report(parts, {"collectives.png": all_reduce_figure(compared)})

    return Validation(
        rows=[
            {
                "op": group.op,
                "phase": group.phase or "-",
                "gpu": group.gpu,
                "rows": group.rows,
                "mape": f"{group.mape:.1%}",
                "bias": f"{group.bias:+.1%}",
                "p90": f"{group.p90:.1%}",
            }
            for group in groups(compared)
        ],
        notes=[f"{count} rows not predicted: {why}" for why, count in skipped.most_common()],
        document={**to_document(compared, skipped), "collectives": collective_document(compared)},
        report=report,
    )


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1e3:.2f}"
