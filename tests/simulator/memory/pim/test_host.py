"""The same work over the pins."""

from __future__ import annotations

import pytest

from simulator.memory.pim.host import host_eltwise, host_gemv
from simulator.memory.pim.presets import load_pim


def test_bytes_and_bounds() -> None:
    pim = load_pim("hbm-pim")
    product = host_gemv(pim, 1024, 2048)
    assert product.bytes_moved == 2 * (1024 * 2048 + 2 * 2048 + 2 * 1024)
    assert product.bandwidth_bytes_per_s < pim.outside_bytes_per_s
    assert product.energy_j is not None
    added = host_eltwise(pim, 1 << 18)
    assert added.bytes_moved == 3 * 2 * (1 << 18)
    assert [phase.commands.get("WR", 0) > 0 for phase in added.phases] == [False, True]


def test_long_reads_lose_only_refresh() -> None:
    # A burst every tCCD_S for all but tRFC of tREFI, and the rows that must be closed and opened around it.
    pim = load_pim("hbm-pim")
    result = host_gemv(pim, 8192, 4096)
    ideal = 2 * 8192 * 4096 / 32 / 64 * 2
    assert ideal / (1 - 350 / 3900) < result.cycles < 1.05 * ideal / (1 - 350 / 3900)
    assert result.cycles == sum(phase.cycles for phase in result.phases)
    assert result.seconds == pytest.approx(result.cycles * 1e-9)
