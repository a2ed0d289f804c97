"""The phases a model runs in: prefill over a prompt, one decode step, and one training step."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, get_args

from workloads.errors import InputError, unknown_name
from workloads.formats import storage_format

__all__ = ["Checkpoint", "Decode", "Loss", "Phase", "Prefill", "Train"]

Checkpoint = Literal["none", "selective", "full"]
"""What a layer's backward pass computes again instead of reading what its forward pass kept."""

Loss = Literal["logits", "cut"]
"""Whether the logits of all classes are written and read again, or made tile by tile and again in the backward pass."""


@dataclass(frozen=True)
class _Phase:
    """``batch`` sequences of ``context`` tokens each."""

    batch: int
    context: int

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.type != "int":
                continue
            value, least = getattr(self, field.name), 0 if field.name == "past" else 1
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                expected = f"a whole number of at least {least}"
                raise InputError(f"{value!r} is no count", expected=expected, field=field.name)

    @property
    def name(self) -> str:
        """prefill, decode or train."""
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


@dataclass(frozen=True)
class Train(_Phase):
    """One training step on ``batch`` sequences of ``context`` tokens: forward, backward and the update of the weights.

    ``batch`` is the micro-batch of one group of devices; nothing is exchanged with other groups, but tokens where
    experts are divided over them. ``checkpoint`` is that of every ``every``-th layer, the first one first (Korthikanti
    et al., MLSys 2023, arXiv 2205.05198, sections 4, 5):

    - "none": a layer keeps what its backward pass reads. Attention keeps its output and the log-sum-exp of its scores,
      never the scores (FlashAttention-2, arXiv 2307.08691): that leaves 34 s b h bytes less the dropout masks.
    - "selective": attention runs again on its kept queries, keys and values. Since no scores are kept anyway, this
      saves the log-sum-exp alone; the output stays, as the projection behind it reads it.
    - "full": a layer keeps its input, and its backward pass begins with the whole forward pass again.

    The optimizer is Adam with master weights and two moments in ``state_format`` (Micikevicius et al., ICLR 2018, arXiv
    1710.03740); gradients are stored in ``gradient_format``. In bf16 and fp32 that makes 2 + 2 + 4 + 4 + 4 bytes for
    each parameter.
    """

    checkpoint: Checkpoint = "none"
    loss: Loss = "logits"
    every: int = 1
    gradient_format: str = "bf16"
    state_format: str = "fp32"

    def __post_init__(self) -> None:
        super().__post_init__()
        for field, known in (("checkpoint", get_args(Checkpoint)), ("loss", get_args(Loss))):
            if getattr(self, field) not in known:
                raise unknown_name(f"kind of {field}", getattr(self, field), known, field=field)
        for name in (self.gradient_format, self.state_format):
            storage_format(name)


Phase = Prefill | Decode | Train
