"""The bundled models: one config.json each, and what their authors published about their size."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from importlib import resources

from workloads.errors import unknown_name
from workloads.models.architecture import Model
from workloads.models.config import parse_model
from workloads.models.counts import Counted, active_parameters, parameters

__all__ = ["Agreement", "Published", "agreement", "model", "model_names", "published"]

_PUBLISHED = "published.json"


@dataclass(frozen=True)
class Published:
    """Parameter counts as published.

    ``total`` and ``active`` (None for dense models or where none is published) are in parameters, exact or rounded as
    their sources print them; ``total_precision`` and ``active_precision`` are half a unit of the last digit printed,
    0 where exact. ``beside`` of the total are values that checkpoints store but no computation uses as weights of its
    own, as ``note`` explains. ``counted`` says what ``active`` includes. ``confirmed`` and ``active_confirmed`` are
    True where a public copy of the number was found and read again, False where it is recalled from the source.
    """

    total: int
    source: str
    confirmed: bool
    total_precision: int = 0
    beside: int = 0
    active: int | None = None
    active_precision: int = 0
    active_source: str | None = None
    active_confirmed: bool = False
    counted: Counted = "all"
    note: str | None = None


@dataclass(frozen=True)
class Agreement:
    """A bundled model's counts beside the published ones, in parameters; ``active_*`` are None where none is published.

    ``published_total`` is without what is stored beside the model's own parameters.
    """

    name: str
    published_total: int
    total: int
    total_precision: int
    published_active: int | None
    active: int | None
    active_precision: int

    @property
    def total_error(self) -> float:
        """Our total over the published one, less one."""
        return self.total / self.published_total - 1

    @property
    def active_error(self) -> float | None:
        """Our active count over the published one, less one."""
        return None if not self.published_active or not self.active else self.active / self.published_active - 1

    @property
    def total_rounds_to_published(self) -> bool:
        """Whether our total is the published one when rounded as that is."""
        return abs(self.total - self.published_total) <= self.total_precision

    @property
    def active_rounds_to_published(self) -> bool | None:
        """Whether our active count is the published one when rounded as that is."""
        if self.published_active is None or self.active is None:
            return None
        return abs(self.active - self.published_active) <= self.active_precision


@functools.cache
def _files() -> dict[str, str]:
    """The text of each bundled config.json by the model's name."""
    folder = resources.files(__name__)
    return {
        entry.name.removesuffix(".json"): entry.read_text(encoding="utf-8")
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".json") and entry.name != _PUBLISHED
    }


def model_names() -> tuple[str, ...]:
    """The names of all bundled models, sorted."""
    return tuple(sorted(_files(), key=str.casefold))


@functools.cache
def model(name: str) -> Model:
    """The bundled model called ``name``, in any case; raises `InputError` with the nearest name when there is none."""
    exact = _exact(name)
    return parse_model(_files()[exact], name=exact, file=f"{exact}.json")


def published(name: str) -> Published | None:
    """What was published about the bundled model's size, or None; raises `InputError` for an unknown name."""
    return _published().get(_exact(name))


def agreement(name: str) -> Agreement | None:
    """How our counts of the bundled model agree with the published ones; None where none is published."""
    entry = published(name)
    if entry is None:
        return None
    found = model(name)
    return Agreement(
        name=found.name,
        published_total=entry.total - entry.beside,
        total=parameters(found).total,
        total_precision=entry.total_precision,
        published_active=entry.active,
        active=None if entry.active is None else active_parameters(found, entry.counted),
        active_precision=entry.active_precision,
    )


@functools.cache
def _published() -> dict[str, Published]:
    text = (resources.files(__name__) / _PUBLISHED).read_text(encoding="utf-8")
    return {name: Published(**entry) for name, entry in json.loads(text).items()}


def _exact(name: str) -> str:
    by_folded = {candidate.casefold(): candidate for candidate in _files()}
    if name.casefold() not in by_folded:
        raise unknown_name("model", name, _files())
    return by_folded[name.casefold()]
