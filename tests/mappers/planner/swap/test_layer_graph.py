"""A layer's tensors and work: published figures, counts by hand, and the same FLOPs as the model's closed form."""

from __future__ import annotations

import pytest

from mappers.planner.swap.gpt_models import GPT_MODELS, gpt_model
from mappers.planner.swap.layer_graph import layer_graph
from workloads.errors import InputError
from workloads.models.catalogue import model as catalogue_model
from workloads.models.counts import parameters
from workloads.models.flops import forward_flops


def test_skeletal_tensors_are_those_of_the_paper() -> None:
    # MEMO, figure 4: eight tensors of b s h elements, two of 4 b s h, 2 bytes each: 32 h bytes per token.
    graph = layer_graph(gpt_model("gpt-7b"), 4096, 8)
    widths = {name: graph.bytes_per_token(name) / (2 * 4096) for name in graph.skeletal}
    assert widths == {
        "input": 1, "input_norm": 1, "query": 1, "key": 1, "value": 1, "attention": 1, "residual": 1, "post_norm": 1,
        "up": 4, "activated": 4,
    }  # fmt: skip


@pytest.mark.parametrize("name", GPT_MODELS)
def test_attention_is_a_sixteenth(name: str) -> None:
    # MEMO, section 4.1: FlashAttention's output is 6.25 % of the skeletal bytes.
    graph = layer_graph(gpt_model(name), 1 << 16, 8)
    assert graph.bytes_of["attention"] / graph.skeletal_bytes == 0.0625


def test_a_layer_at_half_a_million_tokens_asks_for_the_request_that_fails_in_the_paper() -> None:
    # MEMO, figure 1a: 7B at 512 K tokens, a request of 4.0 GB: the sequence gathered from all devices, 2 s h bytes.
    graph = layer_graph(gpt_model("gpt-7b"), 512 * 1024, 8)
    assert graph.bytes_of["gathered_input"] == 4 * 2**30


def test_gated_and_grouped_by_hand() -> None:
    # Llama-3-8B: h 4096, 32 query heads and 8 of keys of 128, 14,336 columns; on 8 devices one head of keys each.
    graph = layer_graph(catalogue_model("Llama-3-8B"), 8192, 8)
    per_token = {name: graph.bytes_per_token(name) / 2 for name in graph.skeletal}
    assert per_token == {
        "input": 4096, "input_norm": 4096, "query": 4096, "key": 1024, "value": 1024, "attention": 4096,
        "residual": 4096, "post_norm": 4096, "gate": 14336, "up": 14336, "activated": 14336,
    }  # fmt: skip
    # On 16 devices the 8 heads of keys are held twice.
    assert layer_graph(catalogue_model("Llama-3-8B"), 8192, 16).bytes_per_token("key") / 2 == 2048


@pytest.mark.parametrize("name", ["gpt-7b", "gpt-65b"])
@pytest.mark.parametrize("devices", [1, 8])
def test_forward_work_is_the_models(name: str, devices: int) -> None:
    model = gpt_model(name)
    graph = layer_graph(model, 1 << 14, devices)
    work = sum(op.gemm_flops + op.attention_flops for op in graph.forward)
    assert devices * len(model.order) * work == pytest.approx(forward_flops(model, 1, 1 << 14, logit_tokens=0))
    # Two products for each one forward; attention's five for two.
    products = sum(op.gemm_flops for op in graph.backward) / sum(op.gemm_flops for op in graph.forward)
    scores = sum(op.attention_flops for op in graph.backward) / sum(op.attention_flops for op in graph.forward)
    assert (products, scores) == (2, 2.5)


def test_collectives_by_hand() -> None:
    # Sequence parallelism (arXiv 2205.05198, section 4.2.2): two gathers and two reductions forward; backward the same,
    # and the two gathers again for the weights' gradients. Each sends 7/8 of 2 s h bytes.
    graph = layer_graph(gpt_model("gpt-7b"), 4096, 8)
    each = 2 * 4096 * 4096 * 7 / 8
    assert sum(op.fabric_bytes for op in graph.forward) == 4 * each
    assert sum(op.fabric_bytes for op in graph.backward) == 6 * each
    alone = layer_graph(gpt_model("gpt-7b"), 4096, 1)
    assert sum(op.fabric_bytes for op in (*alone.forward, *alone.backward)) == 0


def test_sizes_of_the_models() -> None:
    # 12 l h^2 and the table of V h, with biases and norms below a thousandth.
    for name, (layers, hidden, _, _) in GPT_MODELS.items():
        closed = 12 * layers * hidden**2 + 50257 * hidden
        assert parameters(gpt_model(name)).total == pytest.approx(closed, rel=1e-3)


@pytest.mark.parametrize(
    ("devices", "context", "text"),
    [
        (7, 7 * 1024, "devices: 7 devices share 32 attention heads; expected a divisor of the 32 attention heads"),
        (8, 1001, "context: 8 devices share 1001 tokens; expected a multiple of 8 tokens"),
    ],
)
def test_what_cannot_be_split(devices: int, context: int, text: str) -> None:
    with pytest.raises(InputError) as error:
        layer_graph(gpt_model("gpt-7b"), context, devices)
    assert str(error.value) == text


@pytest.mark.parametrize("name", ["Mixtral-8x7B", "BERT-base", "DeepSeek-V2-Lite", "Falcon-7B"])
def test_other_kinds_of_layers_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="expected a dense decoder of equal layers"):
        layer_graph(catalogue_model(name), 1024, 1)
