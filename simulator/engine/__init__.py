"""The event engine: a task graph executed by SimPy on engines, tiers, links and fabrics, each serving in program order.

    execution = execute(TaskGraph(resources, segments, residents))

`execute` gives times of every task, totals per resource and the makespan; `occupancy` the bytes in each tier over time.
"""

from simulator.engine.execute import execute
from simulator.engine.execution import Execution, Interval, ResourceUse, SteadySpan, TaskRun, resource_uses
from simulator.engine.graph import (
    Buffer,
    Demand,
    Dependency,
    Resident,
    Resource,
    ResourceKind,
    Segment,
    Task,
    TaskGraph,
    TaskKind,
)
from simulator.engine.occupancy import occupancy, peak_bytes, require_capacity

__all__ = [
    "Buffer",
    "Demand",
    "Dependency",
    "Execution",
    "Interval",
    "Resident",
    "Resource",
    "ResourceKind",
    "ResourceUse",
    "Segment",
    "SteadySpan",
    "Task",
    "TaskGraph",
    "TaskKind",
    "TaskRun",
    "execute",
    "occupancy",
    "peak_bytes",
    "require_capacity",
    "resource_uses",
]
