"""Families of cascades: one description with a whole number in it, such as a chain of any length."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from workloads.cascades.catalogue import cascade_names, load_cascade
from workloads.einsum import Cascade, parse_cascade
from workloads.errors import InputError, unknown_name

__all__ = ["CascadeFamily", "cascade_and_sizes", "cascade_families", "family", "family_cascade"]


@dataclass(frozen=True, slots=True)
class CascadeFamily:
    """A family: its name, what it is, and for each parameter the default, the least and the greatest value."""

    name: str
    about: str
    parameters: tuple[tuple[str, tuple[int, int, int]], ...]
    text: Callable[[Mapping[str, int]], str]


def _gemm_chain(parameters: Mapping[str, int]) -> str:
    steps = range(parameters["length"])
    shared = ", ".join(f"n{place} = |n|" for place in range(1, len(steps) + 1))
    lines = [
        f"cascade gemm-chain-{len(steps)}",
        'doc "Matrix products one after the other: each takes what the last one made."',
        'doc "The widths n0, n1 ... are n where they are not given, and n is n0."',
        'source "BLAS level 3 (Dongarra et al., ACM TOMS 16(1), 1990)"',
        "bits 8",
        f"rank m, n = |n0|, n0 = |n|, {shared}",
        "input T0[m, n0], " + ", ".join(f"W{i}[n{i}, n{i + 1}]" for i in steps),
        f"output T{len(steps)}",
        *(f"T{i + 1}[m, n{i + 1}] = T{i}[m, n{i}] * W{i}[n{i}, n{i + 1}] :: add(n{i})" for i in steps),
    ]
    return "\n".join(lines) + "\n"


_FAMILIES = {
    made.name: made
    for made in (
        CascadeFamily(
            "gemm-chain",
            "Matrix products one after the other; 'length' of them.",
            (("length", (2, 1, 256)),),
            _gemm_chain,
        ),
    )
}


def cascade_families() -> tuple[str, ...]:
    """The names of all families, sorted."""
    return tuple(sorted(_FAMILIES))


def family(name: str) -> CascadeFamily:
    """The family of that name. Raises InputError, with the nearest name, if there is none."""
    if name not in _FAMILIES:
        raise unknown_name("family of cascades", name, _FAMILIES, field="cascade")
    return _FAMILIES[name]


def family_cascade(name: str, parameters: Mapping[str, float] | None = None) -> Cascade:
    """The member of a family with these parameters (``{"length": 4}``); those left out are at their defaults.

    Raises InputError for an unknown family or parameter and for a value that is not whole or out of range.
    """
    found = family(name)
    given, values = dict(parameters or {}), {}
    for parameter, (default, least, most) in found.parameters:
        value = given.pop(parameter, default)
        if not least <= value <= most or value != int(value):
            expected = f"a whole number from {least} to {most}"
            raise InputError(f"{parameter} {value:g}", expected, field=f"{name}.{parameter}")
        values[parameter] = int(value)
    for parameter in given:
        raise unknown_name("parameter", parameter, [known for known, _ in found.parameters], field=name)
    return _member(name, tuple(values.items()))


def cascade_and_sizes(name: str, sizes: Mapping[str, float]) -> tuple[Cascade, dict[str, float]]:
    """The library's cascade or the family's member of that name, and the sizes that are not parameters of a family.

    ``("gemm-chain", {"m": 64, "n": 64, "length": 4})`` gives the chain of four and ``{"m": 64, "n": 64}``. Raises
    InputError as `load_cascade` and `family_cascade` do.
    """
    if name not in _FAMILIES:
        if name not in cascade_names():
            raise unknown_name("cascade", name, (*cascade_names(), *_FAMILIES), field="cascade")
        return load_cascade(name), dict(sizes)
    parameters = [parameter for parameter, _ in _FAMILIES[name].parameters]
    own = {parameter: value for parameter, value in sizes.items() if parameter in parameters}
    return family_cascade(name, own), {rank: value for rank, value in sizes.items() if rank not in own}


@lru_cache(maxsize=64)
def _member(name: str, values: tuple[tuple[str, int], ...]) -> Cascade:
    return parse_cascade(_FAMILIES[name].text(dict(values)), file=f"{name}.edge")
