"""Tensor lists against parameter counts, and subgroups against those that a run of DeepSpeed printed."""

from __future__ import annotations

import pytest

from simulator.training.host.state_tensors import ParameterTensor, parameter_tensors, zero_subgroups
from workloads.errors import InputError
from workloads.models.architecture import Attention, Block, FeedForward, Model
from workloads.models.catalogue import model
from workloads.models.counts import parameters

NAMES = ("Llama-3.1-8B", "Qwen2.5-7B", "Qwen2.5-0.5B", "Qwen3-8B", "OPT-6.7B", "GPT-2", "Llama-2-13B", "Mistral-7B")


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_they_are_all_parameters(name: str, fused: bool) -> None:
    found = model(name)
    assert sum(tensor.elements for tensor in parameter_tensors(found, fused=fused)) == parameters(found).total


def test_experts_are_refused() -> None:
    with pytest.raises(InputError, match="Mixtral-8x7B has layers beside dense attention and feed-forward"):
        parameter_tensors(model("Mixtral-8x7B"))


def megatron(layers: int, hidden: int, heads: int, wide: int) -> Model:
    """As the runs' command lines have them: 4 key-value heads, gated, no biases, 50,304 tokens, head not tied."""
    block = Block(Attention(heads, 4, hidden // heads), FeedForward(wide, gated=True, activation="silu"), "rms")
    return Model("m", "megatron", hidden, 50_304, (block,), (0,) * layers, tied_embeddings=False)


def test_counts_of_the_logs() -> None:
    # mauryaavinash95/deep-optimizer-states-results at 3a21ae1: "number of parameters" of four runs.
    for shape, printed in (
        ((40, 5120, 64, 20_480), 15_326_663_680),
        ((50, 4096, 32, 12_400), 9_918_500_864),
        ((72, 3072, 32, 11_008), 9_142_717_440),
        ((32, 4096, 32, 11_008), 5_948_837_888),
    ):
        assert parameters(megatron(*shape)).total == printed


def test_subgroups_of_the_logs() -> None:
    # The same repository: subgroups of a rank of four, at a size of 100,000,000 (13B on A100s; 7B on H100s).
    tensors = parameter_tensors(megatron(40, 5120, 40, 13_824), fused=True)
    assert zero_subgroups(tensors, 4, 100_000_000) == (114_199_040, *(135_009_280,) * 19, 149_589_760)
    tensors = parameter_tensors(megatron(32, 4096, 32, 11_008), fused=True)
    found = zero_subgroups(tensors, 4, 100_000_000)
    assert found[:4] == (100_011_008, 113_251_328, 101_979_136, 114_299_904)
    assert (len(found), found[-1]) == (14, 90_572_800)


def test_one_group_where_it_never_fills() -> None:
    tensors = (ParameterTensor("a", 5), ParameterTensor("b", 6))
    assert zero_subgroups(tensors, 2, 100) == (6,)
    assert zero_subgroups(tensors, 1, 5) == (5, 6)
