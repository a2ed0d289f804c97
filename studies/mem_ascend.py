"""MemAscend: what fine-tuning that offloads to drives holds in host memory, with four leaks open or closed.

The inventory is that of DeepSpeed's ZeRO-Infinity, tensor by tensor: a pool whose buffers have the largest tensor's
size, pinned requests rounded up to powers of two, and gradients searched for infinities in temporaries. Each can be
closed alone. The fourth, blocks of the drive in place of files, takes no host memory and is not in it.
"""

from __future__ import annotations

from collections.abc import Sequence

from mappers.planner.allocation.pinned import Rounding
from simulator.training.host.host_inventory import HostInventory, HostRules, HostStep, host_inventory
from studies.frame.constants import derived, fitted, stated
from studies.frame.limits import largest
from studies.frame.study import Config, Key, Metric, Published, Study
from workloads.models.catalogue import model

__all__ = ["STUDY"]

_GIB = 2**30
_FOUR = ("Llama-3.1-8B", "Qwen2.5-7B", "Qwen2.5-14B", "Qwen2.5-32B")
_MODELS = (
    *_FOUR, "Qwen2.5-0.5B", "Qwen2.5-1.5B", "Qwen2.5-3B", "Qwen2.5-72B", "Qwen3-0.6B", "Qwen3-1.7B", "Qwen3-4B",
    "Qwen3-8B", "Qwen3-14B", "Qwen3-32B", "Llama-3.2-1B", "Llama-3.2-3B", "Llama-3-8B", "Llama-3.1-70B",
    "Llama-3.1-405B", "Llama-2-7B", "Llama-2-13B", "Llama-2-70B", "Mistral-7B", "OPT-6.7B", "OPT-13B", "OPT-30B",
    "OPT-66B", "GPT-2", "GPT-2-XL",
)  # fmt: skip
_DEEPSPEED = "deepspeedai/DeepSpeed at 033df2d, runtime"
CONSTANTS = {
    "models": derived(
        _FOUR, "", "assumed: with one block in flight their pools leave as much unused, on average, as MemAscend says"
    ),
    "rounding": stated(None, "", "pytorch/pytorch at 03258ab, ATen/core/CachingHostAllocator.h: PowerOf2Ceil(size)"),
    "pool": stated(None, "", f"{_DEEPSPEED}/swap_tensor/partitioned_param_swapper.py: equal buffers, one request"),
    "states": stated(4, "", f"{_DEEPSPEED}/swap_tensor/utils.py; default of offload_optimizer.buffer_count"),
    "subgroup": stated(1e9, "", "DeepSpeed's default of sub_group_size"),
    "resident": stated(1e9, "", "DeepSpeed's default of offload_param.max_in_cpu"),
    "small": stated(1e5, "", "DeepSpeed's default of stage3_param_persistence_threshold"),
    "gradients": stated(4, "B", f"{_DEEPSPEED}/zero/stage3.py: grad_partitions_flat_buffer, pinned; here in fp32"),
    "check": stated(None, "", f"{_DEEPSPEED}/zero/stage3.py: has_overflow; torch.isinf takes absolute values first"),
    "activations": stated(None, "", "MemAscend: gradient checkpoints are offloaded, one tensor a layer"),
    "system": derived(
        19.62 * _GIB,
        "B",
        "mauryaavinash95/deep-optimizer-states-results at 3a21ae1: in use before a model is built, four processes",
    ),
    "limit_model": fitted("Llama-3.1-8B", "", "of the four the one with these limits; they go without a model"),
    "tokens": derived(4096, "", "4 sequences of so many tokens are the 16,384 of the other claim, 32 its 131,072"),
    "memory": stated(128 * _GIB, "B", "MemAscend: a host of 128 GiB"),
}


def _rules(config: Config) -> HostRules:
    rounding: Rounding = "page" if config["pinned"] == "pages" else "power-of-two"
    return HostRules(config["pool"] == "classes", rounding, config["check"] == "fused")


def _step(config: Config, context: int | None = None, batch: int | None = None) -> HostStep:
    return HostStep(
        int(config["batch"]) if batch is None else batch,
        int(config["context"]) if context is None else context,
        devices=int(config["devices"]),
        blocks=int(config["blocks"]),
        subgroup=int(config["subgroup"]),
        state_buffers=int(config["state_buffers"]),
        resident=int(config["resident"]),
        small=int(CONSTANTS["small"].value),
        gradient_bytes=int(config["gradient_bytes"]),
    )


