"""MoE-Lens against its equations, and in its limits."""

from __future__ import annotations

import pytest

from studies.frame.catalogue import load_study
from tests.studies.checks import check_honest, errors_of

NAME = "moe-lens"


def ask(**some: object) -> dict[str, float]:
    study = load_study(NAME)
    return dict(study.simulate(study.config(some)))


def test_it_is_honest() -> None:
    check_honest(NAME)


@pytest.mark.parametrize(("metric", "tolerance"), [("saturation", 0.05), ("throughput", 0.03), ("generated", 0.03)])
def test_published_rows(metric: str, tolerance: float) -> None:
    """Table 2 and the bounds of equations 3 and 4: embedding and head, 0.6 % of the weights, are not streamed here."""
    errors = errors_of(NAME, metric)
    assert errors
    assert max(map(abs, errors)) <= tolerance


def test_saturation_by_hand() -> None:
    """Two bytes of a weight pass the link while it is used by n k / E tokens, two operations each."""
    for gpu, rate in (("a40", 149.7e12), ("l40", 181e12), ("a100", 312e12)):
        assert ask(gpu=gpu, link=32.0)["saturation"] == pytest.approx(rate / 32e9 * 8 / 2, rel=0.01)
    assert ask(model="DBRX", link=32.0)["saturation"] == pytest.approx(149.7e12 / 32e9 * 16 / 4, rel=0.01)


def test_more_memory_never_slows_and_ends_at_the_gpu() -> None:
    found = [ask(kv=kv)["throughput"] for kv in (20.0, 70.0, 210.0, 400.0)]
    assert found == sorted(found)
    # 12.9 G parameters, two operations each, at the peak; what is left of it are steps' beginnings and ends.
    most = 149.7e12 / (2 * 12.88e9)
    assert 0.9 * most < found[-1] <= most


def test_together_beats_in_turn() -> None:
    for prompt, answer in ((98, 32), (98, 256), (926, 128)):
        together = ask(prompt=prompt, answer=answer)
        in_turn = ask(prompt=prompt, answer=answer, policy="in-turn")
        assert together["throughput"] > in_turn["throughput"]
