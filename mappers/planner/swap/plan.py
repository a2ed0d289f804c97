"""A training step planned by one policy: shares, both levels of allocation, times, peaks, and whether it all fits.

Policies: ``keep`` holds every activation on the device; ``recompute`` keeps each layer's input and runs the whole layer
again, as Megatron-LM's full checkpointing does; ``swap`` sends everything to the host; ``memo`` is MEMO's token-wise
mixture of the two (arXiv 2407.12117); ``best`` is the optimum over all shares and tiers. One sequence per step.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from mappers.planner.swap.alpha import Alpha, AlphaProblem, best_alpha
from mappers.planner.swap.bilevel import BilevelPlan, Method, Passing, bilevel_plan
from mappers.planner.swap.setting import SwapSetting, recompute_steps, swap_problem
from mappers.planner.swap.shares import Cost, Share, SwapProblem, cost_of, transfer_s
from mappers.planner.swap.solve import Solved, Status, best_shares, extra_bytes
from mappers.planner.swap.step_ops import StepOps
from mappers.planner.swap.timeline import StepTimes
from workloads.errors import InputError, unknown_name
from workloads.models.flops import forward_flops

__all__ = ["POLICIES", "PlannedStep", "plan_step"]

POLICIES = ("keep", "recompute", "swap", "memo", "best")


@dataclass(frozen=True)
class PlannedStep:
    """What a policy does, and what it needs.

    Bytes are one device's. ``kept_bytes`` of a layer's skeletal activations stay in memory from forward to backward,
    ``buffer_bytes`` pass through each of ``buffers`` rounding buffers, ``sent_bytes`` of them to each tier. Where
    nothing may leave there are no such buffers: ``arena`` holds ``passing_bytes`` of each layer beside the transients.
    ``missing`` names what does not fit and by how many bytes; ``extra`` the bytes that would do in one memory alone.
    """

    setting: SwapSetting
    policy: str
    status: Status
    shares: dict[str, Share] | None
    times: StepTimes
    step: StepOps
    arena: BilevelPlan
    kept_bytes: int
    buffers: int
    buffer_bytes: int
    sent_bytes: dict[str, int]
    missing: dict[str, float]
    extra: dict[str, float]
    alpha: Alpha | None
    moved_bytes: float
    passing_bytes: int
    seconds: float

    @property
    def fits(self) -> bool:
        return self.status in ("optimal", "feasible")

    @property
    def device_bytes(self) -> int:
        """The planned peak: states, kept activations, rounding buffers, transients."""
        kept = self.setting.layers * self.kept_bytes + self.buffers * self.buffer_bytes
        return self.setting.state_bytes + kept + self.arena.peak_bytes

    @property
    def tier_bytes(self) -> dict[str, int]:
        """Each tier's peak: activations, and in the first one what lies there of the optimizer's state."""
        held = {name: self.times.moved_layers * size for name, size in self.sent_bytes.items()}
        if self.setting.host_state_bytes:
            host = self.setting.machine.tiers[0].name
            held[host] = held.get(host, 0) + self.setting.host_state_bytes
        return held

    @property
    def model_flops(self) -> float:
        """Three forward passes' products, masked pairs left out: what utilisation counts as useful."""
        return 3.0 * forward_flops(self.setting.model, 1, self.setting.graph.tokens)

    @property
    def mfu(self) -> float:
        machine = self.setting.machine
        return self.model_flops / (self.times.step_s * machine.devices * machine.peak_flops_per_s)


