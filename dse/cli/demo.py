"""``tiercade demo``: one model on a data-centre GPU and on a laptop that must stream it, side by side."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TextIO

from dse.cli.output import print_document
from dse.cli.simulate import Request, Run, run_request

__all__ = ["MODEL", "REQUESTS", "run_demo"]

MODEL = "Llama-3.1-8B"
LAPTOP_CHANGES = ("tiers.ddr.capacity=6 GB",)
"""What other programs leave of the laptop's memory: the model's last layers stay on the drive."""

REQUESTS = {
    (phase, system): Request(MODEL, system, phase, batch=1, context=2048, changes=changes)
    for phase in ("prefill", "decode")
    for system, changes in (("h100-sxm", ()), ("laptop-nvme", LAPTOP_CHANGES))
}

NEXT = """Where to look next
  {folder}/report.html           both machines, all figures, in one page
  {folder}/*/trace.json          every operation and transfer; open in ui.perfetto.dev
  tiercade list models           {models} models; or --model path/to/config.json
  tiercade list systems          {systems} machines; or --system path/to/machine.yaml
  tiercade simulate --model {model} --system laptop-nvme --weights int4_g128
"""


def run_demo(out: Path, *, as_json: bool) -> None:
    """Simulate prefill and decode on both machines, write their run folders and one page, and compare."""
    from dse.reports.html import write_html
    from dse.reports.run_folder import write_run
    from dse.reports.table import print_comparison

    # With --json, standard output is for the one document.
    stream: TextIO = sys.stderr if as_json else sys.stdout
    runs: dict[tuple[str, str], Run] = {}
    for (phase, system), request in REQUESTS.items():
        print(f"{MODEL} {phase} on {system} ...", file=sys.stderr)  # noqa: T201
        run = run_request(request)
        runs[phase, system] = run
        write_run(out, run.result, run.system, resolved_inputs=run.resolved_inputs())
    page = out / "report.html"
    write_html(page, [(run.result, run.system) for run in runs.values()])
    if as_json:
        print_document({f"{phase} {system}": run.result.to_json() for (phase, system), run in runs.items()})
        return
    for phase in ("prefill", "decode"):
        print_comparison(runs[phase, "h100-sxm"].result, runs[phase, "laptop-nvme"].result, stream=stream)
    stream.write(_next(out))


def _next(out: Path) -> str:
    from hw.spec.load import system_names
    from workloads.models.catalogue import model_names

    return NEXT.format(folder=out, models=len(model_names()), systems=len(system_names()), model=MODEL.lower())
