"""BurstGPT (HPMLL/BurstGPT, CC-BY-4.0): ``Timestamp,Model,Request tokens,Response tokens,...``, seconds from the start.

Newer files have a session id and the elapsed time besides. Rows whose response has 0 tokens are failures by the
repository's README, and are dropped.
"""

from __future__ import annotations

from workloads.traces.columns import CsvTable
from workloads.traces.raw import RawRequests

__all__ = ["BURSTGPT_COLUMNS", "from_burstgpt"]

BURSTGPT_COLUMNS = ("Timestamp", "Model", "Request tokens", "Response tokens", "Log Type")


def from_burstgpt(table: CsvTable) -> RawRequests:
    """The requests of a BurstGPT trace, of all models and log types together."""
    return RawRequests(
        prompt_tokens=table.tokens("Request tokens"),
        output_tokens=table.tokens("Response tokens"),
        arrival_s=table.seconds("Timestamp"),
    )
