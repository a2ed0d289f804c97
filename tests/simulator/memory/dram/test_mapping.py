"""Address mappings: published layouts by hand, one address one place, and the translation streams rely on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.memory.dram.devices import load_device
from simulator.memory.dram.mapping import FIELDS, MAPPINGS, Mapping, address_mapping
from simulator.memory.dram.requests import decode
from workloads.errors import InputError

DEVICES = ("DDR4-3200", "DDR5-4800", "HBM2-2000", "HBM3-6400", "LPDDR5-6400", "GDDR6-14000")


def _place(mapping: Mapping, burst: int) -> dict[str, int]:
    """The golden decoder: bit by bit."""
    return {
        field: sum((bin(burst & mask).count("1") & 1) << i for i, mask in enumerate(masks))
        for field, masks in zip(FIELDS, mapping.bits, strict=True)
    }


def test_robaracoch_on_ddr4_by_hand() -> None:
    # Burst number, low bits first: 7 column, 2 bank group, 2 bank, then the row.
    mapping = address_mapping("RoBaRaCoCh", load_device("DDR4-3200"))
    burst = 5 + (3 << 7) + (2 << 9) + (1000 << 11)
    place = _place(mapping, burst)
    assert (place["column"], place["bankgroup"], place["bank"], place["row"]) == (5, 3, 2, 1000)


def test_mop4clxor_on_ddr4_by_hand() -> None:
    # Cut: column bits 0-1, group 2, bank 2, column bits 2-6, row. Here column 0b1011001, group 1, bank 2, row 9. Then
    # XOR with slices of the column from its lowest bit: group ^= 0b01, bank ^= 0b10, row ^= 0b101 (what is left).
    column, group, bank, row = 0b1011001, 1, 2, 9
    burst = (column & 3) + (group << 2) + (bank << 4) + ((column >> 2) << 6) + (row << 11)
    place = _place(address_mapping("MOP4CLXOR", load_device("DDR4-3200")), burst)
    assert place["column"] == column
    assert (place["bankgroup"], place["bank"], place["row"]) == (1 ^ 0b01, 2 ^ 0b10, 9 ^ 0b101)


def test_mop4clxor_cuts_the_pseudochannel_and_the_stack_before_the_group() -> None:
    # HBM3: column bits 0-1, pseudo-channel 1, SID 1, group 2, bank 2, column bits 2-4; XOR slices in the same order:
    # pseudo-channel with column bit 0, SID with bit 1, group with bits 2-3, bank with bit 4, row with nothing.
    burst = 0b01 + (1 << 2) + (0 << 3) + (2 << 4) + (1 << 6) + (0b110 << 8) + (77 << 11)
    place = _place(address_mapping("MOP4CLXOR", load_device("HBM3-6400")), burst)
    assert place["column"] == 0b11001
    assert (place["rank"], place["sid"]) == (1 ^ 1, 0 ^ 0)
    assert (place["bankgroup"], place["bank"], place["row"]) == (2 ^ 0b10, 1 ^ 1, 77)


def test_fields_of_dramsim3_are_most_significant_first() -> None:
    # rorabacobgch of DRAMsim3: the bank group lowest, then the column, the bank, the row.
    mapping = address_mapping("rorabacobgch", load_device("DDR4-3200"))
    place = _place(mapping, 3 + (5 << 2) + (1 << 9) + (8 << 11))
    assert (place["bankgroup"], place["column"], place["bank"], place["row"]) == (3, 5, 1, 8)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", MAPPINGS)
@pytest.mark.parametrize("channels", [1, 8])
def test_decoding_agrees_with_the_bits_and_gives_every_address_its_own_place(
    device: str, name: str, channels: int
) -> None:
    resolved = load_device(device)
    mapping = address_mapping(name, resolved, channels)
    bursts = np.concatenate([np.arange(3000), np.random.default_rng(1).integers(0, 1 << 34, 1000)])
    channel, found = decode(resolved, mapping, bursts * resolved.burst_bytes, np.zeros(len(bursts), dtype=np.bool_))
    _, stacks, groups, banks = resolved.shape
    for i in range(0, len(bursts), 97):
        place = _place(mapping, int(bursts[i]))
        bank = ((place["rank"] * stacks + place["sid"]) * groups + place["bankgroup"]) * banks + place["bank"]
        assert (int(channel[i]), int(found.bank[i])) == (place["channel"], bank)
        assert (int(found.row[i]), int(found.column[i])) == (place["row"], place["column"])
    places = np.stack([channel, found.bank, found.row, found.column], axis=1)
    assert len(np.unique(places, axis=0)) == len(np.unique(bursts))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", MAPPINGS)
def test_a_whole_sweep_uses_every_bank_and_column_equally(device: str, name: str) -> None:
    resolved = load_device(device)
    count = resolved.banks * resolved.bursts_per_row
    addresses = np.arange(count) * resolved.burst_bytes
    _, found = decode(resolved, address_mapping(name, resolved), addresses, np.zeros(count, dtype=np.bool_))
    assert (np.bincount(found.bank * resolved.bursts_per_row + found.column, minlength=count) == 1).all()


@given(
    device=st.sampled_from(DEVICES),
    name=st.sampled_from(sorted(MAPPINGS)),
    channels=st.sampled_from([1, 4]),
    burst=st.integers(0, 1 << 30),
    steps=st.integers(1, 1000),
)
def test_a_step_of_the_translation_unit_changes_nothing_but_the_row(
    device: str, name: str, channels: int, burst: int, steps: int
) -> None:
    mapping = address_mapping(name, load_device(device), channels)
    here = _place(mapping, burst)
    there = _place(mapping, burst + (steps << mapping.translation_bits))
    assert there.pop("row") - here.pop("row") == steps * mapping.row_step()
    assert there == here


def test_a_bit_matrix_says_the_same_as_the_name() -> None:
    device = load_device("DDR4-3200")
    text = ",".join([f"co{i}={i + 2}" for i in range(7)] + ["bg0=0", "bg1=1", "ba0=9", "ba1=10"])
    matrix, named = address_mapping(text, device), address_mapping("BankGroupLow", device)
    assert matrix.bits == named.bits
    hashed = address_mapping(text.replace("bg0=0", "bg0=0^11"), device)
    assert _place(hashed, 1 << 11)["bankgroup"] == 1
    assert str(hashed).endswith("bg1 bg0")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("RoBaRaCoC", "did you mean 'RoBaRaCoCh'?"),
        ("robaracochro", "names a field twice"),
        ("robarach", "leaves out"),
        ("co0=0", "leaves out bg0"),
        ("bg9=1", "has 2 bits"),
        ("xx0=1", "in the bit matrix"),
        ("co0=0,co0=1", "given twice"),
        ("co0=60", "source bit 60"),
        (",".join([f"co{i}=0" for i in range(7)] + ["bg0=1", "bg1=2", "ba0=3", "ba1=4"]), "the same place"),
    ],
)
def test_a_mapping_that_is_none_is_refused(text: str, says: str) -> None:
    with pytest.raises(InputError) as raised:
        address_mapping(text, load_device("DDR4-3200"))
    assert says in str(raised.value)


def test_channels_must_be_a_power_of_two() -> None:
    with pytest.raises(InputError, match="number of channels is 3"):
        address_mapping("RoBaRaCoCh", load_device("DDR4-3200"), 3)
