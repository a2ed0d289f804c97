"""Random reads in chunks, and the input and output of "LLM in a flash" (arXiv 2312.11514 v3, table 2)."""

from __future__ import annotations

from itertools import pairwise

import pytest

from simulator.memory.flash.chunks import chunk_rates, linear_rate
from simulator.memory.flash.drives import load_drive

GB = 1e9
# OPT-6.7B in 16 bits, per token: bytes from flash, how they are read, published milliseconds of input and output alone.
# The 13.4, 6.7 and 0.9 GB follow from the model, half of it, and the tenth of the neurons that are predicted.
TABLE_2 = [(13.4 * GB, "linear", 2196.0), (6.7 * GB, "linear", 1090.0), (0.9 * GB, 8192, 738.0)]


def test_rate_rises_with_the_chunk_and_with_the_threads() -> None:
    chunks, threads = (4096, 8192, 16384, 32768, 65536), (2, 8, 32)
    rates = {
        (rate.chunk_bytes, rate.threads): rate.bandwidth_bytes_per_s
        for rate in chunk_rates(load_drive("ssd-m1-max"), chunks, threads, requests=2000)
    }
    for small, large in pairwise(chunks):
        assert all(rates[large, count] > rates[small, count] for count in threads)
    for few, many in pairwise(threads):
        assert all(rates[chunk, many] > rates[chunk, few] for chunk in chunks)


def test_measured_rates_of_the_laptop() -> None:
    """6.10 GB/s linear is stated and 1.25 GB/s at 8 KiB was fitted; 2.25 GB/s at 16 KiB is predicted."""
    drive = load_drive("ssd-m1-max")
    small, large = chunk_rates(drive, (8192, 16384), (32,), requests=20000)
    assert linear_rate(drive) == pytest.approx(6.10 * GB, rel=0.01)
    assert small.bandwidth_bytes_per_s == pytest.approx(1.25 * GB, rel=0.01)
    assert large.bandwidth_bytes_per_s == pytest.approx(2.25 * GB, rel=0.05)


@pytest.mark.parametrize(("size_bytes", "read", "published_ms"), TABLE_2)
def test_table_2(size_bytes: float, read: str | int, published_ms: float) -> None:
    drive = load_drive("ssd-m1-max")
    if isinstance(read, int):
        rate = chunk_rates(drive, (read,), (32,), requests=20000)[0].bandwidth_bytes_per_s
    else:
        rate = linear_rate(drive)
    assert size_bytes / rate * 1e3 == pytest.approx(published_ms, rel=0.05)


def test_measured_rates_of_the_phone() -> None:
    """PowerInfer-2, arXiv 2406.06282 v3: 4 GB/s sequential is stated, 1 GB/s of random 4 KiB reads was fitted."""
    drive = load_drive("ufs4-phone")
    assert linear_rate(drive, request_bytes=524288) == pytest.approx(4.0 * GB, rel=0.02)
    near, far = (
        chunk_rates(drive, (4096,), (32,), requests=100_000, working_set=size / drive.capacity_bytes)[0]
        for size in (128e6, 512e6)
    )
    assert near.bandwidth_bytes_per_s == pytest.approx(1.0 * GB, rel=0.05)
    assert far.bandwidth_bytes_per_s < near.bandwidth_bytes_per_s  # mapping entries are missing
