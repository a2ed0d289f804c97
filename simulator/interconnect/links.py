"""Links by name: what a message costs on PCI Express, CXL.mem, NVLink and an RDMA network, from the bytes on the wire.

A message is cut into packets; each carries at most ``payload_bytes``, rounded up to whole ``unit_bytes``, behind
``header_bytes``, and asks for ``answer_bytes`` in the other direction (acknowledgements, credits, write responses).
Links that move fixed flits give part of each flit to error correction and control. What is left of the line rate is
the protocol's efficiency; nothing here is a fudge factor. Latency is one way and without the memory behind the link.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from hw.spec.source import Source, parse_source
from workloads.errors import InputError, nearest_name

__all__ = [
    "NICS",
    "PCIE_GENERATIONS",
    "LinkType",
    "Packets",
    "concurrency_bandwidth",
    "cxl_mem",
    "effective_bandwidth",
    "message_time_s",
    "nic",
    "nvlink",
    "pcie",
    "protocol_efficiency",
    "wire_bytes",
]


@dataclass(frozen=True)
class Packets:
    """How a link cuts messages: bytes per packet, and the part of each flit that packets may fill."""

    payload_bytes: int
    header_bytes: int
    unit_bytes: int = 1
    answer_bytes: int = 0
    flit_usable_bytes: int = 1
    flit_bytes: int = 1


@dataclass(frozen=True)
class LinkType:
    """A link in one direction: line rate after encoding, latency, and the least time between two messages."""

    name: str
    rate_bytes_per_s: float
    packets: Packets
    latency_s: float
    message_cost_s: float = 0.0
    sources: Mapping[str, Source] = field(default_factory=dict)


def wire_bytes(link: LinkType, message_bytes: float, *, both_ways: bool = False) -> float:
    """Bytes on the wire in one direction for a message; with ``both_ways`` as much traffic comes back, and the answers
    to it share this direction."""
    _positive(message_bytes, "message_bytes")
    cut = link.packets
    packets = math.ceil(message_bytes / cut.payload_bytes)
    payload = math.ceil(message_bytes / cut.unit_bytes) * cut.unit_bytes
    total = payload + packets * (cut.header_bytes + both_ways * cut.answer_bytes)
    return total * cut.flit_bytes / cut.flit_usable_bytes


def protocol_efficiency(link: LinkType, message_bytes: float, *, both_ways: bool = False) -> float:
    """The part of the line rate that is payload, at most 1."""
    return message_bytes / wire_bytes(link, message_bytes, both_ways=both_ways)


def effective_bandwidth(link: LinkType, message_bytes: float, *, sharers: int = 1, both_ways: bool = False) -> float:
    """Payload bytes per second of one of ``sharers`` equal streams of back-to-back messages of this size.

    Each message occupies the link for its bytes on the wire, or for ``message_cost_s`` where the sender's message rate
    is the limit; streams take turns in both.
    """
    if sharers < 1:
        raise InputError(f"found {sharers}", expected="1 or more", field="sharers")
    return message_bytes / (sharers * _occupied_s(link, message_bytes, both_ways))


def message_time_s(link: LinkType, message_bytes: float, *, sharers: int = 1, both_ways: bool = False) -> float:
    """Seconds until the last byte of one message has arrived, while ``sharers`` - 1 like it are under way."""
    return link.latency_s + message_bytes / effective_bandwidth(
        link, message_bytes, sharers=sharers, both_ways=both_ways
    )


def concurrency_bandwidth(outstanding_bytes: float, round_trip_s: float) -> float:
    """The most bytes per second that ``outstanding_bytes`` of requests keep moving (Little's law): what bounds loads
    through CXL and DMA reads with few tags."""
    _positive(outstanding_bytes, "outstanding_bytes")
    _positive(round_trip_s, "round_trip_s")
    return outstanding_bytes / round_trip_s


def _occupied_s(link: LinkType, message_bytes: float, both_ways: bool) -> float:
    on_wire = wire_bytes(link, message_bytes, both_ways=both_ways) / link.rate_bytes_per_s
    return max(on_wire, link.message_cost_s)


def _positive(value: float, name: str) -> None:
    if not 0 < value < math.inf:
        raise InputError(f"found {value:g}", expected="a number above 0", field=name)


def _sources(**texts: str) -> dict[str, Source]:
    return {name: parse_source(text) for name, text in texts.items()}


PCIE_GENERATIONS = {3: 8e9, 4: 16e9, 5: 32e9, 6: 64e9}
"""Bits per second of a lane in one direction, by generation (PCI Express Base Specification)."""

_ENCODING = 128 / 130


def pcie(
    generation: int,
    lanes: int = 16,
    *,
    payload_bytes: int = 256,
    transfer: Literal["write", "read"] = "write",
) -> LinkType:
    """A PCI Express link of ``lanes`` lanes; ``transfer`` says whether data travels in writes or in read completions.

    ``payload_bytes`` is the negotiated maximum payload, 128 to 4096. Generation 6 moves flits, the others packets.
    """
    _known(generation, PCIE_GENERATIONS, "generation")
    if payload_bytes not in (128, 256, 512, 1024, 2048, 4096):
        raise InputError(f"found {payload_bytes}", expected="a power of two from 128 to 4096", field="payload_bytes")
    header = 16 if transfer == "write" else 12
    bits_per_s = PCIE_GENERATIONS[generation] * lanes
    header_text = "derived: header of 4 double words for writes (64-bit addresses), 3 for completions"
    if generation >= 6:
        packets = Packets(payload_bytes, header, 4, 0, 236, 256)
        rate, encoding = (
            bits_per_s / 8,
            "stated: 236 of a flit's 256 bytes are packets, 6 control, 8 CRC, 6 FEC, PCIe 6.0",
        )
    else:
        packets = Packets(payload_bytes, header + 8, 4, 16)
        rate = bits_per_s * _ENCODING / 8
        header_text += "; framing, sequence number and CRC 8 bytes more, Intel AN 829 (5 to 7 double words in all)"
        encoding = "stated: 128 of 130 bits, PCI Express 3.0 to 5.0"
    sources = _sources(
        rate_bytes_per_s=encoding,
        header_bytes=header_text,
        answer_bytes="stated: an acknowledgement and a credit update of 8 bytes each per packet at full two-way load, "
        "PLX PEX 8532 data book, 8.4.1.4; inside the flit's control bytes from 6.0 on",
        latency_s="synthetic: one way through root complex and switch, 0.7 to 1.5 us",
        message_cost_s="synthetic: none; the cost of starting a copy belongs to who starts it",
    )
    return LinkType(f"pcie-{generation}.0-x{lanes}", rate, packets, 1e-6, 0.0, sources)


def cxl_mem(generation: int = 5, lanes: int = 8) -> LinkType:
    """CXL.mem read data from an expander on PCI Express 5.0 (68-byte flits, CXL 1.1 and 2.0) or 6.0 (256, CXL 3).

    A cache line is four 16-byte data slots behind one header slot. Headers of several lines may share a slot, so this
    is the lower end of what the flits carry.
    """
    _known(generation, (5, 6), "generation")
    bits_per_s = PCIE_GENERATIONS[generation] * lanes
    if generation == 5:
        rate, packets = bits_per_s * _ENCODING / 8, Packets(64, 16, 16, 0, 64, 68)
    else:
        rate, packets = bits_per_s / 8, Packets(64, 16, 16, 0, 240, 256)
    sources = _sources(
        rate_bytes_per_s="derived: the lanes of PCI Express and their encoding",
        header_bytes="derived: one header slot of 16 bytes per line, no sharing of slots",
        flit_usable_bytes="stated: four 16-byte slots, 2 bytes CRC and 2 protocol ID (68); fifteen slots, and 16 "
        "bytes of header, CRC and FEC (256), CXL 3.0, chapter 4",
        latency_s="derived: 250 ns from load to data less 90 in DRAM, sampooni.github.io; whole loads took 140 to "
        "410 ns on four devices, Liu et al., ASPLOS 2025",
    )
    return LinkType(f"cxl-{generation}.0-x{lanes}", rate, packets, 160e-9, 0.0, sources)


NVLINK_GENERATIONS = {1: (4, 20e9), 2: (6, 25e9), 3: (12, 25e9), 4: (18, 25e9), 5: (18, 50e9)}
"""Links of a GPU (P100, V100, A100, H100, B200) and bytes per second of one in each direction."""


def nvlink(generation: int, links: int | None = None, *, payload_bytes: int = 128) -> LinkType:
    """All NVLinks of one GPU together. Packets are 16-byte flits: one of header and up to 16 of data.

    ``payload_bytes`` is 128 for stores of whole cache lines by a kernel, up to 256 for copy engines.
    """
    _known(generation, NVLINK_GENERATIONS, "generation")
    if not 16 <= payload_bytes <= 256:
        raise InputError(f"found {payload_bytes}", expected="16 to 256", field="payload_bytes")
    count, rate = NVLINK_GENERATIONS[generation]
    count = links or count
    sources = _sources(
        rate_bytes_per_s="stated: white papers of P100, V100, A100, H100 and B200, per direction",
        header_bytes="stated: packets of 1 to 18 flits of 128 bits, WikiChip, NVLink",
        answer_bytes="derived: one flit answers a write; with 128-byte writes both ways 8 of 10 flits are data, "
        "which is the 20 of 25 GB/s that NCCL counts per link of an A100 (topo.h, SM80_NVLINK_BW)",
        latency_s="stated: 0.6 us for a hop with flags in the data, NVIDIA/nccl tuning.cc, b6475625",
    )
    packets = Packets(payload_bytes, 16, 16, 16)
    return LinkType(f"nvlink-{generation}-x{count}", rate * count, packets, 0.6e-6, 0.0, sources)


_INFINIBAND = "derived: local route header 8, base transport header 12, invariant CRC 4, variant CRC 2, InfiniBand 1.3"
_CONNECTX6_RATE = "stated: 215 million messages per second, NVIDIA ConnectX-6 EN user manual"
_CONNECTX6_LATENCY = "stated: below 600 ns, NVIDIA ConnectX-6 EN user manual"

NICS = {
    "connectx-6-hdr": LinkType(
        "connectx-6-hdr",
        25e9,
        Packets(4096, 26),
        600e-9,
        1 / 215e6,
        _sources(
            rate_bytes_per_s="stated: 200 Gbit/s after encoding, NVIDIA ConnectX-6",
            header_bytes=_INFINIBAND,
            latency_s=_CONNECTX6_LATENCY,
            message_cost_s=_CONNECTX6_RATE,
        ),
    ),
    "connectx-7-ndr": LinkType(
        "connectx-7-ndr",
        50e9,
        Packets(4096, 26),
        600e-9,
        1 / 215e6,
        _sources(
            rate_bytes_per_s="stated: 400 Gbit/s, NVIDIA ConnectX-7 VPI user manual",
            header_bytes=_INFINIBAND,
            latency_s="synthetic: as ConnectX-6",
            message_cost_s="synthetic: as ConnectX-6, 215 million messages per second",
        ),
    ),
}
"""Network adapters on InfiniBand, by name."""

_ROCE_HEADER_BYTES = 12 + 8 + 14 + 20 + 8 + 12 + 4 + 4


def nic(name: str, *, over: Literal["infiniband", "ethernet"] = "infiniband") -> LinkType:
    """A network adapter; ``over`` Ethernet packets are RoCE v2: gap, preamble, Ethernet, IPv4, UDP and both CRCs."""
    if name not in NICS:
        raise InputError(f"unknown adapter {name!r}", "a bundled adapter", "name", nearest=nearest_name(name, NICS))
    link = NICS[name]
    if over == "infiniband":
        return link
    text = "derived: gap 12, preamble 8, Ethernet 14, IPv4 20, UDP 8, base transport header 12, two CRCs of 4, RoCE v2"
    sources = {**link.sources, "header_bytes": parse_source(text)}
    return replace(link, packets=replace(link.packets, header_bytes=_ROCE_HEADER_BYTES), sources=sources)


def _known(generation: int, known: Mapping[int, object] | tuple[int, ...], name: str) -> None:
    if generation not in known:
        raise InputError(f"found {generation}", expected=f"one of {', '.join(map(str, known))}", field=name)
