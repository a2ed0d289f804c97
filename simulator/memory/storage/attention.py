"""Attention of one decode step inside drives that hold the keys and values: what is read, and how long it takes.

The drive's own simulation reads the list of pages from inside; nothing is assumed of its rate. For each sequence of a
layer the engine reads, with sparse attention, first the pages by channel that approximate scores need, then the pages
by token of what these select; a sequence's second step is asked for after the next one's first, which hides the
selection where there is a next one. Pages pass the filters, where what is not selected is dropped, and go to the units
as they come, double-buffered. So a layer takes

    link + fill + max(flash, filter, compute),

with `link` the vectors that go in and come out and the command, and `fill` the latency of the last softmax, with sparse
attention of a sequence alone also of that of its approximate scores, and of the last page through filter and unit.
Several drives have equal parts of the heads and their own links; the one with most heads is simulated. Tokens that do
not fill their page yet are in the controller's DRAM, whose rate is not modelled. What a step appends, one token of each
sequence, is not programmed at the same time.

Machine and dataflow: InstInfer, arXiv 2409.04992; the order of reads is our own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from simulator.memory.flash.drive import Drive
from simulator.memory.storage.engines import StorageEngine
from simulator.memory.storage.layout import KvLayout, place_of
from simulator.memory.storage.reading import Held, PageReading, read_steadily
from simulator.memory.storage.sparse import SparseChoice
from simulator.memory.storage.step import LayerStep, layer_step, most_sequences
from workloads.errors import InfeasibleError, InputError

__all__ = ["CsdResult", "csd_attention"]


@dataclass(frozen=True)
class CsdResult:
    """A step's attention, all its layers and drives.

    ``seconds_by_part`` has link, fill, flash, filter and compute, the last three at the same time. ``bytes_by_stage``:
    flash, what crosses the flash channels; filtered, what leaves the filters; used, selected elements; waiting, what is
    in controllers' DRAM and not in flash; link, what crosses the drives' links. ``pages`` are read by channel and by
    token. ``bound_s`` is the time of the flash bytes at all channels' full rate. ``energy_j`` has the parts whose
    energy is known. ``reading`` says how the drive read one layer, and how many of its pages were simulated.
    """

    seconds: float
    seconds_by_part: dict[str, float]
    bytes_by_stage: dict[str, int]
    pages: dict[str, int]
    flops: float
    bound_s: float
    energy_j: dict[str, float]
    reading: PageReading
    why: str

    @property
    def fraction_of_bound(self) -> float:
        """What part of the channels' full rate the whole step reaches."""
        return self.bound_s / self.seconds


