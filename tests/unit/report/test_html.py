"""Elements: what is not markup is escaped, wherever it stands."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windtunnel.report.html import Markup, join, name, tag


class _Reader(HTMLParser):
    """What a browser would see: elements with attributes, and text."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def _read(markup: str) -> _Reader:
    reader = _Reader()
    reader.feed(markup)
    reader.close()
    return reader


@given(st.text(st.characters(codec="utf-8", exclude_categories=("C",)), max_size=200))
def test_any_text_comes_back_as_it_was_and_makes_no_element(words: str) -> None:
    seen = _read(tag("p", words, title=words))
    assert [element for element, _ in seen.elements] == ["p"]
    assert seen.text == words
    assert seen.elements[0][1]["title"] == words


@pytest.mark.parametrize("control", ["\x00", "\x1b", "\u202e", "\u200b", "\u2066", "\ud800"])
def test_what_hides_in_a_name_or_turns_it_around_is_shown(control: str) -> None:
    assert _read(name(f"a{control}b")).text == "a\N{REPLACEMENT CHARACTER}b"


def test_a_name_is_isolated_and_cut() -> None:
    seen = _read(name("x" * 100, 10))
    assert seen.elements[0][0] == "bdi"
    assert seen.text == "x" * 9 + "…"


def test_markup_stays_and_nothing_leaves_no_trace() -> None:
    assert tag("p", tag("b", "1 < 2"), None, [" ", 3]) == "<p><b>1 &lt; 2</b> 3</p>"
    assert tag("p", "a", class_=None, hidden=False) == "<p>a</p>"
    assert tag("circle", cx="5%", r=2.50, class_="dot") == '<circle cx="5%" r="2.5" class="dot"/>'


def test_an_element_that_must_stay_empty_keeps_what_it_says_of_itself() -> None:
    assert tag("circle", tag("title", "said"), r=2) == '<circle r="2"><title>said</title></circle>'


def test_markup_and_text_together_are_text_until_they_are_joined() -> None:
    mixed = tag("b", "x") + "<i>"
    assert not isinstance(mixed, Markup)
    assert join([tag("b", "x"), "<i>"]) == "<b>x</b>&lt;i&gt;"


def test_a_name_of_an_attribute_is_ours() -> None:
    with pytest.raises(ValueError, match="no name of an attribute"):
        tag("p", **{"a onclick": "x"})
