"""Sequence parallelism: what lies between the divided products of a training step is divided by tokens.

Tensor parallelism alone leaves norms, sums and what they keep whole on every device. Here each device has its share of
the tokens there: an all-reduce becomes a reduce-scatter where it stands and an all-gather in front of the products that
read the norm behind it. Backward, the gradient that comes in is gathered in front of a row-divided product's gradients,
the gradient of a norm's output is scattered, and the norm's output, of which a device keeps its share, is gathered
again for the gradient of the weights, beside the gradient of the input (Korthikanti et al., MLSys 2023, arXiv
2205.05198, section 4.2). The embedding's output and the head's input are scattered too.

Each device then has a part of the sum over tokens that is the gradient of a norm's gain: a few rows of the model's
width, whose sum over the devices is left out here.
"""

from __future__ import annotations

from dataclasses import replace

from workloads.errors import InputError
from workloads.phases import Train
from workloads.workload import Collective, Layer, Op, Operand, Step, StoredTensor, Workload

__all__ = ["sequence_parallel"]

TOKEN_WISE = ("norm", "elementwise")
"""Kinds of operations that are divided by tokens where all they read is; all others need all tokens."""

_WHOLE_BEFORE = "token_ids"
"""What a first layer reads that no layer has made: every device has all of it."""


def sequence_parallel(workload: Workload) -> Workload:
    """A training step split over ``workload.devices`` by tensor parallelism, with sequence parallelism between.

    A layer of a GPT of width h then keeps 32 s b h / t bytes in 16-bit formats (the paper's 34 less two dropout masks),
    and 4 s b (4 + a) / t of statistics in 32 bit. Raises `InputError` for another phase than training and where the
    tokens cannot be divided.
    """
    if not isinstance(workload.phase, Train):
        raise InputError(f"sequence parallelism of {workload.phase.name}", expected="train", field="phase")
    if workload.devices == 1:
        return workload
    tokens, devices = workload.phase.tokens, workload.devices
    if tokens % devices:
        nearest = max(1, round(tokens / devices)) * devices
        raise InputError(
            f"{tokens} tokens cannot be divided over {devices} devices",
            expected=f"a multiple of {devices}",
            field="context",
            nearest=f"{nearest} tokens",
        )
    scattered: set[str] = set()
    made: dict[str, Layer] = {}
    for layer, _ in workload.layers():
        if layer.name not in made:
            made[layer.name] = _Scattering(layer, devices, scattered).layer()
    runs = tuple(replace(run, pattern=tuple(made[layer.name] for layer in run.pattern)) for run in workload.runs)
    return replace(workload, runs=runs)


class _Scattering:
    """One layer; ``kept`` are the tensors ("layer.tensor") known to be kept by tokens, to which it adds its own."""

    def __init__(self, before: Layer, devices: int, kept: set[str]) -> None:
        self.before, self.devices, self.kept = before, devices, kept
        self.steps: list[Step] = []
        self.written: set[str] = set()
        self.maker: dict[str, str] = {}
        self.scattered = {tensor.name for tensor in before.stored if tensor.shared_with in kept}
        self.gathers: dict[tuple[str, bool], str] = {}

    def layer(self) -> Layer:
        """The layer with its token-wise operations divided and its exchanges replaced."""
        for step in self.before.steps:
            if isinstance(step, Collective):
                self._exchange(step)
            elif step.kind == "attention":
                self.steps.append(step)
            elif step.kind in TOKEN_WISE and self._is_between(step):
                self._divide(step)
            else:
                self._gather_for(step)
            if isinstance(step, Op):
                self.written |= {_value(o) for o in step.operands if o.access == "write"}
        stored = tuple(self._share(tensor) for tensor in self.before.stored)
        return replace(self.before, steps=tuple(self.steps), stored=stored)

    def _is_between(self, op: Op) -> bool:
        """Whether all activations that ``op`` reads are divided by tokens. What also reads others needs all tokens."""
        reads = [o for o in op.operands if o.access == "read" and self._is_value(o)]
        return bool(reads) and all(self._is_scattered(o) for o in reads)

    def _is_scattered(self, operand: Operand) -> bool:
        value = _value(operand)
        if value in self.scattered:
            return True
        # What the layer before hands on lies between divided products.
        return operand.stored is None and value not in self.written and value != _WHOLE_BEFORE

    def _exchange(self, step: Collective) -> None:
        """A sum over the devices of a whole value leaves each its share of the tokens."""
        sums = [
            _value(o)
            for op in self.before.ops
            if step.kind == "all_reduce" and op.name in step.after
            for o in op.operands
            if o.access == "write" and self._is_value(o) and o.elements == step.elements
        ]
        if sums:
            step = replace(step, kind="reduce_scatter")
            self.scattered |= set(sums)
            self.maker |= dict.fromkeys(sums, step.name)
        self.steps.append(step)

    def _divide(self, op: Op) -> None:
        size = dict(op.sizes)
        if size["t"] % self.devices:
            raise InputError(
                f"{size['t']} rows of {op.name!r} cannot be divided over {self.devices} devices",
                expected=f"a multiple of {self.devices}",
                field="devices",
            )
        made = {_value(o) for o in op.operands if o.access == "write" and self._is_value(o)}
        self.scattered |= made
        self.maker |= dict.fromkeys(made, op.name)
        operands = tuple(
            replace(o, elements=o.elements / self.devices) if self._is_value(o) else o for o in op.operands
        )
        sizes = tuple((rank, rows // self.devices if rank == "t" else rows) for rank, rows in op.sizes)
        self.steps.append(replace(op, sizes=sizes, operands=operands))

    def _is_value(self, operand: Operand) -> bool:
        """Whether ``operand`` is an activation, kept or not, rather than a weight or its gradient."""
        roles = {tensor.name: tensor.role for tensor in self.before.stored}
        return operand.stored is None or roles[operand.stored] == "activations"

    def _gather_for(self, op: Op) -> None:
        """All tokens of the values that ``op`` reads and that the devices have shares of."""
        operands, after = [], list(op.after)
        for operand in op.operands:
            if operand.access == "write" or not self._is_scattered(operand):
                operands.append(operand)
                continue
            value = _value(operand)
            again = op.name.endswith("_wgrad") and operand.symbol == "A"
            if (value, again) not in self.gathers:
                self.gathers[value, again] = self._gather(op, operand, again)
            gather = self.gathers[value, again]
            if self.maker.get(value) in after:
                after.remove(self.maker[value])
            after += [gather] * (gather not in after)
            operands.append(replace(operand, stored=None, activation=f"{value}_gathered"))
        self.steps.append(replace(op, operands=tuple(operands), after=tuple(after)))

    def _gather(self, op: Op, operand: Operand, again: bool) -> str:
        value = _value(operand)
        name = f"{value}_gather"
        if again:
            # Beside the step before: with the gradient of the input that the weights' gradient follows.
            waited = (step.after for step in self.steps if step.name in op.after)
            after = tuple(dict.fromkeys(name for names in waited for name in names))
            name = f"{name}_again" if (value, False) in self.gathers else name
        else:
            after = (self.maker[value],) if value in self.maker else ()
        self.steps.append(Collective(name, "all_gather", operand.elements, operand.format, after, lane=op.lane))
        return name

    def _share(self, tensor: StoredTensor) -> StoredTensor:
        if tensor.name not in self.scattered:
            return tensor
        self.kept.add(f"{self.before.name}.{tensor.name}")
        return replace(tensor, elements=tensor.elements / self.devices)


def _value(operand: Operand) -> str:
    return operand.stored or operand.activation or ""
