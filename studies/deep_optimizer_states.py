"""Deep Optimizer States: every stride-th subgroup of the optimizer's states updated by the GPU, the rest by the host.

An iteration is tasks on five resources: the GPU, the host's processors, each direction of their link, and the host's
memory under all of them. DeepSpeed's ZeRO-3 with TwinFlow is the same with a loop that blocks, and with gradients that
go down through pageable memory and are widened by the host. ``update`` rests on stated rates; ``update_fitted`` and the
rest on what four of the authors' runs attained, marked as such.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from hw.spec.load import load_system, override
from mappers.planner.swap import KERNELS, Machine, machine_of
from mappers.planner.swap.optimizer_stride import HOST_UPDATE_BYTES, UpdateRates
from simulator.training.host.eager_layers import pass_seconds
from simulator.training.host.optimizer_update import IterationWork, UpdateWork, replay_iteration, update_s
from simulator.training.host.state_tensors import parameter_tensors, zero_subgroups
from studies.frame.constants import derived, fitted, of_machine, stated
from studies.frame.study import Config, Key, Metric, Miss, Study
from studies.published.deep_optimizer_states import PUBLISHED
from workloads.models.architecture import Attention, Block, FeedForward, Model
from workloads.models.catalogue import model

__all__ = ["STUDY"]

_LOGS = "mauryaavinash95/deep-optimizer-states-results"
_SYSTEM = {"h100": "h100-sxm", "a100": "a100-40gb-sxm"}
_SHAPES = {
    "7B": (32, 4096, 32, 11_008),
    "8.3B": (72, 3072, 32, 11_008),
    "10B": (50, 4096, 32, 12_400),
    "13B": (40, 5120, 40, 13_824),
    "20B": (40, 5120, 64, 20_480),
}
_CATALOGUE = ("Llama-2-7B", "Llama-2-13B", "Llama-3.1-8B", "LLaMA-33B", "LLaMA-65B", "Llama-2-70B", "Qwen2.5-7B")
CONSTANTS = {
    "models": stated(
        None, "", f"{_LOGS}: command lines and parameters printed; 4 key-value heads, gated, 50,304 tokens"
    ),
    "subgroups": stated(
        1e8, "", "deepspeed 0.13, _create_fp16_sub_groups: closed by the tensor that reaches the size; as the logs list"
    ),
    "twinflow": stated(None, "", "ZeRO-Offload++: from ratio x subgroups on, subgroups live on the GPU"),
    "ahead": stated(5e7, "", f"{_LOGS}: prefetch bucket of 50,000,000 parameters"),
    "eager": stated(None, "", f"{_LOGS}: use_flash_attn False, checkpoint-activations"),
    "h100": of_machine("h100-sxm", "engines.tensor.throughput"),
    "a100": of_machine("a100-40gb-sxm", "engines.tensor.throughput"),
    "h100_host": of_machine("h100-sxm", "tiers.ddr.read_bandwidth"),
    "a100_host": stated(204.8e9, "B/s", "ALCF, Polaris: an EPYC 7543P with 8 channels of DDR4-3200"),
    "link": derived(25 / 31.5, "", "mappers/planner/swap/machine.py: of PCI Express, as an A100 attains it"),
    "gemm": derived(KERNELS["attained"].gemm, "", KERNELS["attained"].sources["gemm"].removeprefix("derived: ")),
    "adam": derived(
        HOST_UPDATE_BYTES * 10e9 / 2.57 / 255.97e9,
        "",
        "ZeRO-Offload, 2101.06840, table 4 (recalled): CPU-Adam updates 10 B parameters, 28 bytes each, in 2.57 s at "
        "12 channels of DDR4-2666 (DGX-2); the same share of another host's memory",
    ),
    "slots": derived(2, "", f"{_LOGS}: 1.5 GB above the GPU's level before the update, a subgroup while one goes back"),
    "issue": fitted(0.13033 / 32, "s", "forward passes of the 7B run on H100s: a layer, at least"),
    "h100_gradients": fitted(9.838e8, "1/s", "backward pass of DeepSpeed, 20B on H100s, all on the host"),
    "a100_gradients": fitted(1.4328e9, "1/s", "backward pass of DeepSpeed, 13B on A100s, all on the host"),
    "h100_adam": fitted(1.812e9, "1/s", "update of DeepSpeed, 20B on H100s, all on the host, parameters' way up apart"),
    "a100_adam": fitted(8.008e8, "1/s", "update of DeepSpeed, 13B on A100s, all on the host, parameters' way up apart"),
    "memory": fitted(0.533, "", "share of the host's memory in the update of 20B on H100s at stride 2"),
    "exposed": fitted(
        None,
        "",
        "backward passes of the A100 runs grow with the share of gradients that goes down by its time on the link",
    ),
    "rest": fitted(0.366, "s", "20B on H100s, DeepSpeed: an iteration less its three phases; memory is printed there"),
}
_LAYOUT = ("models", "subgroups", "twinflow", "slots", "link", "h100_host", "a100_host")
_HOST = ("h100_adam", "a100_adam", "memory", *_LAYOUT)
_PASSES = ("models", "eager", "ahead", "h100", "a100", "gemm", "issue")


@cache
def _model(name: str) -> Model:
    if name not in _SHAPES:
        return model(name)
    layers, hidden, heads, wide = _SHAPES[name]
    attention = Attention(heads, 4, hidden // heads)
    block = Block(attention, FeedForward(wide, gated=True, activation="silu"), "rms")
    return Model(name, "megatron", hidden, 50_304, (block,), (0,) * layers, tied_embeddings=False)


@cache
def _machine(name: str, devices: int, link: float, host: float) -> Machine:
    host = host or CONSTANTS[f"{name}_host"].value / 1e9
    changes = [f"devices={devices}", *(f"tiers.ddr.{way}_bandwidth={host} GB/s" for way in ("read", "write"))]
    if link:
        changes.append(f"links.host-pcie.bandwidth={link / CONSTANTS['link'].value} GB/s")
    return machine_of(override(load_system(_SYSTEM[name]), tuple(changes)), KERNELS["attained"], drives=False)


def _update(config: Config, system: str, basis: str, stride: int | None = None) -> UpdateWork:
    """One device's update as ``system`` has it; ``basis``: rates stated or fitted."""
    devices, name = int(config["devices"]), str(config["machine"])
    machine = _machine(name, devices, float(config["link"]), float(config["host"]))
    groups = _groups(str(config["model"]), devices, int(config["subgroup"]))
    memory = machine.tiers[0].read_bytes_per_s
    adam = float(CONSTANTS["adam"].value) * memory / HOST_UPDATE_BYTES
    if basis == "fitted":
        # Of the node: as many devices as the runs had share it.
        per_byte = 4 * CONSTANTS[f"{name}_adam"].value / CONSTANTS[f"{name}_host"].value
        adam, memory = per_byte * memory, float(CONSTANTS["memory"].value) * memory
    adam = float(config["adam"]) * 1e9 / devices if config["adam"] else adam
    rates = UpdateRates(adam, memory, machine.memory_bytes_per_s, machine.link_bytes_per_s)
    resident = len(groups) - int(float(config["ratio"]) * len(groups) + 1e-9)
    chosen = (int(config["stride"]) if stride is None else stride) if system == "deep" else 0
    slots = int(CONSTANTS["slots"].value)
    return UpdateWork(groups, rates, chosen or None, resident, slots, blocking=system != "deep")


