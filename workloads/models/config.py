"""Reads a published model configuration (a config.json as it stands on a model's page) into a `Model`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from workloads.errors import InputError, nearest_name, unknown_name
from workloads.models.architecture import Model
from workloads.models.fields import Config
from workloads.models.readers import ARCHITECTURES, MODEL_TYPES, Reader

__all__ = ["parse_model", "read_model"]


def read_model(source: str | Path | Mapping[str, object], *, name: str | None = None) -> Model:
    """The model that a config.json file, a folder that holds one, or its keys as a mapping describe.

    ``name`` defaults to the file's name without suffix (the folder's where the file is called config.json), or to the
    family for a mapping. Raises `InputError`, never another exception, for a file that cannot be read, is not JSON, or
    describes an unknown architecture, lacks keys or holds values that do not fit.
    """
    if isinstance(source, Mapping):
        return _build(Config(source), name)
    path = Path(source)
    if path.is_dir():
        path = path / "config.json"
    default = path.parent.resolve().name if path.name == "config.json" else path.stem
    return parse_model(_text(path), name=name or default, file=str(path))


def parse_model(text: str, *, name: str, file: str | None = None) -> Model:
    """The model that the config.json ``text`` describes; ``file`` is named in errors."""
    try:
        values = json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise InputError(
            f"not JSON: {error.msg} at column {error.colno}", expected="a JSON object", file=file, line=error.lineno
        ) from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"not JSON: {error}", expected="a JSON object", file=file) from None
    if not isinstance(values, dict):
        raise InputError(f"found a JSON {type(values).__name__}", expected="a JSON object with keys", file=file)
    return _build(Config(values, file, text), name)


def _build(config: Config, name: str | None) -> Model:
    reader = _reader(config)
    return reader(config, name or config.word("model_type", "model"))


def _reader(config: Config) -> Reader:
    """The reader for the first of ``architectures``, or for ``model_type`` where there are none."""
    named = config.words("architectures")
    kind = config.word("model_type", "none") if config.has("model_type") else None
    if named:
        if named[0] not in ARCHITECTURES:
            raise _unknown(config, "architectures", named[0])
        reader = ARCHITECTURES[named[0]]
        if kind in MODEL_TYPES and MODEL_TYPES[kind] is not reader:
            raise config.error("model_type", f"{kind!r} does not go with architecture {named[0]!r}", "matching names")
        return reader
    if kind is None:
        raise InputError(
            "neither architectures nor model_type is given",
            expected=f"architectures: one of {', '.join(sorted(ARCHITECTURES))}",
            field="architectures",
            file=config.file,
        )
    if kind not in MODEL_TYPES:
        raise _unknown(config, "model_type", kind)
    return MODEL_TYPES[kind]


def _unknown(config: Config, field: str, found: str) -> InputError:
    """Lists all that is supported, since a user cannot guess the one that resembles a new architecture."""
    valid = sorted(ARCHITECTURES if field == "architectures" else MODEL_TYPES)
    return config.error(
        field, f"unknown architecture {found!r}", f"one of {', '.join(valid)}", nearest_name(found, valid)
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        siblings = [entry.name for entry in path.parent.glob("*.json")] if path.parent.is_dir() else []
        if siblings:
            raise unknown_name("file", path.name, siblings, file=str(path)) from None
        raise InputError("no such file", expected="a model's config.json", file=str(path)) from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"byte {error.start} is not UTF-8 text", expected="a model's config.json", file=str(path)
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read: {error}", expected="a model's config.json", file=str(path)) from None


def _no_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")