def plan_step(
    setting: SwapSetting,
    policy: str,
    *,
    parts: int | None = None,
    time_limit_s: float = 60.0,
    allocate_by: Method = "program",
) -> PlannedStep:
    """Plan a step by ``policy``; ``allocate_by`` says how transients are packed (`bilevel_plan`).

    Raises `InputError` for a policy that is unknown or needs a host that is not there.
    """
    started = time.monotonic()
    if policy not in POLICIES:
        raise unknown_name("policy", policy, POLICIES, field="policy")
    if policy in ("swap", "memo") and not setting.machine.tiers:
        raise InputError(f"{setting.machine.name} has no host memory behind its devices", "keep, recompute", "policy")
    if policy == "best":
        return _best(setting, parts, time_limit_s, started, allocate_by)
    problem = swap_problem(setting, 0, tiers=policy in ("swap", "memo"))
    alpha = best_alpha(_alpha_problem(problem)) if policy == "memo" else None
    shares = _given(problem, policy, alpha)
    cost = cost_of(problem, shares)
    if policy == "recompute":
        cost = replace(cost, times=replace(cost.times, recompute_s=problem.forward_s, kept_layers=0))
    status: Status = "feasible" if alpha is None else "infeasible" if alpha.alpha is None else "optimal"
    return _planned(setting, policy, status, problem, shares, cost, alpha, {}, time_limit_s, started, allocate_by)


def _given(problem: SwapProblem, policy: str, alpha: Alpha | None) -> dict[str, Share]:
    """The shares of the policies that follow a rule."""
    part = 1.0 if policy == "swap" else 0.0 if alpha is None or alpha.alpha is None else alpha.alpha
    host = problem.tiers[0].name if problem.tiers else ""
    shares = {}
    for tensor in problem.classes:
        whole = tensor.name == "input" or (policy == "memo" and tensor.name == "attention")
        if policy == "keep" or (policy == "recompute" and whole):
            shares[tensor.name] = Share(keep=1.0)
        elif policy == "recompute":
            shares[tensor.name] = Share(recompute=1.0)
        else:
            sent = 1.0 if whole else part
            shares[tensor.name] = Share(swap={host: sent} if sent else {}, recompute=1.0 - sent)
    return shares


def _alpha_problem(problem: SwapProblem) -> AlphaProblem:
    sizes = {tensor.name: tensor.bytes for tensor in problem.classes}
    host = problem.tiers[0]
    return AlphaProblem(
        sizes["input"],
        sizes["attention"],
        sum(sizes.values()) - sizes["input"] - sizes["attention"],
        min(problem.link_bytes_per_s, host.write_bytes_per_s),
        problem.forward_s,
        problem.layers,
        host.capacity_bytes,
    )


def _best(
    setting: SwapSetting, parts: int | None, time_limit_s: float, started: float, allocate_by: Method
) -> PlannedStep:
    """The better of two structures: two buffers and tensors that leave, one buffer and none that do.

    Where the head holds more than any layer, a third one: no layer stays whole over the head.
    """
    # With every step run again the arena is largest, so what the program finds fits whatever it chooses.
    again = {step.name: 1.0 for step in recompute_steps(setting)}
    step = setting.step(again)
    arena = bilevel_plan(step, time_limit_s, by="search")
    structures = [False] if not setting.machine.tiers or setting.layers < 3 else [True, False]
    problems = [swap_problem(setting, arena.peak_bytes, tiers=tiers) for tiers in structures]
    head = arena.held_bytes("head")
    within = max(arena.held_bytes(block.name) for block in step.blocks if block.name != "head")
    if head > within:
        problems.append(swap_problem(setting, within, tiers=False, head_bytes=head))

    def left() -> float:
        return max(0.1, time_limit_s - (time.monotonic() - started))

    solved = [best_shares(problem, parts=parts, time_limit_s=left()) for problem in problems]
    found = [(problem, one) for problem, one in zip(problems, solved, strict=True) if one.shares is not None]
    settled = all(one.status in ("optimal", "infeasible") for one in solved)
    if not found:
        return _nothing(setting, problems, solved, parts, left(), started)
    problem, one = min(found, key=lambda pair: pair[1].cost.times.step_s if pair[1].cost else float("inf"))
    assert one.shares is not None
    assert one.cost is not None
    status: Status = "optimal" if settled else "feasible"
    return _planned(setting, "best", status, problem, one.shares, one.cost, None, {}, left(), started, allocate_by)


