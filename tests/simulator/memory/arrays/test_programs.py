"""Dot products in lanes: the numbers against numpy, the counts against a run."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.memory.arrays.operations import operation_counts
from simulator.memory.arrays.programs import dot_counts, dot_program, lane_dot, sum_counts
from workloads.errors import InputError

GATES = ("nor", "sot", "bulk")


@settings(max_examples=15, deadline=None)
@given(gates=st.sampled_from(GATES), bits=st.integers(2, 9), terms=st.integers(1, 5), seed=st.integers(0, 99))
def test_whole_numbers_are_exact(gates: str, bits: int, terms: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    greatest = (1 << (bits - 1)) - 1
    weights = random.integers(-greatest, greatest + 1, (20, terms))
    inputs = random.integers(-greatest, greatest + 1, terms)
    assert (lane_dot(gates, f"int{bits}", weights, inputs)[0] == weights @ inputs).all()


@pytest.mark.parametrize("gates", GATES)
@pytest.mark.parametrize(("name", "kind"), [("fp16", np.float16), ("fp32", np.float32)])
def test_floats_round_as_numpy_does_term_by_term(gates: str, name: str, kind: type[np.floating]) -> None:  # type: ignore[type-arg]
    random = np.random.default_rng(1)
    weights, inputs = random.normal(size=(50, 4)).astype(kind), random.normal(size=4).astype(kind)
    expected = weights[:, 0] * inputs[0]
    for term in range(1, 4):
        expected = expected + weights[:, term] * inputs[term]
    assert (lane_dot(gates, name, weights, inputs)[0] == expected).all()


def test_bfloat16_keeps_eight_bits() -> None:
    # 1 + 2^-8 is half way between 1 and 1 + 2^-7: to even, 1; 3 x 1.0078125 = 3.0234375 is half way again: 3.03125.
    result = lane_dot("sot", "bf16", np.array([[1 + 2.0**-8], [1 + 2.0**-7]]), np.array([3.0]))[0]
    assert result.tolist() == [3.0, 3.03125]


@pytest.mark.parametrize("gates", GATES)
@pytest.mark.parametrize("name", ["bf16", "int8"])
def test_counts_of_a_run_are_those_of_the_closed_form(gates: str, name: str) -> None:
    kind = np.int64 if name == "int8" else np.float32
    ran = lane_dot(gates, name, np.ones((8, 4), kind), np.ones(4, kind))[1]
    counts = dot_counts(gates, name, 4)
    for field in ("steps", "gates", "reads", "writes", "presets"):
        assert getattr(ran, field) == getattr(counts, field), field


def test_a_term_is_an_input_a_product_and_a_sum() -> None:
    # bf16 on NOR: 16 preset columns for the input, then the product, then the sum.
    product, addition = (operation_counts("nor", op, "bf16", subnormals=False) for op in ("multiply", "add"))
    one, two = (dot_counts("nor", "bf16", terms) for terms in (1, 2))
    assert one.steps == 16 + product.steps
    assert two.steps - one.steps == 16 + product.steps + addition.steps
    assert sum_counts("nor", "bf16").steps == addition.steps


def test_wrong_writes_make_wrong_sums() -> None:
    random = np.random.default_rng(2)
    weights, inputs = random.normal(size=(2000, 3)), random.normal(size=3)
    right = lane_dot("sot", "bf16", weights, inputs)[0]
    wrong = [
        float((lane_dot("sot", "bf16", weights, inputs, write_error=chance)[0] != right).mean())
        for chance in (0.0, 1e-6, 1e-5, 1e-4)
    ]
    assert wrong[0] == 0.0
    assert wrong == sorted(wrong)
    assert wrong[-1] > 0.1


def test_wrong_input_is_named() -> None:
    with pytest.raises(InputError, match="did you mean 'int8'"):
        dot_program("itn8")
    with pytest.raises(InputError, match="expected whole numbers of magnitude below 8"):
        lane_dot("sot", "int4", np.array([[8]]), np.array([1]))
    with pytest.raises(InputError, match=r"\(lanes, terms\) and \(terms,\)"):
        lane_dot("sot", "bf16", np.ones((2, 3)), np.ones(2))
    with pytest.raises(InputError, match=r"unknown array 'not'.*did you mean 'sot'"):
        lane_dot("not", "bf16", np.ones((2, 3)), np.ones(3))
