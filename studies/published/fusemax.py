"""Published numbers of FuseMax: metric, configuration, value in SI units, where it stands.

Stored results are those of micro24-fusemax-artifact at f543beb, data/pregenerated; headlines those of the abstract.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["ENERGIES", "ROWS"]

_K = 1024
_FILES = {
    "fusemax": "artifact, attn-proposal.csv",
    "flat": "artifact, attn-flat.csv",
    "unfused": "artifact, attn-unfused.csv",
    "cascade": "artifact, attn-cascade.csv",
}

# BERT: thousands of tokens, latency in s, use of the 2D and of the 1D array.
_BERT = {
    "fusemax": (
        (1, 0.002013140425531915, 0.8896103896103895, 1.0),
        (4, 0.02970035744680851, 0.9647887323943661, 1.0),
        (16, 0.46516616170212766, 0.9856115107913668, 1.0),
        (64, 7.402500357446808, 0.9909584086799277, 1.0),
        (1024, 1891.8274331234043, 0.9926412317445941, 1.0),
    ),
    "flat": (
        (1, 0.013386076595744681, 0.125, 1.0),
        (4, 0.2141772255319149, 0.125, 1.0),
        (16, 3.4268356085106384, 0.125, 1.0),
        (64, 54.829369736170214, 0.125, 1.0),
    ),
    "unfused": (
        (1, 0.02182357659574468, 0.0766721058359586, 0.6133768466876688),
        (4, 0.3379272255319149, 0.07922461159898736, 0.6337968927918989),
        (16, 5.3618356085106385, 0.07988951589338528, 0.6391161271470822),
        (64, 85.60936973617021, 0.0800574894797477, 0.6404599158379816),
        (256, 1369.1499157787234, 0.08009257292322913, 0.6407405833858331),
    ),
}

# System, model, thousands of tokens, latency in s.
_LATENCIES = (
    ("fusemax", "XLM", 1, 0.005194076595744681),
    ("fusemax", "XLM", 16, 1.1958228425531914),
    ("cascade", "BERT", 1, 0.015333855319148937),
    ("cascade", "BERT", 16, 3.8752691744680856),
    ("cascade", "XLM", 1, 0.022955029787234044),
)

# System, thousands of tokens, bytes; BERT.
_TRAFFIC = (
    ("fusemax", 1, 402653184),
    ("fusemax", 16, 6442450944),
    ("fusemax", 64, 38654705664),
    ("unfused", 1, 6845104128),
    ("unfused", 16, 1655709892608),
    ("unfused", 256, 422367083888640),
)

# System, J; BERT at 1,024 tokens.
ENERGIES = (("fusemax", 1.9501046445819434), ("flat", 2.48534354183659), ("unfused", 2.6053168833839917))

_MEANS = (
    ("speed_up", 6.7),
    ("energy_ratio", 0.79),
    ("energy_ratio_stored", 0.79),
    ("end_to_end_speed_up", 5.3),
    ("end_to_end_energy_ratio", 0.83),
)


def _rows() -> list[tuple[str, Mapping[str, str | int], float, str]]:
    rows: list[tuple[str, Mapping[str, str | int], float, str]] = []
    for system, lines in _BERT.items():
        for thousands, latency_s, use_2d, use_1d in lines:
            at: dict[str, str | int] = {"system": system, "length": thousands * _K}
            for metric, value in (("latency", latency_s), ("use_2d", use_2d), ("use_1d", use_1d)):
                rows.append((metric, at, value, _FILES[system]))
    for system, model, thousands, latency_s in _LATENCIES:
        there: dict[str, str | int] = {"system": system, "model": model, "length": thousands * _K}
        rows.append(("latency", there, latency_s, _FILES[system]))
    for system, thousands, count in _TRAFFIC:
        rows.append(("traffic", {"system": system, "length": thousands * _K}, count, _FILES[system]))
    for system, joule in ENERGIES:
        rows.extend((metric, {"system": system}, joule, _FILES[system]) for metric in ("energy", "energy_stored"))
    rows.extend((metric, {"model": "mean"}, value, "abstract: mean of 24 cases") for metric, value in _MEANS)
    return rows


ROWS = _rows()
