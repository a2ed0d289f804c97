"""What the descriptions in YAML have in common: presets by name, files by path, single fields set by dotted path."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_origin

import yaml
from pydantic import ValidationError

from hw.spec.component import Component
from workloads.documents import Document, parse_yaml_value, read_document
from workloads.errors import InputError, nearest_name, unknown_name
from workloads.validation import annotation_at, validate, validation_error

__all__ = ["dump", "json_schema", "load", "plain", "preset_names", "with_settings", "with_values"]

Root = TypeVar("Root", bound=Component)

_SET_BY_USER = "stated: set by the user"


def preset_names(folder: Path) -> tuple[str, ...]:
    """The names of the descriptions bundled in ``folder``, sorted."""
    return tuple(sorted(file.stem for file in folder.glob("*.yaml")))


def load(model: type[Root], kind: str, folder: Path, name_or_path: str | Path) -> Root:
    """A bundled description by name, or the one in a YAML or JSON file; ``kind`` is what errors call it.

    Text with a path separator, or that ends in .yaml, .yml or .json, is a path. Raises `InputError`, with file and
    line where there is a file.
    """
    text = str(name_or_path)
    is_path = text.lower().endswith((".yaml", ".yml", ".json")) or "/" in text or os.sep in text
    if is_path or isinstance(name_or_path, Path):
        return validate(model, read_document(name_or_path))
    if text not in preset_names(folder):
        raise unknown_name(kind, text, preset_names(folder))
    return validate(model, read_document(folder / f"{text}.yaml"))


def plain(component: Component) -> dict[str, Any]:
    """``component`` as JSON values by the names files use; fields at their defaults are left out."""
    return component.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def dump(component: Component) -> str:
    """``component`` as YAML that reads back to an equal value."""
    return yaml.safe_dump(_sources_last(plain(component)), sort_keys=False, width=120, allow_unicode=True)


def json_schema(model: type[Component]) -> dict[str, Any]:
    """The JSON schema of a description (draft 2020-12), for editors that check YAML while it is typed."""
    # The two modes differ in the defaults only, which serialization mode shows with their units.
    schema = model.model_json_schema(by_alias=True, mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def with_settings(
    root: Root, settings: Iterable[str], expanded: Callable[[str, dict[str, Any]], tuple[str, ...]], example: str
) -> Root:
    """``root`` with fields replaced: ``["tiers.hbm.read_bandwidth=2 TB/s"]``, in YAML's names.

    ``expanded`` turns the path a user wrote into the paths that are set, given the root as JSON values. A replaced
    number's source becomes "stated: set by the user". Raises `InputError` with the path as its field.
    """
    model, values = type(root), plain(root)
    for setting in settings:
        path, equals, text = setting.partition("=")
        path = path.strip()
        if not equals or not path:
            raise InputError(f"{setting!r} is not a setting", f"PATH=VALUE such as {example!r}")
        try:
            value = parse_yaml_value(text)
        except InputError as error:
            raise InputError(error.problem, error.expected, path) from None
        for full_path in expanded(path, values):
            _set(model, values, full_path, value)
    try:
        return validate(model, Document("", values, {}))
    except InputError as error:
        raise InputError(error.problem, error.expected, error.field, nearest=error.nearest) from None


def with_values(
    root: Root, values: Mapping[str, Any], expanded: Callable[[str, dict[str, Any]], tuple[str, ...]]
) -> Root:
    """`with_settings` for numbers in SI units: ``{"tiers.hbm.read_bandwidth": 2e12}``, in YAML's names."""
    model, inside = type(root), root.model_dump(by_alias=True, exclude_defaults=True)
    for path, value in values.items():
        for full_path in expanded(path, inside):
            _set(model, inside, full_path, value)
    try:
        return model.model_validate(inside)
    except ValidationError as error:
        raise validation_error(error, Document("", inside, {}), model) from None


def _sources_last(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: _sources_last(value[key]) for key in sorted(value, key=lambda key: key == "sources")}


def _set(model: type[Component], values: dict[str, Any], path: str, value: Any) -> None:
    """Put ``value`` at ``path``; whether the last name exists and the value suits it, validation says afterwards."""
    *parents, last = path.split(".")
    holder, component, within = values, values, ""
    for depth, part in enumerate(parents, start=1):
        declared = annotation_at(model, tuple(parents[:depth]))
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
    if annotation_at(model, (*parents, last)) in (int, float):
        component["sources"] = {**component.get("sources", {}), f"{within}{last}": _SET_BY_USER}
