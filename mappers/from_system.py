"""From a system to a mapper's machine: one engine's home tier, its buffers and its arithmetic as a `Hierarchy`.

What a system description does not say stays out. Where the engine states no array, nothing is known of registers and
operand networks below the innermost buffer: the peak rate presupposes that they keep up, so that buffer holds tiles but
sets no limit on their traffic, and the energy per operation covers it. Where it does, each processing element keeps one
weight, as a weight-stationary array does, and what enters and leaves the array takes the buffer's ports and energy.
"""

from __future__ import annotations

from typing import Any

from hw.spec.hierarchy import Action, Fanout, Hierarchy, Level, Unit
from hw.spec.source import Source
from hw.spec.system import Engine, System, Tier
from mappers.roofline import VECTOR_FORMAT
from workloads.einsum.operators import MAPS, REDUCES, SELECTIONS
from workloads.errors import InputError, unknown_name
from workloads.formats import storage_format

__all__ = ["engine_hierarchy"]

OPERATORS = tuple(sorted({*MAPS, *REDUCES, *SELECTIONS}))
"""The operators of the cascade language. The rates of an engine tell none apart, so each is one operation."""

ELEMENTS = "elements"
"""The level of one weight in each processing element of an array."""


def engine_hierarchy(
    system: System, contraction_engine: str, other_engine: str, compute_format: str = "bf16"
) -> Hierarchy:
    """The engines ``contraction_engine`` and ``other_engine`` of one device with what lies between them and their home.

    Contractions run in ``compute_format`` on the first at half its operations per second (a multiply-accumulate is
    two), everything else in fp32 on the second. The levels are the home tier, then the contraction engine's buffers;
    the home keeps all but intermediates, the outermost buffer whatever the home does not. Home reads and writes share
    one port; where the two directions have different rates they become ports of their own. An array becomes fan-outs
    of ``columns`` (the input goes to all) and ``rows`` (results are summed), filled as far as an Einsum can; several
    arrays count as one whose clock is as many times higher. Raises `InputError` for engines that the system lacks, that
    differ in their home, or of which the first has no buffers.
    """
    for name in (contraction_engine, other_engine):
        if name not in system.engines:
            raise unknown_name("engine", name, system.engines, field="engines")
    main, other = system.engines[contraction_engine], system.engines[other_engine]
    if other.home != main.home:
        at_home = [name for name, engine in system.engines.items() if engine.home == main.home]
        raise unknown_name(f"engine at {main.home}", other_engine, at_home, field="engines")
    if not main.buffers:
        raise InputError(
            "has no buffers, so there is nothing to map onto",
            "tiers that hold tiles, innermost first",
            f"engines.{contraction_engine}.buffers",
        )
    levels: dict[str, Level] = {main.home: _home(system.tiers[main.home], main)}
    buffers = tuple(reversed(main.buffers))
    for place, name in enumerate(buffers):
        inner = place == len(buffers) - 1
        levels[name] = _buffer(
            system.tiers[name],
            parent=tuple(levels)[-1],
            home=main.home if place == 0 else None,
            limited=not inner or main.array is not None,
            priced=not inner or main.array is not None,
        )
    innermost = tuple(levels)[-1]
    units: dict[str, Unit] = {}
    if contraction_engine == other_engine:
        units[contraction_engine] = _general_unit(main, innermost, compute_format)
    else:
        parent = innermost
        if main.array is not None:
            levels[ELEMENTS] = _elements(main, innermost, compute_format)
            parent = ELEMENTS
        units[contraction_engine] = _contraction_unit(main, parent, compute_format)
        units[other_engine] = _other_unit(other, innermost)
    named = contraction_engine if contraction_engine == other_engine else f"{contraction_engine} and {other_engine}"
    return Hierarchy(
        name=f"{system.name} {contraction_engine} {compute_format}",
        description=f"{named} of {system.name}: contractions in {compute_format}, the rest in {VECTOR_FORMAT}.",
        levels=levels,
        units=units,
    )


