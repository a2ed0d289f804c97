"""What ``tiercade map`` is asked: its options as typed, a problem file, and the two as one with places for errors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from workloads.documents import Document, describe, read_document
from workloads.errors import InputError, unknown_name
from workloads.validation import field_error, validate

__all__ = ["DATAFLOWS", "MapOptions", "Said", "Wanted", "read_wanted"]

OBJECTIVES = ("energy", "latency", "edp")
TILES = ("divisor", "imperfect")
DATAFLOWS: dict[str, Literal["input", "weight", "output"]] = {"ws": "weight", "os": "output", "is": "input"}
OPTION_OF = {"set": "--set", "dataflow": "--dataflow", "fuse": "--no-fuse", "constraints": "--keep"}


@dataclass(frozen=True)
class MapOptions:
    """The options as the user typed them; None is not given."""

    problem: Path | None = None
    cascade: str | None = None
    sizes: tuple[str, ...] = ()
    system: str | None = None
    changes: tuple[str, ...] = ()
    objective: str | None = None
    no_fuse: bool = False
    tiles: str | None = None
    workers: int = 1
    bits: tuple[str, ...] = ()
    dataflow: str | None = None
    keep: tuple[str, ...] = ()
    bypass: tuple[str, ...] = ()
    tile: tuple[str, ...] = ()
    unfused: tuple[str, ...] = ()
    timeout: float | None = None
    svg: Path | None = None
    mapping_out: Path | None = None

    def given(self) -> tuple[str, ...]:
        """The names of the options that were given, as typed; options that say how to search are left out."""
        defaults = MapOptions()
        kept = ("workers", "timeout")
        names = [
            f.name for f in fields(self) if f.name not in kept and getattr(self, f.name) != getattr(defaults, f.name)
        ]
        special = {"changes": "--set", "problem": "PROBLEM.yaml"}
        return tuple(special.get(name, f"--{name.replace('_', '-')}") for name in names)


def _widths(value: Any) -> Any:
    numbers = list(value.values()) if isinstance(value, dict) else [value]
    if not numbers or any(isinstance(number, bool) or not isinstance(number, int) for number in numbers):
        raise field_error(InputError(f"found {describe(value)}", "a whole number, or one for each of some tensors"))
    return value


def _names(value: Any) -> Any:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise field_error(InputError(f"found {describe(value)}", "a tensor's name or a list of them"))
    return names


def _scalar(value: Any) -> Any:
    if not isinstance(value, str | int | float):
        raise field_error(InputError(f"found {describe(value)}", "a value such as 128 MiB"))
    return value


Names = Annotated[Any, BeforeValidator(_names)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ConstraintsPart(_Part):
    """The ``constraints`` of a problem file."""

    keep: dict[str, Names] = Field(default_factory=dict)
    bypass: dict[str, Names] = Field(default_factory=dict)
    tiles: dict[str, int] = Field(default_factory=dict)
    dataflow: Literal["ws", "os", "is"] | None = None
    unfused: Names = Field(default_factory=list)


class ProblemFile(_Part):
    """A problem file: the command's options by the same names."""

    cascade: str | None = None
    sizes: dict[str, float] = Field(default_factory=dict)
    system: str | None = None
    set: dict[str, Annotated[Any, BeforeValidator(_scalar)]] = Field(default_factory=dict)
    objective: Literal["energy", "latency", "edp"] | None = None
    fuse: bool = True
    tiles: Literal["divisor", "imperfect"] | None = None
    bits: Annotated[Any, BeforeValidator(_widths)] = None
    constraints: ConstraintsPart = ConstraintsPart()


@dataclass(frozen=True)
class Said:
    """Where each part of a problem was said: in the file's ``document`` or, for ``typed`` ones, on the command line.

    Parts are paths as in the file: ``("sizes", "m")``.
    """

    document: Document | None
    typed: frozenset[tuple[str, ...]]

    def place(self, error: InputError, *path: str) -> InputError:
        """``error`` about the part at ``path``, naming the file's line or the option."""
        if error.file is not None:
            return error
        if self.document is None or any(path[: len(known)] == known for known in self.typed):
            return replace(error, field=_option(path))
        return self.document.error(error.problem, path, expected=error.expected, nearest=error.nearest)


def _option(path: tuple[str, ...]) -> str:
    if path[0] == "constraints" and len(path) > 1:
        return "--tile" if path[1] == "tiles" else f"--{path[1]}"
    return OPTION_OF.get(path[0], f"--{path[0]}")


@dataclass(frozen=True)
class Wanted:
    """A mapping problem by names and numbers: file and options as one, nothing looked up yet."""

    cascade: str
    sizes: dict[str, float]
    system: str
    changes: tuple[str, ...]
    objective: str
    fuse: bool
    tiles: str
    bits: int | dict[str, int] | None
    dataflow: str | None
    keep: tuple[tuple[str, str], ...]
    bypass: tuple[tuple[str, str], ...]
    tile: tuple[tuple[str, str, str, int], ...]
    unfused: tuple[str, ...]
    folder: Path
    said: Said


