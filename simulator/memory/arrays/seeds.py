"""Tables that set a published gain beside what its stated inputs give, with every assumption and what is missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["SeedRow", "SeedTable", "Verdict"]

Verdict = Literal["reproduced", "consistent", "not reproduced", "prediction", "check"]


@dataclass(frozen=True)
class SeedRow:
    """One quantity: as ``published`` (None: no number to compare with), and from ``low`` to ``high`` here.

    ``needed`` says what the published number would take. Verdicts: reproduced, from stated inputs alone; consistent,
    inside the range of inputs that are not stated; not reproduced; prediction, nothing published; check, of an input.
    """

    quantity: str
    unit: str
    published: float | None
    low: float
    high: float
    verdict: Verdict
    assumptions: str
    needed: str = ""

    def __str__(self) -> str:
        ours = f"{self.low:.3g}" if self.low == self.high else f"{self.low:.3g} to {self.high:.3g}"
        published = "none" if self.published is None else f"{self.published:.3g}"
        text = f"{self.quantity} [{self.unit}]: published {published}, here {ours}: {self.verdict}. {self.assumptions}"
        return f"{text}. Needed: {self.needed}." if self.needed else f"{text.rstrip('.')}."


@dataclass(frozen=True)
class SeedTable:
    """A claim, its rows, and what is not known that decides it."""

    claim: str
    rows: tuple[SeedRow, ...]
    gaps: tuple[str, ...]

    def __str__(self) -> str:
        lines = [self.claim, *(f"- {row}" for row in self.rows), "Gaps:", *(f"- {gap}" for gap in self.gaps)]
        return "\n".join(lines)
