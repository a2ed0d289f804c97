"""When data travels: on demand, or a number of layers ahead of its use."""

from __future__ import annotations

from dataclasses import dataclass

from workloads.errors import InputError

__all__ = ["Move", "layers_ahead", "on_demand"]


@dataclass(frozen=True)
class Move:
    """Streamed tensors of a layer may travel during the ``ahead`` layers before it (0: just before their operation).

    With ``send_along`` what an operation away from the others makes for them travels while it is made, else after it.
    """

    ahead: int = 1
    send_along: bool = False

    def __post_init__(self) -> None:
        if self.ahead < 0:
            raise InputError(f"{self.ahead} layers ahead", expected="0 (on demand) or more", field="move.ahead")


def on_demand() -> Move:
    """Each streamed tensor travels when the operation that needs it is next."""
    return Move(0)


def layers_ahead(count: int = 1) -> Move:
    """Streamed tensors travel up to ``count`` layers ahead, through ``count + 1`` buffers used in turn."""
    return Move(count)
