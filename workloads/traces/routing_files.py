"""Routing traces as files: which experts each token picked, and with which weights.

``.csv`` has a header ``step,layer,sequence,experts`` and perhaps ``weights``; the experts of a row, and their weights,
are separated by blanks. ``.jsonl`` has one object a line with the same names and lists. ``.npz`` has the arrays
``picks[step, layer, sequence, slot]``, ``experts`` (one number) and perhaps ``weights``. In text, rows may come in any
order, but every step, layer and sequence up to the largest must be there once, with the same number of experts. How
many experts there are is the ``# experts N`` in the first line of a CSV file, an ``{"experts_total": N}`` line of a
JSONL file, or else one more than the largest number met.
"""

from __future__ import annotations

import csv
import itertools
import json
import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workloads.errors import InputError
from workloads.traces.routing import LARGEST, RoutingStream

__all__ = ["RoutingTrace", "read_routing", "write_routing"]

_KINDS = (".csv", ".jsonl", ".npz")
_COLUMNS = ("step", "layer", "sequence", "experts")


@dataclass(frozen=True, eq=False)
class RoutingTrace:
    """A stream, and ``weights`` in the shape of its picks where the file has them."""

    stream: RoutingStream
    weights: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class _Row:
    line: int
    at: tuple[int, int, int]
    experts: tuple[int, ...]
    weights: tuple[float, ...] | None


def read_routing(path: Path) -> RoutingTrace:
    """Read a routing trace; the ending of its name tells the format. Raises `InputError` with file, line and field."""
    file = str(path)
    if path.suffix not in _KINDS:
        raise InputError(
            f"{path.suffix or 'a name without ending'!r} is no format of routing traces", ", ".join(_KINDS), file=file
        )
    try:
        if path.suffix == ".npz":
            return _read_arrays(path)
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", expected="a readable file", file=file) from None
    except UnicodeDecodeError:
        raise InputError("is no text in UTF-8", expected="a text file", file=file) from None
    total, rows = (_csv_rows if path.suffix == ".csv" else _json_rows)(text, file)
    return _assemble(rows, total, file)


def write_routing(trace: RoutingTrace, path: Path) -> None:
    """Write ``trace`` in the format its name ends with. Raises `InputError` for another ending."""
    stream, weights = trace.stream, trace.weights
    if path.suffix == ".npz":
        arrays: dict[str, Any] = {"picks": stream.picks, "experts": np.int64(stream.experts)}
        if weights is not None:
            arrays["weights"] = weights
        np.savez_compressed(path, **arrays)
        return
    if path.suffix not in _KINDS:
        raise InputError(f"{path.suffix!r} is no format of routing traces", ", ".join(_KINDS), file=str(path))
    steps, layers, sequences, _ = stream.picks.shape
    places = [(s, i, q) for s in range(steps) for i in range(layers) for q in range(sequences)]
    with path.open("w", encoding="utf-8", newline="") as out:
        if path.suffix == ".jsonl":
            out.write(json.dumps({"experts_total": stream.experts}) + "\n")
            for place in places:
                row = {**dict(zip(_COLUMNS, place, strict=False)), "experts": stream.picks[place].tolist()}
                if weights is not None:
                    row["weights"] = weights[place].tolist()
                out.write(json.dumps(row) + "\n")
            return
        out.write(f"# experts {stream.experts}\n")
        out.write(",".join((*_COLUMNS, "weights") if weights is not None else _COLUMNS) + "\n")
        for place in places:
            cells = [*map(str, place), " ".join(map(str, stream.picks[place]))]
            if weights is not None:
                cells.append(" ".join(repr(float(weight)) for weight in weights[place]))
            out.write(",".join(cells) + "\n")


def _read_arrays(path: Path) -> RoutingTrace:
    file = str(path)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except (ValueError, EOFError, AttributeError, zipfile.BadZipFile):
        raise InputError("is no NumPy archive of plain arrays", expected="a .npz file", file=file) from None
    for name in ("picks", "experts"):
        if name not in found or not np.issubdtype(found[name].dtype, np.integer):
            raise InputError("is missing or not of whole numbers", expected=f"an array {name}", field=name, file=file)
    picks, weights = found["picks"], found.get("weights")
    if found["experts"].size != 1:
        raise InputError(f"{found['experts'].size} values", expected="one number", field="experts", file=file)
    if picks.ndim != 4 or not picks.size:
        raise InputError(
            f"picks of shape {picks.shape}", expected="[step, layer, sequence, slot]", field="picks", file=file
        )
    ordered = np.sort(picks, axis=-1)
    if (ordered[..., 1:] == ordered[..., :-1]).any():
        raise InputError("a token picks an expert twice", expected="different experts", field="picks", file=file)
    if weights is not None and (weights.shape != picks.shape or not np.issubdtype(weights.dtype, np.floating)):
        raise InputError(
            f"weights of shape {weights.shape} and type {weights.dtype}",
            expected=f"real numbers in the shape {picks.shape} of the picks",
            field="weights",
            file=file,
        )
    stream = _stream(picks.astype(np.int64), int(found["experts"].reshape(-1)[0]), file)
    return RoutingTrace(stream, None if weights is None else weights.astype(np.float64))


def _stream(picks: NDArray[np.int64], experts: int, file: str) -> RoutingStream:
    try:
        return RoutingStream(picks, experts)
    except InputError as error:
        raise InputError(error.problem, error.expected, "experts", file) from None


