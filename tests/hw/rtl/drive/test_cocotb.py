"""Jobs in Verilog simulators by cocotb: the same traces as in Amaranth's own, and what is said when one is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hw.rtl.drive import cocotb_sim
from hw.rtl.drive.campaign import draw_jobs, packed, run_campaign, run_jobs_in_amaranth
from hw.rtl.drive.cocotb_sim import available_simulators, choose_simulator, job_runner
from hw.rtl.units import parameters_of, unit
from workloads.errors import InputError

SIMULATORS = ["icarus", pytest.param("verilator", marks=pytest.mark.slow)]


def _needed(simulator: str) -> None:
    missing = available_simulators()[simulator]
    if missing is not None:
        pytest.skip(f"{simulator} NOT TESTED: this machine lacks {missing}")


@pytest.mark.parametrize("simulator", SIMULATORS)
@pytest.mark.parametrize("name", ["fifo", "int-dot", "arbiter"])
def test_verilog_does_what_amaranth_simulates(simulator: str, name: str) -> None:
    _needed(simulator)
    chosen = unit(name)
    p = parameters_of(chosen, dict(chosen.variants[0]))
    jobs = draw_jobs(chosen, p, seed=5, beats=60)
    work = [packed(chosen, p, job, chosen.golden(p, job.inputs)) for job in jobs]
    ours, theirs = run_jobs_in_amaranth(chosen, p, work), job_runner(simulator)(chosen, p, work)
    assert ours == theirs


@pytest.mark.parametrize("simulator", SIMULATORS)
@pytest.mark.parametrize("name", ["fp-fma", "bitmod-pe", "online-attention"])
def test_campaigns_pass_in_verilog(simulator: str, name: str) -> None:
    _needed(simulator)
    chosen = unit(name)
    result = run_campaign(chosen, chosen.parameters(), {}, beats=300, simulator=simulator, runner=job_runner(simulator))
    assert not result.failures
    assert (result.mismatches, result.max_cycle_difference) == (0, 0)


def test_waves_are_kept_where_asked(tmp_path: Path) -> None:
    _needed("icarus")
    chosen = unit("fifo")
    p = chosen.parameters()
    job = draw_jobs(chosen, p, seed=1, beats=6)[0]
    work = [packed(chosen, p, job, chosen.golden(p, job.inputs))]
    job_runner("icarus", tmp_path)(chosen, p, work)
    job_runner("amaranth", tmp_path)(chosen, p, work)
    assert {file.suffix for file in tmp_path.iterdir()} == {".fst", ".vcd"}


def test_the_first_simulator_there_is_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    missing: dict[str, Any] = {"icarus": "the program iverilog", "verilator": "the programs g++", "amaranth": None}
    monkeypatch.setattr(cocotb_sim, "available_simulators", lambda: missing)
    assert choose_simulator(None) == "amaranth"
    with pytest.raises(InputError, match="iverilog"):
        choose_simulator("icarus")
    with pytest.raises(InputError, match="did you mean 'icarus'"):
        choose_simulator("icarsu")
    missing["verilator"] = None
    assert choose_simulator(None) == "verilator"
    missing["icarus"] = None
    assert choose_simulator(None) == "icarus"
