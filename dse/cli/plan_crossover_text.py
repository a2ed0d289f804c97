"""The report of ``tiercade plan crossover`` for people: three short tables."""

from __future__ import annotations

from simulator.training.offload.crossover_curves import CONTEXT_STEP, Answers

__all__ = ["report"]


def report(answers: Answers) -> str:
    """An answer under each heading."""
    question, machine = answers.question, answers.machine
    many = f"{machine.devices} x " if machine.devices > 1 else ""
    lines = [f"{question.model.name} on {many}{machine.name}, {question.fidelity} fidelity"]
    lines += ["", *_host(answers), "", *_drive(answers), "", *_update(answers)]
    return "\n".join(lines)


def _context(context: int | None, answers: Answers) -> str:
    low, high = answers.question.context_range
    if context is None:
        return f"not up to {high:,}"
    return f"all from {low:,}" if context < low + CONTEXT_STEP else f"{context:,} tokens"


def _host(answers: Answers) -> list[str]:
    host = answers.host
    lines = [
        f"offload to {host.name} behind the forward pass, over {host.link_bytes_per_s / 1e9:,.1f} GB/s",
        f"  {'what is kept':24}{'hides from':>20}{'host is full from':>20}{'needs at ' + _short(answers):>22}",
    ]
    place = _near(answers)
    for way, points in host.curves.items():
        full = host.full_from[way]
        lines.append(
            f"  {way.words:24}{_context(host.hides_from[way], answers):>20}"
            f"{'-' if full is None else f'{full:,} tokens':>20}"
            f"{points[place].needed_bytes_per_s('forward') / 1e9:>17,.1f} GB/s"
        )
    return lines


def _near(answers: Answers) -> int:
    """The place of the drawn context nearest the question's."""
    points = next(iter(answers.host.curves.values()))
    return min(range(len(points)), key=lambda at: abs(points[at].context - answers.question.context))


def _short(answers: Answers) -> str:
    points = next(iter(answers.host.curves.values()))
    return f"{points[_near(answers)].context:,}"


def _drive(answers: Answers) -> list[str]:
    drive = answers.drive
    if drive is None:
        return [f"offload to drives: {answers.machine.name} has none behind its host memory"]
    lines = [
        f"offload to {drive.name} behind both passes, {drive.write_bytes_per_s / 1e9:,.1f} GB/s of writes a device: "
        f"hides {'' if drive.hides_from is None else 'from '}{_context(drive.hides_from, answers)}",
        f"  {'hidden size':>12}" + "".join(f"{f'{b} x {answers.question.context:,}':>26}" for b in drive.by_width),
    ]
    for place, first in enumerate(next(iter(drive.by_width.values()))):
        row = f"  {first.hidden:>12,}"
        for points in drive.by_width.values():
            needed, share = points[place].needed_bytes_per_s(), 1 / points[place].ratio(drive.write_bytes_per_s)
            row += f"{f'{needed / 1e9:,.1f} GB/s, {100 * min(1.0, share):.0f} % hides':>26}"
        lines.append(row)
    years = drive.years(drive.by_batch[0])
    if years is None:
        lines.append("  how long drives last: unknown; --drive-writes, what all of them are rated for, tells")
    else:
        lines.append(
            f"  drives last {years:,.2g} years when what hides of {drive.by_batch[0].batch} x "
            f"{answers.question.context:,} tokens is written step after step"
        )
    return lines


def _update(answers: Answers) -> list[str]:
    update, question = answers.update, answers.question
    times = update.times
    lines = [
        f"update of {update.parameters / 1e9:,.2f} B parameters a device, states in {answers.host.name}",
        f"  {'who':24}{'seconds':>10}   at most {100 * question.share:g} % of a step from",
    ]
    strides = {None: "the host does all", 1: "the device does all"}
    stride = strides.get(times.stride, f"every {times.stride}. subgroup by the device")
    for words, name, seconds in (
        ("host's processors", "host", times.host_s),
        ("device, states streamed", "streamed", times.streamed_s),
        ("interleaved", "interleaved", times.interleaved_s),
    ):
        count = update.sequences[name]
        extra = f" ({stride})" if name == "interleaved" else ""
        lines.append(f"  {words:24}{seconds:>10,.3f}   {count * question.context:,} tokens{extra}")
    lines.append(f"  {'states on the device':24}{times.resident_s:>10,.3f}")
    for what, rate in (
        ("streaming beats the host from a link of", update.streaming_wins_from),
        ("the host beats streaming from a memory of", update.host_wins_from),
    ):
        lines.append(f"  {what} {'no rate' if rate is None else f'{rate / 1e9:,.1f} GB/s a device'}")
    return lines
