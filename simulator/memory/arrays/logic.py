"""Columns of one-bit cells, one lane to a row, and the steps two kinds of cell compute with.

A program is a list of steps on whole columns, the same for every lane, so its counts do not depend on the data.

- `NorArray`: memristors (MAGIC). A step is a NOR of columns into a column that a step before set to one, so a gate is
  two steps (the counting of AritPIM, 2022).
- `SotArray`: magnetic cells with a conditional write. A step reads one column onto the row lines, and every column
  selected for writing becomes its own value AND, OR or XOR that line, or the line itself.

``write_error`` flips each written bit with that probability.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workloads.errors import InputError

__all__ = ["Column", "LogicArray", "NorArray", "SotArray", "StepCounts", "Word"]

Plane = NDArray[np.uint8]


@dataclass(frozen=True)
class StepCounts:
    """What a program took in each lane: time in ``steps``; cell ``reads``, ``writes``, ``presets``; ``cells`` at once.

    ``gates`` are NORs. A preset sets a cell to a constant; it is a step of its own in a `NorArray`, and free time in a
    `SotArray`, where it rides on another step.
    """

    steps: int
    gates: int
    reads: int
    writes: int
    presets: int
    cells: int


class Column:
    """One bit of every lane, packed eight to a byte; its cell is free again when the program drops it."""

    __slots__ = ("_array", "plane")

    def __init__(self, array: LogicArray, plane: Plane) -> None:
        self._array = array
        self.plane = plane
        array.allocate()

    def __del__(self) -> None:
        self._array.free()


Word = list[Column]
"""Bits, least significant first."""


class LogicArray(ABC):
    """Lanes, counters and the operations that programs are written in; a preset takes ``preset_steps`` steps."""

    preset_steps = 0

    def __init__(self, lanes: int, *, write_error: float = 0.0, seed: int = 0, count_driven: bool = False) -> None:
        if lanes < 1:
            raise InputError(f"lanes is {lanes}", "at least 1", "lanes")
        if not 0 <= write_error <= 1:
            raise InputError(f"write_error is {write_error:g}", "a probability from 0 to 1", "write_error")
        self.lanes = lanes
        self._write_error = write_error
        self._random = np.random.default_rng(seed)
        self._steps = self._gates = self._reads = self._writes = self._presets = 0
        self._live = self._most = 0
        self._count_driven = count_driven
        self._driven = 0

    @property
    def driven_writes(self) -> float:
        """Writes of a lane that drove a current through its cell, the mean of all lanes, where ``count_driven``.

        The others found that the cell keeps what it holds. Only arrays with conditional writes tell them apart.
        """
        return self._driven / self.lanes

    def _drive(self, plane: Plane, columns: int = 1) -> None:
        """The set bits of ``plane`` are the lanes in which ``columns`` cells are driven."""
        if self._count_driven and columns:
            self._driven += columns * int(np.unpackbits(plane, count=self.lanes).sum())

    def allocate(self) -> None:
        """Take a cell of every lane."""
        self._live += 1
        self._most = max(self._most, self._live)

    def free(self) -> None:
        """Give a cell of every lane back."""
        self._live -= 1

    def counts(self) -> StepCounts:
        """Counts since the array was made."""
        return StepCounts(self._steps, self._gates, self._reads, self._writes, self._presets, self._most)

    def load(self, values: NDArray[np.unsignedinteger], bits: int) -> Word:
        """The operands' columns, least significant bit first; loading is not counted."""
        if values.shape != (self.lanes,):
            raise InputError(f"values have shape {values.shape}", f"one value for each of {self.lanes} lanes", "values")
        wide = values.astype(np.uint64)
        return [Column(self, np.packbits(((wide >> np.uint64(i)) & np.uint64(1)) != 0)) for i in range(bits)]

    def store(self, word: Sequence[Column]) -> NDArray[np.uint64]:
        """The lanes' values; reading out is not counted."""
        result = np.zeros(self.lanes, dtype=np.uint64)
        for i, column in enumerate(word):
            result |= np.unpackbits(column.plane, count=self.lanes).astype(np.uint64) << np.uint64(i)
        return result

    def constant(self, bit: int) -> Column:
        """A preset column."""
        self._presets += 1
        self._steps += self.preset_steps
        return Column(self, self._written(np.full((self.lanes + 7) // 8, 255 if bit else 0, dtype=np.uint8)))

    def _written(self, plane: Plane) -> Plane:
        """``plane`` as the cells keep it."""
        if self._write_error == 0:
            return plane
        flips = self._random.random(plane.size * 8) < self._write_error
        return plane ^ np.packbits(flips)

    @abstractmethod
    def not_(self, a: Column) -> Column:
        """Not a."""

    @abstractmethod
    def and_(self, a: Column, b: Column) -> Column:
        """Both."""

    @abstractmethod
    def or_(self, a: Column, b: Column) -> Column:
        """Either."""

    @abstractmethod
    def xor(self, a: Column, b: Column) -> Column:
        """One but not both."""

    @abstractmethod
    def half_add(self, a: Column, b: Column) -> tuple[Column, Column]:
        """Sum and carry of two bits."""

    @abstractmethod
    def half_add_one(self, a: Column, b: Column) -> tuple[Column, Column]:
        """Sum and carry of two bits and a one."""

    @abstractmethod
    def full_add(self, a: Column, b: Column, carry: Column) -> tuple[Column, Column]:
        """Sum and carry of three bits."""

    @abstractmethod
    def carry_of(self, a: Column, b: Column, carry: Column) -> Column:
        """The carry of three bits alone."""

    @abstractmethod
    def mux_word(self, select: Column, ones: Sequence[Column], zeros: Sequence[Column]) -> Word:
        """``ones`` in the lanes where ``select`` is set, else ``zeros``."""

    @abstractmethod
    def and_word(self, word: Sequence[Column], mask: Column) -> Word:
        """Every bit of ``word`` and ``mask``."""

    @abstractmethod
    def and_each(self, word: Sequence[Column], masks: Sequence[Column]) -> Iterator[Word]:
        """``word`` and each mask in turn: what can be prepared once, is."""

    @abstractmethod
    def clear_word(self, word: Sequence[Column], select: Column) -> Word:
        """``word``, and zero in the lanes where ``select`` is set."""

    @abstractmethod
    def xor_word(self, word: Sequence[Column], mask: Column) -> Word:
        """Every bit of ``word`` xor ``mask``."""


class NorArray(LogicArray):
    """Memristors: NOR gates into cells preset to one. The full adder takes nine, XOR five, a multiplexer three."""

    preset_steps = 1

    def nor(self, *inputs: Column) -> Column:
        """One gate: preset, then NOR."""
        plane = inputs[0].plane.copy()
        for other in inputs[1:]:
            plane |= other.plane
        self._steps += 2
        self._gates += 1
        self._reads += len(inputs)
        self._presets += 1
        self._writes += 1
        return Column(self, self._written(np.invert(plane, out=plane)))

    def not_(self, a: Column) -> Column:
        return self.nor(a)

    def or_(self, a: Column, b: Column) -> Column:
        return self.nor(self.nor(a, b))

    def and_(self, a: Column, b: Column) -> Column:
        return self.nor(self.nor(a), self.nor(b))

    def xor(self, a: Column, b: Column) -> Column:
        return self.half_add(a, b)[0]

    def half_add(self, a: Column, b: Column) -> tuple[Column, Column]:
        both = self.and_(a, b)
        return self.nor(self.nor(a, b), both), both

    def half_add_one(self, a: Column, b: Column) -> tuple[Column, Column]:
        same, neither = self._xnor(a, b)
        return same, self.nor(neither)

    def _xnor(self, a: Column, b: Column) -> tuple[Column, Column]:
        """XNOR in four gates, and the first of them, NOR(a, b)."""
        neither = self.nor(a, b)
        return self.nor(self.nor(a, neither), self.nor(b, neither)), neither

    def full_add(self, a: Column, b: Column, carry: Column) -> tuple[Column, Column]:
        same, neither = self._xnor(a, b)
        total, stop = self._xnor(same, carry)
        return total, self.nor(neither, stop)

    def carry_of(self, a: Column, b: Column, carry: Column) -> Column:
        same, neither = self._xnor(a, b)
        return self.nor(neither, self.nor(same, carry))

    def mux_word(self, select: Column, ones: Sequence[Column], zeros: Sequence[Column]) -> Word:
        inverse = self.nor(select)
        return [self.nor(self.nor(one, inverse), self.nor(zero, select)) for one, zero in zip(ones, zeros, strict=True)]

    def and_word(self, word: Sequence[Column], mask: Column) -> Word:
        return next(self.and_each(word, [mask]))

    def and_each(self, word: Sequence[Column], masks: Sequence[Column]) -> Iterator[Word]:
        inverses = [self.nor(bit) for bit in word]
        for mask in masks:
            off = self.nor(mask)
            yield [self.nor(inverse, off) for inverse in inverses]

    def clear_word(self, word: Sequence[Column], select: Column) -> Word:
        return [self.nor(self.nor(bit), select) for bit in word]

    def xor_word(self, word: Sequence[Column], mask: Column) -> Word:
        inverse = self.nor(mask)
        return [self._xnor(bit, inverse)[0] for bit in word]


class SotArray(LogicArray):
    """Magnetic cells: one column read, then conditional writes by it. The full adder takes four steps, four cells."""

    def _line(
        self,
        line: Column,
        *,
        copies: int = 0,
        and_: Sequence[Column] = (),
        or_: Sequence[Column] = (),
        xor: Sequence[Column] = (),
    ) -> Word:
        """One step: ``line`` into ``copies`` fresh columns, and into the columns that combine with it in place."""
        self._steps += 1
        self._reads += 1
        self._writes += copies + len(and_) + len(xor) + len(or_)
        source = line.plane.copy()
        # A line of one leaves what it is ANDed with, a line of zero all else; fresh columns were preset to zero.
        self._drive(~source, len(and_))
        self._drive(source, copies + len(or_) + len(xor))
        for column in and_:
            column.plane = self._written(column.plane & source)
        for column in xor:
            column.plane = self._written(column.plane ^ source)
        for column in or_:
            column.plane = self._written(column.plane | source)
        return [Column(self, self._written(source.copy())) for _ in range(copies)]

    def _copy(self, a: Column) -> Column:
        return self._line(a, copies=1)[0]

    def not_(self, a: Column) -> Column:
        result = self.constant(1)
        self._line(a, xor=[result])
        return result

    def and_(self, a: Column, b: Column) -> Column:
        result = self._copy(a)
        self._line(b, and_=[result])
        return result

    def or_(self, a: Column, b: Column) -> Column:
        result = self._copy(a)
        self._line(b, or_=[result])
        return result

    def xor(self, a: Column, b: Column) -> Column:
        result = self._copy(a)
        self._line(b, xor=[result])
        return result

    def half_add(self, a: Column, b: Column) -> tuple[Column, Column]:
        total, carry = self._line(a, copies=2)
        self._line(b, xor=[total], and_=[carry])
        return total, carry

    def half_add_one(self, a: Column, b: Column) -> tuple[Column, Column]:
        total = self.constant(1)
        (carry,) = self._line(a, copies=1, xor=[total])
        self._line(b, xor=[total], or_=[carry])
        return total, carry

    def full_add(self, a: Column, b: Column, carry: Column) -> tuple[Column, Column]:
        # carry' = b xor ((a xor b) and (b xor carry)); the old carry's cell is used up.
        total, out = self._line(a, copies=2)
        self._line(b, xor=[out, carry])
        self._line(carry, xor=[total], and_=[out])
        self._line(b, xor=[out])
        return total, out

    def carry_of(self, a: Column, b: Column, carry: Column) -> Column:
        out = self._copy(a)
        self._line(b, xor=[out, carry])
        self._line(carry, and_=[out])
        self._line(b, xor=[out])
        return out

    def mux_word(self, select: Column, ones: Sequence[Column], zeros: Sequence[Column]) -> Word:
        result = [self._copy(one) for one in ones]
        for bit, zero in zip(result, zeros, strict=True):
            self._line(zero, xor=[bit])
        self._line(select, and_=result)
        for bit, zero in zip(result, zeros, strict=True):
            self._line(zero, xor=[bit])
        return result

    def and_word(self, word: Sequence[Column], mask: Column) -> Word:
        result = [self._copy(bit) for bit in word]
        self._line(mask, and_=result)
        return result

    def and_each(self, word: Sequence[Column], masks: Sequence[Column]) -> Iterator[Word]:
        return (self.and_word(word, mask) for mask in masks)

    def clear_word(self, word: Sequence[Column], select: Column) -> Word:
        return self.and_word(word, self.not_(select)) if word else []

    def xor_word(self, word: Sequence[Column], mask: Column) -> Word:
        result = [self._copy(bit) for bit in word]
        self._line(mask, xor=result)
        return result
