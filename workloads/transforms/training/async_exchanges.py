"""Exchanges of tensor-parallel devices in as many parts as there are devices, beside products they feed or follow.

A product begins when the first part of what it reads has come, and its result leaves part by part: of each exchange one
part alone is not hidden (Wang et al., ASPLOS 2023; "async tensor parallelism" of pytorch/torchtitan,
torch/distributed/_symmetric_memory/__init__.py: fused all-gather with matmul and matmul with reduce-scatter).
"""

from __future__ import annotations

from dataclasses import replace

from workloads.transforms.edit import edit_layers
from workloads.workload import Collective, Layer, Op, Step, Workload

__all__ = ["async_exchanges"]


def async_exchanges(workload: Workload) -> Workload:
    """``workload`` with its all-gathers before products and reduce-scatters behind products beside them."""
    parts = workload.devices

    def edit(layer: Layer) -> Layer:
        products = {op.name: op for op in layer.ops if op.kind == "gemm"}
        steps: list[Step] = []
        late: dict[str, str] = {}
        early: dict[str, str] = {}
        for step in layer.steps:
            if isinstance(step, Collective) and step.devices is None and parts > 1:
                one = replace(step, elements=step.elements / parts)
                rest = replace(step, elements=step.elements - one.elements)
                made = [products[name] for name in step.after if name in products]
                if step.kind == "all_gather":
                    steps.append(replace(one, name=f"{step.name}_first", after=step.after))
                    steps.append(replace(rest, after=(f"{step.name}_first",)))
                    early[step.name] = f"{step.name}_first"
                    late[step.name] = step.name
                    continue
                if step.kind == "reduce_scatter" and made:
                    begun = tuple(dict.fromkeys(name for op in made for name in op.after))
                    steps.append(replace(rest, name=f"{step.name}_first", after=_moved(begun, early)))
                    steps.append(replace(one, after=(*step.after, f"{step.name}_first")))
                    continue
            if isinstance(step, Op) and step.kind == "gemm":
                waited = tuple(name for name in step.after if name in early)
                steps.append(replace(step, after=_moved(step.after, early)))
                # Whoever waits for the product waits for all that it has read.
                late[step.name] = waited[-1] if waited else step.name
                continue
            after = dict.fromkeys(step.after)
            after |= {late[name]: None for name in step.after if name in late}
            steps.append(replace(step, after=tuple(after)))
        return replace(layer, steps=tuple(steps))

    return edit_layers(workload, edit)


def _moved(after: tuple[str, ...], early: dict[str, str]) -> tuple[str, ...]:
    """``after`` with whole gathers replaced by their first parts."""
    return tuple(dict.fromkeys(early.get(name, name) for name in after))