def _home(tier: Tier, engine: Engine) -> Level:
    inside = engine.home_bandwidth_bytes_per_s
    read, write = inside or tier.read_bandwidth_bytes_per_s, inside or tier.write_bandwidth_bytes_per_s
    return Level(
        read_energy_j_per_bit=tier.read_energy_j_per_bit,
        write_energy_j_per_bit=tier.write_energy_j_per_bit,
        keep=("not intermediate",),
        may_keep=("all",),
        sources=_derived(tier.sources),
        **_ports(read, write),
    )


def _buffer(tier: Tier, *, parent: str, home: str | None, limited: bool, priced: bool) -> Level:
    ports = _ports(tier.read_bandwidth_bytes_per_s, tier.write_bandwidth_bytes_per_s) if limited else {}
    return Level(
        parent=parent,
        capacity_bytes=tier.capacity_bytes,
        read_energy_j_per_bit=tier.read_energy_j_per_bit if priced else 0.0,
        write_energy_j_per_bit=tier.write_energy_j_per_bit if priced else 0.0,
        keep=(f"not {home}",) if home is not None else (),
        may_keep=("all",),
        sources=_derived(tier.sources),
        **ports,
    )


def _ports(read: float, write: float) -> dict[str, Any]:
    if read == write:
        return {"bandwidth_bytes_per_s": read}
    return {"read_bandwidth_bytes_per_s": read, "write_bandwidth_bytes_per_s": write}


def _elements(engine: Engine, parent: str, compute_format: str) -> Level:
    assert engine.array is not None
    return Level(
        parent=parent,
        capacity_bytes=storage_format(compute_format).element_bits / 8,
        fanout={
            "columns": Fanout(size=engine.array.columns, reuse="input", min_usage=1.0),
            "rows": Fanout(size=engine.array.rows, reuse="output", min_usage=1.0),
        },
        keep=("weight",),
        sources={
            "capacity": Source("derived", "one weight in each processing element of a weight-stationary array"),
            **_derived(engine.array.sources, "fanout"),
        },
    )


def _contraction_unit(engine: Engine, parent: str, compute_format: str) -> Unit:
    elements = engine.array.rows * engine.array.columns if engine.array is not None else 1
    return Unit(
        parent=parent,
        clock_hz=engine.throughput(compute_format) / 2 / elements,
        actions={"mac": Action(energy_j=2 * engine.energy(compute_format))},
        takes="contraction",
        sources={"clock": Source("derived", "peak operations per second / 2 / elements of the array")},
    )


def _other_unit(engine: Engine, parent: str) -> Unit:
    return Unit(
        parent=parent,
        clock_hz=engine.throughput(VECTOR_FORMAT),
        actions=dict.fromkeys(OPERATORS, Action(energy_j=engine.energy(VECTOR_FORMAT))),
        takes="other",
        sources={"clock": Source("derived", f"peak {VECTOR_FORMAT} operations per second")},
    )


def _general_unit(engine: Engine, parent: str, compute_format: str) -> Unit:
    """One engine for everything: its cycle is one multiply-accumulate, other operations take their share of it."""
    rate = engine.throughput(compute_format) / 2
    each = Action(cycles=rate / engine.throughput(VECTOR_FORMAT), energy_j=engine.energy(VECTOR_FORMAT))
    return Unit(
        parent=parent,
        clock_hz=rate,
        actions={**dict.fromkeys(OPERATORS, each), "mac": Action(energy_j=2 * engine.energy(compute_format))},
        sources={"clock": Source("derived", "peak operations per second / 2")},
    )


def _derived(sources: dict[str, Source], only: str | None = None) -> dict[str, Source]:
    """Where a system's numbers are from, for the fields that a level has."""
    if only is not None:
        texts = sorted({str(source) for source in sources.values()})
        return {only: Source("derived", "; ".join(texts))} if texts else {}
    fields = {"capacity", "read_energy", "write_energy", "read_bandwidth", "write_bandwidth"}
    return {name: Source("derived", str(source)) for name, source in sources.items() if name in fields}
