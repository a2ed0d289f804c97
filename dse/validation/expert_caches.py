"""Fitted routers against published hit rates of expert caches (Liang et al., arXiv 2505.16056).

A router was fitted to the rates of segment caches (curves ``seg4`` to ``seg256``); LRU, LFU and Belady are predicted.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from dse.validation.compared import markdown_table
from dse.validation.validation import Report, Validation
from simulator.collections.calibration import RHOS, TOKENS, rates
from studies.published.srp_sch import SRP_16
from workloads.errors import InputError
from workloads.traces.routing_fitted import fitted_rms, fitted_router, fitted_router_names, published_name
from workloads.traces.routing_statistics import segment_routing
from workloads.traces.routing_sticky import sticky_routing

__all__ = ["RouterRow", "compare_routers", "published_rates", "validate_expert_caches"]

PREDICTED = ("LRU", "LFU", "Belady")
_COLUMNS = ("figure", "model", "curve", "rho1", "rho2", "rho3", "method")
_SRP_TOKENS = 16
_WIDE = 60
"""Experts of a layer from which half as many layers are drawn: a cache over them all is as large."""


@dataclass(frozen=True)
class RouterRow:
    """Rates at 1, 2 and 3 times the active experts, by rule."""

    model: str
    published: dict[str, tuple[float, ...]]
    predicted: dict[str, tuple[float, ...]]

    def misses(self, rule: str) -> tuple[float, ...]:
        """Predicted less published, in points of a hundred."""
        pairs = zip(self.predicted[rule], self.published[rule], strict=True)
        return tuple(100 * (ours - theirs) for ours, theirs in pairs)


_HEAD = """# Accuracy of expert caches

A synthetic router (`workloads/traces/routing_sticky.py`) beside hit rates of {models} models that Liang et al. publish
(arXiv 2505.16056) without the traces behind them. Three amplitudes of each router are fitted to the model's twelve
rates of segment caches (SCH; root mean square left: {rms}); LRU, LFU, Belady and the segment routing performance (SRP)
are predicted, on a seed of their own. A cache holds experts of all layers; sizes are multiples of the active experts.
Errors are in points of a hundred, ours - published.

"""

_MISSES = """What is known of the misses: at one time the active experts LRU holds the token before and no more, so its
rate there is the share of repeated picks, which no rate that was fitted shows by itself. SRP is up to 4 points too high
for some models. Two simplifications may be behind both, and neither was tested: all models forget over 32 tokens, and
all layers of a model are alike.
"""


def validate_expert_caches(path: Path) -> Validation:
    """Fitted routers beside ``path``'s published rates, and beside the paper's SRP."""
    rows = compare_routers(path)
    printed = [
        {"model": row.model, "LRU 2x": row.published["LRU"][1], "ours": round(row.predicted["LRU"][1], 3)}
        | {f"{rule} errors (points)": _points(row, rule) for rule in PREDICTED}
        for row in rows
    ]
    worst = {rule: max((abs(row.misses(rule)[1]) for row in rows), default=0.0) for rule in PREDICTED}
    notes = [
        "largest error at 2x the active experts, in points: "
        + ", ".join(f"{rule} {worst[rule]:.1f}" for rule in PREDICTED)
    ]
    document = {
        "models": [{"model": row.model, "published": row.published, "predicted": row.predicted} for row in rows],
        "largest_error_at_2x": {rule: value / 100 for rule, value in worst.items()},
    }
    return Validation(printed, notes, document, lambda: Report((_report(rows),)))


def _report(rows: list[RouterRow]) -> str:
    left = [fitted_rms(name) for name in fitted_router_names()]
    text = _HEAD.format(models=len(rows), rms=f"{min(left):.3f} to {max(left):.3f}")
    heading = ["model"]
    for rule in PREDICTED:
        heading += [f"{rule} at 2x", "ours", "errors at 1x, 2x, 3x"]
    text += markdown_table(
        heading,
        "lrrrrrrrrr",
        (
            [row.model]
            + [
                cell
                for rule in PREDICTED
                for cell in (f"{row.published[rule][1]:.3f}", f"{row.predicted[rule][1]:.3f}", _points(row, rule))
            ]
            for row in rows
        ),
    )
    srp = [(name, SRP_16[name], _srp(name)) for name in fitted_router_names() if name in SRP_16]
    text += f"\n## SRP over {_SRP_TOKENS} tokens\n\n" + markdown_table(
        ("model", "published", "ours", "error"),
        "lrrr",
        (
            (published_name(name), f"{theirs:.1%}", f"{ours:.1%}", f"{100 * (ours - theirs):+.1f}")
            for name, theirs, ours in srp
        ),
    )
    return text + "\n" + _MISSES


def _points(row: RouterRow, rule: str) -> str:
    return " ".join(f"{miss:+.1f}" for miss in row.misses(rule))


def _srp(name: str) -> float:
    stream = sticky_routing(fitted_router(name, layers=4), steps=TOKENS, batch=8, seed=2)
    return segment_routing(stream, _SRP_TOKENS).srp


def published_rates(path: Path) -> dict[str, dict[str, tuple[float, ...]]]:
    """Rates by model and curve. Raises `InputError` with file and line for other columns and for what is no rate."""
    file = str(path)
    try:
        with path.open(encoding="utf-8", newline="") as text:
            reader = csv.DictReader(text)
            if tuple(reader.fieldnames or ()) != _COLUMNS:
                raise InputError("other columns", expected=",".join(_COLUMNS), file=file, line=1)
            found: dict[str, dict[str, tuple[float, ...]]] = {}
            for line, row in enumerate(reader, start=2):
                try:
                    values = tuple(float(row[name]) for name in _COLUMNS[3:6])
                except (TypeError, ValueError):
                    values = ()
                if not values or not all(0 <= value <= 1 for value in values):
                    raise InputError("no rate", "three numbers from 0 to 1", "rho1, rho2, rho3", file, line)
                found.setdefault(row["model"], {})[row["curve"]] = values
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", expected="a readable file", file=file) from None
    except UnicodeDecodeError:
        raise InputError("is no text in UTF-8", expected="a CSV file", file=file) from None
    return found


def compare_routers(path: Path, *, batch: int = 16, seed: int = 2) -> list[RouterRow]:
    """Every fitted router that ``path`` has rates of, on a seed that nothing was fitted on."""
    published = published_rates(path)
    rows = []
    for name in fitted_router_names():
        theirs = published.get(published_name(name), {})
        if not all(rule in theirs for rule in PREDICTED):
            continue
        whole = fitted_router(name)
        router = fitted_router(name, layers=min(whole.layers, 4 if whole.experts >= _WIDE else 8))
        ours = rates(router, [rule.lower() for rule in PREDICTED], batch=batch, seed=seed, rhos=RHOS)
        rows.append(
            RouterRow(
                published_name(name),
                {rule: theirs[rule] for rule in PREDICTED},
                {rule: tuple(map(float, row)) for rule, row in zip(PREDICTED, ours, strict=True)},
            )
        )
    return rows
