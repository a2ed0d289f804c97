"""What mapper machines are refused for, and that each number of the bundled ones has a source."""

from __future__ import annotations

from pathlib import Path

import pytest

from hw.spec.hierarchy import Hierarchy
from hw.spec.hierarchy_checks import hierarchy_components
from hw.spec.load_hierarchy import hierarchy_names, load_hierarchy
from tests.hw.spec.machines import leaves
from tests.hw.spec.test_hierarchy_load import SMALL, small
from tests.hw.spec.test_mutations import MUTATIONS, change_unit, refused_in_one_sentence
from workloads.documents import dotted, parse_yaml
from workloads.errors import InputError
from workloads.validation import annotation_at

PRESETS = Path(__file__).resolve().parents[3] / "hw" / "spec" / "hierarchies"


@pytest.mark.parametrize("name", hierarchy_names())
def test_every_number_written_has_a_source(name: str) -> None:
    """In the component itself, or in one around it that names the field which holds it."""
    document = parse_yaml((PRESETS / f"{name}.yaml").read_text(), name)
    components = dict(hierarchy_components(load_hierarchy(name)))
    numbers = [dotted(path) for path in leaves(document.value) if annotation_at(Hierarchy, path) in (int, float)]
    assert len(numbers) >= 4
    for number in numbers:
        inside = [
            (owner, number[len(owner) :].lstrip("."))
            for owner in components
            if not owner or number.startswith(f"{owner}.")
        ]
        named = (
            ".".join(field.split(".")[:length]) in components[owner].sources
            for owner, field in inside
            for length in range(1, field.count(".") + 2)
        )
        assert any(named), f"{number} has no source"


@pytest.mark.parametrize("name", hierarchy_names())
def test_files_are_named_after_their_machine_and_described(name: str) -> None:
    hierarchy = load_hierarchy(name)
    assert hierarchy.name == name
    assert len(hierarchy.description) > 40
    for path, component in hierarchy_components(hierarchy):
        for field, source in component.sources.items():
            assert len(source.text) >= 12, f"{path}.{field}: {source}"


def test_numbers_of_the_tpu() -> None:
    """AccelForge at commit 1c1929c2, examples/arches: sizes, rates and energies as its optima were found with."""
    tpu = load_hierarchy("mapping-tpu-v4i")
    dram, glb, local, mac = tpu.levels["dram"], tpu.levels["glb"], tpu.levels["local"], tpu.units["mac"]
    assert (dram.read_energy_j_per_bit, dram.bandwidth_bytes_per_s, dram.capacity_bytes) == (7.03e-12, 614e9, None)
    assert (glb.capacity_bytes, glb.read_bandwidth_bytes_per_s, glb.write_bandwidth_bytes_per_s) == (
        128 * 2**20, 2048e9, 1024e9,
    )  # fmt: skip
    assert (glb.read_energy_j_per_bit, glb.write_energy_j_per_bit) == (1.88e-12, 2.36e-12)
    assert (local.read_energy_j_per_bit, local.write_energy_j_per_bit) == (0.249e-12, 0.293e-12)
    assert tpu.path("mac") == ("dram", "glb", "local", "register")
    # The peak rate follows: 4096^3 multiply-accumulates take 0.99864381 ms (compute bound of the GEMM's optimum).
    rate = local.instances * tpu.levels["register"].instances * mac.instances * mac.clock_hz
    assert 4096**3 / rate == pytest.approx(0.99864381e-3, rel=1e-8)
    assert mac.cost("point") == (1.0, 0.084e-12)


def test_keep_words() -> None:
    """Every word, with and without 'not', and what an outer level does not keep."""
    words = "[all, input, weight, output, intermediate, not all, not input, not weight, not output, not intermediate]"
    assert len(small(("keep: [not dram]", f"keep: {words}")).levels["glb"].keep) == 10
    assert small(("keep: [not dram]", "keep: [not  dram]")).levels["glb"].keep == ("not  dram",)


DEEP = "{a0: {}" + "".join(f", a{i}: {{made_of: {{a{i - 1}: 1}}}}" for i in range(1, 30)) + "}"
ACTIONS = """\
      mac: {energy: 0.5 pJ}
      exp: {cycles: 7, made_of: {mac: 6}}
"""

KEEP, MAC, DRAM = "levels.glb.keep[0]", "units.mac.actions.mac", "levels.dram"
OUTER = "unknown outer level or word after 'not' "
ITSELF = "'mac' is made of itself: mac -> "

