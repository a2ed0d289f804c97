"""What the page shows of a run, as compact JSON: columns of designs, the front, how the search went.

Designs that were not simulated have nothing to draw: they are counted by reason. Of very many simulated ones the front
and evenly spaced others are shown.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dse.evaluate.outcomes import OK
from dse.explore.front import Scores, front_places, hypervolume, reference_box, scores
from dse.reports.exploration.labels import metric_label, metric_unit, parameter_unit
from dse.reports.exploration.run import ExploredRun, Stage
from dse.reports.exploration.sensitivity import Sensitivity, sensitivity
from dse.space.space import Space

__all__ = ["MOST_SHOWN", "bottlenecks", "compact_json", "page_data", "search_curves", "sensitivities"]

MOST_SHOWN = 10_000
_CURVE_POINTS = 24
_ORDERS = 5  # random orders of a space that was evaluated as a whole


def compact_json(document: Any) -> str:
    """``document`` as JSON that may stand in a script element: floats of five significant digits, NaN as null.

    >>> compact_json({"a": [0.123456, 6346787328.0, float("nan")], "b": "</script>"})
    '{"a":[0.12346,6.3468e9,null],"b":"\\\\u003c/script>"}'
    """
    if isinstance(document, dict):
        return (
            "{" + ",".join(f"{compact_json(str(key))}:{compact_json(value)}" for key, value in document.items()) + "}"
        )
    if isinstance(document, list | tuple):
        return "[" + ",".join(map(compact_json, document)) + "]"
    if isinstance(document, float):
        text = f"{document:.5g}"
        mantissa, mark, exponent = text.partition("e")
        return "null" if not math.isfinite(document) else f"{mantissa}e{int(exponent)}" if mark else text
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def page_data(run: ExploredRun, always: Sequence[int] = ()) -> dict[str, Any]:
    """The document that the page's script reads; designs in ``always`` are shown however many there are."""
    space = run.space
    names = _metrics(run)
    senses = {"minimise": 1, "maximise": -1}
    return {
        "parameters": [
            {"name": name, "unit": parameter_unit(parameter), "values": [_value(v) for v in parameter.values]}
            for name, parameter in space.parameters.items()
        ],
        "metrics": [
            {
                "name": name,
                "label": metric_label(name),
                "unit": metric_unit(name),
                "sense": senses.get(space.objectives.get(name, ""), 0),
            }
            for name in names
        ],
        "stages": [_stage(space, stage, names, always) for stage in run.stages],
        "search": search_curves(run),
    }


def _value(value: Any) -> Any:
    """Whole numbers stay whole, so that 48 GB is not 4.8e10 of something."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


def _metrics(run: ExploredRun) -> list[str]:
    """Objectives first, then what differs between designs and is not the same as a metric before it."""
    names = list(run.space.objectives)
    outcomes = run.stages[0].outcomes
    for name, values in outcomes.metrics.items():
        known = values[np.isfinite(values)]
        same = (np.array_equal(values, outcomes.metrics[other], equal_nan=True) for other in names)
        if name not in names and len(known) and np.ptp(known) > 0 and not any(same):
            names.append(name)
    return names


def _stage(space: Space, stage: Stage, names: list[str], always: Sequence[int]) -> dict[str, Any]:
    outcomes = stage.outcomes
    simulated = np.flatnonzero(np.isfinite(outcomes.metrics["latency_s"]))
    front = front_places(scores(space, outcomes))
    others = np.setdiff1d(simulated, front)
    room = max(MOST_SHOWN - len(front), 0)
    if len(others) > room:
        kept = others[np.isin(outcomes.ordinals[others], always)]
        others = others[np.linspace(0, len(others) - 1, room).astype(np.int64)] if room else others[:0]
        others = np.union1d(others, kept)
    shown = np.concatenate([front, others])  # the front first
    part = outcomes.take(shown)
    reasons, reason = _coded(part.reason)
    charged, bottleneck = _coded(part.bottleneck)
    active = space.codec.decode(part.ordinals)
    plays = _plays(space, active)
    return {
        "fidelity": stage.fidelity,
        "proposed": len(outcomes),
        "simulated": len(simulated),
        "front": len(front),
        "ordinals": part.ordinals.tolist(),
        "choices": [np.where(plays[:, at], active[:, at], -1).tolist() for at in range(active.shape[1])],
        "metrics": [part.metrics[name].tolist() for name in names],
        "reasons": reasons,
        "reason": [code if status != OK else -1 for code, status in zip(reason, part.status.tolist(), strict=True)],
        "bottlenecks": charged,
        "bottleneck": bottleneck,
    }


def _plays(space: Space, choices: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(designs, parameters): whether the parameter plays a part in the design."""
    plays = np.ones(choices.shape, dtype=np.bool_)
    places = {name: at for at, name in enumerate(space.parameters)}
    for name, parameter in space.parameters.items():
        for other in parameter.when:
            allowed = [value in parameter.active_at(other) for value in space.codec.values[other]]
            plays[:, places[name]] &= np.array(allowed)[choices[:, places[other]]] & plays[:, places[other]]
    return plays


