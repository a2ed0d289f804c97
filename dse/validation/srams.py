"""Our SRAM model beside runs of CACTI 7.

Columns of the file: ``capacity_bytes, word_bits, node_nm, banks, ports, read_pj, write_pj, access_ns, leakage_uw,
area_mm2``; others are ignored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dse.validation.compared import Compared, error_text, markdown_table, median_error, worst_error
from dse.validation.csv_rows import CsvRow, read_csv
from dse.validation.validation import Report, Validation
from hw.cost.sram import SramCost, sram
from workloads.errors import InputError

__all__ = ["SRAM_COLUMNS", "SramRun", "read_sram_runs", "sram_report", "validate_srams"]

_SHAPE = ("capacity_bytes", "word_bits", "node_nm", "banks", "ports")
_RESULTS = ("read_pj", "write_pj", "access_ns", "area_mm2", "leakage_uw")
SRAM_COLUMNS = (*_SHAPE, *_RESULTS)
_NAMES = ("read energy", "write energy", "access time", "area", "leakage")
_UNITS = ("pJ", "pJ", "ns", "mm2", "uW")

_HEAD = """# Accuracy of SRAM

Our model of mats, wires and decoders (`hw/cost/sram.py`) beside {runs} runs of CACTI 7, as rebuilt from
hwcomponents-cacti 1.0.40 with its own settings (LSTP cells and periphery, 300 K, the organisation of least energy x
delay squared). Inputs are capacity, word, banks, ports and node; device and wire parameters are the published ones of
each node, and no constant is fitted to these runs. CACTI is a model too, not silicon. Errors are ours / theirs - 1;
medians are of absolute errors.
"""

_MISSES = """Leakage is the roughest: the reference counts less of the row drivers' width. The causes of the other large
errors are not known one by one.
"""


@dataclass(frozen=True)
class SramRun:
    """One run: the memory, and every result beside ours."""

    line: int
    capacity_bytes: int
    word_bits: int
    node_nm: int
    banks: int
    ports: int
    compared: tuple[Compared, ...]

    @property
    def case(self) -> str:
        """The memory in words."""
        more = "".join(f", {n} {what}s" for n, what in ((self.banks, "bank"), (self.ports, "port")) if n > 1)
        return f"{self.capacity_bytes // 1024} KiB, {self.word_bits} bit, {self.node_nm} nm{more}"


def read_sram_runs(path: Path) -> list[SramRun]:
    """All rows of the file beside our model. Raises `InputError` with file, line and column for a wrong cell."""
    return [_run(row) for row in read_csv(path, SRAM_COLUMNS, "SRAM runs")]


def _run(row: CsvRow) -> SramRun:
    capacity, word, node, banks, ports = (row.whole(name, 1) for name in _SHAPE)
    theirs = [row.number(name, above=True) for name in _RESULTS]
    try:
        ours = _values(sram(capacity, word_bits=word, banks=banks, ports=ports, node_nm=node))
    except InputError as error:
        error.file, error.line = row.file, row.line
        raise
    pairs = zip(_NAMES, _UNITS, theirs, ours, strict=True)
    return SramRun(row.line, capacity, word, node, banks, ports, tuple(Compared(*pair) for pair in pairs))


def _values(cost: SramCost) -> tuple[float, ...]:
    energies = (cost.read_energy_j * 1e12, cost.write_energy_j * 1e12)
    return (*energies, cost.access_s * 1e9, cost.area_mm2, cost.leakage_w * 1e6)


def _group(runs: Sequence[SramRun]) -> list[tuple[str, list[SramRun]]]:
    """All runs, those of each node, and those that are more than one bank with one port."""
    nodes = sorted({run.node_nm for run in runs}, reverse=True)
    groups = [("all", list(runs)), *((f"{node} nm", [run for run in runs if run.node_nm == node]) for node in nodes)]
    groups.append(("several banks", [run for run in runs if run.banks > 1]))
    groups.append(("several ports", [run for run in runs if run.ports > 1]))
    return [(name, members) for name, members in groups if members]


def sram_report(runs: Sequence[SramRun]) -> str:
    """The part of the accuracy report: medians by node, and the worst run of each quantity."""
    cells = []
    for name, members in _group(runs):
        line = [name, str(len(members))]
        for at in range(len(_NAMES)):
            pairs = [run.compared[at] for run in members]
            line.append(f"{median_error(pairs):.1%}, {error_text(worst_error(pairs), 0)}")
        cells.append(line)
    heading = ("runs of", "runs", *(f"{name}: median, worst" for name in _NAMES))
    worst = []
    for at, name in enumerate(_NAMES):
        run = max(runs, key=lambda one: abs(one.compared[at].error or 0))
        pair = run.compared[at]
        numbers = (f"{value:.4g} {pair.unit}" for value in (pair.reference, pair.predicted))
        worst.append((name, run.case, *numbers, error_text(pair.error)))
    return "\n".join(
        (
            _HEAD.format(runs=len(runs)),
            markdown_table(heading, "lr" + "r" * len(_NAMES), cells),
            markdown_table(("worst", "memory", "theirs", "ours", "error"), "llrrr", worst),
            _MISSES,
        )
    )


def validate_srams(path: Path) -> Validation:
    """All rows of a file of SRAM runs. Raises `InputError` as `read_sram_runs` does."""
    runs = read_sram_runs(path)
    medians = {
        name: [median_error([run.compared[at] for run in members]) or 0.0 for at in range(len(_NAMES))]
        for name, members in _group(runs)
    }
    document = {
        "rows": [
            {"line": run.line, "memory": run.case, "compared": [one.document() for one in run.compared]} for run in runs
        ],
        "median_absolute_errors": {name: dict(zip(_NAMES, found, strict=True)) for name, found in medians.items()},
    }
    shown: list[dict[str, Any]] = [
        {"runs of": name, **dict(zip(_NAMES, (f"{value:.1%}" for value in found), strict=True))}
        for name, found in medians.items()
    ]
    return Validation(shown, ["medians of absolute errors"], document, lambda: Report((sram_report(runs),)))
