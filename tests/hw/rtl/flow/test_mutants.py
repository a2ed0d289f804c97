"""Seeded defects of small units are found by their campaigns, and a correct unit differs from nothing."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from hw.rtl.flow.mutants import MutationResult, mutate_unit
from hw.rtl.flow.tools import ToolError, find_yosys
from hw.rtl.flow.vectors import campaign_vectors
from hw.rtl.units import parameters_of, unit, unit_names
from workloads.errors import InputError

QUICK = {"int-dot": {"lanes": 2, "width": 4, "beats": 4}, "arbiter": {}}

try:
    find_yosys()
except InputError as missing:
    pytest.skip(str(missing), allow_module_level=True)
if shutil.which("iverilog") is None:
    pytest.skip("Icarus is not installed: apt install iverilog", allow_module_level=True)


def mutated(name: str, settings: dict[str, int]) -> MutationResult:
    chosen = unit(name)
    return mutate_unit(chosen, parameters_of(chosen, settings), settings, beats=300)


@pytest.mark.parametrize("name", QUICK)
def test_mutants_are_killed(name: str) -> None:
    result = mutated(name, QUICK[name])
    assert len(result.mutants) == 10
    assert result.killed >= 8, result
    assert all(mutant.cycle is not None for mutant in result.mutants if mutant.killed)


def test_the_same_seed_gives_the_same_mutants() -> None:
    first, second = (mutated("int-dot", QUICK["int-dot"]) for _ in range(2))
    assert first.mutants == second.mutants


def test_a_unit_that_is_not_its_golden_model_is_refused() -> None:
    chosen = unit("int-dot")
    wrong = replace(
        chosen,
        golden=lambda p, inputs: {"o": {"sum": chosen.golden(p, inputs)["o"]["sum"] + 1}},
    )
    with pytest.raises(ToolError, match="int-dot itself differs"):
        mutate_unit(wrong, parameters_of(chosen, QUICK["int-dot"]), {}, mutants=1, beats=60)


def test_vectors_begin_with_reset_and_hold_what_is_offered() -> None:
    chosen = unit("int-dot")
    vectors = campaign_vectors(chosen, parameters_of(chosen, QUICK["int-dot"]), beats=60)
    assert vectors.cycles[0] == 1
    places = {port.name: port for port in vectors.ports}
    valid, ready = (places[f"i__{part}"].at for part in ("valid", "ready"))
    payload = places["i__payload"]
    pairs = list(zip(vectors.cycles, vectors.cycles[1:], strict=False))
    waited = [(a, b) for a, b in pairs if a >> valid & 1 and not a >> ready & 1 and a & 2 and b & 2 and not a & 1]
    assert len(waited) > 20
    mask = (1 << payload.width) - 1
    assert all(b >> valid & 1 and (a ^ b) >> payload.at & mask == 0 for a, b in waited)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in unit_names() if name not in QUICK])
def test_a_mutant_of_every_unit_is_killed(name: str) -> None:
    assert mutated(name, {}).killed >= 1
