"""Arrays of logic cells as a system uses them: small products by hand, capacity, wear, and bounds on every cut."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.cost.bit_serial import MEMRISTOR_NOR, SOT_MEASURED
from simulator.memory.arrays.programs import dot_counts, sum_counts
from simulator.memory.arrays.service import LogicService, array_service
from simulator.memory.inside import Product
from workloads.errors import InputError


def logic(name: str, chips: int = 1, **given: float | str) -> LogicService:
    service = array_service(name, chips, **given)  # type: ignore[arg-type]
    assert isinstance(service, LogicService)
    return service


def test_one_product_in_one_lane_costs_its_gate_list() -> None:
    # A lane, one term: no sums over blocks. NOR: steps of 1.1 ns, 0.29 fJ a write and 23.8 fJ a preset.
    counts = dot_counts("nor", "bf16", 1)
    served = logic("floatpim").serve(Product(1, 1, 1, 1, 16, grows=False))
    assert served.seconds == pytest.approx(counts.steps * 1.1e-9)
    assert served.energy_j == pytest.approx(counts.writes * 0.29e-15 + counts.presets * 23.8e-15)


def test_an_output_cut_in_two_moves_and_adds_once() -> None:
    service = logic("sot-mram")
    room = service.weights_per_lane(service.program(16))
    product = Product(3, 2 * room, 1, 1, 16, grows=False)
    plan = service._cut(product, service.program(16), room)
    assert (plan.pieces, plan.lanes, plan.waves) == (2, 6, 1)
    added = sum_counts("sot", "bf16").steps + 16  # a column a step for the sum's way to the next block
    assert plan.tree_s == pytest.approx(added * SOT_MEASURED.step_s)
    dot, addition = dot_counts("sot", "bf16", room), sum_counts("sot", "bf16")
    energies = [c.reads * SOT_MEASURED.read_j + (c.writes + c.presets) * SOT_MEASURED.write_j for c in (dot, addition)]
    hop_j = 16 * (SOT_MEASURED.read_j + SOT_MEASURED.write_j)
    assert plan.dot_j == pytest.approx(3 * 2 * energies[0])
    assert plan.tree_j == pytest.approx(3 * (energies[1] + hop_j))


@settings(max_examples=20, deadline=None)
@given(
    name=st.sampled_from(("floatpim", "sot-mram", "dram-bitwise")),
    rows=st.integers(1, 5000),
    columns=st.integers(1, 5000),
    bits=st.sampled_from((4, 8, 16)),
)
def test_no_product_is_faster_or_cheaper_than_its_multiplications(
    name: str, rows: int, columns: int, bits: int
) -> None:
    service = logic(name)
    gates, program = service.device.gates, service.program(bits)
    # The first term of whole numbers also clears the sum; a further one of floats also adds.
    first, second = (service._cost(dot_counts(gates, program.name, terms)) for terms in (1, 2))
    term_s = min(first.latency_s, second.latency_s - first.latency_s)
    term_j = min(first.energy_j, second.energy_j - first.energy_j)
    served = service.serve(Product(rows, columns, 2, 1, bits, grows=False))
    least = max(1.0, rows * columns / service.lanes)
    assert served.seconds >= 2 * least * term_s * (1 - 1e-9)
    assert served.energy_j >= 2 * rows * columns * term_j * (1 - 1e-9)
    assert service.plan(Product(rows, columns, 2, 1, bits, grows=False)).terms <= service.weights_per_lane(program)


def test_formats() -> None:
    service = logic("floatpim")
    assert [service.program(bits).name for bits in (32, 16, 8, 4)] == ["fp32", "bf16", "int8", "int4"]
    assert logic("floatpim", float16="fp16").program(16).name == "fp16"
    with pytest.raises(InputError, match=r"elements of 6\.5 bits; expected 32, 16, or 2 to 8 whole bits"):
        service.program(6.5)
    # Narrow numbers are faster and cheaper.
    served = [service.serve(Product(1024, 1024, 1, 1, bits, grows=False)) for bits in (4, 8, 16, 32)]
    assert [s.seconds for s in served] == sorted(s.seconds for s in served)
    assert [s.energy_j for s in served] == sorted(s.energy_j for s in served)


def test_capacity_leaves_room_to_work_in() -> None:
    service = logic("floatpim")
    work = dot_counts("nor", "bf16", 2).cells
    assert service.capacity_bytes(16) == 8192 * 1024 * ((1024 - work) // 16) * 2
    with pytest.raises(InputError, match=r"chips: 1\.174 GB in 1 x floatpim; expected at most 0\.856 GB of bf16"):
        service.serve(Product(40960, 14336, 1, 1, 16, grows=False))
    with pytest.raises(InputError, match=r"16\.000 GB in 2 x floatpim"):
        logic("floatpim", 2, resident_bytes=16e9)


def test_cells_wear_out() -> None:
    # One term in one lane: every second gate list, writes and presets spread over the lane's 1024 cells, 1e9 each.
    product = Product(1, 1, 1, 1, 16, grows=False)
    counts = dot_counts("nor", "bf16", 1)
    expected = 1e9 * 1024 / (counts.writes + counts.presets) * counts.steps * 1.1e-9
    assert logic("floatpim").lifetime_s(product) == pytest.approx(expected)
    assert logic("floatpim").lifetime_s(product, rotated=False) < expected / 2
    assert logic("dram-bitwise").lifetime_s(product) == math.inf
    assert f"cells of 1e+09 writes last {expected / 3600:,.2g} h of it" in logic("floatpim").serve(product).why
    assert "writes last" not in logic("dram-bitwise").serve(product).why


def test_writing_weights_and_growing_caches() -> None:
    # A million bits: 24.09 fJ each; 32 tiles x 1024 bits a step.
    cost = logic("floatpim").write_cost(1e6 / 8)
    assert cost.energy_j == pytest.approx(1e6 * (MEMRISTOR_NOR.write_j + MEMRISTOR_NOR.preset_j))
    assert cost.seconds == pytest.approx(31 * 1.1e-9)
    service = logic("sot-mram")
    still, grown = (service.serve(Product(512, 128, 4, 8, 16, grows, new_rows=float(grows))) for grows in (False, True))
    assert grown.energy_j - still.energy_j == pytest.approx(8 * 128 * 16 * 100e-15)


def test_what_it_says_of_itself() -> None:
    assert str(logic("sot-mram")) == (
        "1 x sot-mram, 8,388,608 lanes on SOT-MRAM, measured device (synthetic cell values), 16-bit numbers as bf16, "
        "weights stationary"
    )
