"""What ``tiercade experts`` does: a routing stream from a file or a router, its statistics, and curves of caches."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import typer

from dse.cli.output import check_figure, check_file, print_document, write_figure
from dse.reports.table import print_rows
from simulator.collections.hit_rates import hit_curve, rate_at
from simulator.collections.replacement import Replacement, replacement
from workloads.errors import InputError
from workloads.traces.routing import RoutingStream
from workloads.traces.routing_files import RoutingTrace, read_routing, write_routing
from workloads.traces.routing_fitted import fitted_router
from workloads.traces.routing_statistics import routing_statistics, segment_routing
from workloads.traces.routing_sticky import StickyRouter, calibrated_router, sticky_routing

__all__ = ["ExpertOptions", "run_experts"]

_FLAGS = {"experts": "--experts", "batch": "--samples", "steps": "--tokens", "segment": "--segments"}
_FLAGS |= {"replacement": "--rules", "targets": "--published"}


@dataclass(frozen=True)
class ExpertOptions:
    """What was typed."""

    routing: Path | None
    router: str | None
    experts: int | None
    top_k: int | None
    layers: int | None
    skew: float
    spread: float
    drift: float
    memory_tokens: float
    repeat: float
    srp: float | None
    tokens: int
    samples: int
    seed: int
    segments: str
    rules: str
    rho: str
    published: Path | None


def run_experts(options: ExpertOptions, *, figure: Path | None, out: Path | None, as_json: bool) -> None:
    """Print the statistics and write what was asked for. Raises `InputError` that names the option."""
    if figure is not None:
        check_figure(figure)
    if out is not None:
        check_file(out)
    try:
        if options.published is not None:
            _print_published(options.published, as_json=as_json)
            return
        _run(options, figure, out, as_json)
    except InputError as error:
        if error.file is not None or error.field is None or error.field.startswith("--"):
            raise
        flag = _FLAGS.get(error.field, f"--{error.field.replace('_', '-')}")
        raise replace(error, field=flag) from None


def _run(options: ExpertOptions, figure: Path | None, out: Path | None, as_json: bool) -> None:
    segments = [_number(word, "--segments") for word in options.segments.split(",")]
    rhos = [_ratio(word) for word in options.rho.split(",")]
    rules = [replacement(word.strip()) for word in options.rules.split(",")]
    rules += [Replacement("sch", tokens) for tokens in segments]
    rules = list(dict.fromkeys(rules))
    title, stream, router = _stream(options, segments[0])
    active = stream.layers * stream.picks.shape[-1]
    curves = {rule.name: hit_curve(stream, rule) for rule in rules}
    found = routing_statistics(stream)
    consistency = [segment_routing(stream, tokens) for tokens in segments]
    if out is not None:
        write_routing(RoutingTrace(stream), out)
    if figure is not None:
        from dse.reports.figures.hit_rates import hit_rate_figure

        write_figure(hit_rate_figure(title, curves, active), figure)
    rates = {name: rate_at(curve, active, rhos) for name, curve in curves.items()}
    uniform = [min(1.0, rho * active / (stream.layers * stream.experts)) for rho in rhos]
    if as_json:
        print_document(
            {
                "routing": title,
                "router": None if router is None else asdict(router),
                "steps": stream.steps,
                "layers": stream.layers,
                "sequences": stream.picks.shape[2],
                "experts": stream.experts,
                "top_k": stream.picks.shape[3],
                "zipf": found.zipf,
                "repeat_share": found.repeat_share,
                "frequency_deviation": found.frequency_deviation,
                "segments": [asdict(segment) for segment in consistency],
                "rho": rhos,
                "uniform": uniform,
                "hit_rates": rates,
            }
        )
        return
    repeats = "" if found.repeat_share is None else f", {found.repeat_share:.1%} of picks as the token before"
    typer.echo(
        f"{title}: {stream.picks.shape[2]:,} samples of {stream.steps:,} tokens, {stream.layers} layers, "
        f"{stream.picks.shape[3]} of {stream.experts} experts; popularity falls as rank^-{found.zipf:.2f}{repeats}"
    )
    print_rows(
        [
            {
                "segment_tokens": at.tokens,
                "SRP": f"{at.srp:.1%}",
                "kept / active": f"{at.best_m:.2f}",
                "kept from": f"{at.threshold} uses",
            }
            for at in consistency
        ]
    )
    typer.echo("hit rates of one cache over all layers, by slots over active experts")
    print_rows(
        [
            {"rule": name} | {f"{rho:g}x": f"{rate:.3f}" for rho, rate in zip(rhos, row, strict=True)}
            for name, row in [*rates.items(), ("uniform", uniform)]
        ]
    )


def _stream(options: ExpertOptions, segment: int) -> tuple[str, RoutingStream, StickyRouter | None]:
    named = [name for name in ("routing", "router", "experts") if getattr(options, name) is not None]
    if len(named) != 1:
        raise InputError(
            "no routing" if not named else f"{' and '.join(f'--{name}' for name in named)} together",
            expected="one of --routing FILE, --router NAME, or --experts with --top-k and --layers",
            field="--routing",
        )
    if options.routing is not None:
        return options.routing.name, read_routing(options.routing).stream, None
    if options.router is not None:
        title, router = options.router, fitted_router(options.router, layers=options.layers)
    else:
        if options.experts is None or options.top_k is None or options.layers is None:
            raise InputError("a router without layers or top-k", "--experts, --top-k and --layers", "--experts")
        title = "synthetic router"
        router = StickyRouter(
            options.layers,
            options.experts,
            options.top_k,
            skew=options.skew,
            spread=options.spread,
            drift=options.drift,
            memory_tokens=options.memory_tokens,
            repeat=options.repeat,
        )
    if options.srp is not None:
        router = calibrated_router(router, options.srp, segment, steps=options.tokens, batch=max(4, options.samples))
    stream = sticky_routing(router, steps=options.tokens, batch=options.samples, seed=options.seed)
    return title, stream, router


def _print_published(path: Path, *, as_json: bool) -> None:
    """Every fitted router's LRU, LFU and Belady beside the published ones."""
    from dse.validation.expert_caches import compare_routers

    rows = compare_routers(path)
    if as_json:
        document: list[dict[str, Any]] = [asdict(row) for row in rows]
        print_document(document)
        return
    typer.echo("hit rates at 2x the active experts, published / of the fitted router; misses in points over 1x to 3x")
    print_rows(
        [
            {"model": row.model}
            | {rule: f"{row.published[rule][1]:.3f} / {row.predicted[rule][1]:.3f}" for rule in row.published}
            | {f"{rule} misses": " ".join(f"{miss:+.1f}" for miss in row.misses(rule)) for rule in row.published}
            for row in rows
        ]
    )


def _number(word: str, option: str) -> int:
    if not word.strip().isdecimal() or not int(word):
        raise InputError(f"{word!r}", expected="whole numbers of at least 1, as in 16,64", field=option)
    return int(word)


def _ratio(word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = float("nan")
    if not 0 < value < float("inf"):
        raise InputError(f"{word!r}", expected="numbers above 0, as in 1,2,3", field="--rho")
    return value
