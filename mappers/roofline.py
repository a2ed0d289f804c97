"""Operation cost at roofline fidelity: the longest of computing and moving each operand once, plus a fixed overhead.

Williams, Waterman, Patterson, "Roofline", CACM 52(4), 2009, with one term per engine and the launch overhead added.
The bytes are the cascade's compulsory traffic: each operand once, intermediates of the cascade never.
"""

from __future__ import annotations

from hw.spec.system import System
from mappers.assign import Assign, fastest_engines
from mappers.mapped import EngineShare, MappedLayer, MappedOp, MappedWorkload
from workloads.workload import Op, Role, Workload

__all__ = ["VECTOR_FORMAT", "roofline_op", "roofline_workload", "sharers"]

VECTOR_FORMAT = "fp32"
"""Element-wise work, reductions and exponentials are computed in fp32, as attention and norm kernels do."""


NOT_WEIGHTS: frozenset[Role] = frozenset({"kv_cache", "activations", "gradients", "optimizer"})
"""Roles of what is stored beside the weights."""


def sharers(system: System, tier: str) -> int:
    """How many devices take turns at ``tier`` and at the engines at home in it: all of them where it is shared."""
    return system.node_devices if system.tiers[tier].shared else 1


def roofline_op(op: Op, system: System, assign: Assign = fastest_engines) -> MappedOp:
    """Map one operation by the roofline."""
    assignment = assign(op, system)
    main = system.engines[assignment.contraction]
    work = {assignment.contraction: 0.0, assignment.other: 0.0}
    seconds = dict.fromkeys(work, 0.0)
    energy = dict.fromkeys(work, 0.0)
    for engine_name, operations, fmt in (
        (assignment.contraction, op.work.contraction, op.compute_format),
        (assignment.other, op.work.other, VECTOR_FORMAT),
    ):
        engine = system.engines[engine_name]
        work[engine_name] += operations
        seconds[engine_name] += sharers(system, engine.home) * operations / engine.throughput(fmt)
        energy[engine_name] += operations * engine.energy(fmt)
    tier, turns = system.tiers[main.home], sharers(system, main.home)
    read_bytes, write_bytes, inside_bytes = op.bytes("read"), op.bytes("write"), 0.0
    read_bandwidth, write_bandwidth = tier.read_bandwidth_bytes_per_s, tier.write_bandwidth_bytes_per_s
    inside = main.home_bandwidth_bytes_per_s
    if inside is not None and main.beside:
        inside_bytes = sum(o.bytes for o in op.operands if o.stored is not None and o.access == "read")
        read_bytes -= inside_bytes
        first = assignment.contraction
        seconds[first] = max(seconds[first], turns * inside_bytes / inside)
    elif inside is not None:
        read_bandwidth = write_bandwidth = inside
    shares = tuple(EngineShare(name, work[name], seconds[name], energy[name]) for name in work if work[name])
    return MappedOp(
        op=op,
        home=main.home,
        shares=shares or (EngineShare(assignment.other, 0.0, 0.0, 0.0),),
        read_bytes=read_bytes,
        write_bytes=write_bytes,
        port_s=turns * (read_bytes / read_bandwidth + write_bytes / write_bandwidth),
        overhead_s=max(system.engines[share].launch_overhead_s for share in work) if op.launched else 0.0,
        inside_bytes=inside_bytes,
    )


def roofline_workload(workload: Workload, system: System, assign: Assign = fastest_engines) -> MappedWorkload:
    """Map every distinct layer once. ``home`` is the tier whose engines read most of the weights.

    The KV cache has no say in it, so that the home does not change with batch and context; nor has what a training step
    keeps beside the weights, so that it does not follow the optimizer.
    """
    layers: dict[str, MappedLayer] = {}
    read: dict[str, float] = {}
    for layer, count in workload.layers():
        mapped = MappedLayer(layer, {op.name: roofline_op(op, system, assign) for op in layer.ops})
        layers[layer.name] = mapped
        caches = {tensor.name for tensor in layer.stored if tensor.role in NOT_WEIGHTS}
        for mapped_op in mapped.ops.values():
            operands = [o for o in mapped_op.op.operands if o.stored is not None and o.stored not in caches]
            read[mapped_op.home] = read.get(mapped_op.home, 0.0) + count * sum(o.bytes for o in operands)
    return MappedWorkload(workload, "roofline", max(read, key=lambda name: (read[name], name)), layers)
