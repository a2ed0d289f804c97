"""Where a number is from: its kind and its reference, written ``kind: text`` in a system description."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from workloads.documents import describe
from workloads.errors import InputError, nearest_name
from workloads.validation import field_error

__all__ = ["SOURCE_KINDS", "Source", "SourceKind", "parse_source"]

SourceKind = Literal["stated", "derived", "fitted", "synthetic"]
SOURCE_KINDS: tuple[str, ...] = get_args(SourceKind)
_EXPECTED = "'kind: where the number is from' with kind stated, derived, fitted or synthetic"


@dataclass(frozen=True)
class Source:
    """``stated`` by its reference, ``derived`` from stated numbers, ``fitted`` to data, or ``synthetic``: a guess."""

    kind: SourceKind
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._validate, serialization=core_schema.to_string_ser_schema(when_used="json")
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        pattern = rf"^\s*({'|'.join(SOURCE_KINDS)})\s*:\s*\S"
        return {"type": "string", "pattern": pattern, "examples": ["stated: NVIDIA H100 data sheet, 2023"]}

    @classmethod
    def _validate(cls, value: Any) -> Source:
        if isinstance(value, cls):
            return value
        try:
            return parse_source(value)
        except InputError as error:
            raise field_error(error) from None


def parse_source(text: Any) -> Source:
    """``"stated: NVIDIA H100 data sheet"`` as a `Source`; `InputError` when the kind or the text is missing."""
    if not isinstance(text, str):
        raise InputError(f"found {describe(text)}", _EXPECTED)
    kind, colon, reference = (part.strip() for part in text.partition(":"))
    if not colon:
        raise InputError(f"{describe(text)} does not say its kind", _EXPECTED)
    if kind not in SOURCE_KINDS:
        raise InputError(f"unknown kind of source {kind!r}", _EXPECTED, nearest=nearest_name(kind, SOURCE_KINDS))
    if not reference:
        raise InputError(f"{describe(text)} names no source", _EXPECTED)
    return Source(cast(SourceKind, kind), " ".join(reference.split()))
