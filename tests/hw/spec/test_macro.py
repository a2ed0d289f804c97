"""SRAM tiers described by their macro: the model's numbers, what a file says itself, settings, and broken macros."""

from __future__ import annotations

from pathlib import Path

import pytest

from hw.cost.sram import sram
from hw.spec.load import dump_system, load_system, override
from hw.spec.macro import DERIVED
from workloads.errors import InputError

MACHINE = """\
name: edge
engines:
  npu: {kind: vector, home: ddr, throughput: {fp16: 1 TFLOP/s}, buffers: [scratch]}
tiers:
  ddr: {kind: dram, capacity: 4 GB, read_bandwidth: 25 GB/s, write_bandwidth: 25 GB/s}
  scratch:
    kind: sram
    capacity: 1 MiB
    holds: tiles
    macro: {banks: 8, word_bits: 128, node_nm: 22}
links:
  bus: {between: [ddr, scratch], bandwidth: 25 GB/s}
"""


def machine(tmp_path: Path, text: str = MACHINE) -> Path:
    file = tmp_path / "edge.yaml"
    file.write_text(text)
    return file


def test_what_is_left_out_comes_from_the_sram_model(tmp_path: Path) -> None:
    # 8 banks of one port move 16 bytes each a cycle.
    scratch = load_system(machine(tmp_path)).tiers["scratch"]
    cost = sram(1 << 20, word_bits=128, banks=8, node_nm=22)
    assert scratch.read_bandwidth_bytes_per_s == pytest.approx(8 * 16 / cost.cycle_s, rel=1e-5)
    assert scratch.write_bandwidth_bytes_per_s == scratch.read_bandwidth_bytes_per_s
    assert scratch.latency_s == pytest.approx(cost.access_s, rel=1e-5)
    assert scratch.read_energy_j_per_bit == pytest.approx(cost.read_energy_j / 128, rel=1e-5)
    assert scratch.static_power_w == pytest.approx(cost.leakage_w, rel=1e-5)
    assert str(scratch.sources["read_energy"]) == DERIVED


def test_copies_share_the_capacity_and_add_their_ports(tmp_path: Path) -> None:
    scratch = load_system(machine(tmp_path, MACHINE.replace("banks: 8", "banks: 8, copies: 4"))).tiers["scratch"]
    cost = sram(1 << 18, word_bits=128, banks=8, node_nm=22)
    assert scratch.read_bandwidth_bytes_per_s == pytest.approx(4 * 8 * 16 / cost.cycle_s, rel=1e-5)
    assert scratch.static_power_w == pytest.approx(4 * cost.leakage_w, rel=1e-5)


def test_what_the_file_says_stands(tmp_path: Path) -> None:
    given = MACHINE.replace("    holds: tiles\n", "    holds: tiles\n    latency: 9 ns\n")
    scratch = load_system(machine(tmp_path, given)).tiers["scratch"]
    assert scratch.latency_s == pytest.approx(9e-9)
    assert "latency" not in scratch.sources


def test_a_changed_macro_changes_what_was_derived(tmp_path: Path) -> None:
    system = load_system(machine(tmp_path))
    twice = override(system, ["tiers.scratch.macro.banks=16"]).tiers["scratch"]
    cost = sram(1 << 20, word_bits=128, banks=16, node_nm=22)
    assert twice.read_bandwidth_bytes_per_s == pytest.approx(16 * 16 / cost.cycle_s, rel=1e-5)
    larger = override(system, ["tiers.scratch.capacity=4 MiB"]).tiers["scratch"]
    assert larger.read_energy_j_per_bit > system.tiers["scratch"].read_energy_j_per_bit
    fixed = override(system, ["tiers.scratch.bandwidth=1 GB/s", "tiers.scratch.macro.banks=2"]).tiers["scratch"]
    assert fixed.read_bandwidth_bytes_per_s == 1e9


def test_it_is_written_and_read_back(tmp_path: Path) -> None:
    system = load_system(machine(tmp_path))
    (tmp_path / "again.yaml").write_text(dump_system(system))
    assert load_system(tmp_path / "again.yaml") == system


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("node_nm: 22", "node_nm: 3", "tiers.scratch.macro.node_nm: node_nm is 3; expected between 5 and 65"),
        ("node_nm: 22", "node: 22", "tiers.scratch.macro.node: unknown key 'node'"),
        ("capacity: 1 MiB", "capacity: 16 B", "tiers.scratch.capacity: capacity_bytes is 16: 1 words a bank"),
        ("banks: 8", "banks: 0", "tiers.scratch.macro.banks: found 0; expected more than 0"),
        ("kind: sram", "kind: flash", "tiers.scratch.macro: a tier of kind 'flash' has no SRAM macro"),
    ],
)
def test_broken_macros_are_refused_where_they_stand(tmp_path: Path, old: str, new: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        load_system(machine(tmp_path, MACHINE.replace(old, new)))
    assert words in str(caught.value)
