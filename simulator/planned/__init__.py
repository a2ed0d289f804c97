"""Plans over tiers on the engine: the problem that a mapped workload poses on a system, and a plan's execution."""

from simulator.planned.problem import PlannedInterval, PosedPlacement, pose_placement
from simulator.planned.replay import Replay, replay

__all__ = ["PlannedInterval", "PosedPlacement", "Replay", "pose_placement", "replay"]
