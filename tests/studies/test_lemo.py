"""LeMo against its artifact's logs, bytes by hand, and in its limits."""

from __future__ import annotations

import pytest

from studies.frame.catalogue import load_study
from tests.studies.checks import check_honest, errors_of, rows

NAME = "lemo"


def found(**config: object) -> dict[str, float]:
    study = load_study(NAME)
    return dict(study.simulate(study.config(config)))


def test_it_is_honest() -> None:
    check_honest(NAME)


@pytest.mark.parametrize(("metric", "tolerance"), [("peak", 0.05), ("memory_ratio", 0.07), ("speed_up", 0.12)])
def test_published_rows(metric: str, tolerance: float) -> None:
    errors = errors_of(NAME, metric)
    assert errors
    assert max(map(abs, errors)) <= tolerance


def test_peaks_with_all_tokens_are_exact() -> None:
    """Nothing of them rests on what is left out: within half a per cent."""
    errors = [row.error for row in rows(NAME) if row.metric == "peak" and row.config["method"] == "lora"]
    assert len(errors) == 4
    assert max(abs(error) for error in errors if error is not None) < 0.005


def test_what_a_layer_keeps_by_hand() -> None:
    """Llama-2-7B, bytes a token and layer of 4,096: two norms' inputs in fp32, four adapters' inputs in fp32, queries,
    keys, values and attention's result, and the halves and activated gates of 11,008 channels in 16 bits."""
    h, wide, tokens = 4096, 11_008, 8192
    assert found(method="lora")["activations"] == 32 * tokens * (8 * h + 16 * h + 8 * h + 6 * wide)
    # With few tokens: a norm in fp32 and one in 16 bits, 2,202 channels thrice, and attention of 51 of 128 blocks.
    always, attention = 6 * h + 6 * 2202, 24 * h
    few = 51 * 64
    expected = 32 * tokens * always + attention * 16 * (tokens + few)
    assert found()["activations"] == pytest.approx(expected)


def test_all_tokens_and_channels_are_no_less() -> None:
    """Then LeMo differs from LoRA in its norm, its loss in parts and its predictor alone."""
    whole = found(share=1.0, channels=1.0)
    assert whole["speed_up"] == pytest.approx(1)
    assert whole["activations"] <= found(method="lora")["activations"]
    assert found(method="lora")["memory_ratio"] == 1


@pytest.mark.parametrize("key", ["share", "channels"])
def test_less_is_never_more(key: str) -> None:
    values = [found(**{key: share}) for share in (0.1, 0.25, 0.5, 0.75, 1.0)]
    for metric in ("activations", "peak", "step"):
        series = [value[metric] for value in values]
        assert series == sorted(series)


def test_longer_contexts_gain_more() -> None:
    gains = [found(context=context, checkpoint="full")["speed_up"] for context in (4096, 16_384, 65_536, 262_144)]
    assert gains == sorted(gains)
    # Half of the layers at 0.4 of the tokens: attention alone would gain 1 / (1 - 0.5 (1 - 0.16)).
    assert gains[-1] < 1 / (1 - 0.5 * (1 - 0.16)) * 1.05


def test_recomputation_has_no_bytes() -> None:
    assert set(found(checkpoint="full")) == {"step", "speed_up"}
