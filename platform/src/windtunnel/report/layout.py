"""Parts that sections are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from windtunnel.report.html import tag

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from windtunnel.report.html import Child, Markup


def section(id_: str, title: str, lead: Child, *body: Child) -> Markup:
    """`lead`: what is seen below, in a sentence."""
    return tag(
        "section",
        tag("h2", title, id=f"{id_}-title"),
        tag("p", lead, class_="lead") if lead else None,
        body,
        id=id_,
        aria_labelledby=f"{id_}-title",
    )


def figure(picture: Child, caption: Child = None, keys: Sequence[tuple[str, str]] = ()) -> Markup:
    """A picture, what its strokes mean (class of the stylesheet, words), and a caption."""
    shown = [tag("span", tag("i", class_=class_), text, class_="key") for class_, text in keys]
    return tag(
        "figure",
        tag("div", shown, class_="keys") if shown else None,
        picture,
        tag("figcaption", caption) if caption else None,
    )


def table(head: Sequence[str], rows: Iterable[Sequence[Child]], class_: str = "") -> Markup:
    """The first column names its row, the others are figures; it scrolls where a screen is narrow."""
    return tag(
        "div",
        tag(
            "table",
            tag("thead", tag("tr", [tag("th", one, scope="col") for one in head])),
            tag(
                "tbody",
                [
                    tag("tr", tag("th", row[0], scope="row"), [tag("td", cell) for cell in row[1:]])
                    for row in rows
                ],
            ),
            class_=class_ or None,
        ),
        class_="scroll",
        tabindex=0,
        role="group",
        aria_label="table",
    )


def facts(rows: Iterable[tuple[str, Child]]) -> Markup:
    """Names and values; what has no value is left out."""
    return tag(
        "dl",
        [
            tag("div", tag("dt", name), tag("dd", value))
            for name, value in rows
            if value is not None and value != ""
        ],
        class_="facts",
    )


def badge(mood: str, word: str) -> Markup:
    """A state: a shape, a word and a colour. Moods: good, warning, critical, info."""
    shape = {"good": "✓", "warning": "!", "critical": "✕", "info": "i"}[mood]
    return tag("span", tag("b", shape, aria_hidden="true"), word, class_=f"badge {mood}")


def more(summary: Child, *body: Child) -> Markup:
    """What only some readers want."""
    return tag("details", tag("summary", summary), body)


def note(*words: Child) -> Markup:
    return tag("p", words, class_="note")
