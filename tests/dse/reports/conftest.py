"""Real results, simulated once: a small and a large machine, one of which streams what does not fit."""

from __future__ import annotations

import dataclasses

import pytest

from hw.spec.load import load_system
from hw.spec.system import System
from simulator.engine import Demand, Execution, Resource, Segment, Task, TaskGraph, execute
from simulator.result import Result
from simulator.road import simulate
from workloads.models.catalogue import model
from workloads.phases import Decode, Phase, Prefill

Case = tuple[Result, System]


def run(system_name: str, phase: Phase, model_name: str = "llama-3.1-8b") -> Case:
    system = load_system(system_name)
    return simulate(model(model_name), phase, system), system


@pytest.fixture(scope="session")
def server() -> Case:
    """Decode where everything fits."""
    return run("h100-sxm", Decode(1, 2048))


@pytest.fixture(scope="session")
def server_prefill() -> Case:
    return run("h100-sxm", Prefill(1, 2048))


@pytest.fixture(scope="session")
def laptop() -> Case:
    """Decode where half of the weights are streamed."""
    return run("laptop-nvme", Decode(1, 2048))


@pytest.fixture(scope="session")
def experts() -> Case:
    """A model with more kinds of operations, most of its weights on a drive."""
    return run("laptop-nvme", Decode(4, 1024), "mixtral-8x7b")


@pytest.fixture(scope="session")
def waiting() -> Execution:
    """Computes 0 to 2, waits for a transfer until 5, exchanges until 6, computes until 7; twice."""
    tasks = (
        Task("first", "compute", (Demand("array", 2.0, 1, "op"),), held=("array",)),
        Task("fetch", "transfer", (Demand("wire", 5.0, 8),)),
        Task("reduce", "collective", (Demand("fabric", 1.0, 8),), after=("first", "fetch")),
        Task("second", "compute", (Demand("array", 1.0, 1, "op"),), held=("array",), after=("reduce",)),
    )
    resources = (Resource("array", "engine"), Resource("wire", "link"), Resource("fabric", "fabric"))
    return execute(TaskGraph(resources, (Segment("block", tasks, 2),)))


@pytest.fixture
def renamed(server: Case) -> Result:
    """The first result with what stands in files and pages hard to quote."""
    return dataclasses.replace(server[0], model="A<b>&\"c'/../d", notes=("one note, <i>1 & 2</i>",))
