"""Software epochs: whose kernels run, of which time. Kernels of one GPU differ more between them than models of it do.

Constants of kernels are kept by epoch (`mappers.kernels.constants`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from workloads.errors import unknown_name

__all__ = ["DEFAULT_SOFTWARE", "SOFTWARE", "Software", "measured_software", "software"]


@dataclass(frozen=True)
class Software:
    """An epoch: a name to ask for it by, what it stands for, and how its kernels are launched.

    In a ``graph`` the next kernel is launched before the one before it ends; ``eager`` calls one by one may leave the
    device waiting. ``year`` orders epochs.
    """

    name: str
    description: str
    year: float
    launch: str


_EPOCHS = (
    Software(
        "torch-2023",
        "PyTorch 2.0 called eagerly, times from the call to its end (LLMCompass 2e015fd, ae/figure5)",
        2023.5,
        "eager",
    ),
    Software(
        "torch-2024",
        "PyTorch 2.1 and FlashAttention 2, times of the kernels alone (profiles of microsoft/vidur 7d47513)",
        2024.0,
        "graph",
    ),
    Software(
        "vllm-0.14", "vLLM 0.14, kernels in CUDA graphs (aiconfigurator-core 0.12.0, measured on A100)", 2026.0, "graph"
    ),
    Software(
        "vllm-0.24", "vLLM 0.24, kernels in CUDA graphs (aiconfigurator-core 0.12.0, measured on H100)", 2026.4, "graph"
    ),
)

SOFTWARE = {epoch.name: epoch for epoch in _EPOCHS}
"""The epochs by name, oldest first."""

DEFAULT_SOFTWARE = "vllm-0.24"
"""What runs where nobody says."""


def software(name: str) -> Software:
    """The epoch of a name. Raises `InputError` with the nearest for an unknown one."""
    if name not in SOFTWARE:
        raise unknown_name("software", name, SOFTWARE, field="software")
    return SOFTWARE[name]


def measured_software(framework: str, architecture: str) -> tuple[str, bool]:
    """The epoch behind a measured row's ``framework`` text, and whether the text was known; if not, the default's.

    >>> measured_software("sarathi/torch", "ampere")
    ('torch-2024', True)
    >>> measured_software("vllm torch.linear", "ampere")
    ('vllm-0.14', True)
    """
    text = framework.casefold()
    if "sarathi" in text or text == "torch nccl":
        return "torch-2024", True
    if text == "torch":
        return "torch-2023", True
    if "vllm" in text:
        return _vllm(text, architecture), True
    if text.startswith("flash_attn"):
        return "vllm-0.24", True
    return DEFAULT_SOFTWARE, False


def _vllm(text: str, architecture: str) -> str:
    """The epoch of vLLM nearest to a version in the text; without one, the measured one of the architecture."""
    stated = re.search(r"vllm\D{0,2}0\.(\d+)", text)
    if stated is None:
        return "vllm-0.14" if architecture == "ampere" else "vllm-0.24"
    return min(("vllm-0.14", "vllm-0.24"), key=lambda name: abs(int(name.rpartition(".")[2]) - int(stated[1])))
