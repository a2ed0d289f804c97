"""How fast designs are explored, and how much of the true front a run of several fidelities finds at what cost.

Run with ``uv run python benchmarks/exploration.py [--quick] [--json FILE] [--report reports/performance.md]``. All in
this process, on one core; times are CPU seconds. The truth of `llama-8b-mapped` is every design at mapped fidelity, so
that the hypervolume of what a run found is known as a share of all there is. One run of several fidelities is done
and timed; runs of other seeds, and those by the shallower fidelity alone, look up what is known by then.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import performance_report
from numpy.typing import NDArray

from dse.evaluate.outcomes import Outcomes, joined
from dse.explore.engines import RandomSearch
from dse.explore.front import front_places, hypervolume, reference_box, scores
from dse.explore.pool import evaluate
from dse.explore.run import Exploration, explore
from dse.explore.store import Store
from dse.space.parameter import Parameter
from dse.space.space import Space, load_space
from mappers import map_workload

SWEPT, MAPPED = "llama-8b-accelerator", "llama-8b-mapped"
SHARE = 0.1
OF_WAVES = (0.08, 0.09, 0.1)
"""Shares that go on in waves: how much learning them costs besides differs little."""
SEEDS = range(5)
_BLOCK = 8192


@dataclass(frozen=True, slots=True)
class Rate:
    """``designs`` of a space evaluated at a fidelity in ``cpu_s``."""

    space: str
    fidelity: str
    designs: int
    cpu_s: float

    @property
    def per_s(self) -> float:
        """Designs per CPU second."""
        return self.designs / self.cpu_s


@dataclass(frozen=True, slots=True)
class Found:
    """Of runs that differ in their seed: designs at mapped fidelity as a share of all, and the least, mean and largest
    share of the true hypervolume; ``cost`` is the timed run's CPU seconds as a share of the truth's."""

    rule: str
    share: float
    designs: float
    least: float
    mean: float
    most: float
    cost: float | None = None


@dataclass
class Known:
    """Evaluates by looking up ``outcomes`` of every design, by fidelity; ordinals rise."""

    outcomes: dict[str, Outcomes]

    def run(self, ordinals: NDArray[np.int64], fidelity: str) -> Iterator[Outcomes]:
        """What is known of them."""
        known = self.outcomes[fidelity]
        yield known.take(np.searchsorted(known.ordinals, ordinals))

    def close(self) -> None:
        """Nothing is held."""


@dataclass
class Timed:
    """Evaluates here; ``cpu_s`` of each call, in their order."""

    space: Space
    cpu_s: list[float]

    def run(self, ordinals: NDArray[np.int64], fidelity: str) -> Iterator[Outcomes]:
        """All of them at once."""
        begin = time.process_time()
        found = evaluate(self.space, ordinals, fidelity)
        self.cpu_s.append(time.process_time() - begin)
        yield found

    def close(self) -> None:
        """Nothing is held."""


def sweep(space: Space, ordinals: NDArray[np.int64], fidelity: str) -> tuple[Rate, Outcomes]:
    """Designs evaluated block by block, nothing known before, after one that loads compiled code."""
    evaluate(space, ordinals[:1], fidelity)
    map_workload._searched.clear()
    begin = time.process_time()
    parts = [evaluate(space, ordinals[at : at + _BLOCK], fidelity) for at in range(0, len(ordinals), _BLOCK)]
    return Rate(space.name, fidelity, len(ordinals), time.process_time() - begin), joined(parts)


def every(space: Space) -> NDArray[np.int64]:
    """The ordinals of all designs."""
    return np.concatenate(list(space.codec.blocks()))


def cut(space: Space) -> Space:
    """``space`` with every other of each parameter's values."""
    parameters = {
        name: Parameter(choices=space.codec.values[name][::2], description=parameter.description)
        for name, parameter in space.parameters.items()
    }
    return Space.model_validate(
        {**space.model_dump(), "parameters": {n: p.model_dump() for n, p in parameters.items()}}
    )


def runs(space: Space, truth: dict[str, Outcomes], truth_cpu_s: float, share: float, waves: int) -> Found:
    """Runs of several seeds, of which the first is timed where it is in waves."""
    deep = scores(space, truth["mapped"])
    box = reference_box(deep)
    whole = hypervolume(deep, box)
    shares, counts, cost = [], [], None
    for seed in SEEDS if waves > 1 else SEEDS[:1]:
        options = Exploration("exhaustive", None, ("roofline", "mapped"), share, waves, seed=seed)
        timed = Timed(space, [])
        map_workload._searched.clear()
        with tempfile.TemporaryDirectory() as folder:
            store = Store(Path(folder) / "designs.sqlite", space)
            begin = time.process_time()
            run = explore(space, store, timed if waves > 1 and seed == 0 else Known(truth), options)
            if timed.cpu_s:  # the last call is for the random designs beside it
                cost = (time.process_time() - begin - timed.cpu_s[-1]) / truth_cpu_s
            store.close()
        found = deep[np.searchsorted(truth["mapped"].ordinals, run.proposed["mapped"])]
        shares.append(hypervolume(found, box) / whole)
        counts.append(len(found) / len(deep))
    rule = f"{waves} waves" if waves > 1 else "roofline's fronts"
    return Found(
        rule, share, float(np.mean(counts)), min(shares), float(np.mean(shares)), max(shares), cost
    )  # fmt: skip


def at_random(space: Space, truth: Outcomes) -> Found:
    """As many designs drawn at random."""
    deep = scores(space, truth)
    box, count = reference_box(deep), -(-len(deep) * int(100 * SHARE) // 100)
    whole = hypervolume(deep, box)
    shares = []
    for seed in SEEDS:
        drawn = RandomSearch(space.codec, seed, 0).ask(count)
        shares.append(hypervolume(deep[np.searchsorted(truth.ordinals, drawn)], box) / whole)
    return Found("random", SHARE, count / len(deep), min(shares), float(np.mean(shares)), max(shares))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer designs, every other value of each parameter")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the exploration's part of this report")
    options = parser.parse_args()
    swept, space = load_space(SWEPT), load_space(MAPPED)
    if options.quick:
        space = cut(space)
    many = every(swept)[: 2 * _BLOCK if options.quick else None]
    some = np.sort(RandomSearch(swept.codec, 0, 0).ask(20 if options.quick else 200))
    rates = [sweep(swept, many, "roofline")[0], sweep(swept, some, "mapped")[0]]
    rate, shallow = sweep(space, every(space), "roofline")
    rates.append(rate)
    rate, deep = sweep(space, every(space), "mapped")
    rates.append(rate)
    truth = {"roofline": shallow, "mapped": deep}
    found = [at_random(space, deep)]
    found.append(runs(space, truth, rate.cpu_s, SHARE, 1))
    found += [runs(space, truth, rate.cpu_s, share, Exploration().waves) for share in OF_WAVES]
    if not options.quick:
        found += [runs(space, truth, rate.cpu_s, share, 1) for share in (0.3, 0.5)]
    front = len(front_places(scores(space, deep)))
    print(performance_report.exploration_text(rates, found, front))
    if options.json:
        rows = {"rates": [asdict(each) for each in rates], "found": [asdict(each) for each in found], "front": front}
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    if options.report:
        performance_report.write_exploration(options.report, rates, found, front)


if __name__ == "__main__":
    main()
