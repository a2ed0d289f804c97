"""Reads cascades from the Einsum YAML of other tools.

Two forms are known. TeAAL (MICRO 2023): ``einsum: {declaration: {A: [K, M]}, expressions: ["Z[m, n] = A[k, m] * B[k,
n]"]}``; mapping, format, architecture and bindings are not part of the cascade and are skipped. AccelForge:
``workload: {rank_sizes: {M: 128}, einsums: [...]}`` where an Einsum is a text, a mapping with ``einsum``, or a
mapping with ``tensor_accesses``. A rank variable is the rank's name in lower case; sizes become defaults.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from workloads.documents import Document, FieldPath, parse_yaml
from workloads.einsum.errors import CascadeError
from workloads.einsum.ir import Cascade
from workloads.einsum.parser import parse_cascade

__all__ = ["read_einsum_yaml"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ACCESS = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)\s*\[([^\]]*)\]")
_TAKE = re.compile(r"take\(\s*([^\[\]()]+\[[^\]]*\])\s*,\s*([^\[\]()]+\[[^\]]*\])\s*,\s*([01])\s*\)")
_BOUNDS = re.compile(r"\s*0\s*<=\s*([A-Za-z_][A-Za-z0-9_]*)\s*<\s*([0-9]+)\s*")
_SIZE = re.compile(r"[0-9 .+*/()-]+")
_TEMPLATE = re.compile(r"\{\{|\{%")


@dataclass
class _Draft:
    """The statements gathered so far, and which line of the YAML each Einsum came from."""

    sizes: dict[str, str] = field(default_factory=dict)
    shapes: dict[str, list[str]] = field(default_factory=dict)
    einsums: list[tuple[str, int]] = field(default_factory=list)


def read_einsum_yaml(text: str, *, file: str) -> Cascade:
    """The cascade that an Einsum YAML text describes, named after ``file``.

    Tensors that are read and never written are its inputs; those written and never read are its results. Raises
    InputError with file and line for YAML of another form, templates that were not filled in, and Einsums that break
    the rules.
    """
    template = _TEMPLATE.search(text)
    if template is not None:
        line = text.count("\n", 0, template.start()) + 1
        raise CascadeError("a template that is not filled in", "plain YAML", file=file, line=line, column=1)
    document = parse_yaml(text, file)
    if "workload" in document.value:
        draft = _accelforge(document)
    elif "einsum" in document.value:
        draft = _teaal(document)
    else:
        raise document.error("no Einsums", expected="a field 'workload' (AccelForge) or 'einsum' (TeAAL)")
    if not draft.einsums:
        raise document.error("no Einsums", expected="at least one")
    return _build(document, draft)


def _mapping(document: Document, path: FieldPath) -> Mapping[str, Any]:
    value: Any = document.value
    for part in path:
        value = value.get(part, {}) if isinstance(value, dict) else value[part]
    if not isinstance(value, dict):
        raise document.error("not a mapping", path, expected="a mapping")
    return value


# --- TeAAL


def _teaal(document: Document) -> _Draft:
    draft = _Draft()
    declaration = _mapping(document, ("einsum", "declaration"))
    for name, ranks in declaration.items():
        if not isinstance(ranks, list) or not all(isinstance(rank, str) for rank in ranks):
            raise document.error(f"{ranks!r}", ("einsum", "declaration", name), expected="a list of ranks")
        draft.shapes[name] = [rank.lower() for rank in ranks]
    body = _mapping(document, ("einsum",))
    key = "expressions" if "expressions" in body else "expression"
    expressions = body.get(key, [])
    if not isinstance(expressions, list):
        raise document.error("not a list", ("einsum", key), expected="a list of Einsums")
    for place, expression in enumerate(expressions):
        path = ("einsum", key, place)
        # take(A, B, n) is operand n where both are present.
        taken = _TAKE.sub(
            lambda m: f"select({m[1]} != 0 and {m[2]} != 0, {m[1 + int(m[3])]}, 0)", _text(document, expression, path)
        )
        draft.einsums.append((taken, document.line(path)))
    return draft


def _text(document: Document, value: Any, path: FieldPath) -> str:
    if not isinstance(value, str):
        raise document.error(f"{value!r} is no Einsum", path, expected="a text like 'Z[m, n] = A[m, k] * B[k, n]'")
    return " ".join(value.split())


# --- AccelForge


def _accelforge(document: Document) -> _Draft:
    draft = _Draft()
    for rank, size in _mapping(document, ("workload", "rank_sizes")).items():
        if not _SIZE.fullmatch(str(size)):
            raise document.error(
                f"size {size!r}", ("workload", "rank_sizes", rank), expected="a number or a product of numbers"
            )
        draft.sizes[rank.lower()] = str(size)
    for variable, bounds in _mapping(document, ("workload", "iteration_space_shape")).items():
        _bound(document, draft, str(bounds), ("workload", "iteration_space_shape", variable))
    einsums = _mapping(document, ("workload",)).get("einsums", [])
    if not isinstance(einsums, list):
        raise document.error("not a list", ("workload", "einsums"), expected="a list of Einsums")
    for place, entry in enumerate(einsums):
        path: FieldPath = ("workload", "einsums", place)
        if isinstance(entry, dict) and "tensor_accesses" in entry:
            statement = _from_accesses(document, draft, entry, path)
        else:
            value = entry.get("einsum") if isinstance(entry, dict) else entry
            statement = _with_projections(draft, _text(document, value, path))
        draft.einsums.append((statement, document.line(path)))
    return draft


def _bound(document: Document, draft: _Draft, bounds: str, path: FieldPath) -> None:
    found = _BOUNDS.fullmatch(bounds)
    if found is None:
        raise document.error(f"bounds {bounds!r}", path, expected="a range from 0 like '0 <= m < 128'")
    draft.sizes[found[1]] = found[2]


def _from_accesses(document: Document, draft: _Draft, entry: Mapping[str, Any], path: FieldPath) -> str:
    """``[{name: A, projection: [m, k]}, ..., {name: Z, output: True}]``: the product of all that is read."""
    read: list[str] = []
    written: list[str] = []
    bounds = entry.get("iteration_space_shape", [])
    for bound in bounds if isinstance(bounds, list) else [bounds]:
        _bound(document, draft, str(bound), (*path, "iteration_space_shape"))
    for place, access in enumerate(entry["tensor_accesses"] if isinstance(entry["tensor_accesses"], list) else [None]):
        where = (*path, "tensor_accesses", place)
        if not isinstance(access, dict) or "name" not in access or "projection" not in access:
            raise document.error("not a tensor access", where, expected="a mapping with name and projection")
        projection = access["projection"]
        if isinstance(projection, dict):
            draft.shapes.setdefault(str(access["name"]), [str(rank).lower() for rank in projection])
            projection = list(projection.values())
        if not isinstance(projection, list):
            raise document.error("not a projection", (*where, "projection"), expected="a list or a mapping of indices")
        text = f"{access['name']}[{', '.join(map(str, projection))}]"
        (written if str(access.get("output", False)).lower() == "true" else read).append(text)
    if len(written) != 1 or not read:
        raise document.error(
            f"{len(written)} outputs and {len(read)} inputs", path, expected="one output and an input at least"
        )
    return f"{written[0]} = {' * '.join(read)}"


def _with_projections(draft: _Draft, statement: str) -> str:
    """``V[b, E: f]`` names the rank E of an index f; the name goes to the tensor's shape."""

    def plain(match: re.Match[str]) -> str:
        parts = [part.strip() for part in match[2].split(",")]
        if any(":" in part for part in parts):
            draft.shapes.setdefault(match[1], [part.split(":")[0].strip().lower() for part in parts])
        return f"{match[1]}[{', '.join(part.split(':')[-1].strip() for part in parts)}]"

    return _ACCESS.sub(plain, statement)