@cache
def _groups(name: str, devices: int, size: int) -> tuple[int, ...]:
    return zero_subgroups(parameter_tensors(_model(name), fused=True), devices, size)


def _iteration(config: Config, system: str, basis: str) -> IterationWork:
    name, devices, batches = str(config["machine"]), int(config["devices"]), int(config["accumulation"])
    machine = _machine(name, devices, float(config["link"]), float(config["host"]))
    passes = pass_seconds(
        _model(str(config["model"])),
        machine,
        int(config["context"]),
        int(config["micro_batch"]),
        ahead=int(CONSTANTS["ahead"].value),
        issue_s=float(CONSTANTS["issue"].value),
    )
    down = machine.link_bytes_per_s / 4
    if system == "deepspeed":
        down = min(down, float(CONSTANTS[f"{name}_gradients"].value))
    backward = passes.backward(checkpointed=bool(config["checkpoint"]))
    exposed = config["gradients"] == "exposed" or system == "deepspeed"
    update = _update(config, system, basis)
    return IterationWork(batches * passes.forward(), batches * backward, update, down, exposed)


def _best(config: Config) -> tuple[int, float, float]:
    """The stride with the shortest update of all (0 for none, of equals the largest), its seconds, and without any."""
    count = len(_groups(str(config["model"]), int(config["devices"]), int(config["subgroup"])))
    found = {stride: update_s(_update(config, "deep", "fitted", stride)) for stride in (0, *range(count, 0, -1))}
    best = min(found, key=lambda stride: found[stride])
    return best, found[best], found[0]


