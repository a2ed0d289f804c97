"""A batch in lanes: equal parts that go through the layers each on its own, sharing the weights that are brought in.

With all of a layer's work in one lane after another, weights that are streamed serve many batches (FlexGen, ICML 2023,
arXiv 2303.06865, section 4.1: the zig-zag block schedule). With layers cut after their attention, one lane's attention
runs beside what another lane does from there to its next attention (NEO, MLSys 2025, arXiv 2411.01142; FastDecode,
arXiv 2403.11421; NeuPIMs, ASPLOS 2024, arXiv 2403.00579; Lamina, arXiv 2405.01814): what works on attention and what
works on the rest take turns at the lanes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from workloads.errors import InputError
from workloads.models.lower import repeating_runs
from workloads.phases import Phase
from workloads.transforms.edit import part_of
from workloads.workload import Layer, Op, Run, Step, StoredTensor, Workload

__all__ = ["Lanes", "cut_after", "in_lanes"]


@dataclass(frozen=True)
class Lanes:
    """``count`` equal parts of the batch; layers are cut after their operations of kind ``cut`` where one is named."""

    count: int = 1
    cut: str | None = None

    def __post_init__(self) -> None:
        if self.count < 1:
            raise InputError(f"{self.count} lanes", expected="1 or more", field="lanes")

    def split(self, make: Callable[[Phase], Workload], phase: Phase) -> Workload:
        """What ``make`` makes of ``phase``, in lanes: it is asked for one lane's part of the batch.

        The workload's phase is then that of a lane. Raises `InputError` when the batch cannot be split evenly.
        """
        if phase.batch % self.count:
            raise InputError(
                f"a batch of {phase.batch} cannot be split into {self.count} equal lanes",
                expected=f"a multiple of {self.count}",
                field="batch",
            )
        if self.count == 1:
            return make(phase)
        workload = make(replace(phase, batch=phase.batch // self.count))
        return in_lanes(workload if self.cut is None else cut_after(workload, self.cut), self.count)


def in_lanes(workload: Workload, count: int) -> Workload:
    """``workload`` done by each of ``count`` lanes, one after another in every layer; caches are each lane's own."""
    runs = tuple(Run(tuple(_layer_in_lanes(layer, count) for layer in run.pattern), run.count) for run in workload.runs)
    return replace(workload, runs=runs)


def _layer_in_lanes(layer: Layer, count: int) -> Layer:
    own = {tensor.name for tensor in layer.stored if tensor.role == "kv_cache"}
    stored = []
    for tensor in layer.stored:
        if tensor.name not in own:
            stored.append(tensor)
            continue
        for lane in range(count):
            shared = tensor.shared_with and f"{tensor.shared_with}/{lane}"
            stored.append(replace(tensor, name=f"{tensor.name}/{lane}", shared_with=shared))
    steps = [_step_in_lane(step, lane, own) for lane in range(count) for step in layer.steps]
    return Layer(layer.name, tuple(steps), tuple(stored))


def _step_in_lane(step: Step, lane: int, own: set[str]) -> Step:
    name, after = f"{step.name}/{lane}", tuple(f"{waited}/{lane}" for waited in step.after)
    if not isinstance(step, Op):
        return replace(step, name=name, after=after, lane=lane)
    operands = tuple(
        replace(
            operand,
            stored=f"{operand.stored}/{lane}" if operand.stored in own else operand.stored,
            activation=operand.activation and f"{operand.activation}/{lane}",
        )
        for operand in step.operands
    )
    return replace(step, name=name, after=after, lane=lane, operands=operands)


@dataclass(frozen=True)
class _Piece:
    """The part of a layer between two cuts: which of the workload's layers it is of, and its steps."""

    layer: Layer
    steps: tuple[Step, ...]
    last: bool