def read_wanted(options: MapOptions) -> Wanted:
    """The problem of ``options``; what is typed goes before the problem file. Raises `InputError`."""
    document, file = None, ProblemFile()
    folder = Path()
    if options.problem is not None:
        document = read_document(options.problem)
        file = validate(ProblemFile, document)
        folder = options.problem.parent
    typed: set[tuple[str, ...]] = set()
    for name in ("cascade", "system", "objective", "tiles"):
        if getattr(options, name) is not None:
            typed.add((name,))
    sizes = _numbers(options.sizes, "--sizes", "m=1024")
    typed |= {("sizes", name) for name in sizes}
    bits = _bits(options.bits, file.bits)
    fixed = file.constraints
    for part in ("keep", "bypass", "dataflow", "unfused"):
        if getattr(options, part):
            typed.add(("constraints", part))
    if options.tile:
        typed.add(("constraints", "tiles"))
    typed |= {("bits",)} if options.bits else set()
    typed |= {("set",)} if options.changes else set()
    said = Said(document, frozenset(typed))
    cascade, system = options.cascade or file.cascade, options.system or file.system
    for name, value, example in (("cascade", cascade, "a cascade's name"), ("system", system, "a machine's name")):
        if not value:
            field = name if document is not None else f"--{name}"
            where = (document.file, 1) if document is not None else (None, None)
            raise InputError("is missing", f"{example} or a file", field, *where)
    assert cascade is not None
    assert system is not None
    if options.cascade is None and document is not None:
        cascade = _beside(cascade, folder)
    if options.system is None and document is not None:
        system = _beside(system, folder)
    tiles_in_file = tuple(_tile(text, size, said) for text, size in fixed.tiles.items())
    return Wanted(
        cascade=cascade,
        sizes={**file.sizes, **sizes},
        system=system,
        changes=(*(f"{path}={_text(value)}" for path, value in file.set.items()), *options.changes),
        objective=_one_of("objective", options.objective, OBJECTIVES) or file.objective or "edp",
        fuse=file.fuse and not options.no_fuse,
        tiles=_one_of("tiles", options.tiles, TILES) or file.tiles or "imperfect",
        bits=bits,
        dataflow=_one_of("dataflow", options.dataflow, DATAFLOWS) or fixed.dataflow,
        keep=_pairs(options.keep, "--keep") or _listed(fixed.keep),
        bypass=_pairs(options.bypass, "--bypass") or _listed(fixed.bypass),
        tile=tuple(_typed_tile(word) for word in _words(options.tile)) or tiles_in_file,
        unfused=tuple(_words(options.unfused)) or tuple(fixed.unfused),
        folder=folder,
        said=said,
    )


def _beside(name: str, folder: Path) -> str:
    """A path in a problem file is relative to the file; names and inline text stay as they are."""
    if "\n" in name or not (name.lower().endswith((".edge", ".txt", ".yaml", ".yml", ".json")) or "/" in name):
        return name
    return str(folder / name)


def _words(options: Iterable[str]) -> list[str]:
    """Repeated options and lists with commas, as one list."""
    return [word.strip() for option in options for word in option.split(",") if word.strip()]


def _numbers(options: tuple[str, ...], option: str, example: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for word in _words(options):
        name, equals, text = word.partition("=")
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not equals or not name.strip() or not math.isfinite(number):
            raise InputError(f"{word!r} is no size", f"RANK=NUMBER, such as {example}", field=option)
        if name.strip() in found:
            raise InputError(f"{name.strip()!r} is given twice", "one number for each name", field=option)
        found[name.strip()] = number
    return found


def _bits(options: tuple[str, ...], file: int | dict[str, int] | None) -> int | dict[str, int] | None:
    words = _words(options)
    if not words:
        return file
    if len(words) == 1 and "=" not in words[0]:
        return _whole(words[0], words[0], "--bits", "a number of bits, or TENSOR=BITS")
    found = dict(file) if isinstance(file, dict) else {}
    for word in words:
        name, _, text = word.partition("=")
        found[name.strip()] = _whole(text, word, "--bits", "a number of bits, or TENSOR=BITS")
    return found


def _whole(text: str, word: str, option: str, expected: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InputError(f"{word!r}", expected, field=option) from None


def _pairs(options: tuple[str, ...], option: str) -> tuple[tuple[str, str], ...]:
    found = []
    for word in _words(options):
        level, equals, tensor = (part.strip() for part in word.partition("="))
        if not equals or not level or not tensor:
            raise InputError(f"{word!r}", "LEVEL=TENSOR, such as glb=A", field=option)
        found.append((level, tensor))
    return tuple(found)


def _listed(pairs: Mapping[str, list[str]]) -> tuple[tuple[str, str], ...]:
    return tuple((level, tensor) for level, tensors in pairs.items() for tensor in tensors)


def _typed_tile(word: str) -> tuple[str, str, str, int]:
    path, equals, text = word.partition("=")
    parts = path.strip().split(".")
    expected = "LEVEL.TENSOR.RANK=NUMBER, such as glb.A.m=64"
    if not equals or len(parts) != 3 or not all(parts):
        raise InputError(f"{word!r}", expected, field="--tile")
    return parts[0], parts[1], parts[2], _whole(text, word, "--tile", expected)


def _tile(path: str, size: int, said: Said) -> tuple[str, str, str, int]:
    parts = path.split(".")
    if len(parts) != 3 or not all(parts):
        assert said.document is not None
        error = InputError(f"{path!r} is no store's rank", "LEVEL.TENSOR.RANK, such as glb.A.m")
        raise said.document.error(error.problem, ("constraints", "tiles", path), expected=error.expected)
    return parts[0], parts[1], parts[2], size


def _one_of(name: str, value: str | None, known: Iterable[str]) -> str | None:
    if value is not None and value not in known:
        raise unknown_name(name, value, known, field=f"--{name}")
    return value


def _text(value: str | float) -> str:
    return value if isinstance(value, str) else repr(value)
