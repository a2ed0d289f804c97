"""The studies there are: every module that lies directly in `studies` is one, its name with hyphens for underscores."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path

from studies.frame.study import Study
from workloads.errors import unknown_name

__all__ = ["load_study", "study_names"]

_HOME = Path(__file__).resolve().parents[1]


def study_names() -> tuple[str, ...]:
    """The names of all studies, sorted."""
    return tuple(sorted(path.stem.replace("_", "-") for path in _HOME.glob("*.py") if path.stem != "__init__"))


def load_study(name: str) -> Study:
    """The study with that name. Raises `InputError` for an unknown one."""
    if name not in study_names():
        raise unknown_name("study", name, study_names())
    study: Study = import_module(f"studies.{name.replace('-', '_')}").STUDY
    return replace(study, name=name)
