"""When an update of the optimizer's states is worth doing by the host's processors, by the device, or by both.

States lie in host memory. Three ways: all subgroups go up, are updated by the device and come back ("streamed"); the
host's processors update all and send 16-bit parameters up ("host"); every stride-th goes up while the host updates the
others ("interleaved", Deep Optimizer States, arXiv 2410.21316). What none of them beats is states that stay on the
device ("resident"). All are closed forms over the rates of link, host memory and processors
(`simulator.training.host.optimizer_update`); crossings are found by halving between a rate at which a way loses and one
at which it wins.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from mappers.planner.swap.machine import Machine
from mappers.planner.swap.optimizer_stride import (
    DEVICE_UPDATE_BYTES,
    HOST_UPDATE_BYTES,
    SUBGROUP,
    UpdateRates,
    rates_of,
)
from simulator.training.host.optimizer_update import UpdateWork, update_s
from workloads.errors import InputError

__all__ = [
    "HOST_ADAM_SHARE",
    "UpdateTimes",
    "host_where_it_beats_streaming",
    "link_where_streaming_wins",
    "sequences_for_share",
    "update_rates",
    "update_times",
    "updates_over_host",
    "updates_over_link",
]

HOST_ADAM_SHARE = HOST_UPDATE_BYTES * 10e9 / 2.57 / 255.97e9
"""Of the host memory's rate, in updates of Adam by its processors. Derived: 10 B parameters of 28 bytes in 2.57 s at 12
channels of DDR4-2666 (ZeRO-Offload, arXiv 2101.06840, table 4, as recalled). DeepSpeed's runs of which
`studies.deep_optimizer_states` knows attain 0.44 with four A100s and 0.33 with four H100s."""

_MOST_SUBGROUPS = 64
"""Where there would be more they are larger: times hang on them by about one in so many."""

_SLOTS = 2
"""Subgroups on the device at once (`studies.deep_optimizer_states`)."""


@dataclass(frozen=True)
class UpdateTimes:
    """Seconds of one device's update at ``rates``. ``stride`` is the best, None where the host had better do it all."""

    rates: UpdateRates
    resident_s: float
    streamed_s: float
    host_s: float
    interleaved_s: float
    stride: int | None


def update_rates(machine: Machine, adam_share: float = HOST_ADAM_SHARE) -> UpdateRates:
    """A device's part of ``machine``; its processors use ``adam_share`` of the host memory's rate.

    Raises `InputError` where there is no host memory, and for a share that is none.
    """
    if not machine.tiers or not machine.link_bytes_per_s:
        raise InputError(f"{machine.name} has no host memory behind a link", "a system with a host tier", "system")
    if not 0 < adam_share <= 1:
        raise InputError(f"found {adam_share:g}", "a share above 0 and at most 1", "adam_share")
    return _scaled(rates_of(machine), adam_share)


def _scaled(rates: UpdateRates, adam_share: float) -> UpdateRates:
    return replace(rates, host_parameters_per_s=adam_share * rates.host_bytes_per_s / HOST_UPDATE_BYTES)


def update_times(parameters: float, rates: UpdateRates) -> UpdateTimes:
    """The ways to update ``parameters`` of a device."""
    count = max(1, min(_MOST_SUBGROUPS, round(parameters / SUBGROUP)))
    times = {stride: _seconds(parameters, count, rates, stride) for stride in (None, *range(count, 0, -1))}
    best = min(times, key=lambda stride: times[stride])
    resident = parameters * DEVICE_UPDATE_BYTES / rates.device_bytes_per_s
    return UpdateTimes(rates, resident, times[1], times[None], times[best], best)


def _seconds(parameters: float, count: int, rates: UpdateRates, stride: int | None) -> float:
    return update_s(UpdateWork((parameters / count,) * count, rates, stride, slots=_SLOTS))


def updates_over_link(parameters: float, rates: UpdateRates, links: Iterable[float]) -> tuple[UpdateTimes, ...]:
    """By the link's rate in each direction, bytes per second."""
    return tuple(update_times(parameters, replace(rates, link_bytes_per_s=link)) for link in links)


def updates_over_host(parameters: float, rates: UpdateRates, memories: Iterable[float]) -> tuple[UpdateTimes, ...]:
    """By the rate of a device's part of the host's memory; processors scale with it."""
    return tuple(update_times(parameters, _with_memory(rates, memory)) for memory in memories)


def _with_memory(rates: UpdateRates, memory: float) -> UpdateRates:
    share = rates.host_parameters_per_s * HOST_UPDATE_BYTES / rates.host_bytes_per_s
    return _scaled(replace(rates, host_bytes_per_s=memory), share)


def link_where_streaming_wins(parameters: float, rates: UpdateRates) -> float | None:
    """The link's rate from which states that go up and back take less than the host's processors; None where a link
    without end does not help, since the host's memory serves both."""
    return _crossing(parameters, lambda link: replace(rates, link_bytes_per_s=link))


def host_where_it_beats_streaming(parameters: float, rates: UpdateRates) -> float | None:
    """The rate of the host's memory from which its processors take less than states that go up and back."""
    return _crossing(parameters, lambda memory: _with_memory(rates, memory), host_wins=True)


_LEAST, _MOST = 1e8, 1e14
"""Bytes per second between which crossings are sought: 0.1 GB/s to 100 TB/s."""


def _crossing(parameters: float, at: Callable[[float], UpdateRates], *, host_wins: bool = False) -> float | None:
    def wins(rate: float) -> bool:
        count = max(1, min(_MOST_SUBGROUPS, round(parameters / SUBGROUP)))
        host, streamed = (_seconds(parameters, count, at(rate), stride) for stride in (None, 1))
        return host < streamed if host_wins else streamed < host

    low, high = _LEAST, _MOST
    if not wins(high):
        return None
    if wins(low):
        return low
    while high / low > 1 + 1e-6:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if wins(middle) else (middle, high)
    return high


def sequences_for_share(update_s: float, pass_s: float, share: float) -> int:
    """The fewest sequences of ``pass_s`` seconds each in a step of which the update takes at most ``share``.

    Raises `InputError` for a share outside 0 to 1.
    """
    if not 0 < share < 1:
        raise InputError(f"found {share:g}", "a share above 0 and below 1", "share")
    return max(1, math.ceil(update_s * (1 - share) / (share * pass_s) - 1e-9))
