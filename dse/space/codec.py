"""Designs as numbers: mixed radix over the parameters, with one number for designs that are the same.

The ordinal of a design is its choices read as digits, the first parameter the most significant. A parameter that plays
no part in a design has choice 0 there; ordinals where it has another belong to no design.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dse.space.parameter import Parameter, Value
from workloads.errors import InputError, unknown_name

__all__ = ["Choices", "Codec"]

Choices = NDArray[np.int64]
"""(designs, parameters): the number of each parameter's value."""

_BLOCK = 1 << 16
_MOST_ORDINALS = 1 << 62  # ordinals are 64-bit integers


@dataclass(frozen=True)
class Codec:
    """Numbering of the designs over ``parameters``, by name in their order."""

    parameters: Mapping[str, Parameter]

    def __post_init__(self) -> None:
        seen: list[str] = []
        for name, parameter in self.parameters.items():
            for other in parameter.when:
                if other not in seen:
                    raise unknown_name("parameter", other, seen, field=f"parameters.{name}.when")
                for value in parameter.active_at(other):
                    if value not in self.values[other]:
                        raise InputError(
                            f"{other} is never {value!r}",
                            f"one of {', '.join(map(str, self.values[other][:12]))}",
                            f"parameters.{name}.when.{other}",
                        )
            seen.append(name)
        if self.product > _MOST_ORDINALS:
            raise InputError(f"{self.product:.3g} combinations", f"at most {_MOST_ORDINALS:.3g}", "parameters")

    @cached_property
    def values(self) -> dict[str, list[Value]]:
        """The values of each parameter."""
        return {name: parameter.values for name, parameter in self.parameters.items()}

    @cached_property
    def radices(self) -> Choices:
        """How many values each parameter has."""
        return np.array([len(values) for values in self.values.values()], dtype=np.int64)

    @property
    def product(self) -> int:
        """Ordinals: designs if no parameter were conditional."""
        return int(np.prod([int(radix) for radix in self.radices], dtype=object)) if len(self.radices) else 1

    @cached_property
    def _weights(self) -> list[int]:
        weights, total = [], 1
        for radix in reversed(self.radices.tolist()):
            weights.append(total)
            total *= radix
        return weights[::-1]

    @cached_property
    def _conditions(self) -> list[tuple[int, list[tuple[int, NDArray[np.bool_]]]]]:
        """Of each conditional parameter its place, and for each parameter it looks at, which choices let it in."""
        places = {name: at for at, name in enumerate(self.parameters)}
        found = []
        for name, parameter in self.parameters.items():
            if parameter.when:
                masks = []
                for other in parameter.when:
                    active = parameter.active_at(other)
                    masks.append((places[other], np.array([value in active for value in self.values[other]])))
                found.append((places[name], masks))
        return found

    def canonical(self, choices: Choices) -> Choices:
        """``choices`` with those of parameters that play no part set to 0."""
        result = choices.copy()
        for place, masks in self._conditions:  # in order, so that what is looked at is settled
            active = np.ones(len(result), dtype=np.bool_)
            for other, mask in masks:
                active &= mask[result[:, other]] & self._active(result, other)
            result[~active, place] = 0
        return result

    def _active(self, choices: Choices, place: int) -> NDArray[np.bool_]:
        """Whether the parameter at ``place`` plays a part itself: one that does not lets nothing else in."""
        for at, masks in self._conditions:
            if at == place:
                active = np.ones(len(choices), dtype=np.bool_)
                for other, mask in masks:
                    active &= mask[choices[:, other]] & self._active(choices, other)
                return active
        return np.ones(len(choices), dtype=np.bool_)

    def encode(self, choices: Choices) -> NDArray[np.int64]:
        """Ordinals of designs, whatever is said of parameters that play no part."""
        return self.canonical(choices) @ np.array(self._weights, dtype=np.int64)

    def decode(self, ordinals: NDArray[np.int64]) -> Choices:
        """Choices of designs; the other way round of `encode` for ordinals that belong to designs."""
        left = np.asarray(ordinals, dtype=np.int64)
        digits = np.empty((len(left), len(self.radices)), dtype=np.int64)
        for at, weight in enumerate(self._weights):
            digits[:, at], left = left // weight, left % weight
        return digits

    def is_design(self, ordinals: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which ordinals belong to a design."""
        choices = self.decode(ordinals)
        result: NDArray[np.bool_] = (self.canonical(choices) == choices).all(axis=1)
        return result

    def blocks(self) -> Iterator[NDArray[np.int64]]:
        """The ordinals of all designs in order, some ten thousand at a time."""
        for start in range(0, self.product, _BLOCK):
            ordinals = np.arange(start, min(start + _BLOCK, self.product), dtype=np.int64)
            if self._conditions:
                ordinals = ordinals[self.is_design(ordinals)]
            if len(ordinals):
                yield ordinals

    @cached_property
    def size(self) -> int:
        """How many designs there are; counted over the parameters that conditions look at."""
        return self._count(0, {})

    def _count(self, place: int, settled: dict[int, int]) -> int:
        """Designs over the parameters from ``place`` on: -1 in ``settled`` for one that plays no part."""
        looked_at = {other for _, masks in self._conditions for other, _ in masks}
        conditions = dict(self._conditions)
        if place == len(self.radices):
            return 1
        active = all(settled[other] >= 0 and mask[settled[other]] for other, mask in conditions.get(place, []))
        radix = int(self.radices[place])
        if place not in looked_at:
            rest = self._count(place + 1, settled)
            return rest * (radix if active else 1)
        if not active:
            return self._count(place + 1, {**settled, place: -1})
        return sum(self._count(place + 1, {**settled, place: choice}) for choice in range(radix))

    def named(self, choices: Sequence[int] | Choices) -> dict[str, Value]:
        """One design as its parameters' values."""
        return {name: values[int(choice)] for (name, values), choice in zip(self.values.items(), choices, strict=True)}
