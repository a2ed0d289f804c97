"""Reports on a terminal."""

from __future__ import annotations

import io

from dse.reports.table import comparison_text, print_comparison, print_report, print_rows, report_text
from hw.spec.system import System
from simulator.result import Result

Case = tuple[Result, System]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_report_fits_80_columns_and_says_the_main_things(server: Case, laptop: Case, experts: Case) -> None:
    for result, _ in (server, laptop, experts):
        text = report_text(result)
        assert max(len(line) for line in text.splitlines()) <= 80
        assert "\x1b" not in text
        assert "time per output token (TPOT)" in text
        assert "% of the time is bound by" in text
        assert f"on {result.system}, roofline fidelity, weights bf16, kv cache bf16" in text
        assert "Where the time goes" in text
        assert all(line == line.rstrip() for line in text.splitlines())
    assert "…" not in report_text(server[0])


def test_notes_are_printed_with_their_brackets(renamed: Result) -> None:
    assert "  one note, <i>1 & 2</i>" in report_text(renamed)


def test_a_comparison_fits_80_columns(server: Case, laptop: Case) -> None:
    text = comparison_text(server[0], laptop[0])
    assert max(len(line) for line in text.splitlines()) <= 80
    assert text.startswith("Llama-3.1-8B, decode, batch 1, context 2,048\n")
    assert "laptop-nvme: " in text


def test_a_file_gets_the_plain_text(server: Case, laptop: Case) -> None:
    stream = io.StringIO()
    print_report(server[0], stream=stream)
    assert stream.getvalue() == report_text(server[0])
    stream = io.StringIO()
    print_comparison(server[0], laptop[0], stream=stream)
    assert stream.getvalue() == comparison_text(server[0], laptop[0])


def test_a_terminal_gets_the_same_words(server: Case) -> None:
    stream = Terminal()
    print_report(server[0], stream=stream)
    assert "tier hbm" in stream.getvalue()


def test_an_ascii_stream_gets_ascii(laptop: Case) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    print_report(laptop[0], stream=stream)
    stream.flush()
    text = raw.getvalue().decode("ascii")
    assert "link host-pcie (ddr -> gddr)" in text
    assert " us" in text
    assert "?" not in text


def test_rows_become_a_table() -> None:
    stream = io.StringIO()
    rows = [
        {"name": "llama", "active_parameters": 8030261248, "dense": True, "description": "word " * 40},
        {"name": "mixtral", "active_parameters": 12879925248, "dense": False, "description": "short"},
    ]
    print_rows(rows, stream=stream)
    lines = stream.getvalue().splitlines()
    assert lines[0].split() == ["name", "active", "parameters", "dense", "description"]
    assert lines[1].split()[:3] == ["llama", "8,030,261,248", "yes"]
    assert lines[1].endswith("word word")
    assert len(lines) == 3
    stream = io.StringIO()
    print_rows([], stream=stream)
    assert stream.getvalue().strip() == ""
