"""``tiercade memory show`` of every kind of device, and the lists of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dse.cli.entry import run
from dse.cli.memory_kinds import KINDS, device_kind, device_names_of
from simulator.interconnect.protocols import EXAMPLES
from simulator.memory.arrays.devices import array_names
from simulator.memory.flash.drives import drive_names
from simulator.memory.pim.presets import pim_names


def shown(name: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert run(["memory", "show", name, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_no_name_stands_for_two_kinds() -> None:
    names = [name.casefold() for kind in KINDS for name in device_names_of(kind)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("kind", KINDS)
def test_every_name_is_of_its_kind(kind: Any) -> None:
    for name in device_names_of(kind):
        assert device_kind(name, "DEVICE") == kind
        assert device_kind(name.upper() if kind != "link" else name, "DEVICE") == kind


@pytest.mark.parametrize("name", [*drive_names(), *pim_names(), *array_names(), *EXAMPLES])
def test_every_device_is_shown_with_its_sources(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = shown(name, capsys)
    assert all(
        source.split(":")[0] in ("stated", "derived", "fitted", "synthetic") for source in found["sources"].values()
    )
    assert run(["memory", "show", name]) == 0
    text = capsys.readouterr().out
    assert text.startswith(found["name"])
    for field in found["sources"]:
        assert f"\n{field}: " in text


def test_a_drive(capsys: pytest.CaptureFixture[str]) -> None:
    found = shown("ssd-mqsim-default", capsys)
    derived = found["derived"]
    # 8 channels x 4 chips x 2 dies x 2 planes of 8 KiB pages, read in 75 us, programmed in 750; 333 MT/s of 8 bits.
    assert derived["planes"] == 128
    assert derived["planes_reading_bytes_per_s"] == pytest.approx(128 * 8192 / 75e-6)
    assert derived["planes_programming_bytes_per_s"] == pytest.approx(128 * 8192 / 750e-6)
    assert derived["channels_bytes_per_s"] == pytest.approx(8 * 333e6)
    assert found["cells"]["read_us"] == [75, 75]
    assert run(["memory", "show", "ssd-mqsim-default"]) == 0
    assert "14.0 GB/s" in capsys.readouterr().out


def test_a_memory_that_computes(capsys: pytest.CaptureFixture[str]) -> None:
    # 64 channels, 8 units that read 32 bytes each every tCCD_L of 4 ns.
    found = shown("hbm-pim", capsys)
    assert found["derived"]["inside_bytes_per_s"] == pytest.approx(64 * 8 * 32 / 4e-9)
    assert found["derived"]["operations_per_byte"] == pytest.approx(1)
    assert found["banks_of_sets"]["compute_even"] == [0, 2, 4, 6, 8, 10, 12, 14]
    assert run(["memory", "show", "duplex-logic-pim"]) == 0
    assert "0-1, 4-5, 8-9, 12-13" in capsys.readouterr().out


def test_a_link_made_to_measure(capsys: pytest.CaptureFixture[str]) -> None:
    # Four lanes of 16 GT/s, 128 of 130 bits.
    assert shown("pcie-4.0-x4", capsys)["rate_bytes_per_s"] == pytest.approx(4 * 16e9 / 8 * 128 / 130)


@pytest.mark.parametrize(
    ("what", "names"), [("pim", pim_names()), ("arrays", array_names()), ("links", EXAMPLES), ("drives", drive_names())]
)
def test_lists(what: str, names: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["list", what, "--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == list(names)
    assert run(["list", what]) == 0
    assert names[0] in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("hbm-pm", "DEVICE: unknown device 'hbm-pm'; expected a name from 'tiercade list devices'"),
        ("hbm-pm", "did you mean 'hbm-pim'?"),
        ("isac", "did you mean 'isaac'?"),
        ("ssd-mqsim", "did you mean 'ssd-mqsim-default'?"),
        ("nvlink-9", "DEVICE: found 9; expected one of"),
        ("pcie-4.0-x3", "DEVICE: 'pcie-4.0-x3' has 3 lanes"),
        ("sram", "DEVICE: sram is computed from its capacity"),
        ("no/such.yaml", "no/such.yaml"),
    ],
)
def test_unknown_devices(name: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["memory", "show", name]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert says in captured.err


def test_ranks_are_of_dram(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["memory", "show", "hbm-pim", "--ranks", "2"]) == 2
    assert "--ranks: means nothing for a memory that computes; expected DRAM" in capsys.readouterr().err
