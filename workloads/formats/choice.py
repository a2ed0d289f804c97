"""Which number format each kind of tensor is kept in, and which one is computed in."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from workloads.errors import InputError
from workloads.formats.storage import storage_format

__all__ = ["FormatChoice"]


@dataclass(frozen=True)
class FormatChoice:
    """Storage formats by kind of tensor and the format contractions are computed in.

    ``weights`` covers attention and feed-forward matrices, and experts' too unless ``experts`` says otherwise.
    Embeddings, the head, norms and routers stay in the activations' format, as weight-only quantisers leave them (AWQ,
    arXiv 2306.00978; GPTQ, arXiv 2210.17323). Weights narrower than ``compute`` are widened on the way into the
    engine, so they save bytes and not operations. Raises `InputError` for a format that does not exist.
    """

    weights: str = "bf16"
    activations: str = "bf16"
    kv_cache: str = "bf16"
    compute: str = "bf16"
    experts: str | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            name = getattr(self, field.name)
            if name is None:
                continue
            try:
                storage_format(name)
            except InputError as error:
                raise replace(error, field=field.name) from None
