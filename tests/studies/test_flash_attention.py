"""FlashAttention and the I/O complexity of attention: published numbers, closed forms and limits."""

from __future__ import annotations

import math

import pytest

from studies.frame.catalogue import load_study
from tests.studies.checks import check_honest, errors_of

NAME = "flash-attention"
HEADS = 64 * 16
ROWS = 2 * HEADS * 1024 * 64
"""Bytes of all queries."""
SCORES = 2 * HEADS * 1024 * 1024
"""Bytes of all scores."""


def ask(**config: object) -> dict[str, float]:
    study = load_study(NAME)
    return dict(study.simulate(study.config(config)))


def test_it_is_honest() -> None:
    check_honest(NAME)


@pytest.mark.parametrize(
    ("metric", "tolerance"), [("traffic", 0.11), ("products_ratio", 0.05), ("slope", 0.05), ("slope_bound", 0.05)]
)
def test_published_rows(metric: str, tolerance: float) -> None:
    """Figure 2 of FlashAttention; the slopes of both regimes of Saha and Ye."""
    errors = errors_of(NAME, metric)
    assert errors
    assert max(map(abs, errors)) <= tolerance


def test_the_bound_on_time_is_below_what_was_measured() -> None:
    assert max(errors_of(NAME, "time_bound")) < 0


def test_standard_attention_by_hand() -> None:
    """Scores, forward: written; read and written by mask, softmax and dropout; read once more. A byte of dropout.

    Backward: two products read them and one writes, dropout reads and writes, softmax reads two and writes one, the
    mask reads and writes, two products read. Of rows: Q, K, V and O; then dO twice, V, K, Q read, dQ, dK, dV written.
    """
    assert ask(algorithm="standard", phase="forward")["traffic"] == 8.5 * SCORES + 4 * ROWS
    assert ask(algorithm="standard")["traffic"] == (8.5 + 11.5) * SCORES + (4 + 8) * ROWS


@pytest.mark.parametrize("block", [64, 128, 256, 512, 1024])
def test_blocks_by_hand(block: int) -> None:
    """K and V once; for each of T blocks of keys Q is read, O read and written; O is written as zeros before."""
    turns = 1024 // block
    assert ask(phase="forward", block=block)["traffic"] == (2 + turns + 2 * turns + 1) * ROWS
    # Back: K and V read, dK and dV written; Q, O, dO and dQ read, dQ written each turn; 4 bytes of sums a row.
    back = (4 + 5 * turns + 1) * ROWS + turns * 4 * HEADS * 1024
    assert ask(block=block)["traffic"] == (3 + 3 * turns) * ROWS + back


def test_products_by_hand() -> None:
    """Six products of scores or rows; a seventh computes scores again. Sums over rows of scores are counted too."""
    product = 2 * HEADS * 1024**2 * 64
    assert ask(algorithm="standard", phase="forward")["products"] == 2 * product
    assert ask(algorithm="standard")["products"] == pytest.approx(6 * product, rel=0.005)
    assert ask()["products"] == pytest.approx(7 * product, rel=0.005)


def test_traffic_grows_with_the_square_of_the_tokens_and_falls_with_the_memory() -> None:
    found = [ask(tokens=tokens)["traffic"] for tokens in (16384, 32768)]
    assert found[1] / found[0] == pytest.approx(4, rel=0.05)
    small, large = (ask(tokens=32768, buffer=size)["traffic"] for size in (16384, 65536))
    assert small / large == pytest.approx(4, rel=0.1)


def test_a_chip_that_holds_all_keys_moves_each_row_once() -> None:
    assert ask(phase="forward", buffer=2**22)["traffic"] == (4 + 2) * ROWS  # O's zeros there and back besides


@pytest.mark.parametrize(("buffer", "power"), [(128, 0.5), (512, 0.5), (65536, 1), (262144, 1)])
def test_both_regimes(buffer: int, power: float) -> None:
    """n^2 d / sqrt(M) below d^2 and n^2 d^2 / M above, within a small factor; never below the bound."""
    tokens, width = 65536, 128
    found = ask(tokens=tokens, width=width, buffer=buffer)
    assert found["bound"] <= found["words"]
    asymptote = tokens**2 * width * (width / buffer if power == 1 else 1 / math.sqrt(buffer))
    assert 1 < found["words"] / asymptote < 6


@pytest.mark.parametrize(
    "config", [{"tokens": 17, "width": 9, "block": 5}, {"algorithm": "standard", "tokens": 1000, "heads": 1}]
)
def test_shapes_that_divide_nothing(config: dict[str, object]) -> None:
    found = ask(**config)
    assert found["time_bound"] > 0
    assert found["traffic"] > 0
