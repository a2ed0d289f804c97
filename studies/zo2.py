"""ZO2: zeroth-order fine-tuning with every block on the host, in two slots of the GPU, run twice while it is there.

A step is written as the operations that the authors' code and its framework run, with the tensors that each reads and
writes; an allocator as PyTorch has it replays their requests. Blocks come in on a stream of their own, whose memory is
a pool of its own: two slots. What the driver and the framework hold besides is a constant that nobody publishes; it is
taken from one row (``memory``), or from a run by others on another device (``memory_elsewhere``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache

from hw.spec.load import load_system
from mappers.planner.allocation.caching import replay_requests
from mappers.planner.swap import KERNELS, Machine, machine_of
from mappers.planner.swap.layer_graph import LayerOp
from mappers.planner.swap.step_ops import StepBlock, StepOps, step_requests
from simulator.engine import Demand, Resource, Segment, Task, TaskGraph, execute
from studies.frame.constants import derived, fitted, of_machine, stated, synthetic
from studies.frame.study import Config, Key, Metric, Published, Study
from workloads.models.architecture import FeedForward
from workloads.models.catalogue import model

__all__ = ["STUDY"]

_MIB = 2**20
_CODE = "liangyuwang/zo2, zo2/model/huggingface/opt/mezo_sgd/zo2.py at 07de457"
_SCRIPT = "liangyuwang/zo2, test/mezo_sgd/hf_opt/utils.py at 3280bf4"
MODELS = ("OPT-125M", "OPT-350M", "OPT-1.3B", "OPT-2.7B", "OPT-6.7B", "OPT-13B", "OPT-30B", "OPT-66B", "OPT-175B")
CONSTANTS = {
    "shapes": stated(None, "", f"{_SCRIPT}: the OPT family, embeddings as wide as the model, the head not shared"),
    "workload": stated((1, 2048), "", f"{_SCRIPT}: one sequence of 2,048 tokens, fp16"),
    "slots": derived(2, "", f"{_CODE}: a block goes out as the next one but one comes in, on a stream of its own"),
    "resident": stated(None, "", f"{_CODE}: embeddings, last norm and head stay on the device"),
    "noise": stated(
        (3, 4),
        "",
        "zo2/optimizer/mezo_sgd/zo.py at 694a136: tensors as large as a weight when it is disturbed, renewed",
    ),
    "layer": stated(
        None, "", "transformers 4.28 (recalled), modeling_opt.py: eager attention, softmax in fp32 and back"
    ),
    "dropout": stated(0.1, "", "OPTConfig: dropout, and the model is in training mode"),
    "unit": derived(_MIB, "B", f"{_SCRIPT}: what the driver reports over 1024 ** 2 is printed as MB; thousands are GB"),
    "allocator": stated(None, "", "mappers/planner/allocation/caching.py: pytorch/pytorch at eb42ad6"),
    "rest": fitted(3750 * _MIB - 2_527_977_472, "B", "what OPT-1.3B's 3,750 MiB leave beside what the step reserves"),
    "rest_elsewhere": fitted(2464 * _MIB - 1_939_158_016, "B", "the same of OPT-125M's 2,464 MiB on an RTX 3090"),
    "machine": synthetic("a100-80gb-sxm", "", "the authors' device was not stated in what was read"),
    "link": of_machine("a100-80gb-sxm", "links.host-pcie.bandwidth"),
    "gemm": derived(KERNELS["attained"].gemm, "", KERNELS["attained"].sources["gemm"].removeprefix("derived: ")),
}
_HALF, _WIDE = 2, 4
_LAYERS = 3
"""As many layers repeat all that the allocator meets."""


@dataclass(frozen=True)
class _Shape:
    """Sizes in elements; ``sequence`` tokens in each of ``batch`` sequences."""

    hidden: int
    heads: int
    wide: int
    vocabulary: int
    layers: int
    batch: int
    sequence: int

    @property
    def tokens(self) -> int:
        return self.batch * self.sequence

    @property
    def row(self) -> int:
        """Bytes of one activation as wide as the model."""
        return _HALF * self.tokens * self.hidden

    @property
    def scores(self) -> int:
        return _HALF * self.batch * self.heads * self.sequence**2

    @property
    def block(self) -> tuple[int, ...]:
        """A block's weights in the order of its modules: k, v, q, output, norm, up, down, norm, each with its bias."""
        square, wide = self.hidden**2, self.hidden * self.wide
        return (
            *(4 * (square, self.hidden)), self.hidden, self.hidden,
            wide, self.wide, wide, self.hidden, self.hidden, self.hidden,
        )  # fmt: skip

    @property
    def table(self) -> int:
        return self.vocabulary * self.hidden

    @property
    def positions(self) -> int:
        return (self.sequence + 2) * self.hidden

    @property
    def resident(self) -> int:
        """Weights that never leave."""
        return 2 * self.table + self.positions + 2 * self.hidden