def _coded(words: Iterable[Any]) -> tuple[list[str], list[int]]:
    """Words as numbers into a list of them, in the order of the alphabet: runs alike have colours alike."""
    texts = [str(word or "") for word in words]
    order = sorted(set(texts))
    number = {word: at for at, word in enumerate(order)}
    return order, [number[text] for text in texts]


def bottlenecks(run: ExploredRun) -> dict[str, tuple[float, float]]:
    """By what most time is charged to: its share of the feasible designs of the deepest fidelity, and of the front."""
    outcomes = run.stages[-1].outcomes
    front = front_places(scores(run.space, outcomes))
    feasible = outcomes.bottleneck[outcomes.status == OK]
    of_all, of_front = (Counter(map(str, words)) for words in (feasible, outcomes.bottleneck[front]))
    return {
        name: (count / len(feasible), of_front[name] / len(front)) for name, count in of_all.most_common() if len(front)
    }


def sensitivities(run: ExploredRun) -> list[Sensitivity]:
    """Of each objective, over all designs that were simulated at the first fidelity, be they within limits or not."""
    space, outcomes = run.space, run.stages[0].outcomes
    choices = space.codec.decode(outcomes.ordinals)
    plays = _plays(space, choices)
    columns = {name: choices[:, at] for at, name in enumerate(space.parameters)}
    active = {name: plays[:, at] for at, name in enumerate(space.parameters)}
    found = (
        sensitivity(name, outcomes.metrics[name], columns, active, population=space.codec.size)
        for name in space.objectives
    )
    return [each for each in found if each is not None]


def search_curves(run: ExploredRun) -> dict[str, Any]:
    """Hypervolume after so many designs: ``counts``, of the run and of random designs beside it, each None where there
    is none: a run through everything has no order worth showing, one over several fidelities only an end."""
    stage = run.stages[-1]
    found, beside = scores(run.space, stage.outcomes), scores(run.space, run.random)
    box = reference_box(np.concatenate([found, beside]))
    counts = _counts(len(found))
    one_stage = len(run.options.fidelities) == 1
    whole = one_stage and len(found) >= run.space.codec.size
    curves: dict[str, list[float] | None] = {"run": None, "random": None}
    if one_stage and run.options.engine != "exhaustive" and run.options.budget is not None:
        curves["run"] = _curve(found, counts, box)
    if one_stage and len(beside):
        curves["random"] = _curve(beside, [count for count in counts if count <= len(beside)], box)
    elif whole:
        rng = np.random.default_rng(0)
        orders = [_curve(found[rng.permutation(len(found))], counts, box) for _ in range(_ORDERS)]
        curves["random"] = [float(value) for value in np.mean(orders, axis=0)]
    return {
        "engine": run.options.engine,
        "counts": counts,
        **curves,
        "end": run.summary["hypervolume"],
        "randomEnd": run.summary["random_hypervolume"] if len(beside) else None,
    }


def _counts(last: int) -> list[int]:
    """Numbers of designs at which a curve is drawn, equal factors apart."""
    return sorted({round(count) for count in np.geomspace(min(10, last), last, _CURVE_POINTS)})


def _curve(found: Scores, counts: list[int], box: Any) -> list[float]:
    values, best, before = [], found[:0], 0
    for count in counts:
        both = np.concatenate([best, found[before:count]])
        best, before = both[front_places(both)], count
        values.append(hypervolume(best, box))
    return values
