"""Placement over tiers with deadlines: what lives where when, and what must travel in time for which operation.

    result = place_over_tiers(problem, "latency", time_limit_s=30)

Every plan can be checked by `faults`, which shares no code with what made it.
"""

from mappers.planner.tiers.plan import Arrival, Move, Objective, PlacementResult, Stay, TierPlan
from mappers.planner.tiers.problem import Interval, Route, Tensor, Tier, TierProblem
from mappers.planner.tiers.solve import best_stream, place_over_tiers
from mappers.planner.tiers.verify import faults

__all__ = [
    "Arrival",
    "Interval",
    "Move",
    "Objective",
    "PlacementResult",
    "Route",
    "Stay",
    "Tensor",
    "Tier",
    "TierPlan",
    "TierProblem",
    "best_stream",
    "faults",
    "place_over_tiers",
]
