"""What was done, in the words of the ledger: seen, trained, refused or promoted, rolled back, recovered."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from windtunnel.report import words
from windtunnel.report.headline import sentence
from windtunnel.report.html import name, tag, text
from windtunnel.report.layout import more, section

if TYPE_CHECKING:
    from collections.abc import Sequence

    from windtunnel.report.html import Child, Markup
    from windtunnel.report.subject import Subject

_OPEN, _MOST = 12, 40
"""Entries that are open to see, and those that can be unfolded."""
_REASONS, _LONGEST = 3, 300
"""Of one entry: how many, and characters of each."""
_ACTS = {
    "promotion": ("▲", "good", "promoted"),
    "rollback": ("↩", "critical", "rolled back to"),
    "refusal": ("✕", "warning", "refused"),
    "taken_back": ("⊘", "critical", "taken back"),
    "drift": ("◆", "warning", "drift seen on"),
    "retraining": ("↻", "info", "retraining asked for, instead of"),
    "retrained": ("↻", "info", "retrained into"),
    "recovered": ("✓", "good", "well again:"),
}


def story(subject: Subject) -> Markup | None:
    if not subject.entries:
        return None
    entries = list(reversed(subject.entries))[:_MOST]
    total = int(entries[0].get("number") or len(subject.entries))
    acts = Counter(str(entry.get("action")) for entry in subject.entries)
    counted = [
        words.count(acts[action], one, many)
        for action, one, many in (
            ("promotion", "promotion", "promotions"),
            ("refusal", "refusal", "refusals"),
            ("rollback", "rollback", "rollbacks"),
            ("retraining", "retraining by the monitor", "retrainings by the monitor"),
        )
        if acts[action]
    ]
    lead = f"{words.count(total, 'entry', 'entries')} in the ledger"
    if counted:
        lead += f"; among the newest {len(subject.entries):,}: {', '.join(counted)}"
    older = entries[_OPEN:]
    return section(
        "story",
        "Rollouts and decisions",
        lead + ". The newest is on top.",
        _timeline(entries[:_OPEN]),
        more(f"{words.count(len(older), 'older entry', 'older entries')}", _timeline(older))
        if older
        else None,
    )


def _timeline(entries: Sequence[dict[str, Any]]) -> Markup:
    return tag("ol", [_entry(entry) for entry in entries], class_="timeline")


def _entry(entry: dict[str, Any]) -> Markup:
    action = str(entry.get("action", ""))
    shape, mood, verb = _ACTS.get(action, ("•", "info", action.replace("_", " ")))
    moment = words.moment(str(entry.get("at") or entry.get("written") or ""))
    return tag(
        "li",
        tag("span", shape, class_="knot", aria_hidden="true"),
        tag(
            "div",
            tag(
                "p",
                tag("b", [verb.capitalize(), _version(entry)]),
                tag("span", moment, class_="when"),
            ),
            [tag("p", sentence(reason), class_="why") for reason in _reasons(entry)],
            tag("p", _by(entry), class_="by"),
        ),
        class_=f"entry {mood}",
    )


def _version(entry: dict[str, Any]) -> list[Child] | None:
    version = entry.get("version")
    if not version:
        return None
    replaced = entry.get("replaced")
    return [
        " version\N{NO-BREAK SPACE}",
        name(version, 24),
        [" in the place of ", name(replaced, 24)] if replaced else None,
    ]


def _reasons(entry: dict[str, Any]) -> list[str]:
    found = entry.get("reasons") or entry.get("reason") or ()
    reasons = [found] if isinstance(found, str) else [str(one) for one in found]
    because = entry.get("because")
    told = [f"because of {because}"] if isinstance(because, str) and because else []
    return [text(one, _LONGEST) for one in [*reasons, *told] if one][:_REASONS]


def _by(entry: dict[str, Any]) -> list[Child]:
    parts: list[Child] = [f"entry {entry.get('number', '')}"]
    if entry.get("by"):
        parts += [", by ", name(entry["by"], 60)]
    if entry.get("run_id"):
        parts += [", run ", name(words.clip(entry["run_id"], 48))]
    return parts
