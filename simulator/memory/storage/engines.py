"""Engines inside drives by name: the bundled ones."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt

from hw.spec.source import Source
from workloads.documents import read_document
from workloads.errors import unknown_name
from workloads.validation import validate

__all__ = ["StorageEngine", "load_storage_engine", "storage_engine_names"]

_FILE = Path(__file__).parent / "engines.yaml"


class StorageEngine(BaseModel):
    """What an engine inside a drive does per second. ``sources`` say where its numbers are from, by field.

    ``gemv_GFLOPs`` is that of all its units, ``unit_GFLOPs`` of one, which takes ``unit_tokens`` tokens of one head at
    a time; ``filter_GBps`` of one flash channel's filter, None without filters; ``softmax_us`` the latency of a head's
    softmax, of which enough are under way. ``pages_outstanding`` are asked of the flash at a time.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    description: str = ""
    note: str = ""
    gemv_GFLOPs: PositiveFloat
    unit_GFLOPs: PositiveFloat
    unit_tokens: PositiveInt
    softmax_us: NonNegativeFloat
    filter_GBps: PositiveFloat | None
    dram_bytes: PositiveInt
    pages_outstanding: PositiveInt = Field(le=4096)
    flop_pJ: NonNegativeFloat | None = None
    sources: dict[str, Source] = Field(min_length=1)

    def compute_s(self, flops: float) -> float:
        """All units busy."""
        return flops / (self.gemv_GFLOPs * 1e9)

    def unit_s(self, head_size: int) -> float:
        """One unit, on ``unit_tokens`` tokens of one head."""
        return 2 * self.unit_tokens * head_size / (self.unit_GFLOPs * 1e9)


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    engines: dict[str, StorageEngine]


@lru_cache
def _bundled() -> dict[str, StorageEngine]:
    return validate(_File, read_document(_FILE)).engines


def storage_engine_names() -> tuple[str, ...]:
    """The bundled engines, in alphabetical order."""
    return tuple(sorted(_bundled()))


def load_storage_engine(name: str) -> StorageEngine:
    """A bundled engine by name, in any case. Raises `InputError` for an unknown one."""
    folded = {known.casefold(): engine for known, engine in _bundled().items()}
    if name.casefold() not in folded:
        raise unknown_name("storage engine", name, storage_engine_names())
    return folded[name.casefold()]
