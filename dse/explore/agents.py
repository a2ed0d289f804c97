"""Engines that learn a policy by reward: one agent for each parameter, or one agent for the whole design.

Krishnan et al. set many agents, each deciding one parameter, against one that decides all (Multi-Agent Reinforcement
Learning for Microprocessor Design Space Exploration, arXiv 2211.16385; ArchGym, arXiv 2306.08888). The environment has
no state that an action changes, so policies here look at nothing: both learn what to draw from the reward alone
(`dse.explore.reward`), which all agents have in common. Their continuous actions reached only some of the values of a
parameter; here each value has its own share of the range, so every design can be drawn.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from dse.explore.front import Scores
from dse.explore.proposals import Proposals, playing
from dse.explore.reward import FrontReward
from dse.space.codec import Choices, Codec

__all__ = ["Agents", "OneAgent", "chosen", "latent"]

_EXPLORE = 0.1
"""Share of draws at random, of each agent: none of its values ever becomes unlikely beyond that (our choice)."""

_DRAWS = 8
"""Rounds of draws from a policy before random designs fill up: a policy that is sure repeats itself."""

_RATE = 3.0
"""Step of the logits for an advantage of one standard deviation over a whole batch: of 1, 3 and 8 the one that came
nearest to the best design of two small analytic spaces in 1,000 designs."""

_REMEMBERED = 256
"""Designs over which rewards are compared with each other."""

_ELITE = 0.2
_SMOOTHING = 0.3
"""Cross-entropy method: share of designs taken up, and how far the policy moves to them at each telling (our choice,
within what Botev et al., Handbook of Statistics 31, 2013, section 2 give as usual)."""


class Agents:
    """One agent for each parameter, with a softmax policy over its values; policy gradient (Williams, Machine Learning
    8, 1992) on the reward all have in common, less its mean over the last designs, over its deviation.

    An agent learns from the designs in which its parameter plays a part. A policy over all parameters that draws each
    by itself would be the same thing: with one reward for all, the gradients are the same. Agents that decide alone
    settle on one part of a front, so with several objectives their front can have less hypervolume than a random one.
    """

    def __init__(self, codec: Codec, seed: int, objectives: int) -> None:
        self._codec, self._rng = codec, np.random.default_rng(seed)
        self._proposals = Proposals(codec, self._rng)
        self._reward = FrontReward(objectives)
        self._recent: deque[float] = deque(maxlen=_REMEMBERED)
        self._logits = [np.zeros(int(radix)) for radix in codec.radices]

    def probabilities(self) -> list[NDArray[np.float64]]:
        """Of each parameter's values, all above zero."""
        return [(1 - _EXPLORE) * policy + _EXPLORE / len(policy) for policy in map(_softmax, self._logits)]

    def ask(self, count: int) -> NDArray[np.int64]:
        asked: list[int] = []
        sums = [np.cumsum(probability)[:-1] for probability in self.probabilities()]
        for _ in range(_DRAWS):
            missing = min(count - len(asked), self._proposals.left)
            if not missing:
                break
            draws = self._rng.random((len(sums), missing))
            columns = [np.searchsorted(edges, draw, side="right") for edges, draw in zip(sums, draws, strict=True)]
            asked += self._proposals.take(self._codec.encode(np.stack(columns, axis=1)), missing)
        asked += self._proposals.random(count - len(asked))
        return np.array(asked, dtype=np.int64)

    def tell(self, ordinals: NDArray[np.int64], found: Scores) -> None:
        if not len(ordinals):
            return
        rewards = self._reward.tell(found)
        self._recent.extend(rewards.tolist())
        deviation = float(np.std(self._recent))
        if deviation == 0.0:
            return  # all alike: nothing to learn
        advantages = (rewards - np.mean(self._recent)) / deviation
        choices = self._codec.decode(ordinals)
        parts = playing(self._codec, choices)
        for place, logits in enumerate(self._logits):
            here = parts[:, place]
            taken = np.bincount(choices[here, place], weights=advantages[here], minlength=len(logits))
            logits += _RATE * (taken - advantages[here].sum() * _softmax(logits)) / len(ordinals)


class OneAgent:
    """One agent that decides the whole design: a normal distribution with full covariance over all parameters at once,
    moved to the best designs of late by the cross-entropy method; it can learn which values go together, and takes
    values to be in order. A tenth of the draws are from the distribution it began with, which is even."""

    def __init__(self, codec: Codec, seed: int, objectives: int) -> None:
        self._codec, self._rng = codec, np.random.default_rng(seed)
        self._proposals = Proposals(codec, self._rng)
        self._reward = FrontReward(objectives)
        count = len(codec.radices)
        self._mean, self._covariance = np.zeros(count), np.eye(count)
        self._points = np.empty((0, count))
        self._found = np.empty((0, objectives))

    def ask(self, count: int) -> NDArray[np.int64]:
        asked: list[int] = []
        values, vectors = np.linalg.eigh(self._covariance)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        for _ in range(_DRAWS):
            missing = min(count - len(asked), self._proposals.left)
            if not missing:
                break
            points = self._rng.standard_normal((missing, len(self._mean)))
            learnt = self._rng.random(missing) >= _EXPLORE
            points[learnt] = self._mean + points[learnt] @ root.T
            asked += self._proposals.take(self._codec.encode(chosen(points, self._codec.radices)), missing)
        asked += self._proposals.random(count - len(asked))
        return np.array(asked, dtype=np.int64)

    def tell(self, ordinals: NDArray[np.int64], found: Scores) -> None:
        if not len(ordinals):
            return
        self._reward.tell(found)
        choices = self._codec.decode(ordinals)
        # A parameter without a part says nothing about where the policy should be.
        points = np.where(playing(self._codec, choices), latent(choices, self._codec.radices), self._mean)
        self._points = np.concatenate([self._points, points])[-_REMEMBERED:]
        self._found = np.concatenate([self._found, found])[-_REMEMBERED:]
        feasible = np.flatnonzero(np.isfinite(self._found).all(axis=1))
        if len(feasible) < 2:
            return
        rewards = self._reward.now(self._found[feasible])
        best = feasible[np.argsort(-rewards, kind="stable")[: max(2, round(_ELITE * len(feasible)))]]
        away = self._points[best] - self._mean
        covariance = away.T @ away / len(best)
        self._covariance = (1 - _SMOOTHING) * self._covariance + _SMOOTHING * covariance
        self._mean = self._mean + _SMOOTHING * away.mean(axis=0)


def latent(choices: Choices, radices: Choices) -> NDArray[np.float64]:
    """(designs, parameters): the point in the middle of each value's share of a standard normal variable."""
    from scipy.special import ndtri

    points: NDArray[np.float64] = ndtri((choices + 0.5) / radices)
    return points


def chosen(points: NDArray[np.float64], radices: Choices) -> Choices:
    """The values in whose share of a standard normal variable ``points`` lie; all shares of a parameter are equal."""
    from scipy.special import ndtr

    choices: Choices = np.minimum((ndtr(points) * radices).astype(np.int64), radices - 1)
    return choices


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = np.exp(logits - logits.max())
    shares /= shares.sum()
    return shares
