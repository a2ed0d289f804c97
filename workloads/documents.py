"""YAML and JSON documents with the line of every field, and pydantic's complaints about them as one sentence.

YAML is read by the core schema of YAML 1.2 (``yes`` and ``on`` are text, ``1e3`` is a number) and without anchors,
aliases and tags: a description stays what it looks like, and a small file cannot unfold into a large one.
"""

from __future__ import annotations

import json
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from workloads.errors import InputError, nearest_name, unknown_name

__all__ = [
    "Document",
    "FieldPath",
    "annotation_at",
    "describe",
    "dotted",
    "field_error",
    "parse_json",
    "parse_yaml",
    "parse_yaml_value",
    "read_document",
    "validate",
    "validation_error",
]

FieldPath = tuple[str | int, ...]
Model = TypeVar("Model", bound=BaseModel)

_LARGEST_BYTES = 16 * 2**20
_DEEPEST = 64
_LONGEST_NUMBER = 400  # digits; Python itself refuses to convert beyond 4300
_YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_QUOTED = ("'", '"', "|", ">")
# Merge and value are what "<<" and "=" are tagged with; here they are ordinary text.
_YAML_TAGS = frozenset(
    f"tag:yaml.org,2002:{name}"
    for name in ("null", "bool", "int", "float", "str", "timestamp", "seq", "map", "merge", "value")
)
_INTEGER = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_PLAIN_WORDS: dict[str, Any] = {"": None, "~": None, "null": None, "true": True, "false": False}
_PLAIN_WORDS |= {".nan": float("nan"), ".inf": float("inf"), "+.inf": float("inf"), "-.inf": float("-inf")}
_JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')


def dotted(path: Sequence[str | int]) -> str:
    """``("links", "pcie", "between", 0)`` as users write it: ``links.pcie.between[0]``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


@dataclass(frozen=True)
class Document:
    """A mapping read from ``file``, with the 1-based line on which each field starts."""

    file: str
    value: dict[str, Any]
    lines: Mapping[FieldPath, int]

    def line(self, path: Sequence[str | int] = ()) -> int:
        """The line of the field at ``path``, or of the innermost part of it that the file has."""
        inner = tuple(path)
        while inner and inner not in self.lines:
            inner = inner[:-1]
        return self.lines.get(inner, 1)

    def error(
        self, problem: str, path: Sequence[str | int] = (), *, expected: str | None = None, nearest: str | None = None
    ) -> InputError:
        """The `InputError` about the field at ``path``, with this document's file and line."""
        return InputError(problem, expected, dotted(path) or None, self.file, self.line(path), nearest)

    def locate(self, error: InputError) -> InputError:
        """``error`` with this document's file and the line of its dotted field added."""
        field = error.field or ""
        best = max(
            (path for path in self.lines if _begins(field, dotted(path))), key=lambda path: len(path), default=()
        )
        return replace(error, file=self.file, line=self.line(best))


def _begins(field: str, start: str) -> bool:
    return field.startswith(start) and field[len(start) : len(start) + 1] in ("", ".", "[")


def read_document(path: str | Path) -> Document:
    """The document at ``path``: JSON when it ends in ``.json``, YAML otherwise. `InputError` when it cannot be read."""
    file = str(path)
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError("no such file", file=file) from None
    except IsADirectoryError:
        raise InputError("is a directory", expected="a YAML or JSON file", file=file) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise InputError(f"cannot be read: {getattr(error, 'strerror', None) or error}", file=file) from None
    if len(data) > _LARGEST_BYTES:
        raise InputError(f"{len(data)} bytes are too many", expected=f"at most {_LARGEST_BYTES} bytes", file=file)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"byte 0x{data[error.start]:02x} is not UTF-8 text", "UTF-8 text", None, file, line) from None
    return parse_json(text, file) if file.lower().endswith(".json") else parse_yaml(text, file)


