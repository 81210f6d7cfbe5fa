"""HTML and SVG elements as text. Whatever is not markup made here is escaped, so no name of a column, a slice
or a user can become markup.
"""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_VOID = frozenset({"br", "hr", "link", "meta"})
_SHAPES = frozenset({"circle", "line", "path", "rect"})
# Controls, and what turns the direction of text or hides in it: a name must look like what it is.
_UNSEEN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)
_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9-]*")


class Markup(str):
    """Text that is markup already. Only this module and the stylesheet make it."""

    __slots__ = ()


Child = Any
"""Markup, text (escaped), a number, None (nothing), or an iterable of these."""


def tag(name: str, *children: Child, **attributes: object) -> Markup:
    """One element. `class_` is `class`, other underscores are hyphens; None leaves an attribute out."""
    opening = "".join([name, *_attributes(attributes)])
    if name in _VOID:
        return Markup(f"<{opening}>")
    if name in _SHAPES and not children:
        return Markup(f"<{opening}/>")
    return Markup(f"<{opening}>{join(children)}</{name}>")


def join(children: Iterable[Child]) -> Markup:
    """The children behind each other."""
    return Markup("".join(_flat(children)))


def text(value: object, longest: int = 500) -> str:
    """A value as text without controls, cut where it is longer than anybody reads."""
    plain = _UNSEEN.sub("\N{REPLACEMENT CHARACTER}", str(value))
    return plain if len(plain) <= longest else plain[: longest - 1] + "…"


def name(value: object, longest: int = 60) -> Markup:
    """A name that somebody else chose, isolated from the direction of the text around it."""
    return tag("bdi", text(value, longest))


def _flat(children: Iterable[Child]) -> Iterator[str]:
    for child in children:
        if child is None:
            continue
        if isinstance(child, Markup):
            yield child
        elif isinstance(child, str | int | float):
            yield escape(text(child, 4000))
        else:
            yield from _flat(child)


def _attributes(attributes: dict[str, object]) -> Iterator[str]:
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        attribute = key.rstrip("_").replace("_", "-")
        if not _NAME.fullmatch(attribute):
            raise ValueError(f"{attribute!r} is no name of an attribute")
        shown = f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
        yield f' {attribute}="{escape(text(shown, 20_000))}"'
