"""Ways to keep or read less of keys and values: what each is worth in bytes, latency and room.

DuoAttention, Keyformer, ThinK, Locret and LazyEviction are edits of the decode step's attention and of what is stored;
the simulator finds what that does to a step, to the batch that fits, and to the longest context. What they do to the
model's answers is outside.
"""

from __future__ import annotations

from functools import cache

from hw.spec.load import load_system
from hw.spec.memory_only import memory_only
from simulator.policies import named_policy
from simulator.policy import Policy
from simulator.result import Result
from simulator.road import simulate
from studies.frame.constants import derived, of_machine, stated
from studies.frame.limits import largest
from studies.frame.study import Config, Key, Metric, Miss, Published, Study
from workloads.errors import InfeasibleError
from workloads.formats import FormatChoice
from workloads.models import model
from workloads.phases import Decode

__all__ = ["STUDY"]

METHODS = ("duo", "keyformer", "think", "locret", "lazy")
MODELS = ("Llama-2-7B", "Llama-3-8B", "Llama-3.1-8B", "Llama-2-13B", "Mistral-7B", "Llama-3-70B")
LONGEST = 1 << 25


def _policies(config: Config, context: int) -> tuple[str, ...]:
    """The named policy of a method; Locret keeps a budget, LazyEviction a share of the tokens."""
    share, budget = float(config["share"]), int(config["budget"])
    if config["method"] == "duo":
        return (f"duo:{share},{int(config['sinks'])},{int(config['recent'])}",)
    if config["method"] == "keyformer":
        return (f"h2o:{share}",)
    if config["method"] == "think":
        return (f"think:{share}",)
    kept = budget if config["method"] == "locret" else max(1, round(share * context))
    return (f"window:0,{kept}",)


def _step(config: Config, batch: int, context: int, *, reduced: bool) -> Result | None:
    """A decode step; None where it does not fit. What is not reduced has 16-bit weights and cache."""
    system = memory_only(load_system(str(config["system"]))).model_copy(update={"devices": int(config["devices"])})
    policy = Policy()
    for text in _policies(config, context) if reduced else ():
        policy = named_policy(policy, system, text)
    weights, kept = (str(config["weights"]), str(config["kv_cache"])) if reduced else ("bf16", "bf16")
    formats = FormatChoice(weights=weights, kv_cache=kept, activations="bf16", compute="bf16")
    try:
        return simulate(model(str(config["model"])), Decode(batch, context), system, formats=formats, policy=policy)
    except InfeasibleError:
        return None


def _simulate(config: Config) -> dict[str, float]:
    return dict(_simulated(tuple(config.items())))


@cache
def _simulated(items: tuple[tuple[str, str | int | float], ...]) -> dict[str, float]:
    config: Config = dict(items)
    batch = int(config["batch"])
    whole = largest(lambda tokens: _step(config, batch, tokens, reduced=False), LONGEST, within=1e-3)
    longest = largest(lambda tokens: _step(config, batch, tokens, reduced=True), LONGEST, within=1e-3)
    found = {"longest": float(longest)}
    context = int(config["context"]) or whole
    less, full = (_step(config, batch, context, reduced=reduced) for reduced in (True, False))
    if less is None or full is None:
        return found
    home = max(full.peak_bytes, key=lambda tier: full.peak_bytes[tier])
    kept, all_of = (sum(one.placement_bytes["kv_cache"].values()) for one in (less, full))
    found |= {
        "cache_ratio": all_of / kept,
        "cache_saved": 1 - kept / all_of,
        "memory_ratio": full.peak_bytes[home] / less.peak_bytes[home],
        "decode_speedup": full.latency_s / less.latency_s,
    }
    rates = [_best_rate(config, context, reduced=reduced) for reduced in (True, False)]
    if all(rates):
        found["throughput_gain"] = rates[0] / rates[1]
    return found


def _best_rate(config: Config, context: int, *, reduced: bool) -> float:
    """Tokens a second at the largest batch; 0 where not even one sequence fits."""
    most = largest(lambda count: _step(config, count, context, reduced=reduced), 4096)
    step = _step(config, most, context, reduced=reduced) if most else None
    return step.tokens_per_s if step else 0.0


def _bytes_at_most() -> str:
    bound = []
    for context in (4096, 16384, 65536):
        config = STUDY.config({"method": "keyformer", "model": "Llama-2-7B", "share": 0.5, "context": context})
        bound.append(f"{_simulate(config)['decode_speedup']:.2f} at {context:,} tokens")
    return f"Half of the tokens gives {', '.join(bound)}: bytes come to 2 at most, with no weights to read and no sums."


def _room_left() -> str:
    config = STUDY.config({**_GQA, "weights": "int8", "kv_cache": "int4_g128", "context": 3_300_000})
    step = _step(config, 1, 3_300_000, reduced=True)
    assert step is not None
    used, room = max(step.peak_bytes.values()), load_system("a100-80gb-sxm").tiers["hbm"].capacity_bytes
    return (
        f"At 3.3 million tokens a decode step holds {used / 1e9:.1f} of {room / 1e9:.1f} GB; the rest is left to what "
        "computes the prompt, the allocator and the library, of which nothing is published."
    )


