"""What ``tiercade plan`` does: read, plan, write, report."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from dse.cli.amounts import bytes_of
from dse.cli.output import check_figure, check_file, print_document, write_figure, write_text
from dse.cli.stopping import stoppable
from mappers.planner.allocation import Allocation, AllocationProblem, allocate
from mappers.planner.allocation.csv_format import parse_csv, to_csv
from mappers.planner.allocation.requests import is_trace, parse_requests, problem_of
from workloads.errors import InputError

__all__ = ["PlanOptions", "check_limits", "read_problem", "run_allocate", "run_replay"]


@dataclass(frozen=True)
class PlanOptions:
    """The arguments of ``plan allocate`` as they were typed."""

    files: tuple[Path, ...]
    capacity: str | None = None
    time_limit_s: float = 60.0
    workers: int = 1
    out: Path | None = None
    figure: Path | None = None


def run_allocate(options: PlanOptions, *, as_json: bool) -> int:
    """Plan each file, write what was asked for, print the reports; 3 where one does not fit, 130 after Ctrl-C.

    With ``as_json`` one file gives its document, several a document with a list of ``plans``.
    """
    capacity = None if options.capacity is None else bytes_of(options.capacity, "--capacity", least=0)
    check_limits(options)
    _check_outputs(options)
    problems = [read_problem(file) for file in options.files]
    documents, fits = [], True
    with stoppable(None) as stop:
        for file, problem in zip(options.files, problems, strict=True):
            try:
                result = allocate(
                    problem, capacity, time_limit_s=options.time_limit_s, workers=options.workers, should_stop=stop
                )
            except InputError as error:
                raise replace(error, file=str(file)) from None
            out = options.out if options.out is None or len(problems) == 1 else options.out / file.stem
            _write(replace(options, out=out), problem, result)
            documents.append(_document(problem, result))
            fits = fits and result.fits
            if not as_json:
                _print(problem, result)
            if stop():
                break
    if as_json:
        print_document(documents[0] if len(problems) == 1 else {"plans": documents})
    if stop.why == "interrupt":
        return 130
    return 0 if fits else 3


def check_limits(options: PlanOptions) -> None:
    """Refuse a time limit and a number of workers out of range."""
    if not 0 < options.time_limit_s < math.inf:
        raise InputError(f"{options.time_limit_s:g} seconds", "more than 0 seconds", "--time-limit")
    if options.workers < 1:
        raise InputError(f"{options.workers} workers", "at least 1", "--workers")


def run_replay(file: Path, *, as_json: bool) -> None:
    """Replay the file's requests and print what the allocator reserved."""
    from mappers.planner.allocation.caching import replay_requests
    from mappers.planner.allocation.requests import requests_of

    text = _text(file)
    requests = parse_requests(text, str(file)) if is_trace(text) else requests_of(parse_csv(text, file.stem, str(file)))
    found = replay_requests(requests)
    document = {**asdict(found), "fragmentation": found.fragmentation}
    if as_json:
        print_document(document)
        return
    lines = [
        f"{file.stem}: {found.requests:,} requests, {found.segments} segments",
        f"  reserved     {found.reserved_bytes:,} bytes",
        f"  allocated    {found.allocated_bytes:,} bytes at the peak; in whole blocks {found.rounded_bytes:,}",
        f"  fragmentation {100 * found.fragmentation:.1f} % of what is reserved is never asked for at once",
    ]
    print("\n".join(lines))  # noqa: T201


def _check_outputs(options: PlanOptions) -> None:
    """Refuse before a long search what could not be written after it."""
    figure, out = options.figure, options.out
    if len(options.files) > 1:
        for path, name in ((figure, "--figure"), (out if out is not None and out.suffix == ".csv" else None, "--out")):
            if path is not None:
                raise InputError(f"one file for {len(options.files)} plans", "--out and a folder", name)
        stems = [file.stem for file in options.files]
        again = next((stem for stem in stems if stems.count(stem) > 1), None)
        if out is not None and again is not None:
            raise InputError(f"two files are called {again}", "files of different names beside --out", "FILE")
    if figure is not None:
        check_figure(figure)
    if out is not None and out.suffix == ".csv":
        check_file(out)
    if out is not None and out.suffix != ".csv" and out.exists() and not out.is_dir():
        raise InputError("is a file", "a folder, or a name that ends in .csv", "--out", str(out))


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError("is not text", "a CSV file or a trace in UTF-8", file=str(file)) from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", "a CSV file or a trace", file=str(file)) from None


