"""What devices hold, against inventories by hand.

Of a parameter 2 bytes of weights, 2 of gradient and 12 of master copy and moments (ZeRO, arXiv 1910.02054, section
3.1). Of a layer of Llama, 2 bytes an element (bf16): both sums before norms, both norm outputs, queries and attention's
output of the model's width, keys and values of theirs, both halves of the gated product and what comes of them; 4
bytes of statistics for each token: one scale a norm and one log-sum a head. Recomputed, the first sum alone.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from simulator.training.step.inventory import stage_memories
from simulator.training.step.layout import Parallel, read_parallel
from simulator.training.step.pieces import pieces_of
from simulator.training.step.setup import Setup, lowered
from tests.simulator.training.small_models import small
from workloads.models.architecture import Attention, Block, FeedForward, MixtureOfExperts, Model
from workloads.models.catalogue import model
from workloads.phases import Train

SHAPES = {  # layers, width, key-value width, heads, feed-forward, vocabulary: published configurations
    "llama-2-7b": (32, 4096, 4096, 32, 11008, 32000),
    "llama-2-13b": (40, 5120, 5120, 40, 13824, 32000),
    "llama-3.1-8b": (32, 4096, 1024, 32, 14336, 128256),
    "llama-3.1-70b": (80, 8192, 1024, 64, 28672, 128256),
}


def by_hand(name: str) -> tuple[int, int]:
    """Parameters of the model and of one layer."""
    layers, h, kv, _, f, vocabulary = SHAPES[name]
    layer = 2 * h * h + 2 * h * kv + 3 * h * f + 2 * h
    return layers * layer + 2 * vocabulary * h + h, layer


def layer_kept(name: str, tokens: int, checkpoint: str) -> int:
    _, h, kv, heads, f, _ = SHAPES[name]
    if checkpoint == "full":
        return 2 * tokens * h
    return 2 * tokens * (6 * h + 2 * kv + 3 * f) + 4 * tokens * (2 + heads)


def memories(name: str | Model, phase: Train, batch: int, layout: str, **more: object) -> list[dict[str, float]]:
    which = model(name) if isinstance(name, str) else name
    setup = Setup(which, phase, batch, read_parallel(layout), **more)  # type: ignore[arg-type]
    return [each.parts() for each in stage_memories(setup, pieces_of(lowered(setup)))]


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("checkpoint", ["none", "full"])
@pytest.mark.parametrize("zero", [0, 1, 2, 3])
def test_data_parallel_inventories(name: str, checkpoint: str, zero: int) -> None:
    total, _ = by_hand(name)
    (held,) = memories(name, Train(1, 4096, checkpoint), 64, f"dp=64,zero={zero}")  # type: ignore[arg-type]
    weights, gradients, states = ((each / 64 if zero >= least else each) for each, least in
                                  ((2 * total, 3), (2 * total, 2), (12 * total, 1)))  # fmt: skip
    assert held["weights"] == pytest.approx(weights, rel=1e-12)
    assert held["gradients"] == pytest.approx(gradients, rel=1e-12)
    assert held["optimizer"] == pytest.approx(states, rel=1e-12)
    layers = SHAPES[name][0]
    assert held["activations"] == pytest.approx(layers * layer_kept(name, 4096, checkpoint), rel=1e-12)


def test_zero_of_the_paper() -> None:
    """ZeRO, figure 1: 7.5B parameters on 64 devices hold 120, 31.4, 16.6 and 1.9 GB."""
    total, _ = by_hand("llama-2-7b")
    found = []
    for zero in range(4):
        (held,) = memories("llama-2-7b", Train(1, 128), 64, f"dp=64,zero={zero}")
        found.append((held["weights"] + held["gradients"] + held["optimizer"]) * 7.5e9 / total / 1e9)
    assert found == pytest.approx([120, 31.4, 16.6, 1.9], rel=0.02)


@pytest.mark.parametrize("stages", [2, 4, 8])
@pytest.mark.parametrize("checkpoint", ["none", "full"])
def test_pipeline_of_tensor_parallel_stages(stages: int, checkpoint: str) -> None:
    """1F1B: stage i holds p - i micro-batches; with sequence parallelism an 8th of everything."""
    name, tokens = "llama-3.1-70b", 8192
    total, layer = by_hand(name)
    layers, h, *_, vocabulary = SHAPES[name]
    held = memories(name, Train(1, tokens, checkpoint), 32, f"tp=8,pp={stages},sp=1")  # type: ignore[arg-type]
    each = layers // stages
    for stage, parts in enumerate(held):
        kept = (stages - stage) * each * layer_kept(name, tokens, checkpoint) / 8
        assert parts["activations"] == pytest.approx(kept, rel=1e-12)
        # Norms are whole on every device: 2 h a layer.
        parameters = each * ((layer - 2 * h) / 8 + 2 * h)
        parameters += vocabulary * h / 8 if stage == 0 else 0
        parameters += vocabulary * h / 8 + h if stage == stages - 1 else 0
        assert parts["weights"] == pytest.approx(2 * parameters, rel=1e-12)
        assert parts["optimizer"] == pytest.approx(12 * parameters, rel=1e-12)
    assert total > 0


def test_what_is_gathered() -> None:
    """Two layers' weights, one ahead, and two layers' gradients; once a step instead, all weights."""
    _, layer = by_hand("llama-2-7b")
    (each,) = memories("llama-2-7b", Train(1, 128), 64, "dp=64,zero=3")
    assert each["gathered"] == pytest.approx(2 * 2 * layer + 2 * 2 * layer, rel=1e-12)
    (once,) = memories("llama-2-7b", Train(1, 128), 64, "dp=64,zero=3,reshard=0")
    assert once["gathered"] == pytest.approx(2 * by_hand("llama-2-7b")[0], rel=1e-12)
    assert once["gradients"] == pytest.approx(2 * by_hand("llama-2-7b")[0], rel=1e-12)


def test_weights_cast_from_the_master_copy_are_not_kept() -> None:
    """PyTorch FSDP2: 4 bytes of weights and 8 of moments divided, 4 of gradients."""
    total, _ = by_hand("llama-2-7b")
    (held,) = memories("llama-2-7b", Train(1, 128, gradient_format="fp32"), 64, "dp=64,zero=3", from_master=True)
    assert held["weights"] + held["gradients"] + held["optimizer"] == pytest.approx(16 * total / 64, rel=1e-12)


def test_a_head_that_shares_the_table_has_a_copy_on_the_last_stage() -> None:
    tied = replace(small(4), tied_embeddings=True)
    first, last = memories(tied, Train(1, 16), 4, "pp=2")
    assert last["weights"] == pytest.approx(first["weights"] + 2 * 64, rel=1e-12)  # and the last norm
    (alone,) = memories(tied, Train(1, 16), 4, "")
    assert first["weights"] + last["weights"] == pytest.approx(alone["weights"] + 2 * 512 * 64, rel=1e-12)


layouts = st.builds(
    Parallel,
    tensor=st.sampled_from([1, 2]),
    pipeline=st.sampled_from([1, 2, 4]),
    data=st.sampled_from([1, 2, 4]),
    context=st.sampled_from([1, 2]),
    zero=st.integers(0, 3),
    reshard=st.booleans(),
)


@settings(max_examples=40, deadline=None)
@given(parallel=layouts, batch=st.integers(1, 3), checkpoint=st.sampled_from(["none", "selective", "full"]))
def test_states_are_conserved_and_more_division_never_holds_more(
    parallel: Parallel, batch: int, checkpoint: str
) -> None:
    """What is divided over devices adds up to all of it, and a further stage of ZeRO only divides more."""
    phase = Train(batch, 64, checkpoint)  # type: ignore[arg-type]
    setup = Setup(small(8), phase, 4 * batch * parallel.data, parallel)
    pieces = pieces_of(lowered(setup))
    found = [stage_memories(replace(setup, parallel=replace(parallel, zero=zero)), pieces) for zero in range(4)]
    shared = parallel.data * parallel.context
    whole = sum(each.state_bytes for each in (pieces.embedding, *pieces.layers, pieces.head))
    for zero, stages in enumerate(found):
        states = sum(each.optimizer for each in stages) * (shared if zero else 1)
        assert states == pytest.approx(whole, rel=1e-9)
    for less, more in itertools.pairwise(found):
        for a, b in zip(less, more, strict=True):
            assert b.weights + b.gradients + b.optimizer <= a.weights + a.gradients + a.optimizer + 1e-6


@settings(max_examples=40, deadline=None)
@given(
    layers=st.sampled_from([4, 8, 16]),
    stages=st.sampled_from([1, 2, 4]),
    micro=st.integers(1, 6),
    batch=st.integers(1, 3),
    tensor=st.sampled_from([1, 2]),
)
def test_more_recomputation_never_holds_more(layers: int, stages: int, micro: int, batch: int, tensor: int) -> None:
    """No layer recomputed, every fourth, every second, all: each keeps and holds no more than the one before."""
    assume(layers % stages == 0)
    peaks, kept = [], []
    for checkpoint, every in (("none", 1), ("full", 4), ("full", 2), ("full", 1)):
        phase = Train(batch, 64, checkpoint, every=every)  # type: ignore[arg-type]
        setup = Setup(small(layers), phase, micro * batch, Parallel(tensor, stages))
        held = stage_memories(setup, pieces_of(lowered(setup)))
        peaks.append([each.total for each in held])
        kept.append([each.activations for each in held])
    for found in (kept, peaks):
        for less, more in itertools.pairwise(found):
            assert all(b <= a + 1e-6 for a, b in zip(less, more, strict=True))


@settings(max_examples=30, deadline=None)
@given(stages=st.integers(2, 6), micro=st.integers(1, 12))
def test_micro_batches_in_flight(stages: int, micro: int) -> None:
    """1F1B keeps p - i micro-batches on stage i, or all of them."""
    setup = Setup(small(stages), Train(1, 32), micro, Parallel(pipeline=stages))
    pieces = pieces_of(lowered(setup))
    for stage, held in enumerate(stage_memories(setup, pieces)):
        each = pieces.layers[0].kept_bytes
        assert held.activations == pytest.approx(min(micro, stages - stage) * each, rel=1e-12)


@pytest.mark.parametrize(
    "layout", ["tp=2", "dp=4,ep=4", "tp=2,dp=4,ep=4", "tp=2,dp=2,cp=2,ep=4", "pp=2,dp=8,ep=8", "tp=2,dp=8,ep=2"]
)
@pytest.mark.parametrize("zero", [0, 1, 3])
def test_every_expert_is_held_as_often_as_it_is_shared(layout: str, zero: int) -> None:
    """8 experts of 3 h f parameters in each of 4 layers: all devices together hold each once for those that share it,
    and its optimizer states once where they are divided."""
    parallel = replace(read_parallel(layout), zero=zero)
    expert = FeedForward(256, True, "silu")
    block = Block(Attention(4, 4, 16), MixtureOfExperts(8, 2, expert), "rms")
    experts = Model("mixture", "mixtral", 64, 512, (block,), (0,) * 4, False)
    setup = Setup(experts, Train(1, 64), 16, parallel)
    pieces = pieces_of(lowered(setup))
    holders = parallel.data * parallel.context
    held = sum(
        piece.expert_parameters * parallel.tensor * holders
        for stage in range(parallel.pipeline)
        for piece in pieces.of_stage(parallel.pipeline, 1, stage)
    )
    sharing = holders // parallel.expert
    assert held == 4 * 8 * 3 * 64 * 256 * sharing
    found = sum(each.optimizer for each in stage_memories(setup, pieces)) * parallel.tensor * holders
    parameters = sum(piece.parameters for piece in (pieces.embedding, *pieces.layers, pieces.head))
    rest = (parameters - sum(piece.expert_parameters for piece in pieces.layers)) * parallel.tensor
    copies = 1 if zero else sharing
    dense = rest * (1 if zero else holders)
    assert found == pytest.approx(12 * (dense + copies * 4 * 8 * 3 * 64 * 256), rel=1e-9)
