"""Typed access to the keys of one configuration, with errors that name file, line, field and what was expected."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from workloads.errors import InputError, nearest_name

__all__ = ["LARGEST_LAYERS", "LARGEST_SIZE", "Config", "Key", "key_lines"]

T = TypeVar("T")

Key = str | tuple[str, ...]
"""A key, or the names under which different versions of one family store the same thing, usual name first."""

LARGEST_SIZE = 10**9
LARGEST_LAYERS = 10_000

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:]')


def key_lines(text: str) -> dict[str, int]:
    """The line (1-based) of each top-level key of the JSON object in ``text``; a repeated key keeps its last line."""
    lines: dict[str, int] = {}
    depth, line, seen = 0, 1, 0
    last = ""
    for token in _TOKEN.finditer(text):
        line += text.count("\n", seen, token.start())
        seen = token.start()
        found = token.group()
        if found in "{[":
            depth += 1
        elif found in "}]":
            depth -= 1
        elif found == ":" and depth == 1 and last:
            lines[last] = line
        last = found[1:-1] if found.startswith('"') else ""
    return lines


@dataclass(frozen=True)
class Config:
    """The keys and values of a configuration; the ``file`` they came from, its ``text`` and the ``path`` of dotted keys
    that leads to them are for errors.

    A key whose value is null counts as absent, as it does in the files themselves. Every method raises `InputError`
    when the value is missing without a default, or not of the kind asked for.
    """

    values: Mapping[str, object]
    file: str | None = None
    text: str = ""
    path: str = ""

    def error(
        self, field: str | None, problem: str, expected: str | None = None, nearest: str | None = None
    ) -> InputError:
        """An error about ``field``, placed at its line where the configuration came from a file."""
        line = key_lines(self.text).get((self.path + field).split(".")[0]) if field and self.text else None
        where = self.path + field if field else None
        return InputError(problem, expected=expected, field=where, file=self.file, line=line, nearest=nearest)

    def has(self, key: Key) -> bool:
        """Whether ``key`` is present and not null."""
        return self.present(key) is not None

    def present(self, key: Key) -> str | None:
        """The name under which ``key`` is present and not null, or None."""
        names = (key,) if isinstance(key, str) else key
        return next((name for name in names if self.values.get(name) is not None), None)

    def require(self, *keys: Key) -> None:
        """Refuse the configuration unless all ``keys`` are present; one error names all that are missing."""
        usual = [key if isinstance(key, str) else key[0] for key in keys]
        missing = [name for name, key in zip(usual, keys, strict=True) if not self.has(key)]
        if not missing:
            return
        known = {name for key in keys for name in ((key,) if isinstance(key, str) else key)}
        # A misspelt key shows up twice: as a required one that is missing and as an unknown one that resembles it.
        unknown = [name for name in self.values if isinstance(name, str) and name not in known]
        nearest = next((name for name in missing if unknown and _resembles(name, unknown)), None)
        raise InputError(
            f"missing key{'s' if len(missing) > 1 else ''} {', '.join(missing)}",
            expected=f"all of {', '.join(usual)}",
            field=missing[0],
            file=self.file,
            nearest=nearest,
        )

    def count(self, key: Key, default: int | None = None, *, least: int = 1, most: int = LARGEST_SIZE) -> int:
        """A whole number from ``least`` to ``most``."""
        name = self.present(key)
        if name is None:
            return self._absent(key, default)
        value = self.values[name]
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self.error(name, f"found {_shown(value)}", f"a whole number from {least:,} to {most:,}")
        return value

    def optional_count(self, key: Key, *, least: int = 1) -> int | None:
        """A whole number from ``least`` up, or None where the key is absent or null."""
        return self.count(key, least=least) if self.has(key) else None

    def flag(self, key: Key, default: bool | None = None) -> bool:
        """true or false."""
        name = self.present(key)
        if name is None:
            return self._absent(key, default)
        value = self.values[name]
        if not isinstance(value, bool):
            raise self.error(name, f"found {_shown(value)}", "true or false")
        return value

    def word(self, key: Key, default: str | None = None) -> str:
        """A non-empty string."""
        name = self.present(key)
        if name is None:
            return self._absent(key, default)
        value = self.values[name]
        if not isinstance(value, str) or not value:
            raise self.error(name, f"found {_shown(value)}", "a name in quotes")
        return value

    def words(self, key: str) -> tuple[str, ...]:
        """A list of strings; empty where the key is absent."""
        value = self.values.get(key)
        if value is None:
            return ()
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
            raise self.error(key, f"found {_shown(value)}", "a list of names in quotes")
        return tuple(value)

    def counts(self, key: str, *, least: int = 0, most: int = LARGEST_SIZE) -> tuple[int, ...]:
        """A list of whole numbers from ``least`` to ``most``; empty where the key is absent."""
        value = self.values.get(key)
        if value is None:
            return ()
        if not isinstance(value, list | tuple) or not all(
            isinstance(item, int) and not isinstance(item, bool) and least <= item <= most for item in value
        ):
            raise self.error(key, f"found {_shown(value)}", f"a list of whole numbers from {least:,} to {most:,}")
        return tuple(value)

    def flags(self, key: str) -> tuple[bool, ...]:
        """A list of true and false; empty where the key is absent."""
        value = self.values.get(key)
        if value is None:
            return ()
        if not isinstance(value, list | tuple) or not all(isinstance(item, bool) for item in value):
            raise self.error(key, f"found {_shown(value)}", "a list of true and false")
        return tuple(value)

    def section(self, key: str) -> Config | None:
        """The object stored under ``key`` as a configuration of its own, or None where absent."""
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise self.error(key, f"found {_shown(value)}", "an object with keys")
        return Config({str(name): item for name, item in value.items()}, self.file, self.text, f"{self.path}{key}.")

    def _absent(self, key: Key, default: T | None) -> T:
        if default is None:
            name = key if isinstance(key, str) else key[0]
            raise self.error(name, f"missing key {name}")
        return default


def _resembles(name: str, unknown: Sequence[str]) -> bool:
    return nearest_name(name, unknown) is not None


def _shown(value: object) -> str:
    """``value`` as it would stand in JSON, cut to a length that fits a sentence."""
    if isinstance(value, bool):
        return "true" if value else "false"
    try:
        text = repr(value)
    except ValueError:
        # The interpreter refuses to print integers of thousands of digits.
        return "a number too long to show"
    return text if len(text) <= 60 else text[:57] + "..."
