"""Many designs at once against the road, one by one: every status, reason, bottleneck and metric."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dse.evaluate.many import evaluate_many
from dse.evaluate.on_road import evaluate_on_road
from dse.evaluate.outcomes import INFEASIBLE, OK, Outcomes
from dse.space.space import Space, load_space

ACCELERATOR = """\
name: accelerator
base: {system: edge-npu, formats: {compute: bf16}}
workloads:
  decode: {model: llama-3.1-8b, phase: decode, batch: 8, context: 4096, weight: 0.7}
  prefill: {model: llama-3.1-8b, phase: prefill, context: 2048, weight: 0.3}
parameters:
  macs: {log: [64, 262144, 7]}
  clock: {choices: [0.5 GHz, 2 GHz]}
  bandwidth: {log: [50 GB/s, 3200 GB/s, 4]}
  capacity: {choices: [8 GB, 16 GB, 48 GB]}
  weights: {choices: [bf16, fp8_e4m3, int4_g128]}
  overhead: {choices: [0, 1 us]}
  batch: {choices: [1, 16]}
sets:
  system.engines.array.throughput.bf16: 2 * macs * clock
  system.engines.array.energy.bf16: 1e-12 / clock * 1e8
  system.engines.lanes.launch_overhead: overhead
  system.tiers.lpddr.bandwidth: bandwidth
  system.tiers.lpddr.capacity: capacity
  system.tiers.lpddr.static_power: bandwidth / 1e12
  formats.weights: weights
  workloads.decode.batch: batch
quantities:
  area_mm2: {value: macs * 0.0004 + system.tiers.lpddr.capacity / 1e9, source: made up}
  speed_per_area: {value: tokens_per_s / area_mm2}
constraints:
  - {value: area_mm2, at_most: 90}
  - {value: decode.latency_s, at_most: 0.5}
objectives: {latency_s: minimise, area_mm2: minimise, weights_error: minimise}
"""

SEVERAL_TIERS = """\
name: several tiers
base: {system: h100-sxm}
workloads: {decode: {model: llama-3.1-8b, batch: 4, context: 2048}}
parameters:
  capacity: {choices: [10 GB, 14 GB, 80 GB]}
  bandwidth: {choices: [1 TB/s, 0 TB/s]}
  devices: {choices: [1, 2]}
sets:
  system.tiers.hbm.capacity: capacity
  system.tiers.hbm.bandwidth: bandwidth
  system.devices: devices
objectives: {latency_s: minimise}
"""


def space(tmp_path: Path, text: str) -> Space:
    file = tmp_path / "a-space.yaml"
    file.write_text(text)
    return load_space(file)


def assert_equal(found: Outcomes, wanted: Outcomes) -> None:
    assert found.ordinals.tolist() == wanted.ordinals.tolist()
    assert found.status.tolist() == wanted.status.tolist()
    assert found.reason.tolist() == wanted.reason.tolist()
    assert found.bottleneck.tolist() == wanted.bottleneck.tolist()
    assert list(found.metrics) == list(wanted.metrics)
    for name, values in wanted.metrics.items():
        np.testing.assert_allclose(found.metrics[name], values, rtol=1e-9, err_msg=name)


def test_arrays_give_what_the_road_gives(tmp_path: Path) -> None:
    designs = space(tmp_path, ACCELERATOR)
    ordinals = np.random.default_rng(3).choice(designs.codec.product, 150, replace=False)
    wanted = evaluate_on_road(designs, ordinals, "roofline")
    assert_equal(evaluate_many(designs, ordinals), wanted)
    assert {"", "does not fit", "area_mm2 at most 90", "decode.latency_s at most 0.5"} == set(wanted.reason)
    assert {"array", "lanes", "lpddr"} <= set(wanted.bottleneck)


def test_what_needs_other_tiers_or_devices_goes_down_the_road(tmp_path: Path) -> None:
    designs = space(tmp_path, SEVERAL_TIERS)
    ordinals = np.concatenate(list(designs.codec.blocks()))
    found = evaluate_many(designs, ordinals)
    assert_equal(found, evaluate_on_road(designs, ordinals, "roofline"))
    named = [designs.codec.named(choices) for choices in designs.codec.decode(ordinals)]
    for values, status in zip(named, found.status, strict=True):
        assert status == (INFEASIBLE if values["bandwidth"] == 0 else OK)


@pytest.mark.parametrize("share", [1, 7, 33])
def test_batches_do_not_matter(tmp_path: Path, share: int) -> None:
    designs = space(tmp_path, ACCELERATOR)
    ordinals = np.arange(0, designs.codec.product, 29)
    whole = evaluate_many(designs, ordinals)
    for start in range(0, len(ordinals), share):
        part = slice(start, start + share)
        assert_equal(evaluate_many(designs, ordinals[part]), whole.take(np.arange(len(ordinals))[part]))
        if start > 3 * share:
            break


def test_hardware_units_are_parameters_too(tmp_path: Path) -> None:
    """Twice the copies: twice the area and, where the array binds, half the time; arrays as the road."""
    text = (
        (Path(load_space.__code__.co_filename).parent / "examples" / "mx-array-space.yaml")
        .read_text()
        .replace("energy_j: minimise", "energy_j: minimise\nquantities:\n  share: {value: rtl_area_mm2 / 60}")
    )
    designs = space(tmp_path, text)
    ordinals = np.arange(0, designs.codec.size, 23)
    assert_equal(evaluate_many(designs, ordinals), evaluate_on_road(designs, ordinals, "roofline"))
    names = ["lanes", "copies", "node", "bandwidth"]
    assert list(designs.parameters) == names
    pair = designs.codec.encode(np.array([[1, 0, 2, 3], [1, 1, 2, 3]]))
    found = evaluate_many(designs, pair)
    area = found.metrics["rtl_area_mm2"]
    assert area[1] / area[0] == pytest.approx(128 / 64)
    assert found.bottleneck.tolist() == ["array", "array"]
    assert 0.45 < found.metrics["latency_s"][1] / found.metrics["latency_s"][0] < 0.6
