"""InstInfer: attention inside a drive that holds the keys and values, of one token a sequence and step.

What the drive reads inside, what crosses its link and what the GPU computes come from where the policy puts operations
and tensors. Rates are taken in two ways: as the paper states them (all channels of a drive at once, the whole port of
FlexGen's drive), and as our models of both drives reach (``..._drive``): pages of keys and values read from inside, and
a file mapped into memory, whose faults ask for so many requests at a time.
"""

from __future__ import annotations

from functools import cache, partial

from hw.spec.load import load_system, override_values
from hw.spec.system import System
from mappers.planner.placement import Place
from simulator.memory.drive_service import REQUEST_BYTES, DriveService
from simulator.memory.flash.drives import load_drive
from simulator.memory.storage.appends import RELAXED_RETENTION, lifetime_s
from simulator.memory.storage.attention import csd_attention
from simulator.memory.storage.engines import load_storage_engine
from simulator.memory.storage.layout import KvLayout
from simulator.memory.storage.prefill import append_rate
from simulator.memory.storage.selection import expected_page_share
from simulator.memory.storage.sparse import SparseChoice
from simulator.policies import named_policy
from simulator.policy import Policy, unchanged
from simulator.result import Result
from simulator.road import simulate
from studies.frame.constants import derived, of_machine, stated, synthetic
from studies.frame.study import Config, Key, Metric, Miss, Study
from studies.published.instinfer import ROWS
from workloads.errors import InfeasibleError
from workloads.formats import FormatChoice
from workloads.models import model
from workloads.phases import Decode, Phase, Prefill
from workloads.transforms.cache import selected_channels_and_tokens
from workloads.transforms.edit import kept_of

__all__ = ["STUDY"]

MACHINE, DRIVE, ENGINE, CLIENT_DRIVE = "csd-instinfer", "ssd-instinfer-csd", "instinfer", "ssd-980pro-1tb"
MODELS = {"OPT-13B": 1, "OPT-30B": 2, "Llama-2-13B": 1}
"""Models and the number of GPUs (section VI-A)."""
IN_DRIVE, SPARSE = ("insta", "insta-sparf"), ("insta-sparf", "flexgen-sparq")
SYSTEMS = (*IN_DRIVE, "flexgen", "flexgen-gds", "flexgen-sparq", "deepspeed", "recompute")
BATCHES = (4, 8, 16, 32, 64, 128, 256)
HALVES = FormatChoice(weights="fp16", kv_cache="fp16", activations="fp16", compute="fp16")
_AT_ONCE = 8  # sequences computed again together, which are more than enough to keep the GPU busy
_DRAWN = 64  # sequences whose pages are drawn for a rate
_PAPER = "InstInfer, HPCA 2025, arXiv 2409.04992"
CONSTANTS = {
    "channels": of_machine(MACHINE, "engines.csd.home_bandwidth"),
    "engine": of_machine(MACHINE, "engines.csd.throughput"),
    "port": of_machine(MACHINE, "links.peer-pcie.bandwidth"),
    "host": of_machine(MACHINE, "links.host-pcie.bandwidth"),
    "written": of_machine(MACHINE, "tiers.flash.write_bandwidth"),
    "gpu": of_machine(MACHINE, "engines.tensor.throughput"),
    "lengths": stated((1024, 1024), "tokens", f"section VI-A, {_PAPER}"),
    "page_channels": derived(2, "", "the first of two steps keeps about half the sparsity: 1 - (7/8)^2 is 0.23"),
    "kept_sparsity": stated(0.5, "", f"{_PAPER}: loading whole pages keeps about half the sparsity"),
    "drive": of_machine(MACHINE, "tiers.flash.device"),
    "cells": synthetic("three bits", "", "times, dies and planes of the drive, of which nothing is stated"),
    "launch": of_machine(MACHINE, "engines.tensor.launch_overhead"),
    "client_drive": synthetic(CLIENT_DRIVE, "", "a Samsung 980 PRO as far as it is published, nothing fitted"),
    "faults": synthetic(1, "", f"requests of {REQUEST_BYTES >> 10} KiB (Linux's read-around) that a fault waits for"),
}


