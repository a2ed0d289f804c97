"""Holmes: sizes of its models, and what its clusters must show in their limits; its tables are not to be had."""

from __future__ import annotations

import pytest

from studies.frame.catalogue import load_study
from tests.studies.checks import check_honest, errors_of
from workloads.errors import InputError

NAME = "holmes"
LAYOUTS = [{"nodes": 4}, {"nodes": 8}, {"model": "gpt-7.5b", "nodes": 8, "tensor": 1}]


def ask(**some: object) -> dict[str, float]:
    study = load_study(NAME)
    return dict(study.simulate(study.config(some)))


def test_it_is_honest() -> None:
    check_honest(NAME)


def test_parameters() -> None:
    """To the digits that are printed."""
    assert max(map(abs, errors_of(NAME, "parameters"))) <= 0.007


@pytest.mark.parametrize("layout", LAYOUTS)
def test_mixed_clusters_are_close_to_one_of_a_kind(layout: dict[str, object]) -> None:
    """The abstract: close to homogeneous RDMA, well above Ethernet. Never above the faster kind, nor below Ethernet."""
    found = ask(**layout)
    assert 0.9 <= found["of_infiniband"] <= found["of_roce"] <= 1
    assert found["over_ethernet"] > 1.03


@pytest.mark.parametrize("layout", LAYOUTS)
def test_environments_are_ordered(layout: dict[str, object]) -> None:
    steps = [ask(environment=each, **layout)["step"] for each in ("infiniband", "roce", "mixed", "ethernet")]
    assert steps == sorted(steps)


def test_one_network_for_all_is_ethernet() -> None:
    mixed, ethernet = ask(placement="one-network"), ask(environment="ethernet")
    assert mixed["step"] == ethernet["step"]
    assert mixed["over_ethernet"] == 1
    assert ask(placement="one-network", environment="roce")["step"] == ask(environment="roce")["step"]


def test_more_data_parallel_groups_gain_more() -> None:
    """Gradients are exchanged once a step, of fewer micro-batches where more nodes share them."""
    gains = [ask(nodes=nodes)["over_ethernet"] for nodes in (4, 8, 16)]
    assert gains == sorted(gains)


def test_errors() -> None:
    with pytest.raises(InputError):
        ask(model="gpt-7.5b", nodes=3)
