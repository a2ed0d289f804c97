"""Lamina: attention and its cache on devices with cheap memory, the rest of the model on fast ones.

One H100 and two H20 for each pair of H100, at a little less cost. Both machines run decode steps at the largest batch
that their memory holds, requests at the mean length of a trace; on Lamina two halves of the batch take turns, so that
one computes attention while the other passes the rest of the layer. Nothing of the result is a formula: operations run
where the policy puts them, and what passes the network is what they need.
"""

from __future__ import annotations

from functools import cache

from hw.spec.load import load_system, override_values
from hw.spec.memory_only import memory_only
from hw.spec.system import System
from simulator.policies import named_policy
from simulator.policy import Policy
from simulator.result import Result
from simulator.road import simulate
from studies.frame.constants import derived, of_machine, stated
from studies.frame.limits import largest
from studies.frame.study import Config, Key, Metric, Published, Study, Value
from workloads.errors import InfeasibleError
from workloads.models import model
from workloads.phases import Decode

__all__ = ["STUDY"]

TRACES = {  # mean prompt and mean output in tokens
    "azure-conv": (1154.7, 211.1),
    "azure-code": (2047.8, 27.9),
    "kimi-conv": (12035.1, 342.6),
    "kimi-ta": (8560.0, 182.1),
}
MODELS = {"LLaMA-33B": 1, "LLaMA-65B": 2, "Llama-3-70B": 2}
"""Models and the number of H100 that hold them; twice as many H20 stand beside, or as many H100 again."""
POLICIES = ("remote-attention", "half-batches")
_TABLE = "section 6.1 and table 3, arXiv 2405.01814v2"
CONSTANTS = {
    "traces": stated("four", "", _TABLE),
    "h100_price": stated(11.06, "USD/h", "table 5: two H100 22.12 USD/h"),
    "h20_price": derived((20.32 - 11.06) / 2, "USD/h", "table 5: an H100 and two H20 20.32 USD/h"),
    "vllm_memory": stated(0.9, "", "vLLM 0.6 documentation: default of gpu_memory_utilization"),
    "h20_memory": of_machine("lamina", "tiers.attention-hbm.capacity"),
    "h20_bandwidth": of_machine("lamina", "tiers.attention-hbm.read_bandwidth"),
    "network": of_machine("lamina", "links.network.latency"),
    "launch": of_machine("lamina", "engines.tensor.launch_overhead"),
}


def _lamina(devices: int) -> System:
    return load_system("lamina").model_copy(update={"devices": devices})


def _h100s(devices: int, share: float) -> System:
    """Devices alone, of whose memory vLLM takes ``share``."""
    alone = memory_only(load_system("h100-sxm")).model_copy(update={"devices": devices})
    return override_values(alone, {"tiers.hbm.capacity": share * alone.tiers["hbm"].capacity_bytes})


def _run(name: str, context: int, batch: int, system: System, policies: tuple[str, ...]) -> Result:
    policy = Policy()
    for text in policies:
        policy = named_policy(policy, system, text)
    return simulate(model(name), Decode(batch, context), system, policy=policy)


def _fits(name: str, context: int, batch: int, system: System, policies: tuple[str, ...]) -> bool:
    try:
        _run(name, context, batch, system, policies)
    except InfeasibleError:
        return False
    return True


def _fullest(name: str, context: int, system: System, policies: tuple[str, ...]) -> Result:
    """The step of the largest batch of two halves that fits. Raises `InfeasibleError` where not even two do."""
    pairs = largest(lambda count: _fits(name, context, 2 * count, system, policies), 4096)
    return _run(name, context, 2 * max(pairs, 1), system, policies)


@cache
def _compared(name: str, prompt: float, output: float, vllm_memory: float) -> dict[str, float]:
    """Throughput and batches of both machines; of a request in progress half of the output is there."""
    devices, context = MODELS[name], round(prompt + output / 2)
    ours = _fullest(name, context, _lamina(devices), POLICIES)
    theirs = _fullest(name, context, _h100s(2 * devices, vllm_memory), ())
    prices = CONSTANTS["h100_price"].value, CONSTANTS["h20_price"].value
    gain = ours.tokens_per_s / theirs.tokens_per_s
    cost = (prices[0] + 2 * prices[1]) / (2 * prices[0])
    return {
        "gain": gain,
        "gain_at_cost": gain / cost,
        "batch": ours.batch,
        "batch_ratio": ours.batch / theirs.batch,
        "network": _passed(ours),
        "price": devices * (prices[0] + 2 * prices[1]),
    }


