"""Compiled: shifts of a periodic stream that change nothing but which bank is which and where its rows begin.

A stream sweeps banks one like the other, so that it looks the same some requests further on once the banks are renamed.
The controller's rules know a bank by its rank, stack and group and by which requests name it, not by its number; so
runs from both places go the same way when the renaming keeps banks of one group in one group, groups of one stack in
one stack and every rank in its place, and moves all rows of a bank by the same number.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from simulator.memory.dram.tables import MOST_BANKS, MOST_GROUPS

__all__ = ["first_requests", "rename", "smallest_shift"]

_MOST_LOOKS = 32  # at every request of a period on average; then the period itself is taken


@njit(cache=True)
def smallest_shift(tables, bank, row, column, write, row_step, fixed):  # type: ignore[no-untyped-def]
    """The least divisor of the period by which the stream may be shifted; with ``fixed`` no bank may be renamed.

    The period itself always qualifies: it renames no bank and moves all rows by ``row_step``.
    """
    t = tables[0]
    length = len(bank)
    looks = 0
    root = int(np.sqrt(length)) + 1
    for number in range(1, 2 * root):
        shift = number  # divisors in ascending order: up to the root themselves, then from the root their cofactors
        if number >= root:
            if length % (2 * root - number) != 0:
                continue
            shift = length // (2 * root - number)
        if length % shift != 0 or shift == length:
            continue
        looked = _first_difference(t, bank, row, column, write, row_step, fixed, shift)
        if looked == length:
            return shift
        looks += looked
        if looks > _MOST_LOOKS * length:
            break
    return length


@njit(cache=True)
def _first_difference(t, bank, row, column, write, row_step, fixed, shift):  # type: ignore[no-untyped-def]
    """The first request that contradicts a shift; their number if none does.

    A renaming that never contradicts itself is one to one: going round the period, every bank that is named is also
    the name of one.
    """
    image = np.full(MOST_BANKS, -1, np.int64)
    moved = np.zeros(MOST_BANKS, np.int64)
    group_image = np.full(MOST_GROUPS, -1, np.int64)
    stack_image = np.full(MOST_GROUPS, -1, np.int64)
    for i in range(len(bank)):
        j, carried = i + shift, 0
        if j >= len(bank):
            j, carried = j - len(bank), row_step
        old, new = bank[i], bank[j]
        rows = row[j] + carried - row[i]
        if write[i] != write[j] or column[i] != column[j]:
            return i
        if image[old] >= 0:
            if image[old] != new or moved[old] != rows:
                return i
            continue
        if (fixed and old != new) or t.rank_of_bank[old] != t.rank_of_bank[new]:
            return i
        group, new_group = t.group_of_bank[old], t.group_of_bank[new]
        stack, new_stack = t.stack_of_group[group], t.stack_of_group[new_group]
        if group_image[group] not in (-1, new_group) or stack_image[stack] not in (-1, new_stack):
            return i
        image[old], moved[old] = new, rows
        group_image[group], stack_image[stack] = new_group, new_stack
    return len(bank)


@njit(cache=True)
def first_requests(bank):  # type: ignore[no-untyped-def]
    """[bank] the number of the first request to it, -1 where there is none."""
    first = np.full(MOST_BANKS, -1, np.int64)
    for i in range(len(bank) - 1, -1, -1):
        first[bank[i]] = i
    return first


@njit(cache=True)
def rename(tables, c, bank, row, row_step, first, requests, image, moved, group_image):  # type: ignore[no-untyped-def]
    """Fill in what each bank and bank group is called, and how far rows have moved, ``requests`` further on.

    ``requests`` is a multiple of a shift. Banks that the stream leaves out, and groups of such, keep their names.
    """
    t = tables[0]
    length = len(bank)
    for group in range(c.groups):
        group_image[group] = group
    for old in range(c.banks):
        i = first[old]
        image[old], moved[old] = old, 0
        if i >= 0:
            j = i + requests
            image[old] = bank[j % length]
            moved[old] = row[j % length] + j // length * row_step - row[i]
            group_image[t.group_of_bank[old]] = t.group_of_bank[image[old]]
