"""Systems as frozen typed values: engines, tiers and links, with units in the field names and SI inside.

In YAML the unit is part of the value and the field name drops it: ``capacity: 80 GB`` becomes ``capacity_bytes``.
A system describes **one device** and says how many of them there are; tiers and links marked ``shared`` exist once
for all devices of a node (a host's DDR, its NVMe drive), and so do engines at home in such a tier; everything else
exists per device. Devices of a node exchange data over ``fabric``, nodes over ``network``; without one, all devices are
one node.

Each component may carry ``sources``: field -> "kind: where the number is from", with kind one of stated, derived,
fitted, synthetic. The bundled presets have one for every number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PositiveInt, WithJsonSchema, model_validator

from hw.spec.checks import check_system
from hw.spec.component import Component
from hw.spec.macro import SramMacro, with_derived_fields
from hw.spec.network import Network
from hw.spec.quantity import (
    Bandwidth,
    Bytes,
    EnergyPerBitOrZero,
    EnergyPerOperation,
    Frequency,
    OperationRate,
    PowerOrZero,
    SecondsOrZero,
)
from hw.spec.rtl_engine import RtlUnits, with_unit_fields
from workloads.documents import describe
from workloads.errors import InputError
from workloads.formats import storage_format
from workloads.validation import field_error

__all__ = ["Array", "Engine", "Fabric", "Link", "System", "Tier"]


def _known_format(name: str) -> str:
    try:
        return storage_format(name).name
    except InputError as error:
        raise field_error(error) from None


def _is_float(format_name: str) -> bool:
    return format_name.startswith(("fp", "bf", "tf", "mxfp", "nvfp", "nf"))


def _plain_name(name: str) -> str:
    if re.fullmatch(_NAME, name):
        return name
    expected = "a name of at most 40 letters, digits, '-' and '_' that starts with a letter"
    raise field_error(InputError(f"found {describe(name)}", expected))


def _listed(value: Any) -> Any:
    """A list as a tuple: past a validator that fills in fields, pydantic no longer sees that it came from a file."""
    return tuple(value) if isinstance(value, list) else value


# No dots: the names stand in dotted paths. Not too long: they stand in tables.
_NAME = "^[A-Za-z][A-Za-z0-9_-]{0,39}$"
FormatName = Annotated[str, AfterValidator(_known_format)]
Name = Annotated[str, AfterValidator(_plain_name), WithJsonSchema({"type": "string", "pattern": _NAME})]


class Array(Component):
    """Shape of a two-dimensional processing-element array."""

    rows: PositiveInt
    columns: PositiveInt


class Engine(Component):
    """Something that computes. A multiply-add counts as two operations everywhere.

    ``matrix`` engines run contractions (Einsums that multiply and add-reduce) only; the other kinds run everything.
    An engine computes on data in its ``home`` tier; a processing-in-memory engine sees its home tier at
    ``home_bandwidth``, the bandwidth inside the device, instead of the tier's port. ``in-memory`` engines are arrays
    that multiply by what their cells hold; they run contractions only. Of an engine that works ``beside`` the port (a
    second row buffer, banks of its own) the port serves others while it reads its home inside.

    An engine inside a memory may say what it is made of. ``device`` is a memory that computes, an array or an engine
    inside drives, a name from `tiercade list pim` or `list arrays` (or ``instinfer``); ``channels`` is how many
    channels, or chips of arrays, there are of it: as many as the device has when left out. A drive has one engine.
    Only cycle fidelity looks at them.

    An engine that runs kernels of a library says what they are cut for: ``units`` equal processors that each take one
    tile of the output at a time (streaming multiprocessors, compute units), their ``clock``, and the ``architecture``
    whose kernels it runs ("ampere", "hopper"). Only kernel fidelity looks at them (`mappers.kernels`).

    An engine may be described by the hardware units it is built of, ``rtl`` (`hw.spec.rtl_engine`), instead of by its
    rates. Cycle fidelity then counts its cycles by their contract.
    """

    kind: Literal["matrix", "vector", "cpu", "near-memory", "in-storage", "in-memory"]
    home: str
    throughput_ops_per_s: dict[FormatName, OperationRate] = Field(alias="throughput", min_length=1)
    launch_overhead_s: SecondsOrZero = Field(0.0, alias="launch_overhead")
    home_bandwidth_bytes_per_s: Bandwidth | None = Field(None, alias="home_bandwidth")
    beside: bool = False
    energy_j_per_op: dict[FormatName, EnergyPerOperation] = Field(default_factory=dict, alias="energy")
    array: Array | None = None
    buffers: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()
    device: str | None = Field(None, min_length=1)
    channels: PositiveInt | None = None
    units: PositiveInt | None = None
    clock_hz: Frequency | None = Field(None, alias="clock")
    architecture: str | None = Field(None, min_length=1)
    rtl: RtlUnits | None = None

    @model_validator(mode="before")
    @classmethod
    def _derive(cls, given: Any) -> Any:
        return with_unit_fields(given)

    def throughput(self, format_name: str) -> float:
        """Peak operations per second in ``format_name``, or in the listed format that stands in for it.

        A float format is computed in the narrowest listed float format at least as wide, an integer format in the
        narrowest integer format at least as wide, else in such a float format. When none is, the widest of the same
        family is taken, else the widest of all. A format that only exists in storage (int4 weights, say) has no
        arithmetic of its own: callers pass the format computed in.
        """
        return self.throughput_ops_per_s[self._computed_as(format_name, self.throughput_ops_per_s)]

    def energy(self, format_name: str) -> float:
        """Joules per operation in ``format_name`` by the same rule as `throughput`; 0 when none is given."""
        if not self.energy_j_per_op:
            return 0.0
        return self.energy_j_per_op[self._computed_as(format_name, self.energy_j_per_op)]

    @staticmethod
    def _computed_as(format_name: str, listed: Mapping[str, float]) -> str:
        if format_name in listed:
            return format_name
        bits = {name: storage_format(name).element_bits for name in listed}
        wanted = storage_format(format_name).element_bits
        floats = [name for name in listed if _is_float(name)]
        integers = [name for name in listed if not _is_float(name)]
        for family in (floats,) if _is_float(format_name) else (integers, floats):
            enough = [name for name in family if bits[name] >= wanted]
            if enough:
                return min(enough, key=lambda name: bits[name])
        same = floats if _is_float(format_name) else integers
        return max(same or listed, key=lambda name: bits[name])


class Tier(Component):
    """Something that stores. Reads and writes share the tier's port and take turns on it.

    ``holds: tensors`` tiers take whole tensors, placed by the planner; ``holds: tiles`` tiers (caches, scratchpads,
    accumulators) only hold pieces inside one operation.

    A tier of DRAM may say what it is made of: ``channels`` channels of ``device``, a name from `tiercade list devices`
    or a device file. ``mapping``, ``read_queue`` and ``write_queue`` are those of each channel's controller; left out,
    they are the simulator's defaults. A tier of flash is made of ``channels`` equal drives (one when left out), a name
    from `tiercade list drives` or a drive file; ``read_queue`` and ``write_queue`` are then the requests that the host
    keeps outstanding. Only cycle fidelity looks at them.

    An SRAM tier may be described by its ``macro`` (`hw.spec.macro`) instead of by its rates and energies.
    """

    kind: Literal["sram", "hbm", "dram", "cxl", "flash", "rram", "mram"]
    capacity_bytes: Bytes = Field(alias="capacity")
    read_bandwidth_bytes_per_s: Bandwidth = Field(alias="read_bandwidth")
    write_bandwidth_bytes_per_s: Bandwidth = Field(alias="write_bandwidth")
    latency_s: SecondsOrZero = Field(0.0, alias="latency")
    granularity_bytes: Bytes = Field(64.0, alias="granularity")
    read_energy_j_per_bit: EnergyPerBitOrZero = Field(0.0, alias="read_energy")
    write_energy_j_per_bit: EnergyPerBitOrZero = Field(0.0, alias="write_energy")
    static_power_w: PowerOrZero = Field(0.0, alias="static_power")
    holds: Literal["tensors", "tiles"] = "tensors"
    shared: bool = False
    device: str | None = Field(None, min_length=1)
    channels: PositiveInt | None = None
    mapping: str | None = Field(None, min_length=1)
    read_queue: PositiveInt | None = None
    write_queue: PositiveInt | None = None
    macro: SramMacro | None = None

    @model_validator(mode="before")
    @classmethod
    def _derive(cls, given: Any) -> Any:
        return with_derived_fields(given)


class Link(Component):
    """A connection between two tiers. ``full`` duplex links carry the stated bandwidth in each direction at once.

    ``protocol`` is what travels on it (`simulator.interconnect.protocols`: pcie-4.0-x16, cxl-5.0-x8, nvlink-4, ...).
    At cycle fidelity headers and flits then leave less than the bandwidth, by the size of the pieces that are moved.
    """

    between: tuple[str, str]
    bandwidth_bytes_per_s: Bandwidth = Field(alias="bandwidth")
    latency_s: SecondsOrZero = Field(0.0, alias="latency")
    message_cost_s: SecondsOrZero = Field(0.0, alias="message_cost")
    energy_j_per_bit: EnergyPerBitOrZero = Field(0.0, alias="energy")
    duplex: Literal["full", "half"] = "full"
    shared: bool = False
    protocol: str | None = Field(None, min_length=1)


class Fabric(Component):
    """What joins equal devices: ``bandwidth`` is what one device sends while it receives as much.

    ``library`` is the collective library that runs on it, by a name of simulator/interconnect/libraries.py; without
    one, collectives cost their steps at ``latency`` and their bytes at ``bandwidth``.
    """

    topology: Literal["switch", "ring", "mesh"]
    bandwidth_bytes_per_s: Bandwidth = Field(alias="bandwidth")
    latency_s: SecondsOrZero = Field(0.0, alias="latency")
    energy_j_per_bit: EnergyPerBitOrZero = Field(0.0, alias="energy")
    library: str | None = Field(None, min_length=1)


class System(Component):
    """A machine: ``devices`` equal devices of engines, tiers and links, joined by ``fabric`` and, beyond a node, by
    ``network``."""

    name: str = Field(min_length=1)
    description: str = ""
    devices: PositiveInt = 1
    engines: dict[Name, Engine] = Field(min_length=1)
    tiers: dict[Name, Tier] = Field(min_length=1)
    links: dict[Name, Link] = Field(default_factory=dict)
    fabric: Fabric | None = None
    network: Network | None = None
    static_power_w: PowerOrZero = Field(0.0, alias="static_power")

    @model_validator(mode="after")
    def _consistent(self) -> System:
        check_system(self)
        return self

    @property
    def node_devices(self) -> int:
        """Devices of a node, which divide what is shared."""
        return self.devices if self.network is None else min(self.devices, self.network.devices_per_node)

    @property
    def idle_power_w(self) -> float:
        """Idle power of all devices; what a node's devices share stands once a node."""
        nodes = self.devices // self.node_devices
        tiers = sum(tier.static_power_w * (nodes if tier.shared else self.devices) for tier in self.tiers.values())
        return self.devices * self.static_power_w + tiers

    def components(self) -> Iterator[tuple[str, Component]]:
        """Every component with its dotted path, the system itself first."""
        yield "", self
        for group in ("engines", "tiers", "links"):
            for name, component in getattr(self, group).items():
                yield f"{group}.{name}", component
        for name, engine in self.engines.items():
            if engine.array is not None:
                yield f"engines.{name}.array", engine.array
            if engine.rtl is not None:
                yield f"engines.{name}.rtl", engine.rtl
        for name, tier in self.tiers.items():
            if tier.macro is not None:
                yield f"tiers.{name}.macro", tier.macro
        if self.fabric is not None:
            yield "fabric", self.fabric
        if self.network is not None:
            yield "network", self.network
            yield from ((f"network.islands[{at}]", island) for at, island in enumerate(self.network.islands))
