"""vAttention's page sizes, and what pages lose, in their limits."""

from __future__ import annotations

import pytest

from studies.frame.catalogue import load_study
from tests.studies.checks import check_honest, errors_of

NAME = "vattention"


def ask(**some: object) -> dict[str, float]:
    study = load_study(NAME)
    return dict(study.simulate(study.config(some)))


def test_it_is_honest() -> None:
    check_honest(NAME)


def test_tokens_of_a_page_are_exact() -> None:
    assert errors_of(NAME, "tokens_per_page") == [0.0, 0.0]


@pytest.mark.parametrize(
    ("name", "devices", "page", "tokens"),
    [("Yi-6B", 1, 2048, 2048), ("Yi-34B", 2, 2048, 2048), ("Llama-3-8B", 2, 64, 64), ("Yi-6B", 1, 128, 128)],
)
def test_tokens_of_other_pages_by_hand(name: str, devices: int, page: int, tokens: int) -> None:
    """A page over (key heads of a device x 128 x 2 B): 4 heads of Yi-6B, 8 of the others."""
    assert ask(model=name, devices=devices, page=page)["tokens_per_page"] == tokens


def test_half_a_page_is_lost() -> None:
    """Sequences of 1,000 to 1,400 tokens in pages of 32: 15.5 tokens of some 1,200 on average."""
    assert ask(page=64, prompt=1000, answer=400)["waste"] == pytest.approx(15.5 / 1215, rel=0.1)
    # In pages of 1,024 all but the first few take two: 2,048 for 1,200.
    assert ask(prompt=1000, answer=400)["waste"] == pytest.approx(1 - 1200 / 2048, abs=0.04)


def test_smaller_pages_lose_less_and_hold_more() -> None:
    found = [ask(page=page, prompt=1000, answer=400) for page in (64, 128, 256, 2048)]
    assert [one["waste"] for one in found] == sorted(one["waste"] for one in found)
    assert [one["running"] for one in found] == sorted((one["running"] for one in found), reverse=True)
    # Published: decoding asks for up to about 1 GB/s.
    assert all(0 < one["allocation"] < 1.1e9 for one in found)


def test_mapping_a_step_ahead_is_hidden() -> None:
    found = ask()
    assert found["mapping_share_hidden"] == 0.0 < found["mapping_share"]
    assert ask(map_us=0.0)["mapping_share"] == 0.0
