"""Deep Optimizer States: what the authors' logs print for their last iteration."""

from __future__ import annotations

from studies.frame.study import Config, Published

__all__ = ["PUBLISHED"]

_LOGS = "mauryaavinash95/deep-optimizer-states-results"
_AT = {"h100": f"{_LOGS} at 3a21ae1, step 10", "a100": f"{_LOGS} at 14a4952, act-output-13B-scale-gaps-a100, step 10"}
_RUNS: tuple[tuple[str, str, float, str, int, float, float, float, float], ...] = (
    ("h100", "20B", 1.0, "deepspeed", 0, 0.20921, 4.42219, 2.26790, 7.2652),
    ("h100", "20B", 1.0, "gradients", 0, 0.21075, 0.97047, 2.27760, 3.7980),
    ("h100", "20B", 1.0, "deep", 2, 0.35396, 0.84952, 1.29569, 2.9821),
    ("h100", "20B", 0.8, "deepspeed", 0, 0.21137, 3.50229, 1.77501, 5.8220),
    ("h100", "20B", 0.8, "deep", 2, 0.25152, 0.80488, 0.99751, 2.5732),
    ("h100", "20B", 0.5, "deepspeed", 0, 0.20809, 2.53635, 1.16521, 4.2604),
    ("h100", "20B", 0.5, "deep", 2, 0.21025, 0.76843, 0.68418, 2.1833),
    ("h100", "13B", 0.8, "deepspeed", 0, 0.16654, 2.64007, 1.32307, 4.4670),
    ("h100", "13B", 0.8, "deep", 2, 0.17716, 0.58873, 0.72227, 1.9821),
    ("h100", "10B", 0.8, "deepspeed", 0, 0.20732, 2.34038, 1.20284, 4.1094),
    ("h100", "10B", 0.8, "deep", 2, 0.19412, 0.52961, 0.66628, 1.9054),
    ("h100", "8.3B", 0.8, "deepspeed", 0, 0.29015, 2.12069, 1.11059, 3.9310),
    ("h100", "8.3B", 0.8, "deep", 2, 0.27143, 0.57298, 0.64463, 2.0300),
    ("h100", "7B", 0.8, "deepspeed", 0, 0.13033, 1.32387, 0.71495, 2.4894),
    ("h100", "7B", 0.8, "deep", 2, 0.25669, 0.32809, 0.41488, 1.4274),
    ("a100", "13B", 1.0, "deepspeed", 0, 0.36329, 2.95219, 3.75905, 7.5330),
    ("a100", "13B", 1.0, "gradients", 0, 0.37336, 1.42833, 3.79346, 6.0791),
    ("a100", "13B", 1.0, "deep", 2, 0.35672, 1.26763, 2.57887, 4.7250),
    ("a100", "13B", 1.0, "deep", 3, 0.34867, 1.32559, 2.68823, 4.9535),
    ("a100", "13B", 1.0, "deep", 4, 0.35064, 1.36202, 2.82808, 5.0788),
    ("a100", "13B", 1.0, "deep", 8, 0.34397, 1.50390, 2.93005, 5.3067),
)
"""Machine, model, ratio, system, stride; seconds forward, backward, of the update (fwd, bwd, step), of an iteration."""

_DISTURBED = {("20B", 1.0, "deep"), ("20B", 0.8, "deep"), ("7B", 0.8, "deep")}
"""Forward passes that took 0.04 to 0.14 s longer than in other iterations of the same log: not compared."""

_CALIBRATES: set[tuple[str, str, str, float, str, int]] = {
    ("forward", "h100", "7B", 0.8, "deepspeed", 0),
    ("backward", "h100", "20B", 1.0, "deepspeed", 0),
    ("backward", "a100", "13B", 1.0, "deepspeed", 0),
    ("update_fitted", "h100", "20B", 1.0, "deepspeed", 0),
    ("update_fitted", "a100", "13B", 1.0, "deepspeed", 0),
    ("update_fitted", "h100", "20B", 1.0, "deep", 2),
    ("iteration", "h100", "20B", 1.0, "deepspeed", 0),
    ("iteration", "h100", "20B", 1.0, "deep", 2),
    ("iteration", "a100", "13B", 1.0, "deepspeed", 0),
}
"""Rows that constants were fitted to, or most of what they add up to."""


def _rows() -> list[Published]:
    rows = []
    for machine, name, ratio, system, stride, forward, backward, update, iteration in _RUNS:
        config: Config = {"machine": machine, "model": name, "ratio": ratio, "system": system}
        config = {**config, "stride": stride} if stride else config
        values = {"forward": forward, "backward": backward, "update": update, "update_fitted": update}
        values["iteration"] = iteration
        if system == "deep":
            loop = next(run for run in _RUNS if run[:4] == (machine, name, ratio, "deepspeed"))
            values["update_gain"] = round(loop[7] / update, 4)
        if (name, ratio, system) in _DISTURBED and machine == "h100":
            del values["forward"]
        for metric, value in values.items():
            fitted = (metric, machine, name, ratio, system, stride) in _CALIBRATES
            # From the A100's strides it is known what is exposed.
            fitted |= metric == "backward" and machine == "a100"
            rows.append(Published(metric, config, value, _AT[machine], fitted))
    return rows


_LARGER: Config = {"machine": "a100", "model": "13B", "micro_batch": 4, "stride": 5}
_EARLIER = f"{_LOGS} at 9d2df47, act-output-13B-scale-DP, step 10; an earlier version, slower in its update"
PUBLISHED = (
    Published("speed_up", {"model": "20B", "ratio": 1.0, "system": "deep", "stride": 2}, 2.5, "abstract: 2.5x faster"),
    Published("forward", _LARGER, 1.33754, _EARLIER),
    Published("backward", _LARGER, 3.85173, _EARLIER),
    *_rows(),
)
