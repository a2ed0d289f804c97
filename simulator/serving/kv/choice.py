"""A KV memory by its name, as the command line writes it, and the room there is for one."""

from __future__ import annotations

from hw.spec.quantity import BYTES, parse_quantity
from hw.spec.system import System
from simulator.serving.kv.away import AwayTier, away_tier, remote_tier
from simulator.serving.kv.contiguous import RESERVES, ContiguousMemory
from simulator.serving.kv.memory import KvMemory
from simulator.serving.kv.paged import PagedMemory
from simulator.serving.kv.pages import VirtualMemory
from simulator.serving.kv.prefix import PrefixMemory
from simulator.serving.kv.sizes import KvSizes
from simulator.serving.kv.tiered import TieredMemory
from workloads.errors import InfeasibleError, InputError, nearest_name, unknown_name
from workloads.formats import FormatChoice
from workloads.models import Model
from workloads.models.lower import lower
from workloads.phases import Decode

__all__ = ["KINDS", "kv_capacity_bytes", "kv_memory"]

KINDS = ("contiguous", "paged", "pages", "prefix")
_ALLOWED = (
    "paged[:TOKENS], contiguous[:oracle|pow2|max], pages[:SIZE] (such as pages:2MiB) or prefix[:TOKENS][:leaves], "
    "paged and prefix with +TIER, paged with +TIER:spill"
)


def kv_memory(
    text: str,
    sizes: KvSizes,
    system: System,
    capacity_bytes: float,
    *,
    home: str | None = None,
    most_tokens: int | None = None,
    prefix_tokens: int | None = None,
    map_s: float = 0.0,
    hidden_s: float = 0.0,
    watermark: float = 0.0,
) -> KvMemory:
    """The memory called ``text`` of ``capacity_bytes`` in tier ``home`` of ``system`` (the matrix engines' by default).

    ``paged[:TOKENS]`` (16): blocks. ``contiguous[:RULE]`` (oracle): one piece, ``max`` of ``most_tokens``.
    ``pages[:SIZE]`` (2 MiB): pages mapped on demand in ``map_s`` each. ``prefix[:TOKENS]`` (16): blocks that prompts
    share, whose prefixes the trace knows by ``prefix_tokens``; ``:leaves`` evicts leaves first. ``+TIER`` adds a tier
    of the system: preempted sequences wait there, or evicted prefixes; more than one for ``paged``. With ``:spill``
    running sequences' oldest blocks stay there. ``+remote:SIZE`` is memory of other devices. ``hidden_s`` of computing
    hides mapping and moving each time; ``watermark`` is the share that ``paged`` holds back from admissions. Raises
    `InputError` for what is none of these.
    """
    first, *others = text.split("+")
    kind, *given = first.split(":")
    if kind not in KINDS:
        raise InputError(f"unknown KV memory {kind!r}", _ALLOWED, "kv", nearest=nearest_name(kind, KINDS))
    if len(given) > (2 if kind == "prefix" else 1):
        raise InputError(f"too many parts in {first!r}", _ALLOWED, "kv")
    home = _home(system) if home is None else home
    away, spill = _away(others, system, home)
    if away and kind not in ("paged", "prefix"):
        raise InputError(f"{kind} with a tier behind it", _ALLOWED, "kv")
    if kind == "contiguous":
        rule = given[0] if given else "oracle"
        if rule not in RESERVES:
            raise unknown_name("rule of reserving", rule, RESERVES, field="kv")
        return ContiguousMemory(sizes, capacity_bytes, rule, most_tokens)
    if kind == "pages":
        page_bytes = _size(given[0], "pages") if given else 2 << 20
        return VirtualMemory(sizes, capacity_bytes, page_bytes, map_s=map_s, hidden_s=hidden_s)
    leaves = kind == "prefix" and given[-1:] == ["leaves"]
    tokens = _tokens(given[: len(given) - leaves])
    if kind == "paged":
        if away:
            return TieredMemory(
                sizes, capacity_bytes, away, tokens, spill=spill, hidden_s=hidden_s, watermark=watermark
            )
        return PagedMemory(sizes, capacity_bytes, tokens, watermark)
    if spill or len(away) > 1:
        raise InputError(f"prefix with {'spilling' if spill else 'several tiers'}", _ALLOWED, "kv")
    below = away[0] if away else None
    return PrefixMemory(
        sizes, capacity_bytes, tokens, prefix_tokens, leaves_first=leaves, below=below, hidden_s=hidden_s
    )


def kv_capacity_bytes(
    model: Model, system: System, formats: FormatChoice | None = None, *, home: str | None = None, share: float = 0.9
) -> float:
    """Bytes left for keys and values in tier ``home`` of all devices once the weights are there.

    ``share`` of the tier is used at all: vLLM's ``gpu_memory_utilization``, 0.9 unless set. What a step's activations
    take must fit in the rest. Weights are those of `lower`, split over the system's devices. Raises `InfeasibleError`
    when they leave nothing.
    """
    if not 0 < share <= 1:
        raise InputError(f"a share of {share:g} of the memory", "above 0 to 1", "share")
    home = _home(system) if home is None else home
    workload = lower(model, Decode(1, 1), formats, devices=system.devices)
    weights = workload.stored_bytes() - workload.stored_bytes("kv_cache")
    capacity = system.tiers[home].capacity_bytes * share
    if weights >= capacity:
        raise InfeasibleError(f"weights of {model.name} on each device", weights, capacity, "bytes")
    return (capacity - weights) * system.devices


def _home(system: System) -> str:
    """The home of the fastest matrix engine, or of the fastest engine where there is none."""
    engines = [engine for engine in system.engines.values() if engine.kind == "matrix"] or system.engines.values()
    return max(engines, key=lambda engine: max(engine.throughput_ops_per_s.values())).home


def _away(others: list[str], system: System, home: str) -> tuple[tuple[AwayTier, ...], bool]:
    tiers, spill = [], False
    for other in others:
        name, *options = other.split(":")
        if name == "remote" and options:
            tiers.append(remote_tier(system, _size(options.pop(0), "memory")))
        elif name in system.tiers and system.tiers[name].holds == "tensors" and name != home:
            tiers.append(away_tier(system, name, home))
        else:
            names = [tier for tier, value in system.tiers.items() if value.holds == "tensors" and tier != home]
            raise unknown_name("tier to move keys and values to", name, [*names, "remote:SIZE"], field="kv")
        if options not in ([], ["spill"]):
            raise InputError(f"unknown option {':'.join(options)!r} of tier {name!r}", _ALLOWED, "kv")
        spill = spill or bool(options)
    return tuple(tiers), spill


def _size(text: str, what: str) -> int:
    try:
        size = parse_quantity(text, BYTES)
    except InputError as error:
        raise InputError(error.problem, error.expected, "kv", nearest=error.nearest) from None
    if size < 1:
        raise InputError(f"{what} of {text}", "at least 1 B", "kv")
    return int(size)


def _tokens(given: list[str]) -> int:
    if not given:
        return 16
    if len(given) > 1 or not given[0].isdecimal() or len(given[0]) > 9 or not int(given[0]):
        raise InputError(f"blocks of {':'.join(given)!r} tokens", f"a whole number of at least 1, in {_ALLOWED}", "kv")
    return int(given[0])
