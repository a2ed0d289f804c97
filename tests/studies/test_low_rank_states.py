"""GaLore, AdaLomo and Mesa against their numbers, bytes by hand, and in their limits."""

from __future__ import annotations

import pytest

from studies.frame.catalogue import load_study
from studies.low_rank_states import METHODS, matrices
from tests.studies.checks import check_honest, errors_of
from workloads.models.catalogue import model
from workloads.models.counts import parameters

NAME = "low-rank-states"


def found(**config: object) -> dict[str, float]:
    study = load_study(NAME)
    return dict(study.simulate(study.config(config)))


def test_it_is_honest() -> None:
    check_honest(NAME)


@pytest.mark.parametrize(
    ("metric", "tolerance"),
    [("states_saved", 0.05), ("fits", 0), ("total_saved", 0.20)],
)
def test_published_rows(metric: str, tolerance: float) -> None:
    errors = errors_of(NAME, metric)
    assert errors
    assert max(map(abs, errors)) <= tolerance


@pytest.mark.parametrize("name", ["Llama-2-7B", "Llama-3-8B", "OPT-6.7B", "GPT-2"])
def test_matrices_are_all_of_the_layers_but_vectors(name: str) -> None:
    count = parameters(model(name))
    assert sum(rows * columns * times for rows, columns, times in matrices(model(name))) == pytest.approx(
        count.attention + count.feed_forward, rel=0.002
    )


def test_projected_states_by_hand() -> None:
    # LLaMA-7B, rank 1024, 2 bytes: of 4096 x 4096 two moments 1024 x 4096 and a projector 4096 x 1024; of 4096 x 11008
    # two of 1024 x 11008 and a projector; 4 and 3 of them in each of 32 layers. Tables and norms keep both moments.
    square = 2 * (2 * 1024 * 4096 + 4096 * 1024)
    wide = 2 * (2 * 1024 * 11008 + 4096 * 1024)
    rest = 2 * 2 * (2 * 32000 * 4096 + 65 * 4096)
    assert found(method="galore")["states"] == 32 * (4 * square + 3 * wide) + rest


def test_factored_states_by_hand() -> None:
    # m + n numbers of 4 bytes for every matrix and both tables, one for every number of a norm.
    layers = 32 * (4 * (4096 + 4096) + 3 * (4096 + 11008))
    assert found(method="adalomo")["states"] == 4 * (layers + 2 * (32000 + 4096) + 65 * 4096)


def test_eight_bits_are_half_of_sixteen() -> None:
    assert found(method="adam-8bit")["states_saved"] == pytest.approx(1 - (1 + 4 / 256) / 2)
    for name in ("adam", "adam-short"):
        assert found(method=name)["total_saved"] == 0


def test_many_tokens_leave_only_activations() -> None:
    # Mesa: 8 bits and a scale of 16 for 128 of them, instead of 16 bits; sums in fp32 stay.
    many = found(method="mesa", model="DeiT-B", batch=4096, tokens=197, scores=True)["total_saved"]
    assert 0.45 < many < 1 - (8 + 16 / 128) / 16
    assert many > found(method="mesa", model="DeiT-B", batch=8, tokens=197, scores=True)["total_saved"]


def test_rank_saves_up_to_where_it_costs() -> None:
    states = [found(method="galore", rank=rank)["states"] for rank in (128, 512, 1024, 2048)]
    assert states == sorted(states)
    # At full rank nothing is projected: Adam's moments.
    assert found(method="galore", rank=4096)["states_saved"] == pytest.approx(0)


@pytest.mark.parametrize("method", METHODS)
def test_peaks_grow_with_tokens(method: str) -> None:
    totals = [found(method=method, tokens=tokens)["total"] for tokens in (64, 1024, 8192)]
    assert totals == sorted(totals)
