"""Lengths of prompts and answers fitted to a trace: tables of quantiles, joined by a Gaussian copula.

Quantiles keep what no formula has: prompts that pile up at a service's limit, answers that cluster.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator

from workloads.errors import InputError
from workloads.traces.columns import LARGEST_TOKENS
from workloads.traces.statistics import spearman
from workloads.validation import field_error

__all__ = ["PROBABILITIES", "Lengths", "fit_lengths"]

PROBABILITIES = np.array(
    [0, 0.001, 0.0025, 0.005, *(step / 100 for step in range(1, 100)), 0.995, 0.9975, 0.999, 0.9995, 1]
)
"""Where the tables stand: every hundredth, and finer at both ends."""


class Lengths(BaseModel):
    """``prompt_tokens`` and ``output_tokens`` at `PROBABILITIES`; ``correlation`` is that of the copula's normals."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    prompt_tokens: tuple[int, ...] = Field(min_length=len(PROBABILITIES), max_length=len(PROBABILITIES))
    output_tokens: tuple[int, ...] = Field(min_length=len(PROBABILITIES), max_length=len(PROBABILITIES))
    correlation: float = Field(0.0, gt=-1, lt=1)

    @field_validator("prompt_tokens", "output_tokens")
    @classmethod
    def _rises(cls, table: tuple[int, ...]) -> tuple[int, ...]:
        if table[0] < 1 or table[-1] > LARGEST_TOKENS or any(a > b for a, b in itertools.pairwise(table)):
            raise field_error(InputError(f"{table[0]} to {table[-1]} tokens", "1 to 1e9 tokens that do not fall"))
        return table

    def draw(self, requests: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Tokens of prompts and of answers, independent from request to request."""
        from scipy.special import ndtr

        first, own = rng.standard_normal((2, requests))
        second = self.correlation * first + math.sqrt(1 - self.correlation**2) * own
        prompt, output = (
            np.rint(np.interp(ndtr(normal), PROBABILITIES, table)).astype(np.int64)
            for normal, table in ((first, self.prompt_tokens), (second, self.output_tokens))
        )
        return prompt, output


def fit_lengths(prompt_tokens: NDArray[np.int64], output_tokens: NDArray[np.int64]) -> Lengths:
    """The tables of a trace's columns. Normals of correlation 2 sin(pi r / 6) have the rank correlation r (Pearson)."""
    tables = (
        tuple(int(value) for value in np.quantile(column, PROBABILITIES, method="inverted_cdf"))
        for column in (prompt_tokens, output_tokens)
    )
    correlation = 2 * math.sin(math.pi * spearman(prompt_tokens, output_tokens) / 6)
    prompt, output = tables
    bounded = min(max(correlation, -0.999), 0.999)
    return Lengths(prompt_tokens=prompt, output_tokens=output, correlation=round(bounded, 6))