# what is replaced, by what; the field, the problem and the nearest name
WRONG = [
    ("keep: [not dram]", "keep: [imput]", KEEP, "unknown word 'imput'", "input"),
    ("keep: [not dram]", "keep: [all, ot dram]", "levels.glb.keep[1]", "unknown word 'ot dram'", "not dram"),
    ("keep: [not dram]", "keep: [not drma]", KEEP, OUTER + "'drma'", "dram"),
    ("keep: [not dram]", "keep: [not glb]", KEEP, OUTER + "'glb'", None),
    ("keep: [not dram]", "keep: [dram]", KEEP, "unknown word 'dram'", "not dram"),
    ("keep: [not dram]", "keep: ['']", KEEP, "unknown word ''", None),
    ("may_keep: [all]", "may_keep: [al]", f"{DRAM}.may_keep[0]", "unknown word 'al'", "all"),
    ("{mac: 6}", "{mak: 6}", "units.mac.actions.exp.made_of.mak", "unknown action 'mak'", "mac"),
    ("{energy: 0.5 pJ}", "{made_of: {exp: 1}}", f"{MAC}.made_of", ITSELF + "exp -> mac", None),
    ("{energy: 0.5 pJ}", "{made_of: {mac: 1}}", f"{MAC}.made_of", ITSELF + "mac", None),
    (f"    actions:\n{ACTIONS}", f"    actions: {DEEP}\n", "units.mac.actions.a9.made_of", "nested too deeply", None),
    ("min_usage: 1.0", "min_usage: 1.5", "levels.glb.fanout.cores.min_usage", "found 1.5", None),
    ("size: 8", "size: 8, min_usage: -0.5", "units.mac.fanout.columns.min_usage", "found -0.5", None),
    ("reuse: input", "reuse: imput", "units.mac.fanout.columns.reuse", "found 'imput'", "input"),
    ("dram:\n", "dram:\n    fanout: {x: {size: 2}}\n", f"{DRAM}.fanout", "the outermost level has a fan-out", None),
    ("    keep: [not intermediate]\n", "", f"{DRAM}.keep", "the outermost level has no keep rule", None),
    ("  mac:\n    parent", "  glb:\n    parent", "units.glb", "'glb' is a level's name too", None),
    ("  mac:\n    parent", "  levels:\n    parent", "units.levels", "'levels' is a field of the machine", None),
    ("  mac:\n    parent", "  weight:\n    parent", "units.weight", "'weight' is a word of keep rules", None),
    (' read_energy: "', ' raed_energy: "', f"{DRAM}.sources.raed_energy", "unknown field 'raed_energy'", "read_energy"),
    ("100 GB/s", "1 GB/s\n    write_bandwidth: 1 GB/s", f"{DRAM}.write_bandwidth", "reads and writes share", None),
    ("parent: dram", "parent: mac", "levels.glb.parent", "unknown outer level 'mac'", None),
    ("    parent: dram\n", "", "levels.glb.parent", "has no parent", None),
    ("parent: glb", "parent: gbl", "units.mac.parent", "unknown level 'gbl'", "glb"),
    (
        "clock: 1 GHz",
        "clock: 1 GHz\n    systolic: {}",
        "units.mac.fanout",
        "a systolic unit with the fan-out col",
        None,
    ),
]


@pytest.mark.parametrize(("old", "new", "field", "problem", "nearest"), WRONG)
def test_contradictions_are_located(old: str, new: str, field: str, problem: str, nearest: str | None) -> None:
    with pytest.raises(InputError) as caught:
        small((old, new))
    error = caught.value
    assert (error.field, error.nearest) == (field, nearest)
    assert error.problem.startswith(problem)
    assert error.file == "small.yaml"
    assert error.line is not None


def test_actions_cost_what_they_are_made_of() -> None:
    mac = small(("exp: {cycles: 7, made_of: {mac: 6}}", "exp: {made_of: {mac: 6}, energy: 1 pJ}")).units["mac"]
    assert mac.cost("mac") == (1.0, 0.5e-12)
    assert mac.cost("exp") == pytest.approx((6, 4e-12), rel=1e-9, abs=0)
    assert small().units["mac"].cost("exp") == pytest.approx((7, 3e-12), rel=1e-9, abs=0)


@pytest.mark.parametrize("name", [*hierarchy_names(), "small"])
def test_a_broken_description_is_one_located_sentence(name: str, tmp_path: Path) -> None:
    good = SMALL if name == "small" else (PRESETS / f"{name}.yaml").read_text()
    mutations = [mutation for mutation in MUTATIONS if mutation is not change_unit or "B" in good]
    assert refused_in_one_sentence(name, good, mutations, 40, load_hierarchy, tmp_path) > 10
