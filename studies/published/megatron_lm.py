"""Iterations and activations of Megatron-LM's GPT models, as its papers print them."""

from __future__ import annotations

from studies.frame.study import Published, Value

__all__ = ["LAYOUTS", "MODELS", "PUBLISHED"]

_TRAIN, _SELECTIVE = "arXiv 2104.04473", "arXiv 2205.05198"
_GIB = 2.0**30

MODELS = {
    "1.7b": (2304, 24, 24),
    "3.6b": (3072, 32, 30),
    "7.5b": (4096, 32, 36),
    "18b": (6144, 48, 40),
    "22b": (6144, 64, 48),
    "39b": (8192, 64, 48),
    "76b": (10240, 80, 60),
    "146b": (12288, 96, 80),
    "175b": (12288, 96, 96),
    "310b": (16384, 128, 96),
    "530b": (20480, 128, 105),
    "1t": (25600, 160, 128),
}
"""Width, heads and layers: table 1 of arXiv 2104.04473, table 3 of arXiv 2205.05198."""

LAYOUTS: dict[str, dict[str, Value]] = {
    "22b": {"model": "22b", "pp": 1, "chunks": 1, "global_batch": 4, "micro_batch": 4},
    "175b": {"model": "175b", "pp": 8, "chunks": 3, "global_batch": 64},
    "530b": {"model": "530b", "pp": 35, "chunks": 3, "global_batch": 280},
    "1t": {"model": "1t", "pp": 64, "chunks": 1, "global_batch": 512},
}
"""Table 3 of arXiv 2205.05198; where it leaves off, calculon-ai/calculon at 2dd9c5c, validation/seqsel."""

_FULL: dict[str, Value] = {"recompute": "full", "sequence": False}
_MODES: dict[str, dict[str, Value]] = {
    "none": {"recompute": "none", "sequence": False},
    "seq": {"recompute": "none"},
    "sel": {"sequence": False},
    "seqsel": {},
    "full": _FULL,
}
_ITERATIONS = {"22b": (1.42, 1.10), "175b": (18.13, 13.75), "530b": (49.05, 37.83), "1t": (94.42, 71.49)}
_MFU = {"22b": 0.415, "175b": 0.514, "530b": 0.560, "1t": 0.563}
_FIGURE_1 = {
    "22b": (45.5625, 59.25, 9.5625),
    "175b": (45.5625, 66.84375, 12.3515625),
    "530b": (31.640625, 114.0234375, 23.076171875),
    "1t": (32.958984375, 131.25, 26.5625),
}
_FIGURE_7 = {
    "22b": (0.6684, 0.4942, 0.1618, 0.0764),
    "175b": (0.6204, 0.5653, 0.1849, 0.0871),
    "530b": (0.5831, 0.6204, 0.2027, 0.0942),
    "1t": (0.5831, 0.6204, 0.2027, 0.0942),
}
_LAYER_MS = {
    "none": (7.7, 11.9),
    "seq": (7.2, 11.8),
    "full": (7.7, 19.5),
    "sel": (7.7, 13.2),
    "seqsel": (7.2, 13.1),
}
_WEAK = (
    ("1.7b", 1, 1, 32, 512, 137),
    ("3.6b", 2, 1, 64, 512, 138),
    ("7.5b", 4, 1, 128, 512, 142),
    ("18b", 8, 1, 256, 1024, 135),
    ("39b", 8, 2, 512, 1536, 138),
    ("76b", 8, 4, 1024, 1792, 140),
    ("146b", 8, 8, 1536, 2304, 148),
    ("310b", 8, 16, 1920, 2160, 155),
    ("530b", 8, 35, 2520, 2520, 163),
    ("1t", 8, 64, 3072, 3072, 163),
)
_PTD = (
    ("175b", 12, 384, 1536, 153),
    ("175b", 12, 768, 1536, 149),
    ("175b", 12, 1536, 1536, 141),
    ("530b", 35, 560, 2240, 171),
    ("530b", 35, 1120, 2240, 167),
    ("530b", 35, 2240, 2240, 159),
)
_ZERO = (
    ("175b", 384, 4, 1536, 144),
    ("175b", 768, 2, 1536, 88),
    ("175b", 1536, 1, 1536, 44),
    ("530b", 640, 4, 2560, 138),
    ("530b", 1120, 2, 2240, 98),
    ("530b", 2240, 1, 2240, 48),
)


def _selective() -> list[Published]:
    rows = []
    for name, layout in LAYOUTS.items():
        full, present = _ITERATIONS[name]
        table = f"{_SELECTIVE}, table 5"
        rows += [
            Published(metric, layout | mode, value, table)
            for metric in ("iteration", "iteration_alone")
            for mode, value in ((_FULL, full), ({}, present))
        ]
        rows.append(Published("mfu", layout, _MFU[name], table))
        rows.append(Published("speed_up", layout, full / present, table))
        states, none, least = _FIGURE_1[name]
        figure = f"{_SELECTIVE}, figure 1, as calculon-ai/calculon at 2dd9c5c has it"
        rows.append(Published("states", layout, states * _GIB, figure))
        rows.append(Published("activations", layout | _MODES["none"], none * _GIB, figure))
        rows.append(Published("activations", layout, least * _GIB, figure))
        figure = f"{_SELECTIVE}, figure 7, as calculon-ai/calculon at 2dd9c5c has it"
        rows += [
            Published("activation_share", layout | _MODES[mode], share, figure)
            for mode, share in zip(("seq", "sel", "seqsel", "full"), _FIGURE_7[name], strict=True)
        ]
    for mode, times in _LAYER_MS.items():
        for metric, value in zip(("layer_forward", "layer_backward"), times, strict=True):
            rows.append(Published(metric, LAYOUTS["22b"] | _MODES[mode], value / 1e3, f"{_SELECTIVE}, table 4"))
    many = LAYOUTS["530b"] | {"dp": 8, "global_batch": 2240}
    rows.append(Published("mfu", many, 0.542, f"{_SELECTIVE}, abstract"))
    rows.append(Published("mfu", many | _FULL, 0.421, f"{_SELECTIVE}, abstract"))
    return rows


def _throughputs() -> list[Published]:
    rows = []
    plain = _FULL | {"chunks": 1, "micro_batch": 1}
    for name, tp, pp, devices, batch, rate in _WEAK:
        layout = plain | {"model": name, "tp": tp, "pp": pp, "dp": devices // tp // pp, "global_batch": batch}
        rows.append(Published("rate", layout, rate * 1e12, f"{_TRAIN}, table 1"))
    for name, pp, devices, batch, rate in _PTD:
        layout = plain | {"model": name, "pp": pp, "dp": devices // 8 // pp, "global_batch": batch}
        rows.append(Published("rate", layout, rate * 1e12, f"{_TRAIN}, table 2"))
    for name, devices, micro, batch, rate in _ZERO:
        layout = plain | {"model": name, "tp": 1, "pp": 1, "dp": devices, "zero": 3}
        layout |= {"micro_batch": micro, "global_batch": batch}
        rows.append(Published("rate_zero_3", layout, rate * 1e12, f"{_TRAIN}, table 2"))
    return rows


PUBLISHED = (*_selective(), *_throughputs())
