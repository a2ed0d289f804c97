"""Constants of kernel families by architecture and software epoch, each entry with its source.

A family's entries lie in ``constants/FAMILY.yaml``: a list of

    architecture: ampere          # of the engine, as systems state it
    software: vllm-0.14           # an epoch of `mappers.kernels.software`
    gpu: a100-80gb-sxm            # the system it was fitted on
    values: {compute_efficiency: 0.83, ...}
    spread: {short: [0.9, 1.2], medium: [0.95, 1.1], long: [0.97, 1.05]}
    source: "fitted: ..."

``values`` are the fields of the family's frozen dataclass (`typed`); ``spread`` holds the factors on the best estimate
by size class (`mappers.kernels.time.SIZE_CLASSES`) between which 80 % of the fitted rows lie.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import yaml

from mappers.kernels.software import SOFTWARE, software
from mappers.kernels.time import SIZE_CLASSES, Spread
from workloads.errors import InputError

__all__ = ["ARCHITECTURES", "LAUNCH_VALUES", "Choice", "Entry", "bundled", "constants", "read_constants", "typed"]

Family = TypeVar("Family")

ARCHITECTURES = (("volta", "turing", "ampere", "ada", "hopper", "blackwell"), ("cdna", "cdna2", "cdna3", "cdna4"))
"""Lines of architectures, each in the order they came; the nearest in the same line stands in for an unfitted one."""


LAUNCH_VALUES = ("launch_s", "host_s")
"""Values that depend on how kernels are launched."""


@dataclass(frozen=True)
class Entry:
    """The constants of one family on one architecture with one software epoch."""

    family: str
    architecture: str
    software: str
    gpu: str
    values: Mapping[str, float]
    spread: Mapping[str, Spread]
    source: str


@dataclass(frozen=True)
class Choice:
    """The entry taken, and in ``note`` what was asked for where that was something else (empty: exactly this)."""

    entry: Entry
    note: str


def constants(
    family: str, architecture: str, software_name: str, *, gpu: str = "", given: Sequence[Entry] = ()
) -> Choice:
    """The entry nearest to what is asked: first by architecture, then by software, then the same GPU.

    ``given`` entries (a calibrated machine's) of the architecture stand before all bundled ones. Launches from a graph
    and eager calls differ most: where the entry's are of the other sort, those of the nearest of the right sort stand
    in. Raises `InputError` for an unknown software or a family without entries.
    """
    wanted = software(software_name)
    entries = [entry for entry in (*given, *bundled(family)) if entry.family == family]
    if not entries:
        raise InputError(f"no constants of {family!r}", expected="a family with fitted constants", field="family")

    def distance(entry: Entry) -> tuple[float, float, bool]:
        years = abs(SOFTWARE[entry.software].year - wanted.year)
        return _apart(architecture, entry.architecture), years, entry.gpu != gpu

    own = [entry for entry in given if (entry.family, entry.architecture) == (family, architecture)]
    taken = min(own or entries, key=distance)
    told = []
    alike = [entry for entry in entries if SOFTWARE[entry.software].launch == wanted.launch]
    if alike and SOFTWARE[taken.software].launch != wanted.launch:
        source = min(alike, key=distance)
        launches = {name: source.values[name] for name in LAUNCH_VALUES if name in source.values}
        taken = replace(taken, values={**taken.values, **launches})
        told.append(f"launched as on {source.gpu} with {source.software}")
    if taken.architecture != architecture:
        told.append(f"{architecture} takes the constants of {taken.architecture}")
    if taken.software != software_name:
        told.append(f"{software_name} takes those of {taken.software}")
    return Choice(taken, f"{family} kernels: {', '.join(told)} ({taken.gpu})" if told else "")


def typed(kind: type[Family], entry: Entry) -> Family:
    """The values of an entry as the family's dataclass. Raises `InputError` for missing or unknown names."""
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    wrong = sorted(names ^ set(entry.values))
    if wrong:
        raise InputError(
            f"{'unknown' if wrong[0] in entry.values else 'missing'} constant {wrong[0]!r} of {entry.family}",
            expected=", ".join(sorted(names)),
            field=f"{entry.family}.values",
        )
    return kind(**entry.values)


@lru_cache(maxsize=16)
def bundled(family: str) -> tuple[Entry, ...]:
    """The entries that come with the project; none for an unknown family."""
    resource = files("mappers.kernels").joinpath("constants").joinpath(f"{family}.yaml")
    if not resource.is_file():
        return ()
    return _entries(family, yaml.safe_load(resource.read_text(encoding="utf-8")), str(resource))


def read_constants(path: Path) -> tuple[Entry, ...]:
    """The entries of a file with a list for each family (``gemm: [...]``), as `tiercade calibrate` writes it."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError("cannot be read as YAML", "a file of kernel constants", file=str(path)) from error
    if not isinstance(document, dict):
        raise InputError("holds no families", "FAMILY: [entries...]", file=str(path))
    return tuple(entry for family, listed in document.items() for entry in _entries(str(family), listed, str(path)))


def _entries(family: str, listed: Any, file: str) -> tuple[Entry, ...]:
    if not isinstance(listed, list):
        raise InputError("holds no list of entries", "- architecture: ...", family, file=file)
    return tuple(_entry(family, one, file) for one in listed)


def _entry(family: str, given: Any, file: str) -> Entry:
    keys = ("architecture", "software", "gpu", "values", "spread", "source")
    if not isinstance(given, dict) or set(given) != set(keys):
        raise InputError("an entry with other keys", f"the keys {', '.join(keys)}", family, file=file)
    software(given["software"])
    try:
        values = {str(name): float(value) for name, value in given["values"].items()}
        spread = {str(name): Spread(float(low), float(high)) for name, (low, high) in given["spread"].items()}
    except (TypeError, ValueError, AttributeError):
        raise InputError("values or spread hold no numbers", "NAME: number, CLASS: [low, high]", family, file) from None
    if set(spread) != set(SIZE_CLASSES):
        raise InputError("a spread of other classes", ", ".join(SIZE_CLASSES), f"{family}.spread", file=file)
    texts = (str(given["architecture"]), str(given["software"]), str(given["gpu"]))
    return Entry(family, *texts, values=values, spread=spread, source=str(given["source"]))


def _apart(asked: str, had: str) -> float:
    """How far architectures are apart: generations within a line; another line is further than any of its own."""
    for line in ARCHITECTURES:
        if asked in line:
            return abs(line.index(asked) - line.index(had)) if had in line else float(len(line))
    # Of an unknown architecture nothing is near; the newest generation fitted stands in.
    return float(asked != had) * (1.0 + min(len(line) - line.index(had) for line in ARCHITECTURES if had in line))
