"""The base of every part of a description: frozen, typed, with the sources of its numbers beside them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from hw.spec.source import Source

__all__ = ["Component"]


class Component(BaseModel):
    """Base of every part of a system: frozen, no unknown keys, numbers with their sources beside them."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)

    sources: dict[str, Source] = Field(default_factory=dict, description="field name -> where its number is from")
