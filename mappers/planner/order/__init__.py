"""The order of operations that a small memory asks for, inference patch by patch, and steps of training."""

from mappers.planner.order.graph import Op, OrderGraph, Tensor
from mappers.planner.order.plan import plan_memory, plan_order
from mappers.planner.order.result import OrderPlan, PlannedMemory
from mappers.planner.order.verify import faults

__all__ = ["Op", "OrderGraph", "OrderPlan", "PlannedMemory", "Tensor", "faults", "plan_memory", "plan_order"]
