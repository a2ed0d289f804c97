"""What the planner of swapping keeps of a layer, and what a lowered training step keeps, which are made apart."""

from __future__ import annotations

import pytest

from mappers.planner.swap.gpt_models import GPT_MODELS, gpt_model
from mappers.planner.swap.layer_graph import layer_graph
from workloads.models.architecture import Model
from workloads.models.catalogue import model
from workloads.models.lower import lower
from workloads.phases import Train
from workloads.workload import Op

STATISTICS = ("_ir", "_is", "_mu", "_lse")


def kept_bytes(decoder: Model, tokens: int) -> float:
    """Bytes kept by one block, without the statistics of rows, which MEMO's list leaves out."""
    layer = next(layer for layer, _ in lower(decoder, Train(1, tokens)).layers() if layer.name == "layer")
    kept = (tensor for tensor in layer.stored if tensor.role == "activations")
    return sum(tensor.bytes for tensor in kept if not tensor.name.endswith(STATISTICS))


@pytest.mark.parametrize("name", GPT_MODELS)
def test_gpt_layers(name: str) -> None:
    """MEMO (arXiv 2407.12117), figure 4: 16 tensors of the layer's input, two bytes an element."""
    decoder = gpt_model(name)
    assert kept_bytes(decoder, 1024) == layer_graph(decoder, 1024, 1).skeletal_bytes == 16 * 2 * 1024 * decoder.hidden


@pytest.mark.parametrize("name", ["llama-3-8b", "llama-2-13b", "qwen3-32b"])
def test_gated_layers(name: str) -> None:
    decoder = model(name)
    found = kept_bytes(decoder, 512)
    expected = layer_graph(decoder, 512, 1).skeletal_bytes
    if any(decoder.blocks[0].attention.query_key_norm):
        # The planner knows no norms of queries and keys: their input, the projection's whole result, is kept too.
        layer = next(layer for layer, _ in lower(decoder, Train(1, 512)).layers() if layer.name == "layer")
        (projected,) = (tensor.bytes for tensor in layer.stored if tensor.name == "qkv")
        found -= projected + sum(tensor.bytes for tensor in layer.stored if tensor.name == "qk_norm_r")
    assert found == expected


@pytest.mark.parametrize("name", ["gpt-7b", "gpt-65b"])
def test_backward_flops(name: str) -> None:
    """Products of the backward pass, attention's apart, which the planner gives 2.5 times the forward ones."""
    decoder = gpt_model(name)
    graph = layer_graph(decoder, 512, 1)
    for lowered, planned in (("layer", graph.forward), ("layer_backward", graph.backward)):
        layer = next(layer for layer, _ in lower(decoder, Train(1, 512)).layers() if layer.name == lowered)
        products = sum(step.work.contraction for step in layer.steps if isinstance(step, Op) and step.kind == "gemm")
        assert products == sum(op.gemm_flops for op in planned)
        attention = sum(op.work.contraction for op in layer.ops if op.kind == "attention")
        assert attention == pytest.approx(sum(op.attention_flops for op in planned))
