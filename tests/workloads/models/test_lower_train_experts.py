"""Training steps of mixtures of experts and of latent attention: FLOPs, states, what is kept, exchanges; by hand."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.models.architecture import Attention, Block, FeedForward, MixtureOfExperts, Model
from workloads.models.catalogue import model
from workloads.models.counts import parameters
from workloads.models.flops import model_flops
from workloads.models.lower import lower
from workloads.models.lower_feed_forward import ExpertShare, expected_distinct_experts
from workloads.phases import Prefill, Train
from workloads.workload import Collective, Layer, Op, Workload

HIDDEN, WIDE, SHARED, EXPERTS = 64, 48, 96, 8


def mixture(layers: int = 2, top_k: int = 2, *, shared: bool = False, gate: bool = False) -> Model:
    expert = FeedForward(WIDE, gated=True, activation="silu")
    beside = FeedForward(SHARED, gated=True, activation="silu") if shared else None
    experts = MixtureOfExperts(EXPERTS, top_k, expert, shared=beside, shared_gate=gate)
    block = Block(Attention(4, 2, HIDDEN // 4), experts, "rms")
    return Model("mixture", "mixtral", HIDDEN, 96, (block,), (0,) * layers, tied_embeddings=False)


def layer_of(workload: Workload, name: str) -> Layer:
    return next(layer for layer, _ in workload.layers() if layer.name == name)


def op_of(workload: Workload, layer: str, name: str) -> Op:
    return next(op for op in layer_of(workload, layer).ops if op.name == name)


def products(workload: Workload) -> float:
    """Contractions of all products with weights, the head's aside."""
    return sum(
        count * op.work.contraction
        for layer, count in workload.layers()
        for op in layer.ops
        if op.kind in ("gemm", "grouped_gemm") and layer.name != "head"
    )


def exchanges(workload: Workload, layer: str) -> dict[str, Collective]:
    return {step.name: step for step in layer_of(workload, layer).steps if isinstance(step, Collective)}


@settings(max_examples=12, deadline=None)
@given(
    layers=st.integers(1, 3),
    top_k=st.integers(1, 3),
    context=st.integers(2, 40),
    shared=st.sampled_from(["none", "plain", "gated"]),
    checkpoint=st.sampled_from(["none", "selective", "full"]),
)
def test_flops(layers: int, top_k: int, context: int, shared: str, checkpoint: str) -> None:
    """Each token meets ``top_k`` experts of three matrices, the router, the shared expert and its gate."""
    found = lower(
        mixture(layers, top_k, shared=shared != "none", gate=shared == "gated"),
        Train(1, context, checkpoint),  # type: ignore[arg-type]
    )
    matrices = 2 * HIDDEN * HIDDEN + 2 * HIDDEN * 2 * HIDDEN // 4 + HIDDEN * EXPERTS + top_k * 3 * HIDDEN * WIDE
    if shared != "none":
        matrices += 3 * HIDDEN * SHARED + (HIDDEN if shared == "gated" else 0)
    passes = 4 if checkpoint == "full" else 3
    assert products(found) == passes * layers * 2 * context * matrices


@pytest.mark.parametrize(
    "name", ["mixtral-8x7b", "qwen1.5-moe-a2.7b", "olmoe-1b-7b", "gpt-oss-20b", "deepseek-v2-lite", "deepseek-v2"]
)
def test_products_take_three_or_four_forward_passes_and_states_16_bytes(name: str) -> None:
    """Against what prefill lowers to, and against the parameters that the model's counting has."""
    found = model(name)
    forward = products(lower(found, Prefill(1, 64)))
    for checkpoint, times in (("none", 3), ("full", 4)):
        step = lower(found, Train(1, 64, checkpoint))  # type: ignore[arg-type]
        assert products(step) == times * forward
        assert step.stored_bytes() - step.stored_bytes("activations") == 16 * parameters(found).total


