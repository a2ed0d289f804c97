"""The run folder of a serving run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from dse.reports.figures.style import png_bytes, svg_bytes
from dse.reports.run_folder import publish
from simulator.serving.result import ServingResult

__all__ = ["request_columns", "timeline_columns", "write_serving"]


def write_serving(
    parent: Path, result: ServingResult, figure: Figure, document: Mapping[str, Any], inputs: Mapping[str, Any]
) -> Path:
    """Write summary.json, requests.csv, timeline.csv and the figure as a run folder; equal inputs give equal bytes."""
    summary = {name: value for name, value in document.items() if name != "wall_seconds"}
    files = {
        "summary.json": (json.dumps(summary, indent=2, allow_nan=False) + "\n").encode(),
        "requests.csv": request_columns(result).encode(),
        "timeline.csv": timeline_columns(result).encode(),
        "serving.svg": svg_bytes(figure),
        "serving.png": png_bytes(figure),
    }
    return publish(parent, f"{document['model']}-{document['system']}-serve", inputs, files)


def request_columns(result: ServingResult) -> str:
    """A row for each request: times in seconds to the microsecond, empty where it has not got so far."""
    header = "request,arrival_s,prompt_tokens,output_tokens,start_s,first_s,last_s,preempted,replica"
    rows = [header]
    for number, arrival_s in enumerate(result.arrival_s):
        times = (result.start_s[number], result.first_s[number], result.last_s[number])
        shown = ["" if np.isnan(value) else f"{value:.6f}" for value in times]
        counts = f"{result.prompt_tokens[number]},{result.output_tokens[number]}"
        rows.append(
            f"{number},{arrival_s:.6f},{counts},{','.join(shown)},{result.preempted[number]},{result.replica[number]}"
        )
    return "\n".join(rows) + "\n"


def timeline_columns(result: ServingResult) -> str:
    """A row for each event of each replica: what ran and waited from then on, and bytes taken and held."""
    rows = ["replica,time_s,running,waiting,used_bytes,held_bytes"]
    for number, line in enumerate(result.timelines):
        columns = (line.time_s, line.running, line.waiting, line.used_bytes, line.held_bytes)
        for time_s, running, waiting, used, held in zip(*(column.tolist() for column in columns), strict=True):
            rows.append(f"{number},{time_s:.6f},{running},{waiting},{used:.0f},{held:.0f}")
    return "\n".join(rows) + "\n"
