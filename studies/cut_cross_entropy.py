"""Cut Cross-Entropy: the loss of a large vocabulary without its logits, beside the loss as PyTorch runs it.

Each method is a list of operations with the tensors they read and write, as the framework holds them: a tensor lives
from the operation that writes it to the last one that reads it, and what autograd keeps lives to its use in the
backward pass. The peak of what is allocated comes from replaying the requests. Products take their operations from the
cascades; everything else takes the bytes that its kernels pass over.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from hw.spec.load import load_system
from mappers.planner.allocation.caching import replay_requests
from mappers.planner.swap import KERNELS, Machine, machine_of
from mappers.planner.swap.layer_graph import LayerOp
from mappers.planner.swap.step_ops import StepBlock, StepOps, step_requests
from studies.frame.constants import derived, of_machine, stated, synthetic
from studies.frame.study import Config, Key, Metric, Miss, Published, Study
from workloads.cascades import load_cascade
from workloads.workload import Op

__all__ = ["STUDY"]

_REPOSITORY = "apple/ml-cross-entropy at 18e76ad"
CONSTANTS = {
    "head": stated((256_000, 2304), "", "Gemma 2 2B: vocabulary and hidden size (its config.json)"),
    "tokens": stated(8192, "", "section 5: a batch of 8,192 tokens (recalled; the README does not give it)"),
    "baseline": stated(None, "", f"{_REPOSITORY}, benchmark: product, soft cap, cast to fp32, cross-entropy"),
    "eager": stated(None, "", "PyTorch 2.4: tanh and log-softmax keep their outputs; an operation is a kernel"),
    "passes": derived(4, "", "log-softmax of a row beyond shared memory: maximum, sum, result read it, result written"),
    "buffers": stated(None, "", f"{_REPOSITORY}, cce_lse_forward.py and cce_backward.py: what they allocate"),
    "fused": stated(None, "", "torch.compile: all between two products is a kernel; a scattered gradient is a tensor"),
    "gemm": derived(KERNELS["attained"].gemm, "", KERNELS["attained"].sources["gemm"].removeprefix("derived: ")),
    "significant": stated(0.0002, "", "section 4.3: share of the softmax at or above 2^-12 (recalled)"),
    "skew": synthetic(1.0, "", "Zipf: how often a class is significant falls as its rank to this power"),
    "peak": of_machine("a100-80gb-sxm", "engines.tensor.throughput"),
    "bandwidth": of_machine("a100-80gb-sxm", "tiers.hbm.read_bandwidth"),
}
METHODS = ("cce", "cce-kahan", "cce-unsorted", "torch-compile", "baseline")
PASSES = ("forward", "backward", "both")
_SHORT, _LONG, _INDEX = 2, 4, 8
_TILE, _LOCKED = 128, 64
"""Tokens or classes, and hidden columns, behind one lock of the kernels."""


def _kept(vocabulary: int, significant: float, skew: float, *, ordered: bool) -> float:
    """Share of tiles in which any token has a significant class; classes lie by rank, or in no order."""
    drawn = _TILE * significant * vocabulary
    if not ordered:
        return float(-np.expm1(-drawn * _TILE / vocabulary))
    ranks = np.arange(1, vocabulary + 1, dtype=float) ** -skew
    tiles = np.add.reduceat(ranks, np.arange(0, vocabulary, _TILE)) / ranks.sum()
    return float(-np.expm1(-drawn * tiles).mean())


@dataclass(frozen=True)
class _Shape:
    vocabulary: int
    hidden: int
    tokens: int
    softcap: bool

    def product(self, name: str) -> float:
        """Operations of the matrix products of a cascade."""
        sizes = (("t", self.tokens), ("d", self.hidden), ("v", self.vocabulary))
        return float(Op("loss", "loss", load_cascade(name), sizes, (), "bf16", ()).work.contraction)

    @property
    def logits(self) -> int:
        return self.tokens * self.vocabulary


def _pass_over(name: str, reads: tuple[str, ...], write: str, size: int) -> LayerOp:
    return LayerOp(name, reads, (write,), memory_bytes=float(size))


def _eager(shape: _Shape) -> tuple[list[LayerOp], list[LayerOp], dict[str, int]]:
    """One kernel an operation. What a variable still names stays while the next function runs."""
    short, wide = _SHORT * shape.logits, _LONG * shape.logits
    product = shape.product("cross-entropy")
    forward = [LayerOp("product", (), ("logits",), gemm_flops=product)]
    backward = [
        _pass_over("nll-b", (), "d_rows", wide),
        _pass_over("log-softmax-b", ("d_rows", "rows"), "d_wide", 4 * wide),
        _pass_over("cast-b", ("d_wide",), "d_logits", wide + short),
    ]
    capped, last = "logits", "d_logits"
    if shape.softcap:
        forward += [
            _pass_over("divide", ("logits",), "divided", 2 * short),
            _pass_over("tanh", ("divided",), "tanh", 2 * short),
            _pass_over("multiply", ("tanh",), "capped", 2 * short),
        ]
        backward += [
            _pass_over("multiply-b", ("d_logits",), "d_tanh", 2 * short),
            _pass_over("tanh-b", ("d_tanh", "tanh"), "d_divided", 3 * short),
            _pass_over("divide-b", ("d_divided",), "d_product", 2 * short),
        ]
        capped, last = "capped", "d_product"
    forward += [
        _pass_over("cast", (capped,), "wide", short + wide),
        _pass_over("log-softmax", (capped, "wide"), "rows", CONSTANTS["passes"].value * wide),
    ]
    backward += [
        LayerOp("input-b", (last,), ("d_input",), gemm_flops=product),
        LayerOp("classifier-b", (last, "d_input"), ("d_classifier",), gemm_flops=product),
    ]
    sizes = {"logits": short, "divided": short, "tanh": short, "capped": short, "wide": wide, "rows": wide}
    sizes |= {"d_rows": wide, "d_wide": wide, "d_logits": short, "d_tanh": short, "d_divided": short}
    return forward, backward, sizes | {"d_product": short}


def _compiled(shape: _Shape) -> tuple[list[LayerOp], list[LayerOp], dict[str, int]]:
    """Products as they are; one kernel for maximum and sum, one for the scattered gradient, one for the rest."""
    short, wide = _SHORT * shape.logits, _LONG * shape.logits
    product = shape.product("cross-entropy")
    forward = [
        LayerOp("product", (), ("logits",), gemm_flops=product),
        LayerOp("sums", ("logits",), ("maximum", "sum"), memory_bytes=2.0 * short),
    ]
    backward = [
        _pass_over("scatter-b", (), "d_rows", wide),
        _pass_over("loss-b", ("d_rows", "logits", "maximum", "sum"), "d_logits", 2 * wide + 2 * short),
        LayerOp("input-b", ("d_logits",), ("d_input",), gemm_flops=product),
        LayerOp("classifier-b", ("d_logits", "d_input"), ("d_classifier",), gemm_flops=product),
    ]
    sums = dict.fromkeys(("maximum", "sum"), _LONG * shape.tokens)
    return forward, backward, {"logits": short, "d_rows": wide, "d_logits": short, **sums}


def _cut(shape: _Shape, method: str, kept: float) -> tuple[list[LayerOp], list[LayerOp], dict[str, int]]:
    """No logits: sums by token, and for the order of the classes a mean logit by class."""
    tiles = -(-shape.tokens // _TILE)
    ordered = method != "cce-unsorted"
    once = shape.product("cut-cross-entropy-lse")
    thrice = shape.product("cross-entropy-backward")
    means = ("means",) if ordered else ()
    forward = [
        LayerOp("sums", (), ("sums", *means), ("locks",), gemm_flops=once),
        LayerOp("loss", ("sums",), ("label", "loss")),
    ]
    backward = [LayerOp("order", means, ("order",))] if ordered else []
    gradients: tuple[str, ...] = ("d_input", "d_classifier")
    rests = ("input_rest", "classifier_rest") if method == "cce-kahan" else ()
    # Logits are made again in every tile; only tiles that pass the filter go on into the two products.
    backward.append(
        LayerOp(
            "tiles-b",
            ("sums", "label", "loss", *means, *(("order",) if ordered else ())),
            gradients,
            (*rests, "locks_input", "locks_classifier"),
            gemm_flops=thrice / 3 + kept * thrice * 2 / 3,
        )
    )
    columns = -(-shape.hidden // _LOCKED)
    token = _LONG * shape.tokens
    return forward, backward, {
        "sums": token, "label": token, "loss": token, "locks": _LONG * tiles, "means": _LONG * shape.vocabulary,
        "order": _INDEX * shape.vocabulary, "locks_input": _LONG * tiles * columns,
        "locks_classifier": _LONG * -(-shape.vocabulary // _TILE) * columns,
        "input_rest": _SHORT * shape.tokens * shape.hidden, "classifier_rest": _SHORT * shape.vocabulary * shape.hidden,
    }  # fmt: skip


def _step(shape: _Shape, method: str, which: str, kept: float) -> tuple[StepOps, int]:
    """The operations of a pass, and the bytes that are there before it."""
    if method == "baseline":
        forward, backward, sizes = _eager(shape)
    elif method == "torch-compile":
        forward, backward, sizes = _compiled(shape)
    else:
        forward, backward, sizes = _cut(shape, method, kept)
    sizes["d_input"] = _SHORT * shape.tokens * shape.hidden
    sizes["d_classifier"] = _SHORT * shape.vocabulary * shape.hidden
    made = {name for op in forward for name in op.writes}
    saved = tuple(sorted({name for op in backward for name in op.reads if name in made}))
    ops, before = [*forward, *backward, LayerOp("end", ("d_input", "d_classifier"), ())], 0
    if which == "forward":
        ops = [*forward, LayerOp("kept", saved, ())]
    elif which == "backward":
        ops = [LayerOp("kept", (), saved), *ops[len(forward) :]]
        before = sum(sizes[name] for name in saved)
    return StepOps((StepBlock(which, tuple(ops)),), sizes, frozenset()), before


@cache
def _machine(device: str, kernels: str) -> Machine:
    return machine_of(load_system(device), KERNELS[kernels])


def _simulate(config: Config) -> dict[str, float]:
    shape = _Shape(int(config["vocabulary"]), int(config["hidden"]), int(config["tokens"]), bool(config["softcap"]))
    method, which = str(config["method"]), str(config["pass"])
    step, before = _step(shape, method, which, 1.0)
    allocated = replay_requests(step_requests(step, with_skeletal=False)).allocated_bytes
    machine = _machine(str(config["device"]), str(config["kernels"]))
    ops = step.blocks[0].ops
    products = sum(op.gemm_flops for op in ops)
    found = {
        "memory": allocated - before,
        "time": sum(machine.seconds(op) for op in ops),
        "time_bound": sum(
            max(op.gemm_flops / machine.peak_flops_per_s, op.memory_bytes / machine.memory_bytes_per_s) for op in ops
        ),
        "products": products,
    }
    if method.startswith("cce") and which != "forward":
        share, skew = float(config["significant"]), float(config["skew"])
        found["kept"] = _kept(shape.vocabulary, share, skew, ordered=method != "cce-unsorted")
        filtered, _ = _step(shape, method, which, found["kept"])
        found["time_filtered"] = sum(machine.seconds(op) for op in filtered.blocks[0].ops)
    return found


def _bound() -> str:
    parts = []
    for method, published in (("cce", 46.4e-3), ("baseline", 81.9e-3)):
        found = STUDY.simulate(STUDY.config({"method": method}))
        step, _ = _step(_Shape(256_000, 2304, 8192, True), method, "forward", 1.0)
        passed = sum(op.memory_bytes for op in step.blocks[0].ops)
        parts.append(
            f"{method}: {found['products'] / 1e12:.2f} TFLOP in {published * 1e3:.1f} ms are "
            f"{found['products'] / published / 1e12:.0f} TFLOP/s of 312, beside {passed / 1e9:.1f} GB outside it"
        )
    return f"{'; '.join(parts)}. The bound has products at all of the peak."


_TABLE = "README at 18e76ad, benchmark on an A100-SXM4, its MB taken as MiB"
_MIB = 2**20
STUDY = Study(
    title="Cut Cross-Entropy",
    claim="The loss of Gemma 2 (2B) takes 1 MB instead of 24 GB, at no cost in time or convergence.",
    source="Wijmans et al., ICLR 2025, arXiv 2411.09009; apple/ml-cross-entropy",
    machine="a100-80gb-sxm",
    workload="the classifier of Gemma 2 2B and its loss: 8,192 tokens, 256,000 classes, bf16",
    policy="tiles of logits on the chip, a running log-sum-exp a token, made again in the backward pass",
    baseline="the same loss in PyTorch, kernel by kernel, and compiled",
    keys={
        "method": Key("cce", "how the loss is computed", choices=METHODS),
        "pass": Key("forward", "what is measured", choices=PASSES),
        "vocabulary": Key(256_000, "classes", low=128, high=4_194_304),
        "hidden": Key(2304, "width of the classifier's input", low=16, high=65_536),
        "tokens": Key(8192, "tokens", low=1, high=4_194_304),
        "softcap": Key(True, "whether logits are capped by a tanh", choices=(True, False)),
        "significant": Key(0.0002, "share of the softmax that the gradient's filter lets pass", low=0, high=1),
        "skew": Key(1.0, "how a class's frequency falls with its rank", low=0, high=4),
        "kernels": Key("attained", "share of the peak: as attained in frameworks, or at best", choices=tuple(KERNELS)),
        "device": Key(
            "a100-80gb-sxm", "machine", choices=("a100-40gb-sxm", "a100-80gb-sxm", "h100-sxm", "h200-sxm", "a40")
        ),
    },
    constants=CONSTANTS,
    metrics={
        "memory": Metric("peak of what the pass allocates", "B", ("head", "tokens", "baseline", "eager", "buffers")),
        "time": Metric(
            "products at a framework's rate, passes over memory at the stated one, one after another",
            "s",
            ("head", "tokens", "baseline", "passes", "gemm", "peak", "bandwidth"),
        ),
        "time_filtered": Metric(
            "the same with tiles left out where nothing is significant",
            "s",
            ("head", "tokens", "gemm", "peak", "significant", "skew"),
        ),
        "kept": Metric("share of tiles that are not left out", "", ("head", "significant", "skew")),
        "time_bound": Metric("the same with products at the peak", "s", ("peak", "bandwidth", "passes")),
        "products": Metric("operations of the products", "", ("head", "tokens")),
    },
    published=(
        Published("memory", {"method": "cce", "pass": "both"}, 1000 * _MIB, "abstract, in whole GB"),
        Published("memory", {"method": "baseline", "pass": "both"}, 28_000 * _MIB, "abstract, in whole GB"),
        Published("memory", {"method": "cce"}, 1.1 * _MIB, _TABLE),
        Published("memory", {"method": "baseline"}, 24_000 * _MIB, _TABLE),
        Published("time", {"method": "cce"}, 46.4e-3, _TABLE),
        Published("time", {"method": "baseline"}, 81.9e-3, _TABLE),
        Published("time_bound", {"method": "cce"}, 46.4e-3, _TABLE),
        Published("time_bound", {"method": "baseline"}, 81.9e-3, _TABLE),
    ),
    simulate=_simulate,
    misses=(Miss(("time_bound",), "The fused kernel is nearly all product, and no product runs at the peak.", _bound),),
)
