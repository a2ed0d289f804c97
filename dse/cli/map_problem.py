"""From the words of a mapping problem to values: cascade, sizes, machine and constraints, each checked by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

from dse.cli.cascade import find_cascade
from dse.cli.map_options import DATAFLOWS, Wanted
from hw.spec.hierarchy import Hierarchy
from hw.spec.load import load_system, override, system_names
from hw.spec.load_hierarchy import hierarchy_names, load_hierarchy, override_hierarchy
from hw.spec.system import System
from mappers.assign import fastest_in
from mappers.from_system import engine_hierarchy
from mappers.mapspace.constraints import Constraints
from mappers.mapspace.problem import CascadeProblem, cascade_problem
from workloads.documents import read_document
from workloads.einsum import Cascade, parse_cascade
from workloads.errors import InputError, unknown_name

__all__ = ["Resolved", "resolve"]

Machine = TypeVar("Machine", Hierarchy, System)


@dataclass(frozen=True)
class Resolved:
    """A mapping problem as values."""

    problem: CascadeProblem
    machine: Hierarchy
    constraints: Constraints


def resolve(wanted: Wanted) -> Resolved:
    """Look up and check everything ``wanted`` names. Raises `InputError` with the file's line or the option."""
    cascade, sizes = _cascade(wanted)
    problem = _problem(wanted, cascade, sizes)
    machine = _machine(wanted, problem)
    return Resolved(problem, machine, _constraints(wanted, problem, machine))


def _cascade(wanted: Wanted) -> tuple[Cascade, dict[str, float]]:
    said = wanted.said
    if "\n" in wanted.cascade:
        try:
            return parse_cascade(wanted.cascade, file="cascade"), wanted.sizes
        except InputError as error:
            line = f"line {error.line} of the cascade: " if error.line else ""
            raise said.place(
                InputError(f"{line}{error.problem}", error.expected, nearest=error.nearest), "cascade"
            ) from None
    try:
        return find_cascade(wanted.cascade, wanted.sizes)
    except InputError as error:
        part = ("cascade",) if error.field == "cascade" else ("sizes",)
        raise said.place(error, *part) from None


def _problem(wanted: Wanted, cascade: Cascade, sizes: dict[str, float]) -> CascadeProblem:
    try:
        return cascade_problem(cascade, sizes, wanted.bits)
    except InputError as error:
        field = error.field or ""
        if "bits" in field.split("."):
            raise wanted.said.place(error, "bits") from None
        # Which size it is about: the last part of the field, or a name that the problem quotes.
        about = [name for name in sizes if field.endswith(f".{name}") or f"{name!r}" in error.problem]
        detail = f"{about[0]}: " if about and f"{about[0]!r}" not in error.problem else ""
        placed = InputError(f"{detail}{error.problem}", error.expected, nearest=error.nearest)
        raise wanted.said.place(placed, "sizes", *about[:1]) from None


def _machine(wanted: Wanted, problem: CascadeProblem) -> Hierarchy:
    name = wanted.system
    is_path = name.lower().endswith((".yaml", ".yml", ".json")) or "/" in name
    try:
        if name in hierarchy_names() or (is_path and "engines" not in read_document(name).value):
            machine = load_hierarchy(name)
            system = None
        elif name in system_names() or is_path:
            system = load_system(name)
        else:
            raise unknown_name("machine", name, (*hierarchy_names(), *system_names()))
    except InputError as error:
        raise wanted.said.place(error, "system") from None
    if system is None:
        return _with_changes(wanted, machine, override_hierarchy)
    system = _with_changes(wanted, system, override)
    # The fastest engine, computing in the format of its kind that the widest tensor asks for.
    widest = max(bits for _, bits in problem.bits)
    compute_format = "int8" if widest <= 8 else "bf16" if widest <= 16 else "fp32"
    try:
        engines = fastest_in(compute_format, system)
        return engine_hierarchy(system, engines.contraction, engines.other, compute_format)
    except InputError as error:
        raise wanted.said.place(replace(error, problem=f"{error.field} {error.problem}"), "system") from None


def _with_changes(wanted: Wanted, machine: Machine, change: Callable[[Machine, tuple[str, ...]], Machine]) -> Machine:
    if not wanted.changes:
        return machine
    try:
        return change(machine, wanted.changes)
    except InputError as error:
        path = error.field or ""
        about = replace(error, problem=f"{path}: {error.problem}" if path else error.problem, field=None)
        raise wanted.said.place(about, "set") from None


def _constraints(wanted: Wanted, problem: CascadeProblem, machine: Hierarchy) -> Constraints:
    said = wanted.said
    for part, pairs in (("keep", wanted.keep), ("bypass", wanted.bypass)):
        for level, tensor in pairs:
            _known(wanted, "level", level, machine.levels, "constraints", part, level)
            _known(wanted, "tensor", tensor, _tensors(problem), "constraints", part, level)
    for level, tensor in set(wanted.keep) & set(wanted.bypass):
        error = InputError(f"{tensor} is both kept at and sent around {level}", "one of the two")
        raise said.place(error, "constraints", "bypass", level)
    tiles: dict[tuple[str, str, str], int] = {}
    for level, tensor, rank, tile in wanted.tile:
        path = ("constraints", "tiles", f"{level}.{tensor}.{rank}")
        _known(wanted, "level", level, machine.levels, *path)
        _known(wanted, "tensor", tensor, _tensors(problem), *path)
        _known(wanted, "rank", rank, _sizes_of(problem, tensor), *path)
        largest = _sizes_of(problem, tensor)[rank]
        if not 1 <= tile <= largest:
            raise said.place(InputError(f"a tile of {tile} along {rank}", f"1 to {largest}"), *path)
        if tiles.setdefault((level, tensor, rank), tile) != tile:
            raise said.place(InputError(f"two tiles for {level}.{tensor}.{rank}", "one"), *path)
    for tensor in wanted.unfused:
        _known(wanted, "intermediate tensor", tensor, problem.intermediates, "constraints", "unfused")
    return Constraints(
        fuse=wanted.fuse,
        unfused=frozenset(wanted.unfused),
        keep=frozenset(wanted.keep),
        bypass=frozenset(wanted.bypass),
        tiles=tuple((*store, tile) for store, tile in tiles.items()),
        stationary=DATAFLOWS[wanted.dataflow] if wanted.dataflow is not None else None,
    )


def _known(wanted: Wanted, kind: str, name: str, known: Iterable[str], *path: str) -> None:
    if name not in known:
        raise wanted.said.place(unknown_name(kind, name, known), *path)


def _tensors(problem: CascadeProblem) -> tuple[str, ...]:
    return tuple(dict.fromkeys(use.tensor for einsum in problem.einsums for use in einsum.uses))


def _sizes_of(problem: CascadeProblem, tensor: str) -> dict[str, int]:
    """The ranks that Einsums walk on a tensor, with their sizes."""
    uses = [(einsum, use) for einsum in problem.einsums for use in einsum.uses if use.tensor == tensor]
    return {rank: size for einsum, use in uses for rank, size in einsum.sizes if rank in use.ranks}
