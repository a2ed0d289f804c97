"""What travels between the stages of a pipeline, over a link that is known."""

from __future__ import annotations

from simulator.interconnect.collectives import Topology, best_exchange
from simulator.interconnect.links import LinkType, effective_bandwidth
from simulator.training.pipeline.execution import StageLinks

__all__ = ["stage_links"]


def stage_links(
    link: LinkType, output_bytes: float, *, stages: int, reduced_bytes: float = 0.0, topology: Topology = "switch"
) -> StageLinks:
    """Times of a pipeline whose stages hand on ``output_bytes`` over ``link``, and all-reduce ``reduced_bytes`` among
    all of them (with the output sent to all before), each collective by its fastest algorithm on the ``topology``."""
    rate, latency_s = effective_bandwidth(link, output_bytes), link.latency_s

    def seconds(kind: str, size: float) -> float:
        best = best_exchange(kind, size, stages, topology=topology, bandwidth_bytes_per_s=rate, latency_s=latency_s)
        return best.time_s(rate, latency_s)

    if not reduced_bytes:
        return StageLinks(output_bytes / rate, latency_s)
    return StageLinks(
        output_bytes / rate, latency_s, seconds("broadcast", output_bytes), seconds("all_reduce", reduced_bytes)
    )
