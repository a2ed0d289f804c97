"""The accuracy report in Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from dse.validation.decode_table import DecodeRow
from dse.validation.summary import Comparison, groups

__all__ = ["accuracy_report"]

HEAD = """# Accuracy

Predictions at roofline fidelity (datasheet peaks and a fixed overhead per call) beside measured latencies. Collectives
take the times of their library (`simulator/interconnect/libraries.py`), fitted to every second of their rows here;
nothing else is fitted. A roofline is a lower bound: a negative bias is how far real kernels stay away from it. Error is
predicted / measured - 1.

Regenerate with `tiercade validate MEASUREMENTS.csv --report reports/accuracy.md`.
"""


def accuracy_report(compared: list[Comparison], skipped: Counter[str], decode: Sequence[DecodeRow]) -> str:
    """All groups, the decode table and what was not predicted."""
    lines = [HEAD, "## By operation, phase and GPU\n"]
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


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1e3:.2f}"
