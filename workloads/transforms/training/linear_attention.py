"""Linear attention in the place of softmax attention in a training step, its tokens divided over devices.

The output of a token is its query times the state of the tokens up to it, the sum of key times value over them (arXiv
2006.16236, without a feature map and a normaliser). Each of w devices has a chunk of c tokens of each sequence, whose
state is as large however long the chunk. How the devices get the states of the tokens before theirs:

- "lasp-2" (Sun et al., arXiv 2502.07563, algorithms 2 and 4): every device makes the state of its chunk, all gather
  them, and each sums those before its own; backward the gradients of the states are gathered, and those behind summed.
  The gathering goes on beside the work within the chunk.
- "lasp-1" (arXiv 2404.02882; algorithm 6 of LASP-2): a device gets the state of all tokens before its own from the
  device before it, and sends it on with its own chunk's added. Here the work of a device stands; when it gets the
  state is for `simulator.training.sequences.relay` to say.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

from workloads.cascades import load_cascade
from workloads.einsum import tensor_elements
from workloads.errors import InputError, unknown_name
from workloads.phases import Train
from workloads.workload import Collective, Layer, Op, Operand, Step, StoredTensor, Workload

__all__ = ["CHUNK", "StateExchange", "linear_attention", "state_elements"]

StateExchange = Literal["lasp-2", "lasp-1"]
"""How devices pass on states."""

CHUNK = 64
"""Tokens whose scores a kernel makes at once (BLOCK in lasp/lasp_naive.py of OpenNLPLab/LASP, 19750091)."""

_STATES = "bf16"
"""States travel in 16 bits (LASP-2, section 3.4)."""


def linear_attention(
    workload: Workload, *, devices: int = 1, stride: int = 1, exchange: StateExchange = "lasp-2", chunk: int = CHUNK
) -> Workload:
    """``workload``, a training step lowered for one device's share of each sequence, with linear attention.

    Each of ``devices``, ``stride`` apart, has such a share. Keys and values that query heads share are read once and
    make one state for each query head. Raises `InputError` for another phase than training, and where attention runs
    again in the backward pass.
    """
    if exchange not in get_args(StateExchange):
        raise unknown_name("exchange", exchange, get_args(StateExchange), field="exchange")
    if not isinstance(workload.phase, Train):
        raise InputError(f"linear attention of {workload.phase.name}", expected="train", field="phase")
    if workload.phase.checkpoint != "none":
        raise InputError(f"linear attention with {workload.phase.checkpoint} checkpoints", "none", "checkpoint")
    made: dict[str, Layer] = {}
    for layer, _ in workload.layers():
        if layer.name not in made:
            made[layer.name] = _Chunks(layer, devices, stride, exchange, chunk).layer()
    runs = tuple(replace(run, pattern=tuple(made[layer.name] for layer in run.pattern)) for run in workload.runs)
    return replace(workload, runs=runs)


def state_elements(op: Op) -> int:
    """Elements of the state that the tokens of a softmax attention's operation would leave, over its sequences."""
    size = dict(op.sizes)
    return size["b"] * size["h"] * size["g"] * size["e"] * size["f"]


