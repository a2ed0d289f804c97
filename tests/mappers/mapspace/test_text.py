"""Mappings as text, as JSON and as drawings."""

from __future__ import annotations

import json
import re
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings

from hw.spec.load_hierarchy import load_hierarchy
from mappers.mapspace.cost import evaluate
from mappers.mapspace.drawing import draw_mapping
from mappers.mapspace.mapping import Branch, Compute, Loop, Mapping, Spread, Store
from mappers.mapspace.text import bits_text, mapping_from_json, mapping_text, mapping_to_json, turns_text
from tests.mappers.mapspace.mapping_strategies import Case, cases, problem_of
from workloads.errors import InputError

_HOMES = tuple(Store("dram", tensor) for tensor in ("A", "B", "C", "Z"))
_MAKE = (Loop("n", 1), Loop("k", 1), Compute("T", "mac"))
_TAKE = (Loop("p", 1), Loop("n", 1), Compute("Z", "mac"))
_CHAIN = Mapping(
    "chain",
    "mapping-simple",
    (*_HOMES, Loop("m", 3), Store("glb", "T"), Loop("m", 1), Branch("sequential", (_MAKE, _TAKE))),
)
_SIZES = {"m": 8, "n": 2, "k": 4, "p": 5}


def test_a_nest_is_printed_with_tiles_turns_and_traffic() -> None:
    problem, hierarchy = problem_of("chain", _SIZES), load_hierarchy("mapping-simple")
    text = mapping_text(_CHAIN, problem, evaluate(_CHAIN, problem, hierarchy))
    # T: 16 elements of 1 bit; 4 terms each, so 64 updates, 48 of them on a sum; each is read for 5 columns of Z.
    assert text.splitlines()[4:] == [
        "dram keeps Z[8 x 5] 5 B, read 5 B, written 10 B",
        "for m in steps of 3 (3x, last 2)",
        "  glb keeps T[3 x 2] 6 bit, read 16 B, written 8 B",
        "  for m in steps of 1 (3x)",
        "    first",
        "      for n in steps of 1 (2x)",
        "        for k in steps of 1 (4x)",
        "          compute T on mac",
        "    then",
        "      for p in steps of 1 (5x)",
        "        for n in steps of 1 (2x)",
        "          compute Z on mac",
    ]


def test_a_nest_is_printed_without_its_problem() -> None:
    spread = Spread("register", "columns", "n", 4)
    branch = Branch("pipelined", ((Loop("m", 2), spread, Compute("T", "mac")), (Compute("Z", "mac"),)))
    assert mapping_text(Mapping("c", "h", (Store("glb", "A"), branch))) == (
        "c on h\nglb keeps A\nfirst\n  for m in steps of 2\n    spread n over register.columns (4)\n"
        "    compute T on mac\nbeside it\n  compute Z on mac\n"
    )


@pytest.mark.parametrize(
    ("bits", "text"), [(0, "0 B"), (7, "7 bit"), (8 * 1023, "1023 B"), (8 * 1536, "1.5 KiB"), (2**53, "1024 TiB")]
)
def test_bits(bits: int, text: str) -> None:
    assert bits_text(bits) == text


@pytest.mark.parametrize(("size", "tile", "text"), [(8, 2, "4x"), (8, 3, "3x, last 2"), (8, 9, "1x"), (8, 8, "1x")])
def test_turns(size: int, tile: int, text: str) -> None:
    assert turns_text(size, tile) == text


@settings(max_examples=50, deadline=None)
@given(cases())
def test_json_round_trip(case: Case) -> None:
    assert mapping_from_json(json.loads(json.dumps(mapping_to_json(case.mapping)))) == case.mapping


def _document(node: Any) -> dict[str, Any]:
    return {"cascade": "c", "hierarchy": "h", "nest": [node]}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "mapping: [] is not an object; expected the fields cascade, hierarchy, nest"),
        ({"cascade": "c", "nest": []}, "mapping: hierarchy is missing; expected the fields cascade, hierarchy, nest"),
        ({"cascade": "c", "hierarchy": 3, "nest": []}, "hierarchy: 3 is not a name; expected a word"),
        ({"cascade": "c", "hierarchy": "h", "nest": {}}, "nest: {} is not a nest; expected a list of nodes"),
        (_document(3), "nest[0]: 3 is not a node"),
        (_document({}), "nest[0]: unknown node ''"),
        (_document({"four": "m"}), "nest[0]: unknown node 'four'"),
        (_document({"for": "m", "compute": "Z"}), "nest[0]: a node is both for and compute; expected one of them"),
        (_document({"for": "m"}), "nest[0]: tile is missing; expected the fields for, tile"),
        (_document({"for": "m", "tile": 0}), "nest[0].tile: 0; expected a whole number of at least 1"),
        (_document({"for": "m", "tile": True}), "nest[0].tile: True; expected a whole number of at least 1"),
        (_document({"for": "m", "tiles": 2}), "nest[0]: unknown field 'tiles'"),
        (_document({"spread": "m", "over": "rows", "factor": 2}), "nest[0].over: 'rows' is not a fan-out"),
        (_document({"sequential": []}), "nest[0].sequential: [] is no list of nests"),
        (_document({"pipelined": [[{"keep": "A", "at": 1}]]}), "nest[0].pipelined[0][0].at: 1 is not a name"),
    ],
)
def test_json_that_is_no_mapping(document: Any, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        mapping_from_json(document)


def _inside(svg: str) -> list[str]:
    """Texts of a drawing; all elements lie inside it."""
    root = ElementTree.fromstring(svg)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    texts = []
    for element in root.iter():
        x, y = float(element.attrib.get("x", 0)), float(element.attrib.get("y", 0))
        assert 0 <= x <= width
        assert 0 <= y <= height
        if element.tag.endswith("rect"):
            assert x + float(element.attrib["width"]) <= width + 1e-6
            assert y + float(element.attrib["height"]) <= height + 1e-6
        if element.tag.endswith("text") and element.text:
            texts.append(element.text)
            assert x + 5 * len(element.text) <= width  # 10 px letters take about 5 px
    return texts


def test_drawing() -> None:
    problem, hierarchy = problem_of("chain", _SIZES), load_hierarchy("mapping-simple")
    texts = _inside(draw_mapping(_CHAIN, problem, hierarchy, evaluate(_CHAIN, problem, hierarchy)))
    assert texts[1:3] == ["dram", "glb"]
    for text in (
        "glb: T 6 bit",
        "tile 3 x 2",
        "reads 16 B, writes 8 B",
        "for m in steps of 3 (3x, last 2)",
        "Z on mac",
    ):
        assert text in texts


@settings(max_examples=50, deadline=None)
@given(cases())
def test_every_drawing_is_well_formed_and_whole(case: Case) -> None:
    bare = _inside(draw_mapping(case.mapping))
    full = _inside(draw_mapping(case.mapping, case.problem, case.hierarchy))
    assert sum(text.startswith("for ") for text in bare) == sum(text.startswith("for ") for text in full)
    assert sum(text.startswith("for ") for text in bare) == json.dumps(mapping_to_json(case.mapping)).count('"for"')
