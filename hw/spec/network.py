"""What joins the nodes of a cluster: adapters at every node, and islands of nodes whose adapters are of one kind."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PositiveInt

from hw.spec.component import Component
from hw.spec.quantity import Bandwidth, EnergyPerBitOrZero, SecondsOrZero

__all__ = ["Island", "Network"]


class Island(Component):
    """``nodes`` nodes in a row that reach each other at ``bandwidth`` a device, ``latency`` a step."""

    nodes: PositiveInt
    bandwidth_bytes_per_s: Bandwidth = Field(alias="bandwidth")
    latency_s: SecondsOrZero = Field(0.0, alias="latency")


class Network(Component):
    """Devices stand in nodes of ``devices_per_node``, numbered node by node; the fabric joins those of a node.

    ``bandwidth`` is one device's share of its node's adapters, in each direction: what a node sends to others is so
    much times its devices. ``protocol`` is the adapter (`simulator.interconnect.links.NICS`), whose headers leave less
    than that. Where nodes stand in ``islands``, these are the rates between nodes of different islands.
    """

    devices_per_node: PositiveInt
    bandwidth_bytes_per_s: Bandwidth = Field(alias="bandwidth")
    latency_s: SecondsOrZero = Field(0.0, alias="latency")
    energy_j_per_bit: EnergyPerBitOrZero = Field(0.0, alias="energy")
    protocol: Literal["infiniband", "ethernet"] = "infiniband"
    islands: Annotated[
        tuple[Island, ...], BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)
    ] = ()
