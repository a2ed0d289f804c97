"""What would make a training step fit in its devices' memory: the smallest changes, and what each costs.

    smallest_changes(Setup(model("llama-3-70b"), Train(1, 8192), 64, read_parallel("dp=64,zero=3")), system)

Of every kind of change the first that fits (`simulator.training.layouts.changes`) is weighed by an estimate of the step
at the roofline (`simulator.training.layouts.fit_estimate`). The change that takes least comes first: fewer devices
before less time (to the percent), and as in `KINDS` where both are alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations
from typing import Any

from hw.spec.load import override
from hw.spec.system import System
from mappers.planner.placement import tier_capacity
from simulator.policies.attention import main_home
from simulator.training.layouts.changes import KINDS, Step, steps
from simulator.training.layouts.fit_estimate import StepEstimate, estimate_step
from simulator.training.step.inventory import StageMemory, lacking, stage_memories
from simulator.training.step.pieces import Pieces, pieces_of
from simulator.training.step.setup import Setup, check_setup, lowered
from workloads.errors import InfeasibleError, InputError
from workloads.workload import Workload

__all__ = ["Change", "lacks", "smallest_changes"]


@dataclass(frozen=True)
class Change:
    """A change, or two, after which the step fits: ``words`` say what, ``setup`` is the step with it.

    ``peak_bytes`` is what the fullest device then holds. The rest is what it costs: ``more_devices``, and as shares of
    what the step was, for a device, ``more_time`` (estimated), ``more_operations`` (computed again, or fewer devices
    to share them); ``more_sent_bytes`` to other devices and ``more_moved_bytes`` to other tiers, there and back, are
    bytes of a device in a step. Negative is less.
    """

    kinds: tuple[str, ...]
    words: str
    setup: Setup
    peak_bytes: float
    more_devices: int
    more_time: float
    more_operations: float
    more_sent_bytes: float
    more_moved_bytes: float

    def to_json(self) -> dict[str, Any]:
        """Plain values, without the setup."""
        found = {name: value for name, value in vars(self).items() if name not in ("setup", "kinds", "words")}
        return {"change": self.words, "devices": self.setup.parallel.devices, **found}


def lacks(setup: Setup, system: System) -> tuple[str, float, float] | None:
    """Tier, bytes needed and bytes there of the first tier that is too small for a device; None where the step fits.

    Found without executing anything. Raises `InputError` and `InfeasibleError` as `check_setup`.
    """
    check_setup(setup, system)
    return _Search(setup, system).lacks(setup)


def smallest_changes(setup: Setup, system: System) -> tuple[Change, ...]:
    """Single changes with which the step fits, the one that takes least first; pairs of them where no single one does;
    none where it fits as it is, and where no two do.

    Of each kind the smallest change is named. ``system`` has as many devices as the layout, and more where a change
    takes more; whole nodes where it has nodes. Raises `InputError` and `InfeasibleError` as `check_setup`.
    """
    check_setup(setup, system)
    search = _Search(setup, system)
    if search.fits(setup):
        return ()
    ladders = {kind: search.possible(kind, setup) for kind in KINDS}
    singles = [
        (((kind,), step.words), step.setup)
        for kind, ladder in ladders.items()
        if (step := next((step for step in ladder if search.fits(step.setup)), None)) is not None
    ]
    return search.weighed(singles or list(search.pairs(ladders)))


_Named = tuple[tuple[tuple[str, ...], str], Setup]
_PAIRS = 8
"""So many pairs, of those whose largest changes take least, are made as small as they may be."""


class _Search:
    """Setups near one, lowered and measured once each."""

    def __init__(self, setup: Setup, system: System) -> None:
        self.setup, self.system, self.home = setup, system, main_home(system)
        self.taken_apart = lru_cache(maxsize=None)(_taken_apart)
        self.system_of = lru_cache(maxsize=None)(self._system_of)
        self.memories = lru_cache(maxsize=None)(self._memories)
        self.estimate = lru_cache(maxsize=None)(self._estimate)

    def _system_of(self, devices: int) -> System:
        return self.system if devices == self.system.devices else override(self.system, (f"devices={devices}",))

    def workload(self, setup: Setup) -> Workload:
        return self.taken_apart(_as_lowered(setup))[0]

    def _memories(self, setup: Setup) -> tuple[StageMemory, ...]:
        return stage_memories(setup, self.taken_apart(_as_lowered(setup))[1])

    def lacks(self, setup: Setup) -> tuple[str, float, float] | None:
        system = self.system_of(setup.parallel.devices)
        return lacking(self.memories(setup), self.home, lambda tier: tier_capacity(system, tier))

    def fits(self, setup: Setup) -> bool:
        return self.lacks(setup) is None

    def possible(self, kind: str, setup: Setup) -> tuple[Step, ...]:
        """Those of a kind whose layout can be."""
        found = []
        for step in steps(kind, setup, self.system, self.home):
            try:
                check_setup(step.setup, self.system_of(step.setup.parallel.devices))
                self.workload(step.setup)
            except (InputError, InfeasibleError):
                continue
            found.append(step)
        return tuple(found)

    def pairs(self, ladders: dict[str, tuple[Step, ...]]) -> Iterator[_Named]:
        """Two changes of different kinds. Kinds of which the largest two fit are made smaller, the second one first,
        as long as they fit."""
        found = []
        for first, second in combinations((kind for kind, ladder in ladders.items() if ladder), 2):
            both = self.possible(second, ladders[first][-1].setup)
            fitting = next((step for step in reversed(both) if self.fits(step.setup)), None)
            if fitting is not None:
                found.append((self._order(fitting.setup), KINDS.index(first), first, second))
        for _, _, first, second in sorted(found)[:_PAIRS]:
            for step in ladders[first]:
                both = self.possible(second, step.setup)
                last = next((each for each in both if self.fits(each.setup)), None)
                if last is not None:
                    yield ((first, second), f"{step.words} and {last.words}"), last.setup
                    break

    def weighed(self, found: Sequence[_Named]) -> tuple[Change, ...]:
        before = self.estimate(self.setup)
        changes = []
        for (kinds, words), setup in found:
            after = self.estimate(setup)
            changes.append(
                Change(
                    kinds,
                    words,
                    setup,
                    max(memory.total for memory in self.memories(setup)),
                    setup.parallel.devices - self.setup.parallel.devices,
                    after.time_s / before.time_s - 1.0,
                    after.operations / before.operations - 1.0,
                    after.sent_bytes - before.sent_bytes,
                    after.moved_bytes - before.moved_bytes,
                )
            )
        return tuple(sorted(changes, key=lambda change: self._order(change.setup)))

    def _order(self, setup: Setup) -> tuple[int, int]:
        """Devices, then percents of time that are lost; the sort keeps the order of kinds among equals."""
        lost = self.estimate(setup).time_s / self.estimate(self.setup).time_s - 1.0
        return setup.parallel.devices, max(0, round(100 * lost))

    def _estimate(self, setup: Setup) -> StepEstimate:
        return estimate_step(setup, self.system_of(setup.parallel.devices), self.workload(setup))


def _as_lowered(setup: Setup) -> Setup:
    """What of a setup lowering looks at: many setups are the same workload on a device."""
    parallel = replace(setup.parallel, pipeline=1, chunks=1, data=1, zero=0, reshard=True)
    plain = replace(setup, global_batch=1, parallel=parallel, schedule="1f1b", activations=None, optimizer=None)
    return replace(plain, prefetch=1, from_master=False, stragglers=())


def _taken_apart(setup: Setup) -> tuple[Workload, Pieces]:
    workload = lowered(setup)
    return workload, pieces_of(workload)
