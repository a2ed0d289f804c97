"""Kinds of files that can be validated, told apart by the columns their first line names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dse.validation.csv_rows import header_of
from workloads.errors import InputError

if TYPE_CHECKING:
    from dse.validation.validation import Validation

__all__ = ["GPU_KIND", "KINDS", "Kind", "kind_of", "regeneration"]


def _gpus(path: Path) -> Validation:
    from dse.validation.report import validate_gpus

    return validate_gpus(path)


def _dram(path: Path) -> Validation:
    from dse.validation.dram_report import validate_dram

    return validate_dram(path)


def _drives(path: Path) -> Validation:
    from dse.validation.drives import validate_drives

    return validate_drives(path)


def _srams(path: Path) -> Validation:
    from dse.validation.srams import validate_srams

    return validate_srams(path)


def _published(path: Path) -> Validation:
    from dse.validation.published import validate_published

    return validate_published(path)


def _expert_caches(path: Path) -> Validation:
    from dse.validation.expert_caches import validate_expert_caches

    return validate_expert_caches(path)


@dataclass(frozen=True)
class Kind:
    """``files``: those the report is made of; one in capitals is not part of the project."""

    name: str
    columns: frozenset[str]
    files: tuple[str, ...]
    validate: Callable[[Path], Validation]


GPU_KIND = "measured latencies of GPUs"
"""The kind whose kernels can be predicted at several fidelities."""

KINDS = (
    Kind(GPU_KIND, frozenset({"gpu", "op"}), ("GPU_MEASUREMENTS.csv",), _gpus),
    Kind("DRAM runs", frozenset({"simulator", "preset", "pattern"}), ("DRAM_REFERENCE.csv",), _dram),
    Kind("drive runs", frozenset({"simulator", "device", "workload"}), ("SSD_REFERENCE.csv",), _drives),
    Kind("SRAM runs", frozenset({"capacity_bytes", "word_bits"}), ("tests/hw/cost/cacti7_runs.csv",), _srams),
    Kind(
        "hit rates of expert caches",
        frozenset({"model", "curve", "rho2"}),
        ("MOE_CACHE_HIT_RATES.csv",),
        _expert_caches,
    ),
    Kind(
        "published figures",
        frozenset({"subject", "key", "published"}),
        (
            "tests/golden/pim_cycles.csv",
            "tests/golden/chunk_rates.csv",
            "tests/golden/array_figures.csv",
            "tests/golden/plan_figures.csv",
        ),
        _published,
    ),
)
"""All kinds, in the order of the report."""


def kind_of(path: Path) -> Kind:
    """The kind whose columns the file names. Raises `InputError` for a file that names none, or cannot be read."""
    header = header_of(path)
    found = next((kind for kind in KINDS if kind.columns <= header), None)
    if found is None:
        named = "; ".join(f"{', '.join(sorted(kind.columns))} ({kind.name})" for kind in KINDS)
        raise InputError("its columns are of no kind known here", f"among them {named}", file=str(path), line=1)
    return found


def regeneration() -> str:
    """The commands that make the whole accuracy report, a line each."""
    files = (file for kind in KINDS for file in kind.files)
    return "\n".join(f"tiercade validate {file} --report reports/accuracy.md" for file in files)
