"""One replica of a serving engine, from event to event: stretches of steps in which only decodes run are one event."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from heapq import heappop, heappush

from simulator.serving.decoding import Decoding, steps_until
from simulator.serving.kv.memory import KvMemory
from simulator.serving.requests_state import RequestsState
from simulator.serving.room import Room
from simulator.serving.scheduler import PASSING, Scheduler, rank_of
from simulator.serving.step import StepBatch, StepCost, StepTime
from simulator.serving.token_gaps import TokenGaps
from workloads.errors import InfeasibleError

__all__ = ["Replica"]


class Replica:
    """Requests handed in with `submit` in the order of arrival are simulated by `advance`.

    ``on_finish`` is told of every request that has ended, or was rejected, and when; it may submit more.
    ``hold`` says until when a request that has ended keeps its room (its keys and values are still being sent).
    `simulator.serving.golden` does the same step by step.
    """

    def __init__(
        self,
        cost: StepCost,
        memory: KvMemory,
        scheduler: Scheduler,
        *,
        on_finish: Callable[[int, float], None] | None = None,
        hold: Callable[[int, float], float] | None = None,
    ) -> None:
        self.cost, self.memory, self.scheduler = cost, memory, scheduler
        self.on_finish, self.hold = on_finish, hold
        self.state = RequestsState()
        self.now_s = 0.0
        self.energy_j = 0.0
        self.parts_s: dict[str, float] = {}
        self.idle_s = self.wait_s = 0.0
        self.steps = self.events = self.computed_tokens = 0
        self.running = 0
        self.refusal: InfeasibleError | None = None
        self.samples: list[tuple[float, int, int, float, float]] = []
        self._coming: deque[int] = deque()
        self._waiting: list[tuple[int, int]] = []
        self._prefilling: deque[int] = deque()
        self._decoding = Decoding(self.state)
        self._returning: list[int] = []
        self._ended: deque[float] = deque()
        self._kept: list[tuple[float, int]] = []
        self.gaps = TokenGaps()
        self._room = Room(memory, self.state, self._decoding)
        self._step_s = 0.0  # of the last decode step: the first guess of the next one
        self._chunked = scheduler.batching == "chunked"
        self._static = scheduler.batching == "static"
        self._in_order = scheduler.policy not in PASSING

    def load(self, at_s: float) -> int:
        """Requests that were handed in and have not ended at ``at_s``, which does not fall from call to call."""
        while self._ended and self._ended[0] <= at_s:
            self._ended.popleft()
        return len(self._coming) + len(self._waiting) + self.running + len(self._ended)

    def produced(self, number: int) -> int:
        """Tokens a request has got so far."""
        return self._decoding.generated(number)

    def submit(
        self,
        arrival_s: float,
        prompt_tokens: int,
        output_tokens: int,
        priority: int = 0,
        blocks: Sequence[int] = (),
        *,
        first_s: float | None = None,
    ) -> int:
        """Hand in a request and return its number; one that had its first token elsewhere brings its prompt's keys."""
        rank = rank_of(self.scheduler, priority, output_tokens)
        number = self.state.add(arrival_s, prompt_tokens, output_tokens, rank, blocks, first_s)
        self._coming.append(number)
        return number

    def advance(self, until_s: float = math.inf, stop: Callable[[], bool] | None = None) -> None:
        """Run every step that begins before ``until_s``, or until there is nothing left to do, or ``stop`` says so."""
        while self.now_s < until_s:
            if stop is not None and not self.events & 63 and stop():
                return
            self._take_arrivals()
            if self.running or self._waiting:
                self._schedule(until_s)
            elif not self._idle(until_s):
                return

    def _take_arrivals(self) -> None:
        coming, state, now = self._coming, self.state, self.now_s
        while coming and state.arrival_s[coming[0]] <= now:
            number = coming.popleft()
            heappush(self._waiting, (state.rank[number], number))
        while self._kept and self._kept[0][0] <= now:
            self._room.free(heappop(self._kept)[1])

    def _idle(self, until_s: float) -> bool:
        """Wait for the next arrival, or for room to come free; False when neither comes before ``until_s``."""
        next_s = self._next_change_s()
        if next_s >= until_s:
            return False
        self._sample(False)
        self.idle_s += next_s - self.now_s
        self.now_s = next_s
        return True

    def _next_change_s(self) -> float:
        next_s = self.state.arrival_s[self._coming[0]] if self._coming else math.inf
        return min(next_s, self._kept[0][0]) if self._kept else next_s

    def _schedule(self, until_s: float) -> None:
        """One step, or one stretch of decode steps."""
        self.events += 1
        chunks: list[tuple[int, int]] = []
        preempted = False
        self._return()
        if self._chunked:
            preempted = self._make_room()
            budget = self._continue_prefills(self.scheduler.token_budget - len(self._decoding.members), chunks)
            if not preempted:
                self._admit(budget, chunks)
        elif self._static:
            if not self.running:
                self._gather()
            self._whole_prompts(chunks)
        else:
            self._admit(self.scheduler.token_budget, chunks)
        if chunks:
            self._mixed_step(chunks)
            return
        if not self._chunked:
            self._return()
            preempted = self._make_room()
        if self._decoding.members:
            # What gave way may be taken in, and what was moved in goes on, with the next step.
            more = preempted or self._returning or self._prefilling
            self._decode_stretch(1 if more else None, until_s)
        elif not self.running and self._waiting:
            self._wait_for_room(until_s)

    def _return(self) -> None:
        """Sequences that were moved in decode from this step on."""
        for number in self._returning:
            self._decoding.begin(number)
            self.gaps.begin(number, self.state.token_s[number])
        self._returning.clear()

    def _wait_for_room(self, until_s: float) -> None:
        """Nothing runs and nothing can be taken in: only keys and values that are being sent are in the way."""
        if not self._kept:
            number = self._waiting[0][1]
            needed, available = float(self.state.longest(number)), float(self.state.room[number])
            raise InfeasibleError("keys and values of one request", needed, available, "tokens")
        if not self._idle(until_s):
            self.idle_s += until_s - self.now_s
            self.now_s = until_s

    # Taking in

    def _admit(self, budget: int, chunks: list[tuple[int, int]]) -> None:
        """Take in waiting requests in order and put what is computed of their prompts at once into ``chunks``."""
        state, waiting = self.state, self._waiting
        most = self.scheduler.max_batch
        while waiting and budget > 0 and self.running < most:
            number = waiting[0][1]
            computed = 0 if state.parked[number] or state.prefilled[number] else state.target[number]
            if not self._chunked and chunks and computed > budget:
                return
            new = self._take_in(number)
            if new is None:
                return
            if not new:
                continue
            left = state.target[number] - state.done[number]
            tokens = min(left, budget) if self._chunked else left
            if tokens < left:
                self._prefilling.append(number)
            chunks.append((number, tokens))
            budget -= tokens

    def _gather(self) -> None:
        """The next batch of static batching: as many as there are, and as fit."""
        while self._waiting and self.running < self.scheduler.max_batch:
            number = self._waiting[0][1]
            new = self._take_in(number)
            if new is None:
                return
            if new:
                self._prefilling.append(number)

    def _take_in(self, number: int) -> bool | None:
        """Give the first waiting request room; None when there is none. Rejects what would not fit even alone.

        Returns whether its prompt is to be computed; what was moved in goes on from where it was by itself.
        """
        state = self.state
        try:
            grant = self._room.take(number)
        except InfeasibleError as refusal:
            self.refusal = self.refusal or refusal
            heappop(self._waiting)
            state.rejected[number] = True
            if self.on_finish is not None:
                self.on_finish(number, self.now_s)
            return False
        if grant is None:
            return None
        heappop(self._waiting)
        self.running += 1
        if state.start_s[number] != state.start_s[number]:  # NaN: for the first time
            state.start_s[number] = self.now_s
        if state.parked[number] or state.prefilled[number]:
            state.parked[number] = state.prefilled[number] = False
            (self._returning if state.done[number] == state.target[number] else self._prefilling).append(number)
            return False
        state.done[number] = min(grant.reused_tokens, state.target[number] - 1)
        state.reused[number] += state.done[number]
        return True

    def _continue_prefills(self, budget: int, chunks: list[tuple[int, int]]) -> int:
        """Go on with prompts that were begun, in that order; returns what is left of the budget."""
        state = self.state
        while self._prefilling and budget > 0:
            number = self._prefilling[0]
            left = state.target[number] - state.done[number]
            tokens = min(left, budget)
            if tokens == left:
                self._prefilling.popleft()
            chunks.append((number, tokens))
            budget -= tokens
        return budget

    def _whole_prompts(self, chunks: list[tuple[int, int]]) -> None:
        """The first prompts of the batch that stay within the budget together; at least one."""
        state, budget = self.state, self.scheduler.token_budget
        while self._prefilling:
            number = self._prefilling[0]
            left = state.target[number] - state.done[number]
            if chunks and left > budget:
                return
            self._prefilling.popleft()
            chunks.append((number, left))
            budget -= left

    # Running

    def _mixed_step(self, chunks: list[tuple[int, int]]) -> None:
        """One step of pieces of prompts, under chunked prefill with all decodes."""
        state, decodes = self.state, len(self._decoding.members) if self._chunked else 0
        ends = sum(state.done[number] + tokens == state.target[number] for number, tokens in chunks)
        batch = StepBatch(
            tuple((tokens, state.done[number]) for number, tokens in chunks),
            ends,
            decodes,
            self._decoding.context if decodes else 0,
            self._room.away([number for number, _ in chunks], decodes > 0),
            self._shared(decodes),
        )
        self._start(decodes > 0)
        time = self.cost.step(batch)
        self._spend(time, 1, batch.tokens)
        if decodes:
            self._decodes_done(1, time.seconds)
        for number, tokens in chunks:
            state.done[number] += tokens
            if state.done[number] == state.target[number]:
                self._prompt_done(number)

    def _shared(self, decodes: int) -> int:
        """Tokens of the contexts of ``decodes`` that are read once; alone there is nothing to share."""
        return self._room.memory.shared_tokens if self.scheduler.relay and decodes > 1 else 0

    def _prompt_done(self, number: int) -> None:
        state = self.state
        state.generated[number] += 1
        if state.generated[number] == 1:
            state.first_s[number] = self.now_s
        else:
            self.gaps.waited(self.now_s - state.token_s[number])
        if state.generated[number] == state.output[number]:
            self._finish(number)
        else:
            self._decoding.begin(number)
            self.gaps.begin(number, self.now_s)

    def _decode_stretch(self, steps: int | None, until_s: float) -> None:
        """Decode until a sequence ends, one that arrived may be taken in, or room is missing; or ``steps`` steps."""
        self._start(True)
        decoding = self._decoding
        first = decoding.steps
        most = decoding.first_end() - first if steps is None else steps
        cut_s = until_s
        may_join = not self._static and self.running < self.scheduler.max_batch
        if may_join and self._coming and not (self._waiting and self._in_order):
            cut_s = min(cut_s, self.state.arrival_s[self._coming[0]])
        if self._kept:
            cut_s = min(cut_s, self._kept[0][0])
        decodes = len(decoding.members)
        batch = StepBatch((), 0, decodes, decoding.context, self._room.away((), True), self._shared(decodes))
        count, time = steps_until(self.cost.decode_run, batch, most, cut_s - self.now_s, self._step_s)
        last = self._extend_until(first + count)
        if last < first + count:
            count = last - first
            time = self.cost.decode_run(batch, count)
        self._step_s = time.seconds / count
        self._spend(time, count, count * batch.decodes)
        self._decodes_done(count, time.seconds)

    def _extend_until(self, last: int) -> int:
        """Make room for the decode steps before ``last``; returns the first one it is missing for, or must wait for."""
        decoding, state = self._decoding, self.state
        while (needed := decoding.next_due(last)) is not None:
            due, number = needed
            grant = self._room.extend(number, state.base[number] + due)
            if grant is None:
                return due
            decoding.drop_due()
            decoding.note_due(number)
            if due > decoding.steps and (grant.wait_s or self._room.moved):
                return due
        return last

    def _make_room(self) -> bool:
        """Room for the next decode step of all that decode; returns whether a sequence had to give way."""
        now, gave_way = self._decoding.steps, False
        while self._extend_until(now + 1) <= now:
            gave_way = True
            self._give_way()
        return gave_way

    def _give_way(self) -> None:
        """Preempt the last of those that run."""
        state, decoding = self.state, self._decoding.members
        rank, number = max((state.rank[number], number) for number in (*decoding, *self._prefilling))
        if self.running == 1:
            needed, available = float(state.longest(number)), float(state.room[number])
            raise InfeasibleError("keys and values of one request", needed, available, "tokens")
        if number in decoding:
            self._decoding.leave(number)
            state.token_s[number] = self.gaps.leave(number)
        else:
            self._prefilling.remove(number)
        self.running -= 1
        state.preempted[number] += 1
        if self.scheduler.preemption == "park" and self._room.park(number):
            state.parked[number] = True
        else:
            self._room.free(number)
            state.done[number] = 0
            state.target[number] = state.prompt[number] + state.generated[number]
        heappush(self._waiting, (rank, number))

    def _decodes_done(self, steps: int, seconds: float) -> None:
        self.gaps.decoded(self.now_s, seconds, steps, len(self._decoding.members))
        for number in self._decoding.advance(steps):
            self._finish(number)

    def _finish(self, number: int) -> None:
        self.running -= 1
        self.state.last_s[number] = self.now_s
        self._ended.append(self.now_s)
        kept_s = self.now_s if self.hold is None else self.hold(number, self.now_s)
        if kept_s > self.now_s:
            heappush(self._kept, (kept_s, number))
        else:
            self._room.free(number)
        if self.on_finish is not None:
            self.on_finish(number, self.now_s)

    # Keeping account

    def _start(self, decodes: bool) -> None:
        """What must be waited for before a step passes; then its state is noted."""
        wait_s = self._room.waited()
        self.now_s += wait_s
        self.wait_s += wait_s
        self._sample(decodes)

    def _sample(self, decodes: bool) -> None:
        used, held = self._room.used_and_held_bytes(decodes)
        self.samples.append((self.now_s, self.running, len(self._waiting), used, held))

    def _spend(self, time: StepTime, steps: int, tokens: int) -> None:
        self.now_s += time.seconds
        self.energy_j += time.energy_j
        self.steps += steps
        self.computed_tokens += tokens
        parts = self.parts_s
        for name, seconds in time.parts_s.items():
            parts[name] = parts.get(name, 0.0) + seconds
