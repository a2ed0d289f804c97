"""FuseMax: attention in one pass on a 2D and a 1D array that work interleaved, beside FLAT and an unfused machine.

Machines are the mapper's; mappings are found by search, proved best and bound by nothing but the machines' rules. The
buffer's energy is taken in two ways: as the artifact stores it (``energy_stored``), one row energy for 16 and for 32
MiB, and as our model of SRAM costs a memory of that size (``energy``): the published figures hold about 690 pJ a score
that the stored tables cannot give.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from statistics import fmean

from hw.cost.sram import sram
from hw.spec.hierarchy import Hierarchy
from hw.spec.load_hierarchy import load_hierarchy, override_hierarchy
from mappers.mapspace.constraints import Constraints
from mappers.mapspace.problem import cascade_problem
from mappers.mapspace.report import SearchResult
from mappers.search.pipelined import search_pipelined
from studies.frame.constants import derived, stated
from studies.frame.study import Config, Key, Metric, Miss, Published, Study
from studies.published.fusemax import ENERGIES, ROWS
from workloads.cascades import load_cascade

__all__ = ["STUDY", "attention"]

_ARTIFACT = "micro24-fusemax-artifact at f543beb"
CONSTANTS = {
    "machine": stated(None, "", f"{_ARTIFACT}, performance inputs: hw/spec/hierarchies/fusemax.yaml and flat.yaml"),
    "models": stated(
        # Heads, width of a head, width of the model, width of the feed-forward layer.
        {"BERT": (12, 64, 768, 3072), "TrXL": (16, 64, 1024, 4096), "T5": (8, 64, 512, 2048),
         "XLM": (16, 128, 2048, 8192)},
        "", "evaluation: models, with 64 sequences",
    ),
    "lengths": stated((1024, 4096, 16384, 65536, 262144, 1048576), "", "evaluation: sequence lengths"),
    "tables": stated(None, "J", f"{_ARTIFACT}, energy tables: hw/spec/hierarchies/fusemax.yaml and flat.yaml"),
    "node": stated(45, "nm", f"{_ARTIFACT}, energy inputs: technology"),
    "row": stated(4096, "bit", f"{_ARTIFACT}, energy inputs: 256 values of 16 bits in a row of the buffer"),
    "buffer": derived(
        None, "J", "hw/cost/sram.py at the stated node, row and capacity; one bank of one port, whose 111 and 215 mm2 "
        "are nearest to the 94 mm2 stated for both (with the four ports of the inputs over 1,700 mm2); with the 32 and "
        "4 banks of the inputs the mean ratios of energy change by 0.01",
    ),
    "cascade_sub": stated(1, "cycle", f"{_ARTIFACT}, step +Cascade: the subtraction takes a cycle on FLAT's elements"),
}  # fmt: skip
SYSTEMS = {
    "fusemax": ("fusemax", "attention-1pass", True),
    "flat": ("flat", "attention-3pass", True),
    "unfused": ("flat", "attention-3pass", False),
    "cascade": ("flat", "attention-1pass", True),
}
_BLOCK = 16384
"""Rows of a linear layer mapped at once; all others are mapped alike."""


def _priced(machine: str, modelled: bool) -> Hierarchy:
    """A machine with its buffer's energy as stored, or as the model of SRAM has it."""
    hierarchy = load_hierarchy(machine)
    if not modelled:
        return hierarchy
    row = int(CONSTANTS["row"].value)
    capacity = hierarchy.levels["glb"].capacity_bytes
    assert capacity is not None
    cost = sram(int(capacity), word_bits=row, node_nm=CONSTANTS["node"].value)
    changes = {"read_energy": cost.read_energy_j, "write_energy": cost.write_energy_j}
    return override_hierarchy(hierarchy, [f"glb.{name}={joule / row!r} J/bit" for name, joule in changes.items()])


