"""Holmes: a model trained over clusters whose adapters do not understand each other.

Nodes with InfiniBand and nodes with RoCE reach each other by Ethernet alone. Where a framework takes one network that
all have, everything is Ethernet; Holmes puts pipeline stages into clusters, so that gradients are exchanged over each
cluster's own adapters and only hidden states cross. The machine is a network with islands, the layouts are the
repository's script; the step simulator does the rest. The paper's tables are not among our sources: what is published
here are model sizes, and what is simulated has no number to compare with.
"""

from __future__ import annotations

from functools import cache

from hw.spec.load import load_system, override_values
from hw.spec.network import Island, Network
from hw.spec.system import System
from simulator.training.step.layout import Parallel
from simulator.training.step.result import StepResult
from simulator.training.step.setup import CONTENTION, Setup
from simulator.training.step.simulate import simulate_step
from studies.frame.constants import derived, fitted, of_machine, stated, synthetic
from studies.frame.study import Config, Key, Metric, Published, Study
from workloads.models.architecture import Attention, Block, FeedForward, Model
from workloads.models.counts import parameters
from workloads.phases import Train

__all__ = ["STUDY"]

MACHINE, PER_NODE = "a100-80gb-sxm", 8
_CONFIG = "config.json in README.md of CodexDive/Holmes, 03d9522b"
_SCRIPT = "examples/pretrain_gpt_4_nodes.sh in CodexDive/Holmes, d8d2ac57"
MODELS = {"gpt-7.5b": (36, 4096, 32, False), "gpt-39.1b": (48, 8192, 64, True)}
"""Layers, width, heads, and whether the feed-forward is gated."""

CONSTANTS = {
    "models": stated(None, "", f"{_SCRIPT}: 48 layers of 8,192, 64 heads; 7.5B: table 1 of arXiv 2104.04473"),
    "layout": stated("tp=8,pp=2", "", f"{_SCRIPT}: tp 8, pp 2, sequence parallel, distributed optimizer"),
    "batch": stated(1536, "", f"{_SCRIPT}: global batch 1,536, micro-batch 4, 2,048 tokens"),
    "adapters": stated((4, 2), "", f"{_CONFIG}: four adapters where InfiniBand is, two where RoCE is; sockets between"),
    "adapter_rate": synthetic(25e9, "B/s", "200 Gbit/s an adapter: DGX A100's kind; the paper's is not in our sources"),
    "ethernet": synthetic(6.25e9, "B/s", "a node's bond of two ports of 25 Gbit/s: the paper's is not in our sources"),
    "ethernet_step": synthetic(50e-6, "s", "a step through sockets and kernels, 30 to 100 us"),
    "of_node": derived(PER_NODE, "", "a GPU's share of its node's adapters"),
    "tensor_rate": of_machine(MACHINE, "engines.tensor.throughput"),
    "nvlink": of_machine(MACHINE, "fabric.bandwidth"),
    "network_step": of_machine(MACHINE, "network.latency"),
    "contention": fitted(CONTENTION, "", "seconds lost to an exchange beside kernels: MPT models (simulator.training)"),
    "kernels": fitted("kernel", "", "constants of kernel fidelity: kernels measured alone, none of these runs"),
}
ENVIRONMENTS = ("infiniband", "roce", "ethernet", "mixed")
_ALL = tuple(CONSTANTS)