# --- both


def _build(document: Document, draft: _Draft) -> Cascade:
    """The draft as a cascade text, parsed; errors are led back to the line of the YAML."""
    written = [statement.split("[")[0].strip() for statement, _ in draft.einsums]
    read: dict[str, list[str]] = {}
    for statement, _ in draft.einsums:
        for name, indices in _ACCESS.findall(statement.partition("=")[2]):
            read.setdefault(name, [part.strip() for part in indices.split(",")] if indices.strip() else [])
    inputs = [name for name in read if name not in written]
    results = [name for name in dict.fromkeys(written) if name not in read] or written[-1:]
    shapes = {name: draft.shapes.get(name) or _ranks_of(read[name], name) for name in inputs}
    used = _names(index for _, indices in _all_accesses(draft) for index in indices) | {
        r for s in shapes.values() for r in s
    }
    head = [f"cascade {re.sub(r'[^A-Za-z0-9_.-]', '-', PurePath(document.file).stem) or 'cascade'}"]
    head += [f"rank {rank}" + (f" = {draft.sizes[rank]}" if rank in draft.sizes else "") for rank in sorted(used)]
    head += [f"input {name}[{', '.join(ranks)}]" for name, ranks in shapes.items()]
    head += [f"output {', '.join(results)}"]
    try:
        return parse_cascade(
            "\n".join([*head, *(statement for statement, _ in draft.einsums)]) + "\n", file=document.file
        )
    except CascadeError as error:
        place = (error.line or 1) - len(head) - 1
        line = draft.einsums[place][1] if 0 <= place < len(draft.einsums) else 1
        raise CascadeError(error.problem, error.expected, None, document.file, line, error.nearest) from None


def _all_accesses(draft: _Draft) -> list[tuple[str, list[str]]]:
    found = [access for statement, _ in draft.einsums for access in _ACCESS.findall(statement)]
    return [(name, indices.split(",")) for name, indices in found]


def _names(indices: Iterable[str]) -> set[str]:
    return {name for index in indices for name in _NAME.findall(index)}


def _ranks_of(indices: list[str], tensor: str) -> list[str]:
    """Axis names of an input whose shape is not stated: its indices, where they are plain rank variables."""
    return [index if _NAME.fullmatch(index) else f"{tensor.lower()}_{place}" for place, index in enumerate(indices)]
