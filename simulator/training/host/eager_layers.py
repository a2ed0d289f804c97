"""Seconds of a transformer's passes under ZeRO-3 where attention is not fused: its scores pass the memory.

Products run at the share of the peak that a set of kernels attains. Attention is two products over the whole square of
the context (masked, not skipped), and its scores are written, read and written by the softmax, and read again; backward
twice the work, and their gradient passes as often again. Parameters of a layer are gathered from all devices when they
are needed, but for those that were fetched ahead; gradients are reduced and scattered after the layer. A forward pass
is no faster than the host issues it: it runs every module and its hooks. Backward, kernels are issued without these.
"""

from __future__ import annotations

from dataclasses import dataclass

from mappers.planner.swap import Machine
from mappers.planner.swap.layer_graph import LayerOp, layer_graph
from simulator.training.host.state_tensors import parameter_tensors
from workloads.models.architecture import Model

__all__ = ["PassSeconds", "pass_seconds"]

_BYTES = 2
_FORWARD_PASSES, _BACKWARD_PASSES = 4, 8
"""Of the scores through memory: write, softmax's read and write, read; backward for them and their gradient."""


@dataclass(frozen=True)
class PassSeconds:
    """One micro-batch on one device: computation of each pass, what of the collectives it does not hide, and how long
    the host issues a forward pass."""

    forward_s: float
    backward_s: float
    gather_s: float
    scatter_s: float
    issue_s: float

    def forward(self) -> float:
        return max(self.forward_s + self.gather_s, self.issue_s)

    def backward(self, *, checkpointed: bool) -> float:
        """With the forward pass of every layer once more where activations are ``checkpointed``."""
        again = max(self.forward_s, self.issue_s) if checkpointed else 0.0
        return again + self.backward_s + self.gather_s + self.scatter_s


def pass_seconds(
    model: Model, machine: Machine, context: int, batch: int, *, ahead: int = 0, issue_s: float = 0.0
) -> PassSeconds:
    """A micro-batch of ``batch`` sequences on each of the machine's devices, ``ahead`` parameters of a layer fetched
    ahead, its forward pass issued in ``issue_s``.

    Raises `InputError` where the layers are not all one dense causal kind.
    """
    graph, layers = layer_graph(model, context, 1), len(model.order)
    attention = model.blocks[0].attention
    scores = _BYTES * attention.heads * context**2
    square = 2 * 2 * context**2 * attention.heads * attention.head_dim
    rate = machine.peak_flops_per_s * machine.kernels.gemm

    def seconds(ops: tuple[LayerOp, ...], attended: float, passes: int) -> float:
        plain = sum(machine.seconds(op) for op in ops if not op.attention_flops)
        return batch * (plain + attended / rate + passes * scores / machine.memory_bytes_per_s)

    head = 2.0 * batch * context * model.hidden * model.vocabulary / rate
    elements = [tensor.elements for tensor in parameter_tensors(model, fused=True) if tensor.layer == 0]
    outside = sum(tensor.elements for tensor in parameter_tensors(model, fused=True) if tensor.layer is None)
    shared = _BYTES * (machine.devices - 1) / machine.devices
    fabric = machine.fabric_bytes_per_s if machine.devices > 1 else 1.0
    late = layers * max(0, sum(elements) - ahead) + outside
    return PassSeconds(
        layers * seconds(graph.forward, square, _FORWARD_PASSES) + head,
        layers * seconds(graph.backward, 2 * square, _BACKWARD_PASSES) + 2 * head,
        shared * late / fabric,
        shared * (layers * sum(elements) + outside) / fabric,
        layers * issue_s,
    )
