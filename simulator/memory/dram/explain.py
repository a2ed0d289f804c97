"""Why a run is as fast as it is: the ticks in which a data bus carried nothing, by the rule that kept it waiting.

A gap before a column command is charged to the timing rule that became satisfied last. Where that was the activation of
its row, the gap is charged to what held up the activation, and so on back through the precharge: so random traffic is
charged to tFAW or to a row cycle, not to tRCD. What a command waited beyond its rules was due to other commands on its
bus, or its request was not there yet: behind others in a full queue, or not yet offered.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from simulator.memory.dram.device import Constraint, Device
from simulator.memory.dram.outcome import CommandLog
from simulator.memory.dram.tables import ACT, ACT2, COMMANDS, PRE, PREA, RD, RDA, REF, REFB, WR, WRA, command_number

__all__ = ["NO_REQUEST", "Explanation", "explain", "together"]

NO_REQUEST = "no request at hand"
"""What a gap is charged to when nothing forbade the command: it waited behind others, or had not been offered."""

_COLUMNS = (RD, WR, RDA, WRA)
_DEEPEST = 8


@dataclass(frozen=True)
class Explanation:
    """Ticks of all data buses from the first to the last burst: ``busy_ticks`` carried data, ``lost_ticks`` did not.

    ``lost_ticks`` are by cause, the largest first.
    """

    busy_ticks: int
    lost_ticks: dict[str, int]

    @property
    def total_ticks(self) -> int:
        """Busy and lost."""
        return self.busy_ticks + sum(self.lost_ticks.values())

    def __str__(self) -> str:
        total = max(1, self.total_ticks)
        parts = [f"{cause} {ticks / total:.1%}" for cause, ticks in self.lost_ticks.items() if ticks / total >= 0.0005]
        busy = f"data on {self.busy_ticks / total:.1%} of the ticks"
        return f"{busy}; lost to {', '.join(parts)}" if parts else busy


def together(found: Sequence[Explanation]) -> Explanation:
    """Several stretches as one."""
    lost: dict[str, int] = defaultdict(int)
    for one in found:
        for cause, ticks in one.lost_ticks.items():
            lost[cause] += ticks
    ordered = dict(sorted(lost.items(), key=lambda item: (-item[1], item[0])))
    return Explanation(sum(one.busy_ticks for one in found), ordered)


@dataclass(frozen=True)
class _Sent:
    """A command of the log, and what it had to wait for longest: a rule and the command before."""

    tick: int
    command: int
    nodes: dict[str, tuple[int, ...]]
    legal_tick: int
    rule: str
    before: int


def explain(device: Device, log: CommandLog) -> Explanation:
    """Charge the gaps between the bursts of ``log``."""
    sent = _replay(device, log)
    taken = {(_bus(device, one.command), one.tick) for one in sent}
    per_channel = device.data_buses == 1
    last: dict[int, int] = {}
    busy = 0
    lost: dict[str, int] = defaultdict(int)
    for number, one in enumerate(sent):
        if one.command not in _COLUMNS:
            continue
        bus = 0 if per_channel else one.nodes["rank"][0]
        busy += device.burst_ticks
        latency = device.read_latency_ticks if one.command in (RD, RDA) else device.write_latency_ticks
        end = one.tick + latency
        if bus in last and end - device.burst_ticks > last[bus]:
            for cause, ticks in _charge(device, sent, taken, number, end - device.burst_ticks - last[bus]):
                lost[cause] += ticks
        last[bus] = end
    return Explanation(busy, dict(sorted(lost.items(), key=lambda item: (-item[1], item[0]))))


def _charge(
    device: Device, sent: list[_Sent], taken: set[tuple[int, int]], number: int, ticks: int
) -> Iterator[tuple[str, int]]:
    """``ticks`` before a command by cause: what it waited beyond its rules, then what its rules waited for."""
    for _ in range(_DEEPEST):
        one = sent[number]
        waited = min(ticks, one.tick - one.legal_tick)
        if waited:
            cause = _beyond_rules(device, taken, one)
            if cause == NO_REQUEST:
                break
            yield cause, waited
            ticks -= waited
        if not ticks:
            return
        before = sent[one.before].command if one.before >= 0 else -1
        if before in (REF, REFB):
            yield "refresh", ticks
            return
        if one.command == PRE and before == ACT:
            yield "row cycle", ticks
            return
        opens = one.command in (*_COLUMNS, ACT2) and before in (ACT, ACT2)
        if not opens and not (one.command == ACT and before in (PRE, PREA)):
            yield one.rule, ticks
            return
        number = one.before
    yield NO_REQUEST, ticks


def _beyond_rules(device: Device, taken: set[tuple[int, int]], one: _Sent) -> str:
    """A command that may go and is at hand goes as soon as its bus is free."""
    waited = [tick for tick in range(one.legal_tick, one.tick) if tick % 2 or not device.half_clock]
    if not waited:
        return "clock edge"
    bus = _bus(device, one.command)
    return "command bus" if all((bus, tick) in taken for tick in waited) else NO_REQUEST


def _bus(device: Device, command: int) -> int:
    names = ("ACT", "ACT1") if command == ACT else (COMMANDS[command],)
    return next(number for number, bus in enumerate(device.buses) if any(name in bus for name in names))


def _replay(device: Device, log: CommandLog) -> list[_Sent]:
    """Every command of the log with the rule that allowed it last."""
    rules: dict[int, list[tuple[Constraint, int]]] = defaultdict(list)
    for rule in device.constraints:
        before, after = command_number(rule.before), command_number(rule.after)
        if before >= 0 and after >= 0 and rule.ticks > 0:
            rules[after].append((rule, before))
    _, stacks, groups, banks = device.shape
    first = device.levels[0].name
    past: dict[tuple[int, str, tuple[int, ...]], list[tuple[int, int]]] = defaultdict(list)
    siblings: dict[tuple[int, str, tuple[int, ...]], dict[tuple[int, ...], tuple[int, int]]] = defaultdict(dict)
    sent: list[_Sent] = []
    for tick, command, rank, bank in zip(
        log.tick.tolist(), log.command.tolist(), log.rank.tolist(), log.bank.tolist(), strict=True
    ):
        nodes: dict[str, tuple[int, ...]] = {"channel": (), "rank": (rank,), first: (rank,)}
        if bank >= 0:
            within = bank // banks % (stacks * groups)
            nodes |= {"sid": (rank, within // groups), "bankgroup": (rank, within), "bank": (bank,)}
        legal, name, cause = 0, NO_REQUEST, -1
        for rule, before in rules[command]:
            if rule.scope not in nodes:
                continue
            node = nodes[rule.scope]
            if rule.sibling:
                others = siblings[before, rule.scope, node[:-1]]
                found = max((value for other, value in others.items() if other != node), default=None)
            else:
                history = past[before, rule.scope, node]
                found = history[-rule.window] if len(history) >= rule.window else None
            if found is not None and found[0] + rule.ticks > legal:
                legal, name, cause = found[0] + rule.ticks, rule.name, found[1]
        number = len(sent)
        sent.append(_Sent(tick, command, nodes, legal, name, cause))
        for scope, node in nodes.items():
            history = past[command, scope, node]
            history.append((tick, number))
            del history[:-4]
            siblings[command, scope, node[:-1]][node] = (tick, number)
    return sent
