"""Measured latencies of GPUs: their part of the accuracy report in Markdown, and what is printed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from dse.validation.carried import carried_products
from dse.validation.collectives import all_reduce_figure, collective_document, collective_report
from dse.validation.decode_table import DecodeRow, decode_rows
from dse.validation.kinds import regeneration
from dse.validation.measurements import read_measurements
from dse.validation.summary import ALL_SIZES, Comparison, Group, compare, groups, to_document
from dse.validation.validation import Report, Validation
from mappers.kernels.constants import Entry
from mappers.kernels.time import SIZE_CLASSES

__all__ = ["accuracy_report", "validate_gpus"]

HEAD = """# Accuracy

Predictions {fidelity} beside measured latencies. At kernel fidelity (`mappers/kernels`) a few constants per
architecture and software are fitted to two thirds of the rows: every third row of each operation, phase, GPU and
framework, in the order of the ids, is *held out* and shows what the model is worth. Collectives take the times of
their library (`simulator/interconnect/libraries.py`), fitted to every second of their rows. Error is predicted /
measured - 1; *inside* is the share of measured times within the predicted intervals, which are made for 80 %.

This file is made part by part, and a part replaces only itself. All of it, in this order:

```
{commands}
```

Names in capitals are files of measurements and of other simulators' runs that are not part of the project; the others
lie in it.
"""


def accuracy_report(
    compared: list[Comparison],
    skipped: Counter[str],
    decode: Sequence[DecodeRow],
    carried: Mapping[str, tuple[int, float]],
    fidelity: str = "kernel",
) -> str:
    """All groups, by size too, what carries over between GPUs, the decode table and what was not predicted."""
    lines = [HEAD.format(commands=regeneration(), fidelity=_AT[fidelity]), "## By operation, phase and GPU\n"]
    lines += _GROUP_HEAD
    found = groups(compared, by_size=True)
    for group in found:
        if group.size_class == ALL_SIZES:
            worst = f"{group.worst[0].error:+.0%} ({group.worst[0].row.case})"
            lines.append(f"| {_named(group)} | {_errors(group)} | {worst} |")
    lines += ["\n## Kernels by size\n", _sizes(), ""]
    lines += [
        "| op | phase | GPU | size | rows | MAPE | bias | held out | MAPE | inside |",
        "|---|---|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for group in found:
        if group.size_class != ALL_SIZES and group.errors.coverage is not None:
            held = group.held_out
            out = f"{held.rows} | {held.mape:.1%} | {_share(held.coverage)}" if held else "- | - | -"
            every = f"{group.rows} | {group.mape:.1%} | {group.bias:+.1%}"
            lines.append(f"| {_named(group)} | {group.size_class} | {every} | {out} |")
    if carried:
        lines += [
            "\n## Products of a GPU by constants of the others\n",
            _CARRIED,
            "| GPU | rows | MAPE |",
            "|---|--:|--:|",
        ]
        lines += [f"| {gpu} | {count} | {error:.1%} |" for gpu, (count, error) in carried.items()]
    lines += ["\n## Decode steps on H100 SXM, 16 bit\n"]
    lines += [
        "| model | GPUs | batch | context | bound ms | simulated ms | measured ms | error | measured with |",
        "|---|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    for row in decode:
        bound, simulated = (_ms(value) for value in (row.bound_s, row.latency_s))
        measured = _ms(row.measured.latency_s) if row.measured else "none"
        error = f"{row.error:+.0%}" if row.error is not None else "-"
        engine = row.measured.framework if row.measured else "-"
        lines.append(
            f"| {row.model} | {row.devices} | {row.batch} | {row.context} | {bound} | {simulated} | {measured} "
            f"| {error} | {engine} |"
        )
    lines += ["\n" + _STEPS, "\n## Not predicted\n"]
    lines += ["| rows | why |", "|--:|---|"]
    lines += [f"| {count} | {why} |" for why, count in skipped.most_common()]
    return "\n".join(lines) + "\n"


_AT = {"kernel": "at kernel fidelity", "roofline": "at roofline fidelity (a bound: a negative bias is its distance)"}

_GROUP_HEAD = [
    "| op | phase | GPU | rows | MAPE | bias | median | p90 | held out | MAPE | inside | worst |",
    "|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|---|",
]

_SIZE_HEAD = [
    "| op | phase | GPU | size | rows | MAPE | bias | held out | MAPE | inside |",
    "|---|---|---|---|--:|--:|--:|--:|--:|--:|",
]

_CARRIED = """Constants fitted to the other GPUs' rows only, with this GPU's data sheet: what to expect of an unmeasured
one.
"""


_STEPS = """Kernels and collectives of one step at kernel fidelity, without the engine's time on the host, which the
rows above include. A step without a time does not fit the GPUs' memory."""


def _sizes() -> str:
    edges = list(SIZE_CLASSES.items())
    told = [f"*{name}* up to {longest * 1e6:.0f} us" for name, longest in edges[:-1]] + [f"*{edges[-1][0]}* above"]
    return f"By the predicted time: {', '.join(told)}."


def _named(group: Group) -> str:
    return f"{group.op} | {group.phase or '-'} | {group.gpu}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _errors(group: Group) -> str:
    every, held = group.errors, group.held_out
    told = f"{every.rows} | {every.mape:.1%} | {every.bias:+.1%} | {every.median:.1%} | {every.p90:.1%}"
    return f"{told} | {held.rows} | {held.mape:.1%} | {_share(held.coverage)}" if held else f"{told} | - | - | -"


def validate_gpus(path: Path, *, fidelity: str = "kernel", given: tuple[Entry, ...] = ()) -> Validation:
    """All rows of a file of measured latencies; ``given`` kernel constants stand before the bundled ones.

    Raises `InputError` as `read_measurements` does, and for an unknown fidelity.
    """
    rows = read_measurements(path)
    compared, skipped = compare(rows, fidelity, given)

    found = groups(compared, by_size=True)
    remarks = Counter(one.prediction.remark for one in compared if one.prediction.remark)

    def report() -> Report:
        accuracy = accuracy_report(compared, skipped, decode_rows(rows), carried_products(rows), fidelity)
        return Report((accuracy, collective_report(compared)), {"collectives.png": all_reduce_figure(compared)})

    return Validation(
        rows=[
            {
                "op": group.op,
                "phase": group.phase or "-",
                "gpu": group.gpu,
                "size": group.size_class,
                "rows": group.rows,
                "mape": f"{group.mape:.1%}",
                "bias": f"{group.bias:+.1%}",
                "median": f"{group.errors.median:.1%}",
                "p90": f"{group.errors.p90:.1%}",
                "held out": f"{group.held_out.mape:.1%}" if group.held_out else "-",
                "inside": _share(group.held_out.coverage) if group.held_out else "-",
            }
            for group in found
            if group.size_class == ALL_SIZES or group.errors.coverage is not None
        ],
        notes=[
            *(f"{count} rows: {remark}" for remark, count in remarks.most_common()),
            *(f"{count} rows not predicted: {why}" for why, count in skipped.most_common()),
        ],
        document={
            "fidelity": fidelity,
            **to_document(found, compared, skipped),
            "collectives": collective_document(compared),
        },
        report=report,
    )


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1e3:.2f}"
