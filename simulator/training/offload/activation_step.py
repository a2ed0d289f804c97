"""A training step as one stream of timed passes over activations: what each makes, what each reads, in which order.

    step = activation_step(workload, map_workload(workload, system, fidelity="kernel"), system)

Built from a lowered training workload: every repetition of a layer becomes a module with activations of its own. Kept
activations (stored tensors of role "activations") live from the pass that makes them to the last backward pass that
reads them, all others to their last reader. Weights, gradients of weights and states are not activations and are left
out, as is the update.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from hw.spec.system import System
from mappers.mapped import MappedLayer, MappedWorkload
from simulator.transport import collective_cost
from workloads.errors import InputError
from workloads.phases import Train
from workloads.workload import Layer, Op, Operand, Step, Workload

__all__ = ["ActivationStep", "StepPass", "activation_step", "with_dropout"]


@dataclass(frozen=True)
class StepPass:
    """One operation or collective of ``module``: ``seconds`` on the compute stream, and activations by name."""

    name: str
    module: int
    backward: bool
    seconds: float
    makes: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()


@dataclass(frozen=True)
class ActivationStep:
    """``passes`` in their order; ``bytes_of`` every activation; ``kept`` those that wait for the backward pass, in the
    order in which they are made; ``module_of`` the module that makes each of these. Raises `InputError` where a kept
    activation is never made, or is read before it is made."""

    passes: tuple[StepPass, ...]
    bytes_of: Mapping[str, float]
    kept: tuple[str, ...]
    module_of: Mapping[str, int]
    _made: Mapping[str, int] = field(init=False, compare=False, repr=False)
    _read: Mapping[str, tuple[int, ...]] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        made: dict[str, int] = {}
        read: dict[str, list[int]] = {}
        for index, each in enumerate(self.passes):
            for name in each.reads:
                if name not in made:
                    raise InputError(f"pass {each.name} reads {name} before it is made", field="passes")
                read.setdefault(name, []).append(index)
            for name in each.makes:
                made.setdefault(name, index)
        if lost := [name for name in self.kept if name not in made]:
            raise InputError(f"no pass makes {lost[0]}", field="kept")
        object.__setattr__(self, "_made", made)
        object.__setattr__(self, "_read", {name: tuple(at) for name, at in read.items()})

    def made_at(self, name: str) -> int:
        """Index of the pass that makes an activation."""
        return self._made[name]

    def read_at(self, name: str) -> tuple[int, ...]:
        """Indices of the passes that read it, in order; its maker's where none does."""
        return self._read.get(name, (self._made[name],))

    def last_forward(self, name: str) -> int:
        """The last forward pass that makes or reads it."""
        ahead = [at for at in self.read_at(name) if not self.passes[at].backward]
        return max([self.made_at(name), *ahead])

    def first_backward(self, name: str) -> int | None:
        """The first backward pass that reads it, None where none does."""
        return next((at for at in self.read_at(name) if self.passes[at].backward), None)

    @property
    def compute_s(self) -> float:
        """Seconds of all passes: the step where nothing waits."""
        return sum(each.seconds for each in self.passes)

    @property
    def forward_s(self) -> float:
        """Seconds of the forward passes."""
        return sum(each.seconds for each in self.passes if not each.backward)

    @property
    def kept_bytes(self) -> float:
        """Bytes of all that waits for the backward pass."""
        return sum(self.bytes_of[name] for name in self.kept)


def activation_step(workload: Workload, mapped: MappedWorkload, system: System) -> ActivationStep:
    """The step of ``workload`` with the times of ``mapped`` and of ``system``'s collectives.

    Raises `InputError` for a workload that is not of a training step, and where it is computed in lanes.
    """
    if not isinstance(workload.phase, Train):
        raise InputError(f"a workload of phase {workload.phase.name}", "of a training step", "workload")
    maker = _Maker(mapped, system, workload.devices)
    for run in workload.runs:
        for _ in range(run.count):
            for layer in run.pattern:
                if not layer.name.endswith("_update"):
                    maker.layer(layer, mirrored=run.mirrored)
    return ActivationStep(tuple(maker.passes), maker.bytes_of, tuple(maker.kept), maker.module_of)


