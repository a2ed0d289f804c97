"""``tiercade serve``: its options. What it does is in `dse.cli.serve_run`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["serve"]

Text = typer.Option


def serve(
    model: Annotated[str, Text(help="A name from 'tiercade list models', or a Hugging Face config.json.")],
    system: Annotated[str, Text(help="A name from 'tiercade list systems', or a YAML file: one device of it.")],
    requests: Annotated[
        str, Text(metavar="FILE|NAME-like[:N][@RATE]", help="A request trace, or requests drawn like those of one.")
    ],
    tp: Annotated[int | None, Text("--tp", help="Tensor parallel devices; the system's when left out.")] = None,
    pp: Annotated[int, Text("--pp", help="Pipeline stages.")] = 1,
    ep: Annotated[int, Text("--ep", help="Devices the experts are divided over.")] = 1,
    dp: Annotated[int, Text("--dp", help="Replicas.")] = 1,
    routing: Annotated[
        str, Text(metavar="RULE", help="Between replicas: round-robin, least-loaded or prefix.")
    ] = "least-loaded",
    disaggregate: Annotated[
        str | None, Text(metavar="P:D", help="P replicas for prompts and D for the tokens after the first.")
    ] = None,
    kv_link: Annotated[
        str | None, Text(metavar="BANDWIDTH", help="From a replica for prompts, '50 GB/s'; its fabric when left out.")
    ] = None,
    overlap: Annotated[bool, Text("--overlap", help="Layers' keys and values leave as they are computed.")] = False,
    scheduler: Annotated[str, Text(help="chunked, prefill-first or static.")] = "chunked",
    policy: Annotated[
        str, Text(help="Who goes first: fcfs, priority (a column of the trace) or shortest (an oracle).")
    ] = "fcfs",
    preemption: Annotated[str, Text(help="Where memory is out: recompute, or park in a tier of --kv.")] = "recompute",
    batch: Annotated[int, Text(help="Sequences of one replica at once.")] = 128,
    token_budget: Annotated[int, Text(help="New tokens of one step.")] = 2048,
    kv: Annotated[
        str, Text(metavar="KIND", help="paged:16, contiguous:max, pages:2MiB, prefix:16, paged:16+ddr...")
    ] = "paged:16",
    relay: Annotated[bool, Text("--relay", help="Read once what all running sequences share; --kv prefix.")] = False,
    kv_share: Annotated[float, Text(help="Of a device's memory, for weights and KV.")] = 0.9,
    kv_format: Annotated[str | None, Text(help="Storage format of keys and values: fp8_e4m3, int4_g128...")] = None,
    weights: Annotated[str | None, Text(help="Storage format of the weights.")] = None,
    offload: Annotated[
        list[str] | None,
        Text(metavar="NAME[:ARGS]", help="A policy from 'tiercade list policies', such as cpu-attention."),
    ] = None,
    rate: Annotated[
        float | None,
        Text(metavar="REQUESTS/S", help="Stretch arrivals to this mean rate, or draw them where all come at once."),
    ] = None,
    until: Annotated[int | None, Text(metavar="N", help="Only the first N requests.")] = None,
    seed: Annotated[int, Text(help="Seed of requests that are drawn.")] = 0,
    slo_ttft: Annotated[str | None, Text(metavar="TIME", help="Goodput: the first token within this, '1 s'.")] = None,
    slo_tpot: Annotated[str | None, Text(metavar="TIME", help="Goodput: further ones within this, '50 ms'.")] = None,
    price: Annotated[float | None, Text(help="Of one device for an hour, in any currency.")] = None,
    fidelity: Annotated[
        str | None, Text(help="roofline, mapped or kernel; kernel when left out, where the system runs any.")
    ] = None,
    software: Annotated[str | None, Text(help="Kernel fidelity: the engine and version whose kernels run.")] = None,
    changes: Annotated[
        list[str] | None, Text("--set", metavar="PATH=VALUE", help="Change the system: tiers.hbm.capacity='96 GB'.")
    ] = None,
    out: Annotated[Path | None, Text(help="Write a run folder with figure, columns and inputs here.")] = None,
    figure: Annotated[Path | None, Text(metavar="FILE", help="Draw it: .png or .svg.")] = None,
    json: Annotated[bool, Text("--json", help="Print one JSON document on standard output.")] = False,
) -> None:
    """Serve a request trace: latencies, goodput, memory, energy and cost of continuous batching.

    Ctrl-C ends it early and tells what has been served so far.
    """
    from dse.cli.serve_run import ServeOptions, run_serve

    options = ServeOptions(
        model=model,
        system=system,
        requests=requests,
        tp=tp,
        pp=pp,
        ep=ep,
        dp=dp,
        routing=routing,
        disaggregate=disaggregate,
        kv_link=kv_link,
        overlap=overlap,
        scheduler=scheduler,
        policy=policy,
        preemption=preemption,
        relay=relay,
        batch=batch,
        token_budget=token_budget,
        kv=kv,
        kv_share=kv_share,
        kv_format=kv_format,
        weights=weights,
        offload=tuple(offload or ()),
        rate=rate,
        until=until,
        seed=seed,
        slo_ttft=slo_ttft,
        slo_tpot=slo_tpot,
        price=price,
        fidelity=fidelity,
        software=software,
        changes=tuple(changes or ()),
    )
    code = run_serve(options, out=out, figure=figure, as_json=json)
    if code:
        raise typer.Exit(code)
