"""Prefill into drives: the closed form of the overlap, and the drive's own rate of appending."""

from __future__ import annotations

import pytest

from simulator.memory.flash.drives import load_drive
from simulator.memory.storage.layout import KvLayout
from simulator.memory.storage.prefill import append_rate, stream_prefill
from workloads.errors import InputError

DRIVE = load_drive("ssd-instinfer-csd")
OPT_13B = KvLayout(DRIVE.geometry, kv_heads=40, head_size=128, most_tokens=2048)


def test_the_rate_of_appending_is_that_of_all_dies_programming() -> None:
    # 64 chips, each 4 planes of 4 KiB in turn: data and command on the channel (11.7 us and less than 5), 700 us on
    # average inside. InstInfer states 3.78 GB/s, of a drive whose cells' times it does not state: not reached.
    rate = append_rate(DRIVE)
    most = 64 * 4 * 4096 / (700e-6 + 4 * 4096 / 1.4e9)
    assert most * 0.98 < rate < most
    assert rate < 0.5 * 3.78e9


def test_the_last_layer_is_not_hidden() -> None:
    # Table III: a layer is 1.342 GB; 40 layers.
    layer = 1_342_177_280
    flash = layer / append_rate(DRIVE)
    slow = stream_prefill(DRIVE, OPT_13B, 1024, 64, layers=40, layer_compute_s=10.0)
    assert slow.link_s == pytest.approx(layer / 7e9)
    assert slow.flash_s == pytest.approx(flash)
    assert slow.seconds == pytest.approx(400.0 + flash)
    assert slow.exposed_s == pytest.approx(flash)
    assert slow.link_bytes == slow.programmed_bytes == 40 * layer
    fast = stream_prefill(DRIVE, OPT_13B, 1024, 64, layers=40, layer_compute_s=0.01)
    assert fast.seconds == pytest.approx(0.01 + 40 * flash)


def test_drives_share_the_heads_and_the_copy_by_channel_stays_inside() -> None:
    one = stream_prefill(DRIVE, OPT_13B, 1024, 64, layers=40, layer_compute_s=0.0)
    four = stream_prefill(DRIVE, OPT_13B, 1024, 64, layers=40, layer_compute_s=0.0, drives=4)
    assert four.seconds == pytest.approx(one.seconds / 4)
    both = KvLayout(DRIVE.geometry, 40, 128, 2048, channels_per_page=8)
    copies = stream_prefill(DRIVE, both, 1024, 64, layers=40, layer_compute_s=0.0)
    assert copies.link_bytes == one.link_bytes
    assert copies.programmed_bytes == 1.5 * one.programmed_bytes


def test_what_is_refused() -> None:
    with pytest.raises(InputError, match="layers: found 0; expected at least 1"):
        stream_prefill(DRIVE, OPT_13B, 1024, 64, layers=0, layer_compute_s=1.0)
    with pytest.raises(InputError, match="layer_compute_s: found -1"):
        stream_prefill(DRIVE, OPT_13B, 1024, 64, layers=1, layer_compute_s=-1.0)
