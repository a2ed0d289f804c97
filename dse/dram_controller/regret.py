"""What engines miss of the best design of the DRAM-controller space, all of which is known.

Rewards are ArchGym's (srivatsankrishnan/oss-arch-gym c4319fb, arch_gym/envs/DRAMEnv_RL.py): target over
|observed - target| for average power and for latency, which is DRAMSys's total time, and the product of the two; 1,000
at most. Targets are 1 W and 0.1 ms for 10,000 requests, and in proportion for others. Rewards are highest *at* the
targets, not below them.

Its parser takes the number of the total time without its unit, which DRAMSys prints in ns or, where that is no whole
number, in ps: in its example data (sims/DRAM/binary/DRAMSys_Proxy_Model/data) latencies of like designs differ a
thousandfold. Here a time is a time.

Its encoder for agents with continuous actions (arch_gym/envs/envHelpers.py, ``action_mapper``) rounds actions from
[-1, 1] to -1, 0 or 1 before they are binned: of eight values only those at places 0, 4 and 7 are ever chosen, of four
those at 0, 2 and 3, of three and two all: 26,244 of 442,368 designs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dse.dram_controller.sweep import Swept
from dse.explore.compare import Truth, proposals_of
from dse.space.codec import Codec
from dse.space.parameter import Parameter
from workloads.errors import InputError, unknown_name

__all__ = ["ENGINES", "OBJECTIVES", "TARGET_S", "TARGET_W", "Known", "RegretRow", "encoded_codec", "regret", "regrets"]

OBJECTIVES = ("power", "latency", "both")

TARGET_W = 1.0
TARGET_S = 0.1e-3
"""For 10,000 requests. ArchGym's numbers are 1 and 0.1 (configs/arch_gym_configs.py)."""

_PUBLISHED_REQUESTS = 10_000
_MOST_REWARD = 1000.0
_FIRST = 10
_REACHED = {8: (0, 4, 7), 4: (0, 2, 3), 3: (0, 1, 2), 2: (0, 1)}

ENGINES = {
    "random": ("random", False, False),
    "ga": ("nsga2", False, False),
    "nsga2": ("nsga2", True, False),
    "agent": ("agent", False, False),
    "agents": ("agents", False, False),
    "random, faulty encoder": ("random", False, True),
    "agent, faulty encoder": ("agent", False, True),
    "agents, faulty encoder": ("agents", False, True),
}
"""By name: the engine of `dse.explore.engines`, whether it is told power and latency apart, and whether it chooses
among the designs that ArchGym's encoder reaches. Told one number, NSGA-II is a genetic search with tournaments among
the best of parents and children: ``ga``. ``nsga2`` is told two, and judged by each objective alone and by their
product."""


@dataclass(frozen=True)
class RegretRow:
    """Of one engine, objective and budget: the mean of 1 - best reward found / best there is, and its sample deviation
    over ``seeds`` seeds; ``designs`` were proposed on average. ``floor`` is the regret of the best design in reach."""

    engine: str
    objective: str
    budget: int
    seeds: int
    regret: float
    deviation: float
    designs: float
    floor: float


@dataclass(frozen=True)
class Known:
    """The rewards of every design of a swept space, by ordinal."""

    swept: Swept
    requests: int = _PUBLISHED_REQUESTS

    @cached_property
    def rewards(self) -> dict[str, NDArray[np.float64]]:
        """By objective."""
        power = _reward(self.swept.power_w, TARGET_W)
        latency = _reward(self.swept.total_s, TARGET_S * self.requests / _PUBLISHED_REQUESTS)
        both = {"power": power, "latency": latency, "both": power * latency}
        return {name: np.minimum(values, _MOST_REWARD) for name, values in both.items()}

    def truth(self, objectives: Sequence[str], encoded: bool = False) -> tuple[Truth, NDArray[np.int64]]:
        """What engines are told, the reciprocal of each reward, which is to be small; and, for each of its designs, the
        ordinal in the whole space."""
        codec = encoded_codec(self.swept.codec) if encoded else self.swept.codec
        designs = np.concatenate(list(codec.blocks()))
        places = _in_whole(self.swept.codec, codec, designs)
        found = np.stack([1 / self.rewards[name][places] for name in objectives], axis=1)
        return Truth(codec, designs, found), places


