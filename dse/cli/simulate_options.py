"""``tiercade simulate``: its options. What it does is in `dse.cli.simulate` and `dse.cli.simulate_step`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["simulate"]

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]


def simulate(
    model: Annotated[str, typer.Option(help="A name from 'tiercade list models', or a Hugging Face config.json.")],
    system: Annotated[str, typer.Option(help="A name from 'tiercade list systems', or a YAML file.")],
    phase: Annotated[
        str, typer.Option(help="prefill (time to first token), decode (time of one step) or train (one step).")
    ] = "decode",
    batch: Annotated[int, typer.Option(help="Sequences at once.")] = 1,
    context: Annotated[int, typer.Option(help="Tokens per sequence: the prompt, or all tokens so far.")] = 2048,
    past: Annotated[int, typer.Option(metavar="TOKENS", help="Of a prompt: tokens whose cache is there already.")] = 0,
    devices: Annotated[int | None, typer.Option(help="Equal devices to split the model over.")] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Change the system: tiers.hbm.capacity='96 GB'."),
    ] = None,
    weights: Annotated[str | None, typer.Option(help="Storage format of the weights, e.g. int4_g128.")] = None,
    kv_cache: Annotated[str | None, typer.Option(help="Storage format of keys and values.")] = None,
    activations: Annotated[str | None, typer.Option(help="Format of activations, embeddings and norms.")] = None,
    compute: Annotated[str | None, typer.Option(help="Format contractions are computed in.")] = None,
    place: Annotated[
        list[str] | None,
        typer.Option(metavar="ROLE=TIER", help="Pin a role (experts, attention, kv_cache...) to a tier."),
    ] = None,
    assign: Annotated[
        list[str] | None, typer.Option(metavar="KIND=ENGINE", help="Run operations of a kind on an engine.")
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[:ARGS]", help="A policy from 'tiercade list policies'; several apply in turn."),
    ] = None,
    ahead: Annotated[int, typer.Option(help="Layers streamed ahead of their use; 0 streams on demand.")] = 1,
    expert_cache: Annotated[
        int | None, typer.Option(metavar="SLOTS", help="Cache this many experts per layer, the rest in --expert-home.")
    ] = None,
    expert_home: Annotated[str, typer.Option(help="Tier the experts live in when they are cached.")] = "ddr",
    replacement: Annotated[
        str, typer.Option(metavar="RULE", help="Which cached expert leaves: lru, lfu, belady, sch-M.")
    ] = "lru",
    fetch: Annotated[
        str, typer.Option(help="on-demand, as-routed, prefetch-all, pre-gated, predicted, decoupled.")
    ] = "on-demand",
    fetch_ahead: Annotated[int, typer.Option(metavar="LAYERS", help="Layers with experts they come ahead.")] = 1,
    recall: Annotated[float, typer.Option(help="Share of the experts used that a predictor names.")] = 1.0,
    precision: Annotated[float, typer.Option(help="Share of the experts a predictor names that are used.")] = 1.0,
    misses_on: Annotated[
        str | None, typer.Option(metavar="ENGINE", help="Compute missed experts where they live, on this engine.")
    ] = None,
    cold_experts: Annotated[
        str | None, typer.Option(metavar="FORMAT[:SHARE]", help="Store the least used share (0.5) in this format.")
    ] = None,
    attention_parts: Annotated[
        int, typer.Option(metavar="N", help="Attention over N parts of the batch, experts over all of it.")
    ] = 1,
    routing: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Routing trace of the expert cache: .csv, .jsonl or .npz.")
    ] = None,
    router: Annotated[
        str | None, typer.Option(metavar="NAME", help="Routing of the expert cache like a model's: mixtral-8x7b...")
    ] = None,
    steps: Annotated[int, typer.Option(help="Decode steps timed with an expert cache.")] = 16,
    warmup: Annotated[int, typer.Option(help="Steps that fill the expert cache before.")] = 64,
    routing_skew: Annotated[float, typer.Option(help="Zipf exponent of the synthetic expert popularity.")] = 0.0,
    routing_repeat: Annotated[float, typer.Option(help="Chance that a token keeps an expert of the one before.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of the synthetic routing.")] = 0,
    fidelity: Annotated[str, typer.Option(help="Depth of the model: roofline, mapped, kernel or cycle.")] = "roofline",
    software: Annotated[
        str | None, typer.Option(help="Whose kernels run at kernel fidelity: vllm-0.24, vllm-0.14, torch-2024...")
    ] = None,
    constants: Annotated[
        str | None, typer.Option(metavar="FILE", help="Kernel constants as 'tiercade calibrate' writes them.")
    ] = None,
    what_ifs: Annotated[
        list[str] | None,
        typer.Option(
            "--what-if",
            metavar="PATH=CHANGE|all",
            help="What hbm.bandwidth=+20% (or x2, or a value) would change, and elasticities; all: these alone.",
        ),
    ] = None,
    checkpoint: Annotated[
        str | None, typer.Option(help="Of training, what is computed again: none, selective (attention) or full.")
    ] = None,
    checkpoint_every: Annotated[
        int | None, typer.Option(metavar="LAYERS", help="Checkpoint every so many layers' first one.")
    ] = None,
    loss: Annotated[str | None, typer.Option(help="Of training: logits (stored) or cut (made tile by tile).")] = None,
    gradients: Annotated[
        str | None, typer.Option(metavar="FORMAT", help="Of training: format gradients are kept in; bf16.")
    ] = None,
    global_batch: Annotated[
        int | None,
        typer.Option(metavar="SEQUENCES", help="Training over many devices: sequences of a step; --batch at a time."),
    ] = None,
    parallel: Annotated[
        str | None,
        typer.Option(metavar="KEY=N,...", help="Layout: tp, pp, dp, cp, ep, zero, chunks, sp, reshard: tp=8,zero=1."),
    ] = None,
    schedule: Annotated[
        str | None, typer.Option(help="Of the pipeline: 1f1b, interleaved, gpipe, zb-h1, zb-h2, v-half, v-min...")
    ] = None,
    context_exchange: Annotated[
        str | None, typer.Option(help="How devices that share a sequence see all of it: ring, gather or ulysses.")
    ] = None,
    prefetch: Annotated[
        int | None, typer.Option(metavar="LAYERS", help="Weights of so many layers are gathered ahead (zero=3).")
    ] = None,
    from_master: Annotated[
        bool, typer.Option("--from-master", help="16-bit weights are cast from the master copy (zero=3), not kept.")
    ] = False,
    expert_imbalance: Annotated[
        float | None, typer.Option(help="Tokens of the device with most for its experts, over the mean.")
    ] = None,
    straggler: Annotated[
        list[str] | None,
        typer.Option(metavar="STAGE=FACTOR", help="A stage that takes so many times as long; they count from 0."),
    ] = None,
    trace_out: Annotated[Path | None, typer.Option(help="Write a Chrome trace (opens in Perfetto).")] = None,
    memory_out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="With a layout: draw what devices hold over a training step; .png or .svg."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write a run folder with figures, trace and inputs here.")] = None,
    json: Json = False,
) -> None:
    """Simulate one phase of a model on a machine."""
    from dse.cli.simulate import Request, run_simulate

    request = Request(
        model=model,
        system=system,
        phase=phase,
        batch=batch,
        context=context,
        past=past,
        devices=devices,
        changes=tuple(changes or ()),
        weights=weights,
        kv_cache=kv_cache,
        activations=activations,
        compute=compute,
        place=tuple(place or ()),
        assign=tuple(assign or ()),
        policy=tuple(policy or ()),
        ahead=ahead,
        expert_cache=expert_cache,
        expert_home=expert_home,
        replacement=replacement,
        fetch=fetch,
        fetch_ahead=fetch_ahead,
        recall=recall,
        precision=precision,
        misses_on=misses_on,
        cold_experts=cold_experts,
        attention_parts=attention_parts,
        routing=None if routing is None else str(routing),
        router=router,
        steps=steps,
        warmup=warmup,
        routing_skew=routing_skew,
        routing_repeat=routing_repeat,
        seed=seed,
        fidelity=fidelity,
        software=software,
        constants=constants,
        checkpoint=checkpoint,
        checkpoint_every=checkpoint_every,
        loss=loss,
        gradients=gradients,
        global_batch=global_batch,
        parallel=parallel,
        schedule=schedule,
        context_exchange=context_exchange,
        prefetch=prefetch,
        from_master=from_master,
        expert_imbalance=expert_imbalance,
        straggler=tuple(straggler or ()),
    )
    run_simulate(
        request, trace_out=trace_out, memory_out=memory_out, out=out, as_json=json, what_ifs=tuple(what_ifs or ())
    )
