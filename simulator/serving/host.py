"""What the host of a serving engine adds to a step: scheduling, preparing inputs, launching kernels, sampling.

A step waits for its host ``step_s`` and ``sequence_s`` for every sequence in it. Kernels called one by one (eager)
take the host ``launch_s`` each; the device works meanwhile, so only what launching takes longer than computing adds to
the step. Replayed from a graph, launching takes no time of its own; engines keep graphs of steps of a few sizes, those
without prompts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from hw.spec.source import Source

__all__ = ["HOSTS", "NO_HOST", "Host", "host_of"]


@dataclass(frozen=True)
class Host:
    """Seconds of the host per step, per sequence in it, and per kernel where they are called one by one.

    ``launch`` says where that is: ``eager`` in all steps, ``graph`` in those with prompts.
    """

    name: str
    step_s: float
    sequence_s: float
    launch_s: float = 0.0
    launch: Literal["graph", "eager"] = "graph"
    sources: Mapping[str, Source] = field(default_factory=dict)

    def beside_s(self, device_s: float, steps: int, sequences: int, launches: float, *, prompts: bool) -> float:
        """What ``steps`` steps of so many sequences and launches each take longer than the device's ``device_s``."""
        one_by_one = prompts or self.launch == "eager"
        waiting_s = max(0.0, steps * launches * self.launch_s - device_s) if one_by_one else 0.0
        return waiting_s + steps * (self.step_s + sequences * self.sequence_s)


NO_HOST = Host("none", 0.0, 0.0)
"""The device alone."""


_SPLITWISE = "splitwise-sim data/perf_model.csv (8f99e7d), Llama-2-70B and BLOOM-176B"
_SAMPLE = "aiconfigurator-core 0.12.0 silicon_sample.csv"
_TABLES = "TensorRT-LLM docs/source/performance.md (138f96d)"


def _fitted(data: str, rows: int) -> Source:
    return Source(
        "fitted", f"with the other two numbers to {rows} rows of {data}, least mean |log error|, a third held out"
    )


def _host(
    name: str, step_s: float, sequence_s: float, launch_s: float, launch: Literal["graph", "eager"], source: Source
) -> Host:
    sources = dict.fromkeys(("step_s", "sequence_s", "launch_s"), source)
    return Host(name, step_s, sequence_s, launch_s, launch, sources)


HOSTS = {
    host.name: host
    for host in (
        _host("vllm-2023", 12.2e-3, 225e-6, 19.8e-6, "eager", _fitted(f"{_SPLITWISE} on H100", 86)),
        _host("vllm-2023 a100-80gb-sxm", 12.8e-3, 255e-6, 36.1e-6, "eager", _fitted(f"{_SPLITWISE} on A100", 86)),
        _host("tensorrt-llm-0", 0.16e-3, 0.0, 26.8e-6, "eager", _fitted(f"{_TABLES} on H100", 14)),
        _host("tensorrt-llm-0 a100-80gb-sxm", 0.90e-3, 0.0, 20.9e-6, "eager", _fitted(f"{_TABLES} on A100", 12)),
        _host("tensorrt-llm-1", 0.33e-3, 32e-6, 20.0e-6, "graph", _fitted(f"{_SAMPLE}, trtllm 1 on H100", 60)),
        _host("sglang-0.5", 0.0, 19.6e-6, 21.4e-6, "graph", _fitted(f"{_SAMPLE}, sglang 0.5 on H100", 27)),
        _host("vllm-0.12", 1.02e-3, 45e-6, 11.7e-6, "graph", _fitted(f"{_SAMPLE}, vllm 0.12 on H100", 30)),
        _host("vllm-0.18", 0.13e-3, 26e-6, 35.3e-6, "graph", _fitted(f"{_SAMPLE}, vllm 0.18 on H100", 24)),
    )
}
"""Measured hosts by engine, on machines with H100, and with the preset of the machine where that is another.

Fitted by `dse.validation.host_fit`. For vllm-0.18 the least error (0.041 instead of 0.059) would need 258 us a launch,
more than launching takes anywhere else: something else of its steps with prompts is missing, and the better numbers
were not taken.
"""

_ENGINES = {"torch-2023": "vllm-2023", "torch-2024": "vllm-2023", "vllm-0.14": "vllm-0.12", "vllm-0.24": "vllm-0.18"}


def host_of(engine: str, preset: str = "") -> Host:
    """The host measured with an engine on the machine, else that with the engine on H100, else none.

    ``engine`` is a name in `HOSTS` or an epoch of `mappers.kernels.software`, whose engine of that time is taken.

    >>> host_of("torch-2024", "a100-80gb-sxm").name, host_of("vllm-0.24", "a40").name
    ('vllm-2023 a100-80gb-sxm', 'vllm-0.18')
    """
    name = _ENGINES.get(engine, engine)
    return HOSTS.get(f"{name} {preset}") or HOSTS.get(name) or NO_HOST
