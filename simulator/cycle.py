"""Cycle fidelity: operations and transfers at the rate at which the devices behind tiers, links and engines serve them.

The mapped operation stays as it is; its time at the home port grows by what the tier's device leaves of the nominal
rate for the operation's streams (`simulator.memory.op_streams`). Sequential transfers between tiers go at what the
devices and protocols at both ends and between leave for one stream; pieces that lie apart (cache blocks, gathered rows)
at what is left for such pieces. Products of an engine inside a memory take what its device takes for them
(`simulator.memory.inside`), those of an engine of hardware units the cycles of their contract (`simulator.units`).
Engines, tiers and links that name no device stay at their stated rates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from hw.spec.system import System
from mappers.assign import Assign, fastest_engines
from mappers.mapped import EngineShare, MappedLayer, MappedOp, MappedWorkload
from mappers.roofline import VECTOR_FORMAT, sharers
from simulator.interconnect.links import LinkType, protocol_efficiency
from simulator.interconnect.protocols import link_type
from simulator.memory.engine_services import engine_services
from simulator.memory.inside import InsideService, Served, products
from simulator.memory.op_streams import op_demands, piece_bytes
from simulator.memory.tier_services import TierService, drive_services, tier_services
from simulator.memory.traffic import SEQUENTIAL_BYTES, Demand
from simulator.transport import Slowness
from simulator.units import UnitService
from workloads.errors import InputError
from workloads.phases import Phase
from workloads.workload import Op, Operand, Role, Workload

__all__ = ["CycleService", "cycle_service"]

_STORING_KINDS = ("hbm", "dram", "cxl", "flash")
_SEQUENTIAL = Demand(SEQUENTIAL_BYTES)
_SEQUENTIAL_WRITES = Demand(SEQUENTIAL_BYTES, write_share=1.0)
_YEAR_S = 365.25 * 86400


@dataclass
class CycleService:
    """The devices behind a system's tiers, links and engines, for one workload.

    ``system`` is the machine with its tiers and links at the rate of sequential transfers. ``used`` keeps the fractions
    of each tier's operations, ``inside`` what engines inside memories spent their time on.
    """

    system: System
    tiers: Mapping[str, TierService]
    links: Mapping[str, LinkType]
    engines: Mapping[str, InsideService]
    units: Mapping[str, UnitService]
    roles: Mapping[str, Role]
    phase: Phase
    assign: Assign
    used: dict[str, list[float]] = field(default_factory=dict)
    inside: dict[str, Served] = field(default_factory=dict)
    counted: dict[str, list[float]] = field(default_factory=dict)

    def workload(self, mapped: MappedWorkload) -> MappedWorkload:
        """Every operation of ``mapped`` at the rate its home tier serves it."""
        layers = {
            name: MappedLayer(layer.layer, {op: self.op(at) for op, at in layer.ops.items()})
            for name, layer in mapped.layers.items()
        }
        computed = {
            f"{name}.{op}"
            for name, layer in mapped.layers.items()
            for op, at in layer.ops.items()
            if self._served(at) or self._counted(at)
        }
        left = ((reason, tuple(op for op in names if op not in computed)) for reason, names in mapped.at_roofline)
        at_roofline = tuple((reason, names) for reason, names in left if names)
        return replace(mapped, fidelity="cycle", layers=layers, at_roofline=at_roofline)

    def _served(self, mapped: MappedOp) -> bool:
        """Whether an engine's device computes the operation."""
        return self._main(mapped) in self.engines and any(products(mapped.op))

    def _counted(self, mapped: MappedOp) -> bool:
        """Whether hardware units compute the operation, by their contract."""
        return any(share.engine in self.units for share in mapped.shares) and any(products(mapped.op))

    def _main(self, mapped: MappedOp) -> str:
        """The engine of the operation's contractions, which decides how the home tier is seen; it comes first."""
        op = mapped.op
        return mapped.shares[0].engine if op.work.contraction else self.assign(op, self.system).contraction

    def op(self, mapped: MappedOp) -> MappedOp:
        """One operation as its memory serves it, never faster than it was; inside a memory, as its device computes."""
        if self._served(mapped):
            return self._inside(mapped, mapped.shares[0])
        if self._counted(mapped):
            mapped = replace(mapped, shares=tuple(self._by_contract(mapped, share) for share in mapped.shares))
        service = self.tiers.get(mapped.home)
        if service is None or self.system.engines[self._main(mapped)].home_bandwidth_bytes_per_s is not None:
            return mapped
        demands = list(op_demands(mapped.op, self.roles, self.phase))
        if not demands:
            return mapped
        nominal = sum(size for size, _ in demands)
        fraction = min(1.0, nominal / sum(size / service.fraction(demand) for size, demand in demands))
        self.used.setdefault(mapped.home, []).append(fraction)
        return replace(mapped, port_s=mapped.port_s / fraction)

    def _inside(self, mapped: MappedOp, share: EngineShare) -> MappedOp:
        """The products of an operation where they are computed; what is not a product stays as it was mapped."""
        name = share.engine
        engine, op = self.system.engines[name], mapped.op
        try:
            answers = [self.engines[name].serve(product) for product in products(op)]
        except InputError as error:
            raise replace(error, field=f"engines.{name}.device ({op.name}: {error.field})") from None
        turns = sharers(self.system, mapped.home)
        seconds = turns * sum(answer.seconds for answer in answers)
        energy_j = sum(answer.energy_j for answer in answers)
        own_rest = op.work.other if share.operations > op.work.contraction else 0.0
        seconds += turns * own_rest / engine.throughput(VECTOR_FORMAT)
        energy_j += own_rest * engine.energy(VECTOR_FORMAT)
        longest = max(answers, key=lambda answer: answer.seconds)
        if name not in self.inside or longest.seconds > self.inside[name].seconds:
            self.inside[name] = longest
        stays = sum(operand.bytes for operand in op.operands if operand.stored is not None and operand.access == "read")
        return replace(
            mapped,
            shares=tuple(
                replace(at, seconds=seconds, energy_j=energy_j) if at is share else at for at in mapped.shares
            ),
            read_bytes=max(0.0, mapped.read_bytes + mapped.inside_bytes - stays),
            inside_bytes=stays,
            port_s=turns * sum(answer.port_s for answer in answers),
        )

    def _by_contract(self, mapped: MappedOp, share: EngineShare) -> EngineShare:
        """The part of an operation that hardware units compute, in the cycles that their contract promises."""
        if share.engine not in self.units:
            return share
        op, turns = mapped.op, sharers(self.system, mapped.home)
        rest = share.operations - op.work.contraction
        try:
            seconds = turns * self.units[share.engine].seconds(op)
        except InputError as error:
            raise replace(error, field=f"engines.{share.engine}.{error.field or 'rtl'}") from None
        seconds += turns * max(0.0, rest) / self.system.engines[share.engine].throughput(VECTOR_FORMAT)
        self.counted.setdefault(share.engine, []).append(share.seconds / seconds)
        return replace(share, seconds=seconds)

    def slowness(self, op: Op, operand: Operand) -> Slowness:
        """How much longer than in order tiers and links take for the pieces that ``operand`` lies in."""
        piece = min(piece_bytes(op, operand, self.roles, self.phase), SEQUENTIAL_BYTES)

        def slower(component: str, writes: bool) -> float:
            if component in self.tiers:
                service, in_order = self.tiers[component], _SEQUENTIAL_WRITES if writes else _SEQUENTIAL
                asked = Demand(piece, write_share=1.0 if writes else 0.0)
                return max(1.0, service.fraction(in_order) / service.fraction(asked))
            if component in self.links:
                link = self.links[component]
                return max(1.0, protocol_efficiency(link, SEQUENTIAL_BYTES) / protocol_efficiency(link, piece))
            return 1.0

        return slower

    def notes(self) -> list[str]:
        """For each tier of memory its device and the part of the stated rate that was served; the same of links, and
        of engines inside memories what took them longest."""
        lines = []
        for name, tier in self.system.tiers.items():
            if tier.kind not in _STORING_KINDS:
                continue
            service = self.tiers.get(name)
            if service is None:
                lines.append(f"{name}: names no device, so it is at its stated bandwidth")
                continue
            assumed = ", assumed" if tier.mapping is None and tier.read_queue is tier.write_queue is None else ""
            read, written = (service.fraction(asked) for asked in (_SEQUENTIAL, _SEQUENTIAL_WRITES))
            parts = [f"transfers at {read:.3f}, written at {written:.3f}"]
            if name in self.used:
                served = sorted({f"{fraction:.3f}" for fraction in self.used[name]})
                parts.insert(0, f"operations at {' to '.join(dict.fromkeys((served[0], served[-1])))}")
            lines.append(f"{name}: {service}{assumed}; {', '.join(parts)} of the stated bandwidth")
        for name, link in self.links.items():
            payload = protocol_efficiency(link, SEQUENTIAL_BYTES)
            lines.append(f"{name}: {link.name}, {payload:.3f} of its rate is payload")
        for name, longest in self.inside.items():
            took = f"{longest.seconds * 1e6:,.1f} us"
            lines.append(f"{name}: {self.engines[name]}; longest product {took}: {longest.why}")
        for name, shares in self.counted.items():
            low, high = min(shares), max(shares)
            lines.append(f"{name}: {self.units[name]}; operations at {low:.3f} to {high:.3f} of its peak")
        return lines

    def wear_notes(self, written_bytes: Mapping[str, float], latency_s: float) -> list[str]:
        """How long drives last at this rate of writing, written in order; none where nothing is written to them."""
        lines = []
        for name, service in drive_services(self.tiers).items():
            written = written_bytes.get(name, 0.0) * sharers(self.system, name)
            endurance = service.drive.endurance_bytes
            if written and endurance is not None:
                years = service.drives * endurance / (written / latency_s) / _YEAR_S
                lines.append(
                    f"{name}: {written / 1e6:,.3g} MB written in {latency_s:.3g} s; at this rate its "
                    f"{service.drive.cells.endurance_cycles:,} cycles last {years:.3g} years, written in order"
                )
        return lines