def _simulate(config: Config) -> dict[str, float]:
    system, rest = str(config["system"]), float(CONSTANTS["rest"].value)
    ours, baseline = (replay_iteration(_iteration(config, name, "fitted")) for name in (system, "deepspeed"))
    plain, loop = (replay_iteration(_iteration(config, name, "stated")).update_s for name in (system, "deepspeed"))
    best, best_s, host_s = _best(config)
    parameters = sum(tensor.elements for tensor in parameter_tensors(_model(str(config["model"]))))
    return {
        "forward": ours.forward_s,
        "backward": ours.backward_s,
        "update": plain,
        "update_gain": loop / plain,
        "update_fitted": ours.update_s,
        "update_rate": parameters / ours.update_s,
        "iteration": ours.seconds + rest,
        "speed_up": (baseline.seconds + rest) / (ours.seconds + rest),
        "speed_up_bare": baseline.seconds / ours.seconds,
        "best_stride": best,
        "best_gain": host_s / best_s,
    }


def _with(**changes: str | float) -> dict[str, float]:
    return _simulate(STUDY.config(changes))


def _crossover() -> Sequence[str]:
    """When an update on the device is worth its ways: over link, host memory and work of an iteration."""
    links, hosts = (6.0, 12.0, 25.0, 50.0, 100.0), (100.0, 200.0, 400.0, 600.0, 1000.0)
    lines = [
        "The stride with the shortest update of 20B on four H100s, and how much faster than on the host alone, over",
        "the link (each direction, each device) and the host's memory (of the node; processors scale with it):",
        "",
        f"| host memory | {' | '.join(f'link {link:g} GB/s' for link in links)} |",
        f"| ---: |{' ---: |' * len(links)}",
    ]
    for host in hosts:
        cells = []
        for link in links:
            stride, best_s, host_s = _best(STUDY.config({"link": link, "host": host}))
            cells.append(f"{stride} ({host_s / best_s:.2f}x)" if stride else "none")
        lines.append(f"| {host:g} GB/s | {' | '.join(cells)} |")
    counts = (1, 2, 4, 8, 16, 32)
    lines += [
        "",
        "An iteration against DeepSpeed's, over accumulated micro-batches (the update is once for all of them):",
        "",
        f"| machine, stride | {' | '.join(str(count) for count in counts)} |",
        f"| :--- |{' ---: |' * len(counts)}",
    ]
    for machine, name in (("h100", "20B"), ("a100", "13B")):
        for system in ("gradients", "deep"):
            gains = [
                _with(machine=machine, model=name, ratio=1.0, system=system, accumulation=count)["speed_up_bare"]
                for count in counts
            ]
            label = f"{name} on {machine}, " + ("stride 2" if system == "deep" else "gradients alone")
            lines.append(f"| {label} | {' | '.join(f'{gain:.2f}x' for gain in gains)} |")
    return lines


def _memory_at_its_full_rate() -> str:
    stated_rate, shared = (_with(ratio=1.0)[name] for name in ("update", "update_fitted"))
    return (
        f"20B at stride 2: {stated_rate:.2f} s where copies and processors get all of the memory's stated rate, "
        f"{shared:.2f} s at the {CONSTANTS['memory'].value:.0%} that this run attained, against 1.30 s. At that share "
        f"13B on H100s takes {_with(model='13B', ratio=0.8)['update_fitted']:.2f} s (0.72 published)."
    )


