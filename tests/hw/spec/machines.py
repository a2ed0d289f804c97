"""A small machine that tests take apart, and how they look at a refusal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from hw.spec.system import System
from workloads.documents import FieldPath, parse_yaml
from workloads.errors import InputError
from workloads.validation import validate

SMALL = """\
name: small
engines:
  core:
    kind: cpu
    home: ddr
    throughput: {fp32: 1 TFLOP/s}
    buffers: [cache]
tiers:
  ddr:
    kind: dram
    capacity: 16 GiB
    read_bandwidth: 20 GB/s
    write_bandwidth: 20 GB/s
    sources:
      capacity: "stated: data sheet"
  cache:
    kind: sram
    capacity: 2 MiB
    read_bandwidth: 1 TB/s
    write_bandwidth: 1 TB/s
    holds: tiles
  disk:
    kind: flash
    capacity: 1 TB
    read_bandwidth: 5 GB/s
    write_bandwidth: 4 GB/s
    shared: true
links:
  bus:
    between: [disk, ddr]
    bandwidth: 8 GB/s
"""


def small(*changes: tuple[str, str]) -> System:
    """The small machine with parts of its text replaced."""
    text = SMALL
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    return validate(System, parse_yaml(text, "small.yaml"))


def refusal(call: Callable[..., Any], *arguments: Any) -> InputError | None:
    """The `InputError` that a call raises, or None when it returns; any other exception passes."""
    try:
        call(*arguments)
    except InputError as error:
        return error
    return None


def leaves(value: object, path: FieldPath = ()) -> Iterator[FieldPath]:
    """The paths of all values of a document but its sources."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key != "sources":
                yield from leaves(inner, (*path, key))
    else:
        yield path
