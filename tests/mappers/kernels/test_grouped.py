"""Grouped products and routing: padding and touched experts by hand, order and bounds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappers.kernels import grouped
from mappers.kernels.grouped import GroupedConstants, GroupedShapes, grouped_time, padded_loads
from mappers.kernels.machine import KernelMachine
from mappers.kernels.routing import expert_loads
from workloads.errors import InputError

MACHINE = KernelMachine("made-up", "hopper", 100, 1e9, {"bf16": 100e12}, 10e12, 1e12, 1e12, 40e6, 4e12)
IDEAL = GroupedConstants(0.5, 1.0, 0.0, 0.0, 0.0)


def shapes(pairs: tuple[tuple[float, float], ...], n: int, k: int, moved_bytes: float = 1.0) -> GroupedShapes:
    loads, experts = padded_loads([pairs])
    columns = (np.array([float(value)]) for value in (n, k, moved_bytes, 100e12))
    return GroupedShapes(loads, experts, *columns)


def seconds(constants: GroupedConstants, one: GroupedShapes) -> float:
    return float(grouped_time(MACHINE, constants, one).best_s[0])


@pytest.fixture
def one_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouped, "BLOCKS", ((128, 128),))


@pytest.mark.usefixtures("one_block")
def test_every_expert_fills_whole_blocks() -> None:
    """Ten experts of one row each cost what ten of 128 rows cost: ten blocks by ten columns, one wave."""
    tile_s = 2 * 128 * 128 * (960 + 64) / 0.5e12
    for rows in (1, 128):
        assert seconds(IDEAL, shapes(((rows, 10),), 1280, 960)) == pytest.approx(tile_s)
    assert seconds(IDEAL, shapes(((129, 10),), 1280, 960)) == pytest.approx(2 * tile_s)


@pytest.mark.usefixtures("one_block")
def test_a_skewed_load_costs_its_blocks() -> None:
    """One expert of 1153 rows has 10 blocks, nine of one row have nine: 19 blocks by ten columns are two waves."""
    tile_s = 2 * 128 * 128 * (960 + 64) / 0.5e12
    assert seconds(IDEAL, shapes(((1153, 1), (1, 9)), 1280, 960)) == pytest.approx(2 * tile_s)


def test_bytes_bound_few_rows() -> None:
    assert seconds(IDEAL, shapes(((1, 8),), 1536, 2048, 50e6)) == pytest.approx(50e-6)


@given(st.lists(st.tuples(st.integers(1, 3000), st.integers(1, 64)), min_size=1, max_size=6), st.integers(1, 8192))
def test_never_below_the_roofline(pairs: list[tuple[int, int]], n: int) -> None:
    rows = sum(load * experts for load, experts in pairs)
    moved = 2.0 * n * 1024 * sum(experts for _, experts in pairs)
    floor = max(2 * rows * n * 1024 / 100e12, moved / 1e12)
    one = shapes(tuple((float(load), float(experts)) for load, experts in pairs), n, 1024, moved)
    assert seconds(GroupedConstants(1.0, 1.0, 0.0, 0.5, 0.0), one) >= floor * (1 - 1e-9)


def test_balanced_and_uniform_routing() -> None:
    """64 tokens with 8 of 128: 512 choices, 4 each; uniform touches 128 (1 - (1 - 1/16)^64) = 125.94 experts."""
    assert expert_loads("balanced", 64, 128, 8) == ((4.0, 128.0),)
    ((load, touched),) = expert_loads("uniform", 64, 128, 8)
    assert touched == pytest.approx(128 * (1 - (15 / 16) ** 64))
    assert load * touched == pytest.approx(512)


LAWS = st.sampled_from(["balanced", "power_law_1.01", "power_law_1.2", "uniform", ""])


@given(LAWS, st.integers(1, 3000), st.integers(1, 128), st.integers(1, 8))
def test_loads_hold_all_choices(law: str, tokens: int, experts: int, top_k: int) -> None:
    top_k = min(top_k, experts)
    pairs = expert_loads(law, tokens, experts, top_k)
    assert sum(load * count for load, count in pairs) == pytest.approx(tokens * top_k)
    touched = sum(count for _, count in pairs)
    assert min(top_k, experts) - 1e-9 <= touched <= experts + 1e-9
    if law.startswith("power"):
        assert max(load for load, _ in pairs) <= tokens
        assert all(load == math.floor(load) for load, _ in pairs)


def test_more_skew_touches_no_more_experts() -> None:
    touched = [sum(count for _, count in expert_loads(law, 16, 128, 8)) for law in ("power_law_1.2", "power_law_1.01")]
    assert touched == sorted(touched)
    assert touched[-1] < 128


@pytest.mark.parametrize("law", ["zipf", "power_law_", "power_law_1", "power_law_x", "power_law_-2"])
def test_unknown_laws_are_refused(law: str) -> None:
    with pytest.raises(InputError, match="unknown routing law"):
        expert_loads(law, 16, 8, 2)
