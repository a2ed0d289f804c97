"""How long a step takes when activations leave and come back beside the computation: a closed form.

Three streams: compute, device to host, host to device. Skeletal activations lie in two rounding buffers, by the layer's
parity (MEMO, arXiv 2407.12117, section 4.1). Offloading layer i runs beside the forward pass of i + 1; the forward pass
of i + 2 waits for it. Fetching layer i begins when the backward pass of i + 2 is done and runs beside that of i + 1;
what was dropped of layer i is computed again just before its backward pass. The last two layers stay.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["StepTimes"]


@dataclass(frozen=True)
class StepTimes:
    """Seconds of one layer's parts; ``rest_s`` is all outside the layers. ``kept_layers`` at the end stay whole."""

    layers: int
    forward_s: float
    backward_s: float
    recompute_s: float
    offload_s: float
    fetch_s: float
    rest_s: float
    kept_layers: int

    @property
    def moved_layers(self) -> int:
        """Layers that are offloaded, fetched, or computed again."""
        return max(0, self.layers - self.kept_layers)

    @property
    def forward_stall_s(self) -> float:
        """Where offloading is slower than computing, each moved layer holds up the one after the next."""
        return self.moved_layers * max(0.0, self.offload_s - self.forward_s)

    @property
    def backward_stall_s(self) -> float:
        """The longest of two chains: the first fetch has one backward pass to hide behind, all later ones also a
        recomputation; or every fetch follows the one before."""
        moved = self.moved_layers
        if not moved:
            return 0.0
        window = self.backward_s + self.recompute_s
        chain = moved * (self.fetch_s - window) + self.recompute_s
        return max(0.0, self.fetch_s - self.backward_s, chain) if self.fetch_s else 0.0

    @property
    def recomputed_s(self) -> float:
        return self.moved_layers * self.recompute_s

    @property
    def step_s(self) -> float:
        """The whole step."""
        layers = self.layers * (self.forward_s + self.backward_s)
        return self.rest_s + layers + self.recomputed_s + self.forward_stall_s + self.backward_stall_s
