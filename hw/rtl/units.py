"""The units there are, found by their files; none is loaded before it is asked for."""

from __future__ import annotations

import importlib
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

from hw.rtl.unit import Unit
from workloads.errors import InputError, unknown_name

__all__ = ["FAMILIES", "parameters_of", "unit", "unit_names"]

FAMILIES = ("stream", "arith", "attention", "dequant")
_END = "_model.py"


@cache
def _modules() -> dict[str, str]:
    here = Path(__file__).parent
    return {
        path.name.removesuffix(_END).replace("_", "-"): f"hw.rtl.{family}.{path.stem}"
        for family in FAMILIES
        for path in sorted((here / family).glob(f"*{_END}"))
    }


def unit_names() -> tuple[str, ...]:
    """Names of all units, family by family."""
    return tuple(_modules())


def unit(name: str) -> Unit[Any]:
    """The unit of that name; `InputError` if there is none."""
    if name not in _modules():
        raise unknown_name("unit", name, unit_names())
    found: Unit[Any] = importlib.import_module(_modules()[name]).UNIT
    return found


def parameters_of(chosen: Unit[Any], settings: dict[str, Any]) -> Any:
    """The unit's parameters with ``settings`` in place of defaults; text is read as the default's type.

    Raises `InputError` naming the parameter that is unknown, cannot be read or cannot be had.
    """
    known = {field.name: field.default for field in fields(chosen.parameters)}
    values = {}
    for name, value in settings.items():
        if name not in known:
            raise unknown_name(f"parameter of {chosen.name}", name, known)
        values[name] = _read(name, value, type(known[name])) if isinstance(value, str) else value
    return chosen.parameters(**values)


def _read(name: str, text: str, kind: type) -> Any:
    if kind is bool:
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        raise InputError(f"{text!r} is neither true nor false", "true or false", name)
    try:
        return kind(text)
    except ValueError:
        wanted = {int: "a whole number", float: "a number"}.get(kind, kind.__name__)
        raise InputError(f"found {text!r}", wanted, name) from None
