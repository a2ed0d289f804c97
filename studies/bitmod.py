"""BitMoD's published speed-up over ANT and OliVe, rebuilt from the cycles of our processing element and their machine.

Chen et al., "BitMoD: Bit-serial Mixture-of-Datatype LLM Acceleration", HPCA 2025, arXiv 2411.11745. Its authors state
that the method is subject to a patent application by Cornell University; this is an independent rebuilding of the
published evaluation, and grants no right to the method.

Machine (bitmod_sim/accelerator.py at 6b68523; pe_array.py and test_*.py at e445a5f of abdelfattah-lab/
BitMoD-HPCA-25): arrays of nearly equal area, each with 512 KiB of SRAM for weights and 512 KiB for activations, and 32
bytes of DRAM a cycle. A product of (tokens x inputs) and (inputs x outputs) takes the larger of ceil(inputs / lanes) *
ceil(outputs / rows) * ceil(tokens / columns) beats of the processing element, and of its DRAM traffic: weights, inputs
and outputs once, but where neither weights nor inputs fit their SRAM, one of them again for each SRAM-full of the
other, whichever is less. Products follow one another; norms, softmax and embeddings are not counted. Linear layers are
those of `workloads.models`, the head included. Cycles of BitMoD's beats come from the contract that the hardware unit
`hw.rtl.dequant.bitmod_pe_model` is held to, in every cycle, by its regression; nothing here is tuned.

Attention is counted in two ways. "published" is what makes the figures (sim/pe_array.py at 48975fc): it takes queries
for weights and keys for activations, of which decode reads as many rows as there are heads and not as many as there are
tokens; scores of the values' product are weights; all of it has 16 bits and the beats of a linear layer. "whole" is one
product for each head of keys and values, read whole, shared by its queries (as the repository counts since e445a5f):
16 bits, but 8 in BitMoD, whose beats are then those of 8-bit integers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from math import ceil, floor
from typing import Literal

from hw.rtl.dequant.bitmod_pe_model import UNIT, BitmodPe
from studies.frame.constants import derived, stated
from studies.frame.study import Config, Key, Metric, Published, Study
from studies.published.bitmod import (
    ABSTRACT_SPEEDUP,
    DECODE_STEPS,
    MODELS,
    PRESENT_WIDTHS,
    PUBLISHED_CYCLES,
    PUBLISHED_DRAM_UJ,
    PUBLISHED_UJ,
    PUBLISHED_WIDTHS,
    Task,
)
from workloads.models import FeedForward, Model, model

__all__ = [
    "DESIGNS",
    "STUDY",
    "Accounting",
    "Cycles",
    "Design",
    "Product",
    "Row",
    "Speedup",
    "headlines",
    "layer_cycles",
    "products",
    "report_lines",
    "rows",
    "speedup",
]

Accounting = Literal["published", "whole"]

CONTEXT = 256
ACTIVATION_BITS = 16
SRAM_BYTES = 512 * 1024
"""Of weights, and again of activations."""
DRAM_BYTES_PER_CYCLE = 128 * 2 // 8
"""A bus of 128 bits at double rate."""
DRAM_PJ_PER_BYTE = 1200 / 8
"""1,200 pJ for 64 bits."""
PLACE_AND_ROUTE = 1.5
"""Factor on a synthesised element's energy."""
_TASKS: tuple[Task, ...] = ("prefill", "decode")


@dataclass(frozen=True)
class Design:
    """One accelerator as stated: its arrays of (rows, columns) elements, the energy of an element's cycle in pJ before
    place and route, its synthesised area in um2 (28 nm), and the bits of keys and values in the "whole" accounting.
    ``serial`` elements work term by term."""

    name: str
    prefill_array: tuple[int, int]
    decode_array: tuple[int, int]
    element_pj: float
    element_um2: float
    kv_bits: int
    serial: bool = False

    def array(self, task: Task) -> tuple[int, int]:
        return self.prefill_array if task == "prefill" else self.decode_array

    def elements(self, task: Task) -> int:
        return self.array(task)[0] * self.array(task)[1]

    @property
    def array_mm2(self) -> float:
        """Both arrays are of one size."""
        return self.elements("prefill") * self.element_um2 * 1e-6

    @property
    def lanes(self) -> int:
        """Products of a beat."""
        return BitmodPe().lanes if self.serial else 1

    def beat_cycles(self, bits: float) -> int:
        """Cycles of a beat with weights of ``bits``, scales included."""
        return _serial_cycles(floor(bits)) if self.serial else 1


