"""Systems from and to YAML: bundled presets by name, files by path, single fields overridden by dotted path."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hw.spec import files
from hw.spec.system import System

__all__ = ["dump_system", "load_system", "override", "override_values", "system_json_schema", "system_names"]

_PRESETS = Path(__file__).parent / "presets"


def system_names() -> tuple[str, ...]:
    """The names of the bundled systems, sorted."""
    return files.preset_names(_PRESETS)


def load_system(name_or_path: str | Path) -> System:
    """A bundled system by name, or the system in a YAML or JSON file.

    Text with a path separator, or that ends in .yaml, .yml or .json, is a path. Raises `InputError`, with file and
    line where there is a file.
    """
    return files.load(System, "system", _PRESETS, name_or_path)


def dump_system(system: System) -> str:
    """``system`` as YAML that `load_system` reads back to an equal value; fields at their defaults are left out."""
    return files.dump(system)


def system_json_schema() -> dict[str, Any]:
    """The JSON schema of a system description (draft 2020-12), for editors that check YAML while it is typed."""
    return files.json_schema(System)


def override(system: System, settings: Iterable[str]) -> System:
    """``system`` with fields replaced: ``["tiers.hbm.read_bandwidth=2 TB/s", "devices=4"]``, in YAML's names.

    ``bandwidth`` of a tier sets both its read and its write bandwidth. A replaced number's source becomes "stated: set
    by the user". Raises `InputError` with the path as its field.
    """
    return files.with_settings(system, settings, _expanded, "tiers.hbm.capacity=96 GB")


def override_values(system: System, values: Mapping[str, Any]) -> System:
    """`override` with numbers in SI units: ``{"tiers.hbm.bandwidth": 2e12, "devices": 4}``."""
    return files.with_values(system, values, _expanded)


def _expanded(path: str, plain: dict[str, Any]) -> tuple[str, ...]:
    parts = path.split(".")
    if len(parts) == 3 and parts[0] == "tiers" and parts[1] in plain["tiers"] and parts[2] == "bandwidth":
        return tuple(f"tiers.{parts[1]}.{direction}_bandwidth" for direction in ("read", "write"))
    return (path,)
