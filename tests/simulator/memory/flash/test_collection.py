"""Write amplification against its closed form, and what collection must conserve."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from simulator.memory.flash.kernel import FINISHED, prepare, run_kernel
from simulator.memory.flash.run import simulate_drive
from simulator.memory.flash.state import new_memory
from simulator.memory.flash.theory import greedy_write_amplification
from simulator.memory.flash.workload import DriveWorkload
from tests.simulator.memory.flash.small_drives import check_memory, small_drive
from workloads.errors import InputError


@pytest.mark.parametrize(("left", "share"), [(0.1, 0.39087), (0.5, 0.72135), (0.8, 0.89628)])
def test_closed_form(left: float, share: float) -> None:
    # Blocks collected with a share v of valid pages: u = (1 - v) / -ln v, 0.9 / 2.30259, 0.5 / 0.69315, 0.2 / 0.22314.
    assert greedy_write_amplification(share) == pytest.approx(1 / (1 - left), rel=1e-4)
    found = greedy_write_amplification(share)
    assert -1 / (found * math.log(1 - 1 / found)) == pytest.approx(share, rel=1e-9)


def test_closed_form_refuses_full_and_empty() -> None:
    for share in (0.0, 1.0, -1.0):
        with pytest.raises(InputError):
            greedy_write_amplification(share)


@pytest.mark.parametrize("spare", [0.1, 0.2, 0.35])
def test_greedy_collection_amplifies_as_the_closed_form_says(spare: float) -> None:
    """Large blocks, many of them, uniform random writes, steady state.

    Of a plane's blocks four are out of circulation: two kept free, the open mapping block, and half of each of the two
    others that are open.
    """
    blocks, pages = 400, 256
    drive = small_drive(channels=1, chips=1, dies=1, planes=1, blocks=blocks, pages=pages, spare=spare, bits=1)
    collection = drive.mapping.collection.model_copy(update={"start_share": 1.5 / blocks})
    drive = drive.model_copy(update={"mapping": drive.mapping.model_copy(update={"collection": collection})})
    workload = DriveWorkload(
        "rand-write", 4096, 8, True, requests=drive.geometry.pages, occupancy=1.0, working_set=1.0, overwrites=3.0,
        cached=False,
    )  # fmt: skip
    result = simulate_drive(drive, workload)
    used = drive.logical_pages / ((blocks - 4) * pages)
    assert result.write_amplification == pytest.approx(greedy_write_amplification(used), rel=0.05)


def test_random_choice_of_a_few_amplifies_more_than_the_best_of_all() -> None:
    results = []
    for policy in ("greedy", "random-greedy"):
        drive = small_drive(channels=1, chips=1, dies=1, planes=1, blocks=64, pages=32, spare=0.25, policy=policy)
        workload = DriveWorkload(
            "rand-write", 4096, 4, True, requests=8192, occupancy=1.0, working_set=1.0, overwrites=4.0, cached=False
        )
        results.append(simulate_drive(drive, workload).write_amplification)
    assert 1 < results[0] < results[1]


ASKED = st.fixed_dictionaries(
    {
        "pattern": st.sampled_from(["rand-write", "seq-write"]),
        "size_bytes": st.sampled_from([1024, 4096, 16384]),
        "queue_depth": st.integers(1, 16),
        "ideal_mapping": st.booleans(),
        "requests": st.integers(1, 800),
        "seed": st.integers(0, 1000),
        "occupancy": st.sampled_from([0.0, 1.0]),
        "overwrites": st.sampled_from([0.0, 2.0]),
        "cached": st.booleans(),
    }
)


# The last free block of a plane is filled by moves while the block they empty is still being erased.
FILLED_WHILE_ERASING = {
    "pattern": "rand-write", "size_bytes": 16384, "queue_depth": 2, "ideal_mapping": False, "requests": 744,
    "seed": 469, "occupancy": 1.0, "overwrites": 2.0, "cached": True,
}  # fmt: skip


@settings(max_examples=30, deadline=None)
@example(asked=FILLED_WHILE_ERASING, policy="random-greedy", at_once=1)
@given(asked=ASKED, policy=st.sampled_from(["greedy", "random-greedy"]), at_once=st.integers(1, 3))
def test_pages_are_conserved(asked: dict[str, Any], policy: str, at_once: int) -> None:
    drive = small_drive(blocks=24, pages=16, spare=0.45, policy=policy, at_once=at_once, mapping_bytes=8192)
    workload = DriveWorkload(working_set=1.0, **asked)
    memory = new_memory(drive, workload)
    assert prepare(memory) == FINISHED
    check_memory(drive, memory)
    s, geometry = memory.state[0], drive.geometry
    before = {name: int(memory.blocks[name].sum()) for name in ("written", "valid", "erases")}
    assert run_kernel(memory) == FINISHED
    check_memory(drive, memory)
    placed = int(s["host_programs"] + s["moved"] + s["mapping_programs"])
    written = int(memory.blocks["written"].sum())
    erased = int(memory.blocks["erases"].sum()) - before["erases"]
    assert placed == written - before["written"] + erased * geometry.pages_per_block
    assert int(s["pages_programmed"]) <= placed
    assert int(memory.blocks["valid"].sum()) <= geometry.pages
    assert erased * geometry.pages_per_block <= before["written"] + placed
    now = int(s["now"])
    assert int(s["channel_busy_ns"]) <= geometry.channels * now + 10**7  # the last command of each may outlast the run
    assert int(s["die_busy_ns"]) <= geometry.chips * (now + 3 * 10**6)


def test_too_little_spare_is_said_and_not_waited_for() -> None:
    drive = small_drive(channels=1, chips=1, dies=1, planes=1, blocks=12, pages=8, spare=0.05)
    workload = DriveWorkload("rand-write", 4096, 2, True, requests=2000, occupancy=1.0, working_set=1.0, cached=False)
    with pytest.raises(InputError, match=r"free blocks|standstill"):
        simulate_drive(drive, workload)
