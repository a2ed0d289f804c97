"""Attention in parts and experts in one: what is read, how much room it takes, and what it is worth."""

from __future__ import annotations

import pytest

from hw.spec.load import load_system
from mappers.planner.liveness import activation_peak_bytes
from mappers.planner.placement import Place
from simulator.collections.gathered import gathered_experts
from simulator.policy import Policy
from simulator.road import simulate
from workloads.errors import InputError
from workloads.models.catalogue import model
from workloads.models.lower import lower
from workloads.models.stored_formats import stored_formats
from workloads.phases import Decode
from workloads.workload import Layer, Workload

CHOSEN = model("Mixtral-8x7B")
FORMATS = stored_formats(CHOSEN)


def workloads(batch: int, count: int) -> tuple[Workload, Workload, Workload]:
    whole, part = (lower(CHOSEN, Decode(size, 512), FORMATS) for size in (batch, batch // count))
    return whole, part, gathered_experts(whole, part, count)


def block(workload: Workload) -> Layer:
    return next(layer for layer, _ in workload.layers() if any(op.kind == "grouped_gemm" for op in layer.ops))


def read(layer: Layer, stored: str) -> float:
    return sum(o.elements for op in layer.ops for o in op.operands if o.stored == stored and o.access == "read")


def test_experts_are_read_once_and_attention_once_for_each_part() -> None:
    whole, part, made = workloads(64, 4)
    assert read(block(made), "experts_weight") == read(block(whole), "experts_weight")
    assert read(block(made), "qkv_weight") == 4 * read(block(part), "qkv_weight")
    assert read(block(made), "kv_cache") == pytest.approx(read(block(whole), "kv_cache"))
    assert made.total_work().total == pytest.approx(whole.total_work().total)


def test_parts_take_less_room_and_wait_for_their_own() -> None:
    whole, _, made = workloads(64, 4)
    assert activation_peak_bytes(block(made)) <= activation_peak_bytes(block(whole))
    steps = {step.name: step for step in block(made).steps}
    after = steps["attention, part 2"].after
    assert after
    assert all(name.endswith(", part 2") for name in after)
    assert sum(name.startswith("attention, part") for name in steps) == 4
    waits = {name for step in block(made).steps if step.name in ("router", "experts_up") for name in step.after}
    assert {f"ffn_norm, part {number}" for number in range(4)} <= waits | {"route"}


def test_streamed_experts_serve_the_whole_batch() -> None:
    # Experts in the host's memory over a link that decides: four batches of 16 stream them four times, 64 in one once.
    _, part, made = workloads(64, 4)
    system = load_system("a40")
    place = Place().pin("experts", "ddr")

    def latency_s(workload: Workload, batch: int) -> float:
        policy = Policy(transform=lambda _: workload, place=place)
        return simulate(CHOSEN, Decode(batch, 512), system, policy=policy).latency_s

    assert 4 * latency_s(part, 16) / latency_s(made, 64) == pytest.approx(4.0, rel=0.1)


def test_one_part_is_the_whole_and_others_must_fit() -> None:
    whole = lower(CHOSEN, Decode(8, 512), FORMATS)
    assert gathered_experts(whole, whole, 1) == whole
    with pytest.raises(InputError, match="3 parts of batch 4 of a batch of 8"):
        gathered_experts(whole, lower(CHOSEN, Decode(4, 512), FORMATS), 3)
    dense = model("GPT-2")
    pair = [lower(dense, Decode(size, 64), stored_formats(dense)) for size in (8, 4)]
    with pytest.raises(InputError, match="GPT-2 has no experts"):
        gathered_experts(pair[0], pair[1], 2)