class _Chunks:
    """One layer with its attention replaced, and the statistics that softmax kept left out."""

    def __init__(self, before: Layer, devices: int, stride: int, exchange: StateExchange, chunk: int) -> None:
        self.before, self.devices, self.stride = before, devices, stride
        self.exchange, self.chunk = exchange, chunk
        self.steps: list[Step] = []
        self.stored = {tensor.name: tensor for tensor in before.stored}
        self.ends: dict[str, tuple[str, ...]] = {}

    def layer(self) -> Layer:
        """The layer with linear attention."""
        for step in self.before.steps:
            after = tuple(end for name in step.after for end in self.ends.get(name, (name,)))
            step = replace(step, after=after)
            if not isinstance(step, Op) or step.kind != "attention":
                self.steps.append(step)
                continue
            given = {operand.symbol: operand for operand in step.operands}
            statistics = given["LSE"].stored
            self.stored.pop(statistics or "", None)
            if "DAV" in given:
                self._backward(step, given)
            else:
                self._forward(step, given)
        return replace(self.before, steps=tuple(self.steps), stored=tuple(self.stored.values()))

    def _forward(self, op: Op, given: dict[str, Operand]) -> None:
        query, key, value, result = (given[symbol] for symbol in ("Q", "K", "V", "AV"))
        within = replace(result, stored=None, activation=f"{op.name}_within")
        if self.devices == 1:
            self._chunks(op, "chunks", (query, key, value), (replace(result, symbol="O"),), op.after)
            return
        made = self._state(op, key, value, op.after)
        gathered = self._gather(op, made)
        chunks = self._chunks(op, "chunks", (query, key, value), (replace(within, symbol="O"),), op.after)
        state = f"{op.name}_state"
        self.stored[state] = StoredTensor(state, "activations", state_elements(op), _STATES)
        total = self._sum(op, gathered, Operand("M", "write", state_elements(op), _STATES, stored=state))
        reads = (query, self._read(op, "M", state, kept=True), replace(within, symbol="OI", access="read"))
        writes = (replace(result, symbol="O"),)
        self._tokens(op, "inter", "linear-attention-inter", reads, writes, (chunks, total))
        self.ends[op.name] = (f"{op.name}_inter",)

    def _backward(self, op: Op, given: dict[str, Operand]) -> None:
        query, key, value = (given[symbol] for symbol in "QKV")
        slope = replace(given["DAV"], symbol="DO")
        gradients = tuple(given[symbol] for symbol in ("DQ", "DK", "DV"))
        if self.devices == 1:
            self._chunks(op, "chunks", (query, key, value, slope), gradients, op.after)
            return
        made = self._state(op, query, slope, op.after)
        gathered = self._gather(op, made)
        within = tuple(replace(o, activation=f"{op.name}_within_{o.symbol}") for o in gradients)
        chunks = self._chunks(op, "chunks", (query, key, value, slope), within, op.after)
        behind = f"{op.name}_state"
        total = self._sum(op, gathered, Operand("M", "write", state_elements(op), _STATES, activation=behind))
        forward = f"{op.name.removesuffix('_grad')}_state"
        kept = StoredTensor(forward, "activations", state_elements(op), _STATES, shared_with=self._origin(forward))
        self.stored[forward] = kept
        states = (self._read(op, "M", forward, kept=True), self._read(op, "DM", behind, kept=False))
        begun = (replace(o, symbol=f"{o.symbol}I", access="read") for o in within)
        reads = (key, value, slope, *states, *begun)
        self._tokens(op, "inter", "linear-attention-inter-backward", reads, gradients, (chunks, total))
        self.ends[op.name] = (f"{op.name}_inter",)

    def _origin(self, name: str) -> str:
        """Where the forward layer keeps the state: where it keeps the queries."""
        layer = next(t.shared_with for t in self.before.stored if t.role == "activations" and t.shared_with is not None)
        return f"{layer.partition('.')[0]}.{name}"

    @staticmethod
    def _read(op: Op, symbol: str, name: str, *, kept: bool) -> Operand:
        where = {"stored" if kept else "activation": name}
        return Operand(symbol, "read", state_elements(op), _STATES, **where)  # type: ignore[arg-type]

    def _add(
        self,
        op: Op,
        what: str,
        cascade: str,
        sizes: dict[str, int],
        operands: tuple[Operand, ...],
        after: tuple[str, ...],
    ) -> str:
        name = op.name if what == "chunks" and self.devices == 1 else f"{op.name}_{what}"
        ordered = tuple(sorted(sizes.items()))
        kind = "linear_attention" if what != "sum" else "elementwise"
        self.steps.append(Op(name, kind, load_cascade(cascade), ordered, operands, op.compute_format, after, op.lane))
        return name

    def _chunks(
        self, op: Op, what: str, reads: tuple[Operand, ...], writes: tuple[Operand, ...], after: tuple[str, ...]
    ) -> str:
        size = dict(op.sizes)
        tokens = size["p"]
        chunk = min(self.chunk, tokens)
        if tokens % chunk:
            raise InputError(f"{tokens} tokens a device in chunks of {chunk}", f"a multiple of {chunk}", "context")
        sizes = {"h": size["b"] * size["h"] * size["g"], "n": tokens // chunk, "c": chunk, "j": chunk}
        backward = any(o.symbol == "DO" for o in reads)
        cascade = f"linear-attention-chunks{'-backward' if backward else ''}"
        return self._add(op, what, cascade, sizes | {"e": size["e"], "f": size["f"]}, (*reads, *writes), after)

    def _tokens(
        self, op: Op, what: str, cascade: str, reads: tuple[Operand, ...], writes: tuple[Operand, ...],
        after: tuple[str, ...],
    ) -> str:  # fmt: skip
        size = dict(op.sizes)
        sizes = {"h": size["b"] * size["h"] * size["g"], "t": size["p"], "e": size["e"], "f": size["f"]}
        return self._add(op, what, cascade, sizes, (*reads, *writes), after)

    def _state(self, op: Op, key: Operand, value: Operand, after: tuple[str, ...]) -> str:
        reads = (replace(key, symbol="K"), replace(value, symbol="V"))
        write = Operand("M", "write", state_elements(op), _STATES, activation=f"{op.name}_own_state")
        return self._tokens(op, "state", "linear-attention-state", reads, (write,), after)

    def _gather(self, op: Op, made: str) -> str:
        """Where all states are gathered, the exchange; where they pass by one after another, nothing travels here."""
        if self.exchange == "lasp-1":
            return made
        elements = float(self.devices * state_elements(op))
        name = f"{op.name}_states"
        self.steps.append(
            Collective(name, "all_gather", elements, _STATES, (made,), self.devices, op.lane, self.stride)
        )
        return name

    def _sum(self, op: Op, after: str, result: Operand) -> str:
        """The sum of the states of all before (or behind); of the one that came in and the own one in a relay."""
        size = dict(op.sizes)
        summed = 2 if self.exchange == "lasp-1" else self.devices
        heads = size["b"] * size["h"] * size["g"]
        sizes = {"w": summed, "h": heads, "e": size["e"], "f": size["f"]}
        source = f"{op.name}_{'states' if self.exchange == 'lasp-2' else 'own_state'}"
        shapes = tensor_elements(load_cascade("state-sum"), sizes)
        read = Operand("G", "read", shapes["G"], _STATES, activation=source)
        return self._add(op, "sum", "state-sum", sizes, (read, result), (after,))
