"""Which subgroups of the optimizer's state are updated by the device while the host updates the others.

Master copy and moments lie in host memory, cut into equal subgroups. Every ``stride``-th goes up to the device, is
updated there and comes back, while the host's processors update the others in their order and send the new 16-bit
parameters up (Deep Optimizer States, arXiv 2410.21316). Gradients are on both sides already: they are sent down during
the backward pass. The device has room for ``slots`` subgroups at once, where activations were. With one slot the best
stride is about where (stride - 1) updates of the host take as long as one subgroup's way up, update and way back.
"""

from __future__ import annotations

from dataclasses import dataclass

from mappers.planner.swap.machine import Machine

__all__ = [
    "DEVICE_UPDATE_BYTES",
    "HOST_BYTES",
    "HOST_UPDATE_BYTES",
    "PARAMETER_BYTES",
    "STATE_BYTES",
    "SUBGROUP",
    "StridePlan",
    "UpdateRates",
    "best_stride",
    "rates_of",
    "update_s",
]

STATE_BYTES = 12
"""Of a parameter: master copy and two moments in fp32, which go up and come back."""

HOST_BYTES = 16
"""Of a parameter, in host memory: the state and a gradient in fp32. Derived."""

SUBGROUP = 1e8
"""Parameters of one subgroup. Synthetic: large enough that every copy runs at the link's rate."""

PARAMETER_BYTES = 2
"""Of a parameter: its 16-bit copy, which goes up after an update on the host."""

HOST_UPDATE_BYTES = 28
"""Of a parameter, through host memory in one update of Adam: read gradient, copy and moments in fp32 (16), write all
but the gradient (12). Derived."""

DEVICE_UPDATE_BYTES = 30
"""The same on the device, which also writes the 16-bit parameter. Derived."""


@dataclass(frozen=True)
class UpdateRates:
    """Parameters per second that the host's processors update; bytes per second of the host's memory, of the device's,
    and of the link in each direction."""

    host_parameters_per_s: float
    host_bytes_per_s: float
    device_bytes_per_s: float
    link_bytes_per_s: float


@dataclass(frozen=True)
class StridePlan:
    """``stride`` is None where the host updates everything. ``bound_s`` is what no stride goes below."""

    stride: int | None
    subgroups: int
    seconds: float
    all_host_s: float
    bound_s: float


def rates_of(machine: Machine) -> UpdateRates:
    """Those of ``machine``: its processors update as fast as their part of the host's memory lets them."""
    host = machine.tiers[0]
    memory = min(host.read_bytes_per_s, host.write_bytes_per_s)
    return UpdateRates(memory / HOST_UPDATE_BYTES, memory, machine.memory_bytes_per_s, machine.link_bytes_per_s)


def best_stride(parameters: float, subgroups: int, rates: UpdateRates, slots: int = 1) -> StridePlan:
    """The stride with the shortest update, by trying each; of equals the largest, which moves the fewest bytes."""
    times: dict[int | None, float] = {None: update_s(parameters, subgroups, None, rates, slots)}
    for stride in range(subgroups, 0, -1):
        times[stride] = update_s(parameters, subgroups, stride, rates, slots)
    best = min(times, key=lambda stride: times[stride])
    return StridePlan(best, subgroups, times[best], times[None], _bound_s(parameters, rates))


def update_s(parameters: float, subgroups: int, stride: int | None, rates: UpdateRates, slots: int = 1) -> float:
    """Seconds from the first update to the last parameter in place: four streams, each serving in order.

    The host's memory serves updates and copies: the whole takes at least as long as its bytes.
    """
    each = parameters / subgroups
    on_host = each / rates.host_parameters_per_s
    on_device = each * DEVICE_UPDATE_BYTES / rates.device_bytes_per_s
    states, sent = each * STATE_BYTES / rates.link_bytes_per_s, each * PARAMETER_BYTES / rates.link_bytes_per_s
    host = up = device = down = 0.0
    back: list[float] = []
    memory = 0.0
    for number in range(1, subgroups + 1):
        if stride is not None and number % stride == 0:
            free = back[-slots] if len(back) >= slots else 0.0
            up = max(up, free) + states
            device = max(device, up) + on_device
            down = max(down, device) + states
            back.append(down)
            memory += 2 * each * STATE_BYTES
        else:
            host += on_host
            memory += each * (HOST_UPDATE_BYTES + PARAMETER_BYTES)
    # The 16-bit parameters of the host's subgroups follow in the gaps of the way up, the last one after its update.
    on_hosts = subgroups - len(back)
    carried = len(back) * states + on_hosts * sent
    last = host + sent if on_hosts else 0.0
    return max(last, device, down, carried, memory / rates.host_bytes_per_s)


def _bound_s(parameters: float, rates: UpdateRates) -> float:
    """Any split: the host's memory moves at least the fewer bytes of the two ways for each parameter."""
    least = min(2 * STATE_BYTES, HOST_UPDATE_BYTES + PARAMETER_BYTES)
    return parameters * least / rates.host_bytes_per_s
