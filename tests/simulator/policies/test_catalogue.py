"""Policies by name: usage, errors that say what is allowed, and the command line."""

from __future__ import annotations

import json

import pytest

from dse.cli.entry import run
from hw.spec.load import load_system
from simulator.policies import POLICIES, named_policy
from simulator.policy import Policy
from simulator.road import simulate
from simulator.serving.kv.sizes import kv_sizes
from simulator.serving.kv.transforms import (
    KeepShare,
    KvTransform,
    PruneChannels,
    Quantise,
    SelectPages,
    SelectTokens,
    SinksAndWindow,
    StreamingHeads,
    transformed,
)
from workloads.errors import InputError
from workloads.formats import FormatChoice
from workloads.models.catalogue import model
from workloads.phases import Decode, Train

H100 = load_system("h100-sxm")
EXAMPLES = {
    "attention-on": "attention-on:tensor",
    "cpu-attention": "cpu-attention",
    "pim-attention": "pim-attention",
    "csd-attention": "csd-attention",
    "remote-attention": "remote-attention",
    "half-batches": "half-batches",
    "zig-zag": "zig-zag:2",
    "stream-weights": "stream-weights",
    "relay": "relay:256",
    "window": "window:4,124",
    "h2o": "h2o:0.2",
    "duo": "duo:0.5,16,64",
    "quest": "quest:128",
    "sparq": "sparq:0.125,0.25",
    "think": "think:0.4",
    "kv-format": "kv-format:int4_g128",
    "dequantise": "dequantise:int4_g128",
    "sparse-ffn": "sparse-ffn:0.1,128",
}
TRAINING = {
    "mxfp4-backward": "mxfp4-backward:32,fp8",
    "fp8-training": "fp8-training",
    "top-k-channels": "top-k-channels:0.25",
    "token-sparsity": "token-sparsity:0.5",
    "lora": "lora:8",
}
WHERE = {
    "cpu-attention": "h100-xeon",
    "pim-attention": "neupims",
    "csd-attention": "csd-instinfer",
    "remote-attention": "lamina",
}


def test_every_policy_has_an_example() -> None:
    assert sorted([*EXAMPLES, *TRAINING]) == sorted(POLICIES)


@pytest.mark.parametrize("name", TRAINING)
@pytest.mark.parametrize("fidelity", ["roofline", "kernel"])
def test_policies_of_training_run_and_refuse_to_serve(name: str, fidelity: str) -> None:
    policy = named_policy(Policy(), H100, TRAINING[name])
    chosen = model("Llama-3.2-1B")
    result = simulate(chosen, Train(1, 512), H100, policy=policy, fidelity=fidelity)
    assert result.latency_s >= result.bounds.latency_s * (1 - 1e-9)
    with pytest.raises(InputError, match="expected train"):
        simulate(chosen, Decode(1, 512), H100, policy=policy)


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("fidelity", ["roofline", "mapped", "kernel", "cycle"])
def test_every_policy_runs_at_every_fidelity(name: str, fidelity: str) -> None:
    system = load_system(WHERE.get(name, "h100-sxm"))
    policy = named_policy(Policy(), system, EXAMPLES[name])
    formats = FormatChoice(weights="fp16", kv_cache="fp16", activations="fp16", compute="fp16")
    result = simulate(model("GPT-2"), Decode(4, 512), system, formats=formats, policy=policy, fidelity=fidelity)
    assert result.latency_s >= result.bounds.latency_s * (1 - 1e-9)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("window:4,1020", SinksAndWindow(4, 1020)),
        ("duo:0.25,64,256", StreamingHeads(0.25, 64, 256)),
        ("quest:512", SelectPages(512)),
        ("sparq:0.125,0.25", SelectTokens(0.125, 0.25, twice=True)),
        ("think:0.5", PruneChannels(0.5)),
        ("kv-format:int8_g128", Quantise("int8_g128", "int8_g128")),
    ],
)
@pytest.mark.parametrize("name", ["Llama-2-7B", "Llama-3.1-8B"])
def test_caches_are_as_large_as_serving_counts_them(text: str, kept: KvTransform, name: str) -> None:
    """The same method as an edit of operations and as bytes of a serving engine's memory."""
    formats = FormatChoice(kv_cache="fp16")
    result = simulate(model(name), Decode(4, 4096), H100, formats=formats, policy=named_policy(Policy(), H100, text))
    sizes = transformed(kv_sizes(model(name), formats), kept)
    assert sum(result.placement_bytes["kv_cache"].values()) == pytest.approx(4 * sizes.kept_bytes(4096), rel=1e-12)


