"""A memory run's report for people: the figures, what was sent, and always the machine that ran."""

from __future__ import annotations

from typing import Any

import typer

from dse.reports.table import print_rows
from dse.reports.units_text import engineering, joules_text, number_text, percent_text, seconds_text

__all__ = ["print_memory"]


def print_memory(found: dict[str, Any]) -> None:
    """Print the document of one run."""
    machine = found["machine"]
    channels = f"{machine['channels']} channels of " if machine["channels"] > 1 else ""
    typer.echo(f"{found['requests']:,} requests of {found['source']} on {channels}{machine['device']}")
    typer.echo("")
    print_rows([{"": name, "result": text} for name, text in _figures(found).items()])
    typer.echo("")
    print_rows([{"": name, "machine": text} for name, text in _machine(machine).items()])


def _figures(found: dict[str, Any]) -> dict[str, str]:
    machine = found["machine"]
    latency = found["mean_read_latency_cycles"]
    hits = (f"{found[key]:,} {what}" for key, what in _ROWS)
    figures = {
        "time": f"{found['cycles']:,} ticks, {seconds_text(found['seconds'])}",
        "bandwidth": f"{engineering(found['bandwidth_bytes_per_s'], 'B/s')}, "
        f"{100 * found['fraction_of_peak']:.1f} % of the peak of {engineering(machine['peak_bytes_per_s'], 'B/s')}",
        "mean read latency": f"{latency:,.1f} ticks, {seconds_text(latency * machine['tick_ns'] * 1e-9)}"
        if found["reads"]
        else "no reads",
        "row hit rate": f"{percent_text(found['row_hit_rate'])}: {', '.join(hits)}",
        "why (sampled)": found["why"]["text"],
        "commands": ", ".join(f"{name} {sent:,}" for name, sent in found["commands"].items()),
    }
    if found["energy_j"] is None:
        figures["energy"] = "not known for this device"
    else:
        bits = found["requests"] * machine["burst_bytes"] * 8
        parts = ", ".join(f"{_part(name)} {joules_text(joules)}" for name, joules in found["energy_by_part_j"].items())
        figures["energy"] = f"{joules_text(found['energy_j'])}, {found['energy_j'] / bits * 1e12:.3g} pJ/bit: {parts}"
    if found["requests_per_cpu_s"] is not None:
        figures["speed"] = f"{number_text(found['requests_per_cpu_s'])} requests per second of processor time"
    if found["requests_not_simulated"]:
        figures["skipped"] = f"{found['requests_not_simulated']:,} requests that repeat what was simulated"
    return figures


_ROWS = (("row_hits", "hits"), ("row_misses", "misses"), ("row_conflicts", "conflicts"))


def _part(name: str) -> str:
    return name.removesuffix("_j").replace("_", " ")


def _machine(machine: dict[str, Any]) -> dict[str, str]:
    levels = f"{machine['channels']} channel{'s' if machine['channels'] > 1 else ''}"
    for name in ("rank", "pseudochannel"):
        if machine[f"{name}s"] > 1 or (name == "rank" and machine["pseudochannels"] == 1):
            levels += f", {machine[f'{name}s']} {name}{'s' if machine[f'{name}s'] > 1 else ''}"
    refresh = machine["refresh"]
    for name in ("postpone", "pull_in"):
        if machine[name]:
            refresh += f", {name.replace('_', ' ')} {machine[name]}"
    page = machine["page"] + (f", {machine['timeout_ticks']:,} ticks" if machine["timeout_ticks"] else "")
    scheduler = machine["scheduler"] + (f", {machine['hit_cap']:,} hits" if machine["hit_cap"] else "")
    offers = f"{machine['tries_per_tick']} per tick"
    if machine["interval_ticks"]:
        offers += f", every {machine['interval_ticks']:,} ticks"
    return {
        "levels": f"{levels}, {machine['banks']} banks a channel",
        "rows": f"{machine['rows']:,} a bank, {machine['row_bytes']:,} bytes: "
        f"{machine['bursts_per_row']} bursts of {machine['burst_bytes']} bytes",
        "tick": f"{machine['tick_ns']:g} ns",
        "mapping": f"{machine['mapping']['name']}: {machine['mapping']['bits']}",
        "queues": f"{machine['queues']['read']} reads, {machine['queues']['write']} writes "
        f"(writing from {machine['write_high']:g} to {machine['write_low']:g})",
        "scheduler": scheduler,
        "page": page,
        "refresh": refresh,
        "requests": offers,
    }