@cache
def attention(system: str, model: str, length: int, batch: int, modelled: bool) -> SearchResult:
    """The best mapping of attention over ``batch`` sequences."""
    machine, cascade, fuse = SYSTEMS[system]
    hierarchy = _priced(machine, modelled)
    if system == "cascade":
        hierarchy = override_hierarchy(hierarchy, [f"array1d.actions.sub.cycles={CONSTANTS['cascade_sub'].value}"])
    heads, width, _, _ = CONSTANTS["models"].value[model]
    sizes = {"b": batch, "h": heads, "g": 1, "p": length, "m": length, "e": width, "f": width}
    problem = cascade_problem(load_cascade(cascade), sizes)
    return search_pipelined(problem, hierarchy, "latency", Constraints(fuse=fuse))


@cache
def _product(machine: str, rows: int, inner: int, columns: int) -> SearchResult:
    problem = cascade_problem(load_cascade("gemm"), {"m": rows, "n0": inner, "n1": columns}, 16)
    return search_pipelined(problem, _priced(machine, True), "latency", Constraints())


def _linear(system: str, model: str, length: int, batch: int) -> tuple[float, float]:
    """Seconds and joules of a layer's products: four of width x width, two of width x feed-forward width."""
    _, _, width, feed = CONSTANTS["models"].value[model]
    block = min(batch * length, _BLOCK)
    square, wide = (_product(SYSTEMS[system][0], block, width, columns).cost for columns in (width, feed))
    times = batch * length / block
    return (
        times * (4 * square.latency_s + 2 * wide.latency_s),
        times * (4 * square.energy_j + 2 * wide.energy_j),
    )


def _beside(system: str, over: str, model: str, length: int, batch: int) -> dict[str, float]:
    """Latency and energy against those of another machine, of attention and end to end."""
    ours, theirs = (attention(each, model, length, batch, True).cost for each in (system, over))
    stored = [attention(each, model, length, batch, False).cost.energy_j for each in (system, over)]
    (mine_s, mine_j), (other_s, other_j) = (_linear(each, model, length, batch) for each in (system, over))
    return {
        "speed_up": theirs.latency_s / ours.latency_s,
        "energy_ratio": ours.energy_j / theirs.energy_j,
        "energy_ratio_stored": stored[0] / stored[1],
        "end_to_end_speed_up": (theirs.latency_s + other_s) / (ours.latency_s + mine_s),
        "end_to_end_energy_ratio": (ours.energy_j + mine_j) / (theirs.energy_j + other_j),
    }


def _simulate(config: Config) -> dict[str, float]:
    system, over, model = str(config["system"]), str(config["over"]), str(config["model"])
    length, batch = int(config["length"]), int(config["batch"])
    if model == "mean":
        models, lengths = CONSTANTS["models"].value, CONSTANTS["lengths"].value
        every = [_beside(system, over, each, tokens, batch) for each in models for tokens in lengths]
        return {name: fmean(one[name] for one in every) for name in every[0]}
    result = attention(system, model, length, batch, True)
    moved = result.cost.traffic()["dram"].values()
    return {
        "latency": result.cost.latency_s,
        "energy": result.cost.energy_j,
        "energy_stored": attention(system, model, length, batch, False).cost.energy_j,
        "traffic": sum(bits.read_bits + bits.write_bits for bits in moved) / 8,
        "use_2d": result.cost.utilisation["array2d"],
        "use_1d": result.cost.utilisation["array1d"],
        **_beside(system, over, model, length, batch),
    }


def _through_the_buffer() -> str:
    found = attention("unfused", "BERT", 1024, 64, True).cost
    buffer = _priced("flat", True).levels["glb"]
    scores = [bits for name, bits in found.traffic()["dram"].items() if name not in ("Q", "K", "V", "AV")]
    passing = sum(
        bits.read_bits * buffer.write_energy_j_per_bit + bits.write_bits * buffer.read_energy_j_per_bit
        for bits in scores
    )
    return (
        f"Of {found.energy_j:.2f} J at 1,024 tokens, {passing:.2f} J are spent on scores that only pass the buffer on "
        f"their way to or from DRAM; without, {found.energy_j - passing:.2f} J against 2.61 J published."
    )