def _nothing(
    setting: SwapSetting,
    problems: list[SwapProblem],
    solved: list[Solved],
    parts: int | None,
    left_s: float,
    started: float,
) -> PlannedStep:
    """No plan, and, where that is proved, what would do in one memory alone."""
    proved = all(one.status == "infeasible" for one in solved)
    extra: dict[str, float] = {}
    for problem in problems if proved else []:
        for memory, size in extra_bytes(problem, parts=parts, time_limit_s=left_s).items():
            name = setting.machine.memory_name if memory == "device" else memory
            extra[name] = min(size, extra.get(name, size))
    problem = problems[-1]
    shares = _given(problem, "recompute", None)
    status: Status = "infeasible" if proved else "unknown"
    cost = cost_of(problem, shares)
    return _planned(
        setting, "best", status, problem, shares, cost, None, extra, left_s, started, "search", chosen=False
    )


def _planned(
    setting: SwapSetting,
    policy: str,
    status: Status,
    problem: SwapProblem,
    shares: dict[str, Share],
    cost: Cost,
    alpha: Alpha | None,
    extra: dict[str, float],
    time_limit_s: float,
    started: float,
    allocate_by: Method,
    *,
    chosen: bool = True,
) -> PlannedStep:
    """The plan with its transients allocated, and what it lacks."""
    again = dict(cost.steps)
    if policy == "recompute":
        again = {op.name: 1.0 for op in setting.graph.forward}
    step = setting.step(again, cost.times.kept_layers)
    sizes = {tensor.name: tensor.bytes for tensor in problem.classes}
    kept = round(sum(sizes[name] * share.keep for name, share in shares.items()))
    sent = {
        tier.name: round(sum(sizes[name] * share.swap.get(tier.name, 0.0) for name, share in shares.items()))
        for tier in problem.tiers
    }
    offload, fetch = transfer_s(problem, sent)
    through = sum(sizes.values()) - kept
    # Nothing is under way between two memories where nothing leaves: what is made again is packed with the transients.
    passing = [] if problem.tiers or not through else list(_passing(setting.layers, cost.times.moved_layers, through))
    arena = bilevel_plan(step, time_limit_s, by=allocate_by, passing=passing)
    buffered = 0 if passing else through
    plan = PlannedStep(
        setting, policy, status, shares if chosen else None,
        replace(cost.times, offload_s=offload, fetch_s=fetch), step, arena, kept,
        problem.buffers if buffered else 0, buffered, sent, {}, extra, alpha, cost.moved_bytes,
        through - buffered, 0.0,
    )  # fmt: skip
    lacking = {setting.machine.memory_name: plan.device_bytes - setting.machine.memory_bytes}
    room = {tier.name: tier.capacity_bytes for tier in setting.machine.tiers}
    lacking |= {name: held - room[name] for name, held in plan.tier_bytes.items()}
    if alpha is not None and alpha.missing_bytes:
        lacking[problem.tiers[0].name] = alpha.missing_bytes
    # Bytes are rounded to whole ones tensor by tensor.
    missing = {name: lack for name, lack in lacking.items() if lack > len(sizes) * setting.layers}
    if not chosen:
        # What stands for the plan is one of many: only what each memory alone would need is known of all.
        return replace(plan, seconds=time.monotonic() - started)
    if missing and plan.fits:
        plan = replace(plan, status="infeasible")
    if len(missing) == 1:
        extra = dict(missing)
    return replace(plan, missing=missing, extra=extra, seconds=time.monotonic() - started)


def _passing(layers: int, moved: int, size: int) -> Iterator[Passing]:
    """A layer's activations that do not stay: in its forward pass, and from being made again to its backward pass."""
    for layer in range(layers):
        if layer >= moved:
            yield Passing(f"activations.{layer}", size, f"forward.{layer}", f"backward.{layer}")
        else:
            yield Passing(f"activations.{layer}", size, f"forward.{layer}", f"forward.{layer}")
            yield Passing(f"activations_again.{layer}", size, f"recompute.{layer}", f"backward.{layer}")
