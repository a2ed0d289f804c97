"""When the pieces that a cache misses are asked for."""

from __future__ import annotations

from dataclasses import dataclass

from workloads.errors import InputError, unknown_name

__all__ = ["FETCHES", "Fetch"]

FETCHES = ("on-demand", "as-routed", "prefetch-all", "pre-gated", "predicted", "decoupled")


@dataclass(frozen=True)
class Fetch:
    """What brings missing pieces, ``ahead`` layers of the collection before their use.

    ``on-demand``: the layer's own router asks when its experts are next. ``as-routed``: the same as soon as the router
    has run, where it runs before attention (SmallThinker) beside attention. ``prefetch-all``: all pieces that are not
    cached travel, whoever will be picked. ``pre-gated``: the router ``ahead`` layers before names this layer's experts
    (Hwang et al., arXiv 2308.12066); the first layers of a step have none before them and fetch on demand.
    ``predicted``: the same by a guess that names a share ``recall`` of the pieces used, and of whose names a share
    ``precision`` is used; what it forgot comes on demand, what it named in vain has cost its bytes and is dropped.
    ``decoupled``: one router ahead of all layers has told the path when the step begins (Read-ME, arXiv 2410.19123).
    """

    kind: str = "on-demand"
    ahead: int = 1
    recall: float = 1.0
    precision: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in FETCHES:
            raise unknown_name("fetch", self.kind, FETCHES, field="fetch")
        if self.ahead < 1:
            raise InputError(f"{self.ahead} layers ahead", expected="1 or more", field="fetch.ahead")
        if not 0 <= self.recall <= 1:
            raise InputError(f"{self.recall}", expected="a share from 0 to 1", field="fetch.recall")
        if not 0 < self.precision <= 1:
            raise InputError(f"{self.precision}", expected="a share above 0 and at most 1", field="fetch.precision")

    @property
    def asks_a_gate(self) -> bool:
        """Whether an earlier layer's router must have run before."""
        return self.kind in ("pre-gated", "predicted")
