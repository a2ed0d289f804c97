"""Which unit suits which reuse: the order of Duplex (arXiv 2409.01141).

Published energy-delay-area product of a 16384 x 4096 product, lower is better: Op/B 1: bank .08, logic .66, bank group
1; Op/B 2: .16, .66, 1; Op/B 32: logic .40, bank group .67, bank 1. Here energy times delay: areas are not known.
"""

from __future__ import annotations

import pytest

from simulator.memory.pim.matching import Point, crossover, rates
from simulator.memory.pim.presets import load_pim

NAMES = {"bank": "duplex-bank-pim", "group": "duplex-bank-group-pim", "logic": "duplex-logic-pim"}
POINTS: dict[str, list[Point]] = {key: rates(load_pim(name), 16384, 4096) for key, name in NAMES.items()}


def _order(at: int) -> list[str]:
    product = {key: points[at].energy_j * points[at].seconds for key, points in POINTS.items()}
    return sorted(product, key=lambda key: product[key])


def test_energy_delay_orders_as_published() -> None:
    assert _order(0) == ["bank", "logic", "group"]
    assert _order(1) == ["bank", "logic", "group"]
    assert _order(5) == ["logic", "group", "bank"]


def test_group_over_logic_is_near_the_published_ratio() -> None:
    # .66, .66 and .40 / .67 with areas, which differ by a tenth of a die.
    for at, published in ((0, 0.66), (1, 0.66), (5, 0.40 / 0.67)):
        logic, group = POINTS["logic"][at], POINTS["group"][at]
        ratio = logic.energy_j * logic.seconds / (group.energy_j * group.seconds)
        assert ratio == pytest.approx(published, rel=0.20)


def test_bank_units_win_at_one_and_logic_beyond_four() -> None:
    # By bounds 16 x 1 against 4 x min(b, 8): equal at 4, where bank units lose more to opening rows.
    assert crossover(POINTS["bank"], POINTS["logic"]) == 4
    assert crossover(POINTS["bank"], POINTS["group"]) == 4
    best = [max(POINTS, key=lambda key: POINTS[key][at].operations_per_s) for at in range(6)]
    assert best[:2] == ["bank", "bank"]
    assert "bank" not in best[2:]
    assert crossover(POINTS["logic"], POINTS["logic"]) is None


def test_rates_lie_on_their_roofs() -> None:
    # Bound of bank units 10.65 TFLOPS at any reuse; of the others 2.66 times Op/B up to 21.3.
    for key, slope, roof in (("bank", 10.65e12, 10.65e12), ("group", 2.662e12, 21.3e12), ("logic", 2.662e12, 21.3e12)):
        for point in POINTS[key]:
            assert point.bound_per_s == pytest.approx(min(slope * point.operations_per_byte, roof), rel=0.002)
            assert 0.6 < point.operations_per_s / point.bound_per_s <= 1