def _csv_rows(text: str, file: str) -> tuple[int | None, list[_Row]]:
    lines = text.splitlines()
    total, skipped = None, 0
    while skipped < len(lines) and lines[skipped].lstrip().startswith("#"):
        words = lines[skipped].lstrip("# ").split()
        if words[:1] == ["experts"] and len(words) == 2:
            total = _whole(words[1], "experts", file, skipped + 1)
        skipped += 1
    reader = csv.reader(lines[skipped:])
    header = [name.strip() for name in next(reader, [])]
    if header not in ([*_COLUMNS], [*_COLUMNS, "weights"]):
        raise InputError(
            f"a header {','.join(header)!r}",
            expected=",".join(_COLUMNS) + ", perhaps with weights",
            file=file,
            line=skipped + 1,
        )
    rows = []
    for number, cells in enumerate(reader, start=skipped + 2):
        if not cells:
            continue
        if len(cells) != len(header):
            raise InputError(f"{len(cells)} cells", expected=f"{len(header)}", file=file, line=number)
        at = [_whole(cell, name, file, number) for name, cell in zip(_COLUMNS[:3], cells, strict=False)]
        experts = tuple(_whole(word, "experts", file, number) for word in cells[3].split())
        weights = tuple(_real(word, file, number) for word in cells[4].split()) if len(header) == 5 else None
        rows.append(_row(number, at, experts, weights, file))
    return total, rows


def _json_rows(text: str, file: str) -> tuple[int | None, list[_Row]]:
    total = None
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except (json.JSONDecodeError, RecursionError):
            raise InputError("is no JSON", expected="one object a line", file=file, line=number) from None
        if not isinstance(found, dict):
            raise InputError("is no JSON object", expected="one object a line", file=file, line=number)
        if set(found) == {"experts_total"}:
            total = _whole(found["experts_total"], "experts_total", file, number)
            continue
        unknown = sorted(set(found) - {*_COLUMNS, "weights"})
        missing = sorted(set(_COLUMNS) - set(found))
        if unknown or missing:
            raise InputError(
                f"{'unknown' if unknown else 'missing'} {', '.join(unknown or missing)}",
                expected=", ".join(_COLUMNS) + " and perhaps weights",
                file=file,
                line=number,
            )
        listed = [found["experts"], found.get("weights", [])]
        if not all(isinstance(value, list) for value in listed):
            raise InputError("no list", expected="lists", field="experts, weights", file=file, line=number)
        at = [_whole(found[name], name, file, number) for name in _COLUMNS[:3]]
        experts = tuple(_whole(value, "experts", file, number) for value in found["experts"])
        weights = tuple(_real(value, file, number) for value in found["weights"]) if "weights" in found else None
        rows.append(_row(number, at, experts, weights, file))
    return total, rows


def _whole(value: object, field: str, file: str, line: int) -> int:
    try:
        number = int(value) if isinstance(value, str) else value
    except ValueError:
        number = None
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= LARGEST:
        raise InputError(f"{value!r}", f"a whole number from 0 to {LARGEST}", field, file, line)
    return number


def _real(value: object, file: str, line: int) -> float:
    try:
        number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else float("nan")
    except (ValueError, OverflowError):
        number = float("nan")
    if not np.isfinite(number):
        raise InputError(f"{value!r}", expected="a finite number", field="weights", file=file, line=line)
    return number


def _row(line: int, at: list[int], experts: tuple[int, ...], weights: tuple[float, ...] | None, file: str) -> _Row:
    if not experts or len(set(experts)) < len(experts):
        raise InputError("no experts" if not experts else "an expert twice", "different experts", "experts", file, line)
    if weights is not None and len(weights) != len(experts):
        raise InputError(f"{len(weights)} weights", f"{len(experts)}, as experts", "weights", file, line)
    return _Row(line, (at[0], at[1], at[2]), experts, weights)


def _assemble(rows: list[_Row], total: int | None, file: str) -> RoutingTrace:
    if not rows:
        raise InputError("has no rows", expected="at least one token", file=file)
    top_k, weighted = len(rows[0].experts), rows[0].weights is not None
    met: set[tuple[int, int, int]] = set()
    for row in rows:
        if row.at in met:
            step, layer, sequence = row.at
            raise InputError(
                f"step {step}, layer {layer}, sequence {sequence} a second time", "each once", file=file, line=row.line
            )
        met.add(row.at)
    shape = tuple(1 + max(row.at[axis] for row in rows) for axis in range(3))
    if math.prod(shape) != len(rows):
        step, layer, sequence = _first_absent(met, shape)
        raise InputError(f"no row for step {step}, layer {layer}, sequence {sequence}", "one for each", file=file)
    picks = np.empty((*shape, top_k), dtype=np.int64)
    weights = np.zeros(picks.shape) if weighted else None
    largest = max(max(row.experts) for row in rows)
    if total is not None and largest >= total:
        first = next(row for row in rows if max(row.experts) >= total)
        raise InputError(f"expert {max(first.experts)}", f"0 to {total - 1}", "experts", file, first.line)
    for row in rows:
        if len(row.experts) != top_k:
            raise InputError(f"{len(row.experts)} experts", f"{top_k}, as in the first row", "experts", file, row.line)
        if (row.weights is not None) != weighted:
            raise InputError("weights in some rows only", "all or none", "weights", file, row.line)
        picks[row.at] = row.experts
        if weights is not None:
            weights[row.at] = row.weights
    return RoutingTrace(RoutingStream(picks, total if total is not None else largest + 1), weights)


def _first_absent(met: set[tuple[int, int, int]], shape: tuple[int, ...]) -> tuple[int, int, int]:
    """The first place without a row: there is one, so no more places are looked at than there are rows."""
    for number in itertools.count():
        rest, sequence = divmod(number, shape[2])
        step, layer = divmod(rest, shape[1])
        if (step, layer, sequence) not in met:
            break
    return step, layer, sequence
