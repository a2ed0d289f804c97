"""Traces and their generators: which pieces of a model each step touches."""

from workloads.traces.routing import RoutingStream, synthetic_routing

__all__ = ["RoutingStream", "synthetic_routing"]
