"""``tiercade validate``: our predictions beside a file of measurements."""

from __future__ import annotations

from pathlib import Path

from dse.cli.output import print_document, write_text
from dse.reports.sections import with_part
from dse.validation.decode_table import decode_rows
from dse.validation.dram_rows import is_dram_file, read_dram_rows
from dse.validation.measurements import read_measurements
from dse.validation.report import accuracy_report
from dse.validation.summary import compare, groups, to_document
from workloads.errors import InputError

__all__ = ["run_validate"]


def run_validate(path: Path, *, report: Path | None, as_json: bool) -> None:
    """Predict every row of ``path``, print the errors by group, and write our part of the report if asked.

    Columns tell measured latencies from runs of DRAM simulators; each has its part of the report and keeps the other.
    """
    if is_dram_file(path):
        _run_validate_dram(path, report=report, as_json=as_json)
        return
    rows = read_measurements(path)
    compared, skipped = compare(rows)
    if report is not None:
        _write_part(report, accuracy_report(compared, skipped, decode_rows(rows)))
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


def _run_validate_dram(path: Path, *, report: Path | None, as_json: bool) -> None:
    from dse.validation.dram import compare_dram, dram_document

    compared, skipped = compare_dram(read_dram_rows(path))
    if report is not None:
        from dse.reports.figures.style import png_bytes
        from dse.validation.dram_curves import curves, granule_figure, stream_figure
        from dse.validation.dram_report import dram_report

        found = curves()
        _write_part(report, dram_report(compared, skipped, found))
        figures = report.parent / "figures"
        figures.mkdir(exist_ok=True)
        for name, figure in (("granularity", granule_figure(found)), ("streams", stream_figure(found))):
            (figures / f"dram-{name}.png").write_bytes(png_bytes(figure))
    if as_json:
        print_document(dram_document(compared, skipped))
        return
    from dse.reports.table import print_rows

    print_rows(
        [
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
        ]
    )
    same = [one for one in compared if one.same_rules]
    exact = sum(one.cycles == one.row.cycles for one in same)
    print(f"{exact} of {len(same)} runs of simulators with our rules take exactly as many cycles")  # noqa: T201
    for why, count in skipped.most_common():
        print(f"{count} rows not repeated: {why}")  # noqa: T201


def _write_part(report: Path, part: str) -> None:
    """Put ``part`` where it belongs in ``report``, beside what other files of measurements left there."""
    try:
        before = report.read_text(encoding="utf-8") if report.is_file() else ""
    except (OSError, UnicodeDecodeError):
        raise InputError("is not UTF-8 text", expected="a report in Markdown, or no file", file=str(report)) from None
    write_text(report, with_part(before, part))
