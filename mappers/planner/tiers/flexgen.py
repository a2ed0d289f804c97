"""FlexGen's placement program: shares of weights, keys and values, and hidden states on GPU, CPU and disk.

Sheng et al., FlexGen, ICML 2023 (arXiv 2303.06865), as in FMInference/FlexGen@19753bc, experimental/cost_model.py. It
is the program over intervals with the time left out: one layer stands for all, tensors are divisible, and each layer's
transfers take the time that the slowest of a few groups of them takes. A block of ``batch x batches`` sequences runs
through a layer before the next layer's weights are needed.

Everything is linear in nine shares once the batch is fixed, so policies are evaluated and searched by the same terms.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mappers.planner.tiers.linear import LinearProgram
from workloads.errors import InputError

__all__ = [
    "FLEXGEN_T4",
    "OPT_30B",
    "OPT_175B",
    "BlockMemory",
    "BlockPolicy",
    "BlockRates",
    "BlockTimes",
    "DecoderShape",
    "best_shares",
    "block_times",
    "search_policy",
]

_GIB = float(2**30)
SHARES = ("w.gpu", "w.cpu", "w.disk", "c.gpu", "c.cpu", "c.disk", "h.gpu", "h.cpu", "h.disk")

Affine = dict[str, float]
"""A constant, by the name "", and the coefficient of each share."""


@dataclass(frozen=True)
class DecoderShape:
    """A decoder of ``layers`` equal layers; 16-bit weights, keys, values and hidden states."""

    layers: int
    hidden: int
    feed_forward: int
    heads: int

    @property
    def layer_bytes(self) -> float:
        """Weights of one layer."""
        return 8.0 * self.hidden**2 + 4.0 * self.hidden * self.feed_forward


OPT_30B = DecoderShape(48, 7168, 28672, 56)  # stated: Zhang et al., OPT, arXiv 2205.01068, table 1
OPT_175B = DecoderShape(96, 12288, 49152, 96)


@dataclass(frozen=True)
class BlockRates:
    """Effective rates, in bytes or operations per second; ``_prefill`` and ``_decode`` where the two differ.

    ``cpu_corrections`` lower the CPU's rate for batches below 64 and widths below 4096, by their binary logarithms:
    the product's, the batch's and the width's coefficient.
    """

    cpu_to_gpu: float
    gpu_to_cpu_cache: float
    gpu_to_cpu_hidden: float
    disk_to_cpu: float
    cpu_to_disk_cache: float
    cpu_to_disk_hidden: float
    cpu_to_disk_decode: float
    matmul_prefill: float
    matmul_decode: float
    attention_prefill: float
    attention_decode: float
    cpu: float
    cpu_corrections: tuple[float, float, float] = (0.0, 0.0, 0.0)
    weights_from_disk: float = 0.95

    def cpu_at(self, batch: int, hidden: int) -> float:
        """The CPU's rate in attention over its part of the cache."""
        small, narrow = max(0.0, math.log2(64 / batch)), max(0.0, math.log2(4096 / hidden))
        both, by_batch, by_width = self.cpu_corrections
        return self.cpu * max(0.1, 1 + both * small * narrow - by_batch * small - by_width * narrow)


FLEXGEN_T4 = BlockRates(
    cpu_to_gpu=12.89 * _GIB,
    gpu_to_cpu_cache=0.97 * _GIB,
    gpu_to_cpu_hidden=4.82 * _GIB,
    disk_to_cpu=0.473 * _GIB,
    cpu_to_disk_cache=0.746 * _GIB,
    cpu_to_disk_hidden=2.015 * _GIB,
    cpu_to_disk_decode=2.015 * _GIB,
    matmul_prefill=21.24e12,
    matmul_decode=4.3e12,
    attention_prefill=9.97e12,
    attention_decode=0.079e12,
    cpu=0.0123e12,
    cpu_corrections=(0.0168, 0.0328, 0.0621),
)
"""fitted: by FlexGen's authors, by gradient descent to their runs on a cloud T4 (experimental/cost_model.py)."""