@pytest.mark.parametrize("devices", [1, 4])
def test_state_bytes_of_divided_experts(devices: int) -> None:
    """Mixtral's experts over 8 devices: the states of one are 16 bytes of one expert's parameters a layer."""
    mixtral = model("mixtral-8x7b")
    groups = 8 // devices
    whole = lower(mixtral, Train(1, 64), devices=devices)
    cut = lower(mixtral, Train(1, 64), devices=devices, experts=ExpertShare(8, groups))
    expert = 3 * 4096 * 14336
    for role, each in (("experts", 2), ("gradients", 2), ("optimizer", 12)):
        assert whole.stored_bytes(role) - cut.stored_bytes(role) == each * 32 * (8 / devices - 1) * expert  # type: ignore[arg-type]


@pytest.mark.parametrize("context", [16, 512])
def test_kept_by_mixtral(context: int) -> None:
    """By hand, for each token of a layer, in bf16:

    two sums before norms, two normed states, queries and attention's result, 4,096 each; keys and values, 2 x 1,024;
    for each of 2 experts gate and up, 2 x 14,336, their product, 14,336, and the expert's result, 4,096; 2 weights.
    In fp32 a log-sum-exp for each of 32 heads, the scales of two norms, and the numbers of 2 experts.
    """
    found = lower(model("mixtral-8x7b"), Train(1, context))
    bf16 = 6 * 4096 + 2 * 1024 + 2 * (3 * 14336 + 4096) + 2
    assert found.stored_bytes("activations") == 32 * context * (2 * bf16 + 4 * (32 + 2 + 2))
    # Run again from its input a layer keeps that alone.
    full = lower(model("mixtral-8x7b"), Train(1, context, "full"))
    assert full.stored_bytes("activations") == 32 * context * 2 * 4096


def test_kept_by_latent_attention() -> None:
    """DeepSeek-V2's first layer, by hand: 128 heads of 128 + 64, values of 128, ranks 1,536 and 512 + 64.

    Sums, normed states: 4 x 5,120; queries' latent before and after its norm; that of keys and values, before its norm
    with the key's position part, and after it beside the turned one; queries; keys without and values; the result;
    gate, up and their product of the dense feed-forward, 12,288. In fp32: log-sum-exps and the scales of four norms.
    """
    found = layer_of(lower(model("deepseek-v2"), Train(1, 32)), "layer0")
    kept = sum(tensor.bytes for tensor in found.stored if tensor.role == "activations")
    bf16 = 4 * 5120 + 2 * 1536 + 2 * (512 + 64) + 128 * (192 + 128 + 128 + 128) + 3 * 12288
    assert kept == 32 * (2 * bf16 + 4 * (128 + 4))


def test_gradients_of_the_experts_touched() -> None:
    """Weights of the experts that got rows are read, and their gradients written; all are updated."""
    found = lower(mixture(), Train(1, 5))
    touched = expected_distinct_experts(EXPERTS, 2, 5)
    for name, each in (("experts_up", HIDDEN * 2 * WIDE), ("experts_down", WIDE * HIDDEN)):
        dgrad, wgrad = (op_of(found, "layer_backward", f"{name}_{what}") for what in ("dgrad", "wgrad"))
        assert next(o.elements for o in dgrad.operands if o.symbol == "W") == pytest.approx(touched * each)
        (written,) = (o for o in wgrad.operands if o.access == "write")
        assert written.stored == "gradients"
        assert written.elements == pytest.approx(touched * each)
    update = op_of(found, "layer_update", "update")
    experts = next(o.elements for o in update.operands if o.stored == "experts_weight")
    assert experts == EXPERTS * 3 * HIDDEN * WIDE


def test_exchanges_mirror_each_other() -> None:
    """Over 8 devices, one group each: 16 tokens' 32 rows of 64 go there and back, forward and backward."""
    share = ExpertShare(8, groups=8)
    sent = 16 * 2 * HIDDEN
    found = lower(mixture(), Train(1, 16), experts=share)
    assert {name: step.elements for name, step in exchanges(found, "layer").items()} == {
        "dispatch": sent, "return": sent,
    }  # fmt: skip
    backward = exchanges(found, "layer_backward")
    assert {name: (step.kind, step.elements, step.devices) for name, step in backward.items()} == {
        "return_grad": ("all_to_all", sent, 8), "dispatch_grad": ("all_to_all", sent, 8),
    }  # fmt: skip
    full = lower(mixture(), Train(1, 16, "full"), experts=share)
    assert len(exchanges(full, "layer_backward")) == 4
    # What was received is kept in the order of the experts: 16 x 2 x 8 / 8 rows.
    received = next(tensor for tensor in layer_of(found, "layer").stored if tensor.name == "received")
    assert received.elements == 32 * HIDDEN
    # Weights' gradients are made while rows' travel.
    assert "experts_up_wgrad" not in backward["dispatch_grad"].after


