"""Bit-serial floating point against numpy, bit for bit, and against the published step counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hw.cost.bit_serial import CELLS
from simulator.memory.arrays.float_costs import GATES_OF, float_costs
from simulator.memory.arrays.floats import FLOAT_LAYOUTS, FloatLayout, float_layout
from simulator.memory.arrays.operations import ARRAYS, float_operation, operation_counts
from workloads.errors import InputError

Floats = NDArray[np.floating[Any]]
TYPES: dict[str, tuple[type[np.floating[Any]], type[np.unsignedinteger[Any]]]] = {
    "fp16": (np.float16, np.uint16),
    "fp32": (np.float32, np.uint32),
}


def corner_values(layout: FloatLayout, count: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Words that favour zero, subnormals, the largest numbers, infinities, NaN, and fractions at the edges."""
    exponents, fractions = layout.exponent_bits, layout.fraction_bits
    last = (1 << exponents) - 1
    any_exponent = random.integers(0, last + 1, count)
    near_end = last - random.integers(0, 3, count)
    small = random.integers(0, 4, count)
    kinds = [np.zeros(count, int), np.full(count, last), small, near_end, any_exponent]
    exponent = np.choose(random.integers(0, 5, count), kinds)
    one = 1 << random.integers(0, fractions, count)
    full = (1 << fractions) - 1
    fraction = np.choose(
        random.integers(0, 5, count),
        [np.zeros(count, int), one, np.full(count, full), full - one, random.integers(0, full + 1, count)],
    )
    return (random.integers(0, 2, count) << (exponents + fractions)) | (exponent << fractions) | fraction


def operand_pairs(name: str, count: int, seed: int) -> tuple[Floats, Floats]:
    """Quarters: corners; near opposites (cancellation); close exponents; any words."""
    layout = float_layout(name)
    floating, unsigned = TYPES[name]
    random = np.random.default_rng(seed)
    quarter = count // 4
    top = 1 << (layout.bits - 1)
    x = np.concatenate([corner_values(layout, 2 * quarter, random), random.integers(0, 2 * top, 2 * quarter)])
    y = np.concatenate(
        [
            corner_values(layout, quarter, random),
            x[quarter : 2 * quarter] ^ top ^ random.integers(0, 64, quarter),
            (x[2 * quarter : 3 * quarter] + (random.integers(-30, 31, quarter) << layout.fraction_bits)) % (2 * top),
            random.integers(0, 2 * top, quarter),
        ]
    )
    return x.astype(unsigned).view(floating), y.astype(unsigned).view(floating)


def expected(operation: str, x: Floats, y: Floats) -> Floats:
    with np.errstate(all="ignore"):
        return x + y if operation == "add" else x * y


def same(a: Floats, b: Floats) -> NDArray[np.bool_]:
    """Equal bits, or both NaN."""
    unsigned = TYPES["fp16" if a.dtype == np.float16 else "fp32"][1]
    return np.asarray((a.view(unsigned) == b.view(unsigned)) | (np.isnan(a) & np.isnan(b)))


@pytest.mark.parametrize("array", sorted(ARRAYS))
@pytest.mark.parametrize("operation", ["add", "multiply"])
@pytest.mark.parametrize("name", sorted(TYPES))
def test_every_result_is_ieee_754(array: Any, operation: Any, name: str) -> None:
    x, y = operand_pairs(name, 400_000, seed=7)
    result, _ = float_operation(array, operation, x, y)
    assert same(result, expected(operation, x, y)).all()


@pytest.mark.parametrize("operation", ["add", "multiply"])
def test_all_fp16_words_with_each_of_many_others(operation: Any) -> None:
    words = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    others = np.array([0.0, -0.0, 1.0, -1.5, 6e-8, -6.1e-5, 65504.0, np.inf, np.nan, 0.1], dtype=np.float16)
    for other in others:
        y = np.full_like(words, other)
        result, _ = float_operation("sot", operation, words, y)
        assert same(result, expected(operation, words, y)).all()


@pytest.mark.slow
@pytest.mark.parametrize("array", sorted(ARRAYS))
@pytest.mark.parametrize("operation", ["add", "multiply"])
def test_ten_million_fp32_pairs(array: Any, operation: Any) -> None:
    for seed in range(10):
        x, y = operand_pairs("fp32", 1_000_000, seed)
        result, _ = float_operation(array, operation, x, y)
        assert same(result, expected(operation, x, y)).all()


