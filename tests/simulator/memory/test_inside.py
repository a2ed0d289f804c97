"""Products computed inside a memory: what operations ask for, and what banks that compute answer."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.memory.inside import Product, products
from simulator.memory.pim_service import pim_service
from workloads.errors import InputError
from workloads.models.catalogue import model
from workloads.models.lower import lower
from workloads.phases import Decode, Phase, Prefill
from workloads.workload import Op


def ops(name: str, phase: Phase) -> list[Op]:
    return [op for layer, _ in lower(model(name), phase).layers() for op in layer.ops]


@pytest.mark.parametrize("phase", [Decode(4, 2048), Prefill(2, 512)])
@pytest.mark.parametrize("name", ["Llama-3.1-8B", "Mixtral-8x7B", "DeepSeek-V3", "OPT-6.7B"])
def test_products_are_all_contractions_with_what_is_stored(name: str, phase: Phase) -> None:
    # A multiply-add counts two; experts that are touched share the tokens, whole ones each.
    for op in ops(name, phase):
        asked = list(products(op))
        if asked:
            work = sum(2.0 * one.rows * one.columns * one.vectors * one.copies for one in asked)
            assert work == pytest.approx(op.work.contraction, rel=1e-6), op.name
        else:
            # A latent cache is written in a prompt's own attention and not read back.
            stored = [operand for operand in op.operands if operand.stored is not None]
            assert op.kind not in ("gemm", "grouped_gemm", "attention") or not stored


def test_heads_are_matrices_and_grouped_queries_their_vectors() -> None:
    (attention,) = {op.name: op for op in ops("Llama-3.1-8B", Decode(4, 2048)) if op.kind == "attention"}.values()
    # 4 sequences x 8 key-value heads, 4 query heads to each; keys 2048 x 128, values 128 x 2048.
    keys, values = products(attention)
    # Each copy gets one new key, a row of 128, and one new value, a column.
    assert keys == Product(2048, 128, 4, 32, 16, grows=True, new_rows=1.0, computed="bf16")
    assert values == Product(128, 2048, 4, 32, 16, grows=True, new_columns=1.0, computed="bf16")


def test_tokens_go_to_experts_whole() -> None:
    # 32 (token, expert) pairs on the 30.53 experts that 4 tokens of top 8 of 256 touch: most get one, some two.
    (up, *_) = [op for op in ops("DeepSeek-V3", Decode(4, 64)) if op.kind == "grouped_gemm"]
    asked = list(products(up))
    touched = 256 * (1 - (1 - 8 / 256) ** 4)
    assert [one.vectors for one in asked] == [1, 2]
    assert sum(one.copies for one in asked) == pytest.approx(touched)
    assert sum(one.copies * one.vectors for one in asked) == pytest.approx(32)


def test_one_matrix_takes_what_samsungs_simulator_counts() -> None:
    # PIMSimulator: 13,166 cycles of 1 ns for 4096 x 4096 on 64 pseudo-channels.
    answer = pim_service("hbm-pim", 64).serve(Product(4096, 4096, 1, 1, 16, grows=False))
    assert answer.seconds == pytest.approx(13_166e-9, rel=0.1)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40), st.integers(1, 24), st.sampled_from([128, 512, 2048]), st.sampled_from([64, 128, 512]))
def test_no_product_beats_the_units(copies: int, vectors: int, rows: int, columns: int) -> None:
    service = pim_service("attacc-bank", 16)
    answer = service.serve(Product(rows, columns, vectors, copies, 16, grows=True))
    multiply_adds = rows * columns * vectors * copies
    assert answer.seconds >= multiply_adds / service.pim.multiply_adds_per_s
    # Every matrix is read at least once, at most at the rate of all banks.
    assert answer.seconds >= 2 * rows * columns * copies / service.pim.inside_bytes_per_s
    assert answer.energy_j > 0
    more = service.serve(Product(rows, columns, vectors, copies + 1, 16, grows=True))
    assert more.seconds >= answer.seconds * (1 - 1e-9)


def test_the_host_keeps_its_port_beside_units_with_row_buffers_of_their_own() -> None:
    asked = Product(2048, 128, 4, 64, 16, grows=True)
    alone, beside = (pim_service(name, None).serve(asked) for name in ("attacc-bank", "neupims"))
    assert alone.port_s == alone.seconds
    assert beside.port_s < 0.5 * beside.seconds


def test_formats_the_units_do_not_have_are_refused() -> None:
    with pytest.raises(InputError, match="8 bits"):
        pim_service("hbm-pim", 64).serve(Product(4096, 4096, 1, 1, 8, grows=False))
