"""What a memory that computes does: its rate against reuse, beside a host that fetches the same through the pins.

Every point is a matrix-vector product as commands on the banks; the host's points are the same operands read and
written by the DRAM controller. The host computes for nothing, so its bound is a slope: the pins' rate times operations
per byte.
"""

from __future__ import annotations

from collections.abc import Mapping

from dse.reports.characteristics.sheet import Axis, Chart, Curve, Limit, Progress, Sheet
from dse.reports.units_text import engineering
from simulator.memory.pim.device import PimDevice
from simulator.memory.pim.gemv import PimResult, losses, pim_gemv
from simulator.memory.pim.host import HostResult, host_gemv
from simulator.memory.pim.matching import rates
from workloads.errors import InputError

__all__ = ["pim_sheet"]

_BATCHES = (1, 2, 4, 8, 16, 32)
_SIDE = 4096
_SIDES = tuple(256 << i for i in range(6))  # 256 to 8192
_REUSE = Axis("operations_per_byte", "operations per byte", "", "log2")
_RATE = Axis("operations_per_s", "rate", "op/s", "log10")
_SIZE = Axis("side", "rows and columns", "", "log2")
_SHARE = Axis("share", "share of the time")


def pim_sheet(pim: PimDevice, progress: Progress = lambda _: None) -> Sheet:
    """The charts of ``pim``, for a square matrix of fp16 in all of its channels."""
    progress("rates in memory")
    points = rates(pim, _SIDE, _SIDE, _BATCHES)
    results = [pim_gemv(pim, _SIDE, _SIDE, 16, batch) for batch in _BATCHES]
    progress("the host")
    hosts = [host_gemv(pim, _SIDE, _SIDE, batch) for batch in _BATCHES]
    progress("sizes of the matrix")
    squares = _squares(pim)
    operations = [2.0 * _SIDE * _SIDE * batch for batch in _BATCHES]
    pins = pim.outside_bytes_per_s
    rate = Chart(
        "rate",
        f"Matrix of {_SIDE:,} × {_SIDE:,}",
        _REUSE,
        _RATE,
        (
            Curve("in memory", tuple((point.operations_per_byte, point.operations_per_s) for point in points)),
            Curve("by the host", tuple(_over(operations, [host.seconds for host in hosts]))),
            Curve("bound of the units", tuple((p.operations_per_byte, p.bound_per_s) for p in points), bound=True),
            Curve(
                "bound of the pins", tuple((batch, pins * batch) for batch in (_BATCHES[0], _BATCHES[-1])), bound=True
            ),
        ),
    )
    charts = (
        rate,
        _of_bound(results, hosts, pim),
        _ticks("ticks", "Where its ticks went", _REUSE, dict(zip(_BATCHES, results, strict=True))),
        _energy(results, hosts, operations),
        _sizes(pim, squares),
        _ticks("ticks_by_size", "Ticks of one vector", _SIZE, squares),
    )
    headline = (
        f"{pim.name}: {pim.channels} channels of {pim.dram.name}, {pim.units} units each at {pim.level}; "
        f"{engineering(pim.inside_bytes_per_s, 'B/s')} inside, {engineering(pins, 'B/s')} through the pins"
    )
    reuse = (
        "the matrix is read once for as many vectors as there are operations per byte; the host computes for nothing"
    )
    notes = (reuse, pim.note) if pim.note else (reuse,)
    settings = {"rows": _SIDE, "columns": _SIDE, "format_bits": 16, "read_results": False}
    return Sheet(pim.name, "pim", headline, charts, settings, notes)


def _over(amounts: list[float], seconds: list[float]) -> list[tuple[float, float]]:
    return [(batch, amount / s) for batch, amount, s in zip(_BATCHES, amounts, seconds, strict=True)]


def _of_bound(results: list[PimResult], hosts: list[HostResult], pim: PimDevice) -> Chart:
    """In memory: of the time of the compute commands alone; of the host: bandwidth over the pins' rate."""
    inside = tuple((batch, result.fraction_of_bound) for batch, result in zip(_BATCHES, results, strict=True))
    outside = tuple(
        (batch, host.bandwidth_bytes_per_s / pim.outside_bytes_per_s)
        for batch, host in zip(_BATCHES, hosts, strict=True)
    )
    curves = (Curve("units computing", inside), Curve("the host's pins busy", outside))
    share = Axis("fraction_of_bound", "fraction of the bound")
    return Chart("fraction_of_bound", "How near its bound", _REUSE, share, curves, (Limit("bound", "y", 1.0),))


def _ticks(name: str, title: str, axis: Axis, results: Mapping[int, PimResult]) -> Chart:
    """What part of the time of each result went to what, stacked."""
    tables = {at: {loss.cause: loss.share for loss in losses(result)} for at, result in results.items()}
    causes = next(iter(tables.values()), {})
    curves = (Curve(cause, tuple((at, table[cause]) for at, table in tables.items())) for cause in causes)
    return Chart(name, title, axis, _SHARE, tuple(curves), stacked=True)


def _energy(results: list[PimResult], hosts: list[HostResult], operations: list[float]) -> Chart:
    inside = _over([result.energy_j for result in results], operations)
    curves = [Curve("in memory", tuple(inside))]
    known = [host.energy_j for host in hosts if host.energy_j is not None]
    if len(known) == len(hosts):
        curves.append(Curve("by the host, memory only", tuple(_over(known, operations))))
    energy = Axis("energy_j_per_operation", "energy of an operation", "J", "log10")
    return Chart("energy", "Energy", _REUSE, energy, tuple(curves))


def _squares(pim: PimDevice) -> dict[int, PimResult]:
    """One vector times square matrices; sizes the memory cannot hold are left out."""
    out = {}
    for side in _SIDES:
        try:
            out[side] = pim_gemv(pim, side, side)
        except InputError:
            continue
    return out


def _sizes(pim: PimDevice, squares: Mapping[int, PimResult]) -> Chart:
    """How much smaller matrices lose."""
    inside = tuple((side, 2.0 * side * side / result.seconds) for side, result in squares.items())
    outside = tuple((side, 2.0 * side * side / host_gemv(pim, side, side).seconds) for side in squares)
    curves = (Curve("in memory", inside), Curve("by the host", outside))
    limits = (Limit("bound of the pins", "y", pim.outside_bytes_per_s),)
    return Chart("sizes", "One vector, square matrices", _SIZE, _RATE, curves, limits)