def cycle_service(system: System, workload: Workload, assign: Assign = fastest_engines) -> CycleService:
    """The devices behind the parts of ``system``; raises `InputError` where there are none, or none that fit."""
    tiers, links = tier_services(system), _links(system)
    engines = engine_services(system, tiers)
    units = {name: UnitService(engine.rtl) for name, engine in system.engines.items() if engine.rtl is not None}
    if not tiers and not engines and not units:
        storing = next((name for name, tier in system.tiers.items() if tier.kind in _STORING_KINDS), "NAME")
        expected = f"tiers.{storing}.device=DEVICE and tiers.{storing}.channels=COUNT, as in 'tiercade list devices'"
        raise InputError(f"no part of {system.name} names a device", expected, "fidelity")
    slowed = dict(system.tiers)
    for name, service in tiers.items():
        tier = slowed[name]
        rates = {
            "read_bandwidth_bytes_per_s": tier.read_bandwidth_bytes_per_s * service.fraction(_SEQUENTIAL),
            "write_bandwidth_bytes_per_s": tier.write_bandwidth_bytes_per_s * service.fraction(_SEQUENTIAL_WRITES),
        }
        slowed[name] = tier.model_copy(update=rates)
    carried = dict(system.links)
    for name, kind in links.items():
        left = carried[name].bandwidth_bytes_per_s * protocol_efficiency(kind, SEQUENTIAL_BYTES)
        carried[name] = carried[name].model_copy(update={"bandwidth_bytes_per_s": left})
    roles: dict[str, Role] = {tensor.name: tensor.role for layer, _ in workload.layers() for tensor in layer.stored}
    served = system.model_copy(update={"tiers": slowed, "links": carried})
    return CycleService(served, tiers, links, engines, units, roles, workload.phase, assign)


_AGREEMENT = 0.15  # between a link's stated bandwidth and its protocol's line rate


def _links(system: System) -> dict[str, LinkType]:
    found = {}
    for name, link in system.links.items():
        if link.protocol is None:
            continue
        try:
            kind = link_type(link.protocol)
        except InputError as error:
            raise replace(error, field=f"links.{name}.protocol") from None
        if abs(kind.rate_bytes_per_s / link.bandwidth_bytes_per_s - 1) > _AGREEMENT:
            raise InputError(
                f"{kind.name} carries {kind.rate_bytes_per_s / 1e9:,.2f} GB/s, "
                f"bandwidth says {link.bandwidth_bytes_per_s / 1e9:,.2f} GB/s",
                f"the two within {_AGREEMENT:.0%}",
                f"links.{name}.protocol",
            )
        found[name] = kind
    return found
