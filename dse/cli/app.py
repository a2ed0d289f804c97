"""The command tree. Each command's module is imported when the command runs, so that ``--help`` stays light."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dse.cli.cascade import app as cascade_app
from dse.cli.experts import experts
from dse.cli.explore import explore
from dse.cli.memory import app as memory_app
from dse.cli.plan import app as plan_app
from dse.cli.report import report
from dse.cli.reproduce import reproduce
from dse.cli.rtl import app as rtl_app
from dse.cli.serve import serve
from dse.cli.trace import app as trace_app

__all__ = ["app"]

app = typer.Typer(
    name="tiercade",
    help="Co-design of memory systems and accelerators for large models.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(cascade_app)
app.add_typer(memory_app)
app.add_typer(plan_app)
app.add_typer(rtl_app)
app.add_typer(trace_app)

app.command()(serve)
app.command()(experts)
app.command()(explore)
app.command(context_settings={"help_option_names": []})(reproduce)  # --help of a study is its own
app.command()(report)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"tiercade {version('tiercade')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Co-design of memory systems and accelerators for large models."""


@app.command()
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
    trace_out: Annotated[Path | None, typer.Option(help="Write a Chrome trace (opens in Perfetto).")] = None,
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
    )
    run_simulate(request, trace_out=trace_out, out=out, as_json=json, what_ifs=tuple(what_ifs or ()))


@app.command("map")
def map_cascade(
    problem: Annotated[Path | None, typer.Argument(metavar="[PROBLEM.yaml]", help="A problem file.")] = None,
    cascade: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="A name from 'tiercade cascade list', or a file.")
    ] = None,
    sizes: Annotated[
        list[str] | None, typer.Option("--sizes", "--size", metavar="RANK=N,...", help="Rank sizes: m=1024,n0=512.")
    ] = None,
    system: Annotated[
        str | None, typer.Option(metavar="NAME|FILE", help="A mapper machine or a system, by name or file.")
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Change it: glb.capacity='64 KiB'.")
    ] = None,
    objective: Annotated[
        str | None, typer.Option(help="energy, latency or edp (the default; latency for a model).")
    ] = None,
    no_fuse: Annotated[
        bool, typer.Option("--no-fuse", help="Send every intermediate through the outer level.")
    ] = False,
    tiles: Annotated[str | None, typer.Option(help="divisor, or imperfect (the default): last pieces short.")] = None,
    workers: Annotated[int, typer.Option(help="Processes to search with.")] = 1,
    bits: Annotated[list[str] | None, typer.Option(help="Width of elements: 8, or A=8,W=4.")] = None,
    dataflow: Annotated[
        str | None, typer.Option(help="ws, os or is: weight, output or input stays where it is.")
    ] = None,
    keep: Annotated[list[str] | None, typer.Option(metavar="LEVEL=TENSOR", help="Keep a tensor at a level.")] = None,
    bypass: Annotated[
        list[str] | None, typer.Option(metavar="LEVEL=TENSOR", help="Send a tensor around a level.")
    ] = None,
    tile: Annotated[
        list[str] | None, typer.Option(metavar="LEVEL.TENSOR.RANK=N", help="Fix the tile kept at a level.")
    ] = None,
    unfused: Annotated[
        list[str] | None, typer.Option(metavar="TENSOR", help="Send it through the outer level.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Map a whole model instead; with the four options below.")] = None,
    phase: Annotated[str | None, typer.Option(help="Of a model: prefill or decode (the default).")] = None,
    batch: Annotated[int | None, typer.Option(help="Of a model: sequences at once; 1.")] = None,
    context: Annotated[int | None, typer.Option(help="Of a model: tokens per sequence; 2048.")] = None,
    devices: Annotated[int | None, typer.Option(help="Of a model: equal devices to split it over.")] = None,
    timeout: Annotated[float | None, typer.Option(metavar="SECONDS", help="Stop with the best mapping so far.")] = None,
    svg: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a drawing of the mapping.")] = None,
    mapping_out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the mapping as JSON.")] = None,
    json: Json = False,
) -> None:
    """Find the best mapping of a cascade, a problem file's or a whole model's, and say how far from the bound it is.

    The search ends by itself; Ctrl-C and --timeout end it early with the best mapping so far.
    """
    from dse.cli.map_options import MapOptions

    options = MapOptions(
        problem=problem,
        cascade=cascade,
        sizes=tuple(sizes or ()),
        system=system,
        changes=tuple(changes or ()),
        objective=objective,
        no_fuse=no_fuse,
        tiles=tiles,
        workers=workers,
        bits=tuple(bits or ()),
        dataflow=dataflow,
        keep=tuple(keep or ()),
        bypass=tuple(bypass or ()),
        tile=tuple(tile or ()),
        unfused=tuple(unfused or ()),
        timeout=timeout,
        svg=svg,
        mapping_out=mapping_out,
    )
    if model is not None:
        from dse.cli.map_model import ModelOptions, run_map_model

        code = run_map_model(ModelOptions(model, phase, batch, context, devices), options, as_json=json)
    else:
        from dse.cli.map import run_map

        shape = {"phase": phase, "batch": batch, "context": context, "devices": devices}
        given = tuple(name for name, value in shape.items() if value is not None)
        code = run_map(options, given=given, as_json=json)
    if code:
        raise typer.Exit(code)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the run folders, the report and the figures.")] = Path(
        "tiercade-demo"
    ),
    json: Json = False,
) -> None:
    """A real model on two real machines, end to end, with figures; takes well under a minute."""
    from dse.cli.demo import run_demo

    run_demo(out, as_json=json)