def parse_yaml(text: str, file: str) -> Document:
    """The YAML mapping in ``text``; ``file`` is named in errors. Raises `InputError` with file and line."""
    lines: dict[FieldPath, int] = {}
    return _document(file, _parse_yaml(text, file, lines), lines)


def parse_yaml_value(text: str, file: str | None = None) -> Any:
    """Any YAML value (scalar, list or mapping) by the same rules; raises `InputError`."""
    return _parse_yaml(text, file, {})


def parse_json(text: str, file: str) -> Document:
    """The JSON object in ``text``; ``file`` is named in errors. Raises `InputError` with file and line."""
    if not text.strip():
        raise InputError("the file is empty", expected="a JSON object", file=file, line=1)
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"not JSON: {error.msg} at column {error.colno}", file=file, line=error.lineno) from None
    except RecursionError:
        raise InputError("nested too deeply", expected=f"at most {_DEEPEST} levels", file=file, line=1) from None
    except ValueError:
        problem = "a number has too many digits"
        raise InputError(problem, expected=f"at most {_LONGEST_NUMBER} digits", file=file, line=1) from None
    return _document(file, value, _json_lines(text, file))


def _document(file: str, value: Any, lines: dict[FieldPath, int]) -> Document:
    if not isinstance(value, dict):
        raise InputError(f"found {describe(value)}", "a mapping of fields to values", None, file, lines.get((), 1))
    return Document(file, value, lines)


def _parse_yaml(text: str, file: str | None, lines: dict[FieldPath, int]) -> Any:
    if not text.strip():
        raise InputError("the file is empty" if file else "the value is empty", "a YAML value", None, file, 1)
    try:
        root = yaml.compose(text, Loader=_YAML_LOADER)
    except yaml.MarkedYAMLError as error:
        raise _yaml_syntax_error(error, text, file) from None
    except (yaml.YAMLError, UnicodeError) as error:
        problem = str(error).splitlines()[0]
        raise InputError(f"not YAML: {problem}", file=file, line=_control_character_line(text)) from None
    except RecursionError:
        raise InputError("nested too deeply", f"at most {_DEEPEST} levels", None, file, 1) from None
    if root is None:
        raise InputError("the file holds nothing but comments", "a mapping of fields to values", None, file, 1)
    return _YamlReader(text, file, lines).read(root, ())


def _yaml_syntax_error(error: yaml.MarkedYAMLError, text: str, file: str | None) -> InputError:
    mark = error.problem_mark or error.context_mark
    line = mark.line if mark else 0
    written = text.splitlines()
    if line < len(written) and "\t" in written[line][: len(written[line]) - len(written[line].lstrip())]:
        return InputError("a tab in the indentation", "spaces", None, file, line + 1)
    problem = error.problem or error.context or "syntax error"
    column = f" at column {mark.column + 1}" if mark else ""
    # A structure left open is reported where the parser gave up; where it began is what helps.
    begun = error.context_mark
    opened = f" ({error.context} from line {begun.line + 1})" if error.context and begun else ""
    return InputError(f"not YAML: {problem}{column}{opened}", None, None, file, line + 1)


def _control_character_line(text: str) -> int:
    found = re.search("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", text)
    return text.count("\n", 0, found.start()) + 1 if found else 1


