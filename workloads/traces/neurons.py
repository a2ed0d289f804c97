"""Which neurons of sparse feed-forwards are active from token to token, and what a window of them loads.

The generator is synthetic: a neuron's odds p / (1 - p) to be active fall with its rank u in (0, 1] by a power law,
``scale`` u^-``exponent``, and each neuron is a chain that keeps its state with ``persistence``: it redraws with
probability 1 - persistence, so that a neuron that is not active becomes so with q = p (1 - persistence). Then shares
of neurons have closed forms: active in a token E[p]; in at least one of k tokens E[1 - (1 - p)(1 - q)^(k - 1)]; newly
active after k tokens without E[(1 - p)(1 - q)^(k - 1) q].
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workloads.errors import InfeasibleError, InputError
from workloads.traces.routing import LARGEST

__all__ = [
    "NeuronModel",
    "NeuronStream",
    "calibrated_neurons",
    "most_active",
    "neuron_stream",
    "predicted",
    "scaled_neurons",
    "skewed_neurons",
    "window_loads",
]

_CHAINS = 4096
"""Ranks at which expectations over all neurons are taken."""


@dataclass(frozen=True)
class NeuronModel:
    """Chances of neurons: ``scale`` and ``exponent`` of their popularity, and ``persistence`` of their state."""

    exponent: float
    scale: float
    persistence: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (("exponent", self.exponent), ("scale", self.scale)):
            if not 0 <= value < float("inf"):
                raise InputError(f"{value}", expected="0 or more, finite", field=name)
        if not 0 <= self.persistence < 1:
            raise InputError(f"{self.persistence}", expected="from 0 to below 1", field="persistence")

    def chances(self, neurons: int) -> NDArray[np.float64]:
        """Chance of each of ``neurons`` neurons to be active, by falling popularity."""
        ranks = (np.arange(neurons) + 0.5) / neurons
        odds = self.scale * ranks**-self.exponent
        found: NDArray[np.float64] = odds / (1 + odds)
        return found

    def share_active(self, tokens: int = 1) -> float:
        """Share of neurons active in at least one of ``tokens`` tokens in a row."""
        p = self.chances(_CHAINS)
        return float((1 - (1 - p) * (1 - p * (1 - self.persistence)) ** (tokens - 1)).mean())

    def share_missed(self, resident: float) -> float:
        """Share of the active neurons that are not among the share ``resident`` most popular of all."""
        p = self.chances(_CHAINS)
        kept = p[: round(resident * _CHAINS)].sum()
        return float(1 - kept / p.sum())

    def share_loaded(self, window: int) -> float:
        """Share of neurons that a token activates and that none of the ``window`` tokens before did."""
        return self.share_active(window + 1) - self.share_active(window)


@dataclass(frozen=True, eq=False)
class NeuronStream:
    """``active[step][layer]``: numbers of the active neurons, of ``neurons`` in each layer."""

    active: tuple[tuple[NDArray[np.int64], ...], ...]
    neurons: int

    def __post_init__(self) -> None:
        if not self.active or not self.active[0] or len({len(step) for step in self.active}) > 1:
            raise InputError("a stream without steps or layers", expected="the same layers in each step")
        for step in self.active:
            for found in step:
                if found.size and (found.min() < 0 or found.max() >= self.neurons):
                    raise InputError(f"neurons {found.min()} to {found.max()}", expected=f"0 to {self.neurons - 1}")

    @property
    def steps(self) -> int:
        """Number of tokens."""
        return len(self.active)

    @property
    def layers(self) -> int:
        """Number of layers."""
        return len(self.active[0])

    @property
    def experts(self) -> int:
        """Pieces of a layer, by the name that collections use."""
        return self.neurons

    def distinct(self, step: int, layer: int) -> NDArray[np.int64]:
        """The active neurons of one step and layer."""
        return self.active[step][layer]

    def accesses(self, layer: int) -> Iterator[list[int]]:
        """The active neurons of ``layer``, step after step."""
        for step in self.active:
            yield step[layer].tolist()


def calibrated_neurons(active: float, window: int, held: float, loaded: float) -> NeuronModel:
    """The model of which a share ``active`` is active, ``held`` in a window, and ``loaded`` new to it in each token.

    Raises `InfeasibleError` for shares that no such model has, with the nearest share that can be loaded.
    """
    if window < 2 or not 0 < active < held < 1 or not 0 < loaded < held:
        raise InputError(
            f"shares {active}, {held} and {loaded} of a window of {window}",
            expected="0 < active < held < 1, 0 < loaded < held, and a window of at least 2 tokens",
            field="neurons",
        )

    def met(exponent: float) -> NeuronModel | None:
        """With the persistence that leaves ``held``; None where even without there is less."""
        model = scaled_neurons(exponent, active)
        if model.share_active(window) < held:
            return None
        low, high = 0.0, 1.0 - 1e-12
        for _ in range(60):
            middle = (low + high) / 2
            share = NeuronModel(exponent, model.scale, middle).share_active(window)
            low, high = (middle, high) if share > held else (low, middle)
        return NeuronModel(exponent, model.scale, low)

    # The more unequal the neurons, the fewer are new to a full window; equal ones load most.
    low, high = 0.0, 8.0
    for _ in range(50):
        middle = (low + high) / 2
        found = met(middle)
        low, high = (low, middle) if found is None or found.share_loaded(window) < loaded else (middle, high)
    best = met(low)
    if best is None or abs(best.share_loaded(window) - loaded) > 1e-4:
        reached = 0.0 if best is None else best.share_loaded(window)
        raise InfeasibleError(
            f"neurons loaded per token where {active:.3g} are active and {held:.3g} in {window} tokens",
            100 * loaded, 100 * reached, "%", "ask for shares nearer each other",
        )  # fmt: skip
    return best


def skewed_neurons(active: float, resident: float, missed: float) -> NeuronModel:
    """The model of which a share ``active`` is active, of these ``missed`` outside the ``resident`` most popular.

    Tokens are independent of each other. Raises `InputError` for shares outside (0, 1), and where ``missed`` is more
    than equal neurons miss.
    """
    if not (0 < active < 1 and 0 < resident < 1 and 0 < missed <= 1 - resident):
        raise InputError(
            f"shares {active}, {resident} and {missed}",
            expected="0 < active < 1, 0 < resident < 1 and 0 < missed <= 1 - resident",
            field="neurons",
        )
    low, high = 0.0, 16.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if scaled_neurons(middle, active).share_missed(resident) > missed else (low, middle)
    return scaled_neurons(high, active)


def scaled_neurons(exponent: float, active: float) -> NeuronModel:
    """The model of that exponent, without persistence, of which a share ``active`` is active."""
    # The least popular neuron has the odds ``scale``, and the mean is no less.
    low, high = 0.0, active / (1 - active)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if NeuronModel(exponent, middle).share_active() < active else (low, middle)
    return NeuronModel(exponent, high)


def _ranks(random: np.random.Generator, neurons: int, layers: int) -> list[NDArray[np.int64]]:
    """By layer, each neuron's rank by falling popularity: the first that a stream's seed draws."""
    return [random.permutation(neurons) for _ in range(layers)]


def most_active(*, neurons: int, layers: int, count: int, seed: int = 0) -> tuple[NDArray[np.int64], ...]:
    """Numbers of the ``count`` most popular neurons of each layer, in the streams of that seed."""
    return tuple(np.flatnonzero(ranks < count) for ranks in _ranks(np.random.default_rng(seed), neurons, layers))


def neuron_stream(model: NeuronModel, *, neurons: int, layers: int, steps: int, seed: int = 0) -> NeuronStream:
    """A seeded stream; the popular neurons of each layer are others. Raises `InputError` for counts below 1."""
    for name, value in (("neurons", neurons), ("layers", layers), ("steps", steps)):
        if value < 1:
            raise InputError(f"{value!r} is no count", expected="at least 1", field=name)
    if seed < 0:
        raise InputError(f"{seed}", expected="0 or more", field="seed")
    if neurons * layers * steps > LARGEST:
        raise InputError(
            f"{neurons} neurons of {layers} layers in {steps} steps", expected=f"at most {LARGEST}", field="steps"
        )
    random = np.random.default_rng(seed)
    chances = model.chances(neurons)
    chance = np.stack([chances[ranks] for ranks in _ranks(random, neurons, layers)])
    state = random.random(chance.shape) < chance
    active = []
    for _ in range(steps):
        active.append(tuple(np.flatnonzero(row) for row in state))
        redrawn = random.random(chance.shape) >= model.persistence
        state = np.where(redrawn, random.random(chance.shape) < chance, state)
    return NeuronStream(tuple(active), neurons)


def predicted(
    stream: NeuronStream, *, false_negative: float, false_positive: float, seed: int = 0
) -> tuple[NeuronStream, NeuronStream]:
    """What a predictor names, and which active neurons it forgets.

    It forgets a share ``false_negative`` of the active neurons and names ``false_positive`` of all others, each token
    anew. Raises `InputError` for shares outside [0, 1].
    """
    for name, value in (("false_negative", false_negative), ("false_positive", false_positive)):
        if not 0 <= value <= 1:
            raise InputError(f"{value}", expected="a share from 0 to 1", field=name)
    random = np.random.default_rng(seed)
    named, forgotten = [], []
    for step in stream.active:
        names, misses = [], []
        for active in step:
            is_active = np.zeros(stream.neurons, dtype=bool)
            is_active[active] = True
            draw = random.random(stream.neurons)
            names.append(np.flatnonzero(np.where(is_active, draw >= false_negative, draw < false_positive)))
            misses.append(np.flatnonzero(is_active & (draw < false_negative)))
        named.append(tuple(names))
        forgotten.append(tuple(misses))
    return NeuronStream(tuple(named), stream.neurons), NeuronStream(tuple(forgotten), stream.neurons)


def window_loads(stream: NeuronStream, window: int, layer: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Neurons of ``layer`` held after each token by a window of that many tokens, and loaded for it, each ``[step]``.

    Raises `InputError` for a window below 1.
    """
    if window < 1:
        raise InputError(f"a window of {window} tokens", expected="at least 1", field="window")
    last = np.full(stream.neurons, -window - 1)
    held = np.empty(stream.steps, dtype=np.int64)
    loaded = np.empty_like(held)
    for step in range(stream.steps):
        active = stream.active[step][layer]
        loaded[step] = (last[active] < step - window).sum()
        last[active] = step
        held[step] = (last > step - window).sum()
    return held, loaded
