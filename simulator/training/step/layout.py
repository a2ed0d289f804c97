"""How a training step is divided over devices, and which divisions are possible.

    check_layout(read_parallel("tp=8,pp=4,dp=2,chunks=2"), model("llama-3.1-70b"), devices=64, global_batch=64)

Degrees multiply: tensor x context x data devices hold each pipeline stage (Megatron-LM, arXiv 2104.04473, section 3).
Experts are divided over groups of devices that share a stage and hold different data (context x data), and over the
tensor-parallel devices of each; where they are not divided over groups, each is cut over the tensor-parallel devices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

from workloads.errors import ImpossibleError, InfeasibleError, InputError, unknown_name
from workloads.models.architecture import MixtureOfExperts, Model

__all__ = ["Parallel", "check_layout", "micro_batches", "read_parallel", "uneven_rounds"]

_SHORT = {
    "tp": "tensor", "pp": "pipeline", "dp": "data", "cp": "context", "ep": "expert",
    "zero": "zero", "chunks": "chunks", "sp": "sequence", "reshard": "reshard",
}  # fmt: skip
_YES_OR_NO = ("sp", "reshard")


@dataclass(frozen=True)
class Parallel:
    """Degrees of parallelism of a training step.

    ``tensor``: heads and feed-forward columns (arXiv 1909.08053). ``pipeline``: stages of equal numbers of layers, each
    in ``chunks`` pieces that are visited in turn (arXiv 2104.04473). ``data``: replicas with their own part of the
    batch; ``zero`` says what they divide instead of repeating it: 1 optimizer states, 2 gradients too, 3 parameters too
    (arXiv 1910.02054). ``context``: a sequence's tokens. ``expert``: experts. ``sequence``: what lies between the
    tensor-parallel parts is divided by tokens over the ``tensor`` devices (arXiv 2205.05198). ``reshard``: what
    ``zero`` divides is gathered for every pass and scattered after it; else once a step, and whole for all of it
    (PyTorch FSDP's reshard_after_forward, and gradients that are only exchanged after the last micro-batch).
    Raises `InputError` for what is no count, and for a ``zero`` other than 0 to 3.
    """

    tensor: int = 1
    pipeline: int = 1
    data: int = 1
    context: int = 1
    expert: int = 1
    zero: int = 0
    chunks: int = 1
    sequence: bool = False
    reshard: bool = True

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in ("sequence", "reshard"):
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < (field.name != "zero"):
                expected = "0, 1, 2 or 3" if field.name == "zero" else "a whole number of at least 1"
                raise InputError(f"{value!r} is no count", expected, field.name)
        if self.zero > 3:
            raise InputError(f"found {self.zero}", "0, 1, 2 or 3", "zero")

    @property
    def stage_devices(self) -> int:
        """Devices that hold one stage."""
        return self.tensor * self.context * self.data

    @property
    def devices(self) -> int:
        """All devices."""
        return self.stage_devices * self.pipeline

    def __str__(self) -> str:
        words = {short: int(getattr(self, name)) for short, name in _SHORT.items()}
        plain = Parallel()
        changed = (f"{short}={words[short]}" for short, name in _SHORT.items() if words[short] != getattr(plain, name))
        return ",".join(changed) or "tp=1"


def read_parallel(text: str) -> Parallel:
    """The layout written as ``tp=8,pp=4,dp=2,cp=1,ep=1,zero=3,chunks=2,sp=1``; what is left out is 1 (0 for zero, sp).

    Raises `InputError` for an unknown or repeated key and for what is no whole number.

    >>> str(read_parallel("pp=4, tp=8"))
    'tp=8,pp=4'
    """
    found: dict[str, int] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise InputError(f"found {part!r}", "key=value, such as tp=8", "parallel")
        if key not in _SHORT:
            raise unknown_name("degree", key, _SHORT, field="parallel")
        if _SHORT[key] in found:
            raise InputError(f"{key} is given twice", "each degree once", "parallel")
        if key in _YES_OR_NO and value not in ("0", "1"):
            raise InputError(f"found {value!r}", "0 or 1", f"parallel.{key}")
        try:
            found[_SHORT[key]] = int(value)
        except ValueError:
            raise InputError(f"found {value!r}", "a whole number", f"parallel.{key}") from None
    sequence, reshard = bool(found.pop("sequence", 0)), bool(found.pop("reshard", 1))
    return Parallel(**found, sequence=sequence, reshard=reshard)


def micro_batches(parallel: Parallel, global_batch: int, micro_batch: int = 1) -> int:
    """Micro-batches of a step in each replica. Raises `ImpossibleError` where the batch does not divide."""
    for name, value in (("global_batch", global_batch), ("micro_batch", micro_batch)):
        if value < 1:
            raise InputError(f"found {value}", "1 or more", name)
    together = parallel.data * micro_batch
    if global_batch % together:
        near = _near_multiple(global_batch, together)
        raise ImpossibleError(
            f"{global_batch} sequences do not divide into dp={parallel.data} times micro-batches of {micro_batch}",
            f"a global batch of {near}",
            "global_batch",
        )
    return global_batch // together


def uneven_rounds(parallel: Parallel, global_batch: int, micro_batch: int) -> ImpossibleError:
    """The error for micro-batches that do not go through stages in chunks in whole rounds."""
    count, round_of = global_batch // (parallel.data * micro_batch), parallel.data * micro_batch * parallel.pipeline
    near = _near_multiple(global_batch, round_of)
    problem = f"{count} micro-batches over {parallel.pipeline} stages in chunks"
    return ImpossibleError(problem, f"a global batch of {near}", "global_batch")


def check_layout(
    parallel: Parallel,
    model: Model,
    *,
    devices: int | None = None,
    global_batch: int | None = None,
    micro_batch: int = 1,
    tokens: int | None = None,
) -> None:
    """See that ``model`` can be divided so over ``devices``, the batch of sequences of ``tokens`` tokens included.

    Raises `InfeasibleError` where there are too few devices, and `ImpossibleError` for everything that does not divide;
    both name the smallest change of that degree that would do.
    """
    _check_tensor(parallel, model)
    layers = len(model.order)
    if parallel.chunks > 1 and parallel.pipeline == 1:
        raise ImpossibleError(
            f"chunks={parallel.chunks} of one stage", "chunks=1, or pp of 2 or more", "parallel.chunks"
        )
    if layers % (parallel.pipeline * parallel.chunks):
        if layers % parallel.pipeline or parallel.chunks == 1:
            near = _near(parallel.pipeline, lambda pp: layers % (pp * parallel.chunks) == 0, layers)
            raise ImpossibleError(f"{parallel.pipeline} stages for {layers} layers", f"pp={near}", "parallel.pp")
        near = _near(parallel.chunks, lambda chunks: layers % (parallel.pipeline * chunks) == 0, layers)
        problem = f"{parallel.pipeline} stages of {parallel.chunks} chunks for {layers} layers"
        raise ImpossibleError(problem, f"chunks={near}", "parallel.chunks")
    _check_experts(parallel, model)
    if devices is not None:
        _check_devices(parallel, model, devices)
    if global_batch is not None:
        count = micro_batches(parallel, global_batch, micro_batch)
        if parallel.chunks > 1 and count % parallel.pipeline:
            raise uneven_rounds(parallel, global_batch, micro_batch)
    if tokens is not None:
        _check_tokens(parallel, tokens)


def _check_tensor(parallel: Parallel, model: Model) -> None:
    degree = parallel.tensor
    if parallel.sequence and degree == 1:
        raise ImpossibleError("sp=1 beside tp=1", "sp=0, or tp of 2 or more", "parallel.sp")
    for block in model.blocks:
        heads, kv_heads = block.attention.heads, block.attention.kv_heads
        part = block.feed_forward.expert if isinstance(block.feed_forward, MixtureOfExperts) else block.feed_forward
        if heads % degree:
            problem, good = f"tp={degree} does not divide {heads} heads", _dividing(heads)
        elif not _shares_heads(kv_heads, degree):
            problem, good = f"tp={degree} beside {kv_heads} key-value heads", partial(_fits_heads, heads, kv_heads)
        elif part.intermediate % degree:
            problem = f"tp={degree} does not divide {part.intermediate:,} columns of the feed-forward"
            good = _dividing(heads, part.intermediate)
        else:
            continue
        raise ImpossibleError(problem, f"tp={_near(degree, good, heads)}", "parallel.tp")


def _shares_heads(kv_heads: int, degree: int) -> bool:
    """Whether each device has whole key-value heads, or each head stands on equally many devices."""
    return kv_heads % degree == 0 or degree % kv_heads == 0


def _fits_heads(heads: int, kv_heads: int, degree: int) -> bool:
    return heads % degree == 0 and _shares_heads(kv_heads, degree)


def _dividing(*numbers: int) -> Callable[[int], bool]:
    return lambda degree: all(number % degree == 0 for number in numbers)


def _check_experts(parallel: Parallel, model: Model) -> None:
    if parallel.expert == 1:
        return
    counts = [b.feed_forward.experts for b in model.blocks if isinstance(b.feed_forward, MixtureOfExperts)]
    if not counts:
        raise ImpossibleError(f"ep={parallel.expert} for {model.name}, which has no experts", "ep=1", "parallel.ep")
    holders, tensor = parallel.data * parallel.context, parallel.tensor
    for count in counts:
        if count % (parallel.expert * tensor) or holders % parallel.expert:
            what = f"dp x cp = {holders} devices"
            if count % (parallel.expert * tensor):
                what = f"{count} experts" + (f" over tp={tensor} devices each" if tensor > 1 else "")
            near = _near(parallel.expert, _dividing(max(1, count // tensor), holders), count)
            raise ImpossibleError(f"ep={parallel.expert} does not divide {what}", f"ep={near}", "parallel.ep")


def _check_devices(parallel: Parallel, model: Model, devices: int) -> None:
    if devices < 1:
        raise InputError(f"found {devices}", "1 or more", "devices")
    if parallel.devices == devices:
        return
    per_replica = parallel.devices // parallel.data
    replicas = devices // per_replica
    if parallel.devices > devices:
        hint = f"dp={replicas} would do" if replicas else f"one replica alone is {per_replica} devices"
        if not replicas:
            smaller = _smaller(parallel, model, devices)
            hint += ": lower tp, pp or cp" if smaller is None else f"; {smaller} would do"
        if replicas and replicas * per_replica != devices:
            hint += f" with {devices - replicas * per_replica} left idle"
        raise InfeasibleError(f"layout {parallel}", parallel.devices, devices, "devices", hint)
    near = _near_multiple(devices, per_replica)
    expected = f"dp={replicas}" if devices % per_replica == 0 else f"devices of {near} (a replica is {per_replica})"
    raise ImpossibleError(f"layout {parallel} uses {parallel.devices} of {devices} devices", expected, "devices")


def _smaller(parallel: Parallel, model: Model, devices: int) -> Parallel | None:
    """The layout on all ``devices`` with one degree lowered, by the least factor, and no more replicas."""
    found = []
    for name in ("pipeline", "tensor", "context"):
        degree: int = getattr(parallel, name)
        for lower in range(degree - 1, 0, -1):
            fewer: dict[str, Any] = {"data": 1, name: lower}
            alone = replace(parallel, **fewer)
            data, rest = divmod(devices, alone.devices)
            layout = replace(alone, data=max(1, data))
            if rest or not 1 <= data <= parallel.data:
                continue
            try:
                check_layout(layout, model)
            except ImpossibleError:
                continue
            found.append((degree / lower, layout))
            break
    return min(found, key=lambda each: each[0])[1] if found else None


def _check_tokens(parallel: Parallel, tokens: int) -> None:
    # Causal attention is balanced by giving each device one part from the front and one from the back.
    share = 2 * parallel.context if parallel.context > 1 else 1
    share *= parallel.tensor if parallel.sequence else 1
    if tokens % share:
        near = _near_multiple(tokens, share)
        raise ImpossibleError(f"{tokens:,} tokens do not divide into {share} parts", f"a context of {near}", "context")


def _near(value: int, good: Callable[[int], bool], most: int) -> str:
    """The nearest good numbers below and above ``value`` and up to ``most``, in words."""
    below = next((count for count in range(min(value - 1, most), 0, -1) if good(count)), None)
    above = next((count for count in range(value + 1, most + 1) if good(count)), None)
    return " or ".join(str(count) for count in (below, above) if count is not None) or "1"


def _near_multiple(value: int, step: int) -> str:
    """The multiples of ``step`` next to ``value``, which is none, in words."""
    below = value // step * step
    return f"{below} or {below + step}" if below else str(step)
