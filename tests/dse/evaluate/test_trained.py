"""Designs that are training steps, against the step simulated by itself, and the best layout against the search's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dse.evaluate.trained as trained_module
from dse.evaluate.design import check_buildable, design_of
from dse.evaluate.many import evaluate_many
from dse.evaluate.on_road import evaluate_on_road
from dse.evaluate.outcomes import INFEASIBLE, OK, Outcomes
from dse.evaluate.trained import setup_of
from dse.explore.pool import evaluate
from dse.space.space import Space, load_space
from hw.spec.load import load_system, override
from simulator.training.layouts.search import best_layouts
from simulator.training.step.layout import Parallel
from simulator.training.step.setup import Setup
from simulator.training.step.simulate import simulate_step
from workloads.errors import InputError
from workloads.models.catalogue import model
from workloads.phases import Train

TRAINING = """\
name: training
base: {system: h100-sxm}
workloads: {step: {model: llama-3.2-1b, phase: train, context: 2048, global_batch: 32}}
parameters:
  devices: {choices: [8, 16]}
  network: {choices: [5 GB/s, 50 GB/s]}
  capacity: {choices: [10 GB, 80 GB]}
  tensor: {choices: [1, 2, 3]}
  pipeline: {choices: [1, 2, 4]}
  context: {choices: [1, 2]}
  zero: {choices: [0, 1, 3]}
  micro_batch: {choices: [1, 2]}
  checkpoint: {choices: [none, full]}
  activations: {choices: [hbm, ddr]}
sets:
  system.devices: devices
  system.network.bandwidth: network
  system.tiers.hbm.capacity: capacity
  workloads.step.parallel.tensor: tensor
  workloads.step.parallel.sequence: tensor > 1
  workloads.step.parallel.pipeline: pipeline
  workloads.step.parallel.context: context
  workloads.step.parallel.data: devices / (tensor * pipeline * context)
  workloads.step.parallel.zero: zero
  workloads.step.micro_batch: micro_batch
  workloads.step.checkpoint: checkpoint
  workloads.step.place.activations: activations
quantities:
  tokens_per_device: {value: tokens_per_s / system.devices}
