"""``tiercade calibrate``: the constants of a machine's kernels from its measurements."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dse.cli.output import print_document, write_text
from hw.spec.load import load_system
from workloads.errors import InputError

__all__ = ["run_calibrate"]


def run_calibrate(
    measurements: Path | None, *, system: str, software: str | None, out: Path | None, as_json: bool
) -> None:
    """Fit every family of which there are rows, print the errors before and after, and write the constants if asked."""
    from dse.validation.calibrate_machine import calibrate_machine, constants_text
    from dse.validation.measurements import read_measurements

    machine = load_system(system)
    if measurements is None:
        from dse.validation.aiconfigurator import table_rows

        rows = table_rows(machine)
        said = "the tables of aiconfigurator-core"
    else:
        rows = read_measurements(measurements)
        said = str(measurements)
    found, passed_over = calibrate_machine(rows, machine, software, said)
    if not found:
        raise InputError("has no rows of kernels to fit", "gemm, attention, moe_ffn...", file=str(measurements or said))
    if out is not None:
        write_text(out, constants_text(entry.fitted.entry for entry in found))
    rows_out: list[dict[str, Any]] = [
        {
            "family": one.fitted.entry.family,
            "software": one.fitted.entry.software,
            "fitted": one.fitted.rows,
            "held out": one.fitted.held_out_rows,
            "before": one.before,
            "after": one.fitted.held_out_mape,
        }
        for one in found
    ]
    if as_json:
        print_document(
            {
                "system": machine.name,
                "families": [
                    {**row, "values": dict(one.fitted.entry.values), "source": one.fitted.entry.source}
                    for row, one in zip(rows_out, found, strict=True)
                ],
                "passed_over": dict(passed_over),
            }
        )
        return
    from dse.reports.table import print_rows

    print_rows([{**row, "before": f"{row['before']:.1%}", "after": f"{row['after']:.1%}"} for row in rows_out])
    print("before, after: mean absolute error on the held-out rows with the bundled and the new constants")  # noqa: T201
    for why, count in passed_over.items():
        print(f"{count} rows passed over: {why}")  # noqa: T201
