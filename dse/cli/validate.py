"""``tiercade validate``: our predictions beside a file of measurements."""

from __future__ import annotations

from pathlib import Path

from dse.cli.output import print_document, write_text
from dse.validation.decode_table import decode_rows
from dse.validation.measurements import read_measurements
from dse.validation.report import accuracy_report
from dse.validation.summary import compare, groups, to_document

__all__ = ["run_validate"]


def run_validate(path: Path, *, report: Path | None, as_json: bool) -> None:
    """Predict every row of ``path``, print the errors by group, and write the Markdown report if asked."""
    rows = read_measurements(path)
    compared, skipped = compare(rows)
    if report is not None:
        write_text(report, accuracy_report(compared, skipped, decode_rows(rows)))
    if as_json:
        print_document(to_document(compared, skipped))
        return
    from dse.reports.table import print_rows

    print_rows(
        [
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
        ]
    )
    for why, count in skipped.most_common():
        print(f"{count} rows not predicted: {why}")  # noqa: T201
