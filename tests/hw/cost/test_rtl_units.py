"""Cost of hardware units: fits on synthetic points with known laws, factors of nodes against published values."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from hw.cost.node_scaling import energy_factor, node_scale
from hw.cost.rtl_units import BASELINE, SynthesisedUnit, baseline, rtl_unit_cost
from workloads.errors import InputError


def point(
    lanes: int, width: int, area_um2: float, kind: str = "int", energy_j: float | None = 1e-12
) -> SynthesisedUnit:
    settings = {"lanes": lanes, "width": width, "kind": kind, "fixed": 3}
    return SynthesisedUnit("u", settings, 10, 2, area_um2, 2.0, energy_j, "osu018_stdcells")


LINEAR = [point(n, w, 100.0 + 7 * n + 30 * w) for n, w in ((4, 8), (8, 8), (16, 8), (8, 4), (8, 16))]
POWERS = [point(n, w, 3.0 * n * w**2) for n, w in ((4, 8), (8, 8), (16, 8), (8, 4), (8, 16))]


def test_a_linear_law_is_found() -> None:
    cost = rtl_unit_cost("u", {"lanes": 32, "width": 5}, 180, points=LINEAR)
    assert cost.area_mm2 == pytest.approx((100 + 7 * 32 + 30 * 5) * 1e-6)
    assert (cost.area_fit.form, cost.area_fit.points, cost.area_fit.free) == ("linear", 5, 2)
    assert cost.area_fit.residual < 1e-12
    assert cost.sources[0].kind == "fitted"


def test_a_law_of_powers_is_found() -> None:
    cost = rtl_unit_cost("u", {"lanes": 32, "width": 5}, 180, points=POWERS)
    assert cost.area_mm2 == pytest.approx(3 * 32 * 25 * 1e-6)
    assert cost.area_fit.form == "powers"


def test_a_synthesised_design_is_looked_up() -> None:
    cost = rtl_unit_cost("u", {"lanes": 16}, 180, points=POWERS)  # width as in the first design: 8
    assert cost.area_mm2 == pytest.approx(3 * 16 * 64 * 1e-6)
    assert cost.area_fit.form == "measured"
    assert [source.kind for source in cost.sources] == ["stated"]


def test_the_residual_is_the_largest_relative_error() -> None:
    # Through (1, 1), (2, 2), (3, 6) the least squares line is 2.5 n - 2: off by 0.5, -1 and 0.5 at 1, 2 and 6. The
    # powers fit logarithms ln 1, ln 2, ln 6 over ln 1, ln 2, ln 3 and come nearer.
    points = [point(n, 8, area) for n, area in ((1, 1.0), (2, 2.0), (3, 6.0))]
    fit = rtl_unit_cost("u", {"lanes": 4}, 180, points=points).area_fit
    assert fit.form == "powers"
    assert 0.1 < fit.residual < 0.5
    assert fit.free == 1


def test_without_power_there_is_no_energy() -> None:
    points = [*LINEAR[:4], point(8, 16, 636.0, energy_j=None)]
    assert rtl_unit_cost("u", {}, 180, points=points).energy_per_beat_j is None


@pytest.mark.parametrize(
    ("name", "settings", "field"),
    [("v", {}, None), ("u", {"lane": 1}, None), ("u", {"kind": "float"}, "u"), ("u", {"fixed": 4}, "fixed")],
)
def test_what_was_not_synthesised_is_refused(name: str, settings: dict[str, object], field: str | None) -> None:
    with pytest.raises(InputError) as caught:
        rtl_unit_cost(name, settings, 180, points=LINEAR)
    assert field is None or caught.value.field == field


def test_energies_of_nodes_are_those_of_the_authors_correction() -> None:
    # The authors' page of the paper corrects equations 12 to 14: 65 nm at 1.3 V to 32 nm at 0.9 V, 2.604 to 0.4571.
    assert energy_factor(65, 1.3) == pytest.approx(2.604, abs=5e-4)
    assert energy_factor(32, 0.9) == pytest.approx(0.4571, abs=5e-5)
    assert energy_factor(32, 0.9) / energy_factor(65, 1.3) == pytest.approx(0.1755, abs=1e-4)


def test_nodes_between_published_ones_lie_between_them() -> None:
    fine, middle, coarse = node_scale(20), node_scale(28), node_scale(32)
    assert fine.area < middle.area < coarse.area
    assert fine.energy < middle.energy < coarse.energy
    assert middle.between == (32, 20)
    assert node_scale(180).area == node_scale(180).delay == node_scale(180).energy == 1.0


@pytest.mark.parametrize("node_nm", [250, 5, 0])
def test_other_nodes_are_refused(node_nm: int) -> None:
    with pytest.raises(InputError):
        node_scale(node_nm)


def test_a_node_scales_area_path_and_energy() -> None:
    near, far = (rtl_unit_cost("u", {}, node, points=LINEAR) for node in (180, 65))
    scale = node_scale(65)
    assert far.area_mm2 == pytest.approx(near.area_mm2 * scale.area)
    assert far.path_s == pytest.approx(near.path_s * scale.delay)
    assert near.energy_per_beat_j is not None
    assert far.energy_per_beat_j == pytest.approx(near.energy_per_beat_j * scale.energy)
    assert len(far.sources) == 2


def test_the_baseline_is_whole() -> None:
    for entries in yaml.safe_load(BASELINE.read_text())["units"].values():
        for entry in entries:
            assert "not_synthesised" in entry or entry["area_um2"] > entry["cells"] > entry["flip_flops"] >= 0


def test_the_dot_product_grows_with_its_lanes() -> None:
    # A lane is a multiplier, an adder of the tree and their registers: four lanes more than half of eight.
    four, eight = (rtl_unit_cost("int-dot", {"lanes": lanes}, 180).area_mm2 for lanes in (4, 8))
    assert 1.7 < eight / four < 2.0


def test_a_missing_baseline_is_empty(tmp_path: Path) -> None:
    assert baseline(tmp_path / "none.yaml") == ()
