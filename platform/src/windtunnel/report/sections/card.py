"""The model card: what serves, what it was made of, and what it is not for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from windtunnel.report import words
from windtunnel.report.html import name, tag
from windtunnel.report.layout import facts, more, section, table

if TYPE_CHECKING:
    from windtunnel.report.html import Child, Markup
    from windtunnel.report.subject import Subject


def card(subject: Subject) -> Markup | None:
    champion, manifest = subject.champion, subject.manifest
    if champion is None:
        return None
    about: dict[str, Any] = manifest or {}
    snapshot: dict[str, Any] = subject.snapshot or {}
    features = [one for one in about.get("features", ()) if isinstance(one, dict)]
    return section(
        "card",
        "Model card",
        [
            "What answers requests now: version ",
            name(champion.version),
            f", since {words.moment(champion.since)}.",
        ],
        facts(
            [
                ("Estimator", _estimator(about)),
                ("Predicts", _predicts(about, snapshot)),
                ("Features", words.count(len(features), "feature") if features else None),
                ("Trained on", _days(snapshot.get("training"))),
                ("Judged on", _days(snapshot.get("evaluation"))),
                ("Knows nothing from", about.get("cutoff")),
                ("Missing values", (about.get("input") or {}).get("missing")),
                ("Same as trained", _parity(about)),
                ("Bundle", tag("code", words.short(champion.digest))),
                ("Snapshot", _code(about.get("snapshot"))),
                ("Code", _code(about.get("code"))),
                ("Spec", _code(about.get("spec"))),
            ]
        ),
        _limits(subject),
        _features(features),
        _libraries(about),
    )


def _estimator(about: dict[str, Any]) -> Child:
    if not about.get("estimator"):
        return None
    runtime = f" as {about['runtime']}" if about.get("runtime") else ""
    return [name(about["estimator"]), runtime]


def _predicts(about: dict[str, Any], snapshot: dict[str, Any]) -> str | None:
    kind = snapshot.get("label_kind") or (about.get("output") or {}).get("kind")
    return {"binary": "a probability of yes", "regression": "a value"}.get(str(kind))


def _days(found: Any) -> str | None:
    return " to ".join(str(day) for day in found) if found else None


def _parity(about: dict[str, Any]) -> str | None:
    gap = (about.get("parity") or {}).get("max_abs_difference")
    return None if gap is None else f"within {words.number(gap, 2)} of the trained model"


def _code(value: Any) -> Markup | None:
    return tag("code", words.short(value)) if value else None


def _limits(subject: Subject) -> Markup | None:
    """What a reader must not conclude."""
    verdict = next(
        (
            one
            for one in reversed(subject.verdicts)
            if subject.champion and (one.get("challenger") or {}).get("digest") == subject.champion.digest
        ),
        None,
    )
    gate = (verdict or {}).get("gate") or {}
    limits = []
    if small := gate.get("slices_too_small"):
        limits.append(f"{words.count(int(small), 'slice')} had too few rows to be judged.")
    if isinstance(gate.get("detectable"), int | float) and gate["detectable"]:
        limits.append(
            f"Its evaluation shows differences from about {words.number(gate['detectable'], 2)} on; "
            "smaller ones stay unseen."
        )
    if unlabelled := (subject.snapshot or {}).get("unlabelled"):
        limits.append(f"{words.count(int(unlabelled), 'row')} had no label and were left out.")
    return tag("ul", [tag("li", one) for one in limits], class_="notes") if limits else None


def _features(features: list[dict[str, Any]]) -> Markup | None:
    if not features:
        return None
    rows = [(name(one.get("name", "")), name(one.get("source", ""), 80)) for one in features[:200]]
    return more("What the model reads", table(("feature", "from"), rows))


def _libraries(about: dict[str, Any]) -> Markup | None:
    libraries = about.get("libraries") or {}
    if not libraries:
        return None
    rows = [(name(key), name(version)) for key, version in sorted(libraries.items())]
    return more("Proved with these libraries", table(("library", "version"), rows))
