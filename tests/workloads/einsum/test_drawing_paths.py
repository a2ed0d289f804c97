"""No arrow of a drawing runs behind a box: what it seems to enter, it would seem to feed."""

from __future__ import annotations

import re

import pytest

from workloads.cascades import cascade_names, load_cascade
from workloads.einsum.drawing import draw_cascade

NUMBER = r"(-?[\d.]+)"


def points(path: str) -> list[tuple[float, float]]:
    """The path sampled: straight pieces and cubic curves."""
    here = (0.0, 0.0)
    sampled = []
    for command, text in re.findall(r"([MLC])([^MLC]*)", path):
        numbers = [float(number) for number in re.findall(NUMBER, text)]
        pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
        if command == "M":
            here = pairs[0]
            continue
        control = [here, here, pairs[0], pairs[0]] if command == "L" else [here, *pairs]
        for step in range(21):
            t = step / 20
            weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3)
            x, y = (sum(w * c[axis] for w, c in zip(weights, control, strict=True)) for axis in (0, 1))
            sampled.append((x, y))
        here = control[-1]
    return sampled


@pytest.mark.parametrize("name", cascade_names())
def test_no_arrow_runs_behind_a_box(name: str) -> None:
    drawing = draw_cascade(load_cascade(name))
    found = re.findall(r'<rect x="([\d.]+)" y="([\d.]+)" width="(\d+)" height="(\d+)"', drawing)
    boxes = [tuple(map(float, box)) for box in found]
    for path in re.findall(r'<path marker-end="[^"]*" d="([^"]*)"', drawing):
        for x, y in points(path):
            for left, top, width, height in boxes:
                assert not (left + 1 < x < left + width - 1 and top + 1 < y < top + height - 1), (path, x, y)