def test_eviction_keeps_its_sums_beside_what_serving_counts() -> None:
    """A number in fp32 for each of 32 heads in 32 layers and each of 820 tokens."""
    policy = named_policy(Policy(), H100, "h2o:0.2")
    result = simulate(model("Llama-2-7B"), Decode(4, 4096), H100, formats=FormatChoice(), policy=policy)
    kept = transformed(kv_sizes(model("Llama-2-7B"), FormatChoice()), KeepShare(0.2)).kept_bytes(4096)
    assert sum(result.placement_bytes["kv_cache"].values()) == pytest.approx(4 * (kept + 32 * 32 * 820 * 4))


def test_policies_add_up() -> None:
    policy = Policy()
    for text in ("h2o:0.2", "kv-format:int8", "half-batches:2", "stream-weights:nvme"):
        policy = named_policy(policy, H100, text)
    result = simulate(model("Llama-2-7B"), Decode(4, 1024), H100, policy=policy)
    assert result.placement_bytes["feed_forward"].keys() == {"nvme"}
    assert any(row.op == "attention/1" for row in result.ops)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("relai:3", "unknown policy 'relai'; expected one of attention-on, .*did you mean 'relay'?"),
        ("relay", "'relay' has 0 arguments; expected relay:TOKENS"),
        ("window:4", r"'window:4' has 1 arguments; expected window:SINKS,RECENT"),
        ("quest:64,16,2", r"has 3 arguments; expected quest:TOKENS\[,PAGE\]"),
        ("half-batches:2,2", r"expected half-batches\[:COUNT\]"),
        ("relay:many", "'many' for tokens of relay; expected a whole number, as in relay:TOKENS"),
        ("h2o:x", "'x' for share of h2o; expected a number, as in h2o:SHARE"),
        ("attention-on:gpu", "unknown engine 'gpu'; expected one of tensor, vector"),
        ("cpu-attention", "h100-sxm has none for attention; expected a cpu engine"),
        ("stream-weights:tape", "unknown tier to stream weights from 'tape'; expected one of ddr, nvme"),
        ("half-batches:0", "0 lanes; expected 1 or more"),
    ],
)
def test_errors_say_what_is_allowed(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        named_policy(Policy(), H100, text)


def test_the_command_takes_policies(capsys: pytest.CaptureFixture[str]) -> None:
    base = ["simulate", "--model", "gpt-2", "--system", "h100-sxm", "--batch", "4", "--context", "512", "--json"]
    assert run(base) == 0
    whole = json.loads(capsys.readouterr().out)
    assert run([*base, "--policy", "relay:256", "--policy", "half-batches"]) == 0
    relayed = json.loads(capsys.readouterr().out)
    # 12 layers of 2 x 768 numbers: in both halves 256 shared tokens once, 256 of 2 sequences each.
    number = {"fp32": 4, "fp16": 2, "bf16": 2}[whole["formats"]["kv_cache"]]
    assert whole["placement_bytes"]["kv_cache"] == {"hbm": 4 * 512 * 12 * 2 * 768 * number}
    assert relayed["placement_bytes"]["kv_cache"] == {"hbm": 2 * (256 + 2 * 256) * 12 * 2 * 768 * number}
    assert run([*base, "--policy", "relay:512"]) == 2
    assert "--policy: 512 shared tokens in a context of 512" in capsys.readouterr().out
    assert run([*base, "--policy", "half-batches:3"]) == 2
    assert "--batch: a batch of 4 cannot be split into 3" in capsys.readouterr().out
    cached = ["simulate", "--model", "mixtral-8x7b", "--system", "a40", "--batch", "2", "--expert-cache", "3", "--json"]
    assert run([*cached, "--policy", "half-batches"]) == 2
    assert "a batch in lanes beside caches of pieces" in capsys.readouterr().out
    assert run(["list", "policies"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in POLICIES)
