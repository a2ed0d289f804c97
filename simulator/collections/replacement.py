"""Names of the rules by which a cache of pieces decides what leaves."""

from __future__ import annotations

from dataclasses import dataclass

from workloads.errors import InputError, unknown_name

__all__ = ["KINDS", "Replacement", "replacement"]

KINDS = ("lru", "lfu", "belady", "sch")
"""Rules of hit-rate curves; ``window`` is one of simulated caches only."""

_NAMES = ("lru", "lfu", "belady", "sch-16", "window-5")


@dataclass(frozen=True)
class Replacement:
    """What leaves first: ``lru`` the piece unused for longest, ``lfu`` the one used least often so far, ``belady`` the
    one needed again last, ``sch`` the one with the fewest uses within the next ``look_ahead`` tokens.

    ``window`` lets go whatever the last ``look_ahead`` steps have not used, and what is longest unused where room is
    short (Alizadeh et al., arXiv 2312.11514, section 3.1). Ties of ``lfu`` and ``sch`` go by recency. The last two
    know the future: Belady's is the best there can be (Belady, IBM Systems Journal 5(2), 1966), ``sch`` what a segment
    of tokens known ahead is worth (Liang et al., arXiv 2505.16056). A look-ahead counts the current token, so that 1
    leaves only recency.
    """

    kind: str
    look_ahead: int = 0

    def __post_init__(self) -> None:
        if self.kind not in (*KINDS, "window"):
            raise unknown_name("replacement", self.kind, _NAMES, field="replacement")
        if (self.kind in ("sch", "window")) != (self.look_ahead > 0):
            raise InputError(
                f"replacement {self.kind!r} with {self.look_ahead} tokens",
                expected="at least 1 token for sch and window, as in sch-16, and none for the others",
                field="replacement",
            )

    @property
    def name(self) -> str:
        """As it is written on the command line."""
        return f"{self.kind}-{self.look_ahead}" if self.look_ahead else self.kind

    @property
    def is_online(self) -> bool:
        """Whether the past alone decides."""
        return self.kind in ("lru", "lfu")


def replacement(name: str) -> Replacement:
    """The rule called ``name``: lru, lfu, belady, sch-M with M tokens of look-ahead, or window-M.

    >>> replacement("sch-16")
    Replacement(kind='sch', look_ahead=16)
    """
    kind, dash, tokens = name.partition("-")
    if not dash:
        return Replacement(kind)
    if kind not in ("sch", "window") or not tokens.isdecimal():
        raise unknown_name("replacement", name, _NAMES, field="replacement")
    return Replacement(kind, int(tokens))
