"""The rules of the simulated drive, in plain Python: the twin that the compiled kernel must equal, event for event.

* Requests. A fixed number of them is outstanding: made by a pattern, or the next of a trace. Where a trace says when
  its requests arrive, each waits from then on until fewer than that number are outstanding, first come first served.
* Host. For each request the host rings a doorbell; the drive asks for the queue
  entry and, for a write, for the data; done, it sends what was read and a completion. Messages in one direction of the
  link follow one another. At most `fetched_at_once` requests are inside the drive. An engine inside the drive has no
  link and no queue: its requests are in the drive at once, and done when the flash, or the cache, is.
* Write cache. Pages enter it in order while the sectors on their way from it to flash are fewer than one page per plane
  holds; the rest waits, first come first served. A page that is not in the cache yet goes to flash at once, and leaves
  the cache when programmed. One that is in the cache is changed there, and written when it is the oldest and room is
  needed. The request is done when all its pages are in the cache's memory, one access after the other, the rows of an
  access in the memory's channels in turn. Reads take from
  it what it holds, page by page; a page of which it holds only part is read from flash for the rest.
* Mapping. Logical pages go to channel, chip, die, plane in turn. The table is kept in mapping pages in flash; the
  controller holds the entries used last. A missing entry costs a read of its mapping page, shared by all that need
  that page meanwhile. A changed entry that has to go takes every changed entry of its mapping page along: the page is
  read, merged and programmed anew; until that is done it can be read from the controller. A write of part of a page
  reads first what it does not cover.
* Chips. A chip has one command at a time, in one die. Reads of mapping pages go first, then reads of pages being moved,
  then user reads; then programs of moved, mapping and user pages; then erases. While a chip's block waits to be erased,
  user reads and user programs of the chip wait, unless they share a command. A command takes, for the other planes of
  its die, the oldest operation on the same page number, of its own queue or else of the next. An idle channel looks at
  its chips in turn; pages that were read are moved out first, or last where the drive says so: mapping, user, moved.
  Where the drive allows it, a read interrupts an erase or program of which enough is left; that goes on when the chip
  is idle.
* Collection. In a plane with few free blocks the block with the fewest valid pages is emptied and erased, its pages
  moved to a block of their own: of all blocks, or of log2(blocks) different ones drawn at random, free ones among them,
  if one of those would free a page. Blocks that are open, in use by an operation, or collected already are passed over.
  User writes wait while free blocks are fewer still. The free block erased least often is opened next: as soon as the
  one before is full, or, where none is free then, when the next page is wanted and an erase has freed one. Mapping
  pages leave the blocks that moves have been promised, and go beside user data meanwhile.
* Wear levelling, where the drive has it. When a block has been erased, and more than so many times more than the full
  block of its plane erased least often, that one is emptied too, one at a time in a plane, into the free block erased
  most often; what is left of that is for the next such block. One free block is kept for it meanwhile.

Scheduling and the order of allocation are those of MQSim (CMU-SAFARI/MQSim 7ec40e3, src/ssd), read there; the
cache's treatment of pages written again, and collections that never give up for want of a candidate, are our own.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass

from simulator.memory.flash.drive import Drive
from simulator.memory.flash.plan import Plan, pattern_plan
from simulator.memory.flash.twin_chips import Chips, nearest_ns
from simulator.memory.flash.twin_ftl import Table
from simulator.memory.flash.twin_state import Operation, below, sectors
from simulator.memory.flash.workload import DriveWorkload

__all__ = ["TwinOutcome", "run_twin"]


@dataclass
class TwinOutcome:
    """What the kernel counts too; ``log`` has time, chip, what, pages and first page of every command."""

    now_ns: int
    done: int
    latency_ns: int
    latencies_ns: list[int]  # of requests in the order they were submitted; -1 where not done
    done_sectors: int
    counts: dict[str, int]
    log: list[tuple[int, int, int, int, int]]


class _Run(Chips):
    def __init__(self, drive: Drive, plan: Plan) -> None:
        super().__init__(drive, Table(drive, whole=plan.whole_table))
        self.plan = plan
        self.link_free = {"down": 0, "up": 0}
        self.memory_free = 0
        self.in_flight = self.arrived = self.done = self.done_sectors = 0
        self.latencies: list[int] = []
        self.free: list[int] = []
        self.to_fetch: deque[int] = deque()
        self.to_admit: deque[int] = deque()
        self.number = [0] * plan.queue_depth
        self.span = [range(0)] * plan.queue_depth  # sectors
        self.writes = [False] * plan.queue_depth
        self.since = [0] * plan.queue_depth
        self.left = [0] * plan.queue_depth
        self.admitted = [0] * plan.queue_depth
        self.cache: dict[int, tuple[str, int]] = {}  # oldest first: writing or changed, sectors held
        self.to_flash_sectors = 0
        self.address_rng, _ = below(plan.seed, 1)
        self.table.pick_rng, self.next_unit = below(self.address_rng, plan.units)
        self.table.pick_rng += 1

    # Host and link

    def send(self, direction: str, size_bytes: int, kind: str | None, request: int = 0) -> None:
        self.link_free[direction] = max(self.now, self.link_free[direction]) + nearest_ns(
            self.drive.host.message_ns(size_bytes)
        )
        if kind is not None:
            self.post(self.link_free[direction], kind, request)

    def submit(self, r: int) -> None:
        plan = self.plan
        self.number[r], self.since[r] = len(self.latencies), self.now
        self.latencies.append(-1)
        if len(plan.requests):
            asked = plan.requests[self.number[r]]
            first, count, self.writes[r] = int(asked["first_sector"]), int(asked["sectors"]), bool(asked["write"])
            if plan.open_loop:
                self.since[r] = int(asked["arrival_ns"])
        else:
            if plan.random:
                self.address_rng, unit = below(self.address_rng, plan.units)
            else:
                unit, self.next_unit = self.next_unit, (self.next_unit + 1) % plan.units
            count = plan.size_bytes // 512
            first, self.writes[r] = unit * count, plan.writes
        self.span[r] = range(first, first + count)
        if plan.inside:
            self.post(self.now, "here", r)
        else:
            self.send("down", 2, "doorbell", r)

    def arrive(self) -> None:
        self.arrived += 1
        if self.arrived < self.plan.most_requests:
            self.post(int(self.plan.requests[self.arrived]["arrival_ns"]), "arrived")
        if self.free:
            self.submit(self.free.pop())

    def completed(self, r: int) -> None:
        self.done += 1
        self.done_sectors += len(self.span[r])
        self.latencies[self.number[r]] = self.now - self.since[r]
        if self.done == self.plan.most_requests:
            return
        if not self.plan.inside:
            self.send("down", 2, None)
        if len(self.latencies) < self.arrived:
            self.submit(r)
        else:
            self.free.append(r)

    def pages(self, r: int) -> list[tuple[int, int]]:
        """Logical pages of a request, and the sectors of each as bits."""
        found: dict[int, int] = {}
        for sector in self.span[r]:
            lpa, place = divmod(sector, self.drive.sectors_per_page)
            found[lpa] = found.get(lpa, 0) | 1 << place
        return list(found.items())

    def start(self, r: int) -> None:
        pages = self.pages(r)
        self.left[r], self.admitted[r] = len(pages), 0
        if not self.writes[r]:
            self.start_read(r, pages)
            return
        if self.plan.cached:
            if self.to_admit or not self.admit(r):
                self.to_admit.append(r)
            return
        for lpa, bits in pages:
            self.table.dispatch(Operation("write", lpa, bits=bits, request=r))

    def start_read(self, r: int, pages: list[tuple[int, int]]) -> None:
        here = []
        for lpa, bits in pages:
            missing = bits & ~self.cache.get(lpa, ("", 0))[1]
            if missing:
                self.table.dispatch(Operation("read", lpa, 512 * sectors(missing), request=r))
            else:
                here.append(bits)
        if here:
            self.use_memory(r, len(here), sum(512 * sectors(bits) for bits in here))

    def served(self, r: int, pages: int) -> None:
        self.left[r] -= pages
        if self.left[r] > 0:
            return
        if self.plan.inside:
            self.post(self.now, "completed", r)
            return
        if not self.writes[r]:
            self.send("up", 512 * len(self.span[r]), None)
        self.send("up", 16, "completed", r)
        self.in_flight -= 1
        if self.to_fetch:
            self.in_flight += 1
            self.send("up", 4, "fetch", self.to_fetch.popleft())

    # Write cache

    def use_memory(self, r: int, pages: int, size_bytes: int) -> None:
        cache = self.drive.cache
        rows = [cache.row_bytes] * (size_bytes // cache.row_bytes)
        if size_bytes % cache.row_bytes:
            rows.append(size_bytes % cache.row_bytes)
        busy = []
        for channel in range(cache.channels):
            mine = rows[channel :: cache.channels]
            opened = len(mine) * nearest_ns(cache.t_rcd_ns + cache.t_cl_ns)
            opened += (len(mine) - 1) * nearest_ns(cache.t_rp_ns)
            moved = (sum(mine) * nearest_ns(1e6 / (cache.rate_MTps * cache.width_bytes)) + 500) // 1000
            busy.append(opened + moved if mine else 0)
        self.memory_free = max(self.now, self.memory_free) + max(busy)
        self.post(self.memory_free, "stored", r, pages)

    def admit(self, r: int) -> bool:
        geometry = self.drive.geometry
        room = geometry.planes * self.drive.sectors_per_page
        most = min(self.drive.cache.capacity_bytes // geometry.page_bytes, self.plan.used_pages)
        pages = self.pages(r)
        stored = stored_bytes = 0
        while self.to_flash_sectors < room and self.admitted[r] < len(pages):
            lpa, bits = pages[self.admitted[r]]
            if lpa in self.cache:
                self.cache[lpa] = ("changed", self.cache.pop(lpa)[1] | bits)
                self.counts["absorbed"] += 1
            else:
                if len(self.cache) == most:
                    old, (state, held) = next(iter(self.cache.items()))
                    del self.cache[old]
                    if state == "changed":
                        self.to_flash(old, held)
                self.cache[lpa] = ("writing", bits)
                self.to_flash(lpa, bits)
            stored += 1
            stored_bytes += 512 * sectors(bits)
            self.admitted[r] += 1
        if stored:
            self.use_memory(r, stored, stored_bytes)
        return self.admitted[r] == len(pages)

    def to_flash(self, lpa: int, bits: int) -> None:
        self.to_flash_sectors += sectors(bits)
        self.table.dispatch(Operation("write", lpa, bits=bits, held_sectors=sectors(bits)))

    def written(self, op: Operation) -> None:
        if op.request is not None:
            self.served(op.request, 1)
            return
        self.to_flash_sectors -= op.held_sectors
        if self.cache.get(op.lpa, ("", 0))[0] == "writing":
            del self.cache[op.lpa]
        room = self.drive.geometry.planes * self.drive.sectors_per_page
        while self.to_admit and self.to_flash_sectors < room and self.admit(self.to_admit[0]):
            self.to_admit.popleft()

    def finished(self, op: Operation) -> None:
        table, plane = self.table, self.table.planes[op.plane]
        if op.kind == "move read":
            block = plane.blocks[op.block]
            owner = block.owners[op.page]
            if owner is None:
                plane.moving -= 1
                block.left -= 1
                table.maybe_erase(op.plane, op.block)
                return
            _, name, page = table.move(op.plane, owner)
            size = self.drive.geometry.page_bytes
            write = Operation("move write", 0, size, plane=op.plane, block=name, page=page, source=op.block)
            table.enqueue(write, "move")
            return
        if op.kind == "erase":
            table.erased(op.plane, op.block)
            stop = self.drive.mapping.collection.stop_blocks
            while plane.stopped and plane.pool >= stop:
                table.place(plane.stopped.popleft())
            if plane.pool < stop:
                table.collect(op.plane)
            table.level(op.plane, plane.blocks[op.block].erases)
            return
        table.block(op).busy -= 1
        table.maybe_erase(op.plane, op.block)
        if op.kind == "read" and op.request is not None:
            self.served(op.request, 1)
        elif op.kind == "merge read" and op.linked is not None:
            table.enqueue(op.linked, "write")
        elif op.kind == "map read":
            table.arrived(op.lpa)
        elif op.kind == "map merge":
            table.write_back_ready(op.lpa)
            table.arrived(op.lpa)
        elif op.kind == "write":
            self.written(op)
        elif op.kind == "map write":
            table.leaving[op.lpa] -= 1
        elif op.kind == "move write":
            plane.blocks[op.source].left -= 1
            table.maybe_erase(op.plane, op.source)
        if plane.stopped and plane.collecting == 0:
            table.collect(op.plane)

    # The run

    def prepare(self) -> None:
        table, plan = self.table, self.plan
        table.entries = min(self.drive.mapping_entries, plan.most_entries)
        if plan.valid_pages:
            table.fill(plan.valid_pages)
        for number in range(len(table.planes)):
            for use in ("data", "map", "moved"):
                table.open_block(number, use)
        if not table.whole:
            for t in range(self.drive.mapping_pages):
                table.take_page(table.plane_of(t), "map", ("map", t))
        for lpa in range(plan.occupied_pages):
            table.write_before(lpa)
        for _ in range(plan.overwrites):
            table.pick_rng, lpa = below(table.pick_rng, plan.overwrite_span)
            table.write_before(lpa)
        table.timed = True

    def run(self) -> None:
        if self.plan.open_loop:
            self.post(int(self.plan.requests[0]["arrival_ns"]), "arrived")
        else:
            self.arrived = self.plan.most_requests
        for r in range(self.plan.queue_depth):
            if len(self.latencies) < self.arrived:
                self.submit(r)
            else:
                self.free.append(r)
        while self.events:
            if self.events[0][0] > self.plan.stop_ns:
                self.now = self.plan.stop_ns
                return
            self.now, _, kind, numbers, op = heapq.heappop(self.events)
            self.happen(kind, numbers, op)
            if self.done == self.plan.most_requests:
                return
            for channel in sorted(self.table.touched):
                self.look(channel)
            self.table.touched.clear()
        raise RuntimeError("nothing can happen any more")

    def happen(self, kind: str, numbers: tuple[int, ...], op: Operation | None) -> None:
        r = numbers[0] if numbers else 0
        if kind == "sent":
            chip, what = numbers
            self.chips[chip].does = ("reading", "programming", "erasing")[what]
            self.post(self.chips[chip].until, "inside", chip, self.chips[chip].run)
            self.bus_free(chip // self.drive.geometry.chips_per_channel)
        elif kind == "inside":
            programmed = self.inside_done(*numbers)
            for each in programmed:
                self.finished(each)
            if programmed:
                self.idle(r)
        elif kind == "moved" and op is not None:
            chip = self.table.chip_of(op.plane)
            self.chips[chip].out -= 1
            if self.chips[chip].out == 0:
                self.idle(chip)
            self.finished(op)
            self.bus_free(chip // self.drive.geometry.chips_per_channel)
        elif kind == "doorbell":
            if self.in_flight < self.drive.host.fetched_at_once:
                self.in_flight += 1
                self.send("up", 4, "fetch", r)
            else:
                self.to_fetch.append(r)
        elif kind == "fetch":
            self.send("down", 64, "entry", r)
        elif kind == "entry":
            if self.writes[r]:
                self.send("up", 4, "asked", r)
            elif self.drive.host.command_us > 0:
                self.post(self.now + nearest_ns(self.drive.host.command_us * 1e3), "here", r)
            else:
                self.start(r)
        elif kind == "asked":
            self.send("down", 512 * len(self.span[r]), "here", r)
        elif kind == "here":
            self.start(r)
        elif kind == "stored":
            self.served(*numbers)
        elif kind == "completed":
            self.completed(r)
        else:
            self.arrive()


def run_twin(drive: Drive, workload: DriveWorkload | Plan) -> TwinOutcome:
    """Ask ``drive`` for ``workload``, slowly; for drives of a few thousand pages."""
    run = _Run(drive, pattern_plan(drive, workload) if isinstance(workload, DriveWorkload) else workload)
    run.prepare()
    run.run()
    latency = sum(each for each in run.latencies if each >= 0)
    counts = {**run.counts, **run.table.counts}
    return TwinOutcome(run.now, run.done, latency, run.latencies, run.done_sectors, counts, run.log)
