"""Which models suit expert offloading: how long routes stay (SRP), and what caches of experts hit (SCH and others).

The traces behind the publication are not public. Its hit rates of segment caches are what a synthetic router of each
model is fitted to (`workloads.traces.routing_fitted`), so these rows are marked as calibrating. What LRU, LFU and
Belady's rule hit, SRP, the kept share and the correlations over models are predicted: nothing of theirs was used.
``uniform`` is a router without any preference, the floor that follows from the numbers of experts alone.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from simulator.collections.calibration import TOKENS
from simulator.collections.hit_rates import fixed_curve, hit_curve, rate_at
from simulator.collections.replacement import replacement
from studies.frame.constants import fitted, stated, synthetic
from studies.frame.study import Config, Key, Metric, Miss, Published, Study
from studies.published.srp_sch import CORRELATION, CURVES, DEVIATION, HIT_RATES, SRP_16, SRP_TRAINED
from workloads.traces import RoutingStream
from workloads.traces.routing_fitted import fitted_router, fitted_router_names
from workloads.traces.routing_statistics import routing_statistics, segment_routing
from workloads.traces.routing_sticky import StickyRouter, sticky_routing

__all__ = ["STUDY"]

_MOST_LAYERS, _WIDE, _LAYERS_OF_WIDE = 8, 60, 4
_POLICIES = ("lru", "lfu", "belady", "sch", "fixed")
_PAPER = "arXiv 2505.16056"
_PLOTS = "ljcleo/moe-lrc @ 7b3ca46, plots"

CONSTANTS = {
    "router": fitted(
        "spread, drift, repeat",
        "",
        "by model, to its twelve rates of segment caches, 4 to 256 tokens at 1 to 3 times the active experts",
    ),
    "tokens": stated(TOKENS, "", "section 3: samples of 512 tokens"),
    "experts": stated("by model", "", "model/config.jsonl of ljcleo/moe-lrc @ 7b3ca46"),
    "memory_tokens": synthetic(32.0, "", "over how many tokens a passage's preference fades, the same for all"),
    "samples": synthetic((6, 2), "", "samples and seed of what is drawn; fits were made on another seed"),
    "layers": synthetic(_MOST_LAYERS, "", "layers drawn, half of them from 60 experts on: layers are alike"),
}


def _router(name: str, experts: int, active: int) -> StickyRouter:
    if name == "uniform":
        return StickyRouter(_LAYERS_OF_WIDE, experts, active)
    own = fitted_router(name)
    most = _LAYERS_OF_WIDE if own.experts >= _WIDE else _MOST_LAYERS
    return fitted_router(name, layers=min(own.layers, most))


@cache
def _stream(name: str, experts: int, active: int) -> RoutingStream:
    samples, seed = CONSTANTS["samples"].value
    return sticky_routing(_router(name, experts, active), steps=TOKENS, batch=samples, seed=seed)


@cache
def _curve(name: str, experts: int, active: int, policy: str) -> tuple[float, ...]:
    stream = _stream(name, experts, active)
    return tuple(fixed_curve(stream) if policy == "fixed" else hit_curve(stream, replacement(policy)))


def _rate(name: str, experts: int, active: int, policy: str, rho: float) -> float:
    router = _router(name, experts, active)
    curve = np.array(_curve(name, experts, active, policy))
    return rate_at(curve, router.layers * router.top_k, [rho])[0]


def _simulate(config: Config) -> dict[str, float]:
    name, policy, rho = str(config["model"]), str(config["policy"]), float(config["rho"])
    experts, active, tokens = int(config["experts"]), int(config["active"]), int(config["tokens"])
    active = min(active, experts)
    if name == "all":
        # A segment cache beside another rule, over models.
        rates = [
            (_rate(one, 0, 0, f"sch-{tokens}", rho), _rate(one, 0, 0, "lru" if policy == "sch" else policy, rho))
            for one in fitted_router_names()
        ]
        return {"correlation": float(np.corrcoef(np.array(rates).T)[0, 1])}
    if name != "uniform":
        experts = active = 0
    stream = _stream(name, experts, active)
    segments = segment_routing(stream, tokens)
    rule = f"sch-{tokens}" if policy == "sch" else policy
    return {
        "srp": segments.srp,
        "kept": segments.best_m,
        "hit_rate": _rate(name, experts, active, rule, rho),
        "deviation": _within(stream),
    }


def _published() -> tuple[Published, ...]:
    rows = [Published("srp", {"model": name}, value, f"{_PAPER}, m = 16") for name, value in SRP_16.items()]
    for name, curves in HIT_RATES.items():
        for rule, rates in zip(CURVES, curves, strict=True):
            policy, _, ahead = rule.partition("-")
            keys: dict[str, str | int] = {"model": name, "policy": policy}
            if ahead:
                keys["tokens"] = int(ahead)
            for rho, rate in zip((1.0, 2.0, 3.0), rates, strict=True):
                rows.append(Published("hit_rate", {**keys, "rho": rho}, rate, _PLOTS, calibrates=bool(ahead)))
    for tokens, shares in CORRELATION.items():
        for policy, share in zip(("lru", "lfu", "fixed"), shares, strict=True):
            rows.append(Published("correlation", {"model": "all", "policy": policy, "tokens": tokens}, share, _PAPER))
    rows += [Published("deviation", {"model": name}, value, _PAPER) for name, value in DEVIATION.items()]
    return tuple(rows)


def _within(stream: RoutingStream) -> float:
    """Deviation of how often experts are used within a sample, mean over samples."""
    one_by_one = (RoutingStream(stream.picks[:, :, at : at + 1], stream.experts) for at in range(stream.picks.shape[2]))
    return float(np.mean([routing_statistics(one).frequency_deviation for one in one_by_one]))


def _common() -> str:
    found = []
    for name in ("llama-moe-v2", "powermoe-3b", "mixtral-8x7b", "qwen1.5-moe-a2.7b"):
        stream = _stream(name, 0, 0)
        pooled = routing_statistics(stream).frequency_deviation
        found.append(f"{name} {_within(stream):.1%}, {pooled:.1%} ({DEVIATION[name]:.1%} published)")
    return (
        "A preference that lasts may be the sample's (its subject) or the model's. Caches start empty with each "
        "sample, so that hit rates, all that was fitted, cannot tell. Within a sample, as if all were the model's, and "
        f"over {stream.picks.shape[2]} samples pooled, as if none were: {'; '.join(found)}. So LLaMA-MoE-v2 and "
        "PowerMoE prefer experts whatever the subject, Qwen1.5 hardly."
    )


def _recency() -> str:
    found = []
    for name in ("switch-base-128-encoder", "qwen1.5-moe-a2.7b", "nllb-moe-encoder", "llama-moe-v1"):
        ours, theirs = _rate(name, 0, 0, "lru", 1.0), HIT_RATES[name][0][0]
        found.append(f"{name} {ours:.3f} ({theirs:.3f} published)")
    return (
        "With as many slots as experts are active, LRU hits the picks that the token before made too: a share that no "
        f"rate of a segment cache shows by itself. {'; '.join(found)}."
    )


def _notes() -> tuple[str, ...]:
    trained = ", ".join(f"{name} {value:.1%}" for name, value in SRP_TRAINED.items())
    return (
        f"Not simulated: SRP of models that the authors trained to compare ({trained}); what training makes of a "
        "router is not ours to predict. NLLB's decoder (31.35 %) has no published hit rates to fit a router to.",
    )


_DRAWN = ("router", "tokens", "experts", "memory_tokens", "samples", "layers")
STUDY = Study(
    title="SRP and SCH: which models suit expert offloading",
    claim="Models with experts in every layer and none shared route most alike over a passage; a cache of twice the "
    "active experts is a good balance.",
    source="Liang et al., ICLR 2026, arXiv 2505.16056; plots of ljcleo/moe-lrc @ 7b3ca46",
    machine="one cache of experts over all layers, rho times the active ones large",
    workload="samples of 512 tokens through routers of 20 models",
    policy="what leaves the cache: LRU, LFU, fewest uses in the next m tokens (SCH), or nothing ever (fixed)",
    baseline="Belady's rule, which no other beats, and routers without preference",
    keys={
        "model": Key("phi-3.5-moe", "whose router", choices=(*fitted_router_names(), "uniform", "all")),
        "policy": Key("lru", "what leaves the cache; sch looks as far ahead as a segment", choices=_POLICIES),
        "tokens": Key(16, "tokens of a segment", low=1, high=512),
        "rho": Key(2.0, "slots over active experts", low=0.25, high=64.0),
        "experts": Key(64, "experts of a layer (uniform)", low=2, high=512),
        "active": Key(8, "experts of a token (uniform)", low=1, high=64),
    },
    constants=CONSTANTS,
    metrics={
        "srp": Metric("segment routing performance: the best F1 of keeping experts for a whole segment", "", _DRAWN),
        "kept": Metric("experts kept at that, over active ones", "", _DRAWN),
        "hit_rate": Metric("share of picks that the cache holds", "", _DRAWN),
        "deviation": Metric(
            "standard deviation over experts of the share of a sample's tokens that use one", "", _DRAWN
        ),
        "correlation": Metric("of the segment cache's rates with the policy's, over models (model=all)", "", _DRAWN),
    },
    published=_published(),
    simulate=_simulate,
    misses=(
        Miss(("deviation",), "Whether a model's preferences are the same in all samples is not known.", _common),
        Miss(("hit_rate",), "Repetition from one token to the next.", _recency),
    ),
    notes=_notes,
)
