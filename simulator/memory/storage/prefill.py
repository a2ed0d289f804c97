"""Prefill into computational storage: every layer's keys and values stream to the drive while the next is computed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from simulator.memory.flash.drive import Drive
from simulator.memory.flash.run import simulate_drive
from simulator.memory.flash.workload import DriveWorkload
from simulator.memory.storage.appends import append_costs
from simulator.memory.storage.layout import KvLayout
from simulator.memory.storage.reading import Held, steady
from workloads.errors import InputError

__all__ = ["PrefillStream", "append_rate", "stream_prefill"]

_REQUEST_BYTES = 2**20
_OUTSTANDING = 32
_FEW_REQUESTS = 256
_MOST_REQUESTS = 2**16


@dataclass(frozen=True)
class PrefillStream:
    """A prefill of all layers. Of one layer on the busiest drive: ``link_s`` over its link, ``flash_s`` to program it,
    ``stream_s`` the longer, as both go on at the same time; ``exposed_s`` is what all of it adds to the computation."""

    seconds: float
    exposed_s: float
    link_s: float
    flash_s: float
    link_bytes: int
    programmed_bytes: int

    @property
    def stream_s(self) -> float:
        """One layer's keys and values, from accelerator to flash."""
        return max(self.link_s, self.flash_s)


def append_rate(drive: Drive) -> float:
    """Bytes per second that the engine programs appending: in order, from inside, past the write cache; steady."""
    return _append_rate(Held(drive))


@lru_cache(maxsize=64)
def _append_rate(held: Held[Drive]) -> float:
    def seconds(requests: int) -> float:
        asked = DriveWorkload(
            "seq-write", _REQUEST_BYTES, _OUTSTANDING, ideal_mapping=True, requests=requests, cached=False, inside=True
        )
        return simulate_drive(held.model, asked).seconds

    return _REQUEST_BYTES / steady(seconds, _FEW_REQUESTS, _MOST_REQUESTS)[1]


def stream_prefill(
    drive: Drive,
    layout: KvLayout,
    tokens: int,
    sequences: int,
    *,
    layers: int,
    layer_compute_s: float,
    drives: int = 1,
) -> PrefillStream:
    """Prompts of ``tokens`` whose layers take ``layer_compute_s`` each on the accelerator.

    Keys and values of a layer are sent peer to peer once; the drive makes the copy by channel, where ``layout`` has
    one. ``layout`` is that of all heads, of which each of ``drives`` has an equal part. The last layer's stream is not
    hidden. Raises `InputError` for numbers below 1 and prompts longer than the layout's sequences.
    """
    if drives < 1 or layers < 1:
        raise InputError(f"found {min(drives, layers)}", "at least 1", "drives" if drives < 1 else "layers")
    if not layer_compute_s >= 0:
        raise InputError(f"found {layer_compute_s}", "0 or more seconds", "layer_compute_s")
    costs = append_costs(layout, tokens, sequences=sequences)
    share = -(-layout.kv_heads // drives) / layout.kv_heads
    link_s = share * costs.appended_bytes / drive.host.bytes_per_s
    flash_s = share * costs.programmed_bytes / append_rate(drive)
    stream = max(link_s, flash_s)
    seconds = layer_compute_s + (layers - 1) * max(layer_compute_s, stream) + stream
    return PrefillStream(
        seconds=seconds,
        exposed_s=seconds - layers * layer_compute_s,
        link_s=link_s,
        flash_s=flash_s,
        link_bytes=layers * costs.appended_bytes,
        programmed_bytes=layers * costs.programmed_bytes,
    )
