"""``tiercade experts``: its options. What it does is in `dse.cli.experts_run`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["experts"]


def experts(
    routing: Annotated[Path | None, typer.Option(metavar="FILE", help="A routing trace: .csv, .jsonl or .npz.")] = None,
    router: Annotated[
        str | None, typer.Option(metavar="NAME", help="A router fitted to a model: mixtral-8x7b, olmoe, qwen3...")
    ] = None,
    count: Annotated[int | None, typer.Option("--experts", help="Of a synthetic router: experts per layer.")] = None,
    top_k: Annotated[int | None, typer.Option(help="Of a synthetic router: experts per token.")] = None,
    layers: Annotated[int | None, typer.Option(help="Layers with experts; a fitted router's when left out.")] = None,
    skew: Annotated[float, typer.Option(help="Zipf exponent of the popularity all sequences share.")] = 0.0,
    spread: Annotated[float, typer.Option(help="Preference that lasts for a sequence.")] = 0.0,
    drift: Annotated[float, typer.Option(help="Preference that drifts over --memory-tokens.")] = 0.0,
    memory_tokens: Annotated[float, typer.Option(help="Over how many tokens the drift forgets.")] = 32.0,
    repeat: Annotated[float, typer.Option(help="Preference for the experts of the token before.")] = 0.0,
    srp: Annotated[
        float | None, typer.Option(help="Set the drift so that the first segment's SRP is this share.")
    ] = None,
    tokens: Annotated[int, typer.Option(help="Tokens of a drawn sample.")] = 512,
    samples: Annotated[int, typer.Option(help="Samples to draw.")] = 8,
    seed: Annotated[int, typer.Option(help="Seed of what is drawn.")] = 0,
    segments: Annotated[str, typer.Option(metavar="M,...", help="Tokens per segment of SRP and SCH.")] = "16,64",
    rules: Annotated[str, typer.Option(metavar="RULE,...", help="lru, lfu, belady or sch-M.")] = "lru,lfu,belady",
    rho: Annotated[str, typer.Option(metavar="X,...", help="Slots over active experts.")] = "1,2,3",
    published: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Published hit rates; set those of every fitted router beside them."),
    ] = None,
    figure: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the curves: .png or .svg.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the routing: .csv, .jsonl or .npz.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")] = False,
) -> None:
    """How consistently experts are picked (SRP), and what caches of them would hit (SCH, LRU, LFU, Belady)."""
    from dse.cli.experts_run import ExpertOptions, run_experts

    run_experts(
        ExpertOptions(
            routing=routing,
            router=router,
            experts=count,
            top_k=top_k,
            layers=layers,
            skew=skew,
            spread=spread,
            drift=drift,
            memory_tokens=memory_tokens,
            repeat=repeat,
            srp=srp,
            tokens=tokens,
            samples=samples,
            seed=seed,
            segments=segments,
            rules=rules,
            rho=rho,
            published=published,
        ),
        figure=figure,
        out=out,
        as_json=json,
    )
