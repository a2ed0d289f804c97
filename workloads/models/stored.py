"""In which format a configuration says its weights are stored: its data type and its quantisation, if any."""

from __future__ import annotations

from dataclasses import dataclass

from workloads.errors import unknown_name
from workloads.formats import FORMATS
from workloads.models.fields import Config

__all__ = ["StoredFormats", "stored_formats"]

_DATA_TYPES = {
    "float64": "fp64",
    "float32": "fp32",
    "float16": "fp16",
    "bfloat16": "bf16",
    "float8_e4m3fn": "fp8_e4m3",
    "float8_e5m2": "fp8_e5m2",
}
_METHODS = ("awq", "bitsandbytes", "compressed-tensors", "fp8", "gptq", "mxfp4")


@dataclass(frozen=True)
class StoredFormats:
    """Names in `workloads.formats.FORMATS`: of the projections, of the experts if they differ, of all the rest.

    ``unquantized`` is the format of embeddings, head, norms and router where the projections are quantised.
    """

    weights: str
    experts: str | None = None
    unquantized: str | None = None


def stored_formats(config: Config) -> StoredFormats:
    """The formats from ``dtype`` or ``torch_dtype`` (absent: float32, as the loading library assumes) and quantisation.

    Raises `InputError` for a data type, method or group size for which there is no storage format.
    """
    key = config.present(("dtype", "torch_dtype")) or "torch_dtype"
    name = config.word(key, "float32").removeprefix("torch.")
    if name not in _DATA_TYPES:
        raise unknown_name("data type", name, _DATA_TYPES, field=key, file=config.file)
    plain = _DATA_TYPES[name]
    section = config.section("quantization_config")
    if section is None:
        return StoredFormats(plain)
    method = section.word("quant_method")
    if method == "mxfp4":
        # Only the experts' matrices are converted (gpt-oss model card, section 2.1).
        return StoredFormats(plain, experts="mxfp4")
    return StoredFormats(_quantised(section, method), unquantized=plain)


def _quantised(section: Config, method: str) -> str:
    if method == "fp8":
        fmt = f"fp8_{section.word('fmt', 'e4m3')}"
    elif method in ("gptq", "awq"):
        fmt = _integer_format(section.count("bits", most=16), section.count("group_size", 128, least=-1))
    elif method == "bitsandbytes":
        fmt = "int8"
        if section.flag("load_in_4bit", False):
            kind = section.word("bnb_4bit_quant_type", "fp4")
            fmt = "nf4" if kind == "nf4" else "fp4_e2m1"
    elif method == "compressed-tensors":
        fmt = _compressed_format(section)
    else:
        raise unknown_name(
            "quantisation method", method, _METHODS, field="quantization_config.quant_method", file=section.file
        )
    if fmt not in FORMATS:
        raise unknown_name("number format", fmt, FORMATS, field="quantization_config", file=section.file)
    return fmt


def _compressed_format(section: Config) -> str:
    groups = section.section("config_groups")
    first = groups.section(next(iter(groups.values))) if groups is not None and groups.values else None
    weights = first.section("weights") if first is not None else None
    if weights is None:
        raise section.error("config_groups", "names no weights", "config_groups.<group>.weights")
    bits, group = weights.count("num_bits", most=16), weights.count("group_size", -1, least=-1)
    if weights.word("type", "int") == "int":
        return _integer_format(bits, group)
    if bits == 8:
        return "fp8_e4m3"
    return "nvfp4" if group == 16 else f"fp{bits}_g{group}"


def _integer_format(bits: int, group: int) -> str:
    """Integer weights with one scale per ``group`` values; one scale a row (-1) is too little to count."""
    return f"int{bits}" if group == -1 else f"int{bits}_g{group}"
