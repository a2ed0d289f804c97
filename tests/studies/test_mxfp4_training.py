"""MXFP4 training against its table, Amdahl's law and limits."""

from __future__ import annotations

import pytest

from studies.frame.catalogue import load_study
from tests.studies.checks import check_honest, errors_of

NAME = "mxfp4-training"


def found(**config: object) -> dict[str, float]:
    study = load_study(NAME)
    return dict(study.simulate(study.config(config)))


def test_it_is_honest() -> None:
    check_honest(NAME)


@pytest.mark.parametrize(
    ("metric", "tolerance"), [("rate", 0.10), ("backward_rate", 0.15), ("speed_up_bf16", 0.15), ("speed_up_fp8", 0.20)]
)
def test_published_rows(metric: str, tolerance: float) -> None:
    errors = errors_of(NAME, metric)
    assert errors
    assert max(map(abs, errors)) <= tolerance


def test_claims_are_met() -> None:
    """More than 1.7 over 16 bits, more than 1.3 over eight, more than half of the operations."""
    proxy = found(device="a100-40gb-sxm", backward="int4")
    assert proxy["speed_up_bf16"] > 1.7
    assert proxy["speed_up_fp8"] > 1.3
    own = found()
    assert own["speed_up_bf16"] > 1.7
    assert own["speed_up_fp8"] > 1.3
    assert found(model="GPT-6.7B", context=2048)["share"] > 0.5


def test_share_by_hand() -> None:
    """GPT-6.7B, 2,048 tokens: of 12 h^2 a layer thrice, V h thrice, attention's products 2 s h (s + 1) / 2 forward and
    five halves of that backward."""
    h, layers, s, vocabulary = 4096, 32, 2048, 50_257
    layer, attention = 2 * 12 * h * h, 2 * 2 * h * (s + 1) / 2
    whole = layers * (3 * layer + 3.5 * attention) + 3 * 2 * vocabulary * h
    assert found(model="GPT-6.7B", batch=1, context=s)["share"] == pytest.approx(2 * layers * layer / whole, rel=1e-3)


def test_amdahl_bounds_the_speed_up() -> None:
    """With casts in the products' kernels the rest of the pass stays: less than twice over FP8."""
    at = {"casts": "within", "hadamard": 0, "fidelity": "roofline"}
    bound = found(**at)
    assert 1 < bound["speed_up_fp8"] < 2
    assert bound["speed_up_fp8"] < bound["speed_up_bf16"] < 4
    assert found(**at, backward="16-bit")["speed_up_bf16"] == pytest.approx(1)


def test_casts_and_transforms_cost() -> None:
    rates = [found(casts=casts)["backward_rate"] for casts in ("apart", "together", "within")]
    assert rates == sorted(rates)
    blocks = [found(hadamard=block)["backward_rate"] for block in (0, 16, 64, 256, 1024)]
    assert blocks == sorted(blocks, reverse=True)
    assert found(hadamard=0)["transform"] == pytest.approx(0)


def test_wider_models_gain_more() -> None:
    gains = [found(model=name, context=2048)["speed_up_bf16"] for name in ("GPT-345M", "GPT-1.3B", "GPT-6.7B")]
    assert gains == sorted(gains)
