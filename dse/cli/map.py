"""``tiercade map``: the best mapping of a cascade onto a machine, with its proof."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dse.cli.map_options import MapOptions, read_wanted
from dse.cli.map_problem import Resolved, resolve
from dse.cli.output import print_document, write_text
from dse.cli.stopping import stoppable
from mappers.mapspace.report import SearchResult
from workloads.errors import InputError

__all__ = ["run_map"]


def run_map(options: MapOptions, *, given: tuple[str, ...] = (), as_json: bool) -> int:
    """Search, write what was asked for, print the report; returns the exit code (130 after Ctrl-C).

    ``given`` names options of a model's mapping that were typed; they mean nothing here.
    """
    if given:
        raise InputError("is an option of a whole model's mapping", "--model beside it", f"--{given[0]}")
    check_run(options)
    _check_output(options.svg)
    _check_output(options.mapping_out)
    wanted = read_wanted(options)
    resolved = resolve(wanted)
    from mappers.mapspace.text import mapping_to_json
    from mappers.search import search

    with stoppable(options.timeout) as stop:
        try:
            result = search(
                resolved.problem,
                resolved.machine,
                objective=wanted.objective,
                constraints=resolved.constraints,
                tiles=wanted.tiles,
                workers=options.workers,
                should_stop=stop,
                progress=_show_progress if sys.stderr.isatty() else None,
            )
        except InputError as error:
            parts = {"units": "system", "levels": "system", "constraints": "constraints", "cascade": "cascade"}
            part = parts.get(error.field or "")
            raise error if part is None else wanted.said.place(error, part) from None
    _end_progress()
    if options.mapping_out is not None:
        write_text(options.mapping_out, json.dumps(mapping_to_json(result.mapping), indent=2) + "\n")
    if options.svg is not None:
        from mappers.mapspace.drawing import draw_mapping

        write_text(options.svg, draw_mapping(result.mapping, resolved.problem, resolved.machine, result.cost))
    if as_json:
        print_document(document(resolved, result, stop.why))
    else:
        from dse.cli.map_text import print_map

        print_map(resolved, result, stop.why)
    return 130 if stop.why == "interrupt" else 0


def check_run(options: MapOptions) -> None:
    """The options that say how to search, not what. Raises `InputError`."""
    if options.workers < 1:
        raise InputError(f"{options.workers} workers", "at least 1", "--workers")
    if options.timeout is not None and not 0 < options.timeout < math.inf:
        raise InputError(f"{options.timeout:g} seconds", "more than 0 seconds", "--timeout")


def document(resolved: Resolved, result: SearchResult, stopped: str | None) -> dict[str, Any]:
    """The result as one JSON document; numbers that are not finite become null."""
    from mappers.mapspace.text import mapping_to_json

    problem = resolved.problem
    return {
        "problem": {
            "cascade": problem.name,
            "sizes": {rank: size for einsum in problem.einsums for rank, size in einsum.sizes},
            "bits": dict(problem.bits),
            "einsums": [einsum.name for einsum in problem.einsums],
        },
        "system": resolved.machine.name,
        **_finite(result.to_json()),
        "einsums": [
            {
                "einsum": cost.einsum,
                "unit": cost.unit,
                "latency_s": cost.latency_s,
                "bound": cost.bound,
                "energy_j": sum(cost.energy_j.values()),
                "utilisation": cost.utilisation,
                "times_s": _finite(cost.times_s),
                "energy_by_part_j": _finite(cost.energy_j),
                **({"cycles": cost.cycles} if cost.cycles else {}),
            }
            for cost in result.cost.einsums
        ],
        "stopped": stopped,
        "mapping": mapping_to_json(result.mapping),
    }


def _check_output(path: Path | None) -> None:
    """Refuse before a long search what could not be written after it."""
    if path is not None and path.is_dir():
        raise InputError("is a folder", expected="a file name", file=str(path))
    if path is not None and not path.parent.is_dir():
        raise InputError("its folder does not exist", expected="a file in an existing folder", file=str(path))


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _show_progress(what: str, share: float) -> None:
    print(f"\r{what:60.60} {100 * share:3.0f} %", end="", file=sys.stderr, flush=True)  # noqa: T201


def _end_progress() -> None:
    if sys.stderr.isatty():
        print("\r" + " " * 66 + "\r", end="", file=sys.stderr, flush=True)  # noqa: T201
