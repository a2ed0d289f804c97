"""Host memory of offloaded training: by hand, part by part, and what each rule changes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.training.host.host_inventory import HostRules, HostStep, host_inventory, swap_pool
from workloads.errors import InputError
from workloads.models.architecture import Attention, Block, FeedForward, Model
from workloads.models.catalogue import model

# A layer: q and o of 64, k and v of 32, gate, up and down of 128, two norms of 8: 592. Embedding, norm and head: 1,608.
BLOCK = Block(Attention(2, 1, 4), FeedForward(16, gated=True, activation="silu"), "rms")
MODEL = Model("m", "m", 8, 100, (BLOCK,), (0,) * 3, tied_embeddings=False)
TOTAL = 3 * 592 + 1608
PLAIN, ALL = HostRules(), HostRules(classes=True, rounding="page", fused_check=True)
STEP = HostStep(1, 10, subgroup=1000, resident=100, small=10)


def test_by_hand() -> None:
    found = host_inventory(MODEL, STEP, PLAIN)
    # In flight: embedding and head of 800 parameters, 7 matrices of a block, in buffers of 1,600 bytes, read in 1,024s.
    # Subgroups: embedding, norm, q, k, v and o are 1,000; 392 to the layer's end, 592, norm and q 1,056; 520, norm and
    # head 1,328, the largest.
    assert found.parts == {
        "pool": 32 << 10,
        "parameters": 256,
        "gradients": 16 << 10,
        "states": 4 * 8192,
        "activations": 3 * 256,
        "check": 5 * TOTAL,
    }
    assert found.peak_bytes == found.pinned_bytes + 5 * TOTAL
    assert found.asked_bytes == 9 * 2048 + 200 + 4 * TOTAL + 4 * 4 * 1328 + 3 * 160


def test_the_pool_by_hand() -> None:
    assert swap_pool(MODEL, STEP, classes=False).requests == (9 * 2048,)
    # 800 parameters make 2 KiB each, all matrices of a block 1 KiB each.
    assert swap_pool(MODEL, STEP, classes=True).requests == (2 * 2048, 7 * 1024)
    # Without small tensors: keys and values of 32 elements stay on the device.
    assert swap_pool(MODEL, HostStep(1, 10, small=33), classes=False).requests == (7 * 2048,)


def test_micro_batches_use_the_same_memory() -> None:
    one, four = (host_inventory(MODEL, HostStep(2, 10, micro_batches=count), PLAIN) for count in (1, 4))
    assert one.parts == four.parts


def test_devices_divide_what_they_share() -> None:
    real = model("Llama-3.1-8B")
    one, two = (host_inventory(real, HostStep(1, 4096, devices=count), ALL) for count in (1, 2))
    assert two.parts["gradients"] == pytest.approx(one.parts["gradients"], rel=1e-6)
    assert two.parts["activations"] == 2 * one.parts["activations"]
    assert two.parts["states"] == pytest.approx(2 * one.parts["states"], rel=0.1)


def test_a_published_model() -> None:
    # Llama-3.1-8B: 8,030,261,248 parameters; 32 GiB for 29.9 of gradients, 5 bytes each to look for infinities; nine
    # buffers of 128,256 x 4,096 parameters; 32 layers of 4,096 x 4,096 activations.
    found = host_inventory(model("Llama-3.1-8B"), HostStep(1, 4096), PLAIN)
    assert found.parts["gradients"] == 32 << 30
    assert found.parts["check"] == 5 * 8_030_261_248
    assert found.pool.requests == (9 * 2 * 128_256 * 4096,)
    assert found.parts["pool"] == 16 << 30
    assert found.parts["activations"] == 1 << 30


rules = st.builds(HostRules, st.booleans(), st.sampled_from(["power-of-two", "page"]), st.booleans())


@given(
    rules,
    st.builds(HostStep, st.integers(1, 9), st.integers(1, 99), st.sampled_from([1, 2, 4]), st.integers(1, 3),
              st.integers(1, 5000)),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_no_change_needs_more(some: HostRules, step: HostStep) -> None:
    step = replace(step, small=10)
    found = host_inventory(MODEL, step, some)
    assert found.asked_bytes <= found.pinned_bytes
    # A page is more than a power of two for tensors this small, so what is asked for is compared.
    most = host_inventory(MODEL, step, HostRules(rounding=some.rounding))
    assert found.parts["check"] <= most.parts["check"]
    assert found.asked_bytes <= most.asked_bytes
    more = host_inventory(MODEL, replace(step, batch=step.batch + 1), some)
    assert more.peak_bytes >= found.peak_bytes


def test_messages() -> None:
    with pytest.raises(InputError, match="context: found 0; expected 1 or more"):
        HostStep(1, 0)
