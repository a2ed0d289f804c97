"""The policies that can be named, with their arguments, as in ``relay:2048`` or ``window:4,1020``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from hw.spec.system import System
from mappers.planner.placement import tier_order
from simulator.policies.attention import (
    attention_in_drives,
    attention_in_memory,
    attention_on,
    attention_on_host,
    attention_remote,
    main_home,
)
from simulator.policy import Policy, Transform
from workloads.errors import InputError, unknown_name
from workloads.transforms.cache import (
    heavy_hitters,
    pages,
    pruned_key_channels,
    quantised_cache,
    retrieval_heads,
    selected_channels_and_tokens,
    sinks_and_window,
)
from workloads.transforms.lanes import Lanes
from workloads.transforms.shared_prompt import relay
from workloads.transforms.training.formats import fp8_training, mxfp4_backward
from workloads.transforms.training.sparsity import kept_tokens, low_rank_adapters, top_k_channels
from workloads.transforms.weights import quantised_weights, sparse_feed_forward
from workloads.workload import Role, Workload

__all__ = ["POLICIES", "NamedPolicy", "named_policy"]

Argument = int | float | str
Change = Callable[..., Policy]


@dataclass(frozen=True)
class NamedPolicy:
    """A policy by name: ``change`` takes a policy, the system and the arguments.

    ``arguments`` are the names and types of its arguments; those in ``defaults`` may be left out, from the last.
    """

    arguments: tuple[tuple[str, type], ...]
    summary: str
    change: Change
    defaults: tuple[Argument, ...] = ()

    def usage(self, name: str) -> str:
        """How it is written."""
        words = [word.upper() for word, _ in self.arguments]
        needed = len(words) - len(self.defaults)
        if not words:
            return name
        text = ",".join(words[:needed])
        for word in words[needed:]:
            text += f"[,{word}]" if text else f"[{word}]"
        return f"{name}:{text}" if needed else f"{name}[:{text[1:-1]}]"


def _edit(make: Callable[..., Workload]) -> Change:
    """The policy that edits the workload by ``make``, after what edits it already."""

    def change(policy: Policy, system: System, *arguments: Argument) -> Policy:  # noqa: ARG001 - the same anywhere
        before: Transform = policy.transform
        return replace(policy, transform=lambda workload: make(before(workload), *arguments))

    return change


def _half_batches(policy: Policy, system: System, count: int) -> Policy:  # noqa: ARG001 - the same anywhere
    """Lanes that take turns at attention and the rest, results travelling as they are made."""
    return replace(policy, lanes=Lanes(count, "attention"), move=replace(policy.move, send_along=True))


def _zig_zag(policy: Policy, system: System, count: int) -> Policy:  # noqa: ARG001 - the same anywhere
    return replace(policy, lanes=Lanes(count))


_STREAMED: tuple[Role, ...] = ("attention", "feed_forward", "experts")


def _stream_weights(policy: Policy, system: System, tier: str) -> Policy:
    others = tier_order(system, main_home(system))[1:]
    if not others:
        raise InputError(f"{system.name} has one tier", expected="a tier to stream weights from", field="policy")
    if tier and tier not in others:
        raise unknown_name("tier to stream weights from", tier, others, field="policy")
    place = policy.place
    for role in _STREAMED:
        if role not in place.pinned:
            place = place.pin(role, tier or others[0])
    return replace(policy, place=place)


POLICIES: dict[str, NamedPolicy] = {
    "attention-on": NamedPolicy((("engine", str),), "attention and its cache on an engine and its tier", attention_on),
    "cpu-attention": NamedPolicy((), "attention and its cache on the host's processor", attention_on_host),
    "pim-attention": NamedPolicy((), "attention and its cache in the memory that computes", attention_in_memory),
    "csd-attention": NamedPolicy((), "attention and its cache in the drive that computes", attention_in_drives),
    "remote-attention": NamedPolicy((), "attention and its cache on devices with another memory", attention_remote),
    "half-batches": NamedPolicy(
        (("count", int),), "parts of the batch take turns at attention and the rest", _half_batches, (2,)
    ),
    "zig-zag": NamedPolicy((("count", int),), "batches pass a layer in turn, on the same streamed weights", _zig_zag),
    "stream-weights": NamedPolicy(
        (("tier", str),), "weights of all layers live in a slower tier and are streamed", _stream_weights, ("",)
    ),
    "relay": NamedPolicy((("tokens", int),), "one attention over a prompt that all sequences share", _edit(relay)),
    "window": NamedPolicy(
        (("sinks", int), ("recent", int)), "keeps the first tokens and the latest", _edit(sinks_and_window)
    ),
    "h2o": NamedPolicy((("share", float),), "keeps a share of the tokens, by sums of attention", _edit(heavy_hitters)),
    "duo": NamedPolicy(
        (("share", float), ("sinks", int), ("recent", int)),
        "a share of heads keeps all tokens, the others sinks and a window",
        _edit(retrieval_heads),
    ),
    "quest": NamedPolicy(
        (("tokens", int), ("page", int)), "reads the best pages of the cache only", _edit(pages), (16,)
    ),
    "sparq": NamedPolicy(
        (("channels", float), ("tokens", float)),
        "scores by a share of the channels, reads a share of the tokens",
        _edit(selected_channels_and_tokens),
    ),
    "think": NamedPolicy((("share", float),), "leaves out a share of the keys' channels", _edit(pruned_key_channels)),
    "kv-format": NamedPolicy(
        (("format", str),), "keys and values in a format, multiplied out by attention", _edit(quantised_cache)
    ),
    "dequantise": NamedPolicy(
        (("format", str),), "weights in a format, multiplied out before each product", _edit(quantised_weights)
    ),
    "sparse-ffn": NamedPolicy(
        (("share", float), ("rank", int)), "a predictor, and the rows it picks", _edit(sparse_feed_forward)
    ),
    "mxfp4-backward": NamedPolicy(
        (("block", int), ("forward", str)),
        "training: backward products in MXFP4 after transforms of blocks, others in a format",
        _edit(mxfp4_backward),
        (64, ""),
    ),
    "fp8-training": NamedPolicy((), "training: products in FP8, activations kept in FP8", _edit(fp8_training)),
    "top-k-channels": NamedPolicy(
        (("share", float),), "training: a share of each token's channels is kept, by gate", _edit(top_k_channels)
    ),
    "token-sparsity": NamedPolicy(
        (("share", float),), "training: layers see a share of the tokens", _edit(kept_tokens)
    ),
    "lora": NamedPolicy(
        (("rank", int),), "training: adapters beside attention's products, all else frozen", _edit(low_rank_adapters)
    ),
}
"""Every policy by its name."""


def named_policy(policy: Policy, system: System, text: str) -> Policy:
    """``policy`` with the change that ``text`` names. Raises `InputError` for unknown names and wrong arguments."""
    name, _, rest = text.partition(":")
    if name not in POLICIES:
        raise unknown_name("policy", name, POLICIES, field="policy")
    named = POLICIES[name]
    words = rest.split(",") if rest else []
    fewest = len(named.arguments) - len(named.defaults)
    if not fewest <= len(words) <= len(named.arguments):
        raise InputError(f"{text!r} has {len(words)} arguments", expected=named.usage(name), field="policy")
    values: list[Argument] = []
    for word, (argument, kind) in zip(words, named.arguments, strict=False):
        try:
            values.append(kind(word))
        except ValueError:
            what = "a whole number" if kind is int else "a number"
            raise InputError(
                f"{word!r} for {argument} of {name}", expected=f"{what}, as in {named.usage(name)}", field="policy"
            ) from None
    values += named.defaults[len(words) - fewest :] if named.defaults else ()
    return named.change(policy, system, *values)
