"""Room for all pieces of a layer that software sets aside before it knows which it needs."""

from __future__ import annotations

import numpy as np
import pytest

from hw.spec.load import load_system
from simulator.collections import CachedCollection, Fetch
from simulator.policy import Policy
from simulator.road import simulate
from workloads.errors import InputError
from workloads.models.catalogue import model
from workloads.phases import Decode
from workloads.traces import RoutingStream

MODEL = "Mixtral-8x7B"
EXPERT_BYTES = 3 * 4096 * 14336 * 2


def room(kind: str, table: int | None) -> float:
    """Most bytes of the device where each token uses experts 0 and 1 of each layer."""
    stream = RoutingStream(np.tile(np.arange(2), (2, 32, 1, 1)), 8)
    collection = CachedCollection(stream, "ddr", 0, fetch=Fetch(kind), table=table)
    policy = Policy(collections=(collection,))
    return simulate(model(MODEL), Decode(1, 64), load_system("h100-xeon"), policy=policy).peak_bytes["hbm"]


@pytest.mark.parametrize("kind", ["as-routed", "pre-gated"])
def test_a_table_has_room_for_what_is_not_used(kind: str) -> None:
    # Two of eight experts of a layer are used, so a table of eight is six more; what travels ahead has its own room.
    assert room(kind, 8) - room(kind, None) == pytest.approx(6 * EXPERT_BYTES, rel=1e-6)
    assert room(kind, 1) == room(kind, None)


def test_a_table_is_no_less_than_nothing() -> None:
    with pytest.raises(InputError, match="a table of -1 experts"):
        room("pre-gated", -1)
