"""Broken descriptions, made from good ones by seeded mutation: never a traceback, always a place."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from hw.spec.load import load_system, system_names
from tests.hw.spec.machines import refusal

PRESETS = Path(__file__).resolve().parents[3] / "hw" / "spec" / "presets"
ROUNDS = 40


def _pick(lines: list[str], rng: random.Random, having: str = ":") -> int:
    return rng.choice([index for index, line in enumerate(lines) if having in line])


def drop_line(lines: list[str], rng: random.Random) -> None:
    del lines[_pick(lines, rng)]


def repeat_line(lines: list[str], rng: random.Random) -> None:
    at = _pick(lines, rng)
    lines.insert(at, lines[at])


def misspell_key(lines: list[str], rng: random.Random) -> None:
    at = _pick(lines, rng)
    head, colon, rest = lines[at].partition(":")
    cut = rng.randrange(len(head) - len(head.lstrip()), len(head) + 1)
    lines[at] = head[:cut] + rng.choice(["x", "_", "-", "E", "ü"]) + head[cut:] + colon + rest


def change_value(lines: list[str], rng: random.Random) -> None:
    at = _pick(lines, rng)
    values = [
        "",
        "3",
        "-3",
        "0",
        "1e400",
        ".nan",
        "true",
        "null",
        "[]",
        "[1, 2]",
        "{}",
        "{a: b}",
        "text",
        "'",
        '"',
        "*a",
    ]
    values += ["&a b", "!t b", "80 GB", "3 TB/s", "1 us", "5 W", "-1 GB/s", "0 s", "3 furlong", "9" * 500, "1e99999 B"]
    lines[at] = lines[at].partition(":")[0] + ": " + rng.choice(values)


def change_unit(lines: list[str], rng: random.Random) -> None:
    at = _pick(lines, rng, "B")
    old, new = rng.sample(["GB", "TB", "/s", "MiB", "KiB", "B"], 2)
    lines[at] = lines[at].replace(old, new)


def indent(lines: list[str], rng: random.Random) -> None:
    at = _pick(lines, rng)
    lines[at] = rng.choice([" ", "   ", "\t", "  \t"]) + lines[at]


def dedent(lines: list[str], rng: random.Random) -> None:
    at = _pick(lines, rng, "  ")
    lines[at] = lines[at][rng.randrange(1, 3) :]


def truncate(lines: list[str], rng: random.Random) -> None:
    at = rng.randrange(len(lines))
    lines[at:] = [lines[at][: rng.randrange(len(lines[at]) + 1)]]


def corrupt_character(lines: list[str], rng: random.Random) -> None:
    at = _pick(lines, rng)
    cut = rng.randrange(len(lines[at]))
    lines[at] = lines[at][:cut] + rng.choice("{}[]:,#&*!|>'\"%@`\x00\x07\u2028é?-") + lines[at][cut + 1 :]


def swap_lines(lines: list[str], rng: random.Random) -> None:
    first, second = _pick(lines, rng), _pick(lines, rng)
    lines[first], lines[second] = lines[second], lines[first]


MUTATIONS: tuple[Callable[[list[str], random.Random], None], ...] = (
    drop_line,
    repeat_line,
    misspell_key,
    change_value,
    change_unit,
    indent,
    dedent,
    truncate,
    corrupt_character,
    swap_lines,
)


def refused_in_one_sentence(
    name: str,
    good: str,
    mutations: Sequence[Callable[[list[str], random.Random], None]],
    rounds: int,
    load: Callable[[Path], object],
    folder: Path,
) -> int:
    """How many mutants of a text ``load`` refuses; each refusal is one sentence that names file, line and field."""
    refused = 0
    for seed in range(rounds):
        rng = random.Random(f"{name}-{seed}")
        lines = good.splitlines()
        mutations[seed % len(mutations)](lines, rng)
        file = folder / f"{seed}.yaml"
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        error = refusal(load, file)
        if error is None:
            continue
        refused += 1
        assert error.file == str(file)
        assert error.line is not None, f"seed {seed}: {error}"
        assert 1 <= error.line <= len(lines) + 1, f"seed {seed}: {error}"
        assert str(error).startswith(f"{file}:{error.line}: ")
        assert len(str(error)) < 600, f"seed {seed}: {error}"
        assert "\n" not in str(error), f"seed {seed}: {error}"
        unstructured = error.problem.startswith(("not YAML", "a tab", "nothing but", "the file is", "the key"))
        unstructured |= ":" not in "".join(lines)  # cut down to a word: the whole document is refused, not a field
        assert error.field or unstructured, f"seed {seed}: {error}"
    return refused


@pytest.mark.parametrize("name", system_names())
def test_a_broken_description_is_one_located_sentence(name: str, tmp_path: Path) -> None:
    good = (PRESETS / f"{name}.yaml").read_text()
    assert refused_in_one_sentence(name, good, MUTATIONS, ROUNDS, load_system, tmp_path) > ROUNDS // 3


@pytest.mark.parametrize("name", ["h100-sxm"])
def test_broken_bytes_are_refused(name: str, tmp_path: Path) -> None:
    good = (PRESETS / f"{name}.yaml").read_bytes()
    rng = random.Random(1)
    for _ in range(60):
        at = rng.randrange(len(good))
        file = tmp_path / "broken.yaml"
        file.write_bytes(good[:at] + bytes([rng.randrange(256)]) + good[at + 1 :])
        error = refusal(load_system, file)
        assert error is None or (error.file, error.line is None) == (str(file), False)
