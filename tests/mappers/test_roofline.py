"""Roofline times against arithmetic by hand."""

from __future__ import annotations

import pytest

from hw.spec.load import load_system
from mappers.assign import assign_roles, on_engine
from mappers.roofline import roofline_op, roofline_workload
from tests.strategies import chain_system
from workloads.errors import InputError
from workloads.formats import FormatChoice
from workloads.models.catalogue import model
from workloads.models.layer_builder import LayerBuilder, activation
from workloads.models.lower import lower
from workloads.phases import Decode
from workloads.workload import Op


def gemm(m: int, n0: int, n1: int, weights: str = "bf16") -> Op:
    layer = LayerBuilder("test", FormatChoice(weights=weights))
    matrix = layer.store("w", "feed_forward", n0 * n1)
    layer.op(
        "product",
        "gemm",
        "gemm",
        {"m": m, "n0": n0, "n1": n1},
        {"A": activation("a"), "W": matrix},
        {"Z": activation("z")},
    )
    return layer.build().ops[0]


SYSTEM = chain_system((1e12, 1e12), (1e10, 1e9), (1e9,), peak=1e12, overhead_s=1e-6)


def test_a_wide_product_is_bound_by_the_matrix_engine() -> None:
    mapped = roofline_op(gemm(4096, 4096, 4096), SYSTEM)
    assert mapped.time_s == pytest.approx(2 * 4096**3 / 1e12 + 1e-6)
    assert mapped.bound == "tensor"


def test_a_narrow_product_is_bound_by_the_bytes() -> None:
    mapped = roofline_op(gemm(1, 4096, 4096), SYSTEM)
    assert mapped.time_s == pytest.approx(2 * (4096 + 4096**2 + 4096) / 1e10 + 1e-6)
    assert mapped.bound == "t0"


def test_a_tiny_product_is_bound_by_the_overhead() -> None:
    assert roofline_op(gemm(1, 8, 8), SYSTEM).bound == "overhead"


def test_four_bit_weights_are_read_with_their_scales() -> None:
    mapped = roofline_op(gemm(1, 4096, 4096, "int4_g128"), SYSTEM)
    assert mapped.read_bytes == 2 * 4096 + 4096**2 * (4 + 20 / 128) / 8


def test_element_wise_work_goes_to_the_general_engine() -> None:
    workload = lower(model("Llama-3.1-8B"), Decode(1, 64))
    mapped = roofline_workload(workload, SYSTEM)
    assert {share.engine for share in mapped.layers["layer"].ops["ffn_activated"].shares} == {"vector"}
    assert {share.engine for share in mapped.layers["layer"].ops["attention"].shares} == {"tensor", "vector"}
    assert mapped.home == "t0"


def test_memory_side_units_read_at_their_own_bandwidth() -> None:
    system = load_system("hbm-pim")
    inside = [name for name, engine in system.engines.items() if engine.home_bandwidth_bytes_per_s]
    op = gemm(1, 4096, 4096)
    mapped = roofline_op(op, system, on_engine(inside[0]))
    bandwidth = system.engines[inside[0]].home_bandwidth_bytes_per_s
    assert bandwidth is not None
    assert mapped.port_s == pytest.approx((op.bytes("read") + op.bytes("write")) / bandwidth)
    assert bandwidth > system.tiers[mapped.home].read_bandwidth_bytes_per_s


def test_an_engine_without_a_general_one_beside_it_is_refused() -> None:
    lonely = SYSTEM.model_copy(update={"engines": {"tensor": SYSTEM.engines["tensor"]}})
    with pytest.raises(InputError, match="no engine at 't0' can run what is not a contraction") as caught:
        roofline_op(gemm(1, 8, 8), lonely)
    assert caught.value.field == "engines.tensor.home"


def test_an_unknown_engine_suggests_the_nearest() -> None:
    message = "unknown engine 'tensr'; expected one of tensor, vector; did you mean 'tensor'"
    with pytest.raises(InputError, match=message):
        roofline_op(gemm(1, 8, 8), SYSTEM, assign_roles({"gemm": "tensr"}))