objectives: {tokens_per_s: maximise, energy_j: minimise}
"""


def space(tmp_path: Path, text: str = TRAINING) -> Space:
    file = tmp_path / "a-space.yaml"
    file.write_text(text)
    return load_space(file)


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Space:
    return space(tmp_path_factory.mktemp("training"))


def ordinal(designs: Space, **values: object) -> int:
    choices = [designs.codec.values[name].index(values.get(name, given[0]))  # type: ignore[arg-type]
               for name, given in designs.codec.values.items()]  # fmt: skip
    return int(designs.codec.encode(np.array([choices]))[0])


def one(designs: Space, fidelity: str = "roofline", **values: object) -> Outcomes:
    return evaluate(designs, np.array([ordinal(designs, **values)]), fidelity)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("fidelity", ["roofline", "mapped", "kernel"])
def test_a_design_is_the_step_simulated_by_itself(training: Space, fidelity: str, data: st.DataObject) -> None:
    """What designs share changes nothing, whatever was evaluated before."""
    number = data.draw(st.integers(0, training.codec.product - 1))
    found = evaluate(training, np.array([number]), fidelity)
    values: dict[str, Any] = training.codec.named(training.codec.decode(np.array([number]))[0])
    degrees = {name: values[name] for name in ("tensor", "pipeline", "context", "zero")}
    group = int(np.prod([values[name] for name in ("tensor", "pipeline", "context")]))
    if values["tensor"] == 3 or values["devices"] % group:
        assert found.status[0] == INFEASIBLE
        assert found.reason[0].startswith("does not divide: step.parallel.")
        return
    data_parallel = values["devices"] // group
    parallel = Parallel(**degrees, data=data_parallel, sequence=values["tensor"] > 1)
    phase = Train(values["micro_batch"], 2048, values["checkpoint"])
    setup = Setup(model("llama-3.2-1b"), phase, 32, parallel, activations=values["activations"])
    setup = replace(setup, activations=None) if setup.activations == "hbm" else setup
    named = (f"devices={values['devices']}", f"network.bandwidth={values['network']} B/s")
    system = override(load_system("h100-sxm"), (*named, f"tiers.hbm.capacity={values['capacity']} B"))
    wanted = simulate_step(setup, system, fidelity=fidelity)
    if wanted.lacking() is not None:
        assert (found.status[0], found.reason[0]) == (INFEASIBLE, "does not fit")
        return
    assert (found.status[0], found.reason[0]) == (OK, "")
    for metric in ("latency_s", "tokens_per_s", "mfu", "peak_bytes", "bubble_share"):
        assert found.metrics[f"step.{metric}"][0] == pytest.approx(getattr(wanted, metric), rel=1e-12)
    assert found.metrics["energy_j"][0] == pytest.approx(wanted.total_energy_j, rel=1e-12)
    assert found.metrics["power_w"][0] == pytest.approx(wanted.total_energy_j / wanted.latency_s, rel=1e-12)
    assert found.metrics["tokens_per_device"][0] == pytest.approx(wanted.tokens_per_s_per_device, rel=1e-12)


def test_reasons_of_layouts(training: Space, tmp_path: Path) -> None:
    assert one(training, capacity=80e9, checkpoint="full").status[0] == OK
    assert one(training, tensor=3).reason[0] == "does not divide: step.parallel.data"
    assert one(training, devices=8, micro_batch=2, pipeline=1, capacity=10e9).reason[0] == "does not fit"
    text = TRAINING.replace("devices / (tensor * pipeline * context)", "1").replace("[1, 2, 3]", "[1, 3, 32]")
    alone = space(tmp_path, text)
    assert one(alone, tensor=3).reason[0] == "does not divide: step.parallel.tensor"
    assert one(alone).reason[0] == "does not divide: step.devices"  # one device used of eight
    assert one(alone, tensor=32).reason[0] == "does not divide: step.devices"  # 32 of eight


def test_nothing_depends_on_what_was_evaluated_before(training: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = np.random.default_rng(5).choice(training.codec.product, 60, replace=False)
    whole = evaluate_many(training, numbers)
    monkeypatch.setattr(trained_module, "_kept", {})
    again = evaluate_on_road(training, numbers[::-1].copy(), "roofline").take(np.arange(60)[::-1])
    assert again.ordinals.tolist() == whole.ordinals.tolist()
    assert again.status.tolist() == whole.status.tolist()
    assert again.reason.tolist() == whole.reason.tolist()
    assert again.bottleneck.tolist() == whole.bottleneck.tolist()
    for name, values in whole.metrics.items():
        np.testing.assert_array_equal(again.metrics[name], values)
    assert {OK, INFEASIBLE} == set(whole.status.tolist())


def test_a_faster_network_is_no_slower_and_offload_takes_less_memory(training: Space) -> None:
    slow = one(training, devices=16, network=5e9, capacity=80e9, checkpoint="full")
    fast = one(training, devices=16, network=50e9, capacity=80e9, checkpoint="full")
    assert fast.metrics["latency_s"][0] < slow.metrics["latency_s"][0]
    assert slow.bottleneck[0] == "sharing"  # 1.2e9 gradients of 2 bytes, twice 15/16 of them over 8 x 5 GB/s: 0.12 s
    away = one(training, devices=16, network=50e9, capacity=80e9, activations="ddr")
    assert away.metrics["peak_bytes"][0] < one(training, devices=16, capacity=80e9).metrics["peak_bytes"][0]


SEARCHED = """\
name: searched
base: {system: h100-sxm}
workloads: {step: {model: llama-3.2-1b, phase: train, context: 2048, global_batch: 16}}
parameters:
  tensor: {choices: [1, 2, 4, 8]}
  pipeline: {choices: [1, 2, 4, 8]}
  context: {choices: [1, 2, 4, 8]}
  zero: {choices: [0, 1, 2, 3]}
  chunks: {choices: [1, 2, 4, 8]}
  micro_batch: {choices: [1, 2, 4, 8, 16]}
  checkpoint: {choices: [none, full]}
  every: {choices: [1, 2, 4], when: {checkpoint: full}}