def _run_length(sparsity: float) -> float:
    """Mean run of selected tokens for which loading whole pages reads twice what is selected."""
    target, low, high = sparsity / CONSTANTS["kept_sparsity"].value, 1.0 / (1.0 - sparsity), 1e4
    if expected_page_share(sparsity, 16, low) <= target:
        return low
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if expected_page_share(sparsity, 16, middle) > target else (low, middle)
    return low


@cache
def _inside_rate(heads: int, head_size: int, prompt: int, sparsity: float) -> float:
    """Bytes a second that our drive reads of the pages one step needs; sparsity 1: of all."""
    on_page = KvLayout(load_drive(DRIVE).geometry, 1, head_size, 1, channels_per_page=CONSTANTS["page_channels"].value)
    tokens = max(1, prompt // on_page.tokens_per_channel_page) * on_page.tokens_per_channel_page
    choice = None
    if sparsity < 1:
        choice = SparseChoice(kept_of(sparsity, head_size), kept_of(sparsity, tokens), _run_length(sparsity))
    done = csd_attention(
        load_drive(DRIVE), load_storage_engine(ENGINE), heads, heads, head_size, tokens, _DRAWN,
        sparse=choice, channels_per_page=CONSTANTS["page_channels"].value,
    )  # fmt: skip
    return done.bytes_by_stage["flash"] / done.seconds_by_part["flash"]


@cache
def _fault_rate(outstanding: int) -> float:
    """Bytes a second of a file in FlexGen's drive that is read by faults."""
    service = DriveService(load_drive(CLIENT_DRIVE), 1, outstanding, 1, CONSTANTS["port"].value, 1.0)
    return service.rate("read", REQUEST_BYTES)


@cache
def _machine(name: str, llm: str, csds: int, inside: float | None, read: float | None) -> System:
    """``csds`` drives with an engine, which share the heads, or FlexGen's one drive without.

    With a rate inside or outside the drives as our models of them have it; else everything costs what is stated, and
    starting an operation or a transfer nothing.
    """
    gpus, heads = MODELS[llm], model(llm).blocks[0].attention.kv_heads
    base = load_system(MACHINE)
    fabric = load_system("rtx-a6000").fabric if gpus > 1 else None
    base = base.model_copy(update={"devices": gpus, "fabric": fabric})
    if inside is None and read is None:
        free = {f"engines.{engine}.launch_overhead": 0.0 for engine in base.engines}
        free |= {f"links.{link}.{cost}": 0.0 for link in base.links for cost in ("latency", "message_cost")}
        base = override_values(base, free)
    if name not in IN_DRIVE:
        links = {link: at for link, at in base.links.items() if name == "flexgen-gds" or link != "peer-pcie"}
        engines = {engine: at for engine, at in base.engines.items() if engine != "csd"}
        base = base.model_copy(update={"links": links, "engines": engines})
        return base if read is None else override_values(base, {"tiers.flash.read_bandwidth": read})
    flash, port = base.tiers["flash"], min(csds * CONSTANTS["port"].value, CONSTANTS["host"].value)
    busy = heads / -(-heads // csds)  # of the drives, while the one with most heads is
    return override_values(
        base,
        {
            "tiers.flash.capacity": csds * flash.capacity_bytes,
            "tiers.flash.read_bandwidth": csds * flash.read_bandwidth_bytes_per_s,
            "tiers.flash.write_bandwidth": csds * flash.write_bandwidth_bytes_per_s,
            "engines.csd.throughput": {"fp16": busy * base.engines["csd"].throughput("fp16")},
            "engines.csd.home_bandwidth": busy * (inside or CONSTANTS["channels"].value),
            "links.peer-pcie.bandwidth": port,
            "links.drive-pcie.bandwidth": port,
        },
    )


def _policy(name: str, system: System, sparsity: float, head_size: int) -> Policy:
    transform = unchanged
    if name in SPARSE and sparsity < 1:
        channels = tokens = sparsity
        if name in IN_DRIVE:  # pages hold neighbours that were not selected
            channels = expected_page_share(sparsity, CONSTANTS["page_channels"].value)
            tokens = expected_page_share(sparsity, 16 * 128 // head_size, _run_length(sparsity))
        transform = partial(
            selected_channels_and_tokens,
            channels=sparsity,
            tokens=sparsity,
            read_channels=channels,
            read_tokens=tokens,
        )
    if name in IN_DRIVE:
        return named_policy(Policy(transform=transform), system, "csd-attention")
    if name == "deepspeed":
        streamed = named_policy(Policy(), system, "stream-weights:ddr")
        return Policy(place=streamed.place.pin("kv_cache", "ddr"))
    return Policy(transform=transform, place=Place().pin("kv_cache", "flash"))


def _run(llm: str, phase: Phase, system: System, policy: Policy, fidelity: str = "roofline") -> Result:
    return simulate(model(llm), phase, system, formats=HALVES, policy=policy, fidelity=fidelity)


@cache
def _times(
    name: str, llm: str, batch: int, prompt: int, output: int, csds: int, sparsity: float, drive: bool, faults: int
) -> tuple[float, Result]:
    """Tokens a second with the prompts, and a step in the middle of the output. Raises `InfeasibleError`."""
    attention = model(llm).blocks[0].attention
    heads, size = attention.kv_heads, attention.head_dim
    inside = read = None
    if drive and name in IN_DRIVE:
        inside = _inside_rate(heads, size, prompt, sparsity if name in SPARSE else 1.0)
    if drive and name not in IN_DRIVE:
        read = _fault_rate(faults) if name in ("flexgen", "flexgen-sparq") else CONSTANTS["port"].value
    system, middle = _machine(name, llm, csds, inside, read), prompt + output // 2
    if name == "recompute":
        step = _run(llm, Prefill(min(batch, _AT_ONCE), middle), system, Policy())
        return step.batch / step.latency_s, step
    fidelity = "cycle" if drive and name == "deepspeed" else "roofline"
    step = _run(llm, Decode(batch, middle), system, _policy(name, system, sparsity, size), fidelity)
    home = "ddr" if name == "deepspeed" else "flash"
    place = _policy(name, system, 1.0, size).place.pin("kv_cache", home)
    start = _run(llm, Prefill(batch, prompt), system, Policy(place=place))
    whole = batch * output / (start.latency_s + output * step.latency_s)
    return whole, step


def _best(name: str, llm: str, *rest: int | float | bool) -> float:
    rates = []
    for batch in BATCHES:
        try:
            rates.append(_times(name, llm, batch, *rest)[0])
        except InfeasibleError:
            break
    return max(rates, default=0.0)


def _simulate(config: Config) -> dict[str, float]:
    name, llm = str(config["system"]), str(config["model"])
    batch, prompt, output, csds, faults = (int(config[k]) for k in ("batch", "prompt", "output", "csds", "faults"))
    sparsity = float(config["sparsity"])
    found: dict[str, float] = {}
    for ending, drive in (("", False), ("_drive", True)):
        rest = (prompt, output, csds, sparsity, drive, faults)
        try:
            whole, step = _times(name, llm, batch, *rest)
        except InfeasibleError:
            found["fits"] = 0.0
            return found
        found[f"tokens_per_s{ending}"] = whole
        found[f"step{ending}"] = step.latency_s
        if name not in ("deepspeed", "recompute"):
            found[f"kv_share{ending}"] = step.utilisation["flash"]
            found[f"kv_read{ending}"] = step.devices * step.moved_bytes["flash"]
        for other in ("insta", "flexgen", "recompute"):
            try:
                found[f"over_{other}{ending}"] = whole / _times(other, llm, batch, *rest)[0]
            except InfeasibleError:
                continue
        if name in IN_DRIVE:
            found[f"over_one_csd{ending}"] = whole / _times(name, llm, batch, *rest[:2], 1, *rest[3:])[0]
        best = _best("insta", llm, *rest)
        try:
            deepspeed = _times("deepspeed", llm, batch, *rest)[0]
            found[f"best_over_deepspeed{ending}"] = best / deepspeed
            if not drive:
                found["deepspeed_fall"] = deepspeed / _times("deepspeed", llm, 2 * batch, *rest)[0]
        except InfeasibleError:
            pass
    found["fits"] = 1.0
    if name != "recompute":
        found["kv_token"] = step.devices * _cache_bytes(step) / (batch * (prompt + output // 2))
        found["kv_copies"] = _cache_bytes(step) / _cache_bytes(_times("insta", llm, batch, *rest)[1])
    place = Policy(place=Place().pin("kv_cache", "flash"))
    start = _run(llm, Prefill(batch, prompt), _machine("insta", llm, csds, None, None), place)
    found["prefill_write"] = start.devices * start.moved_bytes["flash"] / len(model(llm).order)
    found["write_rate_drive"] = csds * append_rate(load_drive(DRIVE))
    found["unit"] = load_storage_engine(ENGINE).unit_s(128)
    return found


def _cache_bytes(result: Result) -> float:
    return sum(result.placement_bytes["kv_cache"].values())


_STATED, _MODELLED = ((1024, 1024, 1, 0.125, modelled, 1) for modelled in (False, True))


def _fault_rates() -> str:
    system, stated_rate = _machine("insta", "OPT-13B", 1, None, None), CONSTANTS["channels"].value
    insta = _run("OPT-13B", Decode(64, 1536), system, _policy("insta", system, 1.0, 128))
    needed, inside = insta.moved_bytes["flash"] / (6.85 * insta.latency_s), _inside_rate(40, 128, 1024, 1.0)
    rates = ", ".join(f"{_fault_rate(count) / 1e9:.2f} GB/s with {count}" for count in (1, 2, 32))
    return (
        f"For 6.85 times the throughput of FlexGen its drive must give {needed / 1e9:.2f} GB/s of the 7 stated where "
        f"ours reads {stated_rate / 1e9:.1f} inside, or {needed * inside / stated_rate / 1e9:.2f} where ours reads the "
        f"{inside / 1e9:.2f} of our model. FlexGen maps files into memory (FMInference/FlexiGen at 353c57f, "
        f"pytorch_backend.py, keys and values by a thread each) and faults wait; our model of a 980 PRO gives {rates} "
        f"requests of {REQUEST_BYTES >> 10} KiB outstanding."
    )


def _recomputing() -> str:
    every, sparse = (_times(name, "OPT-13B", 256, *_STATED)[0] for name in ("recompute", "insta-sparf"))
    some = _run("OPT-13B", Decode(12, 1536), _machine("recompute", "OPT-13B", 1, None, None), Policy())
    return (
        "Which baseline is meant is not said. Keys and values of all sequences computed again in every step give "
        f"{every:.1f} tokens/s; the 12 sequences that fit the GPU, never preempted, {some.tokens_per_s:.0f}; the "
        f"published ratio stands for {sparse / 1.713:.1f}."
    )


def _swapped() -> str:
    step = _times("deepspeed", "OPT-13B", 32, *_STATED)[1]
    exact = sum(sum(tiers.values()) for tiers in step.placement_bytes.values()) + 32 * 512 * 819_200
    cache, weights = 80 * 2 ** (32 * 2048 * 5120 * 2 - 1).bit_length(), 40 * (4 * 2**26 + 2 * 2**28)
    return (
        f"At batch 32 weights and cache are {exact / 1e9:.0f} GB of the host's 96, so our step goes on. In buffers of "
        f"pinned memory, which PyTorch rounds up to powers of two, they would be {(cache + weights) / 1e9:.0f} GB: the "
        "host would swap, of which nothing is stated."
    )


def _link() -> str:
    insta, step = _best("insta", "OPT-13B", *_STATED), _times("deepspeed", "OPT-13B", 16, *_STATED)[1]
    moved = step.moved_bytes["host-pcie:ddr>gddr"]
    return (
        f"A step of DeepSpeed at batch 16 brings {moved / 1e9:.1f} GB of weights, keys and values over PCIe, "
        f"in {step.latency_s:.2f} s at {CONSTANTS['host'].value / 1e9:.1f} GB/s. The published ratio is that of "
        f"{moved * insta * 1e-9 / 1.046 / 16:.1f} GB/s, beside drives at their stated rate; as our model has them, "
        "InstInfer is slower and the ratio smaller still."
    )


def _drive_rates() -> str:
    dense, sparse = (_inside_rate(40, 128, 1024, share) / 1e9 for share in (1.0, 0.125))
    rates = [_times(name, "OPT-13B", 256, *_MODELLED)[0] for name in ("insta-sparf", "insta")]
    return (
        f"Stated is one rate inside, 11.2 GB/s; our model of the drive reads {dense:.2f} GB/s of the pages of all "
        f"tokens but {sparse:.2f} of those that SparF needs, which lie on fewer dies at a time. So it gains "
        f"{rates[0] / rates[1]:.2f} times."
    )


def _planes() -> str:
    drive, rate = load_drive(DRIVE), append_rate(load_drive(DRIVE))
    return (
        f"Of the drive's cells nothing is stated. Ours program {drive.geometry.planes} planes of "
        f"{drive.geometry.page_bytes:,} bytes in 0.5 to 0.9 ms, {rate / 1e9:.2f} GB/s; the 3.78 stated need "
        f"{3.78e9 / rate:.1f} times as many, or cells of one bit."
    )


def _notes() -> list[str]:
    system = _machine("flexgen", "OPT-13B", 1, None, None)
    parts = []
    for batch in (64, 128):
        place = Policy(place=Place().pin("kv_cache", "flash"))
        peak = _run("OPT-13B", Prefill(batch, 1024), system, place).peak_bytes["gddr"]
        scores = 3 * batch * 40 * 1024**2 * 2
        parts.append(f"{peak / 1e9:.0f} GB at batch {batch}, {(peak + scores) / 1e9:.0f} with them")
    rate = _times("insta", "OPT-13B", 64, *_STATED)[0]
    written = 2 * rate * 819_200  # a prompt's token for each new one
    years = lifetime_s(load_drive(DRIVE), written) / (365 * 86400)
    return [
        "FlexGen is said to run out of the GPU's 48 GB at batch 128, in the prompts. Our attention keeps no scores: "
        f"{'; '.join(parts)}, three times over as products, masked and as weights. So ours goes on.",
        f"At {rate:.1f} tokens/s and as many of prompts a drive's 3,000 cycles last {years:.0f} years, "
        f"{years * RELAXED_RETENTION:.0f} where data need be kept for three weeks.",
    ]


_READ, _OUT = ("channels", "engine", "port", "written", "gpu", "lengths"), ("port", "host", "gpu", "lengths")
_PAGES = ("page_channels", "kept_sparsity")
_OURS, _OURS_DRIVE = (*_READ, *_PAGES), ("drive", "cells", "launch", *_OUT, *_PAGES)
_THEIRS_DRIVE = (*_OURS_DRIVE, "client_drive", "faults")


def _pair(name: str, description: str, unit: str, plain: tuple[str, ...], drive: tuple[str, ...]) -> dict[str, Metric]:
    return {
        name: Metric(f"{description}, stated rates", unit, plain),
        f"{name}_drive": Metric(f"{description}, what our models of drives and links leave of them", unit, drive),
    }


STUDY = Study(
    title="InstInfer",
    claim="Attention in the drive that holds keys and values gives up to 11.1 times the throughput of FlexGen.",
    source="Pan et al., HPCA 2025, pages 1510 to 1525, arXiv 2409.04992",
    machine="csd-instinfer: an A6000 (two for OPT-30B) and drives with 8 flash channels of 1.4 GB/s and an engine",
    workload="OPT-13B in 16 bits, prompts of 1,024 tokens and as many new ones, a step in the middle standing for all",
    policy="attention and its cache in the drives; SparF reads an eighth of channels and tokens, by pages",
    baseline="FlexGen with its cache in one drive, ZeRO-Inference with weights and cache in the host, recomputation",
    keys={
        "model": Key("OPT-13B", "model", choices=tuple(MODELS)),
        "system": Key("insta", "what is timed", choices=SYSTEMS),
        "batch": Key(64, "sequences", low=1, high=1024),
        "prompt": Key(1024, "tokens of a prompt", low=64, high=65536),
        "output": Key(1024, "new tokens", low=2, high=65536),
        "csds": Key(1, "drives with an engine", low=1, high=32),
        "sparsity": Key(0.125, "share of channels and of tokens that SparF and SparQ select", low=0.01, high=1.0),
        "faults": Key(1, "requests that FlexGen has outstanding, for our model of its drive", low=1, high=64),
    },
    constants=CONSTANTS,
    metrics={
        **_pair("tokens_per_s", "new tokens a second, prompts counted", "1/s", _OURS, _OURS_DRIVE),
        **_pair("step", "a step in the middle of the output", "s", _OURS, _OURS_DRIVE),
        **_pair("kv_share", "share of a step that reads keys and values", "", _OURS, _THEIRS_DRIVE),
        **_pair("kv_read", "bytes a step reads of keys and values", "B", ("lengths", *_PAGES), ("lengths", *_PAGES)),
        **_pair("over_insta", "throughput over that of dense attention in the drive", "", _OURS, _OURS_DRIVE),
        **_pair("over_one_csd", "throughput over that with one drive", "", _OURS, _OURS_DRIVE),
        **_pair("over_flexgen", "throughput over FlexGen's", "", _OURS, _THEIRS_DRIVE),
        **_pair("over_recompute", "throughput over computing all again", "", _OURS, _OURS_DRIVE),
        **_pair(
            "best_over_deepspeed", "best dense batch over DeepSpeed at this one", "", (*_READ, "host"), _OURS_DRIVE
        ),
        "deepspeed_fall": Metric("DeepSpeed over itself at twice the batch", "", _OUT),
        "fits": Metric("whether it fits the memories", "", ("lengths",)),
        "kv_token": Metric("bytes a token keeps", "B", ("lengths",)),
        "kv_copies": Metric("bytes kept over those of keys and values once", "", ("lengths",)),
        "prefill_write": Metric("bytes that a layer of the prompts writes", "B", ("lengths",)),
        "write_rate_drive": Metric("rate at which our model of the drive appends", "B/s", ("drive", "cells")),
        "unit": Metric("one unit of the engine on 16 tokens of a head", "s", ("engine",)),
    },
    published=ROWS,
    simulate=_simulate,
    notes=_notes,
    misses=(
        Miss(("over_flexgen", "over_flexgen_drive"), "What FlexGen reads of its drive is not published.", _fault_rates),
        Miss(("over_recompute", "over_recompute_drive"), "The baseline is not defined.", _recomputing),
        Miss(("over_insta",), "Sparse pages do not keep all channels busy.", _drive_rates),
        Miss(("best_over_deepspeed_drive",), "What DeepSpeed gets of the link is not published.", _link),
        Miss(("deepspeed_fall",), "The host's memory holds more for us than for DeepSpeed.", _swapped),
        Miss(("write_rate_drive",), "Our model of the drive has cells of three bits.", _planes),
    ),
)
