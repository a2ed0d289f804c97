"""Mooncake's traces (kvcache-ai/Mooncake, FAST25-release/traces, Apache-2.0): one JSON object a line.

``timestamp`` in milliseconds, ``input_length``, ``output_length``, and ``hash_ids``: an id for each 512 tokens of the
prompt, the last maybe partial, that stands for the block and all before it. Equal leading ids are a shared prefix.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workloads.documents import describe
from workloads.errors import InputError
from workloads.traces.columns import LARGEST_TOKENS
from workloads.traces.raw import PRIORITY, RawRequests

__all__ = ["BLOCK_TOKENS", "MOONCAKE_KEYS", "from_mooncake", "mooncake_jsonl"]

BLOCK_TOKENS = 512
"""Tokens of a block: the README of Mooncake's traces."""

MOONCAKE_KEYS = ("timestamp", "input_length", "output_length")


def from_mooncake(text: str, file: str) -> RawRequests:
    """The requests of a Mooncake trace, with the blocks of their prompts where every line has them."""
    arrivals_ms: list[float] = []
    lengths: list[tuple[int, int]] = []
    blocks: list[list[int]] = []
    priority: list[int] = []
    for line, record in _records(text, file):
        arrivals_ms.append(_number(record, "timestamp", file, line))
        prompt, output = (_tokens(record, key, file, line) for key in ("input_length", "output_length"))
        lengths.append((prompt, output))
        if "hash_ids" in record:
            blocks.append(_hash_ids(record["hash_ids"], prompt, file, line))
        if PRIORITY in record:
            priority.append(_tokens(record, PRIORITY, file, line))
    for key, found in (("hash_ids", blocks), (PRIORITY, priority)):
        if found and len(found) != len(lengths):
            raise InputError(f"{key} on {len(found)} of {len(lengths)} lines", "on all or none", key, file=file)
    columns = np.array(lengths, np.int64).reshape(-1, 2)
    return RawRequests(
        prompt_tokens=columns[:, 0],
        output_tokens=columns[:, 1],
        arrival_s=np.array(arrivals_ms) / 1e3,
        priority=np.array(priority, np.int64) if priority else None,
        blocks=blocks or None,
        block_tokens=BLOCK_TOKENS if blocks else None,
    )


def mooncake_jsonl(
    arrival_s: NDArray[np.float64],
    prompt_tokens: NDArray[np.int64],
    output_tokens: NDArray[np.int64],
    blocks: Sequence[Sequence[int]] | None,
    priority: NDArray[np.int64] | None = None,
) -> str:
    """A trace in Mooncake's format, its prefixes in blocks of 512 tokens; arrivals to the nanosecond."""
    milliseconds = [round(arrival * 1e3, 6) for arrival in arrival_s.tolist()]
    columns: list[Sequence[object]] = [milliseconds, prompt_tokens.tolist(), output_tokens.tolist()]
    keys = list(MOONCAKE_KEYS)
    if blocks is not None:
        columns.append([list(ids) for ids in blocks])
        keys.append("hash_ids")
    if priority is not None:
        columns.append(priority.tolist())
        keys.append(PRIORITY)
    return "".join(json.dumps(dict(zip(keys, row, strict=True))) + "\n" for row in zip(*columns, strict=True))


def _records(text: str, file: str) -> list[tuple[int, dict[str, Any]]]:
    records = []
    for line, content in enumerate(text.splitlines(), 1):
        if not content.strip():
            continue
        try:
            record = json.loads(content)
        except (ValueError, RecursionError):  # no JSON, a number of thousands of digits, or nested too deep
            raise InputError("is no JSON", "one object a line", file=file, line=line) from None
        if not isinstance(record, dict):
            raise InputError(f"found {describe(record)}", "one object a line", file=file, line=line)
        records.append((line, record))
    return records


def _number(record: dict[str, Any], key: str, file: str, line: int) -> float:
    value = record.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e18:
        raise InputError(_found(record, key), "a number from 0", key, file=file, line=line)
    return float(value)


def _tokens(record: dict[str, Any], key: str, file: str, line: int) -> int:
    value = _number(record, key, file, line)
    if value != int(value) or value > LARGEST_TOKENS:
        raise InputError(_found(record, key), "a whole number of tokens", key, file=file, line=line)
    return int(value)


def _found(record: dict[str, Any], key: str) -> str:
    return f"found {describe(record[key])}" if key in record else "is missing"


def _hash_ids(ids: Any, prompt_tokens: int, file: str, line: int) -> list[int]:
    if not isinstance(ids, list) or not set(map(type, ids)) <= {int}:
        raise InputError(f"found {describe(ids)}", "a list of whole numbers", "hash_ids", file=file, line=line)
    needed = -(-prompt_tokens // BLOCK_TOKENS)
    if len(ids) != needed:
        expected = f"{needed}, one for each {BLOCK_TOKENS} of {prompt_tokens} tokens"
        raise InputError(f"{len(ids)} ids", expected, "hash_ids", file=file, line=line)
    return ids
