"""What a mapper machine's parts must agree on beyond their own types. Complaints name the field by its YAML path."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from workloads.errors import InputError, unknown_name

if TYPE_CHECKING:
    from hw.spec.component import Component
    from hw.spec.hierarchy import Hierarchy, Level, Unit

_DEEPEST = 8

__all__ = ["KEEP_WORDS", "check_hierarchy", "hierarchy_components"]

KEEP_WORDS = ("all", "input", "weight", "output", "intermediate")
"""The words of keep rules; ``not`` may stand before each."""


def check_hierarchy(hierarchy: Hierarchy) -> None:
    """Raise an `InputError` about the first part of ``hierarchy`` that contradicts another."""
    _check_parents(hierarchy)
    _check_names(hierarchy)
    _check_root(hierarchy)
    for name, level in hierarchy.levels.items():
        _check_ports(name, level)
        _check_keep_rules(hierarchy, name, level)
    for name, unit in hierarchy.units.items():
        _check_actions(name, unit)
        _check_systolic(name, unit)
    for path, component in hierarchy_components(hierarchy):
        _check_sources(path, component)


def hierarchy_components(hierarchy: Hierarchy) -> Iterator[tuple[str, Component]]:
    """Every component with its dotted path, the hierarchy itself first."""
    yield "", hierarchy
    for name, level in hierarchy.levels.items():
        yield f"levels.{name}", level
        yield from ((f"levels.{name}.fanout.{dimension}", fanout) for dimension, fanout in level.fanout.items())
    for name, unit in hierarchy.units.items():
        yield f"units.{name}", unit
        yield from ((f"units.{name}.fanout.{dimension}", fanout) for dimension, fanout in unit.fanout.items())
        yield from ((f"units.{name}.actions.{action}", cost) for action, cost in unit.actions.items())
        if unit.systolic is not None:
            yield f"units.{name}.systolic", unit.systolic


def _check_parents(hierarchy: Hierarchy) -> None:
    seen: list[str] = []
    for name, level in hierarchy.levels.items():
        if level.parent is None and seen:
            raise InputError("has no parent", f"one of {', '.join(seen)}", f"levels.{name}.parent")
        if level.parent is not None and level.parent not in seen:
            raise unknown_name("outer level", level.parent, seen, field=f"levels.{name}.parent")
        seen.append(name)
    for name, unit in hierarchy.units.items():
        if unit.parent not in hierarchy.levels:
            raise unknown_name("level", unit.parent, seen, field=f"units.{name}.parent")


def _check_names(hierarchy: Hierarchy) -> None:
    fields = {field.alias or name for name, field in type(hierarchy).model_fields.items()}
    for group, kind in (("levels", "level"), ("units", "unit")):
        for name in getattr(hierarchy, group):
            # Settings begin with the name of a level or a unit, or with a field of the machine.
            if name in fields:
                problem, expected = f"{name!r} is a field of the machine", f"another name for the {kind}"
                raise InputError(problem, expected, f"{group}.{name}")
            if name in KEEP_WORDS:
                problem, expected = f"{name!r} is a word of keep rules", f"another name for the {kind}"
                raise InputError(problem, expected, f"{group}.{name}")
    for name in hierarchy.units:
        if name in hierarchy.levels:
            raise InputError(f"{name!r} is a level's name too", "another name for the unit", f"units.{name}")


def _check_root(hierarchy: Hierarchy) -> None:
    root = hierarchy.levels[hierarchy.root]
    if root.fanout:
        problem, expected = "the outermost level has a fan-out", "one outermost level; fan-outs further in"
        raise InputError(problem, expected, f"levels.{hierarchy.root}.fanout")
    if not root.keep:
        problem = "the outermost level has no keep rule, so tensors have no home"
        raise InputError(problem, "a keep rule such as [all] or [not intermediate]", f"levels.{hierarchy.root}.keep")


def _check_ports(name: str, level: Level) -> None:
    if level.bandwidth_bytes_per_s is None:
        return
    for own, bandwidth in (
        ("read_bandwidth", level.read_bandwidth_bytes_per_s),
        ("write_bandwidth", level.write_bandwidth_bytes_per_s),
    ):
        if bandwidth is not None:
            problem = "reads and writes share one port (bandwidth) and have ports of their own"
            raise InputError(problem, "either bandwidth, or read_bandwidth and write_bandwidth", f"levels.{name}.{own}")


def _check_keep_rules(hierarchy: Hierarchy, name: str, level: Level) -> None:
    outer: list[str] = []
    parent = level.parent
    while parent is not None:
        outer.append(parent)
        parent = hierarchy.levels[parent].parent
    for field, rules in (("keep", level.keep), ("may_keep", level.may_keep)):
        for index, rule in enumerate(rules):
            words = rule.split()
            negated = words[:1] == ["not"]
            last = " ".join(words[1:] if negated else words)
            valid = (*KEEP_WORDS, *outer) if negated else (*KEEP_WORDS, *(f"not {level}" for level in outer))
            if last not in (valid if negated else KEEP_WORDS):
                what = "outer level or word after 'not'" if negated else "word"
                raise unknown_name(what, last, valid, field=f"levels.{name}.{field}[{index}]")


def _check_actions(name: str, unit: Unit) -> None:
    for action, cost in unit.actions.items():
        for part in cost.made_of:
            if part not in unit.actions:
                field = f"units.{name}.actions.{action}.made_of.{part}"
                raise unknown_name("action", part, unit.actions, field=field)
    depths: dict[str, int] = {}
    for action in unit.actions:
        _depth(name, unit, (action,), depths)


def _depth(name: str, unit: Unit, chain: tuple[str, ...], depths: dict[str, int]) -> int:
    """How deep ``chain``'s last action nests others, 0 for one with a cost of its own; ``depths`` keeps the known."""
    action = chain[-1]
    if action in chain[:-1]:
        problem = f"{action!r} is made of itself: {' -> '.join(chain[chain.index(action) :])}"
        raise InputError(problem, "actions that end in a cost of their own", f"units.{name}.actions.{action}.made_of")
    if action not in depths:
        parts = unit.actions[action].made_of if len(chain) <= _DEEPEST + 1 else ()
        depths[action] = 1 + max((_depth(name, unit, (*chain, part), depths) for part in parts), default=-1)
    if len(chain) - 1 + depths[action] > _DEEPEST:
        expected = f"actions made of actions, at most {_DEEPEST} deep"
        raise InputError("nested too deeply", expected, f"units.{name}.actions.{chain[0]}.made_of")
    return depths[action]


def _check_systolic(name: str, unit: Unit) -> None:
    if unit.systolic is not None and set(unit.fanout) != {"rows", "columns"}:
        problem = f"a systolic unit with the fan-out {', '.join(unit.fanout) or 'none'}"
        raise InputError(problem, "fan-out dimensions rows and columns", f"units.{name}.fanout")


def _check_sources(path: str, component: Component) -> None:
    known = set(_source_names(component))
    for name in component.sources:
        if name not in known:
            raise unknown_name("field", name, known, field=f"{path}.sources.{name}".lstrip("."))


def _source_names(component: Component) -> Iterator[str]:
    """The names a component may give sources for: its fields in YAML, and the entries of those that are mappings."""
    for attribute, field in type(component).model_fields.items():
        if attribute != "sources":
            name = field.alias or attribute
            yield name
            if isinstance(entries := getattr(component, attribute), dict):
                yield from (f"{name}.{entry}" for entry in entries)
