"""What a graph refuses, by the field of the file format."""

from __future__ import annotations

import pytest

from mappers.planner.order import Op, OrderGraph, Tensor
from workloads.errors import InputError

A, B, C = Tensor("a", 4), Tensor("b", 4), Tensor("c", 4)


@pytest.mark.parametrize(
    ("tensors", "ops", "outputs", "field", "says"),
    [
        ((A,), (), (), "ops", "no operation"),
        ((A, A), (Op("x", (), ("a",)),), (), "tensors", "same name"),
        ((Tensor("a", -1),), (Op("x", (), ("a",)),), (), "tensors.a", "-1 bytes"),
        ((A, B), (Op("x", (), ("a",)), Op("x", (), ("b",))), (), "ops[1].name", "twice"),
        ((A,), (Op("x", ("aa",), ("a",)),), (), "ops[0].reads[0]", "unknown tensor 'aa'"),
        ((A, B), (Op("x", ("a", "a"), ("b",)),), (), "ops[0].reads[1]", "twice"),
        ((A,), (Op("x", ("a",), ()),), (), "ops[0].writes", "writes nothing"),
        ((A,), (Op("x", (), ("a",)), Op("y", (), ("a",))), (), "ops[1].writes[0]", "written by x too"),
        ((A, B), (Op("x", (), ("a",), ("b",)),), ("b",), "ops[0].in_place[0]", "does not read b"),
        ((A,), (Op("x", (), ("a",), (), -2),), (), "ops[0].scratch", "-2 bytes"),
        ((A,), (Op("x", (), ("a",)),), ("z",), "outputs[0]", "unknown tensor 'z'"),
        ((A, B), (Op("x", (), ("a",)),), (), "tensors.b", "nothing reads or writes"),
        ((A,), (Op("x", ("a",), ("a",)),), (), "ops[0].reads", "x -> x wait for each other"),
        ((A, B), (Op("x", ("b",), ("a",)), Op("y", ("a",), ("b",))), (), "ops[", "wait for each other"),
        ((Tensor("a", 1 << 55), Tensor("b", 1 << 55)), (Op("x", ("a",), ("b",)),), (), "tensors", "together"),
    ],
)
def test_graphs_that_are_none(
    tensors: tuple[Tensor, ...], ops: tuple[Op, ...], outputs: tuple[str, ...], field: str, says: str
) -> None:
    with pytest.raises(InputError) as caught:
        OrderGraph("g", tensors, ops, outputs)
    assert (caught.value.field or "").startswith(field)
    assert says in str(caught.value)


def test_the_cycle_is_named_in_the_direction_of_the_data() -> None:
    ops = (Op("start", (), ("a",)), Op("x", ("a", "c"), ("b",)), Op("y", ("b",), ("c",)))
    with pytest.raises(InputError, match=r"y -> x -> y wait for each other|x -> y -> x wait for each other"):
        OrderGraph("g", (A, B, C), ops, ())
