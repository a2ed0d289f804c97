"""Vidur's traces (microsoft/vidur, MIT): ``arrived_at,num_prefill_tokens,num_decode_tokens``, seconds.

Its processed data sets have the lengths without arrivals.
"""

from __future__ import annotations

from workloads.traces.columns import CsvTable
from workloads.traces.raw import PRIORITY, RawRequests

__all__ = ["VIDUR_COLUMNS", "from_vidur", "vidur_csv"]

VIDUR_COLUMNS = ("num_prefill_tokens", "num_decode_tokens")


def from_vidur(table: CsvTable) -> RawRequests:
    """The requests of a Vidur trace."""
    return RawRequests(
        prompt_tokens=table.tokens("num_prefill_tokens"),
        output_tokens=table.tokens("num_decode_tokens"),
        arrival_s=table.seconds("arrived_at") if "arrived_at" in table.columns else None,
    )


def vidur_csv(
    arrival_s: list[float], prompt_tokens: list[int], output_tokens: list[int], priority: list[int] | None = None
) -> str:
    """A trace without prefixes as Vidur's CSV, with its priorities where it has them; arrivals to the nanosecond."""
    header = "arrived_at,num_prefill_tokens,num_decode_tokens"
    if priority is not None:
        ranked = zip(arrival_s, prompt_tokens, output_tokens, priority, strict=True)
        return f"{header},{PRIORITY}\n" + "".join(f"{a:.9f},{p},{o},{rank}\n" for a, p, o, rank in ranked)
    rows = zip(arrival_s, prompt_tokens, output_tokens, strict=True)
    return f"{header}\n" + "".join(f"{a:.9f},{p},{o}\n" for a, p, o in rows)
