"""InstInfer against its paper, and in its limits."""

from __future__ import annotations

import pytest

from studies.frame.catalogue import load_study
from tests.studies.checks import check_honest, errors_of

NAME = "instinfer"


def at(**changes: object) -> dict[str, float]:
    study = load_study(NAME)
    return dict(study.simulate(study.config(changes)))


def test_it_is_honest() -> None:
    check_honest(NAME)


@pytest.mark.parametrize(
    ("metric", "tolerance"),
    [
        ("kv_token", 1e-9),
        ("kv_read", 0.003),
        ("kv_copies", 1e-9),
        ("prefill_write", 0.01),
        ("unit", 0.01),
        ("kv_share", 0.25),
        ("over_insta_drive", 0.15),
        ("best_over_deepspeed", 0.25),
    ],
)
def test_published_rows(metric: str, tolerance: float) -> None:
    """Bytes exactly (a step also appends a token); 1.34 GB and 0.32 us are printed rounded. Ratios rest on
    stated rates, or on a model of a drive of which channels, pages and port are stated."""
    errors = errors_of(NAME, metric)
    assert errors
    assert max(map(abs, errors)) <= tolerance


def test_dense_attention_takes_as_long_as_the_channels_need() -> None:
    """80.5 GB at 11.2 GB/s are 7.19 s, 26 GB of weights at 768 GB/s 34 ms; 64 tokens in 7.26 s less the prompts."""
    found = at(batch=64)
    assert found["step"] == pytest.approx(7.19 + 0.034, rel=0.01)
    assert found["tokens_per_s"] == pytest.approx(64 / 7.24, rel=0.01)


def test_more_drives_help_until_the_gpu_holds_them_up() -> None:
    """Two drives halve what the channels need; beyond, the weights' 34 ms remain."""
    found = [at(csds=count)["over_one_csd"] for count in (1, 2, 4, 16)]
    assert found[0] == 1
    assert found[1] == pytest.approx(2, rel=0.02)
    assert found == sorted(found)
    assert found[-1] < 16


def test_all_selected_is_dense() -> None:
    """With a sparsity of one SparF reads what dense attention reads, and keeps it once."""
    found = at(system="insta-sparf", sparsity=1.0)
    assert found["over_insta"] == pytest.approx(1.0)
    assert found["kv_copies"] == 1


def test_fewer_tokens_are_read_faster() -> None:
    found = [at(system="insta-sparf", sparsity=share)["tokens_per_s"] for share in (0.5, 0.25, 0.125, 0.0625)]
    assert found == sorted(found)


def test_what_does_not_fit_has_no_time() -> None:
    """1,024 sequences of 32,768 tokens are 27 TB."""
    assert at(model="Llama-2-13B", batch=1024, prompt=32768) == {"fits": 0.0}


@pytest.mark.parametrize(("name", "tokens"), [("OPT-30B", 1024), ("Llama-2-13B", 2048)])
def test_other_models(name: str, tokens: int) -> None:
    found = at(model=name, system="insta-sparf", prompt=tokens, output=tokens)
    assert found["over_insta"] > 1
    assert found["over_flexgen"] > 1
