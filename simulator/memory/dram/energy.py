"""Energy of DRAM commands: from a data sheet's currents, or from energies somebody published.

By currents, for each device of a rank (Micron TN-40-07 "Calculating Memory Power for DDR4 SDRAM"; DRAMsim3 computes the
same): an activation with its precharge VDD (IDD0 tRC - IDD3N tRAS - IDD2N (tRC - tRAS)), a read burst
VDD (IDD4R - IDD3N) tBL, a write burst VDD (IDD4W - IDD3N) tBL, a refresh VDD (IDD5B - IDD3N) tRFC; standby VDD IDD3N
while a row is open and VDD IDD2N while none is. Where a sheet's IDD3N is with every bank open (DDR5), its IDD0, with
one bank open, may be below it: ``IDD3N1_mA`` then stands in for IDD3N in the activation. Currents of VPP and of the
termination are left out.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Self

from pydantic import BaseModel, ConfigDict, NonNegativeFloat, PositiveFloat, model_validator

from hw.spec.source import Source
from simulator.memory.dram.device import Device, DeviceEnergy
from workloads.errors import InputError
from workloads.validation import field_error

__all__ = ["CommandEnergies", "Currents", "device_energy"]


class Currents(BaseModel):
    """A data sheet's currents in mA of one device at ``VDD_V``; ``IDD3N1_mA`` is IDD3N with one bank open."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    VDD_V: PositiveFloat
    IDD0_mA: PositiveFloat
    IDD2N_mA: PositiveFloat
    IDD3N_mA: PositiveFloat
    IDD3N1_mA: PositiveFloat | None = None
    IDD4R_mA: PositiveFloat
    IDD4W_mA: PositiveFloat
    IDD5B_mA: PositiveFloat
    source: Source

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        for name in ("IDD4R_mA", "IDD4W_mA", "IDD5B_mA"):
            if getattr(self, name) <= self.IDD3N_mA:
                problem = f"{name} is {getattr(self, name):g}, IDD3N_mA {self.IDD3N_mA:g}"
                raise field_error(InputError(problem, "more current in use than in standby"))
        return self


class CommandEnergies(BaseModel):
    """Published energies of one rank (pseudo-channel).

    Per activation with its precharge and per refresh of all banks in nJ, per bit moved in pJ, standby in mW: with no
    row open, and with one open (``open_mW``; as with none where it is not given).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    activate_nJ: PositiveFloat
    read_pJ_per_bit: PositiveFloat
    write_pJ_per_bit: PositiveFloat
    refresh_nJ: NonNegativeFloat
    standby_mW: NonNegativeFloat
    open_mW: NonNegativeFloat | None = None
    source: Source


def device_energy(device: Device, given: Currents | CommandEnergies, device_width_bits: int) -> Device:
    """``device`` with its command energies; ``device_width_bits`` says how many devices share a rank's width.

    Raises `InputError` when the currents leave nothing for an activation.
    """
    banks = device.banks // device.shape[0]
    if isinstance(given, CommandEnergies):
        bits = device.burst_bytes * 8
        open_mW = given.standby_mW if given.open_mW is None else given.open_mW
        energy = DeviceEnergy(
            activate_j=given.activate_nJ * 1e-9,
            read_j=given.read_pJ_per_bit * bits * 1e-12,
            write_j=given.write_pJ_per_bit * bits * 1e-12,
            refresh_j=given.refresh_nJ * 1e-9,
            refresh_bank_j=given.refresh_nJ * 1e-9 / banks,
            open_w=open_mW * 1e-3,
            closed_w=given.standby_mW * 1e-3,
            kind=given.source.kind,
            source=given.source.text,
        )
        return replace(device, energy=energy)
    timing, tick_s = device.timing, device.tick_s
    watts_per_mA = given.VDD_V * 1e-3 * (device.channel_width_bits // device_width_bits)
    row_s, open_s = timing["nRC"] * tick_s, timing["nRAS"] * tick_s
    one_open_mA = given.IDD3N_mA if given.IDD3N1_mA is None else given.IDD3N1_mA
    activate = given.IDD0_mA * row_s - one_open_mA * open_s - given.IDD2N_mA * (row_s - open_s)
    if activate <= 0:
        problem = f"an activation takes {watts_per_mA * activate * 1e9:.3g} nJ: IDD0 is no more than standby takes"
        raise InputError(problem, "IDD0 above standby, or IDD3N1_mA where IDD3N is with every bank open")
    burst_s, refresh_s = device.burst_ticks * tick_s, timing["nRFC"] * tick_s
    refresh_j = watts_per_mA * (given.IDD5B_mA - given.IDD3N_mA) * refresh_s
    energy = DeviceEnergy(
        activate_j=watts_per_mA * activate,
        read_j=watts_per_mA * (given.IDD4R_mA - given.IDD3N_mA) * burst_s,
        write_j=watts_per_mA * (given.IDD4W_mA - given.IDD3N_mA) * burst_s,
        refresh_j=refresh_j,
        refresh_bank_j=refresh_j / banks,
        open_w=watts_per_mA * given.IDD3N_mA,
        closed_w=watts_per_mA * given.IDD2N_mA,
        kind=given.source.kind,
        source=given.source.text,
    )
    return replace(device, energy=energy)
