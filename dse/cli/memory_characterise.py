"""``tiercade memory characterise``: the curves of a device, as tables, one document, one sheet or a run folder."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import typer

from dse.cli.memory_kinds import Kind, is_file
from dse.cli.output import check_figure, print_document, write_figure
from dse.reports.characteristics.sheet import Axis, Chart, Progress, Sheet, document
from workloads.documents import read_document
from workloads.errors import InputError

__all__ = ["CharacteriseOptions", "run_characterise", "sheet_of"]

_FORMATS = (".png", ".svg")
_FLAGS = {"node_nm": "--node", "word_bits": "--word-bits", "banks": "--banks", "ports": "--ports"}
_FLAGS |= {"mapping": "--mapping", "ranks": "--ranks", "capacity_bytes": "--banks"}


@dataclass(frozen=True)
class CharacteriseOptions:
    """What was typed, and the kind of device it names."""

    device: str
    kind: Kind
    mapping: str
    ranks: int | None
    node_nm: float
    word_bits: int
    banks: int
    ports: int


def run_characterise(options: CharacteriseOptions, *, out: Path | None, figure: Path | None, as_json: bool) -> None:
    """Draw the curves; print them and write what was asked for. Raises `InputError` that names the option."""
    if figure is not None:
        check_figure(figure)
    with _progress() as progress:
        try:
            sheet = sheet_of(options, progress)
        except InputError as error:
            if error.file is not None:
                raise
            raise replace(error, field=_FLAGS.get(error.field or "", error.field or "--device")) from None
        if figure is not None or out is not None:
            progress("the figure")
        written = [] if figure is None else [_write_figure(sheet, figure)]
        if out is not None:
            written.append(str(_write_folder(sheet, options.device, out)))
    if as_json:
        print_document({**document(sheet), "written": written})
        return
    _print(sheet)
    for path in written:
        typer.echo(f"written: {path}")


def sheet_of(options: CharacteriseOptions, progress: Progress) -> Sheet:
    """The charts of the device. Raises `InputError` as loading it does."""
    kind, name = options.kind, options.device
    if kind == "drive":
        from dse.reports.characteristics.drive import drive_sheet
        from simulator.memory.flash.drives import load_drive

        return drive_sheet(load_drive(name), progress)
    if kind == "pim":
        from dse.cli.memory_pim import find_pim
        from dse.reports.characteristics.pim import pim_sheet

        return pim_sheet(find_pim(name), progress)
    if kind == "link":
        from dse.reports.characteristics.link import link_sheet
        from simulator.interconnect.protocols import link_type

        return link_sheet(link_type(name), progress)
    if kind == "sram":
        from dse.reports.characteristics.sram import sram_sheet

        return sram_sheet(options.node_nm, options.word_bits, options.banks, options.ports, progress)
    if kind == "array":
        from dse.reports.characteristics.array import array_sheet
        from simulator.memory.arrays.devices import load_array

        return array_sheet(load_array(name), progress)
    from dse.cli.memory_device import choose_device
    from dse.reports.characteristics.dram import dram_sheet

    return dram_sheet(choose_device(name, options.ranks, "--device"), progress, mapping=options.mapping)


def _write_figure(sheet: Sheet, path: Path) -> str:
    from dse.reports.figures.curves import curves_figure

    write_figure(curves_figure(sheet), path)
    return str(path)


def _write_folder(sheet: Sheet, name: str, out: Path) -> Path:
    import json

    from dse.reports.figures.curves import curves_figure
    from dse.reports.figures.style import COLUMN_WIDTH_IN, png_bytes, svg_bytes
    from dse.reports.run_folder import publish

    page, column = curves_figure(sheet), curves_figure(sheet, width_in=COLUMN_WIDTH_IN)
    files = {
        "curves.json": (json.dumps(document(sheet), indent=2, allow_nan=False) + "\n").encode(),
        "curves.svg": svg_bytes(page),
        "curves.png": png_bytes(page),
        "curves-column.svg": svg_bytes(column),
        "curves-column.png": png_bytes(column),
    }
    inputs: dict[str, Any] = {"device": sheet.device, "kind": sheet.kind, "settings": dict(sheet.settings)}
    if is_file(name):
        inputs["file"] = read_document(name).value
    return publish(out, f"characterise-{sheet.device}", inputs, files)


@contextmanager
def _progress() -> Iterator[Progress]:
    """A line on standard error that says what is run, where that is a terminal; it is wiped at the end."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    widest = [0]

    def show(what: str) -> None:
        text = f"{what} ..."
        widest[0] = max(widest[0], len(text))
        print(f"\r{text:<{widest[0]}}", end="", file=sys.stderr, flush=True)  # noqa: T201

    try:
        yield show
    finally:
        print(f"\r{' ' * widest[0]}\r", end="", file=sys.stderr, flush=True)  # noqa: T201


def _print(sheet: Sheet) -> None:
    from dse.reports.table import print_rows

    typer.echo(sheet.headline)
    for chart in sheet.charts:
        typer.echo("")
        typer.echo(f"{chart.title}: {chart.y.label}")
        print_rows(_rows(chart))
        for limit in chart.limits:
            axis = chart.x if limit.along == "x" else chart.y
            typer.echo(f"{limit.name}: {_text(axis, limit.value)}")
    for note in sheet.notes:
        typer.echo("")
        typer.echo(note)


def _rows(chart: Chart) -> list[dict[str, Any]]:
    """One row for each x where curves share them, else one for each point."""
    places = [[x for x, _ in curve.points] for curve in chart.curves]
    if all(place == places[0] for place in places):
        tables = [dict(curve.points) for curve in chart.curves]
        return [
            {chart.x.label: _text(chart.x, x)}
            | {curve.name: _text(chart.y, table[x]) for curve, table in zip(chart.curves, tables, strict=True)}
            for x in places[0]
        ]
    return [
        {"curve": curve.name, chart.x.label: _text(chart.x, x), chart.y.label: _text(chart.y, y)}
        for curve in chart.curves
        for x, y in curve.points
    ]


def _text(axis: Axis, value: float) -> str:
    from dse.reports.units_text import engineering, number_text, percent_text

    if axis.unit == "B" and axis.scale == "log2":
        power = min((int(value).bit_length() - 1) // 10, 4)
        return f"{value / 1024**power:g} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"
    if axis.name in ("share", "write_share", "over_provisioning", "efficiency", "fraction_of_bound"):
        return percent_text(value)
    if axis.unit == "mm²":
        return f"{number_text(value)} mm²"
    if not axis.unit:
        return f"{value:,.0f}" if value == int(value) else number_text(value)
    return engineering(value, axis.unit)
