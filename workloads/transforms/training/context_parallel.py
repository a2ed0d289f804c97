"""Context parallelism: the tokens of each sequence divided over devices, which exchange what attention needs of others.

- "ring": keys and values pass from device to device beside the attention over those at hand, and their gradients so
  backward (Ring Attention, arXiv 2310.01889). Causal work is balanced: of 2 cp pieces of a sequence a device has one
  from its beginning and the like one from its end.
- "gather": keys and values of all tokens are gathered first, and their gradients scattered after (Llama 3, arXiv
  2407.21783, section 3.3.2), with the same balance.
- "ulysses": devices change from tokens to heads before attention and back after it (DeepSpeed Ulysses, arXiv
  2309.14509): each has a share of the heads of all tokens.

A device keeps its share of everything; keys and values of others are fetched again for the backward pass. Of a
sequence of s tokens a device that has c = s / cp attends over c (s + 1) / 2 pairs under a causal mask. That is what a
causal mask leaves of c queries at the end of (s + c) / 2 keys, which is how the operation stands here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal, get_args

from workloads.errors import InputError, unknown_name
from workloads.phases import Train
from workloads.workload import Collective, Layer, Op, Operand, Step, Workload

__all__ = ["Exchange", "context_parallel"]

Exchange = Literal["ring", "gather", "ulysses"]
"""What devices exchange, and when."""

_CAUSAL = ("attention-1pass-causal-lse", "attention-backward")
_FULL = ("attention-1pass-lse", "attention-backward-full")


def context_parallel(workload: Workload, *, devices: int, stride: int = 1, exchange: Exchange = "ring") -> Workload:
    """The training step of a model on sequences ``devices`` times as long as the phase of ``workload`` says.

    ``workload`` is lowered for one device's share of each sequence; ``stride`` is how far apart the devices are that
    share one, the number of those that split the model by tensors. A window of attention must not be shorter than the
    whole sequence. Raises `InputError` for another phase than training, for attention under a window, where a causal
    mask cannot be balanced, and where key-value heads cannot be divided.
    """
    if exchange not in get_args(Exchange):
        raise unknown_name("exchange", exchange, get_args(Exchange), field="exchange")
    if not isinstance(workload.phase, Train):
        raise InputError(f"context parallelism of {workload.phase.name}", expected="train", field="phase")
    if devices < 1:
        raise InputError(f"context parallelism over {devices} devices", expected="1 or more", field="devices")
    if devices == 1:
        return workload
    made: dict[str, Layer] = {}
    for layer, _ in workload.layers():
        if layer.name not in made:
            made[layer.name] = _Dividing(layer, devices, stride, exchange).layer()
    runs = tuple(replace(run, pattern=tuple(made[layer.name] for layer in run.pattern)) for run in workload.runs)
    return replace(workload, runs=runs)


class _Dividing:
    """One layer whose attention is divided; what waits for attention waits for its exchanges too."""

    def __init__(self, before: Layer, devices: int, stride: int, exchange: Exchange) -> None:
        self.before, self.devices, self.stride, self.exchange = before, devices, stride, exchange
        self.steps: list[Step] = []
        self.ends: dict[str, tuple[str, ...]] = {}

    def layer(self) -> Layer:
        """The layer with its attention divided."""
        for step in self.before.steps:
            after = tuple(end for name in step.after for end in self.ends.get(name, (name,)))
            step = replace(step, after=after)
            if not isinstance(step, Op) or step.kind != "attention":
                self.steps.append(step)
            elif self.exchange == "ulysses":
                self._by_heads(step)
            else:
                self._by_queries(step)
        return replace(self.before, steps=tuple(self.steps))

    def _collective(
        self,
        op: Op,
        what: str,
        kind: Literal["all_gather", "reduce_scatter", "all_to_all", "ring_pass"],
        operands: Iterable[Operand],
        after: tuple[str, ...],
    ) -> str:
        found = tuple(operands)
        whole = 1 if kind == "all_to_all" else self.devices
        self.steps.append(
            Collective(
                f"{op.name}_{what}", kind, whole * sum(o.elements for o in found), found[0].format, after,
                devices=self.devices, lane=op.lane, stride=self.stride,
            )
        )  # fmt: skip
        return f"{op.name}_{what}"

    def _by_queries(self, op: Op) -> None:
        """A device's queries and the keys and values of all, which pass by or are gathered first."""
        ring = self.exchange == "ring"
        keys = [o for o in op.operands if o.symbol in ("K", "V")]
        gradients = [o for o in op.operands if o.symbol in ("DK", "DV")]
        first = self._collective(op, "keys_values", "ring_pass" if ring else "all_gather", keys, op.after)
        operands = tuple(self._of_all(o) if o in keys or o in gradients else o for o in op.operands)
        after = op.after if ring else (first,)
        self.steps.append(replace(op, sizes=self._sizes(op), operands=operands, after=after))
        ends = (op.name, first) if ring else (op.name,)
        if gradients:
            after = op.after if ring else (op.name,)
            last = self._collective(
                op, "keys_values_grads", "ring_pass" if ring else "reduce_scatter", gradients, after
            )
            ends = (*ends, last) if ring else (last,)
        self.ends[op.name] = ends

    def _of_all(self, operand: Operand) -> Operand:
        """Keys or values of all tokens. In a ring they take the room of two shares: one used, one on its way."""
        value = operand.stored or operand.activation
        whole = 2 * operand.elements if self.exchange == "ring" else None
        if operand.access == "read":
            value = f"{value}_of_all"
        return replace(
            operand, stored=None, activation=value, elements=self.devices * operand.elements, whole_elements=whole
        )

    def _sizes(self, op: Op) -> tuple[tuple[str, int], ...]:
        size = dict(op.sizes)
        own = size["p"]
        keys = own * self.devices
        if op.cascade.name in _CAUSAL:
            if (keys + own) % 2:
                raise InputError(
                    f"{own} tokens a device cannot be cut into two equal pieces",
                    expected="an even number of tokens a device",
                    field="context",
                    nearest=str(own + 1),
                )
            keys = (keys + own) // 2
        elif op.cascade.name not in _FULL:
            raise InputError(f"{op.cascade.name!r} cannot be divided by tokens", "attention to all tokens", "exchange")
        return tuple(sorted((size | {"m": keys}).items()))

    def _by_heads(self, op: Op) -> None:
        """A share of the heads of all tokens: as many elements of every operand as before."""
        size = dict(op.sizes)
        if op.cascade.name not in (*_CAUSAL, *_FULL):
            raise InputError(f"{op.cascade.name!r} cannot be divided by heads", "attention to all tokens", "exchange")
        if size["h"] % self.devices:
            fits = [count for count in range(1, size["h"] + 1) if size["h"] % count == 0]
            nearest = min(fits, key=lambda count: abs(count - self.devices))
            raise InputError(
                f"{size['h']} key-value heads cannot be divided over {self.devices} devices",
                expected=f"a divisor of {size['h']}",
                field="devices",
                nearest=str(nearest),
            )
        sizes = size | {"h": size["h"] // self.devices, "p": size["p"] * self.devices, "m": size["m"] * self.devices}
        given = {o.symbol: o for o in op.operands}
        comes = [given["DAV"]] if "DAV" in given else [given[symbol] for symbol in "QKV"]
        goes = [given[symbol] for symbol in ("DQ", "DK", "DV")] if "DAV" in given else [given["AV"]]
        after = op.after
        # What runs again finds its operands as the forward pass kept them: by heads.
        if not (op.name.endswith("_again") and comes[0].stored is not None):
            after = (self._collective(op, "to_heads", "all_to_all", comes, op.after),)
        self.steps.append(replace(op, sizes=tuple(sorted(sizes.items())), after=after))
        if any(self._leaves_attention(o) for o in goes):
            self.ends[op.name] = (self._collective(op, "to_tokens", "all_to_all", goes, (op.name,)),)

    def _leaves_attention(self, operand: Operand) -> bool:
        """Whether another operation than attention reads what is written here."""
        if operand.stored is not None:
            return True
        readers = (op for op in self.before.ops if op.kind != "attention")
        return any(o.access == "read" and o.activation == operand.activation for op in readers for o in op.operands)
