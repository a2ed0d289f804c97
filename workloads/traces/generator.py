"""Requests like those of a trace: a small model of it, fitted, written down as YAML, and drawn from by a seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field

from workloads.documents import read_document
from workloads.errors import InputError
from workloads.traces.generator_arrivals import Arrivals, fit_bursty, fit_gamma
from workloads.traces.generator_lengths import Lengths, fit_lengths
from workloads.traces.generator_prefixes import Prefixes, fit_prefixes
from workloads.traces.rates import check_rate, check_seed
from workloads.traces.requests import RequestTrace
from workloads.traces.statistics import arrival_statistics, spread_bins
from workloads.validation import validate

__all__ = ["RequestModel", "dump_request_model", "fit_requests", "generate", "load_request_model"]

MOST_REQUESTS = 10_000_000
ARRIVALS = ("bursty", "gamma")


class RequestModel(BaseModel):
    """What requests are drawn from. ``source`` says which trace the numbers are fitted to; ``prefixes`` may be none.

    Lengths do not depend on arrivals, nor on the lengths of the requests before.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(min_length=1)
    source: str = Field(min_length=12)
    requests: int = Field(ge=1, le=MOST_REQUESTS, description="how many the trace has: the default to draw")
    arrivals: Arrivals
    lengths: Lengths
    prefixes: Prefixes | None = None


def fit_requests(trace: RequestTrace, *, name: str, source: str, arrivals: str = "bursty") -> RequestModel:
    """The model of ``trace``; ``arrivals`` is bursty (dispersion at 1 and 60 s) or gamma (CV of gaps).

    Arrivals that coincide are spread first (`spread_bins`, seed 0). Raises `InputError` for a trace whose requests all
    arrive at once, or that is too short for its windows.
    """
    if arrivals not in ARRIVALS:
        raise InputError(f"found {arrivals!r}", " or ".join(ARRIVALS), "arrivals")
    if trace.arrival_s[-1] == trace.arrival_s[0]:
        raise InputError("all requests arrive at once", "a trace with arrivals", "arrival_s", file=trace.name)
    spread = spread_bins(trace, seed=0)
    found = arrival_statistics(spread.arrival_s)
    return RequestModel(
        name=name,
        source=source,
        requests=len(trace),
        arrivals=fit_bursty(found) if arrivals == "bursty" else fit_gamma(found),
        lengths=fit_lengths(trace.prompt_tokens, trace.output_tokens),
        prefixes=None if trace.blocks is None else fit_prefixes(spread),
    )


def generate(
    model: RequestModel, requests: int | None = None, seed: int = 0, rate_per_s: float | None = None
) -> RequestTrace:
    """``requests`` drawn from ``model``, or as many as its trace had; equal arguments give equal requests.

    Another ``rate_per_s`` means more or fewer users of the same kind: think times and the lengths of bursts stay, so
    that bursts stand out more from a denser background. Raises `InputError` for counts or rates out of range.
    """
    requests = model.requests if requests is None else requests
    if not 1 <= requests <= MOST_REQUESTS:
        raise InputError(f"found {requests}", f"1 to {MOST_REQUESTS:,} requests", "requests")
    check_seed(seed)
    process = model.arrivals
    if rate_per_s is not None:
        check_rate(rate_per_s)
        process = process.model_copy(update={"rate_per_s": rate_per_s})
    # A stream of random numbers for each part: changing one leaves the others as they are.
    arrivals_rng, lengths_rng, prefixes_rng = np.random.default_rng(seed).spawn(3)
    arrival_s = process.draw(requests, arrivals_rng)
    prompt_tokens, output_tokens = model.lengths.draw(requests, lengths_rng)
    prefixes = model.prefixes
    return RequestTrace(
        name=f"{model.name}-like",
        arrival_s=arrival_s,
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        blocks=None if prefixes is None else prefixes.draw(arrival_s, prompt_tokens, prefixes_rng),
        block_tokens=None if prefixes is None else prefixes.block_tokens,
    )


def dump_request_model(model: RequestModel) -> str:
    """``model`` as YAML that `load_request_model` reads back to an equal value."""
    return yaml.safe_dump(
        model.model_dump(mode="json", exclude_none=True), sort_keys=False, width=120, default_flow_style=None
    )


def load_request_model(path: Path | str) -> RequestModel:
    """The model in a YAML or JSON file. Raises `InputError` with file, line and field."""
    return validate(RequestModel, read_document(path))
