"""Drawn requests against the traces they are like, and what users write for them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.reference_data import reference_file
from workloads.errors import InputError
from workloads.traces.generator import (
    RequestModel,
    dump_request_model,
    fit_requests,
    generate,
    load_request_model,
)
from workloads.traces.generator_lengths import PROBABILITIES, Lengths, fit_lengths
from workloads.traces.named import request_model, request_model_names, requests_of
from workloads.traces.rates import at_rate
from workloads.traces.readers import read_requests
from workloads.traces.requests import RequestTrace
from workloads.traces.statistics import infinite_cache_hits, spearman, trace_statistics

SAMPLES = Path(__file__).resolve().parents[2] / "golden" / "traces"
NAMES = ("azure-code", "azure-conversation", "mooncake-conversation")
FILES = {
    "azure-code": "traces/AzureLLMInferenceTrace_code.csv",
    "azure-conversation": "traces/AzureLLMInferenceTrace_conv.csv",
    "mooncake-conversation": "traces/mooncake_conversation_trace.jsonl.gz",
}

# Published figures: rate; dispersion at 1 s and 60 s (Mooncake's with its arrivals spread); mean, p50, p90, p99 of
# prompts and of answers; rank correlation.
LIKE = {
    "azure-code": (2.57, 13.2, 164.0, (2048, 1469, 5188, 7436), (28, 13, 55, 251), -0.02),
    "azure-conversation": (5.53, 1.39, 16.1, (1155, 1020, 2734, 4142), (211, 129, 424, 601), 0.07),
    "mooncake-conversation": (3.40, 1.05, 2.86, (12_035, 6909, 27_367, 85_400), (343, 350, 597, 1119), 0.07),
}


def lru_hit_rate(blocks: Sequence[Sequence[int]], capacity: int) -> float:
    """Leading blocks found in a cache that evicts the block touched longest ago; blocks behind a miss are misses."""
    cache: OrderedDict[int, None] = OrderedDict()
    hits = 0
    for ids in blocks:
        leading = True
        for block in ids:
            if block in cache:
                cache.move_to_end(block)
                hits += leading
            else:
                leading = False
                cache[block] = None
                if len(cache) > capacity:
                    cache.popitem(last=False)
    return hits / sum(map(len, blocks))


@pytest.mark.parametrize("name", NAMES)
def test_drawn_requests_are_like_the_trace(name: str) -> None:
    """100,000 requests: bursts leave 10 to 15 % of sampling error in dispersions, lengths 3 %, correlations 0.02."""
    model = request_model(name).model_copy(update={"prefixes": None})
    found = trace_statistics(generate(model, 100_000, seed=1))
    rate, short, long, prompt, output, ranks = LIKE[name]
    assert found.arrivals is not None
    assert found.arrivals.rate_per_s == pytest.approx(rate, rel=0.1)
    assert found.arrivals.dispersion_1_s == pytest.approx(short, rel=0.1)
    assert found.arrivals.dispersion_60_s == pytest.approx(long, rel=0.15)
    for lengths, expected in ((found.prompt, prompt), (found.output, output)):
        assert (lengths.mean, lengths.p50, lengths.p90, lengths.p99) == pytest.approx(expected, rel=0.03, abs=1)
    assert found.length_spearman == pytest.approx(ranks, abs=0.02)


def test_prompts_pile_up_at_the_limit_of_the_code_trace() -> None:
    """2.5 % of them at 7,436 and 7,437 tokens; a step of the table is a hundredth, so up to one less at its edge."""
    tokens = generate(request_model("azure-code"), 100_000, seed=2).prompt_tokens
    assert np.mean(tokens >= 7436) == pytest.approx(0.025, abs=0.006)


def test_moments_of_logs() -> None:
    """Mean and deviation of ln tokens, as published."""
    code = trace_statistics(generate(request_model("azure-code"), 100_000, seed=3))
    talk = trace_statistics(generate(request_model("azure-conversation"), 100_000, seed=3))
    found = [(each.ln_mean, each.ln_sd) for which in (code, talk) for each in (which.prompt, which.output)]
    assert np.ravel(found) == pytest.approx([7.00, 1.36, 2.79, 0.85, 6.63, 0.99, 5.02, 0.86], abs=0.03)


def test_prefixes_have_the_hit_rates_of_mooncake() -> None:
    """Published LRU curve of the trace; a growing trie drawn anew comes within 0.04 of it at every capacity."""
    trace = generate(request_model("mooncake-conversation"), seed=4)
    assert trace.blocks is not None
    assert infinite_cache_hits(trace.blocks).sum() / sum(map(len, trace.blocks)) == pytest.approx(0.3664, abs=0.015)
    published = {1000: 0.0445, 3000: 0.0650, 10_000: 0.2112, 30_000: 0.3257, 50_000: 0.3546, 100_000: 0.3637}
    for capacity, rate in published.items():
        assert lru_hit_rate(trace.blocks, capacity) == pytest.approx(rate, abs=0.04), capacity


@pytest.mark.parametrize("seed", [0, 1])
def test_prefixes_are_a_trie(seed: int) -> None:
    """One predecessor for each block, none twice in a prompt, as many as the prompt needs, numbered by first use."""
    trace = generate(request_model("mooncake-conversation"), 2000, seed=seed)
    assert trace.blocks is not None
    before: dict[int, int] = {}
    for ids, tokens in zip(trace.blocks, trace.prompt_tokens.tolist(), strict=True):
        assert len(ids) == -(-tokens // 512)
        assert len(set(ids)) == len(ids)
        for last, block in zip((-1, *ids), ids, strict=False):
            assert before.setdefault(block, last) == last
    assert list(before) == list(range(len(before)))


@pytest.mark.parametrize("name", NAMES)
def test_shipped_models_are_the_fits_to_the_files(name: str) -> None:
    fitted = fit_requests(read_requests(reference_file(FILES[name])), name=name, source="the public trace")
    shipped = request_model(name)
    assert fitted == shipped.model_copy(update={"source": "the public trace"})


def test_the_models_promised_are_there() -> None:
    assert request_model_names() == NAMES
    for name in NAMES:
        assert "http" in request_model(name).source or "/" in request_model(name).source


@given(correlation=st.floats(-0.9, 0.9), seed=st.integers(0, 99))
def test_correlation_is_that_of_ranks(correlation: float, seed: int) -> None:
    """Normals of correlation c have ranks of correlation 6/pi asin(c/2); 4,000 pairs, error 0.016 each."""
    table = tuple(range(1, len(PROBABILITIES) + 1))
    lengths = Lengths(prompt_tokens=table, output_tokens=table, correlation=correlation)
    prompt, output = lengths.draw(4000, np.random.default_rng(seed))
    assert spearman(prompt, output) == pytest.approx(6 / np.pi * np.arcsin(correlation / 2), abs=0.08)


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=50))
def test_lengths_stay_within_those_seen(tokens: list[int]) -> None:
    column = np.array(tokens)
    drawn, _ = fit_lengths(column, column).draw(200, np.random.default_rng(0))
    assert column.min() <= drawn.min()
    assert drawn.max() <= column.max()


@pytest.mark.parametrize("name", NAMES)
def test_models_are_written_and_read_again(name: str, tmp_path: Path) -> None:
    model = request_model(name)
    file = tmp_path / "model.yaml"
    file.write_text(dump_request_model(model))
    assert load_request_model(file) == model
    assert request_model(str(file)) == model


def test_a_model_with_a_table_that_falls(tmp_path: Path) -> None:
    model = request_model("azure-code")
    falling = (9, *model.lengths.output_tokens[1:])
    file = tmp_path / "wrong.yaml"
    text = dump_request_model(
        model.model_copy(update={"lengths": model.lengths.model_copy(update={"output_tokens": falling})})
    )
    file.write_text(text)
    with pytest.raises(InputError, match="expected 1 to 1e9 tokens that do not fall") as error:
        load_request_model(file)
    assert error.value.field == "lengths.output_tokens"


def equal(one: RequestModel, other: RequestModel, seeds: tuple[int, int]) -> bool:
    first, second = generate(one, 300, seeds[0]), generate(other, 300, seeds[1])
    same = [np.array_equal(getattr(first, name), getattr(second, name)) for name in ("arrival_s", "prompt_tokens")]
    return all(same) and first.blocks == second.blocks


def test_seeds() -> None:
    model = request_model("mooncake-conversation")
    assert equal(model, model, (7, 7))
    assert not equal(model, model, (7, 8))


def test_parts_have_streams_of_their_own() -> None:
    """Another rate, or no prefixes, leaves the lengths as they are."""
    model = request_model("mooncake-conversation")
    plain = generate(model, 300, 1)
    faster = generate(model, 300, 1, rate_per_s=50.0)
    assert plain.prompt_tokens.tolist() == faster.prompt_tokens.tolist()
    assert faster.arrival_s[-1] < plain.arrival_s[-1] / 5


def test_what_users_write() -> None:
    assert len(requests_of("azure-code-like:50")) == 50
    assert requests_of("azure-conversation-like:50@9", seed=3).name == "azure-conversation-like"
    assert len(requests_of("azure-conversation-like")) == 19_366
    assert len(requests_of(str(SAMPLES / "vidur.csv"))) == 3
    slow, fast = (requests_of(f"azure-conversation-like:2000@{rate}") for rate in ("1", "100"))
    assert slow.arrival_s[-1] == pytest.approx(2000, rel=0.15)
    assert fast.arrival_s[-1] == pytest.approx(20, rel=0.5)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("azur-code-like:5", "unknown request model 'azur-code'; expected one of azure-code"),
        ("azure-code-like:x", "azure-code-like:x: found 'x' requests; expected FILE[@REQUESTS_PER_S], or NAME-like"),
        ("azure-code-like:0", "requests: found 0; expected 1 to 10,000,000 requests"),
        ("azure-code-like@fast", "found the rate 'fast'"),
        ("azure-code-like@-1", "found -1; expected a rate above 0"),
        ("azure-code-like@nan", "found nan; expected a rate above 0"),
        ("azure-code", "unknown request trace 'azure-code'"),
        ("missing.csv", "missing.csv: No such file"),
    ],
)
def test_what_users_mistype(text: str, said: str) -> None:
    with pytest.raises(InputError) as error:
        requests_of(text)
    assert said in str(error.value)


def test_a_file_at_a_rate() -> None:
    """Three requests in 0.25 s, the second in the middle: 2 gaps at 4 a second take 0.5 s."""
    assert requests_of(f"{SAMPLES / 'vidur.csv'}@4").arrival_s == pytest.approx([0, 0.25, 0.5])
    with pytest.raises(InputError, match="found 0; expected a rate above 0"):
        requests_of(f"{SAMPLES / 'vidur.csv'}@0")
    with pytest.raises(InputError, match="found the rate 'x'"):
        requests_of(f"{SAMPLES / 'vidur.csv'}@x")


def test_a_data_set_without_arrivals_arrives_as_poisson() -> None:
    lengths = np.ones(20_000, np.int64)
    trace = at_rate(RequestTrace("made", np.zeros(20_000), lengths, lengths), 8.0, seed=1)
    found = trace_statistics(trace).arrivals
    assert found is not None
    assert trace.arrival_s[0] == 0
    assert (found.rate_per_s, found.gap_cv) == pytest.approx((8, 1), rel=0.03)
    assert found.dispersion_1_s == pytest.approx(1, rel=0.1)


def test_what_cannot_be_fitted() -> None:
    with pytest.raises(InputError, match="all requests arrive at once"):
        fit_requests(read_requests(SAMPLES / "vidur-lengths.csv"), name="x", source="a sample of ours")
    with pytest.raises(InputError, match="expected bursty or gamma"):
        fit_requests(read_requests(SAMPLES / "vidur.csv"), name="x", source="a sample of ours", arrivals="poisson")
    with pytest.raises(InputError, match="less than two minutes"):
        fit_requests(read_requests(SAMPLES / "vidur.csv"), name="x", source="a sample of ours")
    model = fit_requests(read_requests(SAMPLES / "vidur.csv"), name="x", source="a sample of ours", arrivals="gamma")
    assert len(generate(model, 10)) == 10
