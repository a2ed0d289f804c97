"""Request traces for the queued controller, of the kinds that ArchGym's DRAM space is explored on. All are synthetic.

Its cloud-1.stl and cloud-2.stl (srivatsankrishnan/oss-arch-gym c4319fb, sims/DRAM/DRAMSys/library/resources/traces;
looked at in part) are 10,000 reads, one a clock of 800 MHz, in pieces of 50: either the next 50 bursts of one stream
from address 0, or 50 addresses anywhere in 1 GiB; neither kind is much more frequent, and one starts with the stream,
the other without. stream.stl and random.stl are not in the repository; the results it gives as an example are those
of a stream alone (`dse.dram_controller.published`). So here: the same pieces drawn anew with seeds of our own, each
kind as likely. As reads alone leave without effect what tells reads and writes apart,
``cloud-writes`` is drawn like cloud-1 with a third of its pieces written.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simulator.memory.dram.device import Device
from simulator.memory.dram.queued import QueuedTrace, placed
from workloads.errors import InputError, unknown_name

__all__ = ["PUBLISHED_REQUESTS", "TRACES", "queued_trace"]

PUBLISHED_REQUESTS = 10_000
"""The length of the published traces."""

TRACES = {
    "stream": "one burst after the other, reads",
    "random": "anywhere in the device, reads",
    "cloud-1": "pieces of 50 of a stream or of random addresses, reads; begins with the stream",
    "cloud-2": "the same with other pieces; begins at random",
    "cloud-writes": "as cloud-1 with a third of the pieces written",
}
"""What each kind of trace holds."""

_PIECE = 50
_SEEDS = {"random": 11, "cloud-1": 12, "cloud-2": 13, "cloud-writes": 14}


def queued_trace(
    device: Device, name: str, requests: int = PUBLISHED_REQUESTS, mapping: str = "RoBaRaCoCh"
) -> QueuedTrace:
    """The first ``requests`` of the trace of that name, one a tick, on one channel of ``device``.

    Raises `InputError` for an unknown name or mapping, and for no requests.
    """
    if name not in TRACES:
        raise unknown_name("trace", name, TRACES, field="trace")
    if requests < 1:
        raise InputError(f"found {requests}", "at least 1", "requests")
    bursts, writes = _bursts(name, requests, device.capacity_bytes // device.burst_bytes)
    return placed(device, mapping, np.arange(requests, dtype=np.int64), bursts * device.burst_bytes, writes)


def _bursts(name: str, requests: int, bursts: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Numbers of bursts, and which are written."""
    reads = np.zeros(requests, dtype=np.bool_)
    if name == "stream":
        return np.arange(requests, dtype=np.int64) % bursts, reads
    rng = np.random.default_rng(_SEEDS[name])
    if name == "random":
        return rng.integers(0, bursts, requests), reads
    pieces = -(-requests // _PIECE)
    streams = rng.random(pieces) < 0.5
    streams[0] = name != "cloud-2"
    places = np.where(streams, np.cumsum(streams) - 1, 0)[:, None] * _PIECE + np.arange(_PIECE)
    anywhere = rng.integers(0, bursts, (pieces, _PIECE))
    found = np.where(streams[:, None], places % bursts, anywhere).reshape(-1)[:requests]
    if name == "cloud-writes":
        reads = np.repeat(rng.random(pieces) < 1 / 3, _PIECE)[:requests]
    return found, reads