def _simulate(config: Config) -> dict[str, float]:
    name, memory = str(config["model"]), float(config["vllm_memory"])
    prompt, output = TRACES[str(config["trace"])]
    prompt, output = float(config["prompt"] or prompt), float(config["output"] or output)
    found = dict(_compared(name, prompt, output, memory))
    batch = int(config["batch"])
    if batch:
        context = round(prompt + output / 2)
        found["network"] = _passed(_run(name, context, batch + batch % 2, _lamina(MODELS[name]), POLICIES))
    everywhere = [_compared(n, *lengths, memory) for n in MODELS for lengths in TRACES.values()]
    gains = [one["gain_at_cost"] for one in everywhere]
    ratios = [one["batch_ratio"] for one in everywhere]
    return found | {"least_gain": min(gains), "most_gain": max(gains), "mean_batch_ratio": sum(ratios) / len(ratios)}


def _passed(result: Result) -> float:
    """Bytes over all devices' ports in a step."""
    return result.devices * sum(size for link, size in result.moved_bytes.items() if link.startswith("network:"))


def _notes() -> list[str]:
    """The end that the paper does not have: a model with shared heads and short requests."""
    lengths, memory = TRACES["azure-conv"], CONSTANTS["vllm_memory"].value
    full, context = _compared("Llama-3-70B", *lengths, memory), round(lengths[0] + lengths[1] / 2)
    rates = {b: _run("Llama-3-70B", context, b, _lamina(2), POLICIES).tokens_per_s for b in (200, 400, 800)}
    said = ", ".join(f"{rate:,.0f} tokens/s at {batch}" for batch, rate in rates.items())
    return [
        f"The least gain is Llama-3-70B's on Azure's conversations, with {full['batch']:.0f} sequences and "
        f"{full['network'] / 1e9:.1f} GB through the network in a step: {said}. Halves then wait for products and the "
        "network, and room for more sequences is worth little (the paper: about 800 saturate). The largest gain falls "
        "short because a baseline at the roofline, with no scheduler between steps, is faster than the measured one.",
    ]


def _traffic(batch: int) -> float:
    """(2 + 2 / G) e d B L, section 3: G = 8 query heads a group, d = 8192, L = 80 layers."""
    return (2 + 2 / 8) * 2 * 8192 * batch * 80


_SEVENTY: dict[str, Value] = {"model": "Llama-3-70B", "batch": 128}
_NO_FITS = ("h100_price", "h20_price", "vllm_memory", "h20_memory", "h20_bandwidth", "network", "traces")
STUDY = Study(
    title="Lamina",
    claim="Attention on devices with cheap memory gives 16 to 90 % more throughput at equal cost.",
    source="Chen et al., arXiv 2405.01814v2",
    machine="lamina: one H100 and two H20 (or two and four) behind 400 Gb/s Ethernet, 33 us there and back",
    workload="decode steps of LLaMA-33B, 65B and Llama-3-70B at the mean lengths of four traces",
    policy="attention and cache remote, two halves of the batch in turn",
    baseline="two (four) H100 with all of the model, nine tenths of their memory as vLLM takes it",
    keys={
        "model": Key("LLaMA-65B", "model", choices=tuple(MODELS)),
        "trace": Key("azure-conv", "trace whose mean lengths are taken", choices=tuple(TRACES)),
        "prompt": Key(0, "mean prompt; 0: the trace's", low=0, high=1_000_000),
        "output": Key(0, "mean output; 0: the trace's", low=0, high=1_000_000),
        "batch": Key(0, "sequences that the network's traffic is for; 0: the most that fit", low=0, high=8192),
        "vllm_memory": Key(0.9, "share of memory that vLLM takes", low=0.5, high=1.0),
    },
    constants=CONSTANTS,
    metrics={
        "gain": Metric("throughput over that of H100 alone", "", (*_NO_FITS, "launch")),
        "gain_at_cost": Metric("throughput over that of H100 alone for the same money", "", (*_NO_FITS, "launch")),
        "least_gain": Metric("least gain for the same money, of all models and traces", "", (*_NO_FITS, "launch")),
        "most_gain": Metric("largest gain for the same money, of all models and traces", "", (*_NO_FITS, "launch")),
        "batch": Metric("sequences that fit", "", ("h20_memory", "traces")),
        "batch_ratio": Metric("sequences over those of vLLM", "", ("h20_memory", "vllm_memory", "traces")),
        "mean_batch_ratio": Metric("the same, mean of models and traces", "", ("h20_memory", "vllm_memory", "traces")),
        "network": Metric("bytes that pass the network in a step", "B", ("traces",)),
        "price": Metric("of the machine", "USD/h", ("h100_price", "h20_price")),
    },
    published=(
        Published("least_gain", {}, 1.161, "abstract, v2"),
        Published("most_gain", {}, 1.901, "abstract, v2"),
        Published("mean_batch_ratio", {}, 2.39, "abstract, v2"),
        Published("network", _SEVENTY, _traffic(128), "section 3, by its formula"),
        Published("network", {"model": "Llama-3-70B", "batch": 800}, _traffic(800), "section 3, by its formula"),
    ),
    simulate=_simulate,
    notes=_notes,
)
