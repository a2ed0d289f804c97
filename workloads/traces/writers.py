"""Request traces as text, in the two public formats that hold all of a trace."""

from __future__ import annotations

from workloads.errors import InputError
from workloads.traces.mooncake import BLOCK_TOKENS, mooncake_jsonl
from workloads.traces.requests import RequestTrace
from workloads.traces.vidur import vidur_csv

__all__ = ["FORMATS", "trace_text"]

FORMATS = ("mooncake", "vidur")


def trace_text(trace: RequestTrace, format_name: str) -> str:
    """``trace`` as ``mooncake`` JSON lines, with its prefixes, or as ``vidur`` CSV, without; arrivals to 1 ns.

    Raises `InputError` for another format, and for prefixes in blocks that Mooncake's format does not have.
    """
    if format_name not in FORMATS:
        raise InputError(f"found {format_name!r}", " or ".join(FORMATS), "format")
    if format_name == "vidur":
        columns = (trace.arrival_s.tolist(), trace.prompt_tokens.tolist(), trace.output_tokens.tolist())
        return vidur_csv(*columns, None if trace.priority is None else trace.priority.tolist())
    if trace.block_tokens not in (None, BLOCK_TOKENS):
        raise InputError(f"blocks of {trace.block_tokens} tokens", f"blocks of {BLOCK_TOKENS} tokens", "block_tokens")
    return mooncake_jsonl(trace.arrival_s, trace.prompt_tokens, trace.output_tokens, trace.blocks, trace.priority)
