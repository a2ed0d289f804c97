"""Small spaces for tests of explorations."""

from __future__ import annotations

from pathlib import Path

from dse.space.space import Space, load_space

__all__ = ["small_space"]

_SPACE = """\
name: small
base: {system: edge-npu, formats: {compute: bf16}}
workloads: {decode: {model: llama-3.2-1b, batch: 4, context: 1024}}
parameters:
  macs: {log: [256, 16384, 7]}
  bandwidth: {log: [25 GB/s, 400 GB/s, 9]}
  capacity: {choices: [1 GB, 4 GB, 8 GB]}
  weights: {choices: [bf16, int4_g128]}
sets:
  system.engines.array.throughput.bf16: 2 * macs * 1e9
  system.tiers.lpddr.bandwidth: bandwidth
  system.tiers.lpddr.capacity: capacity
  formats.weights: weights
quantities:
  area_mm2: {value: macs / 100 + bandwidth / 1e10 + capacity / 1e9, source: made up}
objectives: {latency_s: minimise, area_mm2: minimise, weights_error: minimise}
"""


def small_space(folder: Path) -> Space:
    """378 designs, a third of which do not fit or half fit; written to ``folder``/small-space.yaml."""
    file = folder / "small-space.yaml"
    file.write_text(_SPACE)
    return load_space(file)
