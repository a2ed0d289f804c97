"""RelayAttention: attention over a system prompt that all requests share reads its keys and values once.

The operator alone, which the authors measured over a grid: a decode step of one layer, lowered as any model is, with or
without the transformation that shares a prompt, on a machine at roofline fidelity. ``time_bound`` takes the machine's
stated rates and launches that cost nothing; ``time`` adds the overhead of a launch that the machine's file has from
other measurements; ``time_calibrated`` has an overhead and a share of the bandwidth fitted to half of the grid.
"""

from __future__ import annotations

import statistics
from functools import cache

from hw.spec.load import load_system, override_values
from hw.spec.system import System
from mappers.roofline import roofline_op
from studies.frame.constants import fitted, of_machine, stated
from studies.frame.study import Config, Key, Metric, Miss, Published, Study
from studies.published.relay_attention import A40_US
from workloads.models.architecture import Attention, Block, FeedForward, Model
from workloads.models.lower import lower
from workloads.phases import Decode
from workloads.transforms.shared_prompt import relay
from workloads.workload import Op, Workload

__all__ = ["STUDY"]

DEVICES = ("a40", "a100-40gb-pcie", "a100-80gb-sxm")
PARTS = ("cache_append", "attention_shared", "attention", "attention_merge")
_CSV = "vllm-ra at 46a1ce0, stat/relay_op/NVIDIA-A40.csv"
CONSTANTS = {
    "bandwidth": of_machine("a40", "tiers.gddr.read_bandwidth"),
    "rate": of_machine("a40", "engines.tensor.throughput"),
    "launch": of_machine("a40", "engines.tensor.launch_overhead"),
    "heads": stated((52, 128), "", "section 4.2: 52 heads of 128, those of Llama-30B, fp16"),
    "launch_here": fitted(5.5e-6, "s", f"least squares of logarithms over {_CSV}, 256 tokens of their own"),
    "share_here": fitted(0.96, "", f"the same: share of the bandwidth, over {_CSV}, 256 tokens of their own"),
}


@cache
def _ops(kernel: str, batch: int, prompt: int, context: int, heads: int, head_size: int) -> tuple[Op, ...]:
    """The operations of one call, each sequence with ``context`` tokens of its own behind ``prompt`` shared ones."""
    width = heads * head_size
    block = Block(Attention(heads, heads, head_size), FeedForward(4 * width, True, "silu"), "rms", 2)
    model = Model("operator", "llama", width, 32000, (block,), (0,), tied_embeddings=False)
    step: Workload = lower(model, Decode(batch, prompt + context))
    if kernel == "relay":
        step = relay(step, prompt)
    layer = next(layer for layer, _ in step.layers() if layer.name == "layer")
    return tuple(op for op in layer.ops if op.name in PARTS)


@cache
def _machine(device: str, launch_s: float | None, share: float) -> System:
    """A device with launches of ``launch_s``, its file's where None, and a share of its bandwidth."""
    system = load_system(device)
    home = system.engines["tensor"].home
    tier = system.tiers[home]
    changes: dict[str, object] = {
        f"tiers.{home}.read_bandwidth": share * tier.read_bandwidth_bytes_per_s,
        f"tiers.{home}.write_bandwidth": share * tier.write_bandwidth_bytes_per_s,
    }
    if launch_s is not None:
        changes |= {f"engines.{name}.launch_overhead": launch_s for name in ("tensor", "vector")}
    return override_values(system, changes)


def _call_s(system: System, ops: tuple[Op, ...]) -> float:
    return sum(roofline_op(op, system).time_s for op in ops)


def _bytes(ops: tuple[Op, ...]) -> float:
    return sum(op.bytes("read") + op.bytes("write") for op in ops)


def _simulate(config: Config) -> dict[str, float]:
    shape = [int(config[name]) for name in ("batch", "prompt", "context", "heads", "head_size")]
    batch, prompt, context, heads, head_size = shape
    paged, relayed = (_ops(kernel, batch, prompt, context, heads, head_size) for kernel in ("paged", "relay"))
    chosen = relayed if config["kernel"] == "relay" else paged
    device = str(config["device"])
    machines = {"bound": _machine(device, 0.0, 1.0), "": _machine(device, None, 1.0)}
    if device == "a40":
        fit = _machine(device, CONSTANTS["launch_here"].value, CONSTANTS["share_here"].value)
        machines["calibrated"] = fit
    found = {"access_ratio": _bytes(paged) / _bytes(relayed)}
    for name, system in machines.items():
        end = f"_{name}" if name else ""
        found[f"time{end}"] = _call_s(system, chosen)
        found[f"speed_up{end}"] = _call_s(system, paged) / _call_s(system, relayed)
    return found


