"""Commands in time, worked out by hand from the timings of the devices."""

from __future__ import annotations

from simulator.memory.pim.executor import Entry, execute
from simulator.memory.pim.presets import load_pim
from simulator.memory.pim.program import COMPUTE, DRAIN, FILL, Group, Loop, Op, Pass, Program


def _program(*groups: Group, count: int = 1) -> Program:
    return Program((Pass((Loop(groups, count),)),), 0, 0, 0, 0)


def _read(where: str, row: int, times: int, step: int = 0) -> Group:
    return Group((Op("compute", where, row, times, COMPUTE, step),))


def test_two_rows_of_the_same_banks() -> None:
    # tRCD 14; bursts every tCCD_L 4; PRE 2 + 5 - 4 = 3 after the last (tRAS 33 has passed); tRP 14; tRCD 14.
    log = execute(load_pim("hbm-pim"), _program(_read("compute_even", 0, 8), _read("compute_even", 1, 2)), log=True).log
    assert log == [
        Entry(0, "activate", "compute_even", 0),
        *(Entry(14 + 4 * i, "compute", "compute_even", 0) for i in range(8)),
        Entry(45, "precharge", "compute_even", -1),
        Entry(59, "activate", "compute_even", 1),
        Entry(73, "compute", "compute_even", 1),
        Entry(77, "compute", "compute_even", 1),
    ]


def test_one_read_waits_for_ras() -> None:
    log = execute(load_pim("hbm-pim"), _program(_read("compute_even", 0, 1), _read("compute_even", 1, 1)), log=True).log
    assert [(entry.tick, entry.role) for entry in log] == [
        (0, "activate"), (14, "compute"), (33, "precharge"), (47, "activate"), (61, "compute"),
    ]  # fmt: skip


def test_read_then_write_elsewhere_then_read() -> None:
    # ACT of the odd banks after the barrier at 18; WR at max(19 + tRCDWR 10, 18 + 20 + 2 + 2 - 8 = 34); back to reading
    # 8 + 2 + 9 = 19 after it, the even banks' row having been closed (33) and opened (47) meanwhile: 61 is later.
    write = Group((Op("fill", "compute_odd", 5, 1, FILL),))
    program = _program(_read("compute_even", 0, 2), write, _read("compute_even", 0, 1))
    run = execute(load_pim("hbm-pim"), program, log=True)
    assert [(entry.tick, entry.role, entry.where) for entry in run.log] == [
        (0, "activate", "compute_even"),
        (14, "compute", "compute_even"),
        (18, "compute", "compute_even"),
        (19, "activate", "compute_odd"),
        (33, "precharge", "compute_even"),
        (34, "fill", "compute_odd"),
        (47, "activate", "compute_even"),
        (60, "precharge", "compute_odd"),  # 8 + 2 + 16 after the write
        (61, "compute", "compute_even"),
    ]
    assert run.cycles == 61 + 20 + 2
    assert sum(run.ticks_by_cause.values()) == run.cycles
    assert run.ticks_by_cause["fill", "turnaround"] == 12  # 16, of which 4 are a column's own
    assert run.ticks_by_cause["compute", "turnaround"] == 15  # 19 likewise
    assert run.ticks_by_cause["compute", "rows"] == 10 + 8  # 14 - 4 for the first row, 27 - 19 for the second


def test_refresh_closes_and_reopens() -> None:
    # Due at 1950: reads go out at 14 + 4 i up to 1946. PRE at 1950, REF tRP later, ACT tRFC 350 after that, RD tRCD.
    log = execute(load_pim("hbm-pim"), _program(_read("compute_even", 0, 486)), log=True).log
    assert [entry for entry in log if entry.tick > 1942] == [
        Entry(1946, "compute", "compute_even", 0),
        Entry(1950, "precharge", "compute_even", -1),
        Entry(1964, "refresh", "all", -1),
        Entry(2314, "activate", "compute_even", 0),
        Entry(2328, "compute", "compute_even", 0),
        Entry(2332, "compute", "compute_even", 0),
    ]


def test_power_limit_between_computes() -> None:
    # Half clocks; commands on odd ones. ACT takes 3 and RD 2: tRCD 38 from last cycle to last is 39 between the first,
    # an even tick after 1, so 41; then one every 12, or 8 without the power limit.
    for name, interval in (("attacc-bank", 12), ("attacc-bank-unlimited", 8)):
        log = execute(load_pim(name), _program(_read("compute_all", 0, 4)), log=True).log
        assert [entry.tick for entry in log] == [1, *(41 + interval * i for i in range(4))]


def test_moves_go_beside_computing() -> None:
    # The buffers' path is free: results leave every tCCD_S of 4 ticks while computes go on every 12.
    ops = (Op("compute", "compute_all", 0, 4, COMPUTE), Op("drain", "all", None, 3, DRAIN, stream=1))
    log = execute(load_pim("attacc-bank"), _program(Group(ops)), log=True).log
    assert [entry.tick for entry in log if entry.role == "compute"] == [41, 53, 65, 77]
    assert [entry.tick for entry in log if entry.role == "drain"] == [1, 5, 9]


def test_rows_of_the_next_bundle_are_opened_ahead() -> None:
    # Eight ticks a burst and 32 bursts: the next bundle's row is open long before its turn.
    pim = load_pim("duplex-logic-pim")
    run = execute(pim, _program(_read("compute_0", 0, 32), _read("compute_1", 0, 32)), log=True)
    computes = [entry.tick for entry in run.log if entry.role == "compute"]
    assert computes == [41 + 8 * i for i in range(64)]


def test_nothing_is_skipped_that_matters() -> None:
    for name, groups in (
        ("hbm-pim", (_read("compute_even", 0, 8, 2), _read("compute_even", 1, 24, 2), _read("compute_odd", 0, 3, 1))),
        ("duplex-logic-pim", tuple(_read(f"compute_{i}", 0, 32, 1) for i in range(4))),
        ("attacc-bank", (_read("compute_all", 0, 32, 1),)),
    ):
        pim, program = load_pim(name), _program(*groups, count=1000)
        quick, whole = execute(pim, program), execute(pim, program, log=True)
        assert quick.skipped > 0
        assert (quick.cycles, quick.commands, quick.ticks_by_cause, quick.activated_banks) == (
            whole.cycles,
            whole.commands,
            whole.ticks_by_cause,
            whole.activated_banks,
        )
