"""Costs of serving steps: equal to the road where the road goes, near it between nodes, and as they should grow."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.spec.load import load_system
from mappers.planner.placement import Place
from simulator.policy import Policy
from simulator.road import simulate
from simulator.serving.cost import ResidentStepCost, step_cost
from simulator.serving.cost_ops import OpCosts
from simulator.serving.host import NO_HOST, Host
from simulator.serving.parallel import Parallel
from simulator.serving.step import StepBatch, StepCost
from workloads.errors import InfeasibleError, InputError
from workloads.formats import FormatChoice
from workloads.models.catalogue import model
from workloads.phases import Decode, Phase, Prefill
from workloads.transforms.shared_prompt import relay

H100 = load_system("h100-sxm")

KERNELS = ResidentStepCost(OpCosts(model("Llama-3.1-8B"), H100, FormatChoice(), Parallel(), "kernel"), NO_HOST)
"""Dense, grouped queries, with kernels and no host."""

LLAMA = step_cost(model("Llama-3.1-8B"), H100, host=Host("synthetic", 1e-3, 1e-5))
"""The same at the roofline, with a host."""


def batch_of(phase: Phase) -> StepBatch:
    if isinstance(phase, Decode):
        return StepBatch(decodes=phase.batch, decode_context=phase.batch * phase.context)
    return StepBatch(chunks=((phase.query_tokens, phase.past),) * phase.batch, ends=phase.batch)


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        ("Llama-3.1-8B", 1),
        ("Llama-2-7B", 1),
        ("Llama-3.1-70B", 4),
        ("Mixtral-8x7B", 2),
        ("Falcon-7B", 1),
        ("DeepSeek-V2-Lite", 1),
        ("gpt-oss-120b", 2),
    ],
)
@pytest.mark.parametrize(
    "phase", [Decode(16, 2048), Decode(3, 777), Prefill(1, 1000), Prefill(4, 512), Prefill(1, 3000, 2500)], ids=str
)
def test_a_step_of_one_kind_is_what_the_road_says(name: str, tensor: int, phase: Phase) -> None:
    """The same operations and rules; the road's result is exact, between nodes the line is within 0.01 %."""
    found = model(name)
    road = simulate(found, phase, H100.model_copy(update={"devices": tensor}))
    step = step_cost(found, H100, parallel=Parallel(tensor=tensor)).step(batch_of(phase))
    assert step.seconds == pytest.approx(road.latency_s, rel=1e-4)
    assert step.energy_j == pytest.approx(sum(road.energy_j.values()), rel=1e-4)


@pytest.mark.parametrize(("name", "tensor"), [("Llama-3.1-8B", 1), ("Llama-3.1-70B", 4), ("Mixtral-8x7B", 2)])
@pytest.mark.parametrize("phase", [Decode(16, 2048), Prefill(4, 512), Prefill(1, 3000, 2500)], ids=str)
def test_so_it_is_with_kernels(name: str, tensor: int, phase: Phase) -> None:
    """Between nodes within 0.3 %: kernels take tiles of tokens at a time."""
    found = model(name)
    road = simulate(found, phase, H100.model_copy(update={"devices": tensor}), fidelity="kernel")
    cost = step_cost(found, H100, parallel=Parallel(tensor=tensor), fidelity="kernel", host=NO_HOST)
    assert cost.step(batch_of(phase)).seconds == pytest.approx(road.latency_s, rel=3e-3)


COMPONENTS = [
    ("Llama-2-7B", StepBatch(chunks=((2048, 0),), ends=1), 143.5),
    ("Llama-3.1-8B", StepBatch(decodes=1, decode_context=2048), 10.55),
    ("Llama-3.1-8B", StepBatch(decodes=16, decode_context=16 * 2048), 13.78),
    ("Llama-3.1-8B", StepBatch(decodes=64, decode_context=64 * 2048), 22.73),
]
"""Milliseconds of layers whose kernels were timed one by one on an A100 at 16 bit: matrix products and row operations
of Vidur (7d47513), attention of vLLM (aiconfigurator-core 0.12.0), summed; Llama-3-8B has the layers of 3.1."""


