"""LASP-2's table 6: tokens per second and memory per GPU by sequence length and number of GPUs; and its speed-ups."""

from __future__ import annotations

from studies.frame.study import Published

__all__ = ["MEMORY", "PUBLISHED", "SPEED"]

_K = 1024
GPUS = (16, 32, 64, 128)

SPEED: dict[int, tuple[float | None, ...]] = {
    2: (1254, 1209, 1285, 1205),
    4: (2478, 2446, 2327, 2344),
    8: (4835, 4784, 4693, 4678),
    16: (9530, 9494, 9305, 9313),
    32: (18105, 17755, 17835, 17807),
    64: (35507, 34240, 34118, 33344),
    128: (68406, 68545, 67344, 66811),
    256: (135635, 132605, 130215, 131550),
    512: (None, 250586, 245353, 233442),
    1024: (None, None, 442221, 416465),
    2048: (None, None, None, 769030),
    4096: (None, None, None, None),
}
"""By 1024 tokens; None where memory ran out."""

MEMORY: dict[int, tuple[float | None, ...]] = {
    2: (25.6, 25.6, 25.6, 25.6),
    4: (25.6, 25.6, 25.6, 25.6),
    8: (25.6, 25.6, 25.6, 25.6),
    16: (25.6, 25.6, 25.6, 25.6),
    32: (28.7, 25.6, 25.6, 25.6),
    64: (33.8, 28.7, 25.6, 25.6),
    128: (40.2, 33.8, 28.7, 25.6),
    256: (57.8, 40.2, 33.8, 28.7),
    512: (None, 57.8, 40.2, 33.8),
    1024: (None, None, 57.8, 40.2),
    2048: (None, None, None, 57.8),
    4096: (None, None, None, None),
}
"""In GB."""

_TABLE = "table 6"
_TEXT = "section 4.2"
CALIBRATION = (2, 64)


def _of_table() -> tuple[Published, ...]:
    found = []
    for length, speeds in SPEED.items():
        for gpus, speed, memory in zip(GPUS, speeds, MEMORY[length], strict=True):
            config = {"sequence": length * _K, "gpus": gpus}
            if speed is None or memory is None:
                found.append(Published("fits", config, 0, _TABLE))
                continue
            calibrates = (length, gpus) == CALIBRATION
            found.append(Published("tokens_per_s", config, speed, _TABLE, calibrates))
            found.append(Published("memory", config, memory * 1e9, _TABLE))
    return tuple(found)


PUBLISHED = (
    *_of_table(),
    Published("tokens_per_s", {"sequence": 1024 * _K}, 486183, "table 5, states gathered at once; table 6 has 442221"),
    Published("over_lasp1", {"sequence": 512 * _K}, 1.073, _TEXT),
    Published("over_lasp1", {"sequence": 2048 * _K}, 1.152, _TEXT),
    Published("over_lasp1_together", {"sequence": 512 * _K}, 1.073, _TEXT),
    Published("over_lasp1_together", {"sequence": 2048 * _K}, 1.152, _TEXT),
    Published("over_ring", {"sequence": 512 * _K}, 1.178, _TEXT),
    Published("over_ring", {"sequence": 2048 * _K}, 1.366, _TEXT),
    Published("exchanges", {"strategy": "lasp-2"}, 2, "section 3.4: of a layer, forward and backward"),
    Published("exchanges", {"strategy": "lasp-1"}, 126, "section 3.4: 2 (W - 1), one after another"),
)