STUDY = Study(
    title="Deep Optimizer States",
    claim="Iterations 2.5 times faster than DeepSpeed's with optimizer states on the host, from 7B to 20B.",
    source=f"Maurya et al., Middleware 2024, arXiv 2410.21316; its artefact {_LOGS}",
    machine="h100-sxm, four GPUs and two 48-core Xeons (the logs' node); a100-40gb-sxm with Polaris's one EPYC",
    workload="one training iteration under ZeRO-3, a sequence of 2,048 tokens on each of four devices, checkpointed",
    policy="every stride-th subgroup of states visits the GPU; gradients are widened there and go down",
    baseline="DeepSpeed 0.13: the host updates all but TwinFlow's part in a loop that blocks, and widens gradients",
    keys={
        "model": Key("20B", "model", choices=(*_SHAPES, *_CATALOGUE)),
        "machine": Key("h100", "node", choices=("h100", "a100")),
        "system": Key(
            "deep",
            "whose iteration: gradients is DeepSpeed's but for these",
            choices=("deepspeed", "gradients", "deep"),
        ),
        "stride": Key(2, "every which subgroup of the host's visits the GPU; 0 for none", low=0, high=1000),
        "ratio": Key(1.0, "share of the subgroups whose states are the host's (TwinFlow)", low=0, high=1),
        "subgroup": Key(100_000_000, "parameters of a subgroup", low=1_000_000, high=10_000_000_000),
        "devices": Key(4, "data-parallel devices of the node", low=1, high=8),
        "micro_batch": Key(1, "sequences of a micro-batch", low=1, high=256),
        "accumulation": Key(1, "micro-batches of an iteration", low=1, high=1024),
        "context": Key(2048, "tokens of a sequence", low=128, high=32_768),
        "checkpoint": Key(True, "whether activations are computed again", choices=(True, False)),
        "gradients": Key("exposed", "whether the backward pass waits for gradients", choices=("exposed", "overlapped")),
        "link": Key(0.0, "GB/s of the link, each direction and device; 0 for the machine's", low=0, high=2000),
        "host": Key(0.0, "GB/s of the node's host memory; 0 for the machine's", low=0, high=20_000),
        "adam": Key(0.0, "billion parameters a second that the node updates; 0 for its own", low=0, high=1000),
    },
    constants=CONSTANTS,
    metrics={
        "forward": Metric("forward passes", "s", _PASSES),
        "backward": Metric(
            "backward passes with the gradients' way down",
            "s",
            (*_PASSES, "h100_gradients", "a100_gradients", "exposed", "subgroups", "link"),
        ),
        "update": Metric("update, from rates stated", "s", ("adam", *_LAYOUT)),
        "update_gain": Metric("DeepSpeed's update over this one, from rates stated", "", ("adam", *_LAYOUT)),
        "update_fitted": Metric("update, from rates that two runs attained", "s", _HOST),
        "update_rate": Metric("parameters that all devices and the host update", "1/s", _HOST),
        "iteration": Metric("an iteration, with what the logs have beside its phases", "s", (*_HOST, *_PASSES, "rest")),
        "speed_up": Metric("DeepSpeed's iteration over this one", "", (*_HOST, *_PASSES, "rest", "h100_gradients")),
        "speed_up_bare": Metric("the same of phases alone", "", (*_HOST, *_PASSES, "h100_gradients")),
        "best_stride": Metric("stride with the shortest update, 0 for none", "", _HOST),
        "best_gain": Metric("update on the host alone over that", "", _HOST),
    },
    published=PUBLISHED,
    simulate=_simulate,
    misses=(
        Miss(
            ("update", "update_gain"),
            "Copies and the processors' updates are held up by the host's memory, of which they attain about half.",
            _memory_at_its_full_rate,
        ),
    ),
    notes=_crossover,
)
