"""The mapping layer once more, in plain Python with dictionaries and lists; see `twin` for the rules."""

from __future__ import annotations

from collections import OrderedDict

from simulator.memory.flash.drive import Drive
from simulator.memory.flash.twin_state import Block, Operation, OutOfBlocks, Plane, below, sectors

__all__ = ["Table"]


class Table:
    """Where every page is, and which part of that the controller knows."""

    def __init__(self, drive: Drive, *, whole: bool) -> None:
        self.drive, self.whole = drive, whole
        geometry = drive.geometry
        self.pages = geometry.pages_per_block
        self.planes = [
            Plane({plane * geometry.blocks_per_plane + b: Block() for b in range(geometry.blocks_per_plane)})
            for plane in range(geometry.planes)
        ]
        self.where: dict[tuple[str, int], tuple[int, int, int]] = {}  # plane, block, page
        self.written: dict[int, int] = {}  # sectors that hold data
        self.known: OrderedDict[int, str] = OrderedDict()  # waiting, clean or dirty; the oldest first
        self.waiting: dict[int, list[Operation]] = {}
        self.reading: dict[int, int] = {}
        self.merging: set[int] = set()
        self.leaving: dict[int, int] = {}
        self.counts = dict.fromkeys(
            ("mapping_reads", "mapping_programs", "merge_reads", "host", "moved", "gc", "levellings", "levelled"), 0
        )
        self.erases_due = [0] * geometry.chips
        self.timed = False
        self.seq = 0
        self.touched: set[int] = set()
        self.pick_rng = 0

    def plane_of(self, lpa: int) -> int:
        g = self.drive.geometry
        channel, lpa = lpa % g.channels, lpa // g.channels
        way, lpa = lpa % g.chips_per_channel, lpa // g.chips_per_channel
        die, lpa = lpa % g.dies_per_chip, lpa // g.dies_per_chip
        return ((channel * g.chips_per_channel + way) * g.dies_per_chip + die) * g.planes_per_die + (
            lpa % g.planes_per_die
        )

    def chip_of(self, plane: int) -> int:
        return plane // (self.drive.geometry.dies_per_chip * self.drive.geometry.planes_per_die)

    def block(self, op: Operation) -> Block:
        return self.planes[op.plane].blocks[op.block]

    def enqueue(self, op: Operation, queue: str) -> None:
        op.seq = self.seq
        self.seq += 1
        self.planes[op.plane].queues[queue].append(op)
        self.touched.add(self.chip_of(op.plane) // self.drive.geometry.chips_per_channel)

    def open_block(self, number: int, use: str) -> None:
        plane = self.planes[number]
        free = [(block.erases, name) for name, block in plane.blocks.items() if block.state == "free"]
        if not free:
            raise OutOfBlocks
        most = max(free)[0]
        plane.open[use] = min(name for erases, name in free if erases == most) if use == "cold" else min(free)[1]
        plane.blocks[plane.open[use]].state = "open"

    def may_open(self, number: int, use: str) -> bool:
        """Whether a block is free; for mapping pages one beyond what moves have been promised."""
        plane = self.planes[number]
        return plane.pool > 0 and (use != "map" or plane.moving <= self.room(number, kept=plane.levelling + 1))

    def take_page(self, number: int, use: str, owner: tuple[str, int]) -> tuple[int, int, int]:
        plane = self.planes[number]
        if use == "map" and use not in plane.open and "data" in plane.open and not self.may_open(number, use):
            use = "data"
        if use not in plane.open:
            self.open_block(number, use)
        name = plane.open[use]
        block = plane.blocks[name]
        block.owners.append(owner)
        block.busy += self.timed  # before collection is looked at: not this block
        place = (number, name, len(block.owners) - 1)
        self.where[owner] = place
        if len(block.owners) == self.pages:
            block.state = "closed"
            if use == "cold" or not self.may_open(number, use):
                del plane.open[use]
            else:
                self.open_block(number, use)
            self.collect(number)
        return place

    def invalidate(self, owner: tuple[str, int]) -> None:
        plane, block, page = self.where[owner]
        self.planes[plane].blocks[block].owners[page] = None

    def victim(self, number: int) -> int | None:
        plane, collection = self.planes[number], self.drive.mapping.collection
        first = min(plane.blocks)

        def fits(name: int) -> bool:
            return plane.blocks[name].idle

        drawn: list[int] = []
        tries, wanted = 0, max(1, len(plane.blocks).bit_length() - 1)
        while collection.policy == "random-greedy" and len(drawn) < wanted and tries < 8 * len(plane.blocks):
            tries += 1
            self.pick_rng, number_drawn = below(self.pick_rng, len(plane.blocks))
            block = plane.blocks[first + number_drawn]
            if block.state in ("closed", "free") and block.busy == 0 and first + number_drawn not in drawn:
                drawn.append(first + number_drawn)
        names = [name for name in drawn if fits(name)]
        if all(plane.blocks[name].valid == self.pages for name in names):
            names += [name for name in plane.blocks if fits(name)]
        best = min(names, key=lambda name: plane.blocks[name].valid, default=first)
        return None if not names or plane.blocks[best].valid == self.pages else best

    def collect(self, number: int) -> None:
        """Start a collection if there should be one."""
        plane, collection = self.planes[number], self.drive.mapping.collection
        most = collection.most_at_once if self.timed else 1
        if plane.pool >= self.drive.collection_start_blocks or plane.collecting >= most:
            return
        name = self.victim(number)
        if name is None or plane.moving + plane.blocks[name].valid > self.room(number, kept=plane.levelling):
            return
        plane.collecting += 1
        self.counts["gc"] += self.timed
        self.empty(number, name)

    def room(self, number: int, *, kept: int) -> int:
        """Pages that moves may still be promised, ``kept`` free blocks left out."""
        plane = self.planes[number]
        left = self.pages - len(plane.blocks[plane.open["moved"]].owners) if "moved" in plane.open else 0
        return left + (plane.pool - kept) * self.pages

    def level(self, number: int, erases: int) -> bool:
        """A block has been erased for the ``erases``-th time: move what lies in the least erased one, if it should."""
        plane, levelling = self.planes[number], self.drive.mapping.wear_levelling
        full = [(block.erases, name) for name, block in plane.blocks.items() if block.idle]
        if levelling is None or plane.levelling or not full or erases - min(full)[0] <= levelling.static_threshold:
            return False
        block = plane.blocks[min(full)[1]]
        if plane.moving + block.valid > self.room(number, kept=1):
            return False
        plane.levelling = block.levelled = True
        self.counts["levellings"] += self.timed
        self.empty(number, min(full)[1])
        return True

    def empty(self, number: int, name: int) -> None:
        plane = self.planes[number]
        block = plane.blocks[name]
        block.state, block.left = "collected", block.valid
        plane.moving += block.valid
        self.pending = name
        if not self.timed:
            return
        self.erases_due[self.chip_of(number)] += 1
        for page, owner in enumerate(block.owners):
            if owner is not None:
                op = Operation("move read", 0, self.drive.geometry.page_bytes, plane=number, block=name, page=page)
                self.enqueue(op, "move read")
        self.maybe_erase(number, name)

    def maybe_erase(self, number: int, name: int) -> None:
        block = self.planes[number].blocks[name]
        if block.state == "collected" and block.left == 0 and block.busy == 0:
            block.state = "erasing"
            self.enqueue(Operation("erase", 0, plane=number, block=name), "erase")

    def remember(self, lpa: int, state: str) -> None:
        if len(self.known) == self.entries:
            old = next(key for key, value in self.known.items() if value != "waiting")
            dirty = self.known.pop(old) == "dirty"
            if dirty and self.timed:
                self.write_back(old // self.drive.entries_per_mapping_page)
        self.known[lpa] = state

    entries = 1

    def write_back(self, t: int) -> None:
        for lpa, state in self.known.items():
            if state == "dirty" and lpa // self.drive.entries_per_mapping_page == t:
                self.known[lpa] = "clean"
        if t in self.merging:
            return
        self.merging.add(t)
        self.read_mapping(t, "map merge", self.drive.geometry.page_bytes)

    def read_mapping(self, t: int, kind: str, size_bytes: int) -> None:
        self.reading[t] = self.reading.get(t, 0) + 1
        plane, block, page = self.where["map", t]
        op = Operation(kind, t, size_bytes, plane=plane, block=block, page=page)
        self.block(op).busy += 1
        self.counts["mapping_reads"] += 1
        self.enqueue(op, "map read")

    def changed(self, lpa: int) -> None:
        if lpa in self.known:
            self.known[lpa] = "dirty"

    def dispatch(self, op: Operation) -> None:
        if self.whole:
            self.place(op)
            return
        lpa = op.lpa
        if self.known.get(lpa, "waiting") != "waiting":
            self.known.move_to_end(lpa)
            self.place(op)
            return
        t = lpa // self.drive.entries_per_mapping_page
        if not self.reading.get(t) and self.leaving.get(t):
            self.remember(lpa, "clean")
            self.place(op)
            return
        if lpa not in self.known:
            self.remember(lpa, "waiting")
        self.waiting.setdefault(t, []).append(op)
        if not self.reading.get(t):
            self.read_mapping(t, "map read", 512)

    def arrived(self, t: int) -> None:
        self.reading[t] -= 1
        for op in self.waiting.pop(t, []):
            if self.known[op.lpa] == "waiting":
                self.known[op.lpa] = "clean"
            self.place(op)

    def place(self, op: Operation) -> None:
        lpa, owner = op.lpa, ("data", op.lpa)
        if op.kind == "read":
            if owner in self.where:
                op.plane, op.block, op.page = self.where[owner]
            else:
                op.plane = self.plane_of(lpa)
                row = lpa // len(self.planes)
                op.block = min(self.planes[op.plane].blocks) + row // self.pages
                op.page = row % self.pages
            self.queue_read(op)
            return
        number = self.plane_of(lpa)
        if self.planes[number].pool < self.drive.mapping.collection.stop_blocks:
            self.planes[number].stopped.append(op)
            if self.planes[number].collecting == 0:
                self.collect(number)
            return
        merge = None
        held = self.written.get(lpa, 0)
        if owner in self.where:
            plane, block, page = self.where[owner]
            self.invalidate(owner)
            if held & ~op.bits:
                merge = Operation(
                    "merge read", lpa, 512 * sectors(held & ~op.bits), plane=plane, block=block, page=page
                )
                merge.linked = op
                self.block(merge).busy += 1
                self.counts["merge_reads"] += 1
        op.plane, op.block, op.page = self.take_page(number, "data", owner)
        self.written[lpa] = held | op.bits
        op.size_bytes = 512 * sectors(held | op.bits)
        self.changed(lpa)
        self.counts["host"] += 1
        if merge is None:
            self.enqueue(op, "write")
        else:
            self.block(merge).busy -= 1
            self.queue_read(merge)

    def queue_read(self, op: Operation) -> None:
        block = self.block(op)
        block.busy += 1
        self.enqueue(op, "move read" if block.state in ("collected", "erasing") else "read")

    def write_back_ready(self, t: int) -> None:
        self.merging.discard(t)
        self.leaving[t] = self.leaving.get(t, 0) + 1
        self.invalidate(("map", t))
        plane, block, page = self.take_page(self.plane_of(t), "map", ("map", t))
        op = Operation("map write", t, self.drive.geometry.page_bytes, plane=plane, block=block, page=page)
        self.counts["mapping_programs"] += 1
        self.enqueue(op, "map")

    def move(self, number: int, owner: tuple[str, int]) -> tuple[int, int, int]:
        levelled = self.planes[number].blocks[self.where[owner][1]].levelled
        self.invalidate(owner)
        self.planes[number].moving -= 1
        place = self.take_page(number, "cold" if levelled else "moved", owner)
        self.counts["levelled"] += self.timed and levelled
        if owner[0] == "data" and not self.whole:
            if owner[1] not in self.known:
                self.remember(owner[1], "dirty")
            elif self.known[owner[1]] != "waiting":
                self.known[owner[1]] = "dirty"
        self.counts["moved"] += self.timed
        return place

    def write_before(self, lpa: int) -> None:
        """Write before the clock starts."""
        owner = ("data", lpa)
        number = self.plane_of(lpa)
        plane = self.planes[number]
        if owner in self.where:
            self.invalidate(owner)
        self.take_page(number, "data", owner)
        self.written[lpa] = 2 ** (self.drive.geometry.page_bytes // 512) - 1
        while plane.collecting:
            self.emptied_before(number, self.pending)
            if self.level(number, plane.blocks[self.pending].erases):
                self.emptied_before(number, self.pending)
            self.collect(number)

    def emptied_before(self, number: int, name: int) -> None:
        for moved in list(self.planes[number].blocks[name].owners):
            if moved is not None:
                self.move(number, moved)
        self.erased(number, name)

    pending = 0

    def fill(self, valid_pages: tuple[tuple[int, ...], ...]) -> None:
        """The state that a workload starts from, page by page."""
        full: list[list[tuple[int, int]]] = []  # of each plane, the places that hold valid pages
        for number, plane in enumerate(self.planes):
            valid = valid_pages[number % len(valid_pages)]
            first = min(plane.blocks)
            for name in range(first, first + len(valid)):
                plane.blocks[name].state = "closed"
                plane.blocks[name].owners = [None] * self.pages
            full.append([(first + b, page) for b, pages in enumerate(valid) for page in range(pages)])
        lpa = 0
        while any(full):
            number = self.plane_of(lpa)
            if full[number]:
                name, page = full[number].pop(0)
                self.planes[number].blocks[name].owners[page] = ("data", lpa)
                self.where["data", lpa] = (number, name, page)
                self.written[lpa] = 2 ** (self.drive.geometry.page_bytes // 512) - 1
            lpa += 1

    def erased(self, number: int, name: int) -> None:
        old = self.planes[number].blocks[name]
        self.planes[number].blocks[name] = Block(erases=old.erases + 1, busy=old.busy)
        if old.levelled:
            self.planes[number].levelling = False
        else:
            self.planes[number].collecting -= 1
