"""Systems from and to YAML: bundled presets by name, files by path, single fields overridden by dotted path."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_origin

import yaml

from hw.spec.system import Component, System
from workloads.documents import Document, parse_yaml_value, read_document
from workloads.errors import InputError, nearest_name, unknown_name
from workloads.validation import annotation_at, validate

__all__ = ["dump_system", "load_system", "override", "system_json_schema", "system_names"]

_PRESETS = Path(__file__).parent / "presets"
_SET_BY_USER = "stated: set by the user"


def system_names() -> tuple[str, ...]:
    """The names of the bundled systems, sorted."""
    return tuple(sorted(file.stem for file in _PRESETS.glob("*.yaml")))


def load_system(name_or_path: str | Path) -> System:
    """A bundled system by name, or the system in a YAML or JSON file.

    Text with a path separator, or that ends in .yaml, .yml or .json, is a path. Raises `InputError`, with file and
    line where there is a file.
    """
    text = str(name_or_path)
    is_path = text.lower().endswith((".yaml", ".yml", ".json")) or "/" in text or os.sep in text
    if is_path or isinstance(name_or_path, Path):
        return validate(System, read_document(name_or_path))
    if text not in system_names():
        raise unknown_name("system", text, system_names())
    return validate(System, read_document(_PRESETS / f"{text}.yaml"))


def dump_system(system: System) -> str:
    """``system`` as YAML that `load_system` reads back to an equal value; fields at their defaults are left out."""
    return yaml.safe_dump(_sources_last(_plain(system)), sort_keys=False, width=120, allow_unicode=True)


def system_json_schema() -> dict[str, Any]:
    """The JSON schema of a system description (draft 2020-12), for editors that check YAML while it is typed."""
    # The two modes differ in the defaults only, which serialization mode shows with their units.
    schema = System.model_json_schema(by_alias=True, mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def override(system: System, settings: Iterable[str]) -> System:
    """``system`` with fields replaced: ``["tiers.hbm.read_bandwidth=2 TB/s", "devices=4"]``, in YAML's names.

    ``bandwidth`` of a tier sets both its read and its write bandwidth. A replaced number's source becomes "stated: set
    by the user". Raises `InputError` with the path as its field.
    """
    plain = _plain(system)
    for setting in settings:
        path, equals, text = setting.partition("=")
        path = path.strip()
        if not equals or not path:
            raise InputError(f"{setting!r} is not a setting", "PATH=VALUE such as 'tiers.hbm.capacity=96 GB'")
        try:
            value = parse_yaml_value(text)
        except InputError as error:
            raise InputError(error.problem, error.expected, path) from None
        for full_path in _expanded(path, plain):
            _set(plain, full_path, value)
    try:
        return validate(System, Document("", plain, {}))
    except InputError as error:
        raise InputError(error.problem, error.expected, error.field, nearest=error.nearest) from None


def _plain(system: System) -> dict[str, Any]:
    return system.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def _sources_last(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: _sources_last(value[key]) for key in sorted(value, key=lambda key: key == "sources")}


def _expanded(path: str, plain: dict[str, Any]) -> tuple[str, ...]:
    parts = path.split(".")
    if len(parts) == 3 and parts[0] == "tiers" and parts[1] in plain["tiers"] and parts[2] == "bandwidth":
        return tuple(f"tiers.{parts[1]}.{direction}_bandwidth" for direction in ("read", "write"))
    return (path,)


def _set(plain: dict[str, Any], path: str, value: Any) -> None:
    """Put ``value`` at ``path``; whether the last name exists and the value suits it, validation says afterwards."""
    *parents, last = path.split(".")
    holder, component, within = plain, plain, ""
    for depth, part in enumerate(parents, start=1):
        declared = annotation_at(System, tuple(parents[:depth]))
        if get_origin(declared) is dict:
            holder.setdefault(part, {})
        if not isinstance(holder.get(part), dict):
            names = [name for name, inner in holder.items() if isinstance(inner, dict) and name != "sources"]
            expected = f"one of {', '.join(names)}" if names else "a field without parts"
            problem = f"there is no {part!r} to set anything in"
            raise InputError(problem, expected, ".".join(parents[:depth]), nearest=nearest_name(part, names))
        holder = holder[part]
        is_component = isinstance(declared, type) and issubclass(declared, Component)
        component, within = (holder, "") if is_component else (component, f"{part}.")
    holder[last] = value
    if annotation_at(System, (*parents, last)) in (int, float):
        component["sources"] = {**component.get("sources", {}), f"{within}{last}": _SET_BY_USER}
