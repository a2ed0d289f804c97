"""Cascades of extended Einsums: a language, its interpreter and its analyses."""

from workloads.einsum.analysis import analyse
from workloads.einsum.counts import (
    compulsory_traffic,
    iteration_space,
    mask_densities,
    mask_density,
    operation_counts,
    tensor_elements,
    touched_elements,
)
from workloads.einsum.errors import CascadeError
from workloads.einsum.graph import dependency_graph, fusion_groups, reuse_ranks
from workloads.einsum.interpreter import infer_sizes, run_cascade
from workloads.einsum.ir import Cascade, Einsum, Tensor
from workloads.einsum.parser import parse_cascade
from workloads.einsum.passes import PassCount, count_passes, pass_counts
from workloads.einsum.printer import print_cascade
from workloads.einsum.sizes import resolve_sizes

__all__ = [
    "Cascade",
    "CascadeError",
    "Einsum",
    "PassCount",
    "Tensor",
    "analyse",
    "compulsory_traffic",
    "count_passes",
    "dependency_graph",
    "fusion_groups",
    "infer_sizes",
    "iteration_space",
    "mask_densities",
    "mask_density",
    "operation_counts",
    "parse_cascade",
    "pass_counts",
    "print_cascade",
    "resolve_sizes",
    "reuse_ranks",
    "run_cascade",
    "tensor_elements",
    "touched_elements",
]