sets:
  system.devices: 8
  system.tiers.hbm.capacity: 12e9
  workloads.step.parallel.tensor: tensor
  workloads.step.parallel.sequence: tensor > 1
  workloads.step.parallel.pipeline: pipeline
  workloads.step.parallel.context: context
  workloads.step.parallel.data: 8 / (tensor * pipeline * context)
  workloads.step.parallel.zero: zero
  workloads.step.parallel.chunks: chunks
  workloads.step.micro_batch: micro_batch
  workloads.step.checkpoint: checkpoint
  workloads.step.checkpoint_every: every
objectives: {latency_s: minimise}
"""


@pytest.mark.parametrize("devices", [4, pytest.param(8, marks=pytest.mark.slow)])
def test_all_layouts_have_the_best_of_the_search(tmp_path: Path, devices: int) -> None:
    """The search takes the least of ZeRO that fits, and recomputes no more than it must; all designs hold those too.
    On four devices with fewer chunks, micro-batches and depths of recomputation, none of which is the fastest."""
    text = SEARCHED
    if devices == 4:
        text = text.replace("1, 2, 4, 8]}\n  pipe", "1, 2, 4]}\n  pipe").replace(
            "1, 2, 4, 8]}\n  con", "1, 2, 4]}\n  con"
        )
        text = text.replace("1, 2, 4, 8]}\n  zero", "1, 2, 4]}\n  zero").replace("devices: 8", "devices: 4")
        text = text.replace("data: 8", "data: 4").replace(
            "chunks: {choices: [1, 2, 4, 8]}", "chunks: {choices: [1, 2]}"
        )
        text = text.replace("[1, 2, 4, 8, 16]", "[1, 2, 4]").replace(
            "every: {choices: [1, 2, 4]", "every: {choices: [1]"
        )
    designs = space(tmp_path, text)
    found = evaluate(designs, np.concatenate(list(designs.codec.blocks())), "roofline")
    system = override(load_system("h100-sxm"), (f"devices={devices}", "tiers.hbm.capacity=12 GB"))
    best = best_layouts(Setup(model("llama-3.2-1b"), Train(1, 2048), 16), system, keep=1).best[0]
    latency = np.nanmin(np.where(found.status == OK, found.metrics["latency_s"], np.nan))
    assert latency == pytest.approx(best.result.latency_s, rel=1e-9)


def test_wrong_names_are_said_before_anything_is_simulated(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        check_buildable(space(tmp_path, TRAINING.replace("[hbm, ddr]", "[hmb, drd]")))
    assert (caught.value.field, caught.value.nearest) == ("workloads.step.place.activations", "hbm")
    with pytest.raises(InputError) as caught:
        evaluate(space(tmp_path), np.array([0]), "cycle")
    assert caught.value.field == "--fidelity"
    for policy in ("kv-window:128", "half-batches:2"):
        with pytest.raises(InputError) as caught:
            check_buildable(space(tmp_path, with_policy(policy)))
        assert caught.value.field == "base.policy"


def with_policy(policy: str) -> str:
    return TRAINING.replace("h100-sxm}", f"h100-sxm, policy: ['{policy}']}}")


def test_policies_change_operations(training: Space, tmp_path: Path) -> None:
    """Products in FP8 run at twice the rate of BF16 on this machine, and nothing else takes longer for it."""
    found = one(space(tmp_path, with_policy("fp8-training")), capacity=80e9, checkpoint="full")
    assert found.metrics["latency_s"][0] < one(training, capacity=80e9, checkpoint="full").metrics["latency_s"][0]


def test_the_setup_of_a_design(training: Space) -> None:
    values = training.codec.named(training.codec.decode(np.array([ordinal(training, tensor=2, activations="ddr")]))[0])
    design = design_of(training, values)
    setup = setup_of(training, design, design.workloads["step"])
    assert setup.parallel == Parallel(2, data=4, sequence=True)
    assert (setup.activations, setup.optimizer, setup.micro_batches) == ("ddr", None, 8)