def _reward(observed: NDArray[np.float64], target: float) -> NDArray[np.float64]:
    away = np.maximum(np.abs(observed - target), target / _MOST_REWARD**2)
    result: NDArray[np.float64] = target / away
    return result


def encoded_codec(codec: Codec) -> Codec:
    """The designs that ArchGym's encoder of continuous actions reaches."""
    parameters = {}
    for name, parameter in codec.parameters.items():
        values = codec.values[name]
        reached = [values[place] for place in _REACHED[len(values)]]
        parameters[name] = Parameter(choices=reached, when=parameter.when)
    return Codec(parameters)


def _in_whole(whole: Codec, part: Codec, ordinals: NDArray[np.int64]) -> NDArray[np.int64]:
    """The ordinals in ``whole`` of designs of ``part``, which has some of its values."""
    choices = part.decode(ordinals)
    for at, (name, values) in enumerate(part.values.items()):
        choices[:, at] = np.array([whole.values[name].index(value) for value in values])[choices[:, at]]
    return whole.encode(choices)


def regret(known: Known, engine: str, objective: str, budget: int, seed: int) -> float:
    """1 - the best reward among the first ``budget`` designs that ``engine`` proposes / the best there is."""
    return regrets(known, [engine], [objective], [budget], [seed])[0].regret


def regrets(
    known: Known,
    engines: Sequence[str],
    objectives: Sequence[str],
    budgets: Sequence[int],
    seeds: Sequence[int],
    batch: int = 50,
    progress: Callable[[str, str, int], None] | None = None,
) -> list[RegretRow]:
    """A row for each engine, objective and budget, in that order.

    A seed is one run to the largest budget, of which smaller budgets are the beginnings; where a tenth of it finds the
    best design there is, no more are proposed. ``progress`` is told engine,
    objective and seed of each run that has ended. Raises `InputError` for unknown names and budgets below one.
    """
    for engine in engines:
        if engine not in ENGINES:
            raise unknown_name("engine", engine, ENGINES, field="engine")
    for objective in objectives:
        if objective not in OBJECTIVES:
            raise unknown_name("objective", objective, OBJECTIVES, field="objective")
    if not seeds or not budgets or min(budgets) < 1:
        raise InputError(f"found budgets {list(budgets)} and seeds {list(seeds)}", "one of each, from 1", "budgets")
    rows = []
    for engine in engines:
        kind, apart, encoded = ENGINES[engine]
        shared: list[NDArray[np.int64]] | None = None  # what does not depend on the objective is proposed once
        for objective in objectives:
            rewards = known.rewards[objective]
            truth, places = known.truth(("power", "latency") if apart else (objective,), encoded)
            runs = shared
            if runs is None:
                runs = []
                judged = OBJECTIVES if apart or kind == "random" else (objective,)
                bests = [known.rewards[name] >= known.rewards[name].max() for name in judged]
                for seed in seeds:
                    runs.append(_run(truth, places, kind, seed, max(budgets), batch, bests))
                    if progress is not None:
                        progress(engine, objective, seed)
                shared = runs if apart or kind == "random" else None
            best = float(rewards.max())
            floor = 1 - float(rewards[places].max()) / best
            for budget in budgets:
                missed = np.array([1 - float(rewards[run[:budget]].max()) / best for run in runs])
                deviation = float(missed.std(ddof=1)) if len(missed) > 1 else 0.0
                designs = float(np.mean([min(budget, len(run)) for run in runs]))
                mean = float(missed.mean())
                rows.append(RegretRow(engine, objective, budget, len(runs), mean, deviation, designs, floor))
    return rows


def _run(
    truth: Truth,
    places: NDArray[np.int64],
    kind: str,
    seed: int,
    budget: int,
    batch: int,
    bests: Sequence[NDArray[np.bool_]],
) -> NDArray[np.int64]:
    """The designs that an engine proposes, by ordinal in the whole space: ``budget`` of them, or a tenth where these
    have one of each of ``bests`` already."""
    found = places[:0]
    first = max(1, budget // _FIRST // batch) * batch  # whole batches: so it is the beginning of the longer run
    for count in (min(first, budget), budget):
        proposed = proposals_of(truth, kind, seed, count, batch)
        found = places[np.searchsorted(truth.ordinals, proposed)]
        if all(best[found].any() for best in bests):
            break
    return found
