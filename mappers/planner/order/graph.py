"""Operations that read and write tensors in one small memory, and what an order of them has to keep there.

While an operation runs, memory holds every tensor that was written before and is still wanted, the operation's outputs
and its scratch. A tensor is wanted until its last reader has run, an output of the graph for ever. Tensors that no
operation writes are there from the start. ``in_place`` names inputs that the first output may overwrite, as a depthwise
convolution or an addition may: where the operation is the last reader of such an input, and the graph does not return
it, the two take max(in, out) bytes and not in + out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from mappers.planner.allocation.problem import LARGEST
from workloads.errors import InputError, unknown_name

__all__ = ["Op", "OrderGraph", "Tensor", "bits"]


@dataclass(frozen=True, slots=True)
class Tensor:
    """``bytes`` under a name."""

    name: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Op:
    """An operation; ``scratch_bytes`` are held only while it runs."""

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    in_place: tuple[str, ...] = ()
    scratch_bytes: int = 0


@dataclass(frozen=True)
class OrderGraph:
    """Operations, their tensors, and the tensors that are still wanted at the end.

    Raises `InputError`, whose field is that of the file format, for names that are unknown or twice there, sizes out of
    range, a tensor written twice or by nobody read, ``in_place`` of what is not read, and cycles.
    """

    name: str
    tensors: tuple[Tensor, ...]
    ops: tuple[Op, ...]
    outputs: tuple[str, ...]

    def __post_init__(self) -> None:
        self._check_names()
        self._check_ops()
        total = sum(tensor.bytes for tensor in self.tensors) + sum(op.scratch_bytes for op in self.ops)
        if total >= LARGEST:
            raise InputError(f"the tensors have {total} bytes together", "less than 2^56", "tensors")
        for i, name in enumerate(self.outputs):
            if name not in self.index:
                raise unknown_name("tensor", name, self.index, field=f"outputs[{i}]")
        for tensor in self.tensors:
            touched = tensor.name in self.writer or self.readers[self.index[tensor.name]]
            if not touched and tensor.name not in self.outputs:
                raise InputError("nothing reads or writes it", "a tensor of an operation", f"tensors.{tensor.name}")
        self._check_cycles()

    def _check_names(self) -> None:
        if not self.ops:
            raise InputError("there is no operation", "one or more", "ops")
        for tensor in self.tensors:
            if not 0 <= tensor.bytes < LARGEST:
                raise InputError(f"{tensor.bytes} bytes", "0 to 2^56 bytes", f"tensors.{tensor.name}")
        if len(self.index) < len(self.tensors):
            raise InputError("two tensors have the same name", "each its own", "tensors")
        seen: set[str] = set()
        for i, op in enumerate(self.ops):
            if op.name in seen:
                raise InputError(f"the name {op.name!r} occurs twice", "each operation its own", f"ops[{i}].name")
            seen.add(op.name)

    def _check_ops(self) -> None:
        written: dict[str, str] = {}
        for i, op in enumerate(self.ops):
            where = f"ops[{i}]"
            if not 0 <= op.scratch_bytes < LARGEST:
                raise InputError(f"{op.scratch_bytes} bytes", "0 to 2^56 bytes", f"{where}.scratch")
            for part, names in (("reads", op.reads), ("writes", op.writes), ("in_place", op.in_place)):
                for j, name in enumerate(names):
                    if name not in self.index:
                        raise unknown_name("tensor", name, self.index, field=f"{where}.{part}[{j}]")
                    if name in names[:j]:
                        raise InputError(f"{name} is there twice", "each tensor once", f"{where}.{part}[{j}]")
            if not op.writes:
                raise InputError(f"{op.name} writes nothing", "one tensor or more", f"{where}.writes")
            for j, name in enumerate(op.writes):
                if name in written:
                    problem = f"{name} is written by {written[name]} too"
                    raise InputError(problem, "each tensor written once", f"{where}.writes[{j}]")
                written[name] = op.name
            for j, name in enumerate(op.in_place):
                if name not in op.reads:
                    raise InputError(f"{op.name} does not read {name}", "an input", f"{where}.in_place[{j}]")

    def _check_cycles(self) -> None:
        left, done = set(range(len(self.ops))), 0
        while ready := [i for i in left if not self.before[i] & ~done]:
            done |= sum(1 << i for i in ready)
            left -= set(ready)
        if left:
            at = min(left)
            trail: list[int] = []
            while at not in trail:  # every operation left waits for another one left
                trail.append(at)
                at = next(j for j in bits(self.before[at]) if j in left)
            names = [self.ops[i].name for i in reversed(trail[trail.index(at) :])]
            raise InputError(f"{' -> '.join([*names, names[0]])} wait for each other", "no cycle", f"ops[{at}].reads")

    @cached_property
    def index(self) -> Mapping[str, int]:
        """Position of each tensor by name."""
        return {tensor.name: i for i, tensor in enumerate(self.tensors)}

    @cached_property
    def writer(self) -> Mapping[str, int]:
        """Position of the operation that writes a tensor; tensors that are there from the start are not in it."""
        return {name: i for i, op in enumerate(self.ops) for name in op.writes}

    @cached_property
    def readers(self) -> tuple[int, ...]:
        """For each tensor the operations that read it, as bits."""
        masks = [0] * len(self.tensors)
        for i, op in enumerate(self.ops):
            for name in op.reads:
                masks[self.index[name]] |= 1 << i
        return tuple(masks)

    @cached_property
    def before(self) -> tuple[int, ...]:
        """For each operation those whose results it reads, as bits."""
        return tuple(sum(1 << j for j in {self.writer[t] for t in op.reads if t in self.writer}) for op in self.ops)

    @cached_property
    def after(self) -> tuple[int, ...]:
        """For each operation those that read its results, as bits."""
        masks = [0] * len(self.ops)
        for i, waits in enumerate(self.before):
            for j in bits(waits):
                masks[j] |= 1 << i
        return tuple(masks)

    @cached_property
    def kept(self) -> frozenset[int]:
        """Positions of the graph's outputs."""
        return frozenset(self.index[name] for name in self.outputs)

    @cached_property
    def start_bytes(self) -> int:
        """Bytes of the tensors that are there before anything runs."""
        return sum(t.bytes for i, t in enumerate(self.tensors) if t.name not in self.writer and self.wanted(i))

    def wanted(self, tensor: int) -> bool:
        """Whether anybody reads the tensor, or the graph returns it; else it is gone when its writer is done."""
        return bool(self.readers[tensor]) or tensor in self.kept

    def positions(self, names: Iterable[str]) -> tuple[int, ...]:
        """Tensors' positions by name."""
        return tuple(self.index[name] for name in names)


def bits(mask: int) -> Iterable[int]:
    """Positions of the bits set, lowest first."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low
