"""The page: one file that needs nothing else, and lets nothing in.

Its Content-Security-Policy allows its own stylesheet, by digest, and nothing more: no script, no picture from
elsewhere, no form. Whatever a name in it says, it stays text.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

import windtunnel
from windtunnel.report import words
from windtunnel.report.headline import headline
from windtunnel.report.html import Markup, name, tag, text
from windtunnel.report.layout import badge, note, section
from windtunnel.report.sections.calibration import calibration_section
from windtunnel.report.sections.card import card
from windtunnel.report.sections.contest import contest
from windtunnel.report.sections.cost import cost
from windtunnel.report.sections.drift import drift
from windtunnel.report.sections.health import health
from windtunnel.report.sections.quality import quality
from windtunnel.report.sections.slices import slices
from windtunnel.report.sections.story import story
from windtunnel.report.sections.verdict import verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from windtunnel.report.subject import Subject

_SECTIONS = (
    ("verdict", "Verdict", verdict),
    ("quality", "Quality", quality),
    ("drift", "Drift", drift),
    ("slices", "Slices", slices),
    ("calibration", "Calibration", calibration_section),
    ("contest", "Challenger", contest),
    ("story", "Story", story),
    ("health", "Features", health),
    ("card", "Model card", card),
    ("cost", "Cost", cost),
)


def page(subject: Subject) -> str:
    """HTML in UTF-8 text, complete."""
    shown = [
        (id_, title, made)
        for id_, title, make in _SECTIONS
        if (made := _made(id_, title, make, subject)) is not None
    ]
    head = headline(subject)
    css, policy = _style()
    return "<!doctype html>\n" + tag(
        "html",
        tag(
            "head",
            tag("meta", charset="utf-8"),
            tag("meta", http_equiv="Content-Security-Policy", content=policy),
            tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
            tag("meta", name_="color-scheme", content="light dark"),
            tag("meta", name_="referrer", content="no-referrer"),
            tag("title", f"{text(subject.lifecycle, 80)}: {head.word}"),
            tag("style", css),
        ),
        tag(
            "body",
            tag("a", "Skip to the verdict", href="#verdict", class_="skip"),
            tag(
                "header",
                tag("p", "Windtunnel report", class_="kicker"),
                tag("h1", name(subject.lifecycle, 80)),
                tag("p", _about(subject), class_="about"),
                class_="top",
            ),
            tag(
                "nav",
                [tag("a", title, href=f"#{id_}") for id_, title, _ in shown],
                badge(head.mood, head.word),
                aria_label="Sections",
            ),
            tag("main", [made for *_, made in shown]),
            tag("footer", _lost(subject), note(_foot(subject))),
        ),
        lang="en",
    )


def _made(id_: str, title: str, make: Callable[[Subject], Markup | None], subject: Subject) -> Markup | None:
    """A section; where a document behind it is of another form than this release knows, a word about that."""
    try:
        return make(subject)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        told = f"This cannot be shown: a document behind it has another form than expected ({error!r:.200})."
        return section(id_, title, None, note(told))


def _about(subject: Subject) -> str:
    last = subject.last
    told = f"Made {words.moment(subject.made)} UTC"
    if last is None:
        return told
    window = words.span(last.window.start, last.window.end)
    return f"Window {window} UTC, version {text(last.version, 24)}. {told}"


def _lost(subject: Subject) -> Markup | None:
    if not subject.lost:
        return None
    return tag(
        "div",
        tag("h2", "What could not be read"),
        tag("ul", [tag("li", text(one)) for one in subject.lost], class_="reasons"),
    )


def _foot(subject: Subject) -> str:
    behind = (
        words.count(len(subject.measures), "measure"),
        words.count(len(subject.entries), "entry of the ledger", "entries of the ledger"),
        words.count(len(subject.records), "stage record"),
        words.count(len(subject.verdicts), "verdict"),
    )
    return (
        f"Windtunnel {windtunnel.__version__}. All moments are UTC. From {', '.join(behind)}; "
        f"`windtunnel report {text(subject.lifecycle, 80)}` makes it anew."
    )


@cache
def _style() -> tuple[Markup, str]:
    """The stylesheet, and the policy that allows it alone."""
    css = resources.files("windtunnel.report").joinpath("style.css").read_text("utf-8")
    name_ = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{name_}'; base-uri 'none'; form-action 'none'"
    return Markup(css), policy
