"""Run folders: everything about one simulation or comparison in one folder, which appears whole or not at all.

The folder's name ends in a hash of the resolved inputs. Equal inputs give byte-identical files, except for
``manifest.json``, which alone knows when, and with which versions, the folder was written.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import re
import secrets
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dse.reports.names import slug
from hw.spec.system import System
from simulator.result import Result
from workloads.errors import InputError

__all__ = ["input_hash", "publish", "write_comparison", "write_run"]

MANIFEST = "manifest.json"
TOOL = "tiercade"


def write_run(
    parent: Path, result: Result, system: System, *, resolved_inputs: Mapping[str, Any], name: str | None = None
) -> Path:
    """Write one result below ``parent`` and return the run folder, ``NAME-8HEX`` by name and inputs.

    It holds inputs.json, summary.json, trace.json, report.txt, report.html, the figures as SVG and PNG (page width, and
    ``-column`` for a column of a paper) and manifest.json. An earlier run folder of that name is replaced. Raises
    `InputError` when something else stands there, or something was put into it that no run wrote.
    """
    name = name or f"{result.model}-{result.system}-{result.phase}"
    return _write(parent, [result], [system], resolved_inputs, name, result.to_json())


def write_comparison(
    parent: Path,
    results: Sequence[Result],
    systems: Sequence[System],
    *,
    resolved_inputs: Mapping[str, Any],
    name: str = "comparison",
) -> Path:
    """Write several results into one run folder, as `write_run` does: figures and reports show them side by side."""
    summary = {"results": [result.to_json() for result in results]}
    return _write(parent, results, systems, resolved_inputs, name, summary)


def input_hash(resolved_inputs: Mapping[str, Any]) -> str:
    """8 hexadecimal digits of the SHA-256 of the inputs as canonical JSON."""
    canonical = json.dumps(resolved_inputs, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:8]


def publish(parent: Path, name: str, inputs: Mapping[str, Any], files: Mapping[str, bytes]) -> Path:
    """Write ``files`` with the inputs and a manifest as the run folder of these inputs, and return the folder.

    Everything is written into a folder aside, which is renamed when it is complete.
    """
    target = _target(parent, name, inputs)
    contents = {**files, "inputs.json": _json(inputs)}
    sums = {path: hashlib.sha256(data).hexdigest() for path, data in sorted(contents.items())}
    contents[MANIFEST] = _json({**_versions(), "created": datetime.now(UTC).isoformat(), "files": sums})
    aside = parent / f".{target.name}.{secrets.token_hex(4)}.partial"
    try:
        aside.mkdir()
        for path, data in contents.items():
            (aside / path).write_bytes(data)
        _put_in_place(aside, target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return target


def _write(
    parent: Path,
    results: Sequence[Result],
    systems: Sequence[System],
    inputs: Mapping[str, Any],
    name: str,
    summary: Mapping[str, Any],
) -> Path:
    # Imported here, not above: drawing needs matplotlib, and naming a folder does not.
    from dse.reports.chrome_trace import chrome_trace, trace_text
    from dse.reports.compare import result_labels
    from dse.reports.figures import COLUMN_WIDTH_IN, all_figures, png_bytes, svg_bytes
    from dse.reports.html import Section, html_report
    from dse.reports.table import comparison_text, report_text

    _target(parent, name, inputs)  # fails before the work, not after it
    files = {"summary.json": _json(summary)}
    drawn = {}
    for figure_name, figure in all_figures(results, systems).items():
        drawn[figure_name] = svg_bytes(figure)
        files[f"{figure_name}.svg"] = drawn[figure_name]
        files[f"{figure_name}.png"] = png_bytes(figure)
    for figure_name, figure in all_figures(results, systems, width_in=COLUMN_WIDTH_IN).items():
        files[f"{figure_name}-column.svg"] = svg_bytes(figure)
        files[f"{figure_name}-column.png"] = png_bytes(figure)
    for result, label in zip(results, result_labels(results), strict=True):
        path = "trace.json" if len(results) == 1 else f"trace-{slug(label)}.json"
        trace = chrome_trace(result.execution, title=f"{result.model} on {result.system}")
        files[path] = trace_text(trace).encode()
    reports = [report_text(result) for result in results]
    reports += [comparison_text(results[0], other) for other in results[1:]]
    files["report.txt"] = "\n".join(reports).encode()
    files["report.html"] = html_report([Section(tuple(results), drawn)]).encode()
    return publish(parent, name, inputs, files)


def _target(parent: Path, name: str, inputs: Mapping[str, Any]) -> Path:
    """Where the run folder goes, once it is certain that nothing but a run folder of ours stands there."""
    if parent.exists() and not parent.is_dir():
        raise InputError("is a file", expected="a folder to put the run folder into", file=str(parent))
    parent.mkdir(parents=True, exist_ok=True)
    target = parent / f"{slug(name)}-{input_hash(inputs)}"
    if target.is_symlink() or target.exists():
        _require_ours(target)
    return target


def _require_ours(folder: Path) -> None:
    """Raise `InputError` unless ``folder`` is a run folder that holds nothing but what its manifest lists."""
    manifest: Any = None
    if folder.is_dir() and not folder.is_symlink():
        try:
            manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            manifest = None
    if not isinstance(manifest, dict) or manifest.get("tool") != TOOL or not isinstance(manifest.get("files"), dict):
        raise InputError("is in the way and no run folder", expected="a place for one", file=str(folder))
    foreign = sorted({path.name for path in folder.iterdir()} - {*manifest["files"], MANIFEST})
    if foreign:
        problem = f"holds {', '.join(foreign)}, which no run wrote"
        raise InputError(problem, expected="a run folder as it was written; move what you added", file=str(folder))


def _put_in_place(aside: Path, target: Path) -> None:
    """Rename the complete folder to its name; an earlier one steps aside first and is deleted last."""
    if not target.exists():
        aside.rename(target)
        return
    _require_ours(target)
    earlier = aside.with_suffix(".earlier")
    target.rename(earlier)
    try:
        aside.rename(target)
    except OSError:
        earlier.rename(target)
        raise
    shutil.rmtree(earlier)


def _versions() -> dict[str, Any]:
    """This tool's version, Python's, and those of the packages this tool requires."""
    required = importlib.metadata.requires(TOOL) or []
    names = sorted(re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0] for line in required if "extra ==" not in line)
    return {
        "tool": TOOL,
        "version": importlib.metadata.version(TOOL),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in names},
    }


def _json(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()
