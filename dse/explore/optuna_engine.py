"""Optuna's samplers behind the engine's interface: TPE, or its NSGA-II."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dse.explore.front import Scores
from dse.explore.proposals import Proposals
from dse.space.codec import Codec
from workloads.errors import InputError

__all__ = ["OptunaSearch"]

_DRAWS = 4
"""Designs a sampler may propose again, for each that is wanted, before random ones fill up."""


class OptunaSearch:
    """Trials of an Optuna study kept in memory. Parameters that play no part are not asked for; numbers are integers
    in order, words are categories. A design proposed before is told again at once and not handed out."""

    def __init__(self, codec: Codec, seed: int, objectives: int, sampler: Literal["tpe", "nsga2"] = "tpe") -> None:
        try:
            import optuna
        except ImportError:
            wanted = "the extra optuna: pip install 'tiercade[optuna]'"
            raise InputError("the package optuna is not installed", wanted, "--engine optuna") from None
        self._optuna: Any = optuna
        self._codec = codec
        self._proposals = Proposals(codec, np.random.default_rng([seed, 1]))
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the interface for constraints may change
            options: dict[str, Any] = {"seed": seed, "constraints_func": _not_feasible}
            made = (
                optuna.samplers.TPESampler(multivariate=True, group=True, **options)
                if sampler == "tpe"
                else optuna.samplers.NSGAIISampler(**options)
            )
        self._study = optuna.create_study(sampler=made, directions=["minimize"] * objectives)
        self._words = {name for name, values in codec.values.items() if any(isinstance(v, str | bool) for v in values)}
        self._trials: dict[int, Any] = {}
        self._found: dict[int, NDArray[np.float64]] = {}
        self._worst = np.full(objectives, -np.inf)

    def ask(self, count: int) -> NDArray[np.int64]:
        asked: list[int] = []
        for _ in range(_DRAWS * count):
            if len(asked) == count or not self._proposals.left:
                break
            trial = self._study.ask()
            ordinal = self._drawn(trial)
            if self._proposals.take(np.array([ordinal]), 1):
                self._trials[ordinal] = trial
                asked.append(ordinal)
            elif ordinal in self._found:
                self._close(trial, self._found[ordinal])
            else:
                self._study.tell(trial, state=self._optuna.trial.TrialState.FAIL)
        asked += self._proposals.random(count - len(asked))
        return np.array(asked, dtype=np.int64)

    def _drawn(self, trial: Any) -> int:
        choices = np.zeros((1, len(self._codec.radices)), dtype=np.int64)
        for place, (name, parameter) in enumerate(self._codec.parameters.items()):
            radix = int(self._codec.radices[place])
            choices[0, place] = min(1, radix - 1)
            plays = not parameter.when or radix == 1 or self._codec.canonical(choices)[0, place] == 1
            choices[0, place] = self._suggested(trial, name, radix) if plays else 0
        return int(self._codec.encode(choices)[0])

    def _suggested(self, trial: Any, name: str, radix: int) -> int:
        if name in self._words:
            return int(trial.suggest_categorical(name, list(range(radix))))
        return int(trial.suggest_int(name, 0, radix - 1))

    def tell(self, ordinals: NDArray[np.int64], found: Scores) -> None:
        feasible = found[np.isfinite(found).all(axis=1)]
        self._worst = np.maximum(self._worst, feasible.max(axis=0, initial=-np.inf))
        for ordinal, values in zip(ordinals.tolist(), found, strict=True):
            self._found[ordinal] = values
            trial = self._trials.pop(ordinal, None)
            if trial is not None:
                self._close(trial, values)

    def _close(self, trial: Any, values: NDArray[np.float64]) -> None:
        """Tell of a trial; one not feasible gets the worst values so far, beside its violation."""
        feasible = bool(np.isfinite(values).all())
        trial.set_user_attr("not_feasible", 0.0 if feasible else 1.0)
        worst = np.where(np.isfinite(self._worst), self._worst, 0.0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._study.tell(trial, (values if feasible else worst).tolist())


def _not_feasible(trial: Any) -> tuple[float]:
    return (float(trial.user_attrs["not_feasible"]),)