def read_problem(file: Path) -> AllocationProblem:
    """The problem in a CSV, or in a trace of requests."""
    text = _text(file)
    if is_trace(text):
        try:
            return problem_of(parse_requests(text, str(file)), file.stem)
        except InputError as error:
            raise replace(error, file=str(file)) from None
    return parse_csv(text, file.stem, str(file))


def _write(options: PlanOptions, problem: AllocationProblem, result: Allocation) -> None:
    figure, out = options.figure, options.out
    if out is not None and out.suffix == ".csv":
        if result.offsets is not None:
            write_text(out, to_csv(problem, result.offsets))
    elif out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_text(out / "problem.csv", to_csv(problem))
        write_text(out / "result.json", json.dumps(_summary(problem, result), indent=2, allow_nan=False) + "\n")
        if result.offsets is not None:
            write_text(out / "plan.csv", to_csv(problem, result.offsets))
            _draw(problem, result, out / "memory-map.svg")
    if figure is not None and result.offsets is not None:
        _draw(problem, result, figure)


def _draw(problem: AllocationProblem, result: Allocation, file: Path) -> None:
    from dse.reports.figures.allocation import allocation_figure

    figure = allocation_figure(problem, result)
    write_figure(figure, file)


def _summary(problem: AllocationProblem, result: Allocation) -> dict[str, Any]:
    return {"problem": problem.name, "buffers": len(problem.buffers), **result.to_json()}


def _document(problem: AllocationProblem, result: Allocation) -> dict[str, Any]:
    offsets = result.offsets
    ids = [buffer.id for buffer in problem.buffers]
    return {
        **_summary(problem, result),
        "offsets": None if offsets is None else dict(zip(ids, offsets, strict=True)),
    }


_MOST_NAMED = 8
_SAYS = {
    "proved_optimal": "proved optimal: no plan has a lower peak",
    "feasible": "feasible: a lower peak may exist",
    "infeasible": "infeasible: it is proved that nothing fits",
    "unknown": "unknown: neither a plan that fits nor a proof that there is none",
}


def _print(problem: AllocationProblem, result: Allocation) -> None:
    """The report, a line for each thing known."""
    lines = [
        f"{problem.name}: {len(problem.buffers)} buffers",
        f"  status       {_SAYS[result.status]}" + (f" (stopped: {result.stopped})" if result.stopped else ""),
    ]
    if result.peak_bytes is not None:
        gap = "" if result.gap is None else f", {100 * result.gap:.2f} % above the bound"
        lines.append(f"  peak         {result.peak_bytes:,} bytes{gap}")
    lines.append(f"  lower bound  {result.lower_bound_bytes:,} bytes")
    if result.capacity_bytes is not None:
        lines.append(f"  capacity     {result.capacity_bytes:,} bytes")
    if not result.fits:
        least, most = result.extra_bytes
        enough = "" if most is None else f"; {most:,} more are enough"
        unit = "byte" if least == 1 else "bytes"
        lines.append(f"  missing      {'exactly' if least == most else 'at least'} {least:,} {unit}{enough}")
    if result.crowd:
        names = ", ".join(result.crowd[:_MOST_NAMED])
        names += f" and {len(result.crowd) - _MOST_NAMED} more" if len(result.crowd) > _MOST_NAMED else ""
        lines.append(f"  too many     {names}: alive together, and they alone do not fit")
    if any(buffer.hint is not None for buffer in problem.buffers):
        lines.append(f"  hints kept   {result.hints_kept}")
    lines.append(f"  why          {result.certificate}")
    lines.append(f"  by           {result.backend}, {result.nodes:,} nodes, {result.seconds:.2f} s")
    print("\n".join(lines))  # noqa: T201
