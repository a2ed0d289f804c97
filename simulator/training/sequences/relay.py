"""Devices in a row that each wait, in every layer, for what the one before them hands on.

A device works on a layer up to the exchange, waits for the device before it, does what needs what that sends, sends on,
and goes on with its next layer: waves of layers run over the devices, and only the first wave's way is waited for. A
backward pass runs from the last device to the first. States of linear attention are passed on so (LASP, arXiv
2404.02882, section 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workloads.errors import InputError

__all__ = ["RelayPass", "relay_finish_s"]


@dataclass(frozen=True)
class RelayPass:
    """One layer's pass on every device: seconds ``before_s`` the exchange, ``with_s`` on what came in, and ``after_s``.

    ``backward``: from the last device to the first. ``together``: nobody goes on before all have done their layer.
    """

    before_s: float
    with_s: float
    after_s: float
    backward: bool = False
    together: bool = False


def relay_finish_s(passes: Sequence[RelayPass], hops_s: Sequence[float]) -> NDArray[np.float64]:
    """When each device has done all ``passes``; ``hops_s[i]`` is a message between devices i and i + 1, either way.

    Raises `InputError` for negative times.
    """
    if min(hops_s, default=0.0) < 0 or any(min(p.before_s, p.with_s, p.after_s) < 0 for p in passes):
        raise InputError("a negative time", "seconds of at least 0", "passes")
    ready = np.zeros(len(hops_s) + 1)
    for each in passes:
        order = range(len(ready) - 1, -1, -1) if each.backward else range(len(ready))
        came = 0.0
        for device in order:
            done = max(ready[device] + each.before_s, came) + each.with_s
            ready[device] = done + each.after_s
            hop = device - 1 if each.backward else device
            came = done + (hops_s[hop] if 0 <= hop < len(hops_s) else 0.0)
        if each.together:
            ready[:] = ready.max()
    return ready