@pytest.mark.parametrize(("name", "batch", "measured_ms"), COMPONENTS)
def test_layers_on_an_a100_take_what_their_kernels_were_measured_to(
    name: str, batch: StepBatch, measured_ms: float
) -> None:
    """Within 10 %, without embedding, head and host, with kernels of the time of the products' measurements."""
    system = load_system("a100-80gb-sxm")
    cost = step_cost(model(name), system, fidelity="kernel", software="torch-2024", host=NO_HOST)
    assert isinstance(cost, ResidentStepCost)
    embedding, _ = cost.ops.token_costs(batch.tokens)
    step = cost.step(batch)
    found_ms = 1e3 * (step.seconds - step.parts_s["head"] - embedding.kernel_s)
    assert found_ms == pytest.approx(measured_ms, rel=0.1)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 120), st.integers(1, 9000), st.integers(1, 60), st.integers(1, 2000))
def test_with_kernels_time_grows_with_batch_and_context(decodes: int, context: int, more: int, longer: int) -> None:
    def seconds(sequences: int, length: int) -> float:
        return KERNELS.step(StepBatch(decodes=sequences, decode_context=sequences * length)).seconds

    here = seconds(decodes, context)
    assert seconds(decodes, context + longer) >= here
    assert seconds(decodes + more, context) >= here
    # A batch that fills few of the tiles it pays for loses less than twice as large a one gains.
    assert 2 / seconds(2 * decodes, context) >= 1 / here


