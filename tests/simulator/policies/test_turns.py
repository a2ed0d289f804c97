"""Two lanes that take turns at two engines: times by hand, and how near they come to the busier engine's work."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.spec.system import Engine, Link, System, Tier
from mappers.assign import assign_roles
from mappers.planner.placement import Place, plan_memory
from mappers.roofline import roofline_workload
from simulator.engine import Execution, execute
from simulator.schedule import schedule
from workloads.cascades import load_cascade
from workloads.phases import Decode
from workloads.transforms.lanes import cut_after, in_lanes
from workloads.workload import Layer, Op, Operand, Run, StoredTensor, Workload

FAST = 1e30  # a rate at which nothing takes time


def machine(latency_s: float = 0.0) -> System:
    """Two engines of one product a second, each with a memory of its own."""

    def memory() -> Tier:
        return Tier(kind="dram", capacity_bytes=1e9, read_bandwidth_bytes_per_s=FAST, write_bandwidth_bytes_per_s=FAST)

    def engine(home: str) -> Engine:
        return Engine(kind="cpu", home=home, throughput_ops_per_s={"bf16": 2.0, "fp32": 2.0})

    return System(
        name="pair",
        engines={"near": engine("here"), "far": engine("there")},
        tiers={"here": memory(), "there": memory()},
        links={"link": Link(between=("here", "there"), bandwidth_bytes_per_s=FAST, latency_s=latency_s)},
    )


def step(name: str, kind: str, seconds: int, after: tuple[str, ...], reads: str, writes: str, stored: str) -> Op:
    """A product of ``seconds`` rows with one column: so many multiply-adds, one a second."""
    operands = [Operand("A", "read", 1, "bf16", activation=reads), Operand("Z", "write", 1, "bf16", activation=writes)]
    if stored:
        operands.append(Operand("W", "read", 1, "bf16", stored=stored))
    sizes = (("m", seconds), ("n0", 1), ("n1", 1))
    return Op(name, kind, load_cascade("gemm"), sizes, tuple(operands), "bf16", after)


def decoder(before_s: int, attention_s: int, after_s: int, layers: int) -> Workload:
    layer = Layer(
        "layer",
        (
            step("before", "gemm", before_s, (), "x", "q", "weight"),
            step("attention", "attention", attention_s, ("before",), "q", "attended", "cache"),
            step("after", "gemm", after_s, ("attention",), "attended", "y", ""),
        ),
        (StoredTensor("weight", "attention", 1, "bf16"), StoredTensor("cache", "kv_cache", 1, "bf16")),
    )
    return Workload("decoder", Decode(1, 1), (Run((layer,), layers),))


def run(workload: Workload, system: System) -> Execution:
    mapped = roofline_workload(workload, system, assign_roles({"gemm": "near", "attention": "far"}))
    plan = plan_memory(mapped, system, Place().pin("kv_cache", "there"))
    return execute(schedule(mapped, plan, system, send_along=True).graph)


def turns(before_s: int, attention_s: int, after_s: int, layers: int, lanes: int = 2, latency_s: float = 0.0) -> float:
    workload = in_lanes(cut_after(decoder(before_s, attention_s, after_s, layers), "attention"), lanes)
    return run(workload, machine(latency_s)).latency_s


def test_two_layers_where_attention_takes_longer() -> None:
    """Lanes of 1, 4 and 2 s. Near: a 0-1, b 1-2, a 5-8, b 9-12, a 13-15, b 17-19; far: a 1-5, b 5-9, a 9-13, b 13-17.

    In one piece, a batch of 2, 8 and 4 s takes 14 s a layer.
    """
    assert turns(1, 4, 2, 2) == pytest.approx(19)
    assert run(decoder(2, 8, 4, 2), machine()).latency_s == pytest.approx(28)


def test_two_layers_where_the_rest_takes_longer() -> None:
    """Lanes of 2, 1 and 3 s: the near engine is never idle, 4 x 5 s; the far one waits."""
    assert turns(2, 1, 3, 2) == pytest.approx(20)


def test_without_the_cut_lanes_do_not_overlap_well() -> None:
    """Lane after lane within a layer, the near engine idles while each lane's attention runs: 4 x (2 + 1 + 3) s."""
    assert run(in_lanes(decoder(2, 1, 3, 2), 2), machine()).latency_s == pytest.approx(24)


def test_what_is_sent_takes_its_latency() -> None:
    """Half a second each way. Far: a 1.5-5.5, b 5.5-9.5, a 9.5-13.5, b 13.5-17.5; back at 18, and 2 s to the end."""
    assert turns(1, 4, 2, 2, latency_s=0.5) == pytest.approx(20)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5), st.integers(1, 9), st.integers(1, 5), st.integers(1, 6), st.sampled_from([1, 2, 3, 4]))
def test_turns_are_between_the_busier_engine_and_one_after_the_other(
    before_s: int, attention_s: int, after_s: int, layers: int, lanes: int
) -> None:
    found = turns(before_s, attention_s, after_s, layers, lanes)
    near, far = lanes * layers * (before_s + after_s), lanes * layers * attention_s
    assert max(near, far) * (1 - 1e-12) <= found <= (near + far) * (1 + 1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(1, 9), st.integers(1, 5))
def test_two_lanes_come_as_near_to_the_busier_engine_as_one_wants(
    before_s: int, attention_s: int, after_s: int
) -> None:
    """What the fuller engine waits for at the ends does not grow with the number of layers."""
    waits = []
    for layers in (8, 64):
        work = 2 * layers * max(before_s + after_s, attention_s)
        waits.append(turns(before_s, attention_s, after_s, layers) - work)
    assert waits[1] == pytest.approx(waits[0])
    assert 0 <= waits[0] <= 2 * (before_s + after_s) + 2 * attention_s


def streamed(lanes: int, layers: int, *, ahead: int) -> float:
    """A layer's 3 bytes of weights come over a link of 1 B/s; each lane then takes a second."""
    product = step("product", "gemm", 1, (), "x", "y", "weight")
    operands = tuple(Operand("W", "read", 3, "int8", stored="weight") if o.stored else o for o in product.operands)
    weight = StoredTensor("weight", "feed_forward", 3, "int8")
    layer = Layer("layer", (replace(product, operands=operands),), (weight,))
    workload = in_lanes(Workload("streamed", Decode(1, 1), (Run((layer,), layers),)), lanes)
    system = machine()
    link = system.links["link"].model_copy(update={"bandwidth_bytes_per_s": 1.0})
    system = system.model_copy(update={"links": {"link": link}})
    mapped = roofline_workload(workload, system, assign_roles({"gemm": "near"}))
    plan = plan_memory(mapped, system, Place().pin("feed_forward", "there"), ahead=ahead)
    return execute(schedule(mapped, plan, system).graph).latency_s


def test_weights_are_streamed_once_for_all_lanes() -> None:
    """Two layers, two lanes. Ahead: fetched 0-3 and 3-6, computed 3-5 and 6-8. On demand the first
    lane asks at its end: 0-3, computed 3-4 and 4-5, 4-7, computed 7-9.

    Five lanes take longer than a layer's weights: 3-8, then 8-13.
    """
    assert streamed(2, 2, ahead=1) == pytest.approx(8)
    assert streamed(2, 2, ahead=0) == pytest.approx(9)
    assert streamed(5, 2, ahead=1) == pytest.approx(13)
