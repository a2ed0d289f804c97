"""The figure of an order: a column per step, and lines at the peak, the bound and the capacity."""

from __future__ import annotations

from dse.reports.figures.order import order_figure
from mappers.planner.order import Op, OrderGraph, Tensor, plan_memory
from mappers.planner.order.lowering import Counting, network_graph
from mappers.planner.order.networks import network


def test_columns_are_what_is_held() -> None:
    tensors = (Tensor("a", 2048), Tensor("b", 1024), Tensor("c", 1024))
    graph = OrderGraph("three", tensors, (Op("f", ("a",), ("b",)), Op("g", ("b",), ("c",))), ("c",))
    axes = order_figure(graph, plan_memory(graph, 4096)).axes[0]
    # While f runs 3 KiB, 1 KiB stays; while g runs 2 KiB, 1 KiB stays.
    assert [patch.get_height() for patch in axes.patches] == [1, 1, 2, 1]
    assert [line.get_ydata()[0] for line in axes.lines] == [3, 4]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["f", "g"]
    assert axes.get_ylim()[1] > 4


def test_many_steps_are_not_named() -> None:
    graph = network_graph(network("mcunet-in0"), Counting())
    figure = order_figure(graph, plan_memory(graph))
    assert figure.axes[0].get_xlabel() == "Operation, in order"
    assert len(figure.axes[0].patches) == 2 * len(graph.ops)
