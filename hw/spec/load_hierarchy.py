"""The mapper's machines from and to YAML: bundled presets by name, files by path, fields overridden by short paths."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hw.spec import files
from hw.spec.hierarchy import Hierarchy
from workloads.errors import unknown_name

__all__ = ["dump_hierarchy", "hierarchy_json_schema", "hierarchy_names", "load_hierarchy", "override_hierarchy"]

_PRESETS = Path(__file__).parent / "hierarchies"


def hierarchy_names() -> tuple[str, ...]:
    """The names of the bundled mapper machines, sorted."""
    return files.preset_names(_PRESETS)


def load_hierarchy(name_or_path: str | Path) -> Hierarchy:
    """A bundled mapper machine by name, or the one in a YAML or JSON file.

    Text with a path separator, or that ends in .yaml, .yml or .json, is a path. Raises `InputError`, with file and
    line where there is a file.
    """
    return files.load(Hierarchy, "mapper machine", _PRESETS, name_or_path)


def dump_hierarchy(hierarchy: Hierarchy) -> str:
    """``hierarchy`` as YAML that `load_hierarchy` reads back equal; fields at their defaults are left out."""
    return files.dump(hierarchy)


def hierarchy_json_schema() -> dict[str, Any]:
    """The JSON schema of a mapper machine (draft 2020-12), for editors that check YAML while it is typed."""
    return files.json_schema(Hierarchy)


def override_hierarchy(hierarchy: Hierarchy, settings: Iterable[str]) -> Hierarchy:
    """``hierarchy`` with fields replaced: ``["glb.capacity=524288 bit", "mac.actions.mac.energy=0.2 pJ"]``.

    A path begins with the name of a level or a unit, or is the full one (``levels.glb.capacity``). ``energy`` of a
    level sets its read and its write energy; ``infinite`` (or ``none``) removes the limit of a capacity or a
    bandwidth. A replaced number's source becomes "stated: set by the user". Raises `InputError` with the path as its
    field.
    """
    return files.with_settings(hierarchy, settings, _expanded, "glb.capacity=128 MiB")


def _expanded(path: str, plain: dict[str, Any]) -> tuple[str, ...]:
    first, *rest = path.split(".")
    fields = {field.alias or name for name, field in Hierarchy.model_fields.items()}
    if first not in fields:
        group = next((group for group in ("levels", "units") if first in plain[group]), None)
        if group is None:
            raise unknown_name("level or unit", first, (*plain["levels"], *plain["units"]), field=path)
        first, rest = group, [first, *rest]
    if first == "levels" and len(rest) == 2 and rest[1] == "energy":
        return tuple(f"levels.{rest[0]}.{direction}_energy" for direction in ("read", "write"))
    return (".".join((first, *rest)),)
