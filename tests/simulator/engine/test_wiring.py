"""How a block's nodes are numbered, and which earlier node frees each resource."""

from __future__ import annotations

from simulator.engine import Demand, Dependency, Segment, Task
from simulator.engine.wiring import Source, compile_block


def test_first_use_of_a_resource_follows_its_last_use_one_repetition_back() -> None:
    load = Task("load", "transfer", (Demand("pcie", 1.0), Demand("pcie", 1.0)), after=(Dependency("use", 2),))
    use = Task("use", "compute", (Demand("gpu", 1.0, 0, "op"),), ("gpu",), after=("load",))
    block = compile_block(Segment("block", (load, use), 3))
    loading, using = block.tasks
    assert (loading.start, loading.begins, loading.ends, loading.finish) == (0, (1, 3), (2, 4), 5)
    assert loading.served == (Source(1, 4, "pcie"), Source(0, 2, "pcie"))
    assert loading.after == (Source(2, using.finish, "use"),)
    assert using.held == using.served == (Source(1, using.finish, "gpu"),)
    assert block.last_use == {"pcie": 4, "gpu": using.finish}
    assert block.reach == 2
