"""What the report says in one glance."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from measured_days import LIFECYCLE, START, measure_of

from windtunnel.monitoring.measures import Finding
from windtunnel.report.headline import headline, sentence
from windtunnel.report.subject import Champion, Subject

if TYPE_CHECKING:
    from windtunnel.monitoring.measures import Measure

SIX = ("6", "sha256:06")
CHAMPION = Champion("6", "sha256:06", "2023-01-01T00:00:00+00:00", "promotion")


def _of(*measures: Measure, champion: Champion | None = CHAMPION) -> Subject:
    return Subject(LIFECYCLE, START, measures=measures, champion=champion)


def quiet() -> Measure:
    return replace(measure_of(6, drifted=False, version=SIX), findings=())


def bad() -> Measure:
    return measure_of(8, drifted=True, version=SIX)


def test_a_quiet_window_is_healthy() -> None:
    head = headline(_of(quiet()))
    assert (head.mood, head.word) == ("good", "Healthy")
    assert head.sentences[0].startswith("Version 6 is as good as promised: log loss 0.45")
    assert any(told.startswith("None of 14 columns drifted") for told in head.sentences)


def test_worse_quality_counts_more_than_drift() -> None:
    head = headline(_of(quiet(), bad()))
    assert (head.mood, head.word) == ("critical", "Worse than promised")
    assert any(
        "4 of 14 columns drifted: carrier, dest, wind_gust and 1 more." in told for told in head.sentences
    )


def test_drift_alone_is_a_warning() -> None:
    head = headline(_of(replace(bad(), quality=None, concept=None, findings=())))
    assert (head.mood, head.word) == ("warning", "Drifting")
    assert head.sentences[0].startswith("No labels have come yet.")


def test_a_few_labels_are_not_as_good_as_promised() -> None:
    known = quiet()
    assert known.quality
    few = replace(known, quality=replace(known.quality, labelled=3, enough=False))
    head = headline(_of(few))
    assert head.sentences[0].startswith(
        "Labels have come for 3 rows only: too few to say how good it is. From"
    )
    assert headline(_of(replace(few, estimated=None))).sentences[0].endswith("how good it is.")


@pytest.mark.parametrize(
    ("severity", "mood"), [("critical", "critical"), ("warning", "warning"), ("info", "good")]
)
def test_a_finding_is_never_overlooked(severity: str, mood: str) -> None:
    found = replace(quiet(), findings=(Finding("skew", severity, "values differ"),))  # type: ignore[arg-type]
    assert headline(_of(found)).mood == mood


def test_too_few_rows_are_neither_good_nor_bad() -> None:
    small = quiet()
    small = replace(small, window=replace(small.window, rows=12, enough=False), drift=None, quality=None)
    head = headline(_of(small))
    assert (head.mood, head.word) == ("info", "Too little to say")
    assert "The window holds 12 predictions: too few to compare." in head.sentences


def test_a_measure_of_a_champion_that_was_replaced_says_so_first() -> None:
    head = headline(_of(bad(), champion=replace(CHAMPION, version="8", digest="sha256:08")))
    assert head.mood == "critical"
    assert head.word == "Worse than promised; replaced since"
    assert head.sentences[0].startswith("Version 8 has the seat since 1 Jan 2023, 00:00; what is measured")


def test_a_measure_that_somebody_asked_for_of_another_version_is_called_that() -> None:
    champion = replace(CHAMPION, version="8", digest="sha256:08")
    head = headline(_of(replace(bad(), policy=None), champion=champion))
    assert (head.mood, head.word) == ("critical", "Worse than promised; asked for")
    assert head.sentences[0] == f"Somebody asked about version {bad().version}; version 8 serves."


def test_before_anything_was_measured_it_says_what_there_is() -> None:
    assert headline(_of()).word == "Not watched yet"
    nothing = headline(_of(champion=None))
    assert (nothing.word, nothing.sentences) == ("Nothing serves yet", ("No version has been promoted.",))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("drift lasts", "Drift lasts."),
        ("log_loss is worse", "log_loss is worse."),
        ("Done!", "Done!"),
        ("", ""),
    ],
)
def test_a_sentence_keeps_names_as_they_are(text: str, told: str) -> None:
    assert sentence(text) == told
