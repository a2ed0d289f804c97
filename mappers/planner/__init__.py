"""Memory planning: which tensor lives in which tier."""

from mappers.planner.liveness import activation_peak_bytes
from mappers.planner.placement import LayerPlan, MemoryPlan, Place, PlannedRun, plan_memory

__all__ = ["LayerPlan", "MemoryPlan", "Place", "PlannedRun", "activation_peak_bytes", "plan_memory"]