@pytest.mark.parametrize("array", sorted(ARRAYS))
@pytest.mark.parametrize("operation", ["add", "multiply"])
@pytest.mark.parametrize("name", sorted(TYPES))
def test_the_short_programs_are_right_on_zeros_and_normal_numbers(array: Any, operation: Any, name: str) -> None:
    x, y = operand_pairs(name, 400_000, seed=11)
    tiny = np.finfo(TYPES[name][0]).tiny
    with np.errstate(invalid="ignore"):
        exact = expected(operation, x.astype(np.float64), y.astype(np.float64))
    reference = expected(operation, x, y)
    allowed = np.isfinite(reference)
    for values in (x, y, exact):
        allowed &= np.isfinite(values) & ((values == 0) | (np.abs(values) >= tiny))
    assert allowed.sum() > 100_000
    result, _ = float_operation(array, operation, x, y, subnormals=False)
    assert same(result, reference)[allowed].all()


# Cycles of AritPIM (oleitersdorf/AritPIM 71b97a4, results/): a preset and a NOR for each gate, zeros and normal numbers
# only. Its 24-bit product is Karatsuba's; ours is the school's, which explains part of the last row.
ARITPIM = {
    ("fp16", "add"): 1978,
    ("bf16", "add"): 1849,
    ("fp32", "add"): 3997,
    ("fp16", "multiply"): 2780,
    ("bf16", "multiply"): 1742,
    ("fp32", "multiply"): 11586,
}


@pytest.mark.parametrize(("name", "operation"), ARITPIM)
def test_nor_programs_are_close_to_the_published_counts(name: str, operation: Any) -> None:
    counts = operation_counts("nor", operation, name, subnormals=False)
    assert counts.steps == counts.gates + counts.presets
    assert counts.steps <= 1.045 * ARITPIM[name, operation]


@pytest.mark.parametrize("name", sorted(FLOAT_LAYOUTS))
@pytest.mark.parametrize("operation", ["add", "multiply"])
def test_magnetic_cells_take_fewer_steps_and_full_ieee_takes_more(name: str, operation: Any) -> None:
    nor, sot = (operation_counts(array, operation, name, subnormals=False) for array in ("nor", "sot"))
    assert sot.steps < 0.5 * nor.steps
    assert operation_counts("sot", operation, name).steps > sot.steps


def test_counts_do_not_depend_on_the_data_or_the_lanes() -> None:
    x, y = operand_pairs("fp16", 4000, seed=3)
    assert float_operation("sot", "multiply", x, y)[1] == operation_counts("sot", "multiply", "fp16")


def test_errors_grow_with_the_chance_of_a_wrong_write() -> None:
    random = np.random.default_rng(5)
    x, y = (random.uniform(1, 2, 4000).astype(np.float32) for _ in range(2))
    wrong = []
    for chance in (0.0, 1e-6, 1e-5, 1e-4):
        result, _ = float_operation("sot", "multiply", x, y, write_error=chance, seed=1)
        wrong.append(float((~same(result, x * y)).mean()))
    assert wrong[0] == 0.0
    assert wrong == sorted(wrong)
    # A lane escapes all errors with chance (1 - 1e-4)^writes; some errors do not reach the result.
    counts = operation_counts("sot", "multiply", "fp32")
    assert 0.05 < wrong[-1] < 1 - (1 - 1e-4) ** (counts.writes + counts.presets) + 0.02


def test_wrong_input_is_named() -> None:
    x = np.ones(3, dtype=np.float32)
    with pytest.raises(InputError, match=r"unknown array 'sott'.*did you mean 'sot'"):
        float_operation("sott", "add", x, x)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="x is float64; expected float16 or float32"):
        float_operation("sot", "add", x.astype(np.float64), x.astype(np.float64))
    with pytest.raises(InputError, match="two vectors of one length and type"):
        float_operation("sot", "add", x, x[:2])
    with pytest.raises(InputError, match="did you mean 'fp16'"):
        operation_counts("sot", "add", "fp61")


def test_the_cost_of_each_operation_on_each_cell() -> None:
    rows = {(row.cell, row.layout, row.operation): row for row in float_costs()}
    assert len(rows) == len(CELLS) * 3 * 2
    assert set(GATES_OF) == set(CELLS)
    # fp32 product on NOR: 1.1 ns a step; 0.29 fJ a gate and 23.8 fJ a preset; 4 F^2 of 28 nm a cell.
    counts = operation_counts("nor", "multiply", "fp32", subnormals=False)
    row = rows["memristor-nor", "fp32", "multiply"]
    assert row.latency_s == pytest.approx(counts.steps * 1.1e-9)
    assert row.energy_j == pytest.approx(counts.gates * 0.29e-15 + counts.presets * 23.8e-15)
    assert row.area_um2 == pytest.approx(counts.cells * 4 * 0.028**2)
    assert (row.status, row.writes) == ("synthetic", counts.gates + counts.presets)
    with pytest.raises(InputError, match="did you mean 'sot-fast'"):
        float_costs("sot-fats")
