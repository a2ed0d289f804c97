"""What no mapping of a problem onto a machine goes below: traffic, energy, latency. The docstrings hold the proofs."""

from mappers.bounds.attention_io import (
    AttentionSchedule,
    attention_io_asymptote_words,
    attention_io_bound_words,
    attention_schedules,
    best_attention_schedule,
)
from mappers.bounds.contraction import gemm_any_schedule_words, gemm_io_bound_words, gemm_tiled_io_words
from mappers.bounds.problem import problem_bounds
from mappers.bounds.report import EinsumBounds, ProblemBounds

__all__ = [
    "AttentionSchedule",
    "EinsumBounds",
    "ProblemBounds",
    "attention_io_asymptote_words",
    "attention_io_bound_words",
    "attention_schedules",
    "best_attention_schedule",
    "gemm_any_schedule_words",
    "gemm_io_bound_words",
    "gemm_tiled_io_words",
    "problem_bounds",
]
