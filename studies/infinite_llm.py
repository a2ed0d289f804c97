"""Infinite-LLM: keys and values of one sequence in the memory of many instances, attended to where they lie.

Every instance has the whole model. A long sequence belongs to one of them; the others hold what has no room there, get
its queries and give back partial results. The others are one more memory with the engines of all of them, behind the
network; fetching their keys and values instead is what it is compared with.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from hw.spec.load import load_system, override_values
from hw.spec.system import System
from mappers.assign import Assignment, engines_with
from simulator.moves import Move
from simulator.policy import Policy
from simulator.result import Result
from simulator.road import simulate
from simulator.serving.kv.choice import kv_capacity_bytes
from simulator.serving.kv.paged import PagedMemory
from simulator.serving.kv.sizes import kv_sizes
from studies.frame.constants import of_machine, stated, synthetic
from studies.frame.limits import largest
from studies.frame.study import Config, Key, Metric, Miss, Published, Study, Value
from workloads.errors import InfeasibleError
from workloads.models.catalogue import model
from workloads.phases import Decode
from workloads.transforms.held_elsewhere import AWAY, AWAY_CACHE, held_elsewhere
from workloads.workload import Op

__all__ = ["STUDY"]

MACHINE, BLOCK, LONGEST = "a100-80gb-sxm", 16, 1 << 30
MODELS = ("Llama-2-7B", "Llama-2-13B", "Llama-2-70B", "Llama-3-8B", "Llama-3-70B", "Mistral-7B-v0.3")

CONSTANTS = {
    "instances": stated(32, "", "32 A100 in 2 to 32 instances"),
    "capacity": of_machine(MACHINE, "tiers.hbm.capacity"),
    "share": stated(0.9, "", "vLLM's gpu_memory_utilization, on which it is built"),
    "bandwidth": of_machine(MACHINE, "tiers.hbm.read_bandwidth"),
    "rate": stated(312e12, "1/s", "NVIDIA A100 Tensor Core GPU Architecture white paper, 2020: bf16, dense"),
    "launch": of_machine(MACHINE, "engines.tensor.launch_overhead"),
    "network": synthetic(25e9, "B/s", "200 Gb/s a GPU between machines, which are not described"),
    "network_latency": synthetic(5e-6, "s", "one way between machines"),
}


def _room(config: Config, instances: int) -> int:
    """The longest sequence that ``instances`` have blocks for."""
    found, devices = model(str(config["model"])), int(config["devices"])
    system = override_values(load_system(MACHINE), {"devices": devices, "tiers.hbm.capacity": _gpu(config)})
    each = kv_capacity_bytes(found, system, share=CONSTANTS["share"].value)
    sizes = kv_sizes(found, devices=devices)

    def fits(tokens: int) -> bool:
        try:
            return PagedMemory(sizes, instances * each, BLOCK).admit(0, tokens, tokens) is not None
        except InfeasibleError:
            return False

    return largest(fits, LONGEST - 1)


def _gpu(config: Config) -> float:
    return float(config["memory"]) * 1e9


def _machine(config: Config) -> System:
    """An instance, and the others as one memory with engines behind the network."""
    others, devices = int(config["instances"]) - 1, int(config["devices"])
    system = override_values(load_system(MACHINE), {"devices": devices, "tiers.hbm.capacity": _gpu(config)})
    hbm, link = system.tiers["hbm"], system.links["host-pcie"]
    away = hbm.model_copy(
        update={
            "capacity_bytes": others * hbm.capacity_bytes,
            "read_bandwidth_bytes_per_s": others * hbm.read_bandwidth_bytes_per_s,
            "write_bandwidth_bytes_per_s": others * hbm.write_bandwidth_bytes_per_s,
        }
    )
    engines = dict(system.engines)
    for name in ("tensor", "vector"):
        rates = {f: others * rate for f, rate in engines[name].throughput_ops_per_s.items()}
        engines[f"others-{name}"] = engines[name].model_copy(update={"home": "others", "throughput_ops_per_s": rates})
    network = link.model_copy(
        update={
            "between": ("others", "hbm"),
            "bandwidth_bytes_per_s": float(config["network"]) * 1e9,
            "latency_s": CONSTANTS["network_latency"].value,
            "message_cost_s": 0.0,
        }
    )
    tiers, links = {**system.tiers, "others": away}, {**system.links, "network": network}
    return system.model_copy(update={"engines": engines, "tiers": tiers, "links": links})


def _assign(op: Op, system: System) -> Assignment:
    return engines_with("others-tensor" if op.name == AWAY else "tensor", system)


def _fetching(op: Op, system: System) -> Assignment:  # noqa: ARG001 - all here
    return engines_with("tensor", system)


@cache
def _step(items: tuple[tuple[str, Value], ...], fetch: bool) -> Result:
    """A token of a sequence of which the instance holds as much as it has room for, at most its share."""
    config = dict(items)
    context, instances = int(config["context"]), int(config["instances"])
    away = max(context - _room(config, 1), context * (instances - 1) // instances)
    policy = Policy(assign=_fetching if fetch else _assign, move=Move(0) if fetch else Move(1, send_along=True))
    if away:
        place = policy.place.pin("kv_cache", "hbm").pin_tensor(AWAY_CACHE, "others")
        policy = replace(policy, transform=held_elsewhere(away), place=place)
    phase = Decode(int(config["batch"]), context)
    return simulate(model(str(config["model"])), phase, _machine(config), policy=policy)


def _simulate(config: Config) -> dict[str, float]:
    instances, context, batch = int(config["instances"]), int(config["context"]), int(config["batch"])
    all_of_them, one = _room(config, instances), _room(config, 1)
    found = {
        "max_context": float(all_of_them),
        "context_gain": all_of_them / one,
        "fits": float(batch * context <= all_of_them),
    }
    if not found["fits"] or instances == 1:
        return found
    key = tuple(sorted(config.items()))
    ours = _step(key, fetch=False)

    def sent(result: Result) -> float:
        return sum(size for name, size in result.moved_bytes.items() if name.startswith("network")) / batch

    found |= {"token_s": ours.latency_s, "sent": sent(ours)}
    try:
        fetched = _step(key, fetch=True)
    except InfeasibleError:  # no room for what a layer fetches
        return found
    return found | {
        "sent_fetching": sent(fetched),
        "token_s_fetching": fetched.latency_s,
        "traffic_saved": sent(fetched) / sent(ours),
    }


def _instances_of_the_longest() -> str:
    found = _simulate(STUDY.config({"instances": 32}))
    one = found["max_context"] / found["context_gain"]
    return (
        f"One instance has room for {one:,.0f} tokens and 32 for {found['max_context']:,.0f}; 1,900,000 tokens are "
        f"the room of {1.9e6 / one:.1f} of them, and a gain of 19 that of 19. What the others kept for requests of "
        "their own is not stated."
    )


_ROOM = ("instances", "capacity", "share")
_TIME = ("bandwidth", "rate", "launch", "network", "network_latency")
STUDY = Study(
    title="Infinite-LLM",
    claim="Contexts 2 to 19 times as long, up to 1,900,000 tokens, in the memory of all instances together.",
    source="Lin et al., arXiv 2401.02669",
    machine="a100-80gb-sxm: instances of one GPU or more, joined by a network",
    workload="one decode step of a long sequence, Llama-2-7B in 16 bits",
    policy="attention to each part of the keys and values where it lies, results merged",
    baseline="one instance alone; or the others' keys and values fetched for every token",
    keys={
        "model": Key("Llama-2-7B", "model", choices=MODELS),
        "instances": Key(32, "instances", low=1, high=1024),
        "devices": Key(1, "GPUs of an instance, tensor parallel", choices=(1, 2, 4, 8)),
        "context": Key(1_000_000, "tokens of a sequence", low=1024, high=100_000_000),
        "batch": Key(1, "such sequences", low=1, high=256),
        "memory": Key(80.0, "a GPU's memory, GB", low=16.0, high=288.0),
        "network": Key(25.0, "rate of the network at an instance, GB/s", low=0.1, high=1000.0),
    },
    constants=CONSTANTS,
    metrics={
        "max_context": Metric("longest sequence that all instances have room for", "", _ROOM),
        "context_gain": Metric("the same over that of one instance", "", _ROOM),
        "fits": Metric("1 where the sequences have room", "", _ROOM),
        "token_s": Metric("a token", "s", (*_ROOM, *_TIME)),
        "sent": Metric("over the network for a token, both ways", "B", _ROOM),
        "sent_fetching": Metric("the same where keys and values are fetched", "B", _ROOM),
        "token_s_fetching": Metric("a token where keys and values are fetched", "s", (*_ROOM, *_TIME)),
        "traffic_saved": Metric("fetched over sent", "", _ROOM),
    },
    published=(
        Published("context_gain", {"instances": 2}, 2.0, "abstract: 2 to 19 times, 2 to 32 instances"),
        Published("context_gain", {"instances": 32}, 19.0, "abstract: 2 to 19 times, 2 to 32 instances"),
        Published("max_context", {"instances": 32}, 1.9e6, "abstract: to 1,900K tokens"),
    ),
    simulate=_simulate,
    misses=(
        Miss(("context_gain", "max_context"), "All memory is taken for one sequence here.", _instances_of_the_longest),
    ),
)
