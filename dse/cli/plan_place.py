"""What ``tiercade plan place`` does: pose the problem, plan, execute the plan, report both beside the simple rule."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dse.cli.output import check_figure, print_document, write_figure
from dse.cli.simulate import INFERENCE, choose_model, choose_system
from dse.cli.stopping import stoppable
from dse.reports.units_text import bytes_text, seconds_text
from hw.spec.quantity import BYTES, parse_quantity
from workloads.errors import InfeasibleError, InputError, unknown_name

if TYPE_CHECKING:
    from mappers.planner.tiers import PlacementResult
    from simulator.planned import PosedPlacement, Replay
    from simulator.result import Result

__all__ = ["PlaceOptions", "run_place"]

OBJECTIVES = ("latency", "energy", "cost")
_EQUAL = 1e-6  # relative; sums in another order differ by less
_UNIT = {"latency": "s", "energy": "J", "cost": ""}


@dataclass(frozen=True)
class PlaceOptions:
    """The arguments of ``plan place`` as they were typed."""

    model: str
    system: str
    phase: str = "decode"
    batch: int = 1
    context: int = 2048
    changes: tuple[str, ...] = ()
    weights: str | None = None
    kv_cache: str | None = None
    objective: str = "latency"
    prices: tuple[str, ...] = ()
    pieces: int = 4
    time_limit_s: float = 30.0
    figure: Path | None = None


@dataclass(frozen=True)
class Placed:
    """Everything a report says. ``rule`` is the simple rule's simulation, or None when its plan does not fit."""

    posed: PosedPlacement
    result: PlacementResult
    replayed: Replay | None
    rule: Result | None
    keep_rule: bool


def run_place(options: PlaceOptions, *, as_json: bool) -> int:
    """Plan, execute, draw, print; 3 when nothing fits or nothing was found in time, 130 after Ctrl-C."""
    _check(options)
    with stoppable(options.time_limit_s) as stop:
        placed = _place(options, stop)
    if options.figure is not None and placed.result.plan is not None:
        _draw(placed, options.figure)
    document = _document(options, placed)
    if as_json:
        print_document(document)
    else:
        print(_text(document, placed))  # noqa: T201
    if stop.why == "interrupt":
        return 130
    return 0 if placed.result.plan is not None else 3


def _check(options: PlaceOptions) -> None:
    """Refuse before the search what could not be done after it."""
    if options.objective not in OBJECTIVES:
        raise unknown_name("objective", options.objective, OBJECTIVES, field="--objective")
    if options.phase not in INFERENCE:
        raise unknown_name("phase", options.phase, INFERENCE, field="--phase")
    if not 0 < options.time_limit_s < math.inf:
        raise InputError(f"{options.time_limit_s:g} seconds", "more than 0 seconds", "--time-limit")
    if options.pieces < 1:
        raise InputError(f"{options.pieces} pieces", "at least 1", "--pieces")
    if options.objective == "cost" and not options.prices:
        raise InputError("objective cost without a price", "--price TIER=AMOUNT for each GB of a tier", "--price")
    if options.figure is not None:
        check_figure(options.figure)


def _prices(words: tuple[str, ...]) -> dict[str, float]:
    """Price per byte by tier, from TIER=AMOUNT for 1 GB."""
    gigabyte = parse_quantity("1 GB", BYTES)
    found = {}
    for word in words:
        tier, equals, amount = word.partition("=")
        try:
            price = float(amount)
        except ValueError:
            price = math.nan
        if not equals or not tier or not (0 <= price < math.inf):
            raise InputError(f"{word!r}", "TIER=AMOUNT, the price of 1 GB", "--price")
        found[tier] = price / gigabyte
    return found


def _place(options: PlaceOptions, stop: Any) -> Placed:
    from mappers.map_workload import map_workload
    from mappers.planner.tiers import place_over_tiers
    from simulator.planned import pose_placement, replay
    from simulator.road import simulate
    from workloads.models.lower import lower
    from workloads.models.stored_formats import stored_formats

    model = choose_model(options.model)
    system = choose_system(options.system, options.changes, None)
    try:
        phase = INFERENCE[options.phase](options.batch, options.context)
    except InputError as error:
        raise replace(error, field=f"--{error.field}") from None
    chosen = {"weights": options.weights, "kv_cache": options.kv_cache}
    formats = replace(stored_formats(model), **{name: value for name, value in chosen.items() if value is not None})
    if options.weights is not None:
        formats = replace(formats, experts=None)
    mapped = map_workload(lower(model, phase, formats, devices=system.devices), system)
    try:
        posed = pose_placement(mapped, system, pieces=options.pieces, prices=_prices(options.prices))
    except InputError as error:
        renamed = {"prices": "--price", "system": "--system"}
        raise replace(error, field=renamed.get(error.field or "", error.field)) from None
    objective: Any = options.objective
    result = place_over_tiers(posed.problem, objective, time_limit_s=options.time_limit_s, should_stop=stop)
    try:
        rule = simulate(model, phase, system, formats=formats)
    except InfeasibleError:
        rule = None
    replayed = None if result.plan is None else replay(posed, result.plan)
    slower = rule is not None and replayed is not None and replayed.first_pass_s > rule.latency_s * (1 + _EQUAL)
    return Placed(posed, result, replayed, rule, slower and options.objective == "latency")


def _draw(placed: Placed, file: Path) -> None:
    from dse.reports.figures.tier_plan import tier_plan_figure

    assert placed.result.plan is not None
    assert placed.replayed is not None
    problem = placed.posed.problem
    headline = f"{problem.name}: {placed.replayed.latency_s:.4g} s per pass"
    figure = tier_plan_figure(problem, placed.result.plan, headline, placed.replayed.interval_ends_s)
    write_figure(figure, file)


