"""What is missing is said with where to get it; a program that hangs is stopped with all it started."""

from __future__ import annotations

import importlib.util
import shutil
import time
from pathlib import Path

import pytest

from hw.rtl.flow import tools
from hw.rtl.flow.tools import ToolTimeoutError, find_liberty, find_program, find_yosys, run_tool
from workloads.errors import InputError


def test_a_missing_yosys_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools.shutil, "which", lambda name: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    find_yosys.cache_clear()
    with pytest.raises(InputError, match=r"tiercade\[synth\].*apt install yosys"):
        find_yosys()
    find_yosys.cache_clear()


def test_a_missing_program_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools.shutil, "which", lambda name: None)
    with pytest.raises(InputError, match="apt install iverilog"):
        find_program("vvp", package="iverilog")


def test_a_missing_liberty_names_package_and_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIERCADE_LIBERTY", "/nowhere/cells.lib")
    with pytest.raises(InputError, match=r"/nowhere/cells.lib.*qflow-tech-osu018.*TIERCADE_LIBERTY"):
        find_liberty()


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_what_hangs_is_stopped_with_its_children(tmp_path: Path) -> None:
    begun = time.perf_counter()
    with pytest.raises(ToolTimeoutError, match=r"bash was stopped after 0\.3 s"):
        run_tool(["bash", "-c", "(sleep 1.2; touch late) & sleep 30"], tmp_path, limit_s=0.3)
    assert time.perf_counter() - begun < 1.2
    time.sleep(1.3)
    assert not (tmp_path / "late").exists()