def _inventories(config: Config, rules: HostRules) -> list[HostInventory]:
    names = _FOUR if config["model"] == "four" else (str(config["model"]),)
    return [host_inventory(model(name), _step(config), rules) for name in names]


def _longest(config: Config, rules: HostRules, *, batches: bool) -> int:
    """The largest power of two of contexts, or of batches, with which the host's memory is enough; 0 for none."""
    if config["model"] == "four":
        return min(_longest({**config, "model": name}, rules, batches=batches) for name in _FOUR)
    room, found = float(config["memory"]) * _GIB - float(CONSTANTS["system"].value), model(str(config["model"]))

    def fits(power: int) -> bool:
        step = _step(config, batch=1 << power) if batches else _step(config, context=1 << power)
        return host_inventory(found, step, rules).peak_bytes <= room

    exponent = largest(lambda count: fits(count - 1), 31)
    return 1 << (exponent - 1) if exponent else 0


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _simulate(config: Config) -> dict[str, float]:
    rules = _rules(config)
    ours, baseline = _inventories(config, rules), _inventories(config, HostRules())
    found = {
        "peak": _mean([one.peak_bytes for one in ours]),
        "pinned": _mean([one.pinned_bytes for one in ours]),
        "saved": _mean([1 - one.peak_bytes / plain.peak_bytes for one, plain in zip(ours, baseline, strict=True)]),
        "pool_waste": _mean([one.pool.waste for one in ours]),
        "pool_saved": _mean(
            [1 - sum(one.pool.requests) / sum(plain.pool.requests) for one, plain in zip(ours, baseline, strict=True)]
        ),
        "fits": float(
            all(one.peak_bytes + CONSTANTS["system"].value <= float(config["memory"]) * _GIB for one in ours)
        ),
        "longest_context": _longest(config, rules, batches=False),
        "largest_batch": _longest(config, rules, batches=True),
    }
    for name in ours[0].parts:
        found[f"part_{name}"] = _mean([one.parts[name] for one in ours])
    return found


def _alone() -> Sequence[str]:
    """Peaks with each leak closed alone and all of them, and what the parts are; limits of every model."""
    changes = {
        "none": HostRules(),
        "pool by classes": HostRules(classes=True),
        "pages": HostRules(rounding="page"),
        "pool by classes, pages": HostRules(classes=True, rounding="page"),
        "fused check": HostRules(fused_check=True),
        "all": HostRules(classes=True, rounding="page", fused_check=True),
    }
    names = ("pool", "parameters", "gradients", "states", "activations", "check")
    lines = []
    for name in _FOUR:
        lines += [
            f"{name}, one sequence of 4,096 tokens, GiB by which leaks are closed:",
            "",
            f"| closed | {' | '.join(names)} | peak | saved |",
            f"| :--- |{' ---: |' * (len(names) + 2)}",
        ]
        plain = host_inventory(model(name), _step(STUDY.config({})), HostRules()).peak_bytes
        for label, rules in changes.items():
            found = host_inventory(model(name), _step(STUDY.config({})), rules)
            cells = " | ".join(f"{found.parts[part] / _GIB:.1f}" for part in names)
            saved = 1 - found.peak_bytes / plain
            lines.append(f"| {label} | {cells} | {found.peak_bytes / _GIB:.1f} | {saved:.1%} |")
        lines.append("")
    rooms = (128, 192, 256, 512)
    lines += [
        "The longest context of one sequence that fits, ZeRO-Infinity's and MemAscend's, over the host's memory:",
        "",
        f"| model | {' | '.join(f'{room} GiB' for room in rooms)} |",
        f"| :--- |{' ---: |' * len(rooms)}",
    ]
    for name in _FOUR:
        cells = ""
        for room in rooms:
            config = STUDY.config({"model": name, "memory": room})
            limits = [_longest(config, rules, batches=False) for rules in (HostRules(), _rules(config))]
            cells += " | " + " and ".join(f"{limit:,}" if limit else "none" for limit in limits)
        lines.append(f"| {name}{cells} |")
    return lines