DESIGNS = (
    Design("FP16", (32, 24), (64, 12), 0.77, 1968.7, 16),
    Design("ANT", (32, 32), (64, 16), 0.56, 1318.6, 16),
    Design("OliVe", (36, 32), (72, 16), 0.613, 1318.6, 16),
    Design("BitMoD lossless", (32, 32), (64, 16), 0.56, 1507.7, 8, serial=True),
    Design("BitMoD lossy", (32, 32), (64, 16), 0.56, 1507.7, 8, serial=True),
)


@cache
def _serial_cycles(bits: int) -> int:
    """What the unit's contract says of weights of ``bits``: 3 and 4 are floats with a special value."""
    return UNIT.contract(BitmodPe(weights=f"fp{bits}" if bits < 5 else f"int{bits}")).interval_cycles


@dataclass(frozen=True)
class Product:
    """``count`` equal products of ``heads`` pairs of matrices; ``weights`` (outputs, inputs) stay, ``tokens`` rows
    pass. ``columns`` of the passing matrix are read, which differ from the inputs in the published attention only."""

    count: int
    outputs: int
    inputs: int
    tokens: int
    columns: int
    heads: int = 1
    attention: bool = False


@dataclass(frozen=True)
class Cycles:
    """Of one or more layers: whole cycles, cycles in which elements work, bytes of DRAM traffic."""

    cycles: int
    busy: int
    dram_bytes: int


def products(of: Model, task: Task, attention: Accounting) -> list[Product]:
    """Every product of one task, linear layers before attention."""
    tokens = CONTEXT if task == "prefill" else 1
    found: list[Product] = []
    for block in of.blocks:
        at, feed = block.attention, block.feed_forward
        if not isinstance(feed, FeedForward):
            raise TypeError(f"{of.name} has experts, which this machine was not published with")
        queries, keys = at.heads * at.head_dim, at.kv_heads * at.head_dim
        shapes = [(queries, of.hidden), (keys, of.hidden), (keys, of.hidden), (of.hidden, queries)]
        shapes += [(feed.intermediate, of.hidden)] * (2 if feed.gated else 1) + [(of.hidden, feed.intermediate)]
        layers = sum(of.blocks[index] is block for index in of.order)
        found += [Product(layers, outputs, inputs, tokens, inputs) for outputs, inputs in shapes]
        if attention == "published":
            found.append(Product(layers, tokens, queries, at.heads * _context(task), keys, attention=True))
            found.append(Product(layers, at.heads * tokens, CONTEXT, tokens, keys, attention=True))
        else:
            rows = at.heads // at.kv_heads * tokens
            found.append(Product(layers, CONTEXT, at.head_dim, rows, at.head_dim, at.kv_heads, attention=True))
            found.append(Product(layers, at.head_dim, CONTEXT, rows, CONTEXT, at.kv_heads, attention=True))
    found.append(Product(1, of.vocabulary, of.hidden, tokens, of.hidden))
    return found


def _context(task: Task) -> int:
    """Rows of the keys that the published attention passes, a head: all in prefill, one in decode."""
    return CONTEXT if task == "prefill" else 1


