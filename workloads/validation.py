"""Documents as pydantic models: every complaint becomes one `InputError` in the document's own field names."""

from __future__ import annotations

import json
import re
import types
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from workloads.documents import Document, FieldPath, describe
from workloads.errors import InputError, nearest_name, unknown_name

__all__ = ["annotation_at", "field_error", "validate", "validation_error"]

Model = TypeVar("Model", bound=BaseModel)


def field_error(error: InputError) -> PydanticCustomError:
    """``error`` in a form that a pydantic validator may raise and `validation_error` turns back, placed in its file.

    A field of ``error`` is taken to lie below the place that is validated.
    """
    context = {
        "text": str(error),
        "problem": error.problem,
        "expected": error.expected,
        "nearest": error.nearest,
        "below": tuple(error.field.split(".")) if error.field else (),
    }
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
    misspelt = {f"{(e.field or '').rpartition('.')[0]}.{e.nearest}".lstrip(".") for e in found if e.nearest}
    # A required key that is only misspelt is missing too; the misspelling is the better thing to say.
    said = [e for e in found if not (e.problem.startswith("missing key") and e.field in misspelt)] or found
    return min(said, key=lambda e: e.line or 0)


def _convert(details: ErrorDetails, document: Document, model: type[BaseModel]) -> InputError:
    path: FieldPath = tuple(part for part in details["loc"] if part != "[key]")
    context: Mapping[str, Any] = details.get("ctx", {})
    kind = details["type"]
    if kind == "input_error":
        path += context["below"]
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