_ALL = ("rounding", "pool", "states", "subgroup", "resident", "small", "gradients", "check", "activations")
_LIMIT = (*_ALL, "system", "memory", "limit_model")
_ABSTRACT, _NOTES = "abstract: on average", "third-party notes: at 128 GiB"
_BASELINE: Config = {"pool": "uniform", "pinned": "powers", "check": "upcast"}
STUDY = Study(
    title="MemAscend",
    claim="Fine-tuning with offload to drives in 55.7 % less host memory; contexts or batches eight times as large.",
    source="Liaw and Chen, arXiv 2505.23254",
    machine="host memory alone: 128 GiB, of which a running system and its processes hold 20",
    workload="a fine-tuning step of a model from 7B to 32B, layers' inputs offloaded",
    policy="pool by classes of shapes, pinned pages, a check without temporaries",
    baseline="ZeRO-Infinity as DeepSpeed has it: uniform pool, powers of two, torch.isinf on all gradients",
    keys={
        "model": Key(
            "four", f"model, or the mean (of limits: the least) over {', '.join(_FOUR)}", choices=("four", *_MODELS)
        ),
        "batch": Key(1, "sequences of a device", low=1, high=65_536),
        "context": Key(4096, "tokens of a sequence", low=1, high=16_777_216),
        "devices": Key(1, "devices that share the host", low=1, high=64),
        "pool": Key(
            "classes", "buffers of the largest tensor's size, or of each shape's", choices=("uniform", "classes")
        ),
        "pinned": Key("pages", "pinned requests in powers of two, or in pages", choices=("powers", "pages")),
        "check": Key("fused", "infinities found in temporaries, or without", choices=("upcast", "fused")),
        "blocks": Key(1, "blocks in flight beside embedding and head", low=1, high=128),
        "subgroup": Key(1_000_000_000, "parameters updated at a time", low=1_000_000, high=1e12),
        "state_buffers": Key(4, "buffers of that many fp32 numbers", low=1, high=64),
        "resident": Key(
            1_000_000_000, "parameters of a device that stay in host memory", low=0, high=1_000_000_000_000
        ),
        "gradient_bytes": Key(4, "bytes of a gradient in the flat buffer", choices=(4, 2)),
        "memory": Key(128.0, "GiB of host memory", low=1, high=65_536),
    },
    constants=CONSTANTS,
    metrics={
        "peak": Metric("peak of host memory, without the system's", "B", _ALL),
        "pinned": Metric("what of it is pinned", "B", _ALL),
        "saved": Metric("share of ZeRO-Infinity's peak that is saved", "", (*_ALL, "models")),
        "pool_waste": Metric("share of the pool's buffers that tensors leave unused", "", ("pool", "small", "models")),
        "pool_saved": Metric("share of ZeRO-Infinity's pool that is saved", "", ("pool", "small", "models")),
        "fits": Metric("1 where it fits beside the system, else 0", "", (*_ALL, "system", "memory")),
        "longest_context": Metric(
            "longest context that fits, a power of two", "", (*_ALL, "system", "memory", "limit_model")
        ),
        "largest_batch": Metric(
            "largest batch that fits, a power of two", "", (*_ALL, "system", "memory", "tokens", "limit_model")
        ),
        "part_pool": Metric("buffers that parameters pass through", "B", ("rounding", "pool", "small")),
        "part_parameters": Metric("parameters that stay in host memory", "B", ("rounding", "resident")),
        "part_gradients": Metric("gradients", "B", ("rounding", "gradients")),
        "part_states": Metric("buffers of optimizer states", "B", ("rounding", "states", "subgroup")),
        "part_activations": Metric("layers' inputs", "B", ("rounding", "activations")),
        "part_check": Metric("temporaries of the check", "B", ("check", "gradients")),
    },
    published=(
        Published("saved", {}, 0.557, _ABSTRACT),
        Published("pool_waste", {"pool": "uniform"}, 0.7271, "section on the buffer pool (recalled), on average", True),
        Published("longest_context", {"model": "Llama-3.1-8B", **_BASELINE}, 16_384, _NOTES, True),
        Published("longest_context", {"model": "Llama-3.1-8B"}, 131_072, _NOTES, True),
        Published("largest_batch", {"model": "Llama-3.1-8B", **_BASELINE}, 4, _NOTES, True),
        Published("largest_batch", {"model": "Llama-3.1-8B"}, 32, _NOTES, True),
    ),
    simulate=_simulate,
    notes=_alone,
)
