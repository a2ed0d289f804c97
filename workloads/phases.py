"""The phases a model runs in: prefill over a prompt, and one decode step."""

from __future__ import annotations

from dataclasses import dataclass, fields

from workloads.errors import InputError

__all__ = ["Decode", "Phase", "Prefill"]


@dataclass(frozen=True)
class _Phase:
    """``batch`` sequences of ``context`` tokens each."""

    batch: int
    context: int

    def __post_init__(self) -> None:
        for field in fields(self):
            value, least = getattr(self, field.name), 0 if field.name == "past" else 1
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                expected = f"a whole number of at least {least}"
                raise InputError(f"{value!r} is no count", expected=expected, field=field.name)

    @property
    def name(self) -> str:
        """prefill or decode."""
        return type(self).__name__.lower()

    @property
    def query_tokens(self) -> int:
        """New tokens per sequence that pass through the model."""
        return self.context

    @property
    def tokens(self) -> int:
        """New tokens over the whole batch."""
        return self.batch * self.query_tokens


@dataclass(frozen=True)
class Prefill(_Phase):
    """Read ``context`` prompt tokens of ``batch`` sequences and yield each one's first output token.

    The keys and values of the first ``past`` tokens of each are there already: only those behind them pass through
    the model, and attend to all. A prompt cut into pieces is several such phases; only the last one's head counts.
    """

    past: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.past >= self.context:
            raise InputError(
                f"{self.past} past tokens leave none of {self.context} to read",
                expected=f"less than {self.context}",
                field="past",
            )

    @property
    def query_tokens(self) -> int:
        return self.context - self.past


@dataclass(frozen=True)
class Decode(_Phase):
    """One step: one new token for each of ``batch`` sequences; ``context`` counts the new token too."""

    @property
    def query_tokens(self) -> int:
        return 1


Phase = Prefill | Decode