class _YamlReader:
    """Turns composed nodes into plain values, noting lines and refusing what a description should not contain."""

    def __init__(self, text: str, file: str | None, lines: dict[FieldPath, int]) -> None:
        self._text = text
        self._file = file
        self._lines = lines
        self._seen: set[int] = set()

    def read(self, node: yaml.Node, path: FieldPath) -> Any:
        self._lines.setdefault(path, node.start_mark.line + 1)
        if id(node) in self._seen:
            raise self._alias_error(path)
        self._seen.add(id(node))
        if node.tag not in _YAML_TAGS:
            raise self._error(f"the tag {node.tag!r} is not allowed", node, path, "a plain value")
        if len(path) > _DEEPEST:
            raise self._error("nested too deeply", node, path[:1], f"at most {_DEEPEST} levels")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*path, index)) for index, item in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: FieldPath) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self.read(key_node, (*path, "?")) if isinstance(key_node, yaml.ScalarNode) else None
            self._lines.pop((*path, "?"), None)
            if not isinstance(key, str):
                shown = key_node.value if isinstance(key_node, yaml.ScalarNode) else "a list or mapping"
                raise self._error(f"the key {shown} is not text", key_node, path, "text (quote it)")
            inner = (*path, key)
            if key in result:
                problem = f"the key {key!r} appears twice (first on line {self._lines[inner]})"
                raise self._error(problem, key_node, inner, "each key once")
            self._lines[inner] = key_node.start_mark.line + 1
            result[key] = self.read(value_node, inner)
        return result

    def _scalar(self, node: yaml.ScalarNode, path: FieldPath) -> Any:
        text: str = node.value
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise self._error("a surrogate escape is not text", node, path, "Unicode text")
        if node.style in _QUOTED:
            return text
        if text.lower() in _PLAIN_WORDS and text in (text.lower(), text.upper(), text.capitalize()):
            return _PLAIN_WORDS[text.lower()]
        if not _FLOAT.fullmatch(text):
            return text
        if len(text) > _LONGEST_NUMBER:
            raise self._error("a number has too many digits", node, path, f"at most {_LONGEST_NUMBER} digits")
        return int(text) if _INTEGER.fullmatch(text) else float(text)

    def _alias_error(self, path: FieldPath) -> InputError:
        for event in yaml.parse(self._text, Loader=_YAML_LOADER):
            if isinstance(event, yaml.AliasEvent) and event.start_mark:
                line = event.start_mark.line + 1
                problem = f"the alias *{event.anchor} is not allowed"
                return InputError(problem, "the value written out", dotted(path) or None, self._file, line)
        raise AssertionError("a node was shared without an alias")

    def _error(self, problem: str, node: yaml.Node, path: FieldPath, expected: str) -> InputError:
        return InputError(problem, expected, dotted(path) or None, self._file, node.start_mark.line + 1)


def _json_lines(text: str, file: str) -> dict[FieldPath, int]:
    """The line of each field of valid JSON; refuses a key given twice, which ``json`` would take silently."""
    lines: dict[FieldPath, int] = {}
    for path, line in _json_fields(text):
        if path in lines:
            problem = f"the key {path[-1]!r} appears twice (first on line {lines[path]})"
            raise InputError(problem, "each key once", dotted(path), file, line)
        if len(path) > _DEEPEST:
            raise InputError("nested too deeply", f"at most {_DEEPEST} levels", dotted(path[:1]), file, line)
        lines[path] = line
    return lines


def _json_fields(text: str) -> Iterator[tuple[FieldPath, int]]:
    stack: list[str | int | None] = []  # per open bracket the key or index we are in; None where a key comes next
    line, position, begins_value = 1, 0, True
    for match in _JSON_TOKEN.finditer(text):
        line += text.count("\n", position, match.start())
        position = match.start()
        token = match.group()
        if token in "]}":
            stack.pop()
            begins_value = False
        elif token == ",":
            inside = stack[-1]
            stack[-1] = inside + 1 if isinstance(inside, int) else None
            begins_value = isinstance(inside, int)
        elif token == ":":
            begins_value = False  # the field was noted at its key
        elif stack and stack[-1] is None:
            stack[-1] = str(json.loads(token))
            yield tuple(part for part in stack if part is not None), line
        else:
            if begins_value:
                yield tuple(part for part in stack if part is not None), line
            begins_value = token == "["
            if token in "[{":
                stack.append(0 if token == "[" else None)


