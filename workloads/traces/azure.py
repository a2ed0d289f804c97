"""The Azure LLM inference traces of 2023 and 2024 (Azure/AzurePublicDataset, CC-BY-4.0).

``TIMESTAMP,ContextTokens,GeneratedTokens``: a date with a time of day, in 2023 to 100 ns and without a time zone, in
2024 to the microsecond with one. Lines may end in CR LF. The standard library's date parsers cut what is finer than a
microsecond, so that only days and minutes are left to them here.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache

import numpy as np

from workloads.traces.columns import CsvTable
from workloads.traces.raw import RawRequests

__all__ = ["AZURE_COLUMNS", "from_azure", "nanoseconds"]

AZURE_COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")

_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?(Z|[+-][0-9]{2}:[0-9]{2})?"
)


def from_azure(table: CsvTable) -> RawRequests:
    """The requests of an Azure trace; arrivals in seconds after the first row, exact to the file's last digit."""
    times_ns = table.converted("TIMESTAMP", nanoseconds, "a time such as 2023-11-16 18:17:03.9799600")
    first_ns = times_ns[0]
    return RawRequests(
        prompt_tokens=table.tokens("ContextTokens"),
        output_tokens=table.tokens("GeneratedTokens"),
        arrival_s=np.array([time_ns - first_ns for time_ns in times_ns], np.int64) / 1e9,
    )


def nanoseconds(text: str) -> int:
    """Nanoseconds from 1970 in UTC of a time stamp; one without a time zone counts as UTC. Raises ValueError.

    >>> nanoseconds("1970-01-01 00:00:01.0000001"), nanoseconds("1970-01-01 01:00:00+01:00")
    (1000000100, 0)
    """
    found = _TIME.fullmatch(text)
    if found is None or int(found[2]) > 59:
        raise ValueError
    minute, second, fraction, zone = found.groups()
    return _minute_s(minute, zone) * 10**9 + int(second) * 10**9 + int((fraction or "0").ljust(9, "0"))


@lru_cache(maxsize=4096)
def _minute_s(minute: str, zone: str | None) -> int:
    """Seconds from 1970 of a minute: there are few of them in a trace."""
    moment = datetime.fromisoformat(f"{minute}{zone or ''}")
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
