"""Random task graphs and small helpers shared by the engine's tests."""

from __future__ import annotations

from hypothesis import strategies as st

from simulator.engine import Buffer, Demand, Dependency, Resident, Resource, Segment, Task, TaskGraph

ENGINES = ("gpu", "npu")
TIERS = ("hbm", "dram")
LINKS = ("pcie", "nvlink")
RESOURCES = (
    *(Resource(name, "engine") for name in ENGINES),
    *(Resource(name, "tier") for name in TIERS),
    *(Resource(name, "link") for name in LINKS),
)
UNITS = {name: "op" if name in ENGINES else "B" for name in (*ENGINES, *TIERS, *LINKS)}

# Small whole multiples give many ties; arbitrary floats give roundings and rates that hardly differ.
seconds = st.one_of(st.integers(0, 6).map(lambda n: n * 1e-3), st.floats(1e-6, 1e-2, allow_subnormal=False))


@st.composite
def demands(draw: st.DrawFn) -> Demand:
    resource = draw(st.sampled_from((*ENGINES, *TIERS, *LINKS)))
    return Demand(resource, draw(seconds), draw(st.integers(0, 1000)), UNITS[resource])


@st.composite
def segments(draw: st.DrawFn, name: str, met: list[str], most_repeats: int) -> Segment:
    count = draw(st.integers(1, 5))
    # Names repeat from segment to segment, so that lags can reach across.
    names = [f"t{i}" for i in range(count)]
    met.extend(names)
    tasks = []
    for i, task_name in enumerate(names):
        lagged = st.builds(Dependency, st.sampled_from(met), st.integers(1, 3))
        after: list[str | Dependency] = list(draw(st.lists(lagged, max_size=2)))
        if i:
            after += draw(st.lists(st.sampled_from(names[:i]), max_size=2))
        tasks.append(
            Task(
                task_name,
                "compute",
                tuple(draw(st.lists(demands(), max_size=3))),
                tuple(draw(st.sets(st.sampled_from(ENGINES), max_size=2).map(sorted))),
                draw(st.one_of(st.just(0.0), seconds)),
                tuple(after),
            )
        )
    some = st.one_of(st.none(), st.sets(st.sampled_from(names)).map(lambda chosen: tuple(sorted(chosen))))
    return Segment(name, tuple(tasks), draw(st.integers(1, most_repeats)), draw(some), draw(some))


@st.composite
def with_buffers(draw: st.DrawFn, segment: Segment) -> Segment:
    names = [task.name for task in segment.tasks]
    buffers = tuple(
        Buffer(
            f"b{i}",
            draw(st.sampled_from(TIERS)),
            draw(st.integers(0, 100)),
            draw(st.sampled_from(names)),
            tuple(draw(st.sets(st.sampled_from(names), max_size=2).map(sorted))),
            draw(st.integers(0, 2)),
        )
        for i in range(draw(st.integers(0, 3)))
    )
    return Segment(segment.name, segment.tasks, segment.repeat, segment.entry, segment.exit, buffers)


@st.composite
def graphs(draw: st.DrawFn, most_repeats: int = 60) -> TaskGraph:
    met: list[str] = []
    made = [draw(with_buffers(draw(segments(f"s{i}", met, most_repeats)))) for i in range(draw(st.integers(1, 3)))]
    return TaskGraph(RESOURCES, tuple(made), (Resident("weights", "hbm", draw(st.integers(0, 50))),))


def layers(repeat: int, per_layer: int = 15) -> TaskGraph:
    """A model of equal layers whose weights are loaded one layer ahead into two buffers, between embedding and head."""
    chain: list[Task] = [
        Task(
            "load",
            "transfer",
            (Demand("dram", 3e-3, 1000), Demand("pcie", 2e-3, 1000)),
            overhead_s=1e-5,
            after=(Dependency(f"op{per_layer - 2}", 2),),
        )
    ]
    before: str | Dependency = Dependency(f"op{per_layer - 2}", 1)
    for i in range(per_layer - 1):
        work = (Demand("gpu", 1e-4 * (i % 3 + 1), 10, "op"), Demand("hbm", 1.5e-4, 7))
        after = (before, "load") if i == 0 else (before,)
        chain.append(Task(f"op{i}", "compute", work, ("gpu",), 2e-6, after))
        before = f"op{i}"
    weights = Buffer("weights", "hbm", 1000, "load", (f"op{per_layer - 2}",))
    embed = Task("embed", "compute", (Demand("hbm", 1e-3, 5),), ("gpu",))
    head = Task("head", "compute", (Demand("gpu", 1e-3, 5, "op"),), ("gpu",))
    return TaskGraph(
        RESOURCES,
        (
            Segment("embed", (embed,)),
            Segment("layers", tuple(chain), repeat, entry=("op0",), exit=(str(before),), buffers=(weights,)),
            Segment("head", (head,)),
        ),
        (Resident("cache", "hbm", 50),),
    )