def _model(name: str) -> Model:
    layers, width, heads, gated = MODELS[name]
    # Megatron rounds two thirds of four widths to whole 64s where the feed-forward is gated.
    wide = int(4 * width * 2 / 3 / 64) * 64 if gated else 4 * width
    bias = not gated
    attention = Attention(heads, heads, width // heads, qkv_bias=True, output_bias=True)
    block = Block(attention, FeedForward(wide, gated, "silu" if gated else "gelu", bias), "layer")
    return Model(name, "gpt", width, 51200, (block,), (0,) * layers, tied_embeddings=True)


def _rates() -> dict[str, float]:
    """Bytes per second of one GPU's share of its node's adapters."""
    infiniband, roce = (count * CONSTANTS["adapter_rate"].value / PER_NODE for count in CONSTANTS["adapters"].value)
    return {"infiniband": infiniband, "roce": roce, "ethernet": CONSTANTS["ethernet"].value / PER_NODE}


@cache
def _system(environment: str, placement: str, nodes: int) -> System:
    """Nodes of one kind; or half of each, that reach the other half, or with one network for all everyone, by
    Ethernet."""
    base = override_values(load_system(MACHINE), {"devices": nodes * PER_NODE})
    assert base.network is not None
    rates, step_s = _rates(), base.network.latency_s
    slow = {"bandwidth": rates["ethernet"], "latency": CONSTANTS["ethernet_step"].value, "protocol": "ethernet"}
    network: dict[str, object] = {"devices_per_node": PER_NODE, "bandwidth": rates.get(environment), "latency": step_s}
    if environment == "ethernet" or (environment == "mixed" and placement == "one-network"):
        network |= slow
    elif environment == "mixed":
        halves = ((nodes + 1) // 2, "infiniband"), (nodes // 2, "roce")
        network |= slow
        network["islands"] = tuple(
            Island.model_validate({"nodes": count, "bandwidth": rates[kind], "latency": step_s})
            for count, kind in halves
        )
    return base.model_copy(update={"network": Network.model_validate(network)})


@cache
def _step(
    name: str, environment: str, placement: str, nodes: int, tensor: int, pipeline: int, batch: int
) -> StepResult:
    data = nodes * PER_NODE // (tensor * pipeline)
    layout = Parallel(tensor=tensor, pipeline=pipeline, data=data, zero=1, sequence=tensor > 1, reshard=False)
    setup = Setup(_model(name), Train(4, 2048, "selective"), batch, layout)
    return simulate_step(setup, _system(environment, placement, nodes), fidelity="kernel")


def _of(config: Config, environment: str | None = None) -> StepResult:
    return _step(
        str(config["model"]), environment or str(config["environment"]),
        "own-adapters" if environment else str(config["placement"]),
        int(config["nodes"]), int(config["tensor"]), int(config["pipeline"]), int(config["batch"]),
    )  # fmt: skip


def _simulate(config: Config) -> dict[str, float]:
    ours, system = _of(config), load_system(MACHINE)
    peak = max(engine.throughput("bf16") for engine in system.engines.values())
    return {
        "parameters": float(parameters(_model(str(config["model"]))).total),
        "step": ours.latency_s,
        "flops": ours.mfu * peak,
        "samples_per_s": ours.global_batch / ours.latency_s,
        "of_infiniband": _of(config, "infiniband").latency_s / ours.latency_s,
        "of_roce": _of(config, "roce").latency_s / ours.latency_s,
        "over_ethernet": _of(config, "ethernet").latency_s / ours.latency_s,
    }


STUDY = Study(
    title="Holmes",
    claim="Over clusters of unlike adapters a model trains nearly as fast as in one cluster of one kind.",
    source="Yang et al., ICPP 2024, arXiv 2312.03549; CodexDive/Holmes",
    machine="a100-80gb-sxm: nodes of 8 with InfiniBand, RoCE or Ethernet, or half of the first two; rates assumed",
    workload="one training step of GPT of 7.5B or 39.1B parameters, 2,048 tokens a sequence",
    policy="a pipeline stage in each cluster: gradients over its own adapters, hidden states over Ethernet",
    baseline="one network that all have, which is Ethernet; clusters of one kind",
    keys={
        "model": Key("gpt-39.1b", "the model", choices=tuple(MODELS)),
        "environment": Key("mixed", "adapters of the nodes", choices=ENVIRONMENTS),
        "placement": Key("own-adapters", "what groups exchange over", choices=("own-adapters", "one-network")),
        "nodes": Key(4, "nodes of 8 GPUs", choices=(2, 4, 8, 12, 16)),
        "tensor": Key(8, "GPUs that share every layer", choices=(1, 2, 4, 8)),
        "pipeline": Key(2, "pipeline stages", choices=(2, 4)),
        "batch": Key(1536, "sequences of a step", choices=(768, 1536, 3072)),
    },
    constants=CONSTANTS,
    metrics={
        "parameters": Metric("parameters of the model", "", ("models",)),
        "step": Metric("a training step", "s", _ALL),
        "flops": Metric("the model's operations per second, a GPU", "FLOP/s", _ALL),
        "samples_per_s": Metric("sequences per second", "1/s", _ALL),
        "of_infiniband": Metric("speed over that with InfiniBand everywhere", "", _ALL),
        "of_roce": Metric("speed over that with RoCE everywhere", "", _ALL),
        "over_ethernet": Metric("speed over that with Ethernet everywhere", "", _ALL),
    },
    published=(
        Published("parameters", {"model": "gpt-39.1b"}, 39.1e9, "README.md of CodexDive/Holmes"),
        Published("parameters", {"model": "gpt-7.5b"}, 7.5e9, "README.md of CodexDive/Holmes"),
    ),
    simulate=_simulate,
)