def cut_after(workload: Workload, kind: str) -> Workload:
    """The same steps in layers that end with operations of ``kind``, where they ended with the model's blocks.

    What stood before the first such operation stays with it, and what stood after the last is the last layer. Raises
    `InputError` when no operation is of that kind.
    """
    if not any(op.kind == kind for layer, _ in workload.layers() for op in layer.ops):
        raise InputError(f"{workload.model} has no operation of kind {kind!r} to cut after", field="lanes.cut")
    blocks: list[list[_Piece]] = [[]]
    for layer in (layer for run in workload.runs for layer in run.pattern * run.count):
        if not layer.steps:  # only stored: nothing to join
            blocks.insert(-1, [_Piece(layer, (), last=True)])
            continue
        for piece in _pieces(layer, kind):
            blocks[-1].append(piece)
            if not piece.last:
                blocks.append([])
    kinds: dict[tuple[tuple[str, tuple[str, ...]], ...], int] = {}
    order = []
    for block in blocks:
        key = tuple((piece.layer.name, tuple(step.name for step in piece.steps)) for piece in block)
        order.append(kinds.setdefault(key, len(kinds)))
    made: list[tuple[Layer, dict[str, str]]] = []
    for number in range(len(kinds)):
        joined, names = _joined(blocks[order.index(number)])
        name = _free(joined.name, {layer.name for layer, _ in made})
        made.append((replace(joined, name=name), names))
    homes = {before: f"{layer.name}.{now}" for layer, names in made for before, now in names.items()}
    layers = [replace(layer, stored=tuple(_shared_as(tensor, homes) for tensor in layer.stored)) for layer, _ in made]
    runs = tuple(Run(tuple(layers[at] for at in pattern), count) for pattern, count in repeating_runs(order))
    return replace(workload, runs=runs)


def _shared_as(tensor: StoredTensor, homes: dict[str, str]) -> StoredTensor:
    return replace(tensor, shared_with=tensor.shared_with and homes[tensor.shared_with])


def _pieces(layer: Layer, kind: str) -> Iterator[_Piece]:
    """The layer cut after each stretch of operations of ``kind``; the last piece is what follows the last cut."""
    steps: list[Step] = []
    for step, behind in zip(layer.steps, (*layer.steps[1:], None), strict=True):
        steps.append(step)
        if part_of(step, kind) and (behind is None or not part_of(behind, kind)):
            yield _Piece(layer, tuple(steps), last=False)
            steps = []
    yield _Piece(layer, tuple(steps), last=True)


def _joined(pieces: list[_Piece]) -> tuple[Layer, dict[str, str]]:
    """One layer of ``pieces``, and by the path it had the name of each tensor that is stored here first."""
    steps: list[Step] = []
    stored: dict[str, StoredTensor] = {}
    names: dict[str, str] = {}
    for piece in pieces:
        taken = {step.name for step in steps}
        called = {step.name: _free(step.name, taken) for step in piece.steps}
        tensors = {}
        for tensor in _stored_in(piece):
            now = _free(tensor.name, set(stored))
            tensors[tensor.name] = now
            stored[now] = replace(tensor, name=now)
            path = f"{piece.layer.name}.{tensor.name}"
            if tensor.shared_with != path:
                names[path] = now
        before = Layer("", tuple(steps), ()).last_steps
        for step in piece.steps:
            # What a step waited for in an earlier piece of its layer has ended when the layer before has.
            after = tuple(called[name] for name in step.after if name in called)
            moved = replace(step, name=called[step.name], after=after or before)
            if isinstance(moved, Op):
                operands = tuple(replace(o, stored=o.stored and tensors[o.stored]) for o in moved.operands)
                moved = replace(moved, operands=operands)
            steps.append(moved)
    title = "+".join(piece.layer.name for piece in pieces if piece.steps or piece.layer.stored)
    return Layer(title, tuple(steps), tuple(stored.values())), names


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name = f"next_{name}"
    return name


def _stored_in(piece: _Piece) -> Iterator[StoredTensor]:
    """Tensors that this piece of a layer touches, shared with the piece that does so first; the last has the rest."""
    at = piece.layer.steps.index(piece.steps[0]) if piece.steps else len(piece.layer.steps)
    before = {o.stored for step in piece.layer.steps[:at] if isinstance(step, Op) for o in step.operands}
    here = {o.stored for step in piece.steps if isinstance(step, Op) for o in step.operands}
    ever = {o.stored for op in piece.layer.ops for o in op.operands}
    for tensor in piece.layer.stored:
        if tensor.name in here and tensor.name in before:
            yield replace(tensor, shared_with=tensor.shared_with or f"{piece.layer.name}.{tensor.name}")
        elif tensor.name in here or (piece.last and tensor.name not in ever):
            yield tensor
