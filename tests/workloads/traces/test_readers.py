"""Traces from files: what the samples hold, typed by hand; what real files hold, by their published counts; errors."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.reference_data import reference_file
from workloads.errors import InputError
from workloads.traces.azure import nanoseconds
from workloads.traces.readers import read_requests, read_trace_file
from workloads.traces.requests import RequestTrace
from workloads.traces.writers import trace_text

SAMPLES = Path(__file__).resolve().parents[2] / "golden" / "traces"

# sample, format, arrivals, prompts, answers
EXPECTED = [
    ("azure-2023.csv", "azure", [0, 2e-7, 2.5000001, 2.5000001], [310, 720, 55, 1400], [40, 95, 60, 12]),
    ("azure-2024.csv", "azure", [0, 0.0075, 0.99], [1900, 640, 85], [7, 21, 13]),
    ("burstgpt.csv", "burstgpt", [0, 40, 115.5], [300, 910, 1500], [20, 210, 260]),
    ("mooncake.jsonl", "mooncake", [0, 3, 6.001], [1100, 512, 1700], [52, 26, 10]),
    ("mooncake.jsonl.gz", "mooncake", [0, 3, 6.001], [1100, 512, 1700], [52, 26, 10]),
    # 64, 32, 18 and 12 bytes are 16, 8, 5 and 3 tokens; "Grüße" has 7 bytes, 2 tokens.
    ("sharegpt.json", "sharegpt", [0, 0, 0], [16, 29, 2], [8, 3, 1]),
    ("vidur.csv", "vidur", [0, 0.125, 0.25], [310, 55, 720], [40, 60, 95]),
    ("vidur-lengths.csv", "vidur", [0, 0], [2600, 1200], [130, 88]),
]


@pytest.mark.parametrize(("name", "kind", "arrivals", "prompts", "answers"), EXPECTED, ids=[row[0] for row in EXPECTED])
def test_samples(name: str, kind: str, arrivals: list[float], prompts: list[int], answers: list[int]) -> None:
    found = read_trace_file(SAMPLES / name)
    assert found.format == kind
    assert found.trace.name == name
    assert found.trace.arrival_s == pytest.approx(arrivals, abs=1e-9)
    assert found.trace.prompt_tokens.tolist() == prompts
    assert found.trace.output_tokens.tolist() == answers


def test_what_reading_changed_is_said() -> None:
    def notes(name: str) -> str:
        return "; ".join(read_trace_file(SAMPLES / name).notes)

    assert notes("azure-2023.csv") == ""
    assert notes("burstgpt.csv") == "1 of 4 requests dropped: no prompt or no answer tokens"
    assert notes("vidur.csv") == "requests sorted by arrival: the file has them in another order"
    assert notes("vidur-lengths.csv") == "the file has no arrivals: all requests arrive at 0"
    assert notes("sharegpt.json").startswith("tokens are an estimate: one for each 4 bytes of UTF-8 text begun")


def test_priorities_where_a_user_added_them(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens,priority\n2023-11-16 18:17:04,10,2,7\n2023-11-16 18:17:03,20,3,0\n"
    )
    (tmp_path / "t.jsonl").write_text(
        '{"timestamp": 1000, "input_length": 10, "output_length": 2, "priority": 7}\n'
        '{"timestamp": 0, "input_length": 20, "output_length": 3, "priority": 0}\n'
    )
    for name, kind, again in (("t.csv", "vidur", "again.csv"), ("t.jsonl", "mooncake", "again.jsonl")):
        found = read_requests(tmp_path / name)
        assert found.priority is not None
        assert found.priority.tolist() == [0, 7]  # sorted with their requests
        (tmp_path / again).write_text(trace_text(found, kind))
        twice = read_requests(tmp_path / again)
        assert twice.priority is not None
        assert twice.priority.tolist() == [0, 7]
    (tmp_path / "t.jsonl").write_text(
        '{"timestamp": 1000, "input_length": 10, "output_length": 2, "priority": 7}\n'
        '{"timestamp": 0, "input_length": 20, "output_length": 3}\n'
    )
    with pytest.raises(InputError, match="priority on 1 of 2 lines"):
        read_requests(tmp_path / "t.jsonl")
    assert read_requests(SAMPLES / "vidur.csv").priority is None


def test_names_of_columns_in_quotes(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('"num_prefill_tokens","num_decode_tokens"\n"30","4"\n')
    found = read_trace_file(tmp_path / "t.csv")
    assert (found.format, found.trace.prompt_tokens.tolist(), found.trace.output_tokens.tolist()) == (
        "vidur", [30], [4]
    )  # fmt: skip


def test_prefixes_of_mooncake() -> None:
    trace = read_requests(SAMPLES / "mooncake.jsonl")
    assert trace.block_tokens == 512
    assert trace.blocks == ([0, 1, 2], [0], [0, 1, 3, 4])


def test_turns_of_a_conversation_share_their_beginning() -> None:
    """The first prompt is one whole block of 16 tokens; the second 29 tokens: that block and a part of the next."""
    trace = read_requests(SAMPLES / "sharegpt.json")
    assert trace.blocks is not None
    first, second, other = trace.blocks
    assert len(first) == 1
    assert len(second) == 2
    assert second[0] == first[0]
    assert len({*second, *other}) == 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01 00:00:00", 0),
        ("1970-01-01 00:00:00.0000001", 100),
        ("1970-01-02T00:00:00.5+00:00", 86_400_500_000_000),
        ("1970-01-01 02:00:00+02:00", 0),
        ("1969-12-31 23:30:00-00:30", 0),
        ("2000-02-29 00:00:00Z", 951_782_400 * 10**9),
    ],
)
def test_times_to_the_nanosecond(text: str, expected: int) -> None:
    assert nanoseconds(text) == expected


@given(ticks=st.integers(0, 4 * 10**17))
def test_times_go_there_and_back(ticks: int) -> None:
    """100 ns ticks written by numpy, which counts in them exactly."""
    text = str(np.datetime64(ticks * 100 % (2**62), "ns"))
    assert nanoseconds(text) == ticks * 100 % (2**62)


WRONG = [
    ("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.97,1x,10\n", "ContextTokens", 2, "'1x'"),
    ("TIMESTAMP,ContextTokens,GeneratedTokens\n\n2023-11-16 18:17:03,1,1\n16.11.2023,1,10\n", "TIMESTAMP", 4, "'16.11"),
    ("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-02-30 18:17:03,1,1\n", "TIMESTAMP", 2, "'2023-02-30 18:17:03'"),
    ("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03,1\n", None, 2, "2 cells; expected 3"),
    ("TIMESTAMP,ContextToken,GeneratedTokens\n2023-11-16 18:17:03,1,1\n", None, 1, "did you mean 'ContextToken'?"),
    ("TIMESTAMP,ContextTokens,GeneratedTokens\n", None, None, "has no rows"),
    ("arrived_at,num_prefill_tokens,num_decode_tokens\n0,1,1\n-1,1,1\n", "arrived_at", 3, "'-1'"),
    ("arrived_at,num_prefill_tokens,num_decode_tokens\n0,1.5,1\n", "num_prefill_tokens", 2, "'1.5'"),
    ("arrived_at,num_prefill_tokens,num_decode_tokens\n0,1_0,1\n", "num_prefill_tokens", 2, "'1_0'"),
    ("arrived_at,num_prefill_tokens,num_decode_tokens\n0,1,10000000000\n", "num_decode_tokens", 2, "'10000000000'"),
    ("arrived_at,num_prefill_tokens,num_decode_tokens\nnan,1,1\n", "arrived_at", 2, "'nan'"),
    ("arrived_at,num_prefill_tokens,num_decode_tokens\n0,1,0\n", None, None, "no request has both"),
    ("a,b\n1,2\n", None, 1, "begins with 'a,b'"),
    ("", None, 1, "begins with ''"),
    ('{"timestamp": 0, "input_length": 5}\n', "output_length", 1, "is missing"),
    ('{"timestamp": 0, "input_length": 5, "output_length": true}', "output_length", 1, "found"),
    ('{"timestamp": 0, "input_length": 513, "output_length": 1, "hash_ids": [1]}', "hash_ids", 1, "1 ids; expected 2"),
    ('{"timestamp": 0, "input_length": 5, "output_length": 1, "hash_ids": ["a"]}', "hash_ids", 1, "found"),
    ('{"timestamp": 0, "input_length": 5, "output_length": 1}\n{"timestamp"\n', None, 2, "is no JSON"),
    ('{"prompt": 5}\n', None, 1, "'prompt'"),
    ('[{"conversations": 5}]', "[0].conversations", None, "a list of turns"),
    ('[{"conversations": [{"from": "human"}]}]', "[0].conversations[0]", None, "'from' and 'value'"),
    ("[", None, 1, "is no JSON"),
    ("[]", None, None, "has no turn"),
]


@pytest.mark.parametrize(("text", "field", "line", "said"), WRONG, ids=range(len(WRONG)))
def test_what_is_wrong_is_named(tmp_path: Path, text: str, field: str | None, line: int | None, said: str) -> None:
    file = tmp_path / "wrong.txt"
    file.write_text(text)
    with pytest.raises(InputError) as error:
        read_requests(file)
    assert said in str(error.value)
    assert (error.value.file, error.value.field, error.value.line) == (str(file), field, line)


def test_one_whole_message(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("Timestamp,Model,Request tokens,Response tokens,Log Type\n1,m,2,x,API log\n")
    with pytest.raises(InputError) as error:
        read_requests(file)
    assert str(error.value) == f"{file}:2: Response tokens: 'x'; expected a whole number from 0 to 1e+09"


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", b"\x1f\x8b\x08 cut", gzip.compress(b"x" * 9, mtime=0)[:-4]])
def test_files_that_are_no_text(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "trace"
    file.write_bytes(data)
    with pytest.raises(InputError, match=r"is not UTF-8 text|is no whole gzip file"):
        read_requests(file)


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(InputError, match="No such file"):
        read_requests("no/such/file.csv")


PIECES = ["1" * 5000, "1e400", "-1", "nan", "\x00", "é", '"', ",", "\n", "{", "[" * 3000, "null", "\ud800", "true", " "]


@given(data=st.data())
def test_broken_samples_are_refused_or_read(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Anything put into, or cut out of, a sample: a trace or an `InputError`, nothing else."""
    name = data.draw(st.sampled_from([row[0] for row in EXPECTED if not row[0].endswith(".gz")]))
    text = (SAMPLES / name).read_text()
    at, cut = data.draw(st.integers(0, len(text))), data.draw(st.integers(0, 20))
    file = tmp_path_factory.getbasetemp() / "broken"
    piece = data.draw(st.sampled_from(PIECES))
    file.write_bytes((text[:at] + piece + text[at + cut :]).encode(errors="surrogatepass"))
    try:
        named = len(read_requests(file)) > 0
    except InputError as error:
        named = error.file == str(file)
    assert named


