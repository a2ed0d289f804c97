"""Costs of sequences by length against the lowered micro-batch they are taken from, and bytes that pass by hand."""

from __future__ import annotations

import pytest

from hw.spec.load import load_system, override_values
from hw.spec.system import System
from simulator.training.sequences.length_balance import Unit, unit_s
from simulator.training.sequences.length_costs import length_costs, passed_bytes
from simulator.training.step.layout import Parallel
from simulator.training.step.setup import Setup
from simulator.training.step.simulate import simulate_step
from workloads.models.architecture import Attention, Block, FeedForward, Model
from workloads.phases import Train

LAYERS, GROUPS, SIZE = 4, 4, 128


def llama() -> Model:
    block = Block(Attention(16, GROUPS, SIZE), FeedForward(5632, gated=True, activation="silu"), "rms")
    return Model("llama", "llama", 16 * SIZE, 32000, (block,), (0,) * LAYERS, tied_embeddings=False)


def machine(devices: int) -> System:
    return override_values(load_system("a100-80gb-sxm"), {"devices": devices})


def test_bytes_passed() -> None:
    """Keys and values of 4 heads of 128 in 16 bits: once forward, once backward, and their gradients; half of them for
    each of two devices."""
    for tensor in (1, 2):
        setup = Setup(llama(), Train(1, 1024), 1, Parallel(tensor=tensor))
        assert passed_bytes(setup, 512) == LAYERS * 3 * 512 * 2 * GROUPS * SIZE * 2 / tensor


def test_a_sequence_alone_takes_a_steps_passes() -> None:
    """At the length they are taken from, a token's and a pair's costs add up to the step's own kernels."""
    tokens = 8192
    costs = length_costs(llama(), tokens, machine(16))
    step = simulate_step(Setup(llama(), Train(1, tokens), 1), machine(1), fidelity="kernel")
    assert unit_s(Unit((tokens,), 1), costs) == pytest.approx(step.time_s["kernels"], rel=1e-6)


def test_attention_grows_with_the_square() -> None:
    """Kernels get better with length, so twice the tokens attend three to four times as long, the rest twice."""
    short, long = (length_costs(llama(), tokens, machine(16)) for tokens in (8192, 16384))
    pairs = [16384**2 * long.pair_s, 8192**2 * short.pair_s]
    assert 3 < pairs[0] / pairs[1] <= 4.2
    assert long.token_s == pytest.approx(short.token_s, rel=0.2)


def test_passing_is_the_networks() -> None:
    """A rank's share of 4,096 tokens over the adapter at 25 GB/s less headers, and a step."""
    costs = length_costs(llama(), 8192, machine(16))
    size = LAYERS * 3 * 4096 * 2 * GROUPS * SIZE * 2
    assert costs.passed_s * 4096 == pytest.approx(size / 25e9, rel=0.05)
    assert costs.layers == LAYERS
    assert costs.host_rate == 31.5e9
