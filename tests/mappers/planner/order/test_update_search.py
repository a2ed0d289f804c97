"""The most weights within a budget against every choice there is."""

from __future__ import annotations

import math
from itertools import product

import pytest

from mappers.planner.order.networks import ConvNet, chain_network
from mappers.planner.order.training_networks import convolutions, training_network, training_network_names
from mappers.planner.order.update import SCHEMES, Update, extra_bytes, full_update
from mappers.planner.order.update_search import SHARES, most_weights, updated_weights
from workloads.errors import InputError


def _most_of_all(net: ConvNet, budget: int) -> int:
    total, best = len(convolutions(net)), 0
    for depth in range(total + 1):
        for shares in product((0.0, *SHARES), repeat=depth):
            update = Update(depth, {total - depth + i: share for i, share in enumerate(shares)})
            if extra_bytes(net, update) <= budget:
                best = max(best, updated_weights(net, update))
    return best


@pytest.mark.parametrize("budget", [8, 100, 300, 700, 1500, 3000, 6000])
def test_nothing_updates_more(budget: int) -> None:
    net = chain_network("small", 16, 8, ((1, 8, 1, 3), (2, 8, 1, 3)), None, 3)
    update = most_weights(net, budget)
    assert extra_bytes(net, update) <= budget
    assert updated_weights(net, update) == _most_of_all(net, budget)


@pytest.mark.parametrize("name", training_network_names())
def test_published_schemes_update_no_more_than_can_be(name: str) -> None:
    net, last = training_network(name), 0
    for kib, scheme in SCHEMES[name].items():
        update = most_weights(net, (kib + 1) * 1024)
        assert extra_bytes(net, update) <= (kib + 1) * 1024
        most = updated_weights(net, update)
        assert last <= most >= updated_weights(net, scheme)
        last = most


def test_room_for_everything_updates_everything_that_learns() -> None:
    net = training_network("mcunet-5fps")
    update = most_weights(net, math.ceil(extra_bytes(net, full_update(net))))
    assert update.biases == 42
    assert set(update.weights.values()) == {1.0}


def test_no_room_at_all() -> None:
    with pytest.raises(InputError, match="160 or more"):
        most_weights(training_network("mcunet-5fps"), 100)