@app.command("list")
def list_things(
    what: Annotated[
        str,
        typer.Argument(
            help="models, systems, formats, cascades, devices, drives, pim, arrays, links, policies, software, traces."
        ),
    ],
    json: Json = False,
) -> None:
    """List what there is to choose from."""
    from dse.cli.listing import run_list

    run_list(what, as_json=json)


@app.command()
def schema(
    what: Annotated[str, typer.Argument(help="system, or mapper for the machines of 'tiercade map'.")] = "system",
    out: Annotated[Path | None, typer.Option(help="Write it to this file instead of standard output.")] = None,
) -> None:
    """The JSON schema of machine files, for editors."""
    from dse.cli.listing import run_schema

    run_schema(what, out)


@app.command()
def validate(
    measurements: Annotated[
        Path, typer.Argument(help="A CSV file of measurements, of other simulators' runs or of published figures.")
    ],
    report: Annotated[
        Path | None, typer.Option(help="Write its parts of the accuracy report (Markdown) to this file; others stay.")
    ] = None,
    fidelity: Annotated[
        str | None, typer.Option(help="Of measured GPUs: how kernels are predicted, kernel (the default) or roofline.")
    ] = None,
    constants: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Of measured GPUs: constants of 'tiercade calibrate'.")
    ] = None,
    json: Json = False,
) -> None:
    """Error of our predictions beside measurements, runs of other simulators or published figures."""
    from dse.cli.validate import run_validate

    run_validate(measurements, report=report, as_json=json, fidelity=fidelity, constants=constants)


@app.command()
def calibrate(
    system: Annotated[str, typer.Option(help="The machine they ran on: a name, or a YAML file.")],
    measurements: Annotated[
        Path | None, typer.Argument(help="A CSV file of measured kernels, as for 'tiercade validate'.")
    ] = None,
    software: Annotated[
        str | None, typer.Option(help="The software epoch they are of; left out: as each row's framework says.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the constants to this YAML file.")] = None,
    json: Json = False,
) -> None:
    """Fit constants of kernels to a machine's measurements; without a file, to the tables of aiconfigurator-core."""
    from dse.cli.calibrate import run_calibrate

    run_calibrate(measurements, system=system, software=software, out=out, as_json=json)
