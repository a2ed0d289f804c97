"""What a serving engine runs next: how steps are filled, who goes first, and who gives way when memory is out."""

from __future__ import annotations

from dataclasses import dataclass

from workloads.errors import InputError, unknown_name

__all__ = ["BATCHINGS", "PASSING", "POLICIES", "PREEMPTIONS", "Scheduler", "rank_of"]

BATCHINGS = ("chunked", "prefill-first", "static")
POLICIES = ("fcfs", "priority", "shortest")
PREEMPTIONS = ("recompute", "park")
PASSING = ("priority", "shortest")
"""Policies under which a request may pass others that came before it."""


@dataclass(frozen=True)
class Scheduler:
    """Rules of iteration-level scheduling (Orca, OSDI 2022) and their limits.

    ``batching``: ``chunked`` runs all decodes in every step and spends what is left of ``token_budget`` on pieces of
    prompts (Sarathi-Serve, OSDI 2024, section 4.2); ``prefill-first`` runs whole prompts as soon as they fit, decodes
    wait meanwhile (vLLM, SOSP 2023; a prompt longer than the budget goes alone); ``static`` takes new requests only
    when the batch before has ended altogether (FlexGen-like), and slots of ended sequences stay empty.

    ``policy``: ``fcfs`` by arrival, ``priority`` by the trace's column, ``shortest`` by the answer's length, which it
    is told beforehand (an oracle). A request that does not fit holds up those behind it. ``preemption``: when running
    sequences need room that is not there, the last in that order loses its keys and values and computes them again
    (``recompute``), or is moved out and back (``park``; recomputed where the memory has no place to move it to).

    With ``relay`` the first tokens that all running sequences share in the KV memory are read once for all that decode
    (RelayAttention, ACL 2024), not once for each.

    ``max_batch`` (sequences) and ``token_budget`` (new tokens of one step) default to vLLM's (vllm/config/scheduler.py:
    DEFAULT_MAX_NUM_SEQS 128, DEFAULT_MAX_NUM_BATCHED_TOKENS 2048; version 0.13).
    """

    batching: str = "chunked"
    max_batch: int = 128
    token_budget: int = 2048
    policy: str = "fcfs"
    preemption: str = "recompute"
    relay: bool = False

    def __post_init__(self) -> None:
        for field, valid in (("batching", BATCHINGS), ("policy", POLICIES), ("preemption", PREEMPTIONS)):
            if getattr(self, field) not in valid:
                raise unknown_name(field, getattr(self, field), valid, field=field)
        for field in ("max_batch", "token_budget"):
            if getattr(self, field) < 1:
                raise InputError(f"found {getattr(self, field)}", "at least 1", field)
        if self.batching == "chunked" and self.token_budget < self.max_batch:
            raise InputError(
                f"{self.token_budget} tokens a step for up to {self.max_batch} sequences",
                "at least max_batch tokens, so that every sequence can decode in every step",
                "token_budget",
            )


def rank_of(scheduler: Scheduler, priority: int, output_tokens: int) -> int:
    """What a request is ordered by under the scheduler's policy, before its arrival; lower goes first."""
    return {"fcfs": 0, "priority": priority, "shortest": output_tokens}[scheduler.policy]
