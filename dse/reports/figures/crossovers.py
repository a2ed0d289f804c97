"""Where offloading hides and who should update: a panel for each crossover, against context, bandwidth and batch."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from dse.reports.characteristics.sheet import Axis, Chart, Curve, Limit, Sheet
from dse.reports.figures.curves import curves_figure
from simulator.training.offload.crossover_curves import CONTEXT_STEP, Answers, DriveAnswer, HostAnswer, UpdateAnswer
from simulator.training.offload.update_crossovers import UpdateTimes

__all__ = ["crossovers_figure", "crossovers_sheet"]

_TOKENS = Axis("context_tokens", "context, tokens", "B", "log2")
_LINK = Axis("link_gb_per_s", "link, GB/s each direction", "", "log2")
_BATCH = Axis("batch", "sequences at once", "", "log2")
_SECONDS = Axis("update_s", "time of an update", "s", "log10")
_WAYS = {"by the host": "host_s", "states streamed": "streamed_s", "interleaved": "interleaved_s"}
_MOST_TOKENS = 1 << 24
_GB = 1e9


def crossovers_sheet(answers: Answers) -> Sheet:
    """All curves: three charts for host memory, for drives where there are some, and for the update."""
    question, machine = answers.question, answers.machine
    charts = [
        _host_rate(answers.host),
        _host_context(answers.host, question.context_range[0]),
        _host_batch(answers.host),
    ]
    if answers.drive is not None:
        drive = answers.drive
        charts += [_drive_width(drive, question.context), _drive_context(drive), _drive_years(drive)]
    charts += [_update_link(answers.update), _update_host(answers.update)]
    charts.append(_update_share(answers.update, question.context, question.share))
    many = f"{machine.devices} × " if machine.devices > 1 else ""
    headline = f"Training {question.model.name} on {many}{machine.name}, {question.fidelity} fidelity"
    settings = {"context": question.context, "batches": list(question.batches), "fidelity": question.fidelity}
    return Sheet(machine.name, "crossovers", headline, tuple(chart for chart in charts if chart is not None), settings)


def crossovers_figure(answers: Answers) -> Figure:
    """The sheet, drawn."""
    return curves_figure(crossovers_sheet(answers))


def _host_rate(host: HostAnswer) -> Chart:
    curves = tuple(
        Curve(way.words, tuple((float(p.context), p.needed_bytes_per_s("forward")) for p in points))
        for way, points in host.curves.items()
    )
    rate = Axis("needed_bytes_per_s", "link that hides all", "B/s", "log10")
    limits = (Limit("this machine's link", "y", host.link_bytes_per_s),)
    return Chart("host_rate_by_context", "Host memory: link by context", _TOKENS, rate, curves, limits)


def _host_context(host: HostAnswer, low: int) -> Chart | None:
    """None where no link drawn suffices anywhere. Of links over which all hides the slowest is drawn."""
    curves = []
    for way, points in host.by_link.items():
        known = [(rate, context) for rate, context in points if context is not None]
        always = [rate for rate, context in known if context < low + CONTEXT_STEP]
        drawn = tuple((rate / _GB, float(context)) for rate, context in known if not always or rate <= always[0])
        curves.append(Curve(way.words, drawn))
    shown = tuple(curve for curve in curves if curve.points)
    tokens = Axis("hides_from_tokens", "hides from, tokens", "B", "log2")
    limits = (Limit("this machine's link", "x", host.link_bytes_per_s / _GB),)
    return Chart("context_by_link", "Host memory: context by link", _LINK, tokens, shown, limits) if shown else None


def _host_batch(host: HostAnswer) -> Chart:
    curves = tuple(
        Curve(way.words, tuple((float(p.batch), p.needed_bytes_per_s("forward")) for p in points))
        for way, points in host.by_batch.items()
    )
    limits = (Limit("this machine's link", "y", host.link_bytes_per_s),)
    rate = Axis("needed_bytes_per_s", "link that hides all", "B/s", "log10")
    return Chart("host_rate_by_batch", "Host memory: link by batch", _BATCH, rate, curves, limits)


def _drive_width(drive: DriveAnswer, context: int) -> Chart:
    rate = Axis("needed_bytes_per_s", "writes that hide all", "B/s", "log10")
    curves = tuple(
        Curve(f"{batch} × {context:,} tokens", tuple((float(p.hidden), p.needed_bytes_per_s()) for p in points))
        for batch, points in drive.by_width.items()
        if points
    )
    width = Axis("hidden", "hidden size", "B", "log2")
    return Chart("drive_rate_by_width", "Drives: writes by width", width, rate, curves, _drive_limits(drive))


def _drive_context(drive: DriveAnswer) -> Chart:
    rate = Axis("needed_bytes_per_s", "writes that hide all", "B/s", "log10")
    points = tuple((float(point.context), point.needed_bytes_per_s()) for point in drive.by_context)
    curves = (Curve("all kept", points),)
    return Chart("drive_rate_by_context", "Drives: writes by context", _TOKENS, rate, curves, _drive_limits(drive))


def _drive_years(drive: DriveAnswer) -> Chart:
    """By batch what all needs where it is not known how much the drives stand."""
    years = [(float(point.context), drive.years(point)) for point in drive.by_context]
    known = tuple((context, value) for context, value in years if value is not None)
    if known:
        axis = Axis("years", "years", "", "log10")
        curves = (Curve("as much as hides is written", known),)
        return Chart("drive_years_by_context", "Drives: years they last", _TOKENS, axis, curves)
    rate = Axis("needed_bytes_per_s", "writes that hide all", "B/s", "log10")
    points = tuple((float(point.batch), point.needed_bytes_per_s()) for point in drive.by_batch)
    curves = (Curve(f"of {drive.by_batch[0].context:,} tokens each", points),)
    return Chart("drive_rate_by_batch", "Drives: writes by batch", _BATCH, rate, curves, _drive_limits(drive))


def _drive_limits(drive: DriveAnswer) -> tuple[Limit, ...]:
    return (Limit("this machine's drives", "y", drive.write_bytes_per_s),)


def _update_link(update: UpdateAnswer) -> Chart:
    own = update.times.rates.link_bytes_per_s / _GB
    curves = _ways([times.rates.link_bytes_per_s / _GB for times in update.by_link], update.by_link)
    limits = (Limit("this machine's link", "x", own),)
    return Chart("update_by_link", "Update: seconds by link", _LINK, _SECONDS, curves, limits)


def _update_host(update: UpdateAnswer) -> Chart:
    memory = Axis("host_bytes_per_s", "host memory, a device", "B/s", "log10")
    curves = _ways([times.rates.host_bytes_per_s for times in update.by_host], update.by_host)
    limits = (Limit("this machine's", "x", update.times.rates.host_bytes_per_s),)
    return Chart("update_by_host_memory", "Update: seconds by host memory", memory, _SECONDS, curves, limits)


def _ways(rates: Sequence[float], found: Sequence[UpdateTimes]) -> tuple[Curve, ...]:
    def points(name: str) -> tuple[tuple[float, float], ...]:
        return tuple((rate, getattr(times, name)) for rate, times in zip(rates, found, strict=True))

    moved = tuple(Curve(words, points(name)) for words, name in _WAYS.items())
    return (*moved, Curve("states on the device", points("resident_s"), bound=True))


def _update_share(update: UpdateAnswer, context: int, share: float) -> Chart:
    counts = _doublings(context, min(_MOST_TOKENS, 2 * context * max(update.sequences.values())))

    def points(seconds: float) -> tuple[tuple[float, float], ...]:
        return tuple((float(n), 100 * seconds / (seconds + n / context * update.pass_s)) for n in counts)

    curves = tuple(Curve(words, points(getattr(update.times, name))) for words, name in _WAYS.items())
    tokens = Axis("step_tokens", "tokens of a step", "B", "log2")
    percent = Axis("update_percent", "of the step, %")
    limits = (Limit(f"{100 * share:g} %", "y", 100 * share),)
    return Chart("update_share_by_tokens", "Update: share of a step", tokens, percent, curves, limits)


def _doublings(first: int, last: int) -> Sequence[int]:
    found = [first]
    while found[-1] < last:
        found.append(2 * found[-1])
    return found
