"""Traces of requests: what a program asked of its allocator, in order.

Lines are ``malloc ID SIZE`` and ``free ID SIZE`` (the size of a free may be left out), as in section 4.3 of MEMO. The
time of a request is its place among the requests. What is never freed lives to the end. An id may come back after its
free: then it is another buffer.
"""

from __future__ import annotations

from dataclasses import dataclass

from mappers.planner.allocation.problem import LARGEST, AllocationProblem, Buffer
from workloads.errors import InputError

__all__ = ["Request", "is_trace", "parse_requests", "problem_of", "requests_of"]


@dataclass(frozen=True, slots=True)
class Request:
    """``size`` bytes for buffer ``id``, or, not ``wanted``, back from it."""

    wanted: bool
    id: str
    size: int


def is_trace(text: str) -> bool:
    """Whether the first line that is not blank begins like a request."""
    first = next((line.split() for line in text.splitlines() if line.strip()), [])
    return bool(first) and first[0] in ("malloc", "free")


def parse_requests(text: str, file: str | None = None) -> tuple[Request, ...]:
    """The requests in ``text``; blank lines are skipped."""
    alive: dict[str, int] = {}
    requests = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words:
            continue
        if words[0] not in ("malloc", "free") or len(words) not in ((3,) if words[0] == "malloc" else (2, 3)):
            expected = "malloc ID SIZE, or free ID SIZE"
            raise InputError(f"{line.strip()[:60]!r} is not a request", expected, file=file, line=number)
        wanted, name = words[0] == "malloc", words[1]
        size = alive.get(name, 0)
        if len(words) == 3:
            if not (words[2].isdecimal() and len(words[2]) < 19 and int(words[2]) < LARGEST):
                raise InputError(f"{words[2][:40]!r} is not a size", "0 to 2^56 bytes", "size", file, number)
            size = int(words[2])
        if wanted and name in alive:
            raise InputError(f"{name} is allocated already", "a free before", "id", file, number)
        if not wanted and name not in alive:
            raise InputError(f"{name} is not allocated", "a malloc before", "id", file, number)
        if not wanted and size != alive[name]:
            problem = f"{name} has {alive[name]} bytes, not {size}"
            raise InputError(problem, "the size of its malloc", "size", file, number)
        if wanted:
            alive[name] = size
        else:
            del alive[name]
        requests.append(Request(wanted, name, size))
    return tuple(requests)


def problem_of(requests: tuple[Request, ...], name: str, alignment: int = 1) -> AllocationProblem:
    """The buffers that ``requests`` ask for: alive from their malloc to before their free."""
    begun: dict[str, int] = {}
    times: dict[str, int] = {}
    asked = {request.id for request in requests}
    buffers: list[Buffer] = []
    for time, request in enumerate((*requests, None)):
        ending = list(begun) if request is None else [] if request.wanted else [request.id]
        for buffer in ending:
            start = begun.pop(buffer)
            times[buffer] = times.get(buffer, 0) + 1
            label = buffer if times[buffer] == 1 else f"{buffer}#{times[buffer]}"
            while label != buffer and label in asked:  # the trace has such an id itself
                times[buffer] += 1
                label = f"{buffer}#{times[buffer]}"
            buffers.append(Buffer(label, start, time, requests[start].size, alignment))
        if request is not None and request.wanted:
            begun[request.id] = time
    return AllocationProblem(name, tuple(sorted(buffers, key=lambda buffer: buffer.lower)))


def requests_of(problem: AllocationProblem) -> tuple[Request, ...]:
    """A malloc at the beginning and a free at the end of each life; at one time frees first, in the order given."""
    events = []
    for place, buffer in enumerate(problem.buffers):
        events.append((buffer.lower, 1, place, Request(True, buffer.id, buffer.size)))
        events.append((buffer.upper, 0, place, Request(False, buffer.id, buffer.size)))
    return tuple(event[3] for event in sorted(events, key=lambda event: event[:3]))
