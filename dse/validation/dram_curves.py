"""Bandwidth of one channel against how finely it is accessed: random granules, and streams that take turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from dse.reports.figures.style import COLUMN_WIDTH_IN, KIND_COLOURS, new_figure, paper_style
from simulator.memory.dram.controller import Controller
from simulator.memory.dram.devices import load_device
from simulator.memory.dram.mapping import address_mapping
from simulator.memory.dram.run import run
from simulator.memory.dram.streams import Interleaved, RandomGranules, Stream

__all__ = ["DEVICES", "GRANULES", "MAPPING", "STREAMS", "Curve", "curves", "granule_figure", "stream_figure"]

DEVICES = ("DDR4-3200", "DDR5-4800", "LPDDR5-6400", "HBM2-2000", "HBM3-6400", "GDDR6-14000")
"""One of each standard."""
MAPPING = "MOP4CLXOR"
GRANULES = tuple(64 << i for i in range(11))
"""Bytes read in one piece: 64 B to 64 KiB."""
STREAMS = (1, 2, 4, 8, 16, 32, 64)
_BYTES = 6_400_000  # of every run: 100,000 bursts of 64 bytes
_COLOURS = tuple(KIND_COLOURS[kind] for kind in ("gemm", "grouped_gemm", "norm", "elementwise", "attention", "gather"))
_MARKERS = ("o", "s", "^", "v", "D", "P")


@dataclass(frozen=True)
class Curve:
    """Bandwidth over peak of one device: by granule size, by streams a power of two apart, and a row more apart."""

    device: str
    granules: tuple[float, ...]
    aligned: tuple[float, ...]
    skewed: tuple[float, ...]


def curves(names: Sequence[str] = DEVICES) -> list[Curve]:
    """A `Curve` per device, one channel, the controller's default settings, mapping `MAPPING`."""
    return [_curve(name) for name in names]


def _curve(name: str) -> Curve:
    device = load_device(name)
    mapping, burst = address_mapping(MAPPING, device), device.burst_bytes

    def fraction(stream: Stream) -> float:
        found = run(device, stream, Controller(), mapping=mapping, count=_BYTES // burst, workers=1)
        return found.fraction_of_peak

    def streams(count: int, skew_bytes: int) -> float:
        spacing = device.capacity_bytes // max(STREAMS)
        return fraction(Interleaved(burst, count, spacing + skew_bytes, burst, spacing // 2))

    return Curve(
        name,
        tuple(fraction(RandomGranules(burst, device.capacity_bytes, granule)) for granule in GRANULES),
        tuple(streams(count, 0) for count in STREAMS),
        tuple(streams(count, device.row_bytes) for count in STREAMS),
    )


def granule_figure(found: Sequence[Curve]) -> Figure:
    """Fraction of peak against the granule."""
    with paper_style():
        figure = new_figure(COLUMN_WIDTH_IN, 2.5)
        axes = figure.subplots()
        _draw(axes, GRANULES, {curve.device: curve.granules for curve in found})
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.0f}" if x < 1024 else f"{x / 1024:.0f} Ki"))
        axes.set_xticks([size for size in GRANULES if size.bit_length() % 2])
        axes.set_xlabel("random granule, bytes")
        axes.set_ylabel("bandwidth / peak")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def stream_figure(found: Sequence[Curve]) -> Figure:
    """Fraction of peak against the number of streams: bases that agree in their low bits above, a row apart below."""
    with paper_style():
        figure = new_figure(COLUMN_WIDTH_IN, 3.9)
        upper, lower = figure.subplots(2, 1, sharex=True)
        _draw(upper, STREAMS, {curve.device: curve.aligned for curve in found})
        _draw(lower, STREAMS, {curve.device: curve.skewed for curve in found})
        upper.set_title("bases 1/64 of the channel apart")
        lower.set_title("bases 1/64 of the channel and a row apart")
        lower.set_xticks(STREAMS, [str(count) for count in STREAMS])
        lower.set_xlabel("streams that take turns, one burst each")
        for axes in (upper, lower):
            axes.set_ylabel("bandwidth / peak")
        figure.legend(*lower.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _draw(axes: Axes, at: Sequence[int], lines: dict[str, tuple[float, ...]]) -> None:
    for number, (name, values) in enumerate(lines.items()):
        axes.plot(
            at, values, color=_COLOURS[number], marker=_MARKERS[number], markersize=2.8, linewidth=1.0, label=name
        )
    axes.set_xscale("log", base=2)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
    axes.grid(axis="y")
