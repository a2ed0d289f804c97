"""Space files: what they say, and what is said of broken ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from dse.space.space import Space, load_space
from workloads.errors import InputError

SPACE = """\
name: small
base: {system: edge-npu}
workloads:
  decode: {model: llama-3.1-8b, phase: decode, batch: 8, context: 4096, weight: 0.7}
parameters:
  macs: {log: [1024, 4096, 3]}
  weights: {choices: [bf16, int4_g128]}
  group: {choices: [1, 2], when: {weights: int4_g128}}
sets:
  system.engines.array.throughput.bf16: 2 * macs * 1e9
  formats.weights: weights
quantities:
  area_mm2: {value: macs / 100 + group, source: made up}
constraints:
  - {value: area_mm2, at_most: 40}
objectives: {latency_s: minimise, area_mm2: minimise}
"""


def space(tmp_path: Path, text: str = SPACE) -> Space:
    file = tmp_path / "small-space.yaml"
    file.write_text(text)
    return load_space(file)


def test_designs_are_counted_with_their_conditions(tmp_path: Path) -> None:
    # 3 x (bf16 without a group + int4 with 2) = 9 of 12 combinations.
    found = space(tmp_path)
    assert (found.codec.product, found.codec.size) == (12, 9)


@pytest.mark.parametrize(
    ("old", "new", "field", "line"),
    [
        ("macs * 1e9", "mac * 1e9", "sets.system.engines.array.throughput.bf16", 9),
        ("formats.weights: weights", "format.weights: weights", "sets.format.weights", None),
        ("latency_s: minimise", "latency: minimise", "objectives.latency", None),
        ("latency_s: minimise", "latency_s: least", "objectives.latency_s", 16),
        ("at_most: 40", "at_most: 40, at_least: 3", "constraints[0]", 15),
        ("at_most: 40", "at_most: forty", "constraints[0]", 15),
        ("value: area_mm2,", "value: area,", "constraints[0].value", None),
        ("macs / 100 + group", "macs / 100 + open(1)", "quantities.area_mm2", None),
        ("log: [1024, 4096, 3]", "log: [1024, 4096, 1]", "parameters.macs.log", 6),
        ("log: [1024, 4096, 3]", "choices: [1, 1]", "parameters.macs.choices", 6),
        ("when: {weights: int4_g128}", "when: {weights: int3}", "parameters.group.when.weights", None),
        ("phase: decode", "phase: serve", "workloads.decode.requests", 4),
        ("name: small", "nam: small", "nam", 1),
    ],
)
def test_broken_files_are_said(tmp_path: Path, old: str, new: str, field: str, line: int | None) -> None:
    with pytest.raises(InputError) as caught:
        space(tmp_path, SPACE.replace(old, new, 1))
    assert caught.value.field == field
    assert caught.value.file is not None
    if line is not None:
        assert caught.value.line == line


def test_a_copy_with_other_fields_has_another_fingerprint(tmp_path: Path) -> None:
    found = space(tmp_path)
    before = found.fingerprint, found.codec.size
    fewer = {name: parameter for name, parameter in found.parameters.items() if name != "macs"}
    copied = found.model_copy(update={"parameters": fewer, "sets": {}, "quantities": {}, "constraints": []})
    assert copied.fingerprint != before[0]
    assert copied.codec.size == 3  # bf16, and int4 with two groups
    assert (found.fingerprint, found.codec.size) == before
    assert found.model_copy().fingerprint == before[0]


TRAINING = """\
name: training
base: {system: h100-sxm}
workloads:
  step: {model: llama-3.2-1b, phase: train, context: 2048, global_batch: 32, parallel: {data: 8}}
parameters:
  zero: {choices: [0, 1]}
sets:
  system.devices: 8
  workloads.step.parallel.zero: zero
objectives: {step.mfu: maximise}
"""


@pytest.mark.parametrize(
    ("old", "new", "field", "line", "nearest"),
    [
        ("parallel.zero:", "parallel.zeor:", "sets.workloads.step.parallel.zeor", 7, "zero"),
        ("parallel.zero:", "micro_bach:", "sets.workloads.step.micro_bach", 7, "micro_batch"),
        ("parallel.zero:", "parallel:", "sets.workloads.step.parallel", 7, None),
        ("parallel.zero:", "micro_batch.zero:", "sets.workloads.step.micro_batch.zero", 7, None),
        ("step.parallel.zero:", "stop.parallel.zero:", "sets.workloads.stop.parallel.zero", 7, "step"),
        ("global_batch: 32", "global_bach: 32", "workloads.step.global_bach", 4, "global_batch"),
        (", global_batch: 32", "", "workloads.step.global_batch", 4, None),
        ("global_batch: 32", "global_batch: 32, batch: 2", "workloads.step.batch", 4, None),
        ("global_batch: 32", "global_batch: 32, requests: azure", "workloads.step.requests", 4, None),
        ("phase: train", "phase: trian", "workloads.step.phase", 4, "train"),
        ("phase: train", "phase: decode", "workloads.step.global_batch", 4, None),
        ("{data: 8}", "{dat: 8}", "workloads.step.parallel.dat", 4, "data"),
        ("{data: 8}", "{zero: 4}", "workloads.step.parallel.zero", 4, None),
        ("global_batch: 32", "global_batch: 32, schedule: 1f2b", "workloads.step.schedule", 4, "1f1b"),
        ("batch: 32", "batch: 32, place: {optimiser: ddr}", "workloads.step.place.optimiser", 4, "optimizer"),
        ("step.mfu", "step.mfo", "objectives.step.mfo", None, "step.mfu"),
    ],
)  # fmt: skip
def test_broken_training_workloads_are_said(
    tmp_path: Path, old: str, new: str, field: str, line: int | None, nearest: str | None
) -> None:
    assert space(tmp_path, TRAINING).metric_names[5:12] == (
        "step.latency_s", "step.tokens_per_s", "step.energy_j", "step.power_w", "step.peak_bytes", "step.mfu",
        "step.bubble_share",
    )  # fmt: skip
    with pytest.raises(InputError) as caught:
        space(tmp_path, TRAINING.replace(old, new, 1))
    assert (caught.value.field, caught.value.nearest) == (field, nearest)
    assert caught.value.file is not None
    if line is not None:
        assert caught.value.line == line


def test_layouts_belong_to_training_alone(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        space(tmp_path, SPACE.replace("context: 4096", "context: 4096, parallel: {tensor: 2}"))
    assert (caught.value.field, caught.value.line) == ("workloads.decode.parallel", 4)
