"""What ``tiercade plan allocate --pool`` does: read, spread over memories, write, report."""

from __future__ import annotations

from dse.cli.amounts import bytes_of
from dse.cli.output import check_file, print_document, write_text
from dse.cli.plan_allocate import PlanOptions, check_limits, read_problem
from dse.cli.stopping import stoppable
from mappers.planner.allocation import AllocationProblem
from mappers.planner.allocation.csv_format import to_csv
from mappers.planner.allocation.pools import PooledAllocation, allocate_pools
from workloads.errors import InputError

__all__ = ["run_pools"]


def run_pools(options: PlanOptions, words: tuple[str, ...], *, as_json: bool) -> int:
    """Plan one file over the pools, print the report; 3 where it does not fit, 130 after Ctrl-C."""
    capacity = _capacities(words)
    check_limits(options)
    if options.capacity is not None:
        raise InputError("a capacity beside pools", "--capacity or --pool", "--capacity")
    if len(options.files) > 1:
        raise InputError(f"{len(options.files)} files", "one file beside --pool", "FILE")
    if options.figure is not None:
        raise InputError("a figure beside pools", "--out FILE.csv, and a figure of one pool", "--figure")
    if options.out is not None:
        if options.out.suffix != ".csv":
            raise InputError("is not a CSV", "a name that ends in .csv beside --pool", "--out", str(options.out))
        check_file(options.out)
    problem = read_problem(options.files[0])
    with stoppable(None) as stop:
        result = allocate_pools(
            problem, capacity, time_limit_s=options.time_limit_s, workers=options.workers, should_stop=stop
        )
    if options.out is not None and result.offsets is not None:
        write_text(options.out, to_csv(problem, result.offsets, result.pool))
    if as_json:
        ids = [buffer.id for buffer in problem.buffers]
        places = {
            name: {"pool": pool, "offset": at}
            for name, pool, at in zip(ids, result.pool or (), result.offsets or (), strict=False)
        }
        print_document({"problem": problem.name, "buffers": len(ids), **result.to_json(), "plan": places or None})
    else:
        _print(problem, result)
    if stop.why == "interrupt":
        return 130
    return 0 if result.fits else 3


def _capacities(words: tuple[str, ...]) -> dict[str, int]:
    found: dict[str, int] = {}
    for word in words:
        name, separator, size = word.partition("=")
        if not separator or not name or not size:
            raise InputError(f"{word!r}", "NAME=SIZE, such as sram='256 KiB'", "--pool")
        if name in found:
            raise InputError(f"two pools are called {name}", "pools of different names", "--pool")
        found[name] = bytes_of(size, "--pool", least=0)
    return found


_SAYS = {
    "proved_optimal": "proved optimal: no plan keeps more in the preferred pools",
    "feasible": "feasible: more might stay in the preferred pools",
    "infeasible": "infeasible: it is proved that nothing fits",
    "unknown": "unknown: neither a plan that fits nor a proof that there is none",
}


def _print(problem: AllocationProblem, result: PooledAllocation) -> None:
    lines = [f"{problem.name}: {len(problem.buffers)} buffers", f"  status       {_SAYS[result.status]}"]
    for name, capacity in result.capacity_bytes.items():
        inside = [pool for pool in result.pool or () if pool == name]
        text = f"  {name:12} {capacity:,} bytes"
        if result.pool is not None:
            text += f", {len(inside)} buffers, peak {result.peak_bytes[name]:,} bytes"
        if name in result.missing_bytes:
            text += f", {result.missing_bytes[name]:,} bytes missing"
        lines.append(text)
    if result.cost_byte_ticks is not None:
        lines.append(
            f"  outside      {result.cost_byte_ticks:,.0f} byte-ticks outside the preferred pools; "
            f"no plan has less than {result.cost_bound_byte_ticks:,.0f}"
        )
    lines.append(f"  by           contention per pool (MIP), offsets by search, {result.seconds:.2f} s")
    print("\n".join(lines))  # noqa: T201
