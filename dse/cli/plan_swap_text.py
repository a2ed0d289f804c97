"""The report of ``tiercade plan swap`` for people: a line for each thing known."""

from __future__ import annotations

from typing import Any

from mappers.planner.swap import PlannedStep

__all__ = ["report"]

_SAYS = {
    "optimal": "optimal: no shares are faster",
    "feasible": "feasible: fits",
    "infeasible": "infeasible: it is proved that it does not fit",
    "unknown": "unknown: time ran out with neither a plan nor a proof",
}
_LEAST_SHOWN = 5e-4
"""A share below it would print as 0.0 %."""


def report(plan: PlannedStep, found: dict[str, Any]) -> str:
    """``found`` is the same as one document; without a plan only what is missing is said."""
    lines = [
        f"{found['model']}, {found['context']:,} tokens on {found['devices']} x {found['system']}: {plan.policy}",
        f"  status        {_status(plan)}",
    ]
    lines += [f"  missing       {size / 1e9:,.3f} GB of {name}" for name, size in found["missing_bytes"].items()]
    if found["extra_bytes"]:
        each = " or ".join(f"{size / 1e9:,.3f} GB more of {name}" for name, size in found["extra_bytes"].items())
        lines.append(f"  enough        {each}")
    lines += _alpha_lines(plan)
    if plan.shares is not None:
        lines += _time_lines(plan, found)
        lines += _share_lines(plan)
        lines += _memory_lines(plan, found)
    return "\n".join(lines)


def _status(plan: PlannedStep) -> str:
    if plan.policy == "memo" and plan.status == "optimal":
        return "optimal: no larger alpha keeps to both constraints"
    if plan.policy == "best" and plan.status == "feasible":
        return "feasible: faster shares may exist, the time ran out"
    return _SAYS[plan.status]


def _alpha_lines(plan: PlannedStep) -> list[str]:
    alpha = plan.alpha
    if alpha is None:
        return []
    if alpha.alpha is not None:
        return [f"  alpha         {alpha.alpha:.3f}, held back by {alpha.bound}"]
    if alpha.missing_bytes_per_s:
        return [f"  missing       {alpha.missing_bytes_per_s / 1e9:,.3f} GB/s of the host link, even at alpha 0"]
    return []


def _time_lines(plan: PlannedStep, found: dict[str, Any]) -> list[str]:
    ends = ", ".join(f"{100 * mfu:.1f} % with {name} kernels" for name, mfu in found["mfu_by_kernels"].items())
    lines = [f"  step          {plan.times.step_s:,.3f} s; MFU {ends}"]
    if found["published_mfu"] is not None:
        lines.append(f"  published     {100 * found['published_mfu']:.2f} % (MEMO, on A800)")
    update = found["update"]
    if "stride" in update:
        who = "all by the host" if update["stride"] is None else f"every {update['stride']}. subgroup by the device"
        lines.append(
            f"  update        {update['seconds']:.3f} s, {who}; {update['all_host_s']:.3f} s by the host alone"
        )
    stalls = sum(found["stall_s"].values())
    lines.append(f"  stalls        {stalls:.3f} s; recomputation {plan.times.recomputed_s:.3f} s")
    return lines


def _share_lines(plan: PlannedStep) -> list[str]:
    lines = []
    for name, share in (plan.shares or {}).items():
        parts = {"stays": share.keep, **{f"to {tier}": part for tier, part in share.swap.items()}}
        parts["again"] = share.recompute
        text = ", ".join(f"{100 * part:.1f} % {what}" for what, part in parts.items() if part >= _LEAST_SHOWN)
        lines.append(f"    {name:<12}{plan.setting.graph.bytes_of[name] / 1e6:>10,.1f} MB a layer: {text}")
    return lines


def _memory_lines(plan: PlannedStep, found: dict[str, Any]) -> list[str]:
    memory, transients, simulated = found["memory"], found["transients"], found["simulated"]
    name = memory["tier"]
    lines = [_held(name, memory["peak_bytes"], memory["capacity_bytes"])]
    parts = {
        "states": memory["state_bytes"],
        "kept": memory["kept_bytes"],
        "rounding buffers": plan.buffers * plan.buffer_bytes,
        "transients and made again" if plan.passing_bytes else "transients": memory["transient_bytes"],
    }
    lines.append(" " * 16 + ", ".join(f"{part} {size / 1e9:,.3f}" for part, size in parts.items() if size))
    for tier, held in found["tiers"].items():
        years = "" if held["lasts_years"] is None else f"; its drives last {held['lasts_years']:.2g} years of it"
        lines.append(_held(tier, held["peak_bytes"], held["capacity_bytes"]) + years)
    proved = " (optimal)" if transients["bilevel_proved"] else ""
    lines.append(
        f"  transients    two levels {transients['bilevel_bytes'] / 1e9:,.3f} GB{proved}, "
        f"all at once {transients['flat_bytes'] / 1e9:,.3f} GB, "
        f"caching allocator {transients['caching_allocator']['reserved_bytes'] / 1e9:,.3f} GB"
    )
    lines += _caching_lines(found["caching_allocator_for_all"])
    if simulated is not None:
        peak = simulated["peak_bytes"][name]
        lines.append(f"  simulated     {simulated['step_s']:,.3f} s, peak {peak / 1e9:,.3f} GB")
    return lines


def _caching_lines(caching: dict[str, Any] | None) -> list[str]:
    """The whole step through a caching allocator, without any plan."""
    if caching is None:
        return []
    text = (
        f"  unplanned     caching allocator reserves {caching['reserved_bytes'] / 1e9:,.3f} GB for "
        f"{caching['allocated_bytes'] / 1e9:,.3f} GB, {100 * caching['fragmentation']:.1f} % unused"
    )
    if caching["published_fragmentation"] is not None:
        text += f" (published, MEMO: {100 * caching['published_fragmentation']:.1f} %)"
    return [text]


def _held(name: str, held: float, capacity: float) -> str:
    return f"  {name:<12}  {held / 1e9:,.3f} of {capacity / 1e9:,.3f} GB"
