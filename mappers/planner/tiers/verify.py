"""Checks a plan over tiers against its problem, interval by interval and without any code that made it."""

from __future__ import annotations

from mappers.planner.tiers.plan import TierPlan
from mappers.planner.tiers.problem import TierProblem

__all__ = ["faults"]

_SHARE = 1e-6  # of a tensor, which a solver's tolerance may leave unmoved


def faults(problem: TierProblem, plan: TierPlan) -> list[str]:
    """What is wrong with the plan, a sentence each; empty when it can be carried out."""
    length = len(problem.intervals)
    found: list[str] = []
    taken: dict[tuple[str, str], set[int]] = {}
    whole: dict[tuple[str, str], set[int]] = {}
    received: dict[tuple[str, str, int], float] = {}
    for move in plan.moves:
        if (move.source, move.target) not in problem.route:
            found.append(f"{move.tensor} moves from {move.source} to {move.target}, which no route joins")
        key = (move.tensor, move.target, move.interval)
        received[key] = received.get(key, 0.0) + move.share
    for stay in plan.stays:
        if not (0 <= stay.first < length and 0 < stay.count <= length and 0 <= stay.arriving <= stay.count):
            found.append(f"{stay.tensor} stays in {stay.tier} over intervals that do not exist")
            continue
        if not problem.cyclic and stay.first + stay.count > length:
            found.append(f"{stay.tensor} stays in {stay.tier} beyond the end")
        rooms = taken.setdefault((stay.tensor, stay.tier), set())
        here = {(stay.first + step) % length for step in range(stay.count)}
        if rooms & here:
            found.append(f"{stay.tensor} stays twice in {stay.tier} in interval {min(rooms & here)}")
        rooms |= here
        whole.setdefault((stay.tensor, stay.tier), set()).update(
            (stay.first + step) % length for step in range(stay.arriving, stay.count)
        )
        brought = sum(
            received.get((stay.tensor, stay.tier, (stay.first + step) % length), 0.0) for step in range(stay.arriving)
        )
        if stay.arriving and brought < 1 - _SHARE:
            found.append(f"{stay.tensor} is not whole in {stay.tier} after {brought:.6f} of it has come")
        tensor = problem.tensor[stay.tensor]
        if not stay.arriving:
            made = tensor.produced is not None
            if made and (stay.tier != problem.compute or stay.first != tensor.produced):
                found.append(f"{stay.tensor} appears in {stay.tier} in interval {stay.first} from nowhere")
            if not made and not (stay.count == length if problem.cyclic else stay.first == 0):
                found.append(f"{stay.tensor} appears in {stay.tier} in interval {stay.first} from nowhere")
    for move in plan.moves:
        if move.interval not in taken.get((move.tensor, move.target), set()):
            found.append(f"{move.tensor} moves to {move.target} in interval {move.interval}, where it has no room")
        if move.interval not in whole.get((move.tensor, move.source), set()):
            found.append(f"{move.tensor} moves from {move.source} in interval {move.interval}, where it is not whole")
        if move.interval == problem.tensor[move.tensor].produced:
            found.append(f"{move.tensor} moves in interval {move.interval}, while it is being made")
    for tensor in problem.tensors:
        ready = whole.get((tensor.name, problem.compute), set())
        late = [at for at in tensor.reads if at not in ready]
        found += [f"{tensor.name} is not whole in {problem.compute} when interval {at} reads it" for at in late]
        somewhere = set().union(*(whole.get((tensor.name, tier.name), set()) for tier in problem.tiers))
        start = 0 if tensor.produced is None else tensor.produced
        end = length if tensor.produced is None else tensor.reads[-1] + 1
        lost = [at for at in range(start, end) if at not in somewhere]
        if lost:
            found.append(f"{tensor.name} is nowhere whole in interval {lost[0]}")
        if tensor.home is not None and len(whole.get((tensor.name, tensor.home), set())) < length:
            found.append(f"{tensor.name} leaves its home {tensor.home}")
    for tier in problem.tiers:
        for at, interval in enumerate(problem.intervals):
            held = sum(
                problem.tensor[name].bytes
                for (name, where), rooms in taken.items()
                if where == tier.name and at in rooms
            )
            held += interval.arena_bytes if tier.name == problem.compute else 0.0
            if held > tier.capacity_bytes * (1 + 1e-9):
                found.append(f"{tier.name} holds {held:.0f} bytes in interval {at}, has {tier.capacity_bytes:.0f}")
    return found
