"""The cocotb test that runs jobs inside a Verilog simulator; started by `hw.rtl.drive.cocotb_sim`.

Inputs change after a rising edge, outputs are sampled once all has settled, so that simulators which differ in what
they do at the edge agree.
"""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge

from hw.rtl.drive.cocotb_files import JOBS, TRACES
from hw.rtl.drive.job import Neighbours, Packed, Trace

__all__ = ["drive_jobs"]


@cocotb.test()  # type: ignore[untyped-decorator, unused-ignore]
async def drive_jobs(dut: Any) -> None:
    """Every job of the file, with a reset before it."""
    jobs: list[Packed] = pickle.loads(Path(os.environ[JOBS]).read_bytes())
    Clock(dut.clk, 10, unit="ns").start()
    edge, settled = RisingEdge(dut.clk), ReadOnly()
    traces = [await _drive(dut, job, edge, settled) for job in jobs]
    Path(os.environ[TRACES]).write_bytes(pickle.dumps(traces))


async def _drive(dut: Any, job: Packed, edge: RisingEdge, settled: ReadOnly) -> Trace:
    valid_in = {name: getattr(dut, f"{name}__valid") for name in job.words}
    ready_in = {name: getattr(dut, f"{name}__ready") for name in job.words}
    payload_in = {name: getattr(dut, f"{name}__payload") for name in job.words}
    valid_out = {name: getattr(dut, f"{name}__valid") for name in job.expected}
    ready_out = {name: getattr(dut, f"{name}__ready") for name in job.expected}
    payload_out = {name: getattr(dut, f"{name}__payload") for name in job.expected}
    reset = dut.rst
    await edge
    for name in job.words:
        valid_in[name].value = 0
        payload_in[name].value = 0
    for name in job.expected:
        ready_out[name].value = 0
    reset.value = 1
    await edge
    around = Neighbours(job)
    driven: dict[str, int | None] = dict.fromkeys(job.words)
    taken: dict[str, bool | None] = dict.fromkeys(job.expected)
    was_reset = True
    while not around.done:
        for name, number in around.offered().items():
            if number != driven[name]:
                valid_in[name].value = number is not None
                if number is not None:
                    payload_in[name].value = job.words[name][number]
                driven[name] = number
        willing = around.willing()
        for name, flag in willing.items():
            if flag != taken[name]:
                ready_out[name].value = flag
                taken[name] = flag
        if around.resets != was_reset:
            was_reset = around.resets
            reset.value = was_reset
        await settled
        ready = {name: bool(port.value) for name, port in ready_in.items()}
        valid = {name: bool(port.value) for name, port in valid_out.items()}
        payload = {name: int(payload_out[name].value) for name, given in valid.items() if given}
        around.seen(willing, ready, valid, payload)
        await edge
    return around.trace
