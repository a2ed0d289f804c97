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
