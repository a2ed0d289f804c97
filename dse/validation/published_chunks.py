"""Models behind the published rates of drives by chunk."""

from __future__ import annotations

from collections.abc import Callable

from dse.validation.published import Subject
from simulator.memory.flash.chunks import chunk_rates, linear_rate
from simulator.memory.flash.drive import Drive
from simulator.memory.flash.drives import load_drive

__all__ = ["CHUNKS"]

_THREADS = 32
_LAPTOP, _PHONE = "ssd-m1-max", "ufs4-phone"


def _random(drive: Drive, chunk_bytes: int, requests: int = 20_000, working_set: float = 0.5) -> float:
    found = chunk_rates(drive, (chunk_bytes,), (_THREADS,), requests=requests, working_set=working_set)
    return found[0].bandwidth_bytes_per_s


def _laptop(chunk_bytes: int | None) -> float:
    """Bytes per second of the laptop's drive: on and on for no chunk."""
    drive = load_drive(_LAPTOP)
    return linear_rate(drive) if chunk_bytes is None else _random(drive, chunk_bytes)


def _rate(chunk_bytes: int | None) -> Callable[[], float]:
    return lambda: _laptop(chunk_bytes) / 1e9


def _token_ms(size_bytes: float, chunk_bytes: int | None) -> Callable[[], float]:
    return lambda: size_bytes / _laptop(chunk_bytes) * 1e3


def _phone_random() -> float:
    """GB/s within 128 MB, which the part of the mapping table on the controller covers."""
    drive = load_drive(_PHONE)
    return _random(drive, 4096, 100_000, 128e6 / drive.capacity_bytes) / 1e9


CHUNKS = Subject(
    "Accuracy of drives by chunk",
    """Rates that two papers measured on a laptop and on a phone, and the input and output that a token of OPT-6.7B
takes at them. Of the drives only rates were published, so their descriptions (`ssd-m1-max`, `ufs4-phone`) take the
linear rate as stated, fit one time per command to one random rate, and assume the inside. So only the 16 KiB rate is
predicted; a token's times repeat the stated and the fitted rate, with the paper's bytes. Errors are
ours / published - 1.
""",
    {
        "m1 linear": _rate(None),
        "m1 8 KiB": _rate(8192),
        "m1 16 KiB": _rate(16384),
        "table 2 none": _token_ms(13.4e9, None),
        "table 2 half": _token_ms(6.7e9, None),
        "table 2 predicted": _token_ms(0.9e9, 8192),
        "ufs linear": lambda: linear_rate(load_drive(_PHONE), request_bytes=524288) / 1e9,
        "ufs 4 KiB": _phone_random,
    },
)