def _document(options: PlaceOptions, placed: Placed) -> dict[str, Any]:
    problem, result = placed.posed.problem, placed.result
    document: dict[str, Any] = {
        "problem": problem.name,
        "phase": options.phase,
        "batch": options.batch,
        "context": options.context,
        "intervals": len(problem.intervals),
        "tensors": len(problem.tensors),
        **result.to_json(),
        "rule_latency_s": None if placed.rule is None else placed.rule.latency_s,
        "simple_rule_is_faster": placed.keep_rule,
    }
    if result.plan is None or placed.replayed is None:
        return document
    plan, replayed = result.plan, placed.replayed
    arrivals = plan.arrivals(problem)
    document |= {
        "planned_latency_s": plan.latency_s(problem),
        "planned_stall_s": plan.stall_s(problem),
        "planned_transfer_and_static_energy_j": plan.energy_j(problem),
        "simulated_latency_s": replayed.latency_s,
        "simulated_first_pass_s": replayed.first_pass_s,
        "planned_peak_bytes": {
            tier: size + placed.posed.fixed_bytes[tier] for tier, size in plan.peak_bytes(problem).items()
        },
        "simulated_peak_bytes": replayed.peak_bytes,
        "capacity_bytes": {
            tier.name: tier.capacity_bytes + placed.posed.fixed_bytes[tier.name] for tier in problem.tiers
        },
        "resident_bytes": _resident(placed),
        "kept_by_rule_bytes": placed.posed.fixed_bytes,
        "moved_bytes": plan.moved_bytes(problem),
        "transfers": [asdict(arrival) for arrival in arrivals],
    }
    return document


def _resident(placed: Placed) -> dict[str, dict[str, float]]:
    """By tier and group, the bytes that stay throughout."""
    problem, plan = placed.posed.problem, placed.result.plan
    assert plan is not None
    found: dict[str, dict[str, float]] = {tier: {} for tier in problem.order()}
    for stay in plan.stays:
        if not stay.arriving:
            tensor = problem.tensor[stay.tensor]
            row = found[stay.tier]
            row[tensor.group] = row.get(tensor.group, 0.0) + tensor.bytes
    return found


_SAYS = {
    "proved_optimal": "proved optimal: no plan is better",
    "feasible": "feasible: a better plan may exist",
    "infeasible": "infeasible: it is proved that nothing fits",
    "unknown": "unknown: no plan was found in time, and none was ruled out",
}


def _text(document: dict[str, Any], placed: Placed) -> str:
    """The report, a line for each thing known."""
    result = placed.result
    unit = _UNIT[result.objective]
    lines = [
        f"{document['problem']}, {document['phase']}, batch {document['batch']}, context {document['context']:,}: "
        f"{document['tensors']} tensors, {document['intervals']} intervals",
        f"  status       {_SAYS[result.status]}",
    ]
    if result.plan is None:
        lines.append(f"  why          {result.certificate}")
        if result.extra_bytes is not None:
            enough = " and ".join(f"{size:,.0f} in {tier}" for tier, size in result.extra_by_tier or ())
            lines.append(f"  missing      {result.extra_bytes:,.0f} bytes" + (f"; enough: {enough}" if enough else ""))
        lines.append(f"  by           {result.backend}, {result.seconds:.2f} s")
        return "\n".join(lines)
    gap = "" if result.gap is None else f", {100 * result.gap:.2f} % above the bound"
    lines += [
        f"  {result.objective:12} {result.value:.6g} {unit}".rstrip() + f"{gap} of {result.bound:.6g} {unit}".rstrip(),
        f"  bound        {result.certificate}",
        f"  planned      {document['planned_latency_s']:.6g} s per pass, {document['planned_stall_s']:.4g} s stalled",
        f"  simulated    {document['simulated_latency_s']:.6g} s per pass, the first "
        f"{document['simulated_first_pass_s']:.6g} s",
    ]
    rule = document["rule_latency_s"]
    if rule is None:
        lines.append("  simple rule  does not fit (fastest tier with room, one layer ahead)")
    else:
        kept = "; it is faster, keep it" if placed.keep_rule else ""
        lines.append(f"  simple rule  {rule:.6g} s (fastest tier with room, one layer ahead){kept}")
    transfers = document["transfers"]
    if transfers:
        tight = min(transfers, key=lambda arrival: arrival["slack_s"])
        lines.append(
            f"  transfers    {len(transfers)}, {bytes_text(document['moved_bytes'])} per pass; "
            f"the tightest has {seconds_text(tight['slack_s'])} to spare"
        )
    for tier, groups in document["resident_bytes"].items():
        peak, capacity = document["simulated_peak_bytes"][tier], document["capacity_bytes"][tier]
        parts = [f"{group.replace('_', ' ')} {bytes_text(size)}" for group, size in sorted(groups.items(), key=_size)]
        stays = ", ".join(parts) or "nothing"
        lines.append(f"  {tier:12} peak {bytes_text(peak)} of {bytes_text(capacity)}; stays: {stays}")
    by_rule = [f"{tier} {bytes_text(size)}" for tier, size in document["kept_by_rule_bytes"].items() if size]
    if by_rule:
        lines.append(
            f"  in part      what is read in part, on demand, stays where the simple rule has it: {', '.join(by_rule)}"
        )
    lines.append(f"  by           {result.backend}, {result.seconds:.2f} s")
    return "\n".join(lines)


def _size(item: tuple[str, float]) -> float:
    return -item[1]
