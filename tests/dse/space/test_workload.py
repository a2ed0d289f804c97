"""Workloads of a space with fields set by their paths."""

from __future__ import annotations

import pytest

from dse.space.workload import LayoutSpec, PlaceSpec, WorkloadSpec, check_path, set_fields
from workloads.errors import InputError

STEP = WorkloadSpec(model="llama-3.2-1b", phase="train", global_batch=32, parallel=LayoutSpec(data=8))


def test_what_is_set_stands_beside_what_was_given() -> None:
    changes = {"parallel.zero": 1, "micro_batch": 2, "place.optimizer": "ddr"}
    found = WorkloadSpec.model_validate(set_fields(STEP, changes))
    assert found.parallel == LayoutSpec(data=8, zero=1)
    assert found.place == PlaceSpec(optimizer="ddr")
    assert (found.micro_batch, found.global_batch, found.model) == (2, 32, "llama-3.2-1b")
    assert STEP.parallel == LayoutSpec(data=8)
    assert WorkloadSpec.model_validate(set_fields(STEP, {})) == STEP


@pytest.mark.parametrize("path", ["batch", "global_batch", "parallel.tensor", "place.activations", "checkpoint_every"])
def test_paths_of_fields(path: str) -> None:
    check_path(path, "here")


@pytest.mark.parametrize(
    "path", ["", "bach", "parallel", "place", "parallel.tensors", "batch.size", "place.optimizer.a"]
)
def test_other_paths_are_refused(path: str) -> None:
    with pytest.raises(InputError) as caught:
        check_path(path, "here")
    assert caught.value.field == "here"