def layer_cycles(design: Design, task: Task, product: Product, bits: float, beat_cycles: int) -> Cycles:
    """One of ``product.count``, its standing matrix in ``bits``; cycles are whole, as the published are."""
    rows, columns = design.array(task)
    beats = ceil(product.inputs / design.lanes) * ceil(product.outputs / rows) * ceil(product.tokens / columns)
    busy = beats * product.heads * beat_cycles
    weights = ceil(product.inputs * bits / 8) * product.outputs * product.heads
    inputs = ceil(product.columns * ACTIVATION_BITS / 8) * product.tokens * product.heads
    outputs = ceil(product.outputs * ACTIVATION_BITS / 8) * product.tokens * product.heads
    traffic = weights + inputs + outputs
    if weights > SRAM_BYTES and inputs > SRAM_BYTES:
        again = (ceil(inputs / SRAM_BYTES) - 1) * weights, (ceil(weights / SRAM_BYTES) - 1) * inputs
        traffic += min(again)
    return Cycles(max(busy, traffic // DRAM_BYTES_PER_CYCLE), busy, traffic)


@dataclass(frozen=True)
class Row:
    """One published count beside ours: of all layers, of linear layers, of attention. ``elements_uj`` is the energy of
    the array alone: that of the SRAM, theirs from CACTI, is left out. Published energies are those of DRAM, and all."""

    model: str
    design: str
    task: Task
    published_cycles: int
    linear: Cycles
    attention: Cycles
    elements_uj: float
    published_dram_uj: int
    published_uj: int

    @property
    def cycles(self) -> int:
        return self.linear.cycles + self.attention.cycles

    @property
    def error(self) -> float:
        """Ours over the published count, less one."""
        return self.cycles / self.published_cycles - 1

    @property
    def dram_uj(self) -> float:
        return (self.linear.dram_bytes + self.attention.dram_bytes) * DRAM_PJ_PER_BYTE * 1e-6


def rows(
    attention: Accounting = "published", widths: Mapping[tuple[str, Task], tuple[float, ...]] = PUBLISHED_WIDTHS
) -> tuple[Row, ...]:
    """All models, designs and tasks; ``widths`` are bits of linear weights, scales included."""
    found = []
    for number, name in enumerate(MODELS):
        for task in _TASKS:
            shapes = products(model(name), task, attention)
            for design in DESIGNS:
                bits = widths[design.name, task][number]
                found.append(_row(name, number, design, task, shapes, bits, attention))
    return tuple(found)


def _row(
    name: str,
    number: int,
    design: Design,
    task: Task,
    shapes: Iterable[Product],
    bits: float,
    attention: Accounting,
) -> Row:
    whole = attention == "whole"
    kv_bits = design.kv_bits if whole else ACTIVATION_BITS
    kv_cycles = design.beat_cycles(kv_bits if whole else bits)
    parts = {True: [0, 0, 0], False: [0, 0, 0]}
    for product in shapes:
        one = (kv_bits, kv_cycles) if product.attention else (bits, design.beat_cycles(bits))
        each = layer_cycles(design, task, product, *one)
        for at, value in enumerate((each.cycles, each.busy, each.dram_bytes)):
            parts[product.attention][at] += product.count * value
    return Row(
        name,
        design.name,
        task,
        PUBLISHED_CYCLES[design.name, task][number],
        Cycles(*parts[False]),
        Cycles(*parts[True]),
        design.elements(task) * (parts[False][1] + parts[True][1]) * design.element_pj * PLACE_AND_ROUTE * 1e-6,
        PUBLISHED_DRAM_UJ[design.name, task][number],
        PUBLISHED_UJ[design.name, task][number],
    )


@dataclass(frozen=True)
class Speedup:
    """Of lossy BitMoD over ``over``, by model: cycles of prefill (discriminative), and of prefill and 20 steps
    (generative). Averages are arithmetic over models, and over the two tasks, as the published."""

    over: str
    discriminative: tuple[float, ...]
    generative: tuple[float, ...]

    @property
    def average(self) -> float:
        return (_mean(self.discriminative) + _mean(self.generative)) / 2


def _mean(values: tuple[float, ...]) -> float:
    return sum(values) / len(values)


def speedup(found: Iterable[Row], over: str, *, published: bool = False) -> Speedup:
    """From our cycles in ``found``, or from the published ones there."""
    cycles = {(row.design, row.model, row.task): row.published_cycles if published else row.cycles for row in found}

    def ratio(name: str, steps: int) -> float:
        ours, theirs = (
            cycles[design, name, "prefill"] + steps * cycles[design, name, "decode"]
            for design in ("BitMoD lossy", over)
        )
        return theirs / ours

    return Speedup(over, tuple(ratio(n, 0) for n in MODELS), tuple(ratio(n, DECODE_STEPS) for n in MODELS))


def headlines() -> dict[str, dict[str, Speedup]]:
    """Speed-ups over ANT and OliVe by what is counted: their own counts, ours as published, and what changes when
    attention is whole, or widths are those that the repository states now."""
    as_published = rows()
    cases = {
        "published counts": as_published,
        "ours, attention as published": as_published,
        "ours, attention whole": rows("whole"),
        "ours, attention as published, widths of e445a5f": rows("published", PRESENT_WIDTHS),
        "ours, attention whole, widths of e445a5f": rows("whole", PRESENT_WIDTHS),
    }
    return {
        case: {over: speedup(found, over, published=case == "published counts") for over in ABSTRACT_SPEEDUP}
        for case, found in cases.items()
    }


def report_lines() -> list[str]:
    """The study as Markdown."""
    found, cases = rows(), headlines()
    exact = sum(row.cycles == row.published_cycles for row in found)
    shares = [(row.elements_uj + row.dram_uj) / row.published_uj for row in found]
    close = sum(abs(row.dram_uj - row.published_dram_uj) <= 1.5 for row in found)
    lines = [
        "| Speed-up of lossy BitMoD | over ANT | error | over OliVe | error |",
        "| --- | ---: | ---: | ---: | ---: |",
        "| abstract | " + " | ".join(f"{value:.2f} | " for value in ABSTRACT_SPEEDUP.values()) + " |",
    ]
    for case, ratios in cases.items():
        each = (f"{r.average:.3f} | {r.average / ABSTRACT_SPEEDUP[over] - 1:+.1%}" for over, r in ratios.items())
        lines.append(f"| {case} | " + " | ".join(each) + " |")
    lines += [
        "",
        f"{exact} of {len(found)} published cycle counts are met to the cycle, {close} of {len(found)} published DRAM "
        "energies to the microjoule. "
        f"Elements and DRAM are {min(shares):.1%} to {max(shares):.1%} of the published energies; the rest is SRAM.",
        "",
        "| Model | task | over ANT, ours | published | average's residual | over OliVe, ours | published "
        "| average's residual | attention's share of BitMoD's cycles, as published | whole |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    ours, theirs = cases["ours, attention as published"], cases["published counts"]
    tables = [{(r.model, r.design, r.task): r for r in part} for part in (found, rows("whole"))]
    for number, name in enumerate(MODELS):
        for task in ("discriminative", "generative"):
            cells: list[str] = []
            for over, average in ABSTRACT_SPEEDUP.items():
                mine, other = (getattr(case[over], task)[number] for case in (ours, theirs))
                cells += [f"{mine:.3f}", f"{other:.3f}", f"{mine / average - 1:+.1%}"]
            cells += [f"{_attention_share(table, name, task):.1%}" for table in tables]
            lines.append(f"| {name} | {task} | " + " | ".join(cells) + " |")
    return lines


def _attention_share(found: Mapping[tuple[str, str, Task], Row], name: str, task: str) -> float:
    prefill, decode = (found[name, "BitMoD lossy", phase] for phase in _TASKS)
    steps = DECODE_STEPS if task == "generative" else 0
    attention = prefill.attention.cycles + steps * decode.attention.cycles
    return attention / (prefill.cycles + steps * decode.cycles)


def _simulate(config: Config) -> dict[str, float]:
    attention: Accounting = "whole" if config["attention"] == "whole" else "published"
    found = rows(attention, PUBLISHED_WIDTHS if config["widths"] == "published" else PRESENT_WIDTHS)
    one = next(r for r in found if (r.model, r.design, r.task) == (config["model"], config["design"], config["task"]))
    return {
        "speed_up": speedup(found, str(config["over"])).average,
        "cycles": one.cycles,
        "dram_energy": one.dram_uj * 1e-6,
    }


def _published() -> list[Published]:
    found = [Published("speed_up", {"over": over}, ratio, "abstract") for over, ratio in ABSTRACT_SPEEDUP.items()]
    for (design, task), counts in PUBLISHED_CYCLES.items():
        for number, count in enumerate(counts):
            config = {"model": MODELS[number], "design": design, "task": task}
            energy = PUBLISHED_DRAM_UJ[design, task][number] * 1e-6
            found.append(Published("cycles", config, count, "sim/plot/speedup_plot.ipynb at 48975fc"))
            found.append(Published("dram_energy", config, energy, "sim/plot/energy_plot.ipynb at 578f207"))
    return found


_MACHINE = "bitmod_sim/accelerator.py at 6b68523"
STUDY = Study(
    title="BitMoD",
    claim="Bit-serial arithmetic on 3- and 4-bit floats is 1.69x faster than ANT and 1.48x than OliVe on average.",
    source="Chen et al., HPCA 2025, arXiv 2411.11745; its authors state that a patent application covers the method",
    machine="arrays of nearly equal area with 512 KiB of SRAM each for weights and activations",
    workload="six models, 256 tokens of prefill, and 20 decode steps where text is generated",
    policy="products one after another; their beats are those our hardware unit is held to in every cycle",
    baseline="ANT, OliVe and half precision on the same memory",
    keys={
        "over": Key("ANT", "rival that the speed-up is over", choices=("ANT", "OliVe")),
        "model": Key("Llama-2-7B", "model", choices=MODELS),
        "design": Key("BitMoD lossy", "accelerator", choices=tuple(design.name for design in DESIGNS)),
        "task": Key("prefill", "task", choices=_TASKS),
        "attention": Key("published", "how attention is counted", choices=("published", "whole")),
        "widths": Key("published", "bits of weights", choices=("published", "present")),
    },
    constants={
        "sram_bytes": stated(SRAM_BYTES, "B", _MACHINE),
        "dram_bytes_per_cycle": stated(DRAM_BYTES_PER_CYCLE, "B", _MACHINE),
        "dram_j_per_byte": stated(DRAM_PJ_PER_BYTE * 1e-12, "J/B", _MACHINE),
        "beats": derived("contract of bitmod-pe", "", "hw.rtl.dequant.bitmod_pe_model, held to by its regression"),
    },
    metrics={
        "speed_up": Metric("ratio of cycles, mean of models and tasks", "", ("sram_bytes", "beats")),
        "cycles": Metric("cycles of one task", "", ("sram_bytes", "dram_bytes_per_cycle", "beats")),
        "dram_energy": Metric("energy of DRAM traffic", "J", ("sram_bytes", "dram_j_per_byte")),
    },
    published=_published(),
    simulate=_simulate,
    notes=report_lines,
)