@dataclass(frozen=True)
class BlockMemory:
    """Bytes that may be used of each."""

    gpu: float
    cpu: float
    disk: float


@dataclass(frozen=True)
class BlockPolicy:
    """Shares of weights (w), cache (c) and hidden states (h) by place, and the block: ``batches`` of ``batch``."""

    batch: int
    batches: int
    shares: Mapping[str, float]

    @staticmethod
    def of(batch: int, batches: int, weights: tuple[float, float], cache: tuple[float, float]) -> BlockPolicy:
        """Percent of weights and of the cache on GPU and CPU, the rest on disk; hidden states on the CPU."""
        shares = {"h.gpu": 0.0, "h.cpu": 1.0, "h.disk": 0.0}
        for name, (gpu, cpu) in (("w", weights), ("c", cache)):
            shares |= {f"{name}.gpu": gpu / 100, f"{name}.cpu": cpu / 100, f"{name}.disk": 1 - (gpu + cpu) / 100}
        return BlockPolicy(batch, batches, shares)

    def as_dealt(self, shape: DecoderShape) -> BlockPolicy:
        """The policy with the shares of weights that FlexGen's code makes of them, which deals whole matrices.

        flexgen/flex_opt.py deals the matrices of attention and of the feed-forward each for itself, in the order disk,
        CPU, GPU, by the percentage at the middle of a matrix: of 20 % on the GPU the output projection is left.
        """
        bounds = (self.shares["w.disk"], self.shares["w.disk"] + self.shares["w.cpu"])
        dealt = {"w.gpu": 0.0, "w.cpu": 0.0, "w.disk": 0.0}
        wide = shape.hidden * shape.feed_forward
        for matrices in ((shape.hidden**2,) * 4, (wide, wide)):
            for number, size in enumerate(matrices):
                middle = (number + 0.5) / len(matrices)
                place = "w.disk" if middle < bounds[0] else "w.cpu" if middle < bounds[1] else "w.gpu"
                dealt[place] += 2 * size / shape.layer_bytes
        return BlockPolicy(self.batch, self.batches, {**self.shares, **dealt})

    @property
    def block(self) -> int:
        """Sequences at once."""
        return self.batch * self.batches


@dataclass(frozen=True)
class BlockTimes:
    """Seconds of one layer in prefill and in one decode step, and of the whole block; peaks in bytes by place."""

    prefill_layer_s: float
    decode_layer_s: float
    total_s: float
    tokens_per_s: float
    peak_bytes: dict[str, float]