def describe(value: Any) -> str:
    """``value`` as an error message shows it: short, and in the document's own words."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def field_error(error: InputError) -> PydanticCustomError:
    """``error`` in a form that a pydantic validator may raise and `validation_error` turns back, placed in its file."""
    context = {"text": str(error), "problem": error.problem, "expected": error.expected, "nearest": error.nearest}
    return PydanticCustomError("input_error", "{text}", context)


def validate(model: type[Model], document: Document) -> Model:
    """``document`` as a ``model``, strictly (no text for a number), by the names its file uses; raises `InputError`."""
    try:
        # As JSON, because only then pydantic can be strict and still take a list for a tuple.
        return model.model_validate_json(json.dumps(document.value), strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        raise validation_error(error, document, model) from None
    except InputError as error:
        raise document.locate(error) from None


def validation_error(error: ValidationError, document: Document, model: type[BaseModel]) -> InputError:
    """The first of ``error``'s complaints by line, in the document's own field names."""
    found = [_convert(details, document, model) for details in error.errors(include_url=False)]
    misspelt = {(e.field or "").rpartition(".")[0] + "." + e.nearest for e in found if e.nearest and e.field}
    # A required key that is only misspelt is missing too; the misspelling is the better thing to say.
    said = [e for e in found if not (e.problem.startswith("missing key") and f"{e.field}" in misspelt)] or found
    return min(said, key=lambda e: e.line or 0)


def _convert(details: ErrorDetails, document: Document, model: type[BaseModel]) -> InputError:
    path: FieldPath = tuple(part for part in details["loc"] if part != "[key]")
    context: Mapping[str, Any] = details.get("ctx", {})
    kind = details["type"]
    if kind == "input_error":
        return document.error(context["problem"], path, expected=context["expected"], nearest=context["nearest"])
    if kind == "extra_forbidden":
        names = _keys(annotation_at(model, path[:-1]))
        error = unknown_name("key", str(path[-1]), names)
        return document.error(error.problem, path, expected=error.expected, nearest=error.nearest)
    if kind == "missing":
        return document.error(f"missing key {path[-1]!r}" if isinstance(path[-1], str) else "missing entry", path)
    nearest = None
    if kind == "literal_error" and isinstance(details["input"], str):
        nearest = nearest_name(details["input"], re.findall(r"'([^']*)'", context["expected"]))
    expected = _EXPECTED.get(kind)
    return document.error(
        f"found {describe(details['input'])}",
        path,
        expected=expected.format_map(context) if expected else details["msg"],
        nearest=nearest,
    )


_EXPECTED = {
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "finite_number": "a finite number",
    "float_type": "a number",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "list_type": "a list",
    "literal_error": "{expected}",
    "model_type": "a mapping",
    "string_pattern_mismatch": "text that matches {pattern}",
    "string_too_short": "text of at least {min_length} characters",
    "string_type": "text",
    "too_long": "at most {max_length} entries",
    "too_short": "at least {min_length} entries",
    "tuple_type": "a list",
}


def annotation_at(model: type[BaseModel], path: FieldPath) -> Any:
    """The type a model declares for the field at ``path``, by the names documents use; None when it declares none."""
    annotation: Any = model
    for part in path:
        annotation = _bare(annotation)
        origin = get_origin(annotation)
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            fields = {field.alias or name: field.annotation for name, field in annotation.model_fields.items()}
            annotation = fields.get(str(part))
        elif origin in (dict, Mapping):
            annotation = get_args(annotation)[1]
        elif origin in (list, tuple):
            annotation = get_args(annotation)[0]
        else:
            return None
    return _bare(annotation)


def _bare(annotation: Any) -> Any:
    """``annotation`` without ``Annotated`` and without ``| None``."""
    while get_origin(annotation) in (Annotated, Union, types.UnionType):
        annotation = next(part for part in get_args(annotation) if part is not type(None))
    return annotation


def _keys(annotation: Any) -> list[str]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [field.alias or name for name, field in annotation.model_fields.items()]
    return []
