"""Graphs from files, and what is said about wrong ones, by line."""

from __future__ import annotations

import pytest

from mappers.planner.order.reader import graph_of
from workloads.documents import parse_json, parse_yaml
from workloads.errors import InputError

GOOD = """\
name: branches
tensors: {image: 4 KiB, left: 1024, right: 1024, sum: 1024}
ops:
  - {name: a, reads: [image], writes: [left]}
  - {name: b, reads: [image], writes: [right], scratch: 512}
  - {name: add, reads: [left, right], writes: [sum], in_place: [left, right]}
"""


def test_a_graph_in_yaml_and_in_json() -> None:
    graph = graph_of(parse_yaml(GOOD, "g.yaml"))
    assert [tensor.bytes for tensor in graph.tensors] == [4096, 1024, 1024, 1024]
    assert graph.ops[1].scratch_bytes == 512
    assert graph.ops[2].in_place == ("left", "right")
    assert graph.outputs == ("sum",)
    text = '{"tensors": {"t": 1}, "ops": [{"name": "f", "writes": ["t"]}]}'
    assert graph_of(parse_json(text, "folder/tiny.json")).name == "tiny"


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("4 KiB", "4 kB/s", 2, "tensors.image"),
        ("4 KiB", "1.5", 2, "found 1.5; expected whole bytes"),
        ("4 KiB", "-4", 2, "-4 bytes"),
        ("reads: [image], writes: [left]", "reads: [imag], writes: [left]", 4, "did you mean 'image'?"),
        ("scratch: 512", "scrach: 512", 5, "did you mean 'scratch'?"),
        ("name: b,", "", 5, "ops[1].name: found nothing"),
        ("in_place: [left, right]", "in_place: [image]", 6, "add does not read image"),
        ("in_place: [left, right]", "in_place: left", 6, "expected a list of tensors"),
        ("writes: [right]", "writes: [left]", 5, "left is written by a too"),
        ("name: branches", "title: branches", 1, "unknown field 'title'"),
        ("name: branches", "outputs: [total]", 1, "unknown tensor 'total'"),
    ],
)
def test_wrong_graphs_are_refused_by_line(old: str, new: str, line: int, says: str) -> None:
    with pytest.raises(InputError) as caught:
        graph_of(parse_yaml(GOOD.replace(old, new, 1), "g.yaml"))
    assert (caught.value.file, caught.value.line) == ("g.yaml", line)
    assert says in str(caught.value)


@pytest.mark.parametrize("text", ["ops: []\ntensors: {a: 1}\n", "tensors: {}\nops: [1]\n", "tensors: 3\nops: 4\n"])
def test_parts_of_the_wrong_kind(text: str) -> None:
    with pytest.raises(InputError, match=r"g\.yaml:1"):
        graph_of(parse_yaml(text, "g.yaml"))