class _Terms:
    """The linear terms for one block size."""

    def __init__(
        self, shape: DecoderShape, rates: BlockRates, prompt: int, generated: int, batch: int, batches: int
    ) -> None:
        if min(prompt, generated, batch, batches) < 1:
            raise InputError("a block without tokens or sequences", "at least 1 of each", "block")
        self.shape, self.rates = shape, rates
        self.s, self.n, self.gbs, self.bls = float(prompt), float(generated), float(batch), float(batch * batches)

    def prefill(self) -> list[Affine]:
        """Times of which the longest is that of a layer in prefill."""
        r, s, h, bls, wi = self.rates, self.s, self.shape.hidden, self.bls, self.shape.layer_bytes
        hidden, cache = 2 * s * h * bls, 4 * (s + 1) * h * bls
        to_gpu = _off_gpu("w", wi / r.cpu_to_gpu) | _off_gpu("h", hidden / r.cpu_to_gpu)
        from_disk = {"w.disk": wi / r.disk_to_cpu, "h.disk": hidden / r.disk_to_cpu}
        to_cpu = _off_gpu("c", cache / r.gpu_to_cpu_cache) | _off_gpu("h", hidden / r.gpu_to_cpu_hidden)
        to_disk = {"c.disk": cache / r.cpu_to_disk_cache, "h.disk": hidden / r.cpu_to_disk_hidden}
        return [_sum(to_gpu, from_disk), _sum(to_cpu, to_disk), {"": self.prefill_compute_s()}]

    def prefill_compute_s(self) -> float:
        """The GPU's time for a layer of a whole block."""
        r, s, h, h2 = self.rates, self.s, self.shape.hidden, self.shape.feed_forward
        products = self.bls * (8 * s * h**2 + 4 * s * h * h2) / r.matmul_prefill
        return products + 4 * self.bls * s**2 * h / r.attention_prefill

    def decode_matmul_s(self) -> float:
        """The GPU's time for the products of a layer of a whole block in one step."""
        h, h2 = self.shape.hidden, self.shape.feed_forward
        return self.bls * (8 * h**2 + 4 * h * h2) / self.rates.matmul_decode

    def decode(self) -> list[Affine]:
        """Times of which the longest is that of a layer in a decode step, at the middle of what is generated."""
        r, h, bls, wi = self.rates, self.shape.hidden, self.bls, self.shape.layer_bytes
        hidden, cache = 2 * h * bls, 4 * bls * (self.s + self.n / 2) * h
        to_gpu = _off_gpu("w", wi / r.cpu_to_gpu) | _off_gpu("h", hidden / r.cpu_to_gpu)
        to_cpu = _off_gpu("h", hidden / r.gpu_to_cpu_hidden)
        from_disk = {
            "c.disk": cache / r.disk_to_cpu,
            "h.disk": hidden / r.disk_to_cpu,
            "w.disk": wi / (r.weights_from_disk * r.disk_to_cpu),
        }
        to_disk = {"c.disk": 4 * bls * h / r.cpu_to_disk_decode, "h.disk": hidden / r.cpu_to_disk_decode}
        attention = _off_gpu("c", cache / r.cpu_at(int(self.gbs), h)) | {"c.gpu": cache / r.attention_decode}
        compute = attention | {"": self.decode_matmul_s()}
        return [_sum(to_gpu, other) for other in (to_cpu, from_disk, to_disk, compute)]

    def peaks(self) -> dict[str, list[Affine]]:
        """By place the bytes held in prefill and in decode, of which the larger must fit."""
        s, n, h, h2, nh, gbs, bls = (
            self.s,
            self.n,
            self.shape.hidden,
            self.shape.feed_forward,
            self.shape.heads,
            self.gbs,
            self.bls,
        )
        wi, layers = self.shape.layer_bytes, self.shape.layers
        weights, cache = wi * layers, 4 * (s + n) * h * bls * layers
        working_prefill = gbs * (18 * s * h + 2 * s * h2 + 2 * nh * s**2)
        working_cache = gbs * (8 * (s + n) * h + 4 * h + 2 * nh * (s + n))
        gpu_prefill = {
            "": 2 * wi + 2 * s * h * gbs + working_prefill,
            "w.gpu": weights - 2 * wi,
            "h.gpu": 2 * s * h * (bls - gbs),
            "c.gpu": cache,
        }
        gpu_decode = {
            "": 2 * wi + 2 * h * gbs + gbs * (14 * h + 2 * h2),
            "w.gpu": weights - 2 * wi,
            "h.gpu": 2 * h * (bls - gbs),
            "c.gpu": cache + working_cache,
        }
        cpu_prefill = {
            "": wi + 2 * s * h * gbs,
            "w.cpu": weights,
            "w.gpu": -wi,
            "h.cpu": 2 * s * h * bls,
            "h.gpu": -2 * s * h * gbs,
            "c.cpu": 4 * s * h * bls * layers,
        }
        cpu_decode = {
            "": 2 * nh * (s + n) * gbs + 2 * h * gbs,
            "w.cpu": weights,
            "w.disk": wi,
            "h.cpu": 2 * h * bls,
            "h.disk": 4 * h * gbs,
            "c.cpu": cache,
            "c.disk": 8 * (s + n) * h * gbs,
        }
        disk = {"w.disk": weights, "h.disk": 2 * s * h * bls, "c.disk": cache}
        return {"gpu": [gpu_prefill, gpu_decode], "cpu": [cpu_prefill, cpu_decode], "disk": [disk]}


