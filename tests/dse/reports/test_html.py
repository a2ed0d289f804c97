"""The HTML page: whole, self-contained, and its tags in order."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from dse.reports.html import Section, html_report, write_html
from hw.spec.system import System
from simulator.result import Result

Case = tuple[Result, System]
VOID = {"meta", "br", "!doctype"}


class Checker(HTMLParser):
    """Tags that must nest, ids that must differ, references that must exist."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.references: set[str] = set()
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        self._attributes(attrs)

    def handle_startendtag(self, _: str, attrs: list[tuple[str, str | None]]) -> None:
        self._attributes(attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def _attributes(self, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            assert name != "src"
            assert not name.startswith("on")
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "xlink:href"):
                assert (value or "").startswith("#")
                self.references.add((value or "")[1:])
            self.references |= set(re.findall(r"url\(#([^)]*)\)", value or ""))


def check(page: str) -> Checker:
    checker = Checker()
    checker.feed(page)
    checker.close()
    assert checker.open == []
    assert len(set(checker.ids)) == len(checker.ids)
    assert checker.references <= set(checker.ids)
    assert not {"script", "link", "img", "iframe"} & checker.seen
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)
    return checker


def test_a_page_of_several_results_stands_alone(
    tmp_path: Path, server: Case, laptop: Case, server_prefill: Case
) -> None:
    path = tmp_path / "page.html"
    write_html(path, [server_prefill, server, laptop])
    page = path.read_text(encoding="utf-8")
    checker = check(page)
    # Prefill stands alone with four figures, decode has two rooflines and three figures for both.
    assert page.count("<figure>") == 4 + 5
    assert page.count("<th>ratio</th>") == 1
    assert len(checker.references) > 50
    assert "<h2>Llama-3.1-8B, prefill, batch 1, context 2,048</h2>" in page
    assert "is bound by link host-pcie (ddr → gddr)" in page
    assert list(tmp_path.iterdir()) == [path]


def test_text_is_quoted(renamed: Result) -> None:
    page = html_report([Section((renamed,), {})], title="<1 & 2>")
    check(page)
    assert "<title>&lt;1 &amp; 2&gt;</title>" in page
    assert "A&lt;b&gt;&amp;&quot;c&#x27;/../d" in page
    assert "one note, &lt;i&gt;1 &amp; 2&lt;/i&gt;" in page


def test_a_page_that_cannot_be_written_leaves_nothing(tmp_path: Path, server: Case) -> None:
    target = tmp_path / "page.html"
    target.mkdir()
    with pytest.raises(OSError, match=r".+"):
        write_html(target, [server])
    assert list(tmp_path.iterdir()) == [target]
