"""Stream rules proved of small units, and refuted of components that break them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from hw.rtl.contract import PipelineContract
from hw.rtl.flow.formal import FormalResult, prove, prove_component
from hw.rtl.flow.tools import find_yosys
from hw.rtl.units import unit, unit_names
from workloads.errors import InputError

try:
    find_yosys()
except InputError as missing:
    pytest.skip(str(missing), allow_module_level=True)

QUICK = ("int-dot", "fifo", "arbiter")


def broken() -> Any:
    """The module beside this file: tests are no package."""
    path = Path(__file__).with_name("broken.py")
    spec = importlib.util.spec_from_file_location("broken", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["broken"] = module
    spec.loader.exec_module(module)
    return module


def proved(fault: str | None) -> FormalResult:
    parts = broken()
    return prove_component(parts.Register(fault), parts.STREAMS, PipelineContract(latency_cycles=1))


def test_a_register_keeps_the_rules() -> None:
    result = proved(None)
    assert result.passed, result
    assert {proof.outcome for proof in result.proofs} == {"always"}
    # A beat offered in the first cycle is seen in the second; ready follows ready of the consumer and nothing else.
    assert result.reached == {"o": 2}
    assert result.ready_after == {"i": ("o__ready",)}


@pytest.mark.parametrize(
    ("fault", "rule", "cycle"),
    [
        # Accepted in 1, valid in 2, still waiting in 3, when the word is raised: seen in 4.
        ("payload", "o_holds", 4),
        # Accepted in 1, valid and not taken in 2, gone in 3.
        ("valid", "o_waits", 3),
        # Valid in the first cycle, before any beat.
        ("early", "o_follows", 1),
        # Offered while one is being taken in 2 and lost: not there in 3.
        ("late", "on_time", 3),
        # Full and not taken in 2: valid should be high.
        ("dependent", "on_time", 2),
    ],
)
def test_faults_are_refuted(fault: str, rule: str, cycle: int) -> None:
    result = proved(fault)
    assert not result.passed
    found = {proof.name: proof.cycles for proof in result.refuted}
    assert found[rule] == cycle, result


def test_valid_that_waits_for_ready_is_found_in_the_netlist() -> None:
    assert proved("dependent").waiting == ("o__valid",)


def test_a_component_that_never_gives_is_not_passed() -> None:
    result = proved("silent")
    assert result.reached == {"o": None}
    assert not result.passed


@pytest.mark.parametrize("name", QUICK)
def test_units_keep_the_rules(name: str) -> None:
    result = prove(unit(name))
    assert result.passed, result


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in unit_names() if name not in QUICK])
def test_all_units_keep_the_rules(name: str) -> None:
    result = prove(unit(name))
    assert result.passed, result