def _rows() -> list[Published]:
    rows = []
    for batch, prompt, *times in A40_US:
        for context, (paged_us, relay_us) in ((128, times[:2]), (256, times[2:])):
            at = {"batch": batch, "prompt": prompt, "context": context}
            half = context == 256
            for kernel, value in (("paged", paged_us), ("relay", relay_us)):
                if value is not None:
                    for metric in ("time_bound", "time", "time_calibrated"):
                        fits = half and metric == "time_calibrated"
                        rows.append(Published(metric, {**at, "kernel": kernel}, value * 1e-6, _CSV, fits))
            if paged_us is not None and relay_us is not None:
                for metric in ("speed_up_bound", "speed_up", "speed_up_calibrated"):
                    fits = half and metric == "speed_up_calibrated"
                    rows.append(Published(metric, at, paged_us / relay_us, _CSV, fits))
    for batch, prompt, context in ((8, 1024, 128), (32, 4096, 128), (128, 1024, 256)):
        best = (prompt + context + 2) / (prompt / batch + context + 7)
        at = {"batch": batch, "prompt": prompt, "context": context}
        rows.append(Published("access_ratio", at, best, "vllm-ra, plot_relayattn_bench.ipynb: formula"))
    return rows


def _launches() -> str:
    """What is missing from the bound, by batch."""
    parts = []
    for batch in (1, 8, 64):
        gaps = [
            us - _call_s(_machine("a40", 0.0, 1.0), _ops("relay", batch, prompt, 128, 52, 128)) * 1e6
            for b, prompt, _, us, _, _ in A40_US
            if b == batch and prompt <= 4096
        ]
        parts.append(f"{min(gaps):.0f} to {max(gaps):.0f} us (median {statistics.median(gaps):.0f}) at batch {batch}")
    overhead = CONSTANTS["launch"].value * 1e6
    append_s = _call_s(_machine("a40", 0.0, 1.0), _ops("relay", 64, 1024, 128, 52, 128)[:1])
    return (
        f"The relay's four kernels take {', '.join(parts)} longer than their bytes, with prompts up to 4,096 tokens. "
        f"Four launches at the {overhead:.1f} us that other products on this device show are {4 * overhead:.0f} us. "
        f"Appending 64 tokens to the cache took 34 to 36 us (the same file); its bytes take {append_s * 1e6:.0f} us."
    )


def _one_request() -> str:
    """The rows of one request, where the published times are not those of a steady machine."""
    one = {prompt: times for batch, prompt, *times in A40_US if batch == 1}
    return (
        f"For one request and 1,024 shared tokens the published paged call is faster with 256 tokens of its own "
        f"({one[1024][2]} us) than with 128 ({one[1024][0]} us), and 256 shared tokens take the relay "
        f"{one[256][1]} us where 64 take {one[64][1]} us: 23 us for 5 MB, which at the stated rate are 7 us."
    )


_BOUND = ("bandwidth", "rate", "heads")
_OWN = (*_BOUND, "launch_here", "share_here")
STUDY = Study(
    title="RelayAttention",
    claim="A chatbot's system prompt, read once for all requests, gives up to 2.2 times the request rate.",
    source="Zhu et al., ACL 2024, arXiv 2402.14808, with the measurements of rayleizhu/vllm-ra at 46a1ce0",
    machine="one A40 (A100s can be asked), stated rates",
    workload="attention of one layer for one new token of each request, Llama-30B's 52 heads of 128 in fp16",
    policy="keys and values of the shared prompt read once, the rest as before, results merged",
    baseline="paged attention over the whole context of every request, on the same machine",
    keys={
        "device": Key("a40", "machine", choices=DEVICES),
        "batch": Key(32, "requests", low=1, high=1024),
        "prompt": Key(1024, "tokens of the shared prompt", low=1, high=131072),
        "context": Key(128, "tokens of each request's own", low=1, high=131072),
        "heads": Key(52, "heads", low=1, high=256),
        "head_size": Key(128, "width of a head", low=16, high=512),
        "kernel": Key("relay", "which operator is timed", choices=("paged", "relay")),
    },
    constants=CONSTANTS,
    metrics={
        "time_bound": Metric("one call at the stated rates, launches free", "s", _BOUND),
        "time": Metric("one call with the machine's launch overhead, fitted to products", "s", (*_BOUND, "launch")),
        "time_calibrated": Metric("one call, overhead and bandwidth fitted to half of the grid", "s", _OWN),
        "speed_up_bound": Metric("of the relay over paged attention, launches free", "", _BOUND),
        "speed_up": Metric("of the relay over paged attention", "", (*_BOUND, "launch")),
        "speed_up_calibrated": Metric("of the relay, overhead and bandwidth fitted to half of the grid", "", _OWN),
        "access_ratio": Metric("bytes of paged attention over those of the relay", "", ("heads",)),
    },
    published=_rows(),
    simulate=_simulate,
    misses=(
        Miss(("time_bound", "speed_up_bound"), "Launches are not free, and small calls consist of them.", _launches),
        Miss(
            ("time", "speed_up_calibrated"),
            "One request: the published times themselves do not grow with their bytes.",
            _one_request,
        ),
    ),
)
