"""Operation counts, footprints, traffic and masks against closed forms and brute force."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.cascades import load_cascade
from workloads.einsum import (
    analyse,
    compulsory_traffic,
    count_passes,
    counts,
    iteration_space,
    mask_densities,
    mask_density,
    operation_counts,
    parse_cascade,
    resolve_sizes,
    tensor_elements,
)
from workloads.einsum.analysis import operation_formulas, traffic_formulas
from workloads.einsum.counts import touched_elements
from workloads.einsum.graph import fusion_groups
from workloads.errors import InputError

ATTENTION = {"b": 2, "h": 3, "g": 5, "p": 7, "m": 600, "e": 11, "f": 13}


def test_one_pass_attention_has_fusemaxs_counts() -> None:
    """Counts written out from the cascade of FuseMax, for B heads-and-batches, P queries, M keys in blocks."""
    heads, p, m, e, f = 2 * 3 * 5, 7, 600, 11, 13
    blocks = 3  # ceil(600 / 256): the last block holds 88 keys, and only those are counted
    points, turns = heads * p * m, heads * p * blocks
    assert operation_counts(load_cascade("attention-1pass"), ATTENTION) == {
        "QS": {"mul": heads * p * e},
        "QK": {"mul": points * e, "add": points * e},
        "LM": {"max": points},
        "RM": {"max": turns},
        "PRM": {"sub": turns, "exp": turns},
        "SLN": {"sub": points, "exp": points},
        "SLD": {"add": points},
        "SLNV": {"mul": points * f, "add": points * f},
        "SPD": {"mul": turns},
        "RD": {"add": turns},
        "SPNV": {"mul": turns * f},
        "RNV": {"add": turns * f},
        "AV": {"div": heads * p * f},
    }


def test_three_pass_attention_counts() -> None:
    points = 2 * 3 * 5 * 7 * 600
    counts = operation_counts(load_cascade("attention-3pass"), ATTENTION)
    assert counts["QK"] == {"mul": points * 11, "add": points * 11}
    assert (counts["GM"], counts["SD"], counts["A"]) == ({"max": points}, {"add": points}, {"div": points})
    assert counts["SN"] == {"sub": points, "exp": points}


def test_a_users_operator_counts_as_its_body_and_constants_cost_nothing() -> None:
    cascade = parse_cascade(
        "cascade c\nconst w = 2 * 3\nop f(x) = x * x + sqrt(w)\nreduce r(a, b) = max(a, b) + 0 from 0\n"
        "input X[m, n]\noutput Y\nY[m] = f(X[m, n]) * sqrt(w) / |m| :: r(n)\n"
    )
    assert operation_counts(cascade, {"m": 3, "n": 5})["Y"] == {"mul": 30, "add": 30, "div": 15, "max": 15}


def test_densities_scale_products() -> None:
    sizes = {"m": 10, "k": 20, "n": 30, "da": 0.1, "db": 0.5}
    assert operation_counts(load_cascade("spgemm-inner"), sizes)["Z"] == pytest.approx({"mul": 300, "add": 300})
    assert tensor_elements(load_cascade("spgemm-inner"), sizes)["A"] == pytest.approx(20)
    assert tensor_elements(load_cascade("spgemm-outer"), sizes)["T"] == pytest.approx(300)


def test_formulas_equal_the_numbers() -> None:
    cascade = load_cascade("attention-1pass")
    values = resolve_sizes(cascade, ATTENTION)
    numbers = operation_counts(cascade, ATTENTION)
    for label, row in operation_formulas(cascade).items():
        for operator, formula in row.items():
            text = formula
            for rank in sorted(values, key=len, reverse=True):
                text = text.replace(f"|{rank}|", str(values[rank]))
            assert eval(text) == numbers[label][operator]


def test_sizes_that_are_missing_unknown_or_negative() -> None:
    cascade = load_cascade("gemm")
    with pytest.raises(InputError, match="no size for rank 'n1'"):
        operation_counts(cascade, {"m": 1, "n0": 1})
    with pytest.raises(InputError, match="unknown rank or constant 'n2'"):
        operation_counts(cascade, {"m": 1, "n0": 1, "n1": 1, "n2": 1})
    for value in (-1, float("nan"), float("inf")):
        with pytest.raises(InputError, match=f"size {value}"):
            operation_counts(cascade, {"m": 1, "n0": 1, "n1": value})
    with pytest.raises(InputError, match="its default is inf"):
        resolve_sizes(load_cascade("moe"), {"t": 1, "d": 1, "x": 0, "s": 1, "k": 1})


def test_defaults_fill_in_and_may_be_overridden() -> None:
    cascade = load_cascade("attention-1pass")
    assert resolve_sizes(cascade, ATTENTION)["m1"] == 3
    assert resolve_sizes(cascade, ATTENTION | {"m0": 100})["m1"] == 6
    assert resolve_sizes(cascade, ATTENTION | {"m": 50})["m0"] == 50


def test_pieces_of_a_split_walk_the_whole_rank_once() -> None:
    cascade = load_cascade("attention-1pass")
    einsum = next(e for e in cascade.einsums if e.label == "QK")
    assert iteration_space(cascade, einsum, ATTENTION) == {"b": 2, "h": 3, "g": 5, "p": 7, "m": 600, "e": 11}


def test_gathered_rows_are_touched_once_each() -> None:
    cascade = load_cascade("embedding")
    assert touched_elements(cascade, {"v": 1000, "t": 8, "d": 4}) == {"T": 8, "E": 32}
    assert touched_elements(cascade, {"v": 5, "t": 8, "d": 4}) == {"T": 8, "E": 20}
    assert traffic_formulas(cascade)["E"] == "min(|v|, |t|)*|d|"


def test_strided_windows_leave_rows_untouched() -> None:
    """Stride 2, filter 1 on 7 rows: 4 windows reach 4 rows; filter 2 reaches 6."""
    sizes = {"b": 1, "c": 1, "k": 1, "h": 7, "w": 7, "stride": 2}
    cascade = load_cascade("convolution")
    assert compulsory_traffic(cascade, sizes | {"r": 1, "s": 1})["I"] == 16
    assert compulsory_traffic(cascade, sizes | {"r": 2, "s": 2})["I"] == 36


# --- masks


def brute_density(p: int, m: int, window: int | None) -> float:
    rows, columns = np.ogrid[:p, :m]
    keep = columns <= rows + m - p
    if window is not None:
        keep &= columns > rows + m - p - window
    return float(keep.mean())


@settings(max_examples=80, deadline=None)
@given(p=st.integers(1, 40), m=st.integers(1, 60), window=st.integers(1, 70))
def test_mask_shares_equal_counting(p: int, m: int, window: int) -> None:
    sizes = ATTENTION | {"p": p, "m": m}
    for form in ("3pass", "1pass"):
        causal = mask_density(load_cascade(f"attention-{form}-causal"), sizes)
        assert causal == pytest.approx(brute_density(p, m, None), abs=1e-12)
        banded = mask_density(load_cascade(f"attention-{form}-window"), sizes | {"window": window})
        assert banded == pytest.approx(brute_density(p, m, window), abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    p=st.integers(1, 12), m=st.integers(1, 12), a=st.integers(-3, 3), c=st.integers(-9, 9), a2=st.integers(-2, 2),
    c2=st.integers(-9, 9), least=st.integers(-2, 8),
)  # fmt: skip
def test_any_band_equals_counting(p: int, m: int, a: int, c: int, a2: int, c2: int, least: int) -> None:
    band = f"m <= {a} * p + {c} and m > {a2} * p + {c2} and p >= {least}"
    text = f"cascade c\ninput X[p, m]\noutput Y\nY[p, m] = X[p, m] where {band}\n"
    rows, columns = np.ogrid[:p, :m]
    expected = ((columns <= a * rows + c) & (columns > a2 * rows + c2) & (rows >= least)).mean()
    assert mask_density(parse_cascade(text), {"p": p, "m": m}) == pytest.approx(expected, abs=1e-12)


def test_masks_of_other_shapes_are_counted_point_by_point() -> None:
    text = "cascade c\ninput X[p, m]\noutput Y\nY[p, m] = X[p, m] where mod(p + m, 3) == 0 or 2 * m < p\n"
    expected = np.mean([(p + m) % 3 == 0 or 2 * m < p for p in range(9) for m in range(7)])
    assert mask_density(parse_cascade(text), {"p": 9, "m": 7}) == pytest.approx(expected)


def test_a_mask_reaches_what_reads_the_masked_scores() -> None:
    sizes = {"b": 1, "h": 1, "g": 1, "p": 4, "m": 4, "e": 2, "f": 2}
    cascade = load_cascade("attention-3pass-causal")
    shares = mask_densities(cascade, sizes)
    assert shares == {"QS": 1, "QK": 0.625, "GM": 0.625, "SN": 0.625, "SD": 0.625, "A": 0.625, "AV": 0.625}
    full = operation_counts(cascade, sizes)
    kept = operation_counts(cascade, sizes, skip_masked=True)
    assert full["QK"] == {"mul": 32, "add": 32}
    assert kept["QK"] == {"mul": 20, "add": 20}
    assert kept["QS"] == full["QS"]


def test_block_masks_take_their_stated_share() -> None:
    cascade = load_cascade("attention-1pass-block-sparse")
    assert mask_density(cascade, ATTENTION | {"kept": 0.25}) == 0.25


def test_no_mask_leaves_everything() -> None:
    assert mask_density(load_cascade("attention-3pass"), ATTENTION) == 1


# --- speed

LAYER = {
    "rms-norm": {"t": 4, "d": 7168},
    "gemm": {"m": 4, "n0": 7168, "n1": 1536},
    "rotary": {"t": 4, "h": 128, "e": 64},
    "mla-absorbed-1pass": {"b": 1, "h": 128, "p": 1, "m": 4096, "c": 512, "e": 128, "r": 64, "f": 128},
    "moe-shared": {"t": 4, "d": 7168, "x": 256, "s": 2048, "k": 8, "z": 2048},
    "residual-add": {"t": 4, "d": 7168},
}


def test_a_deepseek_v3_layer_is_analysed_in_moments() -> None:
    """All analyses of the layer's distinct cascades, parsed already: 0.04 s here; 2 s would be out of hand."""
    cascades = [(load_cascade(name), sizes) for name, sizes in LAYER.items()]
    count_passes.cache_clear()
    fusion_groups.cache_clear()
    start = time.process_time()
    for cascade, sizes in cascades:
        analyse(cascade, sizes)
    assert time.process_time() - start < 2


def test_counting_again_analyses_nothing_again() -> None:
    cascade = load_cascade("attention-1pass-causal")

    def count() -> None:
        operation_counts(cascade, ATTENTION)
        compulsory_traffic(cascade, ATTENTION)
        tensor_elements(cascade, ATTENTION)

    count()
    kept = [function for function in vars(counts).values() if hasattr(function, "cache_info")]
    assert kept
    before = [function.cache_info().misses for function in kept]
    for _ in range(3):
        count()
    assert [function.cache_info().misses for function in kept] == before
