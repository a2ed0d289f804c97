"""Crossbars as a system uses them: ISAAC's published totals, and counts equal to those of the functional model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.memory.arrays.crossbar import multiply
from simulator.memory.arrays.service import CrossbarService, array_service
from simulator.memory.inside import Product
from workloads.errors import InputError

# 168 tiles x 96 arrays: one matrix of 168 blocks of 128 inputs by 96 blocks of 16 outputs of 8 cells fills the chip.
FILLING = Product(rows=96 * 16, columns=168 * 128, vectors=1, copies=1, stored_bits=16, grows=False)


def isaac(chips: int | None = 1, **given: float) -> CrossbarService:
    service = array_service("isaac", chips, **given)  # type: ignore[arg-type]
    assert isinstance(service, CrossbarService)
    return service


def test_isaac_filled_reaches_its_published_rate_and_energy() -> None:
    served = isaac().serve(FILLING)
    macs = FILLING.rows * FILLING.columns
    assert served.seconds == pytest.approx(1.6e-6)
    assert 2 * macs / served.seconds == pytest.approx(41.3e12, rel=1e-3)
    assert served.why.startswith("steps of the arrays; 16,128 of 16,128 crossbars")
    # 2.19 pJ for cells, converters and inputs; sums, samples and tile buffers add 3 %.
    assert served.energy_j / macs == pytest.approx(2.19e-12, rel=0.035)
    assert served.energy_j / macs > 2.19e-12


def test_small_matrices_are_held_up_by_the_tile_buffers() -> None:
    # 96 matrices of 128 x 16 a tile: 96 x (8 + 1) accesses of 2 ns are 1728 ns.
    served = isaac().serve(Product(16, 128, 1, 168 * 96, 16, grows=False))
    assert served.seconds == pytest.approx(1728e-9)
    assert served.why.startswith("tile buffers")


def test_vectors_follow_one_another_and_spare_arrays_share_them() -> None:
    product = Product(1024, 1024, 8, 1, 16, grows=False)
    assert isaac().serve(product).seconds == pytest.approx(8 * 1.6e-6)
    # 2 MiB of weights in all: 31 copies fit in 66 MB, so 8 vectors go at once.
    filled = isaac(resident_bytes=2 * 2**20)
    assert filled.serve(product).seconds == pytest.approx(1.6e-6)
    assert filled.serve(product).energy_j == pytest.approx(isaac().serve(product).energy_j)


@settings(max_examples=25, deadline=None)
@given(inputs=st.integers(1, 300), outputs=st.integers(1, 40), vectors=st.integers(1, 3), bits=st.integers(1, 16))
def test_counts_are_those_of_the_functional_crossbar(inputs: int, outputs: int, vectors: int, bits: int) -> None:
    service = isaac()
    crossbar = service.device.crossbar(bits, 16)
    ran = multiply(crossbar, np.zeros((vectors, inputs), np.int64), np.zeros((inputs, outputs), np.int64)).use
    use = service.use(Product(outputs, inputs, vectors, 1, bits, grows=False))
    for field in ("arrays", "rows", "columns", "steps", "dac_drives", "conversions", "shift_adds"):
        assert getattr(use, field) == getattr(ran, field), field


def test_capacity() -> None:
    # 16128 arrays of 128 x 16 weights of two bytes.
    assert isaac().capacity_bytes(16) == 16128 * 128 * 16 * 2
    assert isaac(None, resident_bytes=16e9).chips == 243
    with pytest.raises(InputError, match=r"chips: 28,672 crossbars needed of 1 x isaac; expected at most 16,128"):
        isaac().serve(Product(4096, 14336, 1, 1, 16, grows=False))
    with pytest.raises(InputError, match=r"chips: 1\.000 GB in 1 x isaac; expected at most 0\.066 GB"):
        isaac(resident_bytes=1e9)


def test_a_cache_that_grows_writes_cells() -> None:
    # One token in 8 copies of 128 x 512: 8 cells of 1.288 pJ an element. As an input one row of 85.9 ns, as an output
    # a few cells in each of 128 rows.
    service = isaac()
    for rows, columns, new, written_rows in ((128, 512, "new_columns", 1), (512, 128, "new_rows", 128)):
        still = Product(rows, columns, 4, 8, 16, grows=False)
        before, after = service.serve(still), service.serve(replace(still, grows=True, **{new: 1.0}))
        assert after.seconds - before.seconds == pytest.approx(written_rows * 85.9e-9)
        assert after.energy_j - before.energy_j == pytest.approx(8 * 128 * 8 * 1.288e-12)
        assert after.why.endswith("new cells written")
    # An array in full: 16384 cells of two bits, 128 rows of a tile's one array at a time.
    cost = array_service("isaac").write_cost(16384 * 2 / 8)
    assert cost.energy_j == pytest.approx(21.1e-9, rel=1e-3)


def test_neurram_is_as_measured() -> None:
    # 48 arrays, 128 weights as pairs of rows x 256: at 4-bit inputs 0.744 TOPS and 15.95 TOPS/W.
    service = array_service("neurram")
    served = service.serve(Product(256, 128, 1, 48, 4, grows=False))
    operations = 2 * 48 * 128 * 256
    assert operations / served.seconds == pytest.approx(0.744e12)
    assert operations / served.energy_j == pytest.approx(15.95e12)
    # One bit in, three out: an integration of 0.27 us and four steps of 0.3 us of the converter, the same within 1 %.
    narrow = array_service("neurram", input_bits=1).serve(Product(256, 128, 1, 48, 4, grows=False))
    assert narrow.seconds == pytest.approx(0.27e-6 + 4 * 0.3e-6, rel=0.01)
    with pytest.raises(InputError, match="weights of 16 bits in cells of neurram; expected at most 4 bits"):
        service.serve(Product(256, 128, 1, 1, 16, grows=False))
    with pytest.raises(InputError, match="input_bits is 16; expected at most 8, as measured"):
        array_service("neurram", input_bits=16).serve(Product(256, 128, 1, 1, 4, grows=False))


def test_wrong_input_is_named() -> None:
    with pytest.raises(InputError, match="chips is 0; expected more than 0"):
        array_service("isaac", 0)
