"""Requests by what a user writes: a file, or a model's name with how many and how fast."""

from __future__ import annotations

import re
from pathlib import Path

from workloads.errors import InputError, unknown_name
from workloads.traces.generator import RequestModel, generate, load_request_model
from workloads.traces.rates import at_rate
from workloads.traces.readers import read_requests
from workloads.traces.requests import RequestTrace

__all__ = ["request_model", "request_model_names", "requests_of"]

_FITTED = Path(__file__).parent / "fitted"
_LIKE = re.compile(r"(?P<name>[^:@]+?)-like(?::(?P<requests>[^@]*))?(?:@(?P<rate>.*))?")
_EXPECTED = "FILE[@REQUESTS_PER_S], or NAME-like[:REQUESTS][@REQUESTS_PER_S]"


def request_model_names() -> tuple[str, ...]:
    """The names of the models that are fitted to public traces, sorted."""
    return tuple(sorted(path.stem for path in _FITTED.glob("*.yaml")))


def request_model(name_or_path: str) -> RequestModel:
    """A fitted model by name, or one in a file: text with a path separator, or that ends in .yaml, .yml or .json."""
    if "/" in name_or_path or name_or_path.lower().endswith((".yaml", ".yml", ".json")):
        return load_request_model(name_or_path)
    names = request_model_names()
    if name_or_path not in names:
        raise unknown_name("request model", name_or_path, names)
    return load_request_model(_FITTED / f"{name_or_path}.yaml")


def requests_of(text: str, seed: int = 0) -> RequestTrace:
    """The requests that ``text`` means: ``FILE``, ``FILE@4``, or ``azure-conversation-like:5000@8``.

    A file's requests arrive as it says, or at the rate behind the @ (`at_rate`). The last form are 5,000 requests drawn
    by ``seed`` from the model ``azure-conversation``, 8 a second; without a count as many as its trace had, without a
    rate at the trace's. A file that is there goes before a name. Raises `InputError`.
    """
    file, _, rate = text.rpartition("@")
    if Path(text).is_file():
        return read_requests(text)
    if Path(file).is_file():
        return at_rate(read_requests(file), _rate(rate, text), seed)
    like = _LIKE.fullmatch(text)
    if like is None:
        if not Path(text).exists() and not re.search(r"[/\\.]", text):
            raise unknown_name("request trace", text, [f"{name}-like" for name in request_model_names()])
        return read_requests(text)
    requests = like["requests"]
    if requests is not None and not (requests.isascii() and requests.isdecimal()):
        raise InputError(f"found {requests!r} requests", _EXPECTED, text)
    rate_per_s = None if like["rate"] is None else _rate(like["rate"], text)
    return generate(request_model(like["name"]), None if requests is None else int(requests), seed, rate_per_s)


def _rate(found: str, text: str) -> float:
    try:
        return float(found)
    except ValueError:
        raise InputError(f"found the rate {found!r}", _EXPECTED, text) from None