@dataclass
class _Trace:
    """Operations as they are called; every result is a tensor of its own."""

    sizes: dict[str, int] = field(default_factory=dict)
    ops: list[LayerOp] = field(default_factory=list)

    def run(self, size: int, *reads: str, beside: int = 0) -> str:
        """One operation with a result of ``size`` bytes; ``beside`` are held while it runs."""
        name = f"t{len(self.ops)}"
        self.sizes |= {name: size, f"{name}.beside": beside}
        self.ops.append(LayerOp(name, reads, (name,), (f"{name}.beside",) if beside else ()))
        return name

    def hold(self, *names: str) -> None:
        """A variable still names them here."""
        self.ops.append(LayerOp(f"h{len(self.ops)}", names, ()))

    @property
    def reserved_bytes(self) -> int:
        step = StepOps((StepBlock("step", tuple(self.ops)),), self.sizes, frozenset())
        return replay_requests(step_requests(step, with_skeletal=False)).reserved_bytes


_Module = Callable[[_Trace, str], str]


def _noise(trace: _Trace, weights: Sequence[int], *, renew: bool) -> None:
    """Weights disturbed, or renewed with decay, in turn; the noise of one stays until the next one's is drawn."""
    before: tuple[str, ...] = ()
    for weight in weights:
        size = _HALF * weight
        drawn = trace.run(size)
        trace.hold(*before)
        first = trace.run(size, drawn)
        second = trace.run(size, trace.run(size), first) if renew else first
        trace.hold(drawn, trace.run(size, second))
        before = (drawn,)
    trace.hold(*before)


def _twice(trace: _Trace, weights: Sequence[int], module: _Module, inputs: tuple[str, str]) -> tuple[str, str]:
    """A module renewed, disturbed, run, disturbed the other way, run again, restored."""
    _noise(trace, weights, renew=True)
    _noise(trace, weights, renew=False)
    one = module(trace, inputs[0])
    _noise(trace, weights, renew=False)
    other = module(trace, inputs[1])
    _noise(trace, weights, renew=False)
    trace.hold(*inputs)
    return one, other


