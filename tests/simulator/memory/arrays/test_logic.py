"""Gates and integer programs on each kind of array: truth tables, closed-form counts, arithmetic against Python."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.memory.arrays.bulk import BULK_STEP, BulkArray, bulk_steps
from simulator.memory.arrays.integers import (
    add,
    add_constant,
    decrement,
    less,
    multiply,
    shift_left,
    shift_right_sticky,
    subtract,
)
from simulator.memory.arrays.logic import LogicArray, NorArray, SotArray
from workloads.errors import InputError

KINDS: list[type[LogicArray]] = [NorArray, SotArray, BulkArray]
EIGHT = np.arange(8, dtype=np.uint64)
A, B, C = (EIGHT >> 2) & 1, (EIGHT >> 1) & 1, EIGHT & 1


def one(array: LogicArray, values: np.ndarray) -> list:  # type: ignore[type-arg]
    return array.load(values.astype(np.uint64), 1)


@pytest.mark.parametrize("kind", KINDS)
def test_truth_tables(kind: type[LogicArray]) -> None:
    array = kind(8)
    (a,), (b,), (c,) = (one(array, v) for v in (A, B, C))

    def values(column: object) -> list[int]:
        return array.store([column]).tolist()  # type: ignore[list-item]

    assert values(array.not_(a)) == (1 - A).tolist()
    assert values(array.and_(a, b)) == (A & B).tolist()
    assert values(array.or_(a, b)) == (A | B).tolist()
    assert values(array.xor(a, b)) == (A ^ B).tolist()
    assert values(array.mux_word(c, [a], [b])[0]) == np.where(C == 1, A, B).tolist()
    assert values(array.clear_word([a], b)[0]) == (A & (1 - B)).tolist()
    assert values(array.xor_word([a], b)[0]) == (A ^ B).tolist()
    total, carry = array.half_add(a, b)
    assert (values(total), values(carry)) == ((A ^ B).tolist(), (A & B).tolist())
    total, carry = array.half_add_one(a, b)
    assert (values(total), values(carry)) == ((1 - (A ^ B)).tolist(), (A | B).tolist())
    total, carry = array.full_add(a, b, one(array, C)[0])
    assert values(total) == ((A + B + C) & 1).tolist()
    assert values(carry) == ((A + B + C) >> 1).tolist()
    assert values(array.carry_of(a, b, one(array, C)[0])) == ((A + B + C) >> 1).tolist()
    assert [values(column) for column in (a, b, c)] == [v.tolist() for v in (A, B, C)], "operands are kept"


@pytest.mark.parametrize("kind", KINDS)
def test_integers_against_python(kind: type[LogicArray]) -> None:
    random = np.random.default_rng(2)
    x, y = (random.integers(0, 1 << 12, 500, dtype=np.uint64) for _ in range(2))
    array = kind(500)
    a, b = array.load(x, 12), array.load(y, 12)
    total, carry = add(array, a, b)
    assert (array.store([*total, carry]) == x + y).all()
    difference, at_least = subtract(array, a, b)
    assert (array.store(difference) == (x - y) % np.uint64(1 << 12)).all()
    assert (array.store([at_least]) == (x >= y)).all()
    assert (array.store([less(array, a, b)]) == (x < y)).all()
    short, enough = subtract(array, a, b[:5])
    assert (array.store(short) == (x - y % np.uint64(32)) % np.uint64(1 << 12)).all()
    assert (array.store([enough]) == (x >= y % np.uint64(32))).all()
    for value in (0, 1, 1000, -127):
        assert (
            array.store(add_constant(array, a, value)) == (x + np.uint64(value % (1 << 12))) % np.uint64(1 << 12)
        ).all()
    assert (array.store(multiply(array, a, b)) == x * y).all()
    amount = random.integers(0, 32, 500, dtype=np.uint64)
    shifted, sticky = shift_right_sticky(array, a, array.load(amount, 5))
    assert (array.store(shifted) == x >> amount).all()
    assert (array.store([sticky]) == ((x >> amount) << amount != x)).all()
    bit = random.integers(0, 2, 500, dtype=np.uint64)
    assert (array.store(decrement(array, a, array.load(bit, 1)[0])) == (x - bit) % np.uint64(1 << 12)).all()
    moved = shift_left(array, a, 3, array.load(bit, 1)[0])
    assert (array.store(moved) == (x << (3 * bit)) % np.uint64(1 << 12)).all()


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_published_counts_of_the_nor_adder(bits: int) -> None:
    # Nine gates and nine presets a bit, and one preset for the carry: 18 N + 1 (145, 289, 577).
    array = NorArray(1)
    zero = np.zeros(1, dtype=np.uint64)
    add(array, array.load(zero, bits), array.load(zero, bits), array.constant(0))
    assert array.counts().steps == 18 * bits + 1


def test_the_school_product_of_nor_gates() -> None:
    # A published one takes 20 N^2 - 12 N - 1 = 4927 cycles at 16 bits; ours adds with half adders where it can.
    array = NorArray(1)
    zero = np.zeros(1, dtype=np.uint64)
    multiply(array, array.load(zero, 16), array.load(zero, 16))
    assert array.counts().steps <= 4927


def test_the_magnetic_full_adder_takes_four_steps_and_four_cells() -> None:
    array = SotArray(1)
    (a,), (b,), (c,) = (array.load(np.zeros(1, dtype=np.uint64), 1) for _ in range(3))
    before = array.counts()
    total, carry = array.full_add(a, b, c)
    after = array.counts()
    assert after.steps - before.steps == 4
    # Sum, carry and the old carry's cell beside a and b, which are kept: two fresh cells.
    assert after.cells - before.cells == 2
    del total, carry


@pytest.mark.parametrize(("bits", "add_ns", "multiply_ns"), [(8, 3121, 31815), (16, 6193, 131135), (32, 12337, 532143)])
def test_bulk_steps_give_the_published_times(bits: int, add_ns: float, multiply_ns: float) -> None:
    assert bulk_steps("add", bits) * BULK_STEP.seconds * 1e9 == pytest.approx(add_ns, rel=3e-3)
    assert bulk_steps("multiply", bits) * BULK_STEP.seconds * 1e9 == pytest.approx(multiply_ns, rel=3e-3)


@pytest.mark.parametrize("bits", [4, 8, 32])
def test_the_bulk_adder_takes_the_steps_of_its_closed_form(bits: int) -> None:
    array = BulkArray(1)
    zero = np.zeros(1, dtype=np.uint64)
    add(array, array.load(zero, bits), array.load(zero, bits), array.constant(0))
    assert array.counts().steps == bulk_steps("add", bits) == 8 * bits + 1


def test_relu_steps() -> None:
    # 3 N + (N - 1) mod 2: 25 for 8 bits.
    assert bulk_steps("relu", 8) == 25


def test_cells_are_given_back() -> None:
    array = SotArray(4)
    word = array.load(np.zeros(4, dtype=np.uint64), 10)
    assert array.counts().cells == 10
    del word
    array.load(np.zeros(4, dtype=np.uint64), 8)
    assert array.counts().cells == 10


def test_wrong_input_is_named() -> None:
    with pytest.raises(InputError, match="lanes is 0; expected at least 1"):
        SotArray(0)
    with pytest.raises(InputError, match="write_error is 2"):
        SotArray(1, write_error=2)
    with pytest.raises(InputError, match="unknown operation 'divide'"):
        bulk_steps("divide", 8)
    with pytest.raises(InputError, match="one value for each of 3 lanes"):
        SotArray(3).load(np.zeros(2, dtype=np.uint64), 4)
