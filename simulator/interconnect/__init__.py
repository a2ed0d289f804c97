"""Interconnects: links with their protocols (`links`), collectives by algorithm (`collectives`) and as libraries run
them (`libraries`)."""

from __future__ import annotations

from simulator.interconnect.collectives import Exchange, best_exchange, exchange, least_sent_bytes
from simulator.interconnect.libraries import LIBRARIES, CollectiveTime, Library, collective_time, library
from simulator.interconnect.links import LinkType, cxl_mem, effective_bandwidth, message_time_s, nic, nvlink, pcie

__all__ = [
    "LIBRARIES",
    "CollectiveTime",
    "Exchange",
    "Library",
    "LinkType",
    "best_exchange",
    "collective_time",
    "cxl_mem",
    "effective_bandwidth",
    "exchange",
    "least_sent_bytes",
    "library",
    "message_time_s",
    "nic",
    "nvlink",
    "pcie",
]
