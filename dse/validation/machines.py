"""The preset and the number formats behind a measured row.

GPUs are named in many ways ("A100-SXM4-80GB", "NVIDIA A100 80GB", "A100"); a preset matches when its name has every
word of theirs that says which part it is. A bare chip is the part on its own socket with the most memory.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from hw.spec.load import load_system, override, system_names
from hw.spec.system import System
from workloads.errors import nearest_name
from workloads.formats import FormatChoice

__all__ = ["FORMATS", "GPUS", "Skipped", "measured_system", "preset_of"]

GPUS = {
    "A100-SXM4-80GB": "a100-80gb-sxm",
    "H100-SXM-80GB": "h100-sxm",
    "A40": "a40",
    "RTX-A6000": "rtx-a6000",
}
"""Presets of GPUs that were measured much."""

FORMATS = {
    "": FormatChoice(),
    "bf16": FormatChoice(),
    "fp16": FormatChoice("fp16", "fp16", "fp16", "fp16"),
    "fp8": FormatChoice("fp8_e4m3", "bf16", "bf16", "fp8_e4m3"),
}
"""The number formats of each measured dtype; an unrecorded one is taken for bf16."""

_IDLE_WORDS = frozenset(
    {"nvidia", "amd", "instinct", "tesla", "geforce", "gpu", "tensor", "core", "hbm2", "hbm2e", "hbm3", "hbm3e"}
)


@dataclass(frozen=True)
class Skipped:
    """A row without a prediction, and why."""

    why: str


def preset_of(gpu: str) -> str | Skipped:
    """The preset of a GPU by any of its names, or why there is none, with the nearest.

    >>> preset_of("NVIDIA A100-SXM4-80GB"), preset_of("H200-SXM"), preset_of("A100")
    ('a100-80gb-sxm', 'h200-sxm', 'a100-80gb-sxm')
    """
    return _preset_of(gpu)


@lru_cache(maxsize=256)
def _preset_of(gpu: str) -> str | Skipped:
    asked = _words(gpu) - _IDLE_WORDS
    fitting = []
    for name in system_names():
        has = _words(name)
        sized = any(map(_is_size, has))
        wanted = {word for word in asked if sized or not _is_size(word)}
        if wanted and wanted <= has and any(map(_is_chip, wanted)):
            fitting.append((len(has - wanted), "sxm" not in has, -_size(has), name))
    if fitting:
        # Words that the row leaves open: the socketed part first, then the most memory.
        return min((socket, size, extra, name) for extra, socket, size, name in fitting)[3]
    near = nearest_name(gpu.casefold(), system_names()) or _same_chip(asked)
    return Skipped(f"no preset for {gpu}" + (f" (nearest: {near})" if near else ""))


def _words(name: str) -> frozenset[str]:
    plain = re.sub(r"(\d+)\s*gb", r"\1gb", name.casefold())
    return frozenset(re.sub(r"^sxm\d$", "sxm", word) for word in re.split(r"[^a-z0-9]+", plain) if word)


def _is_size(word: str) -> bool:
    return re.fullmatch(r"\d+gb", word) is not None


def _is_chip(word: str) -> bool:
    return not _is_size(word) and any(map(str.isdigit, word))


def _size(words: frozenset[str]) -> int:
    return max((int(word.removesuffix("gb")) for word in words if _is_size(word)), default=0)


def _same_chip(asked: frozenset[str]) -> str | None:
    return next((name for name in system_names() if any(map(_is_chip, asked & _words(name)))), None)


@lru_cache(maxsize=64)
def measured_system(gpu: str, devices: int) -> System:
    """The system of a GPU that has a preset, ``devices`` of it. Raises `KeyError` for one without."""
    name = preset_of(gpu)
    if isinstance(name, Skipped):
        raise KeyError(name.why)
    system = load_system(name)
    return override(system, [f"devices={devices}"]) if devices > 1 else system
