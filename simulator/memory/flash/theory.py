"""Closed forms that the simulation is held against."""

from __future__ import annotations

import math

from simulator.memory.flash.drive import Drive
from workloads.errors import InputError

__all__ = ["greedy_write_amplification", "random_read_latency_s"]


def greedy_write_amplification(used_share: float) -> float:
    """Pages programmed per page written, greedy collection of large blocks under uniform random writes.

    ``used_share`` is valid pages over pages in circulation, the blocks kept free or open not counted. With many large
    blocks all that are collected hold the same share v of valid pages, and the time from a block's filling to its
    collection is that of writing every block once: v = exp(-(1 - v) / u), u the used share; then 1 / (1 - v).
    With v = 1 - 1/A this is u = -1 / (A ln(1 - 1/A)): Bux and Iliadis, "Performance of greedy garbage collection in
    flash-based solid-state drives", Performance Evaluation 67 (2010), and Desnoyers, "Analytic modeling of SSD write
    performance", SYSTOR 2012, both in the limit of large blocks; with few pages per block greedy does better, because
    it finds blocks below the mean. Raises `InputError` outside 0 < used_share < 1.
    """
    if not 0 < used_share < 1:
        raise InputError(f"found {used_share}", "a share between 0 and 1", "used_share")
    low, high = 0.0, 1.0 - 1e-15
    for _ in range(200):
        middle = (low + high) / 2
        if math.exp(-(1 - middle) / used_share) > middle:
            low = middle
        else:
            high = middle
    return 1 / (1 - low)


def random_read_latency_s(drive: Drive, size_bytes: int, *, ideal_mapping: bool) -> float:
    """One random read alone in the drive, part of one page: mapping page, data page, bus, host link."""
    inside_ns = sum(drive.cells.read_us) / len(drive.cells.read_us) * 1e3 + drive.cells.ready_ns
    read_ns = drive.channel.read_command_ns(1) + inside_ns
    ns = read_ns + size_bytes / drive.channel.bytes_per_s * 1e9
    if not ideal_mapping:
        ns += read_ns + 512 / drive.channel.bytes_per_s * 1e9
    host = drive.host
    ns += host.message_ns(2) + host.message_ns(4) + host.message_ns(64) + host.message_ns(size_bytes)
    return (ns + host.message_ns(16) + host.command_us * 1e3) * 1e-9
