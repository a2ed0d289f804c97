"""The slow, obvious twin of `simulator.serving.replica`: a step at a time, plain lists, everything looked for anew."""

from __future__ import annotations

from dataclasses import dataclass, field

from simulator.serving.kv.memory import KvMemory
from simulator.serving.scheduler import Scheduler, rank_of
from simulator.serving.step import StepBatch, StepCost
from workloads.errors import InfeasibleError
from workloads.traces.requests import RequestTrace

__all__ = ["GoldenRequest", "GoldenRun", "golden_serve"]


@dataclass
class GoldenRequest:
    """A request and how far it has got; times are None until they are known."""

    number: int
    arrival_s: float
    prompt: int
    output: int
    rank: int
    blocks: tuple[int, ...] = ()
    generated: int = 0
    prefilled: int = 0
    to_prefill: int = 0
    room: int = 0
    parked: bool = False
    rejected: bool = False
    preempted: int = 0
    start_s: float | None = None
    first_s: float | None = None
    last_s: float | None = None

    @property
    def order(self) -> tuple[int, int]:
        """Place in the queue."""
        return self.rank, self.number

    @property
    def decodes(self) -> bool:
        """Its prompt, or what is computed again, is prefilled."""
        return self.prefilled == self.to_prefill


@dataclass
class GoldenRun:
    """All requests, and what their steps came to."""

    requests: list[GoldenRequest]
    now_s: float = 0.0
    energy_j: float = 0.0
    steps: int = 0
    computed_tokens: int = 0
    parts_s: dict[str, float] = field(default_factory=dict)


def golden_serve(trace: RequestTrace, cost: StepCost, memory: KvMemory, scheduler: Scheduler) -> GoldenRun:
    """As `simulator.serving.engine.serve`."""
    requests = []
    for number in range(len(trace)):
        priority = 0 if trace.priority is None else int(trace.priority[number])
        prompt, output = int(trace.prompt_tokens[number]), int(trace.output_tokens[number])
        blocks = () if trace.blocks is None else tuple(trace.blocks[number])
        rank = rank_of(scheduler, priority, output)
        arrival_s = float(trace.arrival_s[number])
        requests.append(GoldenRequest(number, arrival_s, prompt, output, rank, blocks, to_prefill=prompt))
    run = GoldenRun(requests)
    running: list[GoldenRequest] = []
    while any(request.last_s is None and not request.rejected for request in requests):
        waiting = [
            request
            for request in requests
            if request.arrival_s <= run.now_s
            and request.last_s is None
            and not request.rejected
            and request not in running
        ]
        if not running and not waiting:
            next_s = min(request.arrival_s for request in requests if request.arrival_s > run.now_s)
            run.parts_s["idle"] = run.parts_s.get("idle", 0.0) + next_s - run.now_s
            run.now_s = next_s
            continue
        waiting.sort(key=lambda request: request.order)
        one_step(run, waiting, running, cost, memory, scheduler)
    return run


def one_step(
    run: GoldenRun,
    waiting: list[GoldenRequest],
    running: list[GoldenRequest],
    cost: StepCost,
    memory: KvMemory,
    scheduler: Scheduler,
) -> None:
    """Decide what runs, and run it."""
    wait_s = 0.0
    chunks: list[tuple[GoldenRequest, int]] = []
    decoding: list[GoldenRequest] = []
    if scheduler.batching == "chunked":
        wait_s, gave_way = make_room(running, memory, scheduler)
        decoding = [request for request in running if request.decodes]
        budget = scheduler.token_budget - len(decoding)
        for request in running:
            tokens = min(request.to_prefill - request.prefilled, budget)
            if not request.decodes and tokens > 0:
                chunks.append((request, tokens))
                budget -= tokens
        while not gave_way and waiting and budget > 0 and len(running) < scheduler.max_batch:
            request = waiting[0]
            back = request.parked
            waited = take_in(run, waiting, running, memory)
            if waited is None:
                break
            wait_s += waited
            if not request.rejected and not back:
                tokens = min(request.to_prefill - request.prefilled, budget)
                chunks.append((request, tokens))
                budget -= tokens
    else:
        may_enter = scheduler.batching == "prefill-first" or not running
        budget = scheduler.token_budget
        if scheduler.batching == "static":
            while may_enter and waiting and len(running) < scheduler.max_batch:
                waited = take_in(run, waiting, running, memory)
                if waited is None:
                    break
                wait_s += waited
            for request in running:
                left = request.to_prefill - request.prefilled
                if not request.decodes:
                    if chunks and left > budget:
                        break
                    chunks.append((request, left))
                    budget -= left
        else:
            while waiting and budget > 0 and len(running) < scheduler.max_batch:
                request = waiting[0]
                back = request.parked
                if chunks and not back and request.to_prefill > budget:
                    break
                waited = take_in(run, waiting, running, memory)
                if waited is None:
                    break
                wait_s += waited
                if not request.rejected and not back:
                    chunks.append((request, request.to_prefill - request.prefilled))
                    budget -= request.to_prefill - request.prefilled
        if not chunks:
            more_s, _ = make_room(running, memory, scheduler)
            wait_s += more_s
            decoding = [request for request in running if request.decodes]
    if wait_s:
        run.now_s += wait_s
        run.parts_s["kv wait"] = run.parts_s.get("kv wait", 0.0) + wait_s
    if chunks or decoding:
        execute(run, running, chunks, decoding, cost, memory, scheduler.relay)


