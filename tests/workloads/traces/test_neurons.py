"""Neurons of sparse feed-forwards: closed forms against drawn streams, and the window of LLM in a flash."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.errors import InfeasibleError, InputError
from workloads.traces.neurons import (
    NeuronModel,
    NeuronStream,
    calibrated_neurons,
    neuron_stream,
    predicted,
    window_loads,
)

# LLM in a flash (arXiv 2312.11514v3), OPT-6.7B: about 10 % of the neurons are predicted for a token, a window of five
# tokens holds 24 % of them, and a token loads 2.4 %.
ACTIVE, WINDOW, HELD, LOADED = 0.10, 5, 0.24, 0.024


def test_equal_neurons_on_paper() -> None:
    # Odds of 1/9: a tenth active; without persistence 1 - 0.9^2 in two tokens, and 0.9^2 x 0.1 are new to two.
    model = NeuronModel(exponent=0.0, scale=1 / 9)
    assert model.share_active() == pytest.approx(0.1)
    assert model.share_active(2) == pytest.approx(0.19)
    assert model.share_loaded(2) == pytest.approx(0.081)
    # Half of the states kept: of those not active 0.05 become so.
    kept = NeuronModel(exponent=0.0, scale=1 / 9, persistence=0.5)
    assert kept.share_active(2) == pytest.approx(0.1 + 0.9 * 0.05)


def test_the_published_window_is_met() -> None:
    model = calibrated_neurons(ACTIVE, WINDOW, HELD, LOADED)
    assert model.share_active() == pytest.approx(ACTIVE, abs=1e-4)
    assert model.share_active(WINDOW) == pytest.approx(HELD, abs=1e-4)
    assert model.share_loaded(WINDOW) == pytest.approx(LOADED, abs=1e-4)
    stream = neuron_stream(model, neurons=16384, layers=1, steps=60, seed=1)
    held, loaded = window_loads(stream, WINDOW)
    assert held[WINDOW:].mean() / 16384 == pytest.approx(HELD, rel=0.02)
    assert loaded[WINDOW:].mean() / 16384 == pytest.approx(LOADED, rel=0.02)


def test_shares_that_no_model_has_say_what_is_nearest() -> None:
    # From 10 % in one to 24 % in five tokens the fifth cannot have added as much as 5 %.
    with pytest.raises(InfeasibleError, match="neurons loaded per token"):
        calibrated_neurons(0.10, 5, 0.24, 0.05)
    with pytest.raises(InputError, match="0 < active < held < 1"):
        calibrated_neurons(0.3, 5, 0.2, 0.02)


def test_a_window_on_paper() -> None:
    active = [[0, 1], [1], [2], [0], [0, 2]]
    stream = NeuronStream(tuple((np.array(step),) for step in active), 4)
    held, loaded = window_loads(stream, 2)
    # Held by the last two tokens: 01, 01, 12, 02, 02. New to the two before: 01, none, 2, 0 (used three ago), none.
    assert held.tolist() == [2, 2, 2, 2, 2]
    assert loaded.tolist() == [2, 0, 1, 1, 0]


@given(st.integers(0, 50), st.integers(1, 8))
@settings(max_examples=30)
def test_what_a_window_loads_is_what_it_lacks(seed: int, window: int) -> None:
    stream = neuron_stream(NeuronModel(1.0, 0.05, 0.3), neurons=64, layers=2, steps=30, seed=seed)
    held, loaded = window_loads(stream, window, 1)
    for step in range(30):
        before: set[int] = set().union(*(stream.active[t][1].tolist() for t in range(max(0, step - window), step)))
        now: set[int] = set().union(*(stream.active[t][1].tolist() for t in range(max(0, step - window + 1), step + 1)))
        assert loaded[step] == len(set(stream.active[step][1].tolist()) - before)
        assert held[step] == len(now)


def test_a_predictor_forgets_and_names_too_many() -> None:
    # 3 % active, 5 % of them forgotten, 7 % of the others named: 0.95 x 3 + 0.07 x 97 = 9.6 %, the paper's "10 %".
    stream = neuron_stream(NeuronModel(0.0, 3 / 97), neurons=20000, layers=1, steps=20, seed=2)
    named, forgotten = predicted(stream, false_negative=0.05, false_positive=0.07, seed=3)
    share = np.mean([step[0].size for step in named.active]) / 20000
    assert share == pytest.approx(0.0964, abs=0.002)
    for step in range(20):
        active, names, lost = (set(s.active[step][0].tolist()) for s in (stream, named, forgotten))
        assert lost == active - names
    exact, none = predicted(stream, false_negative=0.0, false_positive=0.0)
    assert all((a[0] == b[0]).all() for a, b in zip(exact.active, stream.active, strict=True))
    assert sum(step[0].size for step in none.active) == 0


@pytest.mark.parametrize("change", [{"neurons": 0}, {"layers": 0}, {"steps": 0}, {"seed": -1}, {"steps": 10**9}])
def test_impossible_streams_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(InputError):
        neuron_stream(NeuronModel(1.0, 0.1), **({"neurons": 8, "layers": 1, "steps": 2} | change))


def test_impossible_models_and_predictors_are_refused() -> None:
    for model in ({"exponent": -1.0, "scale": 1.0}, {"exponent": 1.0, "scale": 1.0, "persistence": 1.0}):
        with pytest.raises(InputError):
            NeuronModel(**model)
    stream = neuron_stream(NeuronModel(1.0, 0.1), neurons=8, layers=1, steps=2)
    with pytest.raises(InputError, match="false_positive"):
        predicted(stream, false_negative=0.0, false_positive=2.0)
    with pytest.raises(InputError, match="window"):
        window_loads(stream, 0)
