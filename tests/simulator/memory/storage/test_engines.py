"""Engines by name, and what their constants imply."""

from __future__ import annotations

import pytest

from simulator.memory.storage.engines import load_storage_engine, storage_engine_names
from workloads.errors import InputError


def test_every_bundled_engine_says_where_its_numbers_are_from() -> None:
    assert "instinfer" in storage_engine_names()
    for name in storage_engine_names():
        engine = load_storage_engine(name.upper())
        given = {"gemv_GFLOPs", "unit_GFLOPs", "unit_tokens", "softmax_us", "filter_GBps", "dram_bytes", "flop_pJ"}
        assert given | {"pages_outstanding"} == set(engine.sources)


def test_instinfer() -> None:
    engine = load_storage_engine("instinfer")
    # 768 DSP slices x 2 x 285 MHz; 2 x 16 x 128 operations at 12.7 GFLOP/s are the 0.32 us that the paper states.
    assert engine.gemv_GFLOPs == pytest.approx(768 * 2 * 0.285, rel=1e-3)
    assert engine.unit_s(128) == pytest.approx(0.32e-6, rel=0.02)
    assert engine.compute_s(437.8e9) == pytest.approx(1.0)


def test_an_unknown_engine() -> None:
    with pytest.raises(InputError, match="unknown storage engine 'instinfr'"):
        load_storage_engine("instinfr")
