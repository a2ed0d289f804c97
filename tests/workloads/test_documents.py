"""YAML and JSON documents: lines, refusals, and pydantic's complaints in the document's words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from workloads.documents import dotted, parse_json, parse_yaml, parse_yaml_value, read_document
from workloads.errors import InputError
from workloads.validation import annotation_at, validate


def test_lines_of_yaml() -> None:
    document = parse_yaml("a: 1\n\nb:\n  c: [x,\n    y]\n  # note\n  d: {e: 2}\n", "f.yaml")
    assert document.value == {"a": 1, "b": {"c": ["x", "y"], "d": {"e": 2}}}
    paths: list[tuple[str | int, ...]] = [
        ("a",),
        ("b",),
        ("b", "c"),
        ("b", "c", 1),
        ("b", "d", "e"),
        ("b", "d", "zz"),
        (),
    ]
    assert [document.line(path) for path in paths] == [1, 3, 4, 5, 7, 7, 1]


def test_lines_of_json() -> None:
    text = '{"a": 1,\n "b\\u0063": {"c": ["x",\n  {"y": "}:,{"}, []],\n "d": {}\n }}'
    document = parse_json(text, "f.json")
    assert document.value == json.loads(text)
    paths: list[tuple[str | int, ...]] = [
        ("a",),
        ("bc",),
        ("bc", "c", 0),
        ("bc", "c", 1, "y"),
        ("bc", "c", 2),
        ("bc", "d"),
    ]
    assert [document.line(path) for path in paths] == [1, 2, 2, 3, 3, 4]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(value=st.dictionaries(st.text(), values, max_size=4), indent=st.sampled_from([None, 0, 2]))
def test_every_json_field_has_its_line(value: dict[str, object], indent: int | None) -> None:
    text = json.dumps(value, indent=indent)
    document = parse_json(text, "f.json")
    assert document.value == value

    def paths(inner: object, path: tuple[str | int, ...]) -> list[tuple[str | int, ...]]:
        items = inner.items() if isinstance(inner, dict) else enumerate(inner) if isinstance(inner, list) else ()
        return [path, *(deeper for key, child in items for deeper in paths(child, (*path, key)))]

    expected = paths(value, ())
    assert set(document.lines) == set(expected)
    in_order = [document.lines[path] for path in expected]
    assert in_order == sorted(in_order)
    assert in_order[-1] <= text.count("\n") + 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e3", 1000.0),
        ("-5", -5),
        ("0.5", 0.5),
        ("+.5", 0.5),
        ("true", True),
        ("False", False),
        ("yes", "yes"),
        ("on", "on"),
        ("~", None),
        ("null", None),
        ("'3'", "3"),
        ("2020-01-01", "2020-01-01"),
        ("1_000", "1_000"),
        ("0x10", "0x10"),
        ("1:30", "1:30"),
        ("=", "="),
        ("[1, a]", [1, "a"]),
        ("{a: {b: c}}", {"a": {"b": "c"}}),
        ("|\n a\n b\n", "a\nb\n"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    assert parse_yaml_value(text) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "f.yaml:1: the file is empty; expected a YAML value"),
        ("  \n\n", "f.yaml:1: the file is empty; expected a YAML value"),
        ("- a\n", "f.yaml:1: found a list; expected a mapping of fields to values"),
        ("words", "f.yaml:1: found 'words'; expected a mapping of fields to values"),
        ("a:\n\tb: 1\n", "f.yaml:2: a tab in the indentation; expected spaces"),
        ("a: 1\nb: 2\na: 3\n", "f.yaml:3: a: the key 'a' appears twice (first on line 1); expected each key once"),
        (
            "a:\n  b: 1\n  b: 2\n",
            "f.yaml:3: a.b: the key 'b' appears twice (first on line 2); expected each key once",
        ),
        ("a: &x [1]\nb: *x\n", "f.yaml:2: b: the alias *x is not allowed; expected the value written out"),
        ("a: &x [*x]\n", "f.yaml:1: a[0]: the alias *x is not allowed; expected the value written out"),
        (
            "a: !!python/object:os.system {}\n",
            "f.yaml:1: a: the tag 'tag:yaml.org,2002:python/object:os.system' is not allowed; "
            "expected a value without a tag",
        ),
        ("1: 2\n", "f.yaml:1: the key '1' is not text; expected text as a key"),
        ("a:\n  [b]: 2\n", "f.yaml:2: a: the key (a list or mapping) is not text; expected text as a key"),
        ("a: 1\n---\nb: 2\n", "f.yaml:2: a second document begins; expected one document in a file"),
        ("a: " + "9" * 5000, "f.yaml:1: a: a number has too many digits; expected at most 400 digits"),
        ("a: " + "[" * 100000, "f.yaml:1: a: nested too deeply; expected at most 64 levels"),
        ("a: b: c\n", "f.yaml:1: not YAML: mapping values are not allowed in this context at column 5"),
    ],
)
def test_yaml_is_refused_with_this_text(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_yaml(text, "f.yaml")
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "line"), [("a: 1\nb: \x01\n", 2), ("a: 1\nb: \x00\n", 2), ('a: "b\n', 2), ("a: [1,\nb\n", 3), ("# a\n", 2)]
)
def test_other_broken_yaml_names_its_line(text: str, line: int) -> None:
    with pytest.raises(InputError) as caught:
        parse_yaml(text, "f.yaml")
    assert (caught.value.file, caught.value.line) == ("f.yaml", line)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "f.json:1: the file is empty; expected a JSON object"),
        ("[1]", "f.json:1: found a list; expected a mapping of fields to values"),
        ('{"a": 1,\n}', "f.json:2: not JSON: Expecting property name enclosed in double quotes at column 1"),
        (
            '{"a": 1,\n "b": {"c": 1, "c": 2}}',
            "f.json:2: b.c: the key 'c' appears twice (first on line 2); expected each key once",
        ),
        ("[" * 100000, "f.json:1: nested too deeply; expected at most 64 levels"),
        ('{"a":' + "[" * 100 + "]" * 100 + "}", "f.json:1: a: nested too deeply; expected at most 64 levels"),
        ('{"a": ' + "9" * 5000 + "}", "f.json:1: a number has too many digits; expected at most 400 digits"),
        ('{"a": "\\ud800"}', "f.json:1: a surrogate escape is not text; expected Unicode text"),
    ],
)
def test_json_is_refused_with_this_text(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_json(text, "f.json")
    assert str(caught.value) == message


@given(text=st.text(max_size=60))
def test_any_text_is_a_document_or_an_input_error(text: str) -> None:
    for parse in (parse_yaml, parse_json):
        try:
            parse(text, "f")
        except InputError as caught:
            error = caught
        else:
            continue
        assert error.file == "f"
        assert error.line is not None


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    binary = tmp_path / "b.yaml"
    binary.write_bytes(b"a: 1\nb: \xff\n")
    large = tmp_path / "large.yaml"
    large.write_bytes(b" " * (2**24 + 1))
    messages = []
    for path in (tmp_path / "none.yaml", tmp_path, binary, large, Path("a\0b")):
        with pytest.raises(InputError) as caught:
            read_document(path)
        messages.append(str(caught.value).replace(str(tmp_path), "."))
    assert messages == [
        "./none.yaml: no such file",
        ".: is a directory; expected a YAML or JSON file",
        "./b.yaml:2: byte 0xff is not UTF-8 text; expected UTF-8 text",
        "./large.yaml: 16777217 bytes are too many; expected at most 16777216 bytes",
        "a\0b: cannot be read: embedded null byte",
    ]


def test_files_with_a_byte_order_mark(tmp_path: Path) -> None:
    for name, text in (("f.yaml", "a: 1\n"), ("f.JSON", '{"a": 1}')):
        (tmp_path / name).write_text(text, encoding="utf-8-sig")
        assert read_document(tmp_path / name).value == {"a": 1}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    size_bytes: int = Field(alias="size", gt=0, le=10)
    kind: Literal["near", "far"] = "near"


class _Whole(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    parts: dict[str, _Part] = Field(default_factory=dict)
    extra_part: _Part | None = Field(None, alias="extra")
    pair: tuple[str, str] | None = None
    names: list[str] = Field(default_factory=list, max_length=2)


def test_validates_by_alias_only_and_strictly() -> None:
    whole = validate(_Whole, parse_yaml("parts: {a: {size: 3}}\npair: [x, y]\n", "f.yaml"))
    assert whole.parts["a"].size_bytes == 3
    assert whole.pair == ("x", "y")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "parts:\n  a:\n    size_bytes: 3\n",
            "f.yaml:3: parts.a.size_bytes: unknown key 'size_bytes'; expected one of kind, size; did you mean 'size'?",
        ),
        (
            "extra:\n  sise: 3\n",
            "f.yaml:2: extra.sise: unknown key 'sise'; expected one of kind, size; did you mean 'size'?",
        ),
        (
            "part: {}\n",
            "f.yaml:1: part: unknown key 'part'; expected one of extra, names, pair, parts; did you mean 'parts'?",
        ),
        ("parts:\n  a: {}\n", "f.yaml:2: parts.a.size: missing key 'size'"),
        ("parts:\n  a:\n    size: '3'\n", "f.yaml:3: parts.a.size: found '3'; expected a whole number"),
        ("parts:\n  a:\n    size: 11\n", "f.yaml:3: parts.a.size: found 11; expected at most 10"),
        ("parts:\n  a: 3\n", "f.yaml:2: parts.a: found 3; expected a mapping"),
        (
            "extra: {size: 1, kind: nearr}\n",
            "f.yaml:1: extra.kind: found 'nearr'; expected 'near' or 'far'; did you mean 'near'?",
        ),
        ("pair:\n- x\n- 3\n", "f.yaml:3: pair[1]: found 3; expected text"),
        ("names: [a, b, c]\n", "f.yaml:1: names: found a list; expected at most 2 entries"),
        ("names: [3]\nparts: 4\n", "f.yaml:1: names[0]: found 3; expected text"),
    ],
)
def test_a_document_that_is_no_model_is_refused_with_this_text(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        validate(_Whole, parse_yaml(text, "f.yaml"))
    assert str(caught.value) == message


def test_annotations_by_document_names() -> None:
    assert annotation_at(_Whole, ("parts", "any", "size")) is int
    assert annotation_at(_Whole, ("extra",)) is _Part
    assert annotation_at(_Whole, ("names", 0)) is str
    assert annotation_at(_Whole, ("nothing",)) is None
    assert annotation_at(_Whole, ("names", 0, "deeper")) is None


def test_dotted_paths() -> None:
    assert dotted(("links", "bus", "between", 0)) == "links.bus.between[0]"
    assert dotted(()) == ""
