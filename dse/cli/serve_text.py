"""What a serving run came to, as text for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

from dse.reports.table import print_rows
from dse.reports.units_text import bytes_text, joules_text, number_text, percent_text, seconds_text

__all__ = ["print_summary"]

_LATENCIES = {
    "ttft_s": "time to first token",
    "tpot_s": "time per further token",
    "tbt_s": "between two tokens",
    "e2e_s": "end to end",
    "normalised_s": "end to end per token",
    "queue_s": "wait to begin",
}
_COLUMNS = ("mean", "p50", "p90", "p99", "max")


def print_summary(found: Mapping[str, Any]) -> None:
    """Print the document of a run: what was served, latencies, rates, memory and where the time went."""
    typer.echo(
        f"{found['model']} on {found['devices']} x {found['system']}, {found['fidelity']} fidelity"
        f"{', kernels of ' + found['software'] if found['software'] else ''}\n"
        f"{found['trace']}: {found['completed']:,} of {found['requests']:,} requests served in "
        f"{seconds_text(found['simulated_s'])}\n"
    )
    rows = []
    for name, text in _LATENCIES.items():
        values = found[name]
        shown = {column: "-" if values[column] is None else seconds_text(values[column]) for column in _COLUMNS}
        rows.append({"": text, **shown})
    print_rows(rows)
    typer.echo("")
    print_rows([{"": name, "result": text} for name, text in _figures(found).items()])
    typer.echo("")
    total = sum(found["parts_s"].values())
    print_rows(
        [
            {"where time goes": name, "seconds": number_text(seconds), "share": percent_text(seconds / total)}
            for name, seconds in found["parts_s"].items()
            if seconds > 0
        ]
    )


def _figures(found: Mapping[str, Any]) -> dict[str, str]:
    kv, batch, goodput = found["kv"], found["batch"], found["goodput"]
    rows = {
        "tokens": f"{found['tokens_in']:,} in, {found['tokens_out']:,} out",
        "tokens out per second": _number(found["throughput_tokens_per_s"]),
        "requests per second": _number(found["throughput_requests_per_s"]),
    }
    if goodput is not None:
        rate = _number(goodput["requests_per_s"])
        rows["goodput"] = f"{rate} requests per second, {percent_text(goodput['share'])} of all"
    rows["sequences at once"] = f"{number_text(batch['mean'])} on average, {batch['peak']:.0f} at most"
    rows["KV memory taken"] = (
        f"{bytes_text(kv['mean_used_bytes'])} on average, {bytes_text(kv['peak_used_bytes'])} at most"
    )
    if kv["capacity_bytes"] is not None:
        rows["KV memory"] = f"{bytes_text(kv['capacity_bytes'])}, {percent_text(kv['occupancy'])} taken"
    if kv["waste"] is not None:
        rows["of it not in use"] = percent_text(kv["waste"])
    rows["preemptions"] = f"{found['preemptions']:,}"
    if found["rejected"]:
        rows["rejected"] = f"{found['rejected']:,} that would not fit even alone"
    if found.get("beyond_positions"):
        rows["longer than the model's positions"] = f"{found['beyond_positions']:,}, served all the same"
    if found["reused_tokens"]:
        rows["prompt tokens reused"] = f"{found['reused_tokens']:,} of {found['tokens_in']:,}"
    if found["energy_j"]:
        each = found["energy_j_per_token"]
        rows["energy"] = joules_text(found["energy_j"]) + ("" if each is None else f", {joules_text(each)} per token")
    if "price" in found:
        each = found["price_per_million_tokens_out"]
        rows["price"] = number_text(found["price"]) + (
            "" if each is None else f", {number_text(each)} per million tokens"
        )
    steps, wall = found["steps"], found["wall_seconds"]
    rows["simulated"] = f"{steps:,} steps in {found['events']:,} events, in {wall:.1f} s"
    return rows


def _number(value: float | None) -> str:
    return "-" if value is None else number_text(value)
