"""Small drives for tests, and what a finished run must satisfy."""

from __future__ import annotations

from hw.spec.source import Source
from simulator.memory.flash.drive import (
    Cache,
    Cells,
    Channel,
    Collection,
    Drive,
    Geometry,
    HostLink,
    MappingLayer,
    Suspension,
    WearLevelling,
)
from simulator.memory.flash.state import Memory

__all__ = ["check_memory", "small_drive"]


def small_drive(
    *,
    channels: int = 2,
    chips: int = 2,
    dies: int = 2,
    planes: int = 2,
    blocks: int = 16,
    pages: int = 8,
    page_bytes: int = 4096,
    bits: int = 2,
    spare: float = 0.3,
    mapping_bytes: int = 4096,
    policy: str = "greedy",
    at_once: int = 1,
    cache_bytes: int = 65536,
    suspension: Suspension | None = None,
    fetched: int = 512,
    commands_first: bool = False,
    static_threshold: int | None = None,
    cache_channels: int = 1,
) -> Drive:
    """A drive of ``channels`` x ``chips`` x ``dies`` x ``planes``, made up for tests."""
    return Drive(
        name="small",
        geometry=Geometry(
            channels=channels,
            chips_per_channel=chips,
            dies_per_chip=dies,
            planes_per_die=planes,
            blocks_per_plane=blocks,
            pages_per_block=pages,
            page_bytes=page_bytes,
        ),
        cells=Cells(
            read_us=(50.0, 60.0, 70.0)[:bits],
            program_us=(300.0, 500.0, 900.0)[:bits],
            erase_us=2000.0,
            ready_ns=20,
            endurance_cycles=3000,
        ),
        suspension=suspension or Suspension(),
        channel=Channel(rate_MTps=400, commands_first=commands_first),
        mapping=MappingLayer(
            over_provisioning=spare,
            mapping_cache_bytes=mapping_bytes,
            wear_levelling=None if static_threshold is None else WearLevelling(static_threshold=static_threshold),
            collection=Collection(policy=policy, start_share=0.1, most_at_once=at_once, stop_blocks=at_once + 1),
        ),
        cache=Cache(
            capacity_bytes=cache_bytes,
            channels=cache_channels,
            rate_MTps=800,
            width_bytes=4,
            row_bytes=8192,
            t_rcd_ns=13,
            t_cl_ns=13,
            t_rp_ns=13,
        ),
        host=HostLink(lanes=4, lane_GBps=1.0, fetched_at_once=fetched),
        sources={"geometry": Source("synthetic", "made up for tests")},
    )


def check_memory(drive: Drive, memory: Memory) -> None:
    """What any state must satisfy: no page is lost, counted twice, or owned by two."""
    s, geometry = memory.state[0], drive.geometry
    used = geometry.pages
    start = int(s["p2l"])
    owners = memory.tables[start : start + used]
    blocks = owners.reshape(-1, geometry.pages_per_block)
    assert ((blocks != 0).sum(axis=1) == memory.blocks["valid"]).all()
    assert (memory.blocks["written"] <= geometry.pages_per_block).all()
    assert (memory.blocks["valid"] <= memory.blocks["written"]).all()
    held = owners[owners != 0]
    assert len(set(held.tolist())) == len(held)
    assert (memory.blocks["busy"] >= 0).all()
    assert (s["pool"][: geometry.planes] >= 0).all()
