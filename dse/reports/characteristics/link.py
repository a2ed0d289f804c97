"""What a link gives messages of every size: share of the line rate, payload rate and time, from bytes on the wire."""

from __future__ import annotations

from dse.reports.characteristics.sheet import Axis, Chart, Curve, Limit, Progress, Sheet
from dse.reports.units_text import engineering, seconds_text
from simulator.interconnect.links import LinkType, effective_bandwidth, message_time_s, protocol_efficiency

__all__ = ["link_sheet"]

_SIZES = tuple(1 << power for power in range(4, 29))  # 16 B to 256 MiB
_MESSAGE = Axis("message_bytes", "message", "B", "log2")
_SHARERS = (1, 2, 8)


def link_sheet(link: LinkType, progress: Progress = lambda _: None) -> Sheet:
    """The charts of one direction of ``link``."""
    progress("messages")
    both = {"one way": False, "as much the other way": True}
    efficiency = Chart(
        "efficiency",
        "Payload in the line rate",
        _MESSAGE,
        Axis("efficiency", "payload of bytes on the wire"),
        tuple(
            Curve(name, tuple((size, protocol_efficiency(link, size, both_ways=way)) for size in _SIZES))
            for name, way in both.items()
        ),
        (Limit("every byte", "y", 1.0),),
    )
    bandwidth = Chart(
        "bandwidth",
        "Messages back to back",
        _MESSAGE,
        Axis("bandwidth_bytes_per_s", "payload of one stream", "B/s", "log10"),
        tuple(
            Curve(_streams(count), tuple((size, effective_bandwidth(link, size, sharers=count)) for size in _SIZES))
            for count in _SHARERS
        ),
        (Limit("line rate", "y", link.rate_bytes_per_s),),
    )
    time = Chart(
        "time",
        "Time of one message",
        _MESSAGE,
        Axis("time_s", "until its last byte", "s", "log10"),
        tuple(
            Curve(_streams(count), tuple((size, message_time_s(link, size, sharers=count)) for size in _SIZES))
            for count in _SHARERS
        ),
        (Limit("latency", "y", link.latency_s),),
    )
    headline = f"{link.name}: {engineering(link.rate_bytes_per_s, 'B/s')} each way, {seconds_text(link.latency_s)}"
    settings = {"rate_bytes_per_s": link.rate_bytes_per_s, "latency_s": link.latency_s}
    notes = tuple(f"{field}: {source}" for field, source in link.sources.items())
    return Sheet(link.name, "link", headline, (efficiency, bandwidth, time), settings, notes)


def _streams(count: int) -> str:
    return "alone" if count == 1 else f"{count} streams share it"
