"""The content of a report as rows of plain values: what the terminal table and the HTML page both show."""

from __future__ import annotations

from dataclasses import dataclass

from dse.reports.names import charge_kind, charge_text
from dse.reports.units_text import engineering, joules_text, number_text, percent_text, seconds_text
from simulator.result import OpRow, Result

__all__ = [
    "WORKSPACE",
    "Charge",
    "Operation",
    "TierUse",
    "bottleneck_sentence",
    "charges",
    "headline",
    "latency_name",
    "operations",
    "tier_uses",
]

WORKSPACE = "activations, buffers"
"""What a tier holds at its peak beyond the tensors placed in it: activations, streaming buffers, caches."""

KEPT = "kept activations"
"""What a training step keeps for its backward pass, which is placed as other tensors are."""

_WORTH_SHOWING = 5e-4


@dataclass(frozen=True)
class Charge:
    """Time charged to ``name`` (described in full by ``text``): seconds per step and share of the latency."""

    name: str
    text: str
    seconds: float
    share: float


@dataclass(frozen=True)
class TierUse:
    """Bytes of one tier at its peak, by role (largest first, `WORKSPACE` last), beside its capacity."""

    tier: str
    peak_bytes: float
    capacity_bytes: float
    by_role: tuple[tuple[str, float], ...]

    @property
    def share(self) -> float:
        """Share of the capacity in use."""
        return self.peak_bytes / self.capacity_bytes if self.capacity_bytes else 0.0


@dataclass(frozen=True)
class Operation:
    """All executions of one operation in one step: how many, their time with operands in the home tier, work, bytes."""

    layer: str
    name: str
    kind: str
    count: float
    seconds: float
    operations: float
    bytes: float
    bound: str

    @property
    def intensity_ops_per_byte(self) -> float:
        """Operational intensity against the home tier."""
        return self.operations / self.bytes if self.bytes else 0.0

    @property
    def ops_per_s(self) -> float:
        """Operations per second achieved, overhead included."""
        return self.operations / self.seconds if self.seconds else 0.0


def latency_name(result: Result) -> str:
    """What users call the latency of one step of the phase."""
    return {"prefill": "TTFT", "decode": "TPOT"}.get(result.phase, "step time")


def headline(result: Result) -> tuple[tuple[str, str], ...]:
    """The figures people ask for first, as (name, value with unit)."""
    long_name = {"prefill": "time to first token (TTFT)", "decode": "time per output token (TPOT)"}
    tokens = "prompt tokens per second" if result.phase == "prefill" else "tokens per second"
    energy, bound = result.total_energy_j, result.bounds
    power_w, share = energy / result.latency_s, percent_text(bound.latency_s / result.latency_s)
    what = "bytes" if bound.bytes_s >= bound.compute_s else "operations"
    used = () if result.mfu is None else (("model FLOPs utilisation (MFU)", percent_text(result.mfu)),)
    return (
        (long_name.get(result.phase, "time per step"), seconds_text(result.latency_s)),
        (tokens, number_text(result.tokens_per_s)),
        *used,
        ("energy per token", f"{joules_text(energy / result.tokens)} (mean power {engineering(power_w, 'W')})"),
        ("lower bound", f"{seconds_text(bound.latency_s)} by {what}, {share} of the latency"),
    )


def bottleneck_sentence(result: Result) -> str:
    """One sentence on where most of the time goes: ``'92 % of the time is bound by link drive-pcie (nvme → ddr)'``."""
    name = result.bottleneck
    share = percent_text(result.time_by_bound_s[name] / result.latency_s)
    kind = charge_kind(result, name)
    if kind == "idle":
        return f"{share} of the time nothing runs"
    if kind == "overhead":
        return f"{share} of the time is fixed overhead (launches, latencies)"
    return f"{share} of the time is bound by {charge_text(result, name)}"


def charges(result: Result) -> tuple[Charge, ...]:
    """Where the time goes, longest first; what is below 0.05 % of the latency stands together under ``other``."""
    rows = []
    rest = 0.0
    for name, seconds in result.time_by_bound_s.items():
        if seconds < _WORTH_SHOWING * result.latency_s:
            rest += seconds
        else:
            rows.append(Charge(name, charge_text(result, name), seconds, seconds / result.latency_s))
    rows.sort(key=lambda row: (-row.seconds, row.name))
    if rest > 1e-9 * result.latency_s:
        rows.append(Charge("other", "other", rest, rest / result.latency_s))
    return tuple(rows)


def tier_uses(result: Result) -> tuple[TierUse, ...]:
    """Each tier that holds tensors, in the order of the result: the home tier first, then by falling bandwidth."""
    return tuple(
        TierUse(tier, result.peak_bytes.get(tier, 0.0), capacity, _by_role(result, tier))
        for tier, capacity in result.capacity_bytes.items()
    )


def _by_role(result: Result, tier: str) -> tuple[tuple[str, float], ...]:
    rows = [
        (KEPT if role == "activations" else str(role), size)
        for role, tiers in result.placement_bytes.items()
        if (size := tiers.get(tier, 0.0)) > 0
    ]
    rows.sort(key=lambda row: (-row[1], row[0]))
    # The peak counts whole bytes per tensor, so a difference of a few bytes is rounding.
    beyond = result.peak_bytes.get(tier, 0.0) - sum(size for _, size in rows)
    if beyond > 1e-6 * result.peak_bytes.get(tier, 0.0):
        rows.append((WORKSPACE, beyond))
    return tuple(rows)


def operations(result: Result) -> tuple[Operation, ...]:
    """The operations of one step, longest first.

    Layers that differ only in what they touch share a name up to the first space and stand together.
    """
    groups: dict[tuple[str, str], list[OpRow]] = {}
    for row in result.ops:
        groups.setdefault((row.layer.partition(" ")[0], row.op), []).append(row)
    merged = []
    for (layer, op), rows in groups.items():
        longest = max(rows, key=lambda row: row.total_s)
        merged.append(
            Operation(
                layer,
                op,
                longest.kind,
                sum(row.count for row in rows) / result.steps,
                sum(row.total_s for row in rows) / result.steps,
                sum(row.count * row.operations for row in rows) / result.steps,
                sum(row.count * row.bytes for row in rows) / result.steps,
                longest.bound,
            )
        )
    return tuple(sorted(merged, key=lambda op: (-op.seconds, op.layer, op.name)))