def _off_gpu(name: str, seconds: float) -> Affine:
    return {f"{name}.cpu": seconds, f"{name}.disk": seconds}


def _sum(one: Affine, other: Affine) -> Affine:
    return {name: one.get(name, 0.0) + other.get(name, 0.0) for name in {**one, **other}}


def _at(affine: Affine, shares: Mapping[str, float]) -> float:
    return sum(factor * (shares[name] if name else 1.0) for name, factor in affine.items())


def block_times(
    shape: DecoderShape, policy: BlockPolicy, rates: BlockRates, *, prompt: int = 512, generated: int = 32
) -> BlockTimes:
    """What the model says of a policy, whether it fits or not."""
    terms = _Terms(shape, rates, prompt, generated, policy.batch, policy.batches)
    prefill = max(_at(time, policy.shares) for time in terms.prefill())
    decode = max(_at(time, policy.shares) for time in terms.decode())
    total = shape.layers * (prefill + decode * (generated - 1))
    peaks = {place: max(_at(peak, policy.shares) for peak in held) for place, held in terms.peaks().items()}
    return BlockTimes(prefill, decode, total, policy.block * generated / total, peaks)


def best_shares(
    shape: DecoderShape,
    rates: BlockRates,
    memory: BlockMemory,
    batch: int,
    batches: int,
    *,
    prompt: int = 512,
    generated: int = 32,
) -> BlockPolicy | None:
    """The shares that are fastest for a block by the model; None when nothing fits. Hidden states are never on disk."""
    terms = _Terms(shape, rates, prompt, generated, batch, batches)
    program = LinearProgram()
    columns = {name: program.variable(0.0, 0.0 if name == "h.disk" else 1.0) for name in SHARES}
    for kind in "wch":
        row = {columns[name]: 1.0 for name in SHARES if name.startswith(kind)}
        program.row(row, low=1.0, high=1.0)
    for times, weight in ((terms.prefill(), 1.0), (terms.decode(), generated - 1.0)):
        longest = program.variable(cost=weight)
        for time in times:
            row = {columns[name]: -factor for name, factor in time.items() if name}
            program.row({**row, longest: 1.0}, low=time.get("", 0.0))
    for place, held in terms.peaks().items():
        capacity = getattr(memory, place)
        for peak in held:
            row = {columns[name]: factor / _GIB for name, factor in peak.items() if name}
            program.row(row, high=(capacity - peak.get("", 0.0)) / _GIB)
    solution = program.solve()
    if solution is None:
        return None
    return BlockPolicy(batch, batches, {name: solution.values[column] for name, column in columns.items()})


def search_policy(
    shape: DecoderShape, rates: BlockRates, memory: BlockMemory, *, prompt: int = 512, generated: int = 32
) -> tuple[BlockPolicy, BlockTimes] | None:
    """The fastest policy by the model over batches of 1 to 4 and doubling from there, and over their number.

    The number of batches rises until throughput falls; None when not even one sequence fits.
    """
    best: tuple[BlockPolicy, BlockTimes] | None = None
    for batch in _batches():
        before, fits = 0.0, False
        batches = 1
        while True:
            policy = best_shares(shape, rates, memory, batch, batches, prompt=prompt, generated=generated)
            if policy is None:
                break
            fits = True
            times = block_times(shape, policy, rates, prompt=prompt, generated=generated)
            if best is None or times.tokens_per_s > best[1].tokens_per_s:
                best = policy, times
            if times.tokens_per_s < before:
                break
            before = times.tokens_per_s
            batches += 1
        if not fits:
            break
    return best


def _batches() -> Iterator[int]:
    yield from (1, 2, 3, 4)
    batch = 8
    while True:
        yield batch
        batch *= 2
