"""A mapping as text to read, an indented loop nest, and as JSON to keep and to bring in from elsewhere.

The JSON form is plain::

    {"cascade": "gemm", "hierarchy": "mapping-simple", "nest": [
        {"keep": "A", "at": "dram"},                                   a store
        {"for": "m", "tile": 256},                                     a loop in steps of 256
        {"spread": "n", "over": "register.columns", "factor": 128},    over the fan-out of a level or unit
        {"compute": "Z", "on": "mac"}]}

A nest ends in ``compute``, or in ``{"sequential": [NEST, ...]}`` or ``{"pipelined": [NEST, ...]}``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Mapping as Table
from typing import Any

from mappers.mapspace.mapping import Branch, Compute, Loop, Mapping, Nest, Node, Spread, Store
from mappers.mapspace.problem import CascadeProblem, EinsumProblem, TensorUse
from mappers.mapspace.report import EinsumCost, MappingCost
from workloads.errors import InputError, unknown_name

__all__ = ["bits_text", "mapping_from_json", "mapping_text", "mapping_to_json", "turns_text"]

_STEP = "  "


def mapping_text(mapping: Mapping, problem: CascadeProblem | None = None, cost: MappingCost | None = None) -> str:
    """The nest, one node a line, what stands inside a loop indented.

    With ``problem`` stores show the extent and size of their tile over all instances, loops their turns; with ``cost``
    stores show the bits read and written there by the Einsums below.
    """
    sizes = {rank: size for einsum in problem.einsums for rank, size in einsum.sizes} if problem else {}
    costs = {} if cost is None else {einsum.einsum: einsum for einsum in cost.einsums}
    printer = _Printer({e.name: e for e in problem.einsums} if problem else {}, costs)
    lines = [f"{mapping.cascade} on {mapping.hierarchy}", *printer.nest(mapping.nest, sizes, "")]
    return "\n".join(lines) + "\n"


def bits_text(bits: float) -> str:
    """A number of bits with a binary prefix, in bytes where they are whole."""
    unit, value = ("B", bits / 8) if bits % 8 == 0 else ("bit", bits)
    for prefix in ("", "Ki", "Mi", "Gi", "Ti"):
        if value < 1024 or prefix == "Ti":
            break
        value /= 1024
    return f"{value:.4g} {prefix}{unit}"


def turns_text(size: int, tile: int) -> str:
    """How often a loop over ``size`` coordinates turns, and its last step if that is short: ``5x, last 204``."""
    whole, rest = divmod(size, tile)
    if not whole or not rest:
        return f"{max(whole, 1)}x"
    return f"{whole + 1}x, last {rest}"


class _Printer:
    """Prints nests; an Einsum that is not in ``einsums`` is printed without sizes."""

    def __init__(self, einsums: Table[str, EinsumProblem], costs: Table[str, EinsumCost]) -> None:
        self.einsums, self.costs = einsums, costs

    def nest(self, nest: Nest, tiles: dict[str, int], indent: str) -> Iterator[str]:
        below = [node.einsum for node in _computes(nest)]
        for node in nest:
            if isinstance(node, Loop):
                size = tiles.get(node.rank)
                turns = f" ({turns_text(size, node.tile)})" if size else ""
                yield f"{indent}for {node.rank} in steps of {node.tile}{turns}"
                tiles = {**tiles, node.rank: min(node.tile, size or node.tile)}
                indent += _STEP
            elif isinstance(node, Store):
                yield f"{indent}{node.level} keeps {node.tensor}{self._store(node, tiles, below)}"
            elif isinstance(node, Spread):
                yield f"{indent}spread {node.rank} over {node.component}.{node.dimension} ({node.factor})"
            elif isinstance(node, Compute):
                yield f"{indent}compute {node.einsum} on {node.unit}"
            else:
                for place, inner in enumerate(node.nests):
                    with_others = "beside it" if node.execution == "pipelined" else "then"
                    yield f"{indent}{with_others if place else 'first'}"
                    yield from self.nest(inner, tiles, indent + _STEP)

    def _store(self, node: Store, tiles: Table[str, int], below: Sequence[str]) -> str:
        text = ""
        use = next((found for name in below if (found := self._use(name, node.tensor)) is not None), None)
        if use is not None and all(rank in tiles for rank in use.ranks):
            extents = " x ".join(str(axis.extent(tiles)) for axis in use.axes)
            text += f"[{extents}] {bits_text(use.elements(tiles) * use.bits)}"
        rows = [self.costs[name].traffic.get(node.level, {}).get(node.tensor) for name in below if name in self.costs]
        moved = [row for row in rows if row is not None]
        if moved:
            text += f", read {bits_text(sum(row.read_bits for row in moved))}"
            text += f", written {bits_text(sum(row.write_bits for row in moved))}"
        return text

    def _use(self, einsum: str, tensor: str) -> TensorUse | None:
        return self.einsums[einsum].by_tensor.get(tensor) if einsum in self.einsums else None


def _computes(nest: Nest) -> Iterator[Compute]:
    for node in nest:
        if isinstance(node, Compute):
            yield node
        elif isinstance(node, Branch):
            for inner in node.nests:
                yield from _computes(inner)


def mapping_to_json(mapping: Mapping) -> dict[str, Any]:
    """The mapping as JSON values, which `mapping_from_json` turns back into an equal one."""
    return {"cascade": mapping.cascade, "hierarchy": mapping.hierarchy, "nest": _nest_to_json(mapping.nest)}


def _nest_to_json(nest: Nest) -> list[dict[str, Any]]:
    return [_node_to_json(node) for node in nest]


def _node_to_json(node: Node) -> dict[str, Any]:
    if isinstance(node, Store):
        return {"keep": node.tensor, "at": node.level}
    if isinstance(node, Loop):
        return {"for": node.rank, "tile": node.tile}
    if isinstance(node, Spread):
        return {"spread": node.rank, "over": f"{node.component}.{node.dimension}", "factor": node.factor}
    if isinstance(node, Compute):
        return {"compute": node.einsum, "on": node.unit}
    return {node.execution: [_nest_to_json(inner) for inner in node.nests]}


def mapping_from_json(document: Any) -> Mapping:
    """The mapping in a parsed JSON document; raises `InputError` with the path of the field that is wrong.

    Names are not looked up here: `check_mapping` does that.
    """
    fields = _fields(document, "mapping", {"cascade": _name, "hierarchy": _name, "nest": _nest})
    return Mapping(fields["cascade"], fields["hierarchy"], fields["nest"])


_Reader = Callable[[Any, str], Any]


def _nest(value: Any, field: str) -> Nest:
    if not isinstance(value, list):
        raise InputError(f"{_shown(value)} is not a nest", "a list of nodes", field)
    return tuple(_node(item, f"{field}[{place}]") for place, item in enumerate(value))


def _node(value: Any, field: str) -> Node:
    if not isinstance(value, dict):
        raise InputError(f"{_shown(value)} is not a node", f"an object with one of {', '.join(_NODES)}", field)
    kinds = [kind for kind in _NODES if kind in value]
    if len(kinds) > 1:
        raise InputError(f"a node is both {kinds[0]} and {kinds[1]}", "one of them", field)
    if not kinds:
        raise unknown_name("node", next(iter(value), ""), _NODES, field=field)
    readers, build = _NODES[kinds[0]]
    return build(_fields(value, field, readers))


def _fields(value: Any, field: str, readers: Table[str, _Reader]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{_shown(value)} is not an object", f"the fields {', '.join(readers)}", field)
    for name in value:
        if name not in readers:
            raise unknown_name("field", str(name), readers, field=field)
    for name in readers:
        if name not in value:
            raise InputError(f"{name} is missing", f"the fields {', '.join(readers)}", field)
    prefix = "" if field == "mapping" else f"{field}."
    return {name: read(value[name], f"{prefix}{name}") for name, read in readers.items()}


def _name(value: Any, field: str) -> str:
    if not isinstance(value, str) or not value:
        raise InputError(f"{_shown(value)} is not a name", "a word", field)
    return value


def _count(value: Any, field: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"{_shown(value)}", "a whole number of at least 1", field)
    return value


def _fanout(value: Any, field: str) -> tuple[str, str]:
    component, dot, dimension = _name(value, field).partition(".")
    if not component or not dot or not dimension:
        raise InputError(f"{value!r} is not a fan-out", "COMPONENT.DIMENSION such as register.columns", field)
    return component, dimension


def _nests(value: Any, field: str) -> tuple[Nest, ...]:
    if not isinstance(value, list) or not value:
        raise InputError(f"{_shown(value)} is no list of nests", "at least one nest", field)
    return tuple(_nest(item, f"{field}[{place}]") for place, item in enumerate(value))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


_NODES: dict[str, tuple[dict[str, _Reader], Callable[[dict[str, Any]], Node]]] = {
    "keep": ({"keep": _name, "at": _name}, lambda f: Store(f["at"], f["keep"])),
    "for": ({"for": _name, "tile": _count}, lambda f: Loop(f["for"], f["tile"])),
    "spread": (
        {"spread": _name, "over": _fanout, "factor": _count},
        lambda f: Spread(f["over"][0], f["over"][1], f["spread"], f["factor"]),
    ),
    "compute": ({"compute": _name, "on": _name}, lambda f: Compute(f["compute"], f["on"])),
    "sequential": ({"sequential": _nests}, lambda f: Branch("sequential", f["sequential"])),
    "pipelined": ({"pipelined": _nests}, lambda f: Branch("pipelined", f["pipelined"])),
}