def _layer(shape: _Shape, fused: bool) -> _Module:
    row, scores, mask = shape.row, shape.scores, shape.row // _HALF
    wide = _HALF * shape.tokens * shape.wide

    def run(trace: _Trace, source: str) -> str:
        norm = trace.run(row, source)
        # Projections, scaled or laid out by heads: a copy each.
        query, key, value = (trace.run(row, trace.run(row, norm)) for _ in range(3))
        if fused:
            attended = trace.run(row, query, key, value)
        else:
            query = trace.run(row, query)
            raw = trace.run(scores, query, key)
            capped = trace.run(scores, trace.run(scores, raw))
            weights = trace.run(scores, trace.run(_WIDE // _HALF * scores, capped), capped)
            attended = trace.run(row, weights, value)
        projected = trace.run(row, trace.run(row, attended))
        trace.hold(norm, query, key, value, *(() if fused else (weights,)))
        branch = trace.run(row, trace.run(row, projected, beside=mask), source)
        up = trace.run(wide, trace.run(row, branch))
        down = trace.run(row, trace.run(wide, up))
        return trace.run(row, trace.run(row, down, beside=mask), branch)

    return run


@cache
def _reserved(shape: _Shape, fused: bool) -> int:
    """Bytes the compute stream's pool reserves in two steps."""
    trace = _Trace()
    row, logits = shape.row, _HALF * shape.tokens * shape.vocabulary

    def look_up(trace: _Trace, source: str) -> str:
        return trace.run(row, source)

    def head(trace: _Trace, source: str) -> str:
        return trace.run(logits, source)

    for _ in range(2):
        ids = trace.run(8 * shape.tokens)
        embedded = _twice(trace, (shape.table,), look_up, (ids, ids))
        masks = tuple(trace.run(_HALF * shape.batch * shape.sequence**2) for _ in range(2))
        placed = _twice(trace, (shape.positions,), look_up, (ids, ids))
        states = (trace.run(row, embedded[0], placed[0]), trace.run(row, embedded[1], placed[1]))
        for _ in range(min(_LAYERS, shape.layers)):
            states = _twice(trace, shape.block, _layer(shape, fused), states)
        trace.hold(ids, *masks, *embedded, *placed)
        states = _twice(trace, (shape.hidden, shape.hidden), look_up, states)
        both = _twice(trace, (shape.table,), head, states)
        shifted = [trace.run(logits, one) for one in both]
        for one in shifted:
            trace.run(logits, one)
        trace.hold(*both, *shifted)
    return trace.reserved_bytes


def _step_s(shape: _Shape, machine: Machine, offloaded: bool) -> float:
    """A step on three streams, as the code orders them: in, compute, out."""
    weights = sum(shape.block)
    products = 2 * 2.0 * weights * shape.tokens
    scores = 2 * 4.0 * shape.batch * shape.heads * shape.sequence**2 * (shape.hidden // shape.heads)
    # Draw, scale twice and add, three times; draw, two products, a sum, a product and subtract, once.
    noise = _HALF * weights * (3 * (1 + 2 + 2 + 3) + (1 + 2 + 2 + 3 + 2 + 3))
    # Scores are written and read in each of product, mask, bound, softmax (in fp32), cast and product: both passes.
    passes = 2 * shape.scores * (1 + 2 + 2 + 3 + 3 + 1)
    compute = (products + scores) / (machine.peak_flops_per_s * machine.kernels.gemm)
    compute += (noise + passes) / machine.memory_bytes_per_s
    copy = _HALF * weights / machine.link_bytes_per_s
    tasks = []
    for layer in range(shape.layers):
        after = [f"in.{layer}"] if offloaded else []
        if offloaded:
            # A block's memory is given back when its way out begins.
            begun = (f"compute.{layer - CONSTANTS['slots'].value}",) if layer >= CONSTANTS["slots"].value else ()
            tasks.append(Task(f"in.{layer}", "transfer", (Demand("in", copy),), after=begun))
        tasks.append(
            Task(f"compute.{layer}", "compute", (Demand("compute", compute),), ("compute",), after=tuple(after))
        )
        if offloaded:
            tasks.append(Task(f"out.{layer}", "transfer", (Demand("out", copy),), after=(f"compute.{layer}",)))
    resources = (Resource("compute", "engine"), Resource("in", "link"), Resource("out", "link"))
    return execute(TaskGraph(resources, (Segment("step", tuple(tasks)),), ()), unroll=True).latency_s


@cache
def _machine(device: str) -> Machine:
    return machine_of(load_system(device), KERNELS["attained"])


def _shape(config: Config) -> _Shape:
    found = model(str(config["model"]))
    block = found.blocks[0]
    assert isinstance(block.feed_forward, FeedForward)
    return _Shape(
        found.hidden, block.attention.heads, block.feed_forward.intermediate, found.vocabulary, len(found.order),
        int(config["batch"]), int(config["tokens"]),
    )  # fmt: skip


def _simulate(config: Config) -> dict[str, float]:
    shape = _shape(config)
    offloaded = config["method"] == "zo2"
    blocks = CONSTANTS["slots"].value if offloaded else shape.layers
    slots = _HALF * sum(shape.block) * min(blocks, shape.layers)
    reserved = _reserved(shape, config["attention"] == "fused") + slots + _HALF * shape.resident
    machine = _machine(str(config["device"]))
    alone = _step_s(shape, machine, offloaded=False)
    return {
        "memory": reserved + CONSTANTS["rest"].value,
        "memory_elsewhere": reserved + CONSTANTS["rest_elsewhere"].value,
        "reserved": reserved,
        "slots": slots,
        "slowdown": _step_s(shape, machine, offloaded=True) / alone if offloaded else 1.0,
    }


def _parts() -> Sequence[str]:
    lines = [
        "What the published numbers leave beside what the step reserves is the same at all sizes.",
        "",
        "| model | two slots | embedding, head | compute stream's pool | published less these |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for row in STUDY.published:
        if row.metric != "memory":
            continue
        config = STUDY.config(row.config)
        shape, found = _shape(config), _simulate(config)
        stay = _HALF * shape.resident
        pool = found["reserved"] - found["slots"] - stay
        parts = [found["slots"], stay, pool, row.value - found["reserved"]]
        lines.append(f"| {row.config['model']} | " + " | ".join(f"{part / 1e9:.2f} GB" for part in parts) + " |")
    other = model("Qwen3-32B")
    table = _HALF * other.vocabulary * other.hidden / 1e9
    return [
        *lines,
        "",
        f"The README's 6 GB for Qwen3-32B are not rebuilt: its table and head are {2 * table:.1f} GB in 16 bits, and "
        f"renewing one as the code for OPT does takes {4 * table:.1f} GB more, so its own code must do otherwise.",
    ]


_README = "README at 097d568, GPU memory"
_OTHERS = "independent run on RTX 3090s, third-party notes"
_STEP = ("shapes", "workload", "slots", "resident", "noise", "layer", "dropout", "allocator")
STUDY = Study(
    title="ZO2",
    claim="All parameters of OPT-175B are fine-tuned within 18 GB of a GPU, at almost no added time.",
    source="Wang et al., arXiv 2503.12668; liangyuwang/zo2",
    machine="a100-80gb-sxm (assumed) and its host's memory behind PCIe",
    workload="a step of MeZO-SGD on OPT models: two forward passes, one sequence of 2,048 tokens, fp16",
    policy="blocks on the host, two slots on the device; a block is renewed and run twice while it is there",
    baseline="the same step with all blocks on the device",
    keys={
        "model": Key("OPT-175B", "model", choices=MODELS),
        "method": Key("zo2", "blocks on the host, or all on the device", choices=("zo2", "mezo")),
        "batch": Key(1, "sequences", low=1, high=256),
        "tokens": Key(2048, "tokens of a sequence", low=16, high=32768),
        "attention": Key("eager", "scores written to memory, or fused", choices=("eager", "fused")),
        "device": Key("a100-80gb-sxm", "machine of the time", choices=("a100-80gb-sxm", "h100-sxm", "rtx-4090")),
    },
    constants=CONSTANTS,
    metrics={
        "memory": Metric("device memory in use", "B", (*_STEP, "unit", "rest")),
        "memory_elsewhere": Metric(
            "the same with what driver and framework hold on an RTX 3090", "B", (*_STEP, "unit", "rest_elsewhere")
        ),
        "reserved": Metric("what the framework reserves for the step", "B", _STEP),
        "slots": Metric("blocks on the device", "B", ("shapes", "slots")),
        "slowdown": Metric("a step's blocks over the same with all of them there", "", ("machine", "link", "gemm")),
    },
    published=(
        Published("memory", {"model": "OPT-1.3B"}, 3750 * _MIB, _README, calibrates=True),
        Published("memory", {"model": "OPT-13B"}, 6180 * _MIB, _README),
        Published("memory", {"model": "OPT-175B"}, 18_040 * _MIB, _README),
        Published("memory_elsewhere", {"model": "OPT-125M"}, 2464 * _MIB, _OTHERS, calibrates=True),
        Published("memory_elsewhere", {"model": "OPT-350M"}, 2640 * _MIB, _OTHERS),
        Published("memory_elsewhere", {"model": "OPT-1.3B"}, 3750 * _MIB, _README),
        Published("memory_elsewhere", {"model": "OPT-13B"}, 6180 * _MIB, _README),
        Published("memory_elsewhere", {"model": "OPT-175B"}, 18_040 * _MIB, _README),
    ),
    simulate=_simulate,
    notes=_parts,
)
