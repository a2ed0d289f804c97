"""The bundled DRAM-controller space: its size, its numbering, and what it says of broken ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dse.dram_controller.regret import encoded_codec
from dse.evaluate.design import check_buildable
from dse.evaluate.memory import controller_of, evaluate_memory
from dse.explore.pool import evaluate
from dse.space.space import MEMORY_METRICS, Space, load_space
from simulator.memory.dram.devices import load_device
from simulator.memory.dram.queued import QueuedController
from simulator.memory.dram.queued_kernel import run_queued
from simulator.memory.dram.queued_traces import queued_trace
from workloads.errors import InputError

SPACE = """\
name: small
base: {device: DDR3-1600, trace: cloud-writes, requests: 200}
parameters:
  page: {choices: [Open, Closed]}
  size: {log: [1, 8, 4]}
sets:
  controller.page: page
  controller.buffer_size: size
  controller.refresh: "'NoRefresh'"
quantities:
  ratio: {value: latency_s / total_s, source: made up}
constraints:
  - {value: total_s, at_most: 0.00001}
objectives: {power_w: minimise, ratio: minimise}
"""


def space(folder: Path, text: str = SPACE) -> Space:
    file = folder / "small-space.yaml"
    file.write_text(text)
    return load_space(file)


def test_sizes() -> None:
    """4 3 3 8 2 2 4 4 3 8 in all; 1 + 16 ways to refresh instead of 32, 1 + 8 + 8 arbiters instead of 24."""
    codec = load_space("dram-controller").codec
    assert codec.product == 442_368
    assert codec.size == 4 * 3 * 3 * 8 * 2 * 17 * 17


def test_every_combination_is_a_design_and_back() -> None:
    codec = load_space("dram-controller").codec
    ordinals = np.arange(codec.product)
    choices = codec.decode(ordinals)
    designs = codec.is_design(ordinals)
    assert designs.sum() == codec.size
    encoded = codec.encode(choices)
    assert np.array_equal(encoded[designs], ordinals[designs])  # decode, then encode: the same
    assert codec.is_design(encoded).all()  # all others stand for a design
    assert np.array_equal(codec.decode(encoded), codec.canonical(choices))


def test_what_the_faulty_encoder_reaches() -> None:
    """Its rule, from the source: bins begin at -1, -1 + 2/n, ...; an action is rounded first."""
    codec = load_space("dram-controller").codec
    encoded = encoded_codec(codec)
    assert encoded.product == 26_244
    actions = np.round(np.linspace(-1, 1, 401))
    for name, values in codec.values.items():
        begins = np.arange(-1, 1, 2 / len(values))
        reached = {int(np.where(begins <= action)[0][-1]) for action in actions}
        assert [values[place] for place in sorted(reached)] == encoded.values[name]


def test_designs_are_the_controllers_they_name(tmp_path: Path) -> None:
    found = space(tmp_path)
    check_buildable(found)
    assert found.metric_names == MEMORY_METRICS
    outcomes = evaluate(found, np.arange(8), "cycle")
    device = load_device("DDR3-1600")
    trace = queued_trace(device, "cloud-writes", 200)
    for at, (page, size) in enumerate((page, size) for page in ("Open", "Closed") for size in (1, 2, 4, 8)):
        controller = QueuedController(page=page, buffer_size=size, refresh="NoRefresh")
        assert controller_of(found, {"page": page, "size": size}) == controller
        outcome, _ = run_queued(device, trace, controller)
        assert outcomes.metrics["total_s"][at] == outcome.total_s(device)
        assert outcomes.metrics["power_w"][at] == outcome.power_w(device)
        late = outcome.total_s(device) > 10e-6
        assert outcomes.reason[at] == ("total_s at most 1e-05" if late else "")
    assert {"banks", "data bus"} >= set(outcomes.bottleneck)


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("device: DDR3-1600, ", "", "base"),
        ("device: DDR3-1600", "device: DDR3-1600, system: edge-npu", "base"),
        ("trace: cloud-writes, ", "", "base.trace"),
        ("controller.page: page", "system.page: page", "sets.system.page"),
        ("parameters:", "workloads: {decode: {model: llama-3.1-8b}}\nparameters:", "workloads"),
        ("power_w: minimise", "tokens_per_s: maximise", "objectives.tokens_per_s"),
    ],
)
def test_broken_files_are_said(tmp_path: Path, old: str, new: str, field: str) -> None:
    with pytest.raises(InputError) as caught:
        space(tmp_path, SPACE.replace(old, new, 1))
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("DDR3-1600", "DDR3-1601", "base.device"),
        ("DDR3-1600", "HBM2-2000", "base.device"),
        ("trace: cloud-writes", "trace: clouds", "base.trace"),
        ("controller.page: page", "controller.pages: page", "sets.controller.pages"),
        ("[Open, Closed]", "[Opn, Clsed]", "sets.controller.page"),
    ],
)
def test_spaces_without_a_design_are_said(tmp_path: Path, old: str, new: str, field: str) -> None:
    with pytest.raises(InputError) as caught:
        check_buildable(space(tmp_path, SPACE.replace(old, new, 1)))
    assert caught.value.field == field


def test_a_memory_has_one_fidelity(tmp_path: Path) -> None:
    found = space(tmp_path)
    assert found.default_fidelity == "cycle"
    with pytest.raises(InputError) as caught:
        evaluate_memory(found, np.arange(2), "roofline")
    assert caught.value.field == "--fidelity"


def test_a_system_without_workloads_is_said(tmp_path: Path) -> None:
    text = "name: none\nbase: {system: edge-npu}\nparameters: {a: {choices: [1]}}\nobjectives: {latency_s: minimise}\n"
    with pytest.raises(InputError) as caught:
        space(tmp_path, text)
    assert caught.value.field == "workloads"