def test_devices_of_a_group_sum_the_routers_gradient() -> None:
    """Each has a part of every expert, and so a part of the gradients that reach router and gate."""
    found = exchanges(lower(mixture(shared=True, gate=True), Train(1, 16), devices=2), "layer_backward")
    sizes = {name: step.elements for name, step in found.items()}
    assert sizes.pop("router_wgrad_reduce") == HIDDEN * EXPERTS
    assert sizes.pop("shared_gate_wgrad_reduce") == HIDDEN
    # Beside them the two sums of a dense layer.
    assert sorted(sizes.values()) == [16 * HIDDEN] * 2


def test_devices_sum_what_latents_get() -> None:
    """Heads are divided, latents are not: their gradients are summed at the latents' widths, not at the hidden one."""
    found = exchanges(lower(model("deepseek-v2"), Train(1, 16), devices=2), "layer0_backward")
    sizes = sorted(step.elements / 16 for step in found.values())
    assert sizes == sorted([1536, 512 + 64, 5120])


Case = tuple[str, Model, int, ExpertShare | None]


def cases() -> list[Case]:
    plain = mixture()
    return [
        ("alone", plain, 1, None),
        ("cut", plain, 2, None),
        ("whole experts", plain, 2, ExpertShare(2)),
        ("away", plain, 1, ExpertShare(4, groups=4)),
        ("groups of two away", plain, 2, ExpertShare(4, groups=2, imbalance=1.5)),
        ("shared", mixture(shared=True), 2, ExpertShare(4, groups=2)),
        ("gated", mixture(shared=True, gate=True), 1, ExpertShare(4, groups=4)),
        ("latent", model("deepseek-v2-lite"), 2, None),
        ("latent queries", model("deepseek-v2"), 1, ExpertShare(8, groups=8)),
    ]


@pytest.mark.parametrize("checkpoint", ["none", "selective", "full"])
@pytest.mark.parametrize("case", cases(), ids=lambda case: case[0])
def test_gradients_are_made_before_they_are_used(case: Case, checkpoint: str) -> None:
    """In a backward layer all that is read was written there, but the gradient from above; none is lost at a fork."""
    _, found, devices, share = case
    step = lower(found, Train(1, 16, checkpoint), devices=devices, experts=share)  # type: ignore[arg-type]
    for layer, _ in step.layers():
        if not layer.name.endswith("_backward") or layer.name == "embedding_backward":
            continue
        written: set[str] = set()
        unread: set[str] = set()
        kept = {tensor.name: tensor.elements for tensor in layer.stored if tensor.role == "activations"}
        for op in layer.ops:
            reads = {o.activation for o in op.operands if o.access == "read" and o.activation}
            assert reads <= written | {"incoming_gradient"}, op.name
            assert all(o.elements <= kept[o.stored] for o in op.operands if o.stored in kept), op.name
            unread -= reads
            made = {o.activation for o in op.operands if o.access == "write" and o.activation}
            written |= made
            unread |= {value for value in made if value.startswith("d_")}
        assert unread == {"d_branch"}


def test_utilisation_counts_the_experts_that_a_token_meets() -> None:
    """Mixtral: 6 x 12.9 billion and 12 x 32 layers x 4,096 x the context for a token; DeepSeek-V2's heads have 192 and
    128 wide queries and values, 21 billion parameters are met."""
    for name, active, widths in (("mixtral-8x7b", 12.88e9, 2 * 32 * 4096), ("deepseek-v2", 21.4e9, 60 * 128 * 320)):
        per_token = model_flops(model(name), 1, 4096) / 4096
        assert per_token == pytest.approx(6 * active + 6 * 4096 * widths, rel=0.01)