def with_dropout(step: ActivationStep) -> ActivationStep:
    """``step`` with dropout on the branches that norms sum up: each keeps a mask of a byte for two of the sum (arXiv
    2205.05198, section 4.1, less the scores' mask, which fused attention draws again). What runs again has none."""
    bytes_of, module_of = dict(step.bytes_of), dict(step.module_of)
    names = {each.name for each in step.passes}
    passes, read = [], {}
    for each in step.passes:
        norm, _, place = each.name.partition("@")
        total = next((name for name in each.makes if name.startswith(f"residual_of_{norm}@")), None)
        again = f"{norm}_again@{place}b" in names
        if not each.backward and total in module_of and f"{norm}_grad@{place}b" in names and not again:
            mask = f"mask_of_{norm}@{place}"
            bytes_of[mask], module_of[mask] = bytes_of[total] / 2, each.module
            read[f"{norm}_grad@{place}b"] = mask
            each = replace(each, makes=(*each.makes, mask))
        elif each.name in read:
            each = replace(each, reads=(*each.reads, read[each.name]))
        passes.append(each)
    kept = tuple(name for each in passes for name in each.makes if name in module_of)
    return ActivationStep(tuple(passes), bytes_of, tuple(dict.fromkeys(kept)), module_of)


class _Maker:
    """Layers one after another; what one hands on under the next one's names."""

    def __init__(self, mapped: MappedWorkload, system: System, devices: int) -> None:
        self.mapped, self.system, self.devices = mapped, system, devices
        self.passes: list[StepPass] = []
        self.bytes_of: dict[str, float] = {}
        self.kept: dict[str, None] = {}
        self.module_of: dict[str, int] = {}
        self.instances: dict[str, list[int]] = {}  # modules of a forward layer not yet gone back through
        self.count = 0
        self.handed_on: tuple[str, ...] = ()

    def layer(self, layer: Layer, *, mirrored: bool) -> None:
        shared = {tensor.shared_with for tensor in layer.stored if tensor.role == "activations" and tensor.shared_with}
        forward = next((name.partition(".")[0] for name in shared if name), None)
        if mirrored and forward is None:
            forward = layer.name.removesuffix("_backward")
        if mirrored and forward is not None and self.instances.get(forward):
            module = self.instances[forward].pop()
        else:
            module = self.count
            self.count += 1
            self.instances.setdefault(layer.name, []).append(module)
        names = {
            tensor.name: f"{(tensor.shared_with or tensor.name).rpartition('.')[2]}@{module}"
            for tensor in layer.stored
            if tensor.role == "activations"
        }
        for tensor in layer.stored:
            if tensor.role == "activations" and tensor.shared_with is None:
                self.bytes_of[names[tensor.name]] = tensor.bytes
                self.module_of[names[tensor.name]] = module
        # The head's forward and backward pass are one layer, which turns round at the loss.
        backward = mirrored
        made: dict[str, str] = {}
        unread: dict[str, None] = {}
        mapped = self.mapped.layers[layer.name]
        for step in layer.steps:
            backward = backward or step.name == "loss_grad"
            operands = step.operands if isinstance(step, Op) else ()
            reads = self._reads(operands, names, made, unread)
            makes = self._makes(operands, names, made, unread, f"{module}{'b' if mirrored else 'f'}")
            seconds = self._seconds(step, mapped)
            name = f"{step.name}@{module}{'b' if mirrored else ''}"
            self.passes.append(StepPass(name, module, backward, seconds, makes, reads))
        self.handed_on = tuple(unread)

    def _reads(
        self, operands: tuple[Operand, ...], names: dict[str, str], made: dict[str, str], unread: dict[str, None]
    ) -> tuple[str, ...]:
        found: dict[str, None] = {}
        for operand in operands:
            if operand.access != "read":
                continue
            if operand.stored is not None:
                if operand.stored in names:
                    found[names[operand.stored]] = None
            elif operand.activation in made:
                found[made[operand.activation]] = None
                unread.pop(made[operand.activation], None)
            else:
                found |= dict.fromkeys(self.handed_on)
        return tuple(found)

    def _makes(
        self,
        operands: tuple[Operand, ...],
        names: dict[str, str],
        made: dict[str, str],
        unread: dict[str, None],
        place: str,
    ) -> tuple[str, ...]:
        found: dict[str, None] = {}
        for operand in operands:
            if operand.access != "write":
                continue
            if operand.stored is not None:
                if operand.stored in names:
                    name = names[operand.stored]
                    self.kept[name] = None
                    found[name] = None
            elif operand.activation is not None:
                name = made.setdefault(operand.activation, f"{operand.activation}~{place}")
                self.bytes_of[name] = max(self.bytes_of.get(name, 0.0), operand.room_bytes)
                found[name] = None
                unread[name] = None
        return tuple(found)

    def _seconds(self, step: Step, mapped: MappedLayer) -> float:
        if isinstance(step, Op):
            return mapped.ops[step.name].time_s
        _, wire_s, beside_s = collective_cost(self.system, step, self.devices)
        return wire_s + beside_s
