"""Invariants of the whole road, on random machines and models."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.spec.load import load_system, override
from hw.spec.system import System
from mappers.assign import assign_roles
from mappers.planner.placement import Place
from simulator.moves import Move
from simulator.policy import Policy
from simulator.road import simulate
from tests.strategies import chain_system, models, phases, systems
from workloads.errors import InfeasibleError, InputError
from workloads.models.architecture import Model
from workloads.models.catalogue import model
from workloads.models.lower import lower
from workloads.phases import Decode, Phase, Prefill

moves = st.sampled_from([Move(0), Move(1), Move(2)])
ROUNDING = 1 + 1e-9


def run(small: Model, phase: Phase, system: System, move: Move):  # type: ignore[no-untyped-def]
    try:
        return simulate(small, phase, system, policy=Policy(move=move))
    except InfeasibleError:
        return None


@settings(max_examples=120, deadline=None)
@given(models(), phases(), systems(), moves)
def test_no_result_beats_its_bounds_and_everything_is_accounted_for(
    small: Model, phase: Phase, system: System, move: Move
) -> None:
    result = run(small, phase, system, move)
    if result is None:
        return
    workload = lower(small, phase)
    # Bounds from the workload alone: weights and cache cannot come faster than the home tier streams, contractions
    # not faster than the matrix engine's peak.
    touched = sum(
        count * operand.bytes
        for layer, count in workload.layers()
        for op in layer.ops
        for operand in op.operands
        if operand.stored is not None
    )
    assert result.latency_s * ROUNDING >= touched / system.tiers["t0"].read_bandwidth_bytes_per_s
    assert result.latency_s * ROUNDING >= workload.total_work().contraction / 1e12
    assert result.latency_s * ROUNDING >= result.bounds.latency_s
    assert sum(result.time_by_bound_s.values()) == pytest.approx(result.latency_s, rel=1e-6)
    for tier, peak in result.peak_bytes.items():
        assert peak <= system.tiers[tier].capacity_bytes
    for share in result.utilisation.values():
        assert 0 <= share <= ROUNDING


@settings(max_examples=80, deadline=None)
@given(models(), phases(), systems(), moves)
def test_bytes_are_conserved_between_tiers_and_energy_is_the_sum_of_its_parts(
    small: Model, phase: Phase, system: System, move: Move
) -> None:
    result = run(small, phase, system, move)
    if result is None:
        return
    workload = lower(small, phase)
    reads = dict.fromkeys(system.tiers, 0.0)
    writes = dict(reads)
    over_link = dict.fromkeys(system.links, 0.0)
    for placed, count in result.plan.layers():
        for op in placed.layer.ops:
            reads["t0"] += count * op.bytes("read")
            writes["t0"] += count * op.bytes("write")
            # What earlier operations of the layer have made stays where it was made.
            for operand in (*placed.layer.from_storage(op), *(o for o in op.operands if o.access == "write")):
                if operand.stored is None:
                    continue
                tier = dict(placed.tiers)[operand.stored]
                hops = int(tier[1:])
                inward = operand.access == "read"
                for hop in range(hops):
                    over_link[f"l{hop}"] += count * operand.bytes
                    source, target = (f"t{hop + 1}", f"t{hop}") if inward else (f"t{hop}", f"t{hop + 1}")
                    reads[source] += count * operand.bytes
                    writes[target] += count * operand.bytes
    for tier in system.tiers:
        assert result.moved_bytes.get(tier, 0.0) == pytest.approx(reads[tier] + writes[tier], rel=1e-9)
    for name, amount in over_link.items():
        both = sum(size for link, size in result.moved_bytes.items() if link.startswith(f"{name}:"))
        assert both == pytest.approx(amount, rel=1e-9)
    work = workload.total_work()
    expected = work.contraction * 1e-12 + work.other * 3e-12
    expected += sum(8e-12 * (reads[tier] + 2 * writes[tier]) for tier in system.tiers)
    expected += sum(8 * 5e-12 * amount for amount in over_link.values())
    expected += system.static_power_w * result.latency_s
    assert result.total_energy_j == pytest.approx(expected, rel=1e-9)
    assert result.total_energy_j == sum(result.energy_j.values())


@settings(max_examples=80, deadline=None)
@given(models(), phases(), systems(), moves, st.data())
def test_more_bandwidth_or_throughput_is_never_slower(
    small: Model, phase: Phase, system: System, move: Move, data: st.DataObject
) -> None:
    before = run(small, phase, system, move)
    if before is None:
        return
    fields = [f"tiers.{name}.bandwidth" for name in system.tiers] + [f"links.{name}.bandwidth" for name in system.links]
    chosen = data.draw(st.sampled_from([*fields, "engines"]))
    factor = data.draw(st.sampled_from([1.1, 2.0, 10.0]))
    faster = _scaled(system, chosen, factor)
    after = simulate(small, phase, faster, policy=Policy(move=move))
    assert after.latency_s <= before.latency_s * ROUNDING


def _scaled(system: System, chosen: str, factor: float) -> System:
    if chosen == "engines":
        engines = {
            name: engine.model_copy(
                update={"throughput_ops_per_s": {f: factor * rate for f, rate in engine.throughput_ops_per_s.items()}}
            )
            for name, engine in system.engines.items()
        }
        return system.model_copy(update={"engines": engines})
    group, name, _ = chosen.split(".")
    parts = dict(getattr(system, group))
    fields = [field for field in type(parts[name]).model_fields if field.endswith("bandwidth_bytes_per_s")]
    parts[name] = parts[name].model_copy(update={field: factor * getattr(parts[name], field) for field in fields})
    return system.model_copy(update={group: parts})


@settings(max_examples=30, deadline=None)
@given(models(), phases(), systems())
def test_equal_inputs_give_equal_bytes(small: Model, phase: Phase, system: System) -> None:
    first, second = run(small, phase, system, Move(1)), run(small, phase, system, Move(1))
    if first is not None and second is not None:
        assert json.dumps(first.to_json()) == json.dumps(second.to_json())


@pytest.mark.parametrize("name", ["Llama-2-7B", "Llama-3.1-8B", "Mixtral-8x7B"])
@pytest.mark.parametrize("batch", [1, 16, 64])
def test_decode_of_real_models_keeps_to_bytes_and_flops_of_the_data_sheet(name: str, batch: int) -> None:
    # 4 devices hold Mixtral; H100 SXM data sheet: 3.35 TB/s, 989.4 TFLOP/s dense bf16.
    system = override(load_system("h100-sxm"), ["devices=4"])
    result = simulate(model(name), Decode(batch, 2048), system)
    workload = lower(model(name), Decode(batch, 2048), devices=4)
    read = sum(count * op.bytes("read") for layer, count in workload.layers() for op in layer.ops)
    assert result.latency_s > read / 3.35e12
    assert result.latency_s > workload.total_work().contraction / 989.4e12


def test_a_streamed_model_is_as_slow_as_its_slowest_hop_and_says_so() -> None:
    # 69 G parameters in bf16 on 24 GB + 64 GB of DDR5 + NVMe: what the drive holds bounds the step.
    system = override(load_system("rtx-4090"), ["tiers.ddr.capacity=64 GB"])
    result = simulate(model("Llama-2-70B"), Decode(1, 1024), system)
    assert result.placement_bytes["feed_forward"]["nvme"] > 0
    from_drive = sum(tiers.get("nvme", 0.0) for tiers in result.placement_bytes.values())
    gathered = result.placement_bytes["embedding"].get("nvme", 0.0)
    least = (from_drive - gathered) / system.tiers["nvme"].read_bandwidth_bytes_per_s
    assert least < result.latency_s < 1.4 * least
    assert result.bottleneck in ("nvme", "drive-pcie:nvme>ddr")


def test_streaming_ahead_hides_transfers_behind_compute() -> None:
    # The link brings s bytes at 1 GB/s, the home port writes and reads them and reads r resident bytes at 2 GB/s. On
    # demand the link's time and the reads add up; ahead they overlap, and only what the port cannot do meanwhile stays.
    system = chain_system((1e9, 1e12), (2e9, 1e12), (1e9,))
    ahead, demand = (
        simulate(model("OPT-1.3B"), Decode(1, 16), system, policy=Policy(move=move)) for move in (Move(1), Move(0))
    )
    total = 2.63
    early, late = (result.moved_bytes["l0:t1>t0"] / 1e9 for result in (ahead, demand))
    assert ahead.latency_s == pytest.approx(early + (total - early) / 2, rel=0.05)
    assert demand.latency_s == pytest.approx(late + total / 2, rel=0.05)


def test_pinning_a_role_moves_its_bytes() -> None:
    system = load_system("rtx-4090")
    policy = Policy(place=Place(pinned={"kv_cache": "ddr"}))
    result = simulate(model("Llama-3.1-8B"), Decode(1, 2048), system, policy=policy)
    # 2 x 8 KV heads x 128 x 2 B x 32 layers = 131,072 B per token.
    assert result.placement_bytes["kv_cache"] == {"ddr": 2048 * 131072}
    # The step has itself made what the newest token leaves: that need not come back.
    assert result.moved_bytes["host-pcie:ddr>gddr"] == pytest.approx(2047 * 131072)
    assert result.moved_bytes["host-pcie:gddr>ddr"] == 131072


def test_what_does_not_fit_says_which_tier_and_by_how_much() -> None:
    system = override(load_system("h100-sxm"), ["tiers.ddr.capacity=1 GB", "tiers.nvme.capacity=1 GB"])
    with pytest.raises(InfeasibleError) as caught:
        simulate(model("Llama-3.1-405B"), Decode(1, 2048), system)
    assert caught.value.unit == "bytes"
    assert caught.value.available == pytest.approx(82e9)
    assert caught.value.excess > 700e9
    assert str(caught.value).startswith("tiers hbm, ddr, nvme together cannot hold Llama-3.1-405B: needs ")


def test_an_encoder_has_no_decode_phase() -> None:
    with pytest.raises(InputError, match="BERT-base is an encoder and has no decode phase; expected prefill"):
        simulate(model("BERT-base"), Decode(1, 128), load_system("h100-sxm"))


def test_heads_that_cannot_be_split_are_refused() -> None:
    system = override(load_system("h100-sxm"), ["devices=3"])
    with pytest.raises(InputError, match="32 attention heads cannot be split over 3 devices") as caught:
        simulate(model("Llama-3.1-8B"), Prefill(1, 128), system)
    assert caught.value.field == "devices"


def test_prefill_reads_its_keys_and_values_where_it_made_them() -> None:
    policy = Policy(place=Place(pinned={"kv_cache": "ddr"}))
    result = simulate(model("Llama-3.1-8B"), Prefill(1, 2048), load_system("rtx-4090"), policy=policy)
    # Written to DDR once, never fetched back within the layer that made them.
    assert result.moved_bytes["host-pcie:gddr>ddr"] == 2048 * 131072
    assert result.moved_bytes["host-pcie:ddr>gddr"] == 0


def test_an_encoder_keeps_no_cache() -> None:
    result = simulate(model("BERT-large"), Prefill(128, 512), load_system("tpu-v4i"))
    assert "kv_cache" not in result.placement_bytes


def test_decoding_holds_the_encoder_too() -> None:
    system = load_system("h100-sxm")
    read, write = (simulate(model("T5-large"), phase(1, 64), system) for phase in (Prefill, Decode))
    for role in ("attention", "feed_forward", "norm"):
        assert sum(read.placement_bytes[role].values()) == sum(write.placement_bytes[role].values())  # type: ignore[index]


def test_the_home_tier_does_not_change_with_context_or_batch() -> None:
    policy = Policy(place=Place(pinned={"kv_cache": "flash"}), assign=assign_roles({"attention": "csd"}))
    system = load_system("csd-instinfer")
    for batch, context in ((1, 128), (8, 3072), (8, 4096), (16, 4096)):
        result = simulate(model("Llama-2-7B"), Decode(batch, context), system, policy=policy)
        assert result.plan.home == "gddr"
        # The cache is read inside the drive, so nothing is streamed to the GPU.
        assert result.plan.buffer_bytes == 0


def test_an_activation_read_by_several_operands_travels_once() -> None:
    policy = Policy(assign=assign_roles({"elementwise": "csd"}))
    result = simulate(model("Llama-3.1-8B"), Decode(1, 64), load_system("csd-instinfer"), policy=policy)
    assert result.latency_s > 0


def test_experts_wait_for_their_router() -> None:
    policy = Policy(place=Place(pinned={"experts": "ddr"}))
    result = simulate(model("Mixtral-8x7B"), Decode(1, 512), load_system("rtx-4090"), policy=policy)
    routed = {(r.segment, r.repetition): r.finish_s for r in result.execution.all_runs() if r.name == "route"}
    fetches = [run for run in result.execution.all_runs() if run.name.startswith("fetch experts")]
    assert fetches
    for run in fetches:
        assert run.start_s >= routed[run.segment, run.repetition]


def test_a_pattern_of_two_layers_streams_ahead_as_well_as_one_of_one() -> None:
    # Without its windows (longer than the prompt) Gemma-2's two kinds of layers are equal.
    gemma = model("Gemma-2-9B")
    flat = replace(gemma, blocks=gemma.blocks[:1], order=(0,) * len(gemma.order))
    policy = Policy(place=Place(pinned={"feed_forward": "ddr", "attention": "ddr"}))
    paired, single = (
        simulate(shape, Prefill(1, 3000), load_system("rtx-4090"), policy=policy).latency_s for shape in (gemma, flat)
    )
    assert paired == pytest.approx(single, rel=0.01)


def test_key_value_heads_are_split_or_copied_evenly() -> None:
    system = override(load_system("h100-sxm"), ["devices=4"])
    with pytest.raises(InputError, match="10 key-value heads cannot be split over 4 devices"):
        simulate(model("Phi-3-medium"), Decode(1, 128), system)
