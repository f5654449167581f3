"""A comparison as people see it: on a terminal of any width, and as an HTML file."""

import io
import re
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from plumbline.errors import InputError
from tasks.compare.comparison import Comparison, RecordedRun, compare
from tasks.compare.report import check_writable, html, write_report
from tasks.compare.text import show

NASTY = '<script>alert("x")</script> & $x$ {{ 7*7 }} [bold]'
VOID = {"meta"}


def compared(runs: int) -> Comparison:
    """Runs with long names, a long parameter, a reason, and something nasty in the last one."""
    made = [
        RecordedRun(
            id=f"{number:032x}",
            name=f"tutorial training.learning_rate={number} training.optimizer=adam",
            experiment="tests",
            status="FINISHED",
            reason="",
            started=datetime(2026, 1, 1),
            params={"training.learning_rate": f"0.{number}", "data.x": f"[{'1.0, ' * 99}{number}]"},
            metrics={"train_rmse": 1.0 / (number + 1), "largest_stable_learning_rate": 0.5},
        )
        for number in range(runs - 1)
    ]
    metrics = {"loss": 7.0}
    nasty = RecordedRun(
        "f" * 32, NASTY, NASTY, "FAILED", NASTY, datetime(2026, 1, 1), {NASTY: NASTY}, metrics,
        {"git_commit": NASTY},
    )  # fmt: skip
    return compare([*made, nasty])


def printed(what: Comparison, width: int) -> str:
    """What a terminal of that width shows."""
    out = io.StringIO()
    show(what, Console(file=out, width=width, highlight=False, emoji=False, markup=False))
    return out.getvalue()


@pytest.mark.parametrize("width", [40, 80, 200])
def test_nothing_is_cut_and_nothing_is_wider_than_the_terminal(width: int) -> None:
    text = printed(compared(12), width)
    assert max(map(len, text.splitlines())) <= width
    joined = re.sub(r"\s", "", text)
    assert re.sub(r"\s", "", NASTY) in joined
    for number in range(11):
        assert f"0.{number}" in text
    assert "1*" in joined or "0.09091*" in joined


def test_every_run_has_its_column_once_however_narrow_the_terminal() -> None:
    heads = re.findall(r"^ +(\d+(?: +\d+)*) *$", printed(compared(12), 80), re.MULTILINE)
    columns = [int(number) for line in heads for number in line.split()]
    assert columns == [*range(1, 13), *range(1, 13)]  # of the parameters, of the metrics


class Page(HTMLParser):
    """What a browser would make of a page: its elements, and what it would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def count(self, tag: str) -> int:
        return sum(found == tag for found, _ in self.elements)


def test_the_page_is_one_file_that_runs_and_fetches_nothing() -> None:
    curve = [(epoch, 1.0 / epoch) for epoch in range(1, 100)]
    text = html(compared(3), [curve, curve, []])
    page = Page(text)
    assert page.open == []
    assert page.count("script") == page.count("link") == page.count("img") == page.count("a") == 0
    assert page.count("svg") == 1
    for _, attributes in page.elements:
        assert not {"src", "onload", "onerror", "onclick"} & set(attributes)
        for name in ("href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#")
    assert not re.search(r"@import|url\((?!#)", text)


def test_what_was_recorded_is_escaped_and_stands_in_the_page() -> None:
    page = Page(html(compared(3), [[(1, 1.0)], [], [(1, 7.0), (2, float("inf"))]]))
    assert page.words.count(NASTY) >= 2
    assert any(NASTY[:20] in words for words in page.words)


def test_table_heads_say_what_they_head() -> None:
    page = Page(html(compared(3), [[], [], []]))
    heads = [attributes for tag, attributes in page.elements if tag == "th"]
    assert heads
    assert {attributes["scope"] for attributes in heads} == {"col", "row"}
    assert page.count("svg") == 0


def test_a_dark_page_and_the_picture_take_the_readers_colours() -> None:
    text = html(compared(2), [[(1, 1.0)], [(1, 2.0)]])
    assert "prefers-color-scheme: dark" in text
    picture = text[text.index("<svg") : text.index("</svg>")]
    assert "currentColor" in picture
    assert "#000000" not in picture


def test_the_report_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("the old one")
    with pytest.raises(ValueError, match="zip"):
        write_report(compared(2), [[(1, 1.0)]], path)
    assert path.read_text() == "the old one"
    assert list(tmp_path.iterdir()) == [path]
    write_report(compared(2), [[(1, 1.0)], []], path)
    assert path.read_text().startswith("<!doctype html>")
    assert list(tmp_path.iterdir()) == [path]


def test_where_no_report_can_be_written_is_said_first(tmp_path: Path) -> None:
    check_writable(tmp_path / "new.html")
    for wrong in (tmp_path, tmp_path / "no" / "such.html"):
        with pytest.raises(InputError, match="OUT must be a file in a folder"):
            check_writable(wrong)
