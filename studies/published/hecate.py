"""Numbers of arXiv 2502.02581: speeds, memory and ablation of Hecate, as ranges and means over its models."""

from __future__ import annotations

from studies.frame.study import Published, Value

__all__ = ["PUBLISHED"]

_PAPER = "arXiv 2502.02581"
_A16: dict[str, Value] = {"cluster": "A", "devices": 16}
_A32: dict[str, Value] = {"cluster": "A", "devices": 32}
_B: dict[str, Value] = {"cluster": "B", "devices": 32}
_WHERE = "of which cluster is not said: the default"


def _rows(config: dict[str, Value], source: str, *, fits: bool = False, **values: float) -> list[Published]:
    return [Published(metric, config, value, f"{_PAPER}, {source}", fits) for metric, value in values.items()]


PUBLISHED = (
    *(
        Published("parameters", {"model": model}, value, f"{_PAPER}, table of models")
        for model, value in (("gpt-s", 1.84e9), ("gpt-l", 7.36e9), ("bert", 3.27e9), ("bert-deep", 6.54e9))
    ),
    *_rows(_A16, "speed over expert parallelism, cluster A, 16", fits=True, speedup_least=1.40, speedup_most=1.58),
    *_rows(_A32, "speed over expert parallelism, cluster A, 32", speedup_least=1.34, speedup_most=1.78),
    *_rows(_B, "speed over expert parallelism, cluster B", speedup_least=1.26, speedup_most=1.70),
    *_rows(_A16, "speed over the best baseline, geometric mean, 16", over_best=1.645),
    *_rows(_A32, "speed over the best baseline, geometric mean, 32", over_best=2.05),
    *_rows(_B, "speed over the best baseline, cluster B", over_best=2.945, over_best_most=3.54),
    *_rows({}, f"layers of experts alone, {_WHERE}", moe_least=2.8, moe_most=18.8, moe_mean=11.87, exchange=12.3),
    *_rows({}, f"memory over expert parallelism, {_WHERE}", memory=1.64),
    *_rows({}, f"parameters over expert parallelism, {_WHERE}", fits=True, held_parameters=5.73),
    *_rows({"system": "hecate-rm"}, f"memory over expert parallelism, {_WHERE}", memory=1.116, given_back=0.902),
    *_rows({"system": "flexmoe"}, f"memory over Hecate's, {_WHERE}", fits=True, memory_over_hecate=1.83),
    *_rows({"system": "hecate-rm"}, f"price, {_WHERE}", price_least=0.075, price_most=0.169, transfers=3.6),
    *_rows({"system": "sharding"}, f"ablation, {_WHERE}", speedup_least=1.36, speedup_most=1.42),
    *_rows({}, f"ablation, {_WHERE}", over_sharding=3.32),
)