def _duo(name: str, share: float) -> dict[str, str | float]:
    return {"method": "duo", "model": name, "share": share}


_MHA, _GQA = _duo("Llama-2-7B", 0.25), _duo("Llama-3-8B", 0.5)
_KEYFORMER: dict[str, str | float] = {"method": "keyformer", "model": "Llama-2-7B", "share": 0.5, "context": 4096}
_ABSTRACT = "abstract, arXiv 2410.10819"
_ROOM, _TIME = ("capacity", "sinks"), ("bandwidth", "sinks")
STUDY = Study(
    title="Reductions of keys and values",
    claim="Keeping or reading less of the cache makes decode steps faster, batches larger and contexts longer.",
    source="DuoAttention (arXiv 2410.10819), Keyformer (2403.09054), ThinK (2407.21018), Locret (2410.01805), "
    "LazyEviction",
    machine="A100 80 GB and other GPUs",
    workload="decode steps of 7- and 8-billion-parameter models",
    policy="named policies: duo, h2o, think, window, formats of weights and cache",
    baseline="the whole cache and weights in 16 bits",
    keys={
        "method": Key("duo", "method", choices=METHODS),
        "model": Key("Llama-3-8B", "model; Llama-2-7B has MPT-7B's sizes but for a percent", choices=MODELS),
        "share": Key(
            0.5, "duo: heads that keep all; keyformer, lazy: tokens kept; think: channels cut", low=0.01, high=1
        ),
        "budget": Key(16384, "tokens that locret keeps", low=1, high=1_000_000),
        "sinks": Key(64, "first tokens that duo keeps", low=0, high=4096),
        "recent": Key(256, "latest tokens that duo keeps", low=1, high=65536),
        "context": Key(0, "tokens; 0: the most whose whole cache fits", low=0, high=10_000_000),
        "batch": Key(1, "sequences", low=1, high=1024),
        "weights": Key("bf16", "format of weights", choices=("bf16", "int8", "int8_g128", "int4_g128")),
        "kv_cache": Key("bf16", "format of the cache", choices=("bf16", "int8", "int4_g128", "fp8_e4m3")),
        "system": Key(
            "a100-80gb-sxm", "machine", choices=("a100-80gb-sxm", "a100-40gb-sxm", "h100-sxm", "a40", "h200-sxm")
        ),
        "devices": Key(1, "devices", low=1, high=16),
    },
    constants={
        "capacity": of_machine("a100-80gb-sxm", "tiers.hbm.capacity"),
        "bandwidth": of_machine("a100-80gb-sxm", "tiers.hbm.read_bandwidth"),
        "sinks": stated((64, 256), "", "arXiv 2410.10819, section 3: sinks 64 to 128, recent 256 to 1,024"),
        "shares": stated(
            (0.25, 0.5), "", "arXiv 2410.10819, abstract: retrieval heads of models without and with groups"
        ),
        "context": derived("longest", "", "ratios of memory are largest where the whole cache just fits"),
    },
    metrics={
        "cache_ratio": Metric("bytes of the whole cache over those kept", "", ("shares",)),
        "cache_saved": Metric("share of the cache's bytes that is saved", "", ("shares",)),
        "memory_ratio": Metric("peak memory over that with less", "", (*_ROOM, "shares", "context")),
        "decode_speedup": Metric("latency of a step over that with less", "", (*_TIME, "shares", "context")),
        "throughput_gain": Metric("tokens a second at the largest batch over those of the whole cache", "", _TIME),
        "longest": Metric("longest context that fits", "", _ROOM),
    },
    published=(
        Published("memory_ratio", _MHA, 2.55, _ABSTRACT),
        Published("memory_ratio", _GQA, 1.67, _ABSTRACT),
        Published("decode_speedup", _MHA, 2.18, _ABSTRACT),
        Published("decode_speedup", _GQA, 1.50, _ABSTRACT),
        Published("longest", {**_GQA, "weights": "int8", "kv_cache": "int4_g128"}, 3.3e6, _ABSTRACT),
        Published("decode_speedup", _KEYFORMER, 2.1, "abstract, arXiv 2403.09054"),
        Published("throughput_gain", _KEYFORMER, 2.4, "abstract, arXiv 2403.09054"),
        Published("cache_saved", {"method": "think", "share": 0.4, "context": 4096}, 0.2, "abstract, arXiv 2407.21018"),
        Published(
            "cache_ratio", {"method": "locret", "budget": 6000, "context": 131072}, 20, "abstract, arXiv 2410.01805"
        ),
        Published("cache_ratio", {"method": "locret", "context": 131072}, 8, "abstract, arXiv 2410.01805"),
        Published("cache_saved", {"method": "lazy", "share": 0.5, "context": 8192}, 0.5, "abstract"),
    ),
    simulate=_simulate,
    misses=(
        Miss(("decode_speedup",), "Keyformer is said to be 2.1 times faster with half of the tokens.", _bytes_at_most),
        Miss(("longest",), "Only a decode step has to fit here.", _room_left),
    ),
)