def csd_attention(
    drive: Drive,
    engine: StorageEngine,
    heads: int,
    kv_heads: int,
    head_size: int,
    tokens: int,
    batch: int,
    *,
    sparse: SparseChoice | None = None,
    drives: int = 1,
    layers: int = 1,
    element_bytes: int = 2,
    together: int | None = None,
    channels_per_page: int = 2,
    tail_in_dram: bool = True,
) -> CsdResult:
    """One new token of each of ``batch`` sequences attends to ``tokens``, in ``layers`` layers one after the other.

    ``sparse`` selects tokens at random with its mean run, and channels at random, for each of ``heads``; heads that
    share one of ``kv_heads`` read what any of them selects. ``together`` and ``channels_per_page`` are the layout's;
    None puts a page of keys and that of values of the same tokens into one die. Without ``tail_in_dram`` keys that do
    not fill a page by channel yet are read by token. Deterministic. Raises `InputError` for numbers below 1, heads that
    do not divide, and choices beyond the head or the sequence; `InfeasibleError` when keys and values do not fit.
    """
    _check(heads, kv_heads, tokens, batch, drives, layers, head_size, sparse)
    if together is None:
        together = 2 if drive.geometry.planes_per_die % 2 == 0 else 1
    on_drive = -(-kv_heads // drives)
    by_channel = channels_per_page if sparse else None
    layout = KvLayout(drive.geometry, on_drive, head_size, tokens, element_bytes, by_channel, together)
    needed = batch * layers * layout.pages_per_plot * drive.geometry.page_bytes
    if needed > drive.capacity_bytes:
        hint = "more drives, or fewer sequences"
        raise InfeasibleError("keys and values of one drive", needed, drive.capacity_bytes, "bytes", hint)
    return _attention(Held(drive), Held(engine), layout, heads, kv_heads, tokens, batch, layers, sparse, tail_in_dram)


@lru_cache(maxsize=4096)
def _attention(
    held_drive: Held[Drive],
    held_engine: Held[StorageEngine],
    layout: KvLayout,
    heads: int,
    kv_heads: int,
    tokens: int,
    batch: int,
    layers: int,
    sparse: SparseChoice | None,
    tail_in_dram: bool,
) -> CsdResult:
    drive, engine = held_drive.model, held_engine.model
    queries = heads // kv_heads
    sequences = min(batch, most_sequences(layout, queries, tokens))
    step = layer_step(layout, queries, tokens, sequences, layers, engine.unit_tokens, sparse, tail_in_dram)
    done = _read(drive, step, batch, engine.pages_outstanding)
    return _result(drive, engine, layout, step, done, batch, layers, heads, kv_heads, sparse is not None)


def _result(
    drive: Drive,
    engine: StorageEngine,
    layout: KvLayout,
    step: LayerStep,
    done: PageReading,
    batch: int,
    layers: int,
    heads: int,
    kv_heads: int,
    selects: bool,
) -> CsdResult:
    more = batch / step.sequences
    pages = np.concatenate([step.first, step.second])
    page_bytes, channels = drive.geometry.page_bytes, drive.geometry.channels
    busiest = int(np.bincount(place_of(drive.geometry, pages).channel, minlength=channels).max()) if len(pages) else 0
    filter_s = busiest * page_bytes * more / (engine.filter_GBps * 1e9) if engine.filter_GBps else 0.0
    compute_s = engine.compute_s(step.flops * more)
    vectors = (2 * heads + 2 * kv_heads) / kv_heads * layout.kv_heads * layout.head_size * layout.element_bytes * batch
    link_s = vectors / drive.host.bytes_per_s + drive.host.command_us * 1e-6
    fill = (2 if selects and batch == 1 else 1) * engine.softmax_us * 1e-6 + engine.unit_s(layout.head_size)
    fill += page_bytes / (engine.filter_GBps * 1e9) if engine.filter_GBps else 0.0
    parts = {"link": link_s, "fill": fill, "flash": done.seconds, "filter": filter_s, "compute": compute_s}
    parts = {name: layers * value for name, value in parts.items()}
    seconds = parts["link"] + parts["fill"] + max(parts["flash"], parts["filter"], parts["compute"])

    share = layers * more * kv_heads / layout.kv_heads  # from the step to all layers, sequences and drives
    counted = {"channel": len(step.first), "token": len(step.second)}
    flash_bytes = len(pages) * page_bytes
    stages = {
        "flash": round(share * flash_bytes),
        "filtered": round(share * (step.used_bytes if engine.filter_GBps else flash_bytes)),
        "used": round(share * step.used_bytes),
        "waiting": round(share * step.waiting_bytes),
        "link": round(layers * vectors * kv_heads / layout.kv_heads),
    }
    flops = share * step.flops
    bound_s = layers * more * flash_bytes / drive.internal_bytes_per_s
    return CsdResult(
        seconds=seconds,
        seconds_by_part=parts,
        bytes_by_stage=stages,
        pages={name: round(share * count) for name, count in counted.items()},
        flops=flops,
        bound_s=bound_s,
        energy_j={} if engine.flop_pJ is None else {"compute": flops * engine.flop_pJ * 1e-12},
        reading=done,
        why=_why(parts, seconds, bound_s, done, layers * more * step.waiting_bytes, engine),
    )


def _why(
    parts: dict[str, float],
    seconds: float,
    bound_s: float,
    done: PageReading,
    waiting_bytes: float,
    engine: StorageEngine,
) -> str:
    longest = max(("flash", "filter", "compute"), key=lambda name: parts[name])
    named = sorted(((parts[name], name) for name in (longest, "link", "fill")), reverse=True)
    text = ", ".join(f"{name} {value / seconds:.0%}" for value, name in named)
    if longest == "flash" and done.commands:
        text += (
            f"; channels at {bound_s / parts['flash']:.0%} of their rate, dies busy {done.dies_busy:.0%},"
            f" {done.simulated / done.commands:.2g} pages a command"
        )
    if waiting_bytes > engine.dram_bytes:
        text += f"; {waiting_bytes / 1e9:.1f} GB wait in a DRAM of {engine.dram_bytes / 1e9:.1f} GB"
    return text


def _read(drive: Drive, step: LayerStep, batch: int, outstanding: int) -> PageReading:
    """A sequence alone has its second step read when its first is done; others' first steps hide the selection."""
    if batch > 1:
        return read_steadily(drive, step.pipelined(), outstanding, copies=batch / step.sequences)
    first, second = np.sort(step.first), np.sort(step.second)
    return read_steadily(drive, first, outstanding).then(read_steadily(drive, second, outstanding))


def _check(
    heads: int,
    kv_heads: int,
    tokens: int,
    batch: int,
    drives: int,
    layers: int,
    head_size: int,
    sparse: SparseChoice | None,
) -> None:
    numbers = {"heads": heads, "kv_heads": kv_heads, "tokens": tokens, "batch": batch}
    for field, value in {**numbers, "drives": drives, "layers": layers}.items():
        if value < 1:
            raise InputError(f"found {value}", "at least 1", field)
    if heads % kv_heads:
        raise InputError(f"found {heads} heads", f"a multiple of the {kv_heads} heads of keys and values", "heads")
    if drives > kv_heads:
        raise InputError(f"found {drives} drives", f"at most one for each of {kv_heads} heads", "drives")
    if sparse is not None:
        sparse.check(head_size, tokens)
