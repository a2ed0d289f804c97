"""Names and units of parameters, metrics and quantities as they stand at axes."""

from __future__ import annotations

from dse.space.parameter import Parameter
from hw.spec.quantity import BANDWIDTH, BYTES, FREQUENCY, OPERATION_RATE, POWER, SECONDS, parse_quantity
from workloads.errors import InputError

__all__ = ["metric_label", "metric_unit", "parameter_unit"]

_ENDS = {
    "_s": "s", "_j": "J", "_w": "W", "_bytes": "B", "_mm2": "mm²", "_um2": "µm²", "_hz": "Hz", "_per_s": "/s",
}  # fmt: skip
_DIMENSIONS = (
    (BYTES, "B"), (BANDWIDTH, "B/s"), (FREQUENCY, "Hz"), (OPERATION_RATE, "op/s"), (POWER, "W"), (SECONDS, "s"),
)  # fmt: skip


def _end(name: str) -> str:
    """The longest unit that ``name`` ends in."""
    return max((end for end in _ENDS if name.endswith(end)), key=len, default="")


def metric_unit(name: str) -> str:
    """The unit a metric's name ends in: ``'s'`` of latency_s, ``'/s'`` of tokens_per_s, empty where it has none.

    >>> metric_unit("decode.latency_s"), metric_unit("area_mm2"), metric_unit("weights_error")
    ('s', 'mm²', '')
    """
    return _ENDS.get(_end(name), "")


def metric_label(name: str) -> str:
    """The metric's name without its unit, its workload first.

    >>> metric_label("decode.latency_s"), metric_label("tokens_per_s"), metric_label("area_mm2")
    ('decode: latency', 'tokens', 'area')
    """
    return name.removesuffix(_end(name)).replace("_", " ").replace(".", ": ")


def parameter_unit(parameter: Parameter) -> str:
    """The unit its values were written in: ``'B/s'`` of 50 GB/s, empty for plain numbers and words."""
    written = next(given for given in (parameter.choices, parameter.range, parameter.log) if given is not None)[0]
    if isinstance(written, str):
        for dimension, unit in _DIMENSIONS:
            try:
                parse_quantity(written, dimension)
            except InputError:
                continue
            return unit
    return ""
