"""What a study comes to: published numbers beside simulated ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Comparison"]


@dataclass(frozen=True)
class Comparison:
    """One published number beside ours, at one configuration of the study. ``inputs`` says of what kind the constants
    behind ours are: stated, derived, fitted or synthetic."""

    study: str
    metric: str
    config: Mapping[str, Any]
    published: float
    simulated: float
    inputs: str

    @property
    def error(self) -> float:
        """Ours over the published number, less one."""
        return self.simulated / self.published - 1
