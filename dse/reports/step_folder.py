"""The run folder and the trace of a training step over many devices."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dse.reports.chrome_trace import chrome_trace, trace_text
from dse.reports.run_folder import publish
from dse.reports.step_table import step_text
from hw.spec.system import System
from simulator.training.step.result import StepResult
from simulator.training.step.setup import Setup
from simulator.training.step.trace import trace_pipeline

__all__ = ["step_trace", "write_step"]


def step_trace(setup: Setup, system: System, result: StepResult) -> tuple[str, int]:
    """The pipeline as a Chrome trace, and the micro-batches that it shows: long steps are cut."""
    execution, shown = trace_pipeline(setup, system, result.run)
    title = f"{result.model} on {result.devices} x {result.system}, {result.layout}"
    if shown < result.micro_batches:
        title += f", {shown} of {result.micro_batches} micro-batches"
    return trace_text(chrome_trace(execution, title=title)), shown


def write_step(
    parent: Path, setup: Setup, system: System, result: StepResult, *, resolved_inputs: Mapping[str, Any]
) -> Path:
    """Write one step below ``parent`` and return the run folder: inputs.json, summary.json, report.txt, trace.json and
    manifest.json, as `dse.reports.run_folder` keeps them."""
    summary = json.dumps(result.to_json(), indent=2, sort_keys=True, allow_nan=False) + "\n"
    trace, _ = step_trace(setup, system, result)
    files = {"summary.json": summary.encode(), "report.txt": step_text(result).encode(), "trace.json": trace.encode()}
    return publish(parent, f"{result.model}-{result.system}-train", resolved_inputs, files)
