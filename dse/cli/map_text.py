"""A mapping's report for people: figures, time by Einsum, traffic, memory in use, and the loop nest."""

from __future__ import annotations

import typer

from dse.cli.map_problem import Resolved
from dse.reports.table import print_rows
from dse.reports.units_text import bytes_text, engineering, joules_text, percent_text, seconds_text
from hw.spec.hierarchy import Hierarchy
from mappers.mapspace.report import SearchResult
from mappers.mapspace.text import mapping_text

__all__ = ["print_map", "proof"]


def print_map(resolved: Resolved, result: SearchResult, stopped: str | None) -> None:
    """Print the result of one search."""
    problem, machine, cost = resolved.problem, resolved.machine, result.cost
    sizes = {rank: size for einsum in problem.einsums for rank, size in einsum.sizes}
    typer.echo(f"{problem.name} on {machine.name}: {', '.join(f'{rank} {size:,}' for rank, size in sizes.items())}")
    typer.echo("")
    print_rows(_figures(result))
    typer.echo("")
    typer.echo(proof(result, stopped))
    typer.echo(f"{result.candidates:,} candidates in {seconds_text(result.seconds)}")
    typer.echo("")
    print_rows(
        [
            {
                "einsum": each.einsum,
                "unit": each.unit,
                "latency": seconds_text(each.latency_s),
                "bound by": each.bound,
                "energy": joules_text(sum(each.energy_j.values())),
                "in use": percent_text(each.utilisation),
                **{f"{part} cycles": f"{count:,}" for part, count in each.cycles.items()},
            }
            for each in cost.einsums
        ]
    )
    typer.echo("")
    print_rows(
        [
            {"unit": unit, "size": _size_text(machine, unit), "useful cycles of the whole latency": percent_text(share)}
            for unit, share in cost.utilisation.items()
        ]
    )
    typer.echo("")
    print_rows(
        [
            {
                "level": level,
                "tensor": tensor,
                "read": engineering(bits.read_bits, "b"),
                "written": engineering(bits.write_bits, "b"),
            }
            for level, tensors in cost.traffic().items()
            for tensor, bits in tensors.items()
            if bits.read_bits or bits.write_bits
        ]
    )
    typer.echo("")
    used = []
    for name, level in machine.levels.items():
        if level.capacity_bytes is not None and name in cost.usage_bits:
            held = cost.usage_bits[name] / 8
            share = percent_text(held / level.capacity_bytes)
            capacity = bytes_text(level.capacity_bytes)
            used.append({"level": name, "most held": bytes_text(held), "capacity": capacity, "share": share})
    if used:
        print_rows(used)
        typer.echo("")
    typer.echo(mapping_text(result.mapping, problem, cost).rstrip("\n"))


def _size_text(machine: Hierarchy, unit: str) -> str:
    """The fan-outs above a unit and its own, such as ``256 x 256``; 1 for a single one."""
    fanouts = [machine.levels[level].fanout for level in machine.path(unit)] + [machine.units[unit].fanout]
    return " x ".join(str(each.size) for fanout in fanouts for each in fanout.values()) or "1"


def _figures(result: SearchResult) -> list[dict[str, str]]:
    """What was found beside what no mapping goes below."""
    cost = result.cost
    found = {"energy_j": cost.energy_j, "latency_s": cost.latency_s, "edp": cost.edp}
    names = {"energy_j": ("energy", "J"), "latency_s": ("latency", "s"), "edp": ("EDP", "J s")}
    rows = []
    for key, (name, unit) in names.items():
        bound = result.bounds.get(key)
        least = f"{bound:.9g} {unit}" if isinstance(bound, float) else "-"
        aim = "searched for" if name.casefold() == result.objective else ""
        rows.append({"": name, "found": f"{found[key]:.9g} {unit}", "no mapping below": least, " ": aim})
    return rows


def proof(result: SearchResult, stopped: str | None) -> str:
    """How good the result is known to be, and why the search ended early if it did."""
    early = {None: "", "timeout": "stopped by --timeout; ", "interrupt": "interrupted; "}[stopped]
    if result.optimal:
        return f"{early}proven: no mapping in the map space is better"
    return f"{early}the proven bound is {100 * result.gap:.3g} % below"
