"""Pinned host memory as frameworks take it: a caching allocator that rounds up, and pools of swap buffers.

PyTorch's host allocator rounds every request up to a power of two, keeps what is freed and gives it to the next request
of the same power (pytorch/pytorch at 03258ab, ATen/core/CachingHostAllocator.h). Without rounding, memory comes in
pages (``PAGES``). Tensors that pass through host memory land in buffers of a pool. DeepSpeed's has one size, the
largest tensor's, and is one request (deepspeedai/DeepSpeed at 033df2d, runtime/swap_tensor/
partitioned_param_swapper.py); a pool by classes has each shape's own (MemAscend, arXiv 2505.23254).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mappers.planner.allocation.requests import Request
from workloads.errors import InputError

__all__ = [
    "PAGE",
    "PinnedResult",
    "Rounding",
    "SwapPool",
    "class_pool",
    "overflow_check_bytes",
    "pinned_bytes",
    "replay_pinned",
    "uniform_pool",
]

Rounding = Literal["power-of-two", "page"]
PAGE = 4096
"""Bytes of a page, the least that can be pinned."""

_BLOCK = 1024
"""DeepSpeed's alignment of asynchronous reads for each of its threads, bytes (runtime/swap_tensor/utils.py)."""


@dataclass(frozen=True)
class PinnedResult:
    """Peaks in bytes of a replay: ``allocated`` was asked for, ``reserved`` was pinned for it and stays pinned."""

    requests: int
    blocks: int
    reserved_bytes: int
    allocated_bytes: int

    @property
    def waste(self) -> float:
        """The share of what is pinned that the peak of the requests leaves unused."""
        return 1 - self.allocated_bytes / self.reserved_bytes if self.reserved_bytes else 0.0


@dataclass(frozen=True)
class SwapPool:
    """Buffers for tensors in flight: ``requests`` are what the allocator is asked for, bytes, ``held_bytes`` what the
    tensors take of them."""

    requests: tuple[int, ...]
    held_bytes: int

    def pinned(self, rounding: Rounding) -> int:
        """Bytes that the pool pins."""
        return sum(pinned_bytes(size, rounding) for size in self.requests)

    @property
    def waste(self) -> float:
        """The share of the pool that its tensors leave unused."""
        return 1 - self.held_bytes / sum(self.requests) if self.requests else 0.0


def pinned_bytes(size: int, rounding: Rounding) -> int:
    """What one request of ``size`` bytes pins."""
    if size < 0:
        raise InputError(f"found {size} bytes", "0 or more", "size")
    if size == 0:
        return 0
    return 1 << (size - 1).bit_length() if rounding == "power-of-two" else -(-size // PAGE) * PAGE


def replay_pinned(requests: Sequence[Request], rounding: Rounding) -> PinnedResult:
    """What is pinned for ``requests``; a freed block serves later requests that round to the same size."""
    free: Counter[int] = Counter()
    blocks = reserved = allocated = most = 0
    for request in requests:
        size = pinned_bytes(request.size, rounding)
        if size == 0:
            continue
        if not request.wanted:
            free[size] += 1
            allocated -= request.size
            continue
        allocated += request.size
        most = max(most, allocated)
        if free[size]:
            free[size] -= 1
        else:
            blocks, reserved = blocks + 1, reserved + size
    return PinnedResult(len(requests), blocks, reserved, most)


def uniform_pool(in_flight: Sequence[int], threads: int = 1) -> SwapPool:
    """A buffer of the largest size, aligned for ``threads``, for each tensor ``in_flight`` (bytes): one request."""
    aligned = _BLOCK * threads
    largest = -(-max(in_flight, default=0) // aligned) * aligned
    return SwapPool((largest * len(in_flight),) if in_flight else (), sum(in_flight))


def class_pool(in_flight: Sequence[int], threads: int = 1) -> SwapPool:
    """A request for each size in flight, of as many buffers as tensors have that size."""
    aligned = _BLOCK * threads
    counts = Counter(-(-size // aligned) * aligned for size in in_flight)
    return SwapPool(tuple(size * count for size, count in sorted(counts.items(), reverse=True)), sum(in_flight))


def overflow_check_bytes(elements: int, element_bytes: int, gradient_bytes: int = 4) -> int:
    """Memory that looking for infinities in one flat buffer takes besides it, on top of fp32 gradients.

    A buffer of fewer bytes an element is widened first; ``torch.isinf`` takes absolute values, a copy, and compares
    them, a byte each (deepspeed 0.13, runtime/zero/stage3.py, has_overflow).
    """
    widened = gradient_bytes if element_bytes < gradient_bytes else 0
    return elements * (widened + max(element_bytes, widened) + 1)