def take_in(
    run: GoldenRun, waiting: list[GoldenRequest], running: list[GoldenRequest], memory: KvMemory
) -> float | None:
    """Give the first in the queue room; returns what must be waited for, None when there is no room."""
    request = waiting[0]
    try:
        if request.parked:
            grant = memory.unpark(request.number)
        else:
            longest = request.prompt + request.output - 1
            grant = memory.admit(request.number, request.to_prefill, longest, request.blocks)
    except InfeasibleError:
        request.rejected = True
        waiting.pop(0)
        return 0.0
    if grant is None:
        return None
    waiting.pop(0)
    running.append(request)
    if not request.parked:
        request.prefilled = min(grant.reused_tokens, request.to_prefill - 1)
    request.parked = False
    request.room = grant.tokens
    request.start_s = run.now_s if request.start_s is None else request.start_s
    return grant.wait_s


def make_room(running: list[GoldenRequest], memory: KvMemory, scheduler: Scheduler) -> tuple[float, bool]:
    """Room for a token more of every sequence that decodes: what must be waited for, and whether one gave way."""
    wait_s, gave_way = 0.0, False
    while True:
        short = [
            request for request in running if request.decodes and request.prompt + request.generated > request.room
        ]
        if not short:
            return wait_s, gave_way
        request = min(short, key=lambda request: request.order)
        grant = memory.extend(request.number, request.prompt + request.generated)
        if grant is not None:
            request.room = grant.tokens
            wait_s += grant.wait_s
            continue
        gave_way = True
        last = max(running, key=lambda request: request.order)
        running.remove(last)
        last.preempted += 1
        seconds = memory.park(last.number) if scheduler.preemption == "park" else None
        if seconds is None:
            memory.free(last.number)
            last.prefilled, last.to_prefill = 0, last.prompt + last.generated
        else:
            wait_s += seconds
            last.parked = True


def execute(
    run: GoldenRun,
    running: list[GoldenRequest],
    chunks: list[tuple[GoldenRequest, int]],
    decoding: list[GoldenRequest],
    cost: StepCost,
    memory: KvMemory,
    relay: bool,
) -> None:
    """One step of the model, and the tokens it makes."""
    ending = [request for request, tokens in chunks if request.prefilled + tokens == request.to_prefill]
    away: dict[str, int] = {}
    for request in [*decoding, *(request for request, _ in chunks)]:
        for tier, tokens in memory.away_tokens(request.number):
            away[tier] = away.get(tier, 0) + tokens
    batch = StepBatch(
        tuple((tokens, request.prefilled) for request, tokens in chunks),
        len(ending),
        len(decoding),
        sum(request.prompt + request.generated for request in decoding),
        tuple(sorted(away.items())),
        memory.shared_tokens if relay and len(decoding) > 1 else 0,
    )
    time = cost.step(batch)
    run.now_s += time.seconds
    run.energy_j += time.energy_j
    run.steps += 1
    run.computed_tokens += batch.tokens
    for part, seconds in time.parts_s.items():
        run.parts_s[part] = run.parts_s.get(part, 0.0) + seconds
    for request, tokens in chunks:
        request.prefilled += tokens
    for request in [*sorted(decoding, key=lambda request: request.order), *ending]:
        request.generated += 1
        if request.first_s is None:
            request.first_s = run.now_s
        if request.generated == request.output:
            request.last_s = run.now_s
            running.remove(request)
            memory.free(request.number)
