"""Memory allocation: buffers with given lifetimes get offsets, with a proof or a gap."""

from mappers.planner.allocation.allocate import allocate
from mappers.planner.allocation.problem import AllocationProblem, Buffer, Gap
from mappers.planner.allocation.result import Allocation
from mappers.planner.allocation.verify import faults

__all__ = ["Allocation", "AllocationProblem", "Buffer", "Gap", "allocate", "faults"]