@settings(deadline=None, max_examples=10)
@given(decodes=st.integers(1, 60), context=st.integers(1, 9000), steps=st.integers(1, 200))
def test_a_run_of_decodes_is_near_the_sum_of_steps_without_nodes(decodes: int, context: int, steps: int) -> None:
    """Within 0.5 % of every step's attention mapped by itself; some steps of the run stand for all."""
    run = KERNELS.decode_run(StepBatch(decodes=decodes, decode_context=decodes * context), steps)
    sampled = range(0, steps, max(1, steps // 10))
    exact = [
        KERNELS.ops.attention_cost(0, decodes, 1, context + done).seconds * len(KERNELS.ops.model.order)
        for done in sampled
    ]
    each = [KERNELS.decode_run(StepBatch(decodes=decodes, decode_context=decodes * (context + n)), 1) for n in sampled]
    difference = sum(exact) - sum(step.parts_s["attention"] for step in each)
    assert abs(difference) <= 5e-3 * sum(step.seconds for step in each)
    assert run.seconds >= each[0].seconds * steps * (1 - 1e-9)


@settings(deadline=None, max_examples=40)
@given(
    chunks=st.lists(st.tuples(st.integers(1, 5000), st.integers(0, 5000)), max_size=3),
    decodes=st.integers(0, 80),
    context=st.integers(1, 9000),
)
def test_parts_add_up_and_repeat(chunks: list[tuple[int, int]], decodes: int, context: int) -> None:
    batch = StepBatch(tuple(chunks), len(chunks), decodes, decodes * context)
    step = LLAMA.step(batch)
    assert sum(step.parts_s.values()) == pytest.approx(step.seconds, rel=1e-12, abs=1e-15)
    assert LLAMA.step(batch) == step
    assert (step.seconds > 0) == (batch.tokens > 0)


@settings(deadline=None, max_examples=25)
@given(decodes=st.integers(1, 60), context=st.integers(1, 9000), steps=st.integers(1, 700))
def test_a_run_of_decodes_is_the_sum_of_its_steps(decodes: int, context: int, steps: int) -> None:
    run = LLAMA.decode_run(StepBatch(decodes=decodes, decode_context=decodes * context), steps)
    each = [LLAMA.step(StepBatch(decodes=decodes, decode_context=decodes * (context + done))) for done in range(steps)]
    assert run.seconds == pytest.approx(sum(step.seconds for step in each), rel=1e-9)
    assert run.energy_j == pytest.approx(sum(step.energy_j for step in each), rel=1e-9)
    assert run.parts_s["host"] == pytest.approx(sum(step.parts_s["host"] for step in each), rel=1e-9)


@settings(deadline=None, max_examples=40)
@given(
    decodes=st.integers(1, 200), context=st.integers(1, 20_000), more=st.integers(1, 200), longer=st.integers(1, 999)
)
def test_time_grows_with_batch_and_context_and_throughput_with_batch(
    decodes: int, context: int, more: int, longer: int
) -> None:
    def seconds(sequences: int, length: int) -> float:
        return LLAMA.step(StepBatch(decodes=sequences, decode_context=sequences * length)).seconds

    here = seconds(decodes, context)
    assert seconds(decodes, context + longer) >= here
    larger = seconds(decodes + more, context)
    assert larger >= here
    assert (decodes + more) / larger >= decodes / here


def test_chunks_together_cost_no_more_than_one_after_the_other_and_pieces_no_less_than_the_whole() -> None:
    def seconds(*chunks: tuple[int, int]) -> float:
        return LLAMA.step(StepBatch(chunks=chunks, ends=len(chunks))).seconds

    assert seconds((512, 0), (700, 30)) <= seconds((512, 0)) + seconds((700, 30))
    whole = seconds((2048, 0))
    assert sum(seconds((512, past)) for past in range(0, 2048, 512)) >= whole


# Pipelines


def stage_fabric(cost: StepCost, decodes: int) -> float:
    return cost.step(StepBatch(decodes=decodes, decode_context=decodes * 1000)).seconds


def test_a_pipeline_gives_throughput_by_its_slowest_stage_and_latency_by_the_sum() -> None:
    """80 layers in 4 stages of 20: one sequence passes all; 64 run as 4 times 16, each stage always busy."""
    found = model("Llama-3.1-70B")
    four = step_cost(found, H100, parallel=Parallel(tensor=4, pipeline=4))
    one = step_cost(found, H100, parallel=Parallel(tensor=4))
    sends = 3 * (8192 * 2 / 450e9 + H100.fabric.latency_s) if H100.fabric else 0.0
    assert stage_fabric(four, 1) == pytest.approx(stage_fabric(one, 1) + sends, rel=1e-9)
    # The last stage has the head and is the slowest: a quarter of the layers at 16 sequences, four times.
    sixteen = one.step(StepBatch(decodes=16, decode_context=16_000))
    head = sixteen.parts_s["head"]
    layers = sum(sixteen.parts_s[name] for name in ("linear", "attention", "collectives")) / 4
    embedding = 3e-5
    assert stage_fabric(four, 64) == pytest.approx(4 * (layers + head), abs=4 * embedding)


def test_more_stages_than_layers() -> None:
    with pytest.raises(InputError) as caught:
        step_cost(model("Llama-3.1-8B"), H100, parallel=Parallel(pipeline=33))
    assert caught.value.field == "pipeline"


def test_stages_hold_a_part_of_the_weights() -> None:
    """141 GB of weights: no 80 GB device holds them, four stages of one device do."""
    found = model("Llama-3.1-70B")
    with pytest.raises(InfeasibleError):
        step_cost(found, H100)
    step_cost(found, H100, parallel=Parallel(pipeline=4))


# Experts


def test_divided_experts_exchange_tokens_where_groups_have_their_own() -> None:
    """Eight ways over two devices of attention: four groups; tokens travel to their experts and back."""
    found = model("Mixtral-8x7B")
    cut = step_cost(found, H100, parallel=Parallel(tensor=2))
    divided = step_cost(found, H100, parallel=Parallel(tensor=2, expert=8))
    batch = StepBatch(decodes=64, decode_context=64_000)
    assert divided.step(batch).parts_s["linear"] < cut.step(batch).parts_s["linear"]
    # Of 45.1 G weights in experts an eighth instead of a half lies on each device.
    difference = cut.weight_bytes - divided.weight_bytes  # type: ignore[attr-defined]
    assert difference == pytest.approx(2 * 32 * 8 * 3 * 4096 * 14336 * (1 / 2 - 1 / 8))


def test_uneven_routing_costs_time() -> None:
    found, batch = model("Mixtral-8x7B"), StepBatch(chunks=((4096, 0),), ends=1)
    even = step_cost(found, H100, parallel=Parallel(tensor=4, expert=4)).step(batch)
    uneven = step_cost(found, H100, parallel=Parallel(tensor=4, expert=4, imbalance=1.5)).step(batch)
    assert uneven.seconds > even.seconds


@pytest.mark.parametrize("field", ["tensor", "pipeline", "expert", "data", "imbalance"])
def test_a_degree_that_is_no_count(field: str) -> None:
    with pytest.raises(InputError) as caught:
        Parallel(**{field: 0})
    assert caught.value.field == field


def test_experts_of_a_model_without() -> None:
    with pytest.raises(InputError) as caught:
        step_cost(model("Llama-3.1-8B"), H100, parallel=Parallel(expert=4))
    assert caught.value.field == "expert"


# Every parameter changes something; peers had ones that did not.


@pytest.mark.parametrize(
    "other",
    [
        step_cost(model("Mixtral-8x7B"), H100, parallel=Parallel(tensor=4)),
        step_cost(model("Mixtral-8x7B"), H100, parallel=Parallel(tensor=2, pipeline=2)),
        step_cost(model("Mixtral-8x7B"), H100, parallel=Parallel(tensor=2, expert=2)),
        step_cost(model("Mixtral-8x7B"), H100, parallel=Parallel(tensor=2, expert=4)),
        step_cost(model("Mixtral-8x7B"), H100, parallel=Parallel(tensor=2, expert=4, imbalance=1.2)),
        step_cost(model("Mixtral-8x7B"), H100, parallel=Parallel(tensor=2), formats=FormatChoice("fp8_e4m3")),
        step_cost(
            model("Mixtral-8x7B"), H100, parallel=Parallel(tensor=2), formats=FormatChoice(kv_cache="fp8_e4m3")
        ),
        step_cost(model("Mixtral-8x7B"), H100, parallel=Parallel(tensor=2), host=Host("synthetic", 1e-3, 0.0)),
        step_cost(model("Mixtral-8x7B"), H100, parallel=Parallel(tensor=2), host=Host("synthetic", 0.0, 1e-5)),
        step_cost(model("Mixtral-8x7B"), H100, parallel=Parallel(tensor=2), host=Host("synthetic", 0.0, 0.0, 1e-4)),
        step_cost(model("Mixtral-8x7B"), load_system("a100-80gb-sxm"), parallel=Parallel(tensor=2)),
    ],
    ids=[
        "tensor", "pipeline", "expert", "groups", "imbalance", "weights", "cache", "step", "sequence", "launch", "gpu"
    ],
)  # fmt: skip
def test_every_parameter_matters(other: StepCost) -> None:
    batch = StepBatch(chunks=((300, 20),), ends=1, decodes=64, decode_context=64 * 3000)
    base = step_cost(model("Mixtral-8x7B"), H100, parallel=Parallel(tensor=2)).step(batch)
    assert other.step(batch).seconds != base.seconds


@pytest.mark.parametrize(
    "batch",
    [
        StepBatch(chunks=((301, 20),), ends=1, decodes=64, decode_context=64 * 3000),
        StepBatch(chunks=((300, 21),), ends=1, decodes=64, decode_context=64 * 3000),
        StepBatch(chunks=((300, 20),), ends=0, decodes=64, decode_context=64 * 3000),
        StepBatch(chunks=((300, 20),), ends=1, decodes=63, decode_context=63 * 3000),
        StepBatch(chunks=((300, 20),), ends=1, decodes=64, decode_context=64 * 3001),
        StepBatch((((300, 20)),), 1, 64, 64 * 3000, (("ddr", 300_000),)),
    ],
    ids=["new", "past", "ends", "decodes", "context", "away"],
)
def test_every_part_of_a_batch_matters(batch: StepBatch) -> None:
    base = StepBatch(chunks=((300, 20),), ends=1, decodes=64, decode_context=64 * 3000)
    assert LLAMA.step(batch).seconds != LLAMA.step(base).seconds


def test_context_of_another_tier_travels_beside_the_step() -> None:
    """200,000 tokens of 131,072 B over PCIe 5.0 x16 take longer than the step: it waits for the rest of them."""
    batch = StepBatch(decodes=64, decode_context=64 * 4000, context_away=(("ddr", 200_000),))
    step = LLAMA.step(batch)
    link = next(iter(H100.links.values()))
    travel = 200_000 * 131072 / min(link.bandwidth_bytes_per_s, H100.tiers["ddr"].read_bandwidth_bytes_per_s)
    device = step.seconds - step.parts_s["host"]
    assert device == pytest.approx(travel, rel=1e-3)


def test_a_larger_batch_costs_less_energy_a_token() -> None:
    def joules(decodes: int) -> float:
        return LLAMA.step(StepBatch(decodes=decodes, decode_context=decodes * 1000)).energy_j / decodes

    assert all(few > many for few, many in pairwise(joules(n) for n in (1, 4, 16, 64)))


# Under a policy


CARD = load_system("rtx-4090")


@pytest.mark.parametrize(
    "phase", [Decode(4, 512), Decode(1, 96), Prefill(1, 64), Prefill(3, 64, 32), Prefill(2, 1000)], ids=str
)
def test_under_a_policy_a_step_is_the_roads(phase: Phase) -> None:
    """70 G weights stream to a card of 24 GB."""
    found = model("Llama-3.1-70B")
    road = simulate(found, phase, CARD, formats=FormatChoice("int4_g128"), policy=Policy())
    cost = step_cost(found, CARD, formats=FormatChoice("int4_g128"), policy=Policy())
    step = cost.step(batch_of(phase))
    assert step.seconds == pytest.approx(road.latency_s, rel=1e-4)
    assert step.energy_j == pytest.approx(sum(road.energy_j.values()), rel=1e-4)


def test_under_a_policy_a_run_is_the_sum_of_its_steps_and_between_nodes_near_the_road() -> None:
    found, formats = model("Llama-3.1-8B"), FormatChoice()
    policy = Policy(place=Place(pinned={"kv_cache": "ddr"}))
    cost = step_cost(found, CARD, formats=formats, policy=policy)
    each = [cost.step(StepBatch(decodes=8, decode_context=8 * (1000 + done))).seconds for done in range(100)]
    run = cost.decode_run(StepBatch(decodes=8, decode_context=8 * 1000), 100)
    assert run.seconds == pytest.approx(sum(each), rel=1e-9)
    road = simulate(found, Decode(8, 1050), CARD, formats=formats, policy=policy)
    assert each[50] == pytest.approx(road.latency_s, rel=5e-3)


def test_a_policy_and_stages() -> None:
    with pytest.raises(InputError):
        step_cost(model("Llama-3.1-8B"), H100, parallel=Parallel(pipeline=2), policy=Policy())


@pytest.mark.parametrize("batch", [2, 32])
def test_a_shared_prompt_is_read_once_as_under_its_policy(batch: int) -> None:
    """The same three operations a layer as the relay policy makes; contexts lie on nodes."""
    found, shared, own = model("Llama-2-7B"), 2048, 128
    road = simulate(
        found,
        Decode(batch, shared + own),
        H100,
        policy=Policy(transform=lambda workload: relay(workload, shared)),
    )
    asked = StepBatch(decodes=batch, decode_context=batch * (shared + own), shared_context=shared)
    step = step_cost(found, H100).step(asked)
    assert step.seconds == pytest.approx(road.latency_s, rel=1e-3)
    apart = step_cost(found, H100).step(StepBatch(decodes=batch, decode_context=batch * (shared + own)))
    # Of 512 KiB a token, all but one of the sequences' shared parts stay unread; the parts' merge costs little beside.
    saved_s = (batch - 1) * shared * 524_288 / H100.tiers["hbm"].read_bandwidth_bytes_per_s
    assert apart.seconds - step.seconds == pytest.approx(saved_s, abs=32 * 2 * 10e-6 + 0.05 * saved_s)


def test_one_sequence_shares_with_nobody() -> None:
    alone = StepBatch(decodes=1, decode_context=3000)
    assert LLAMA.step(alone) == LLAMA.step(StepBatch(decodes=1, decode_context=3000, shared_context=2048))
