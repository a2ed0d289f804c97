"""The most weights that can learn within a budget of memory, when it is only memory that counts.

Which weights serve accuracy is found by training; this is what there is to choose from. A choice is how far back the
gradient goes and, of each convolution that it reaches, none of its weights or one of four shares: a knapsack with one
choice a layer, solved exactly over bytes, once for all depths, as the layers that a gradient reaches are the last ones.
"""

from __future__ import annotations

import math

import numpy as np

from mappers.planner.order.networks import ConvNet
from mappers.planner.order.training_networks import convolutions
from mappers.planner.order.update import Update, bias_bytes, updated_channels, weight_bytes, weight_count
from workloads.errors import InputError

__all__ = ["SHARES", "most_weights", "updated_weights"]

SHARES = (0.125, 0.25, 0.5, 1.0)
"""Shares of a layer's input channels: section 2.2 of arXiv 2206.15472."""


def updated_weights(net: ConvNet, update: Update) -> int:
    """Weights of convolutions that an update changes."""
    layers = convolutions(net)
    return sum(weight_count(layers[i], updated_channels(layers[i], share)) for i, share in update.weights.items())


def most_weights(net: ConvNet, budget_bytes: int) -> Update:
    """The update of most weights that adds no more than the budget (`update.extra_bytes`), and of those that go
    equally far the one that goes back least. Raises `InputError` where not even the classifier's features fit."""
    room = budget_bytes - net.blocks[-1].layers[-1].channels_in
    if room < 0:
        raise InputError(f"{budget_bytes} bytes", f"{budget_bytes - room} or more", "budget")
    layers = convolutions(net)
    value = np.zeros(room + 1, dtype=np.int64)  # the most weights, by the bytes that they may take
    chosen: list[np.ndarray] = []
    best, depth, spent = 0, 0, 0
    biases = 0.0
    for index in reversed(range(len(layers))):
        layer, grown = layers[index], value.copy()
        pick = np.zeros(room + 1, dtype=np.int8)
        for choice, share in enumerate(SHARES, 1):
            channels = updated_channels(layer, share)
            cost = weight_bytes(layer, channels)
            if channels and cost <= room:
                candidate = value[: room + 1 - cost] + weight_count(layer, channels)
                better = candidate > grown[cost:]
                grown[cost:][better] = candidate[better]
                pick[cost:][better] = choice
        value = grown
        chosen.append(pick)
        biases += bias_bytes(layer)
        left = math.floor(room - biases)
        if left < 0:
            break
        if value[left] > best:
            best, depth, spent = int(value[left]), len(chosen), left
    weights = {}
    for back in reversed(range(depth)):
        index = len(layers) - 1 - back
        if choice := int(chosen[back][spent]):
            share = SHARES[choice - 1]
            weights[index] = share
            spent -= weight_bytes(layers[index], updated_channels(layers[index], share))
    return Update(depth, weights)
