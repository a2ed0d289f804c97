"""Graphs as YAML or JSON.

::

    name: two branches
    tensors: {image: 147 KiB, left: 4096, right: 4096, sum: 4096}
    ops:
      - {name: a, reads: [image], writes: [left]}
      - {name: b, reads: [image], writes: [right], scratch: 512}
      - {name: add, reads: [left, right], writes: [sum], in_place: [left, right]}
    outputs: [sum]

Sizes are bytes or quantities. Without ``outputs`` the graph returns every tensor that nobody reads.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hw.spec.quantity import BYTES, parse_quantity
from mappers.planner.order.graph import Op, OrderGraph, Tensor
from workloads.documents import Document, FieldPath, describe, read_document
from workloads.errors import InputError, unknown_name

__all__ = ["graph_of", "read_graph"]

_FIELDS = ("name", "tensors", "ops", "outputs")
_OP_FIELDS = ("name", "reads", "writes", "in_place", "scratch")


def read_graph(path: str | Path) -> OrderGraph:
    """The graph in a file; raises `InputError` with file, line and field."""
    return graph_of(read_document(path))


def graph_of(document: Document) -> OrderGraph:
    """The graph a document describes; raises `InputError` with file, line and field."""
    value = document.value
    _known(document, value, (), _FIELDS)
    sizes = value.get("tensors")
    if not isinstance(sizes, dict) or not sizes:
        raise document.error(f"found {describe(sizes)}", ("tensors",), expected="a mapping of tensors to sizes")
    tensors = tuple(Tensor(name, _bytes(document, ("tensors", name), size)) for name, size in sizes.items())
    listed = value.get("ops")
    if not isinstance(listed, list) or not listed:
        raise document.error(f"found {describe(listed)}", ("ops",), expected="a list of operations")
    ops = tuple(_op(document, i, op) for i, op in enumerate(listed))
    if "outputs" in value:
        outputs = _names(document, ("outputs",), value["outputs"])
    else:
        read = {name for op in ops for name in op.reads}
        outputs = tuple(tensor.name for tensor in tensors if tensor.name not in read)
    name = value.get("name", Path(document.file).stem)
    if not isinstance(name, str):
        raise document.error(f"found {describe(name)}", ("name",), expected="text")
    try:
        return OrderGraph(name, tensors, ops, outputs)
    except InputError as error:
        raise document.locate(error) from None


def _op(document: Document, at: int, value: Any) -> Op:
    path: FieldPath = ("ops", at)
    if not isinstance(value, dict):
        raise document.error(f"found {describe(value)}", path, expected="a mapping with name, reads and writes")
    _known(document, value, path, _OP_FIELDS)
    name = value.get("name")
    if not isinstance(name, str):
        raise document.error(f"found {describe(name)}", (*path, "name"), expected="the operation's name")
    lists = {part: _names(document, (*path, part), value.get(part, [])) for part in ("reads", "writes", "in_place")}
    scratch = _bytes(document, (*path, "scratch"), value.get("scratch", 0))
    return Op(name, lists["reads"], lists["writes"], lists["in_place"], scratch)


def _names(document: Document, path: FieldPath, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise document.error(f"found {describe(value)}", path, expected="a list of tensors")
    for i, name in enumerate(value):
        if not isinstance(name, str):
            raise document.error(f"found {describe(name)}", (*path, i), expected="a tensor's name")
    return tuple(value)


def _bytes(document: Document, path: FieldPath, value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        try:
            size = parse_quantity(value, BYTES)
        except InputError as error:
            raise document.error(error.problem, path, expected=error.expected, nearest=error.nearest) from None
        if size == int(size):
            return int(size)
    raise document.error(f"found {describe(value)}", path, expected="whole bytes, or a size like '147 KiB'")


def _known(document: Document, value: dict[str, Any], path: FieldPath, fields: tuple[str, ...]) -> None:
    for key in value:
        if key not in fields:
            error = unknown_name("field", key, fields)
            raise document.error(error.problem, (*path, key), expected=error.expected, nearest=error.nearest)