def _row_energies() -> Sequence[str]:
    """What the two row energies of the buffer do to BERT's attention at 1,024 tokens."""
    row = CONSTANTS["row"].value
    lines = [
        "| machine | buffer | row stored, nJ | modelled, nJ | attention, first row, J | second row, J | published, J |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for system, joule in ENERGIES:
        levels = [_priced(SYSTEMS[system][0], modelled).levels["glb"] for modelled in (False, True)]
        rows = [level.read_energy_j_per_bit * row * 1e9 for level in levels]
        found = [attention(system, "BERT", 1024, 64, modelled).cost.energy_j for modelled in (False, True)]
        lines.append(
            f"| {system} | {(levels[0].capacity_bytes or 0) / 2**20:.0f} MiB | {rows[0]:.2f} | {rows[1]:.1f} "
            f"| {found[0]:.2f} | {found[1]:.2f} | {joule:.2f} |"
        )
    return [
        "The artifact stores one row energy for buffers of 16 and 32 MiB. It leaves FLAT a fifth below its published "
        "energy, and no other stored number is large enough to fill that; a buffer costed as SRAM of its size does.",
        "",
        *lines,
    ]


_TIME, _STORED = ("machine", "models"), ("machine", "models", "tables")
_MODELLED = (*_STORED, "node", "row", "buffer")
STUDY = Study(
    title="FuseMax",
    claim="Attention is 6.7 times faster than on FLAT at 79 % of its energy, whole models 5.3 times at 83 %.",
    source="Nayak et al., MICRO 2024, arXiv 2406.10491, with its artifact",
    machine="256 x 256 and 256 elements at 940 MHz; 16 MiB of buffer (FLAT and unfused: 32 MiB), 400 GiB/s of DRAM",
    workload="attention of BERT, TrXL, T5 and XLM over 64 sequences of 1,024 to 1,048,576 tokens; linear layers too",
    policy="the one-pass cascade, both arrays interleaved; mappings found by search",
    baseline="FLAT and unfused: the three-pass cascade on arrays with exponential units; FLAT's tiles are found too",
    keys={
        "system": Key("fusemax", "machine and cascade; cascade: one pass on FLAT's arrays", choices=tuple(SYSTEMS)),
        "model": Key("BERT", "model; mean: of all four and six lengths", choices=(*CONSTANTS["models"].value, "mean")),
        "length": Key(1024, "tokens of a sequence", low=256, high=1048576),
        "batch": Key(64, "sequences", low=1, high=1024),
        "over": Key("flat", "what ratios are against", choices=tuple(SYSTEMS)),
    },
    constants=CONSTANTS,
    metrics={
        "latency": Metric("attention", "s", _TIME),
        "energy": Metric("attention, the buffer's energy as modelled", "J", _MODELLED),
        "energy_stored": Metric("attention, the buffer's energy as stored", "J", _STORED),
        "traffic": Metric("bytes between DRAM and the buffer", "B", _TIME),
        "use_2d": Metric("share of the 2D array's cycles that are useful", "", _TIME),
        "use_1d": Metric("share of the 1D array's cycles that are useful", "", _TIME),
        "speed_up": Metric("attention: latency of the other over this one's", "", _TIME),
        "energy_ratio": Metric("attention: energy over the other's, buffers as modelled", "", _MODELLED),
        "energy_ratio_stored": Metric("attention: energy over the other's, buffers as stored", "", _STORED),
        "end_to_end_speed_up": Metric("attention and linear layers: latency of the other over this one's", "", _TIME),
        "end_to_end_energy_ratio": Metric("attention and linear layers: energy over the other's", "", _MODELLED),
    },
    published=tuple(Published(*row) for row in ROWS),
    simulate=_simulate,
    misses=(
        Miss(
            ("energy",),
            "Unfused scores pass the buffer here; the artifact's mapping sends them straight to DRAM and back.",
            _through_the_buffer,
        ),
    ),
    notes=_row_energies,
)