ROWS = st.lists(
    st.tuples(st.integers(0, 10**12), st.integers(1, 10**5), st.integers(1, 10**4)), min_size=1, max_size=30
)


@given(rows=ROWS, kind=st.sampled_from(["vidur", "mooncake"]))
def test_written_and_read_again(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int, int]], kind: str
) -> None:
    rows = sorted(rows)
    first = rows[0][0]
    trace = RequestTrace(
        name="made",
        arrival_s=np.array([(row[0] - first) / 1e9 for row in rows]),
        prompt_tokens=np.array([row[1] for row in rows]),
        output_tokens=np.array([row[2] for row in rows]),
        blocks=tuple(list(range(-(-row[1] // 512))) for row in rows) if kind == "mooncake" else None,
        block_tokens=512 if kind == "mooncake" else None,
    )
    file = tmp_path_factory.getbasetemp() / f"again.{kind}"
    file.write_text(trace_text(trace, kind))
    again = read_requests(file)
    assert again.arrival_s == pytest.approx(trace.arrival_s, abs=1e-9)
    assert again.prompt_tokens.tolist() == trace.prompt_tokens.tolist()
    assert again.output_tokens.tolist() == trace.output_tokens.tolist()
    assert again.blocks == trace.blocks


def test_blocks_that_a_format_does_not_have() -> None:
    trace = read_requests(SAMPLES / "sharegpt.json")
    with pytest.raises(InputError, match="blocks of 16 tokens; expected blocks of 512 tokens"):
        trace_text(trace, "mooncake")
    with pytest.raises(InputError, match="expected mooncake or vidur"):
        trace_text(trace, "azure")


@pytest.mark.parametrize(
    ("name", "requests", "last_s"),
    [
        # From the first rows and the last of the files, by hand: 18:17:03.9799600 to 19:14:19.9280160, and so on.
        ("traces/AzureLLMInferenceTrace_code.csv", 8819, 3435.948056),
        ("traces/AzureLLMInferenceTrace_conv.csv", 19366, 3501.721937),
    ],
)
def test_azure_to_100_ns(name: str, requests: int, last_s: float) -> None:
    trace = read_requests(reference_file(name))
    assert len(trace) == requests
    assert trace.arrival_s[-1] == pytest.approx(last_s, abs=1e-8)


def test_mooncake_is_dense_and_quantised() -> None:
    found = read_trace_file(reference_file("traces/mooncake_conversation_trace.jsonl.gz"))
    assert len(found.trace) == 12_031
    assert found.notes[0].startswith("arrivals are quantised: 1180 values for 12031 requests")
    assert found.trace.blocks is not None
    firsts = list(dict.fromkeys(block for ids in found.trace.blocks for block in ids))
    assert firsts == list(range(182_790))
