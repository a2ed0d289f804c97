"""The figure of a serving run: it is drawn for full, empty and tiny runs, and equal runs give equal bytes."""

from __future__ import annotations

import numpy as np
import pytest

from dse.reports.figures.serving import serving_figure
from dse.reports.figures.style import png_bytes, svg_bytes
from dse.reports.serving import request_columns, timeline_columns
from simulator.serving.engine import serve
from simulator.serving.result import ServingResult
from simulator.serving.scheduler import Scheduler
from tests.simulator.serving.simple import BlockMemory, LinearCost
from workloads.traces.requests import RequestTrace


def run(count: int, *, stopped: bool = False) -> ServingResult:
    trace = RequestTrace("drawn", np.arange(count) / 8.0, np.full(count, 60), np.full(count, 20))
    return serve(trace, LinearCost(), BlockMemory(blocks=64), Scheduler(max_batch=8), stop=lambda: stopped)


def test_panels_and_their_bytes() -> None:
    figure = serving_figure(run(40), "forty requests")
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["From arrival", "For each token", "Requests", "KV memory (kB)", "Where time goes"]
    assert svg_bytes(figure) == svg_bytes(serving_figure(run(40), "forty requests"))


@pytest.mark.parametrize(("count", "stopped"), [(1, False), (3, True)])
def test_little_or_nothing_to_draw(count: int, stopped: bool) -> None:
    assert png_bytes(serving_figure(run(count, stopped=stopped), "few"), dpi=50)


def test_columns_leave_out_what_has_not_come() -> None:
    # One step of 60 tokens that reads 60: 2**-6 + 60 * 2**-12 + 60 * 2**-20 s; 19 more of a token each, reading 61 to
    # 79 tokens, which are 1,330 in all.
    first = 2**-6 + 60 * 2**-12 + 60 * 2**-20
    last = first + 19 * (2**-6 + 2**-12) + 1330 * 2**-20
    header, row = request_columns(run(1)).splitlines()
    assert header.startswith("request,arrival_s,prompt_tokens,output_tokens,start_s,first_s,last_s")
    assert row == f"0,0.000000,60,20,0.000000,{first:.6f},{last:.6f},0,0"
    assert request_columns(run(1, stopped=True)).splitlines()[1] == "0,0.000000,60,20,,,,0,0"


def test_a_row_for_each_event() -> None:
    # 60 tokens in 4 blocks of 16; the prompt's 60 bytes, then from the first decode on 61, in the same room until 64.
    header, prefill, decode, *_ = timeline_columns(run(1)).splitlines()
    assert header == "replica,time_s,running,waiting,used_bytes,held_bytes"
    assert prefill == "0,0.000000,1,0,64,60"
    assert decode.startswith("0,0.0303")
    assert decode.endswith(",1,0,64,61")
