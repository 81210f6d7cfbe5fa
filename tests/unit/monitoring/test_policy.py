"""When drift is answered by a training: sustained, with hysteresis, a cool-down and a budget."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from windtunnel.monitoring.measures import (
    Answers,
    Concept,
    Drift,
    Estimated,
    Measure,
    Quality,
    Skew,
    Window,
)  # fmt: skip
from windtunnel.monitoring.policy import Decision, counted, decide, votes
from windtunnel.spec.monitoring import Retrain

START = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
RULE = Retrain(on_drift=True)
DRIFTED = Drift((), None, None, ("spend",))
QUALITY = Quality(900, 0.9, "log_loss", 0.7, 0.6, 0.1, (0.05, 0.15), True, {})


def window(day: int, kind: str = "bad", version: str = "1", hours: float = 24) -> Measure:
    """A window that ends `day` days after the start: "bad", "good", or "few" rows."""
    end = START + day * DAY
    rows = 10 if kind == "few" else 5000
    return Measure(
        lifecycle="shop", version=version, bundle=f"sha256:{version}", run_id=f"{day}-{version}", made=end,
        window=Window(end - timedelta(hours=hours), end, rows, 1.0, kind != "few"), reference=None,
        answers=Answers({"champion": rows}, 0.0, None), drift=DRIFTED if kind == "bad" else None,
    )  # fmt: skip


@dataclass
class Loop:
    """Windows one after the other, day by day, and a ledger that remembers what was decided."""

    rule: Retrain = RULE
    trains: bool = True
    """Whether the trainings that are asked for come to their end."""
    measures: list[Measure] = field(default_factory=list)
    entries: list[dict[str, Any]] = field(default_factory=list)

    def sees(self, measure: Measure, **known: date) -> Decision:
        now = measure.window.end
        decision = decide(self.measures, measure, self.entries, now, self.rule, **known)
        self.measures.append(measure)
        told = {
            "run_id": measure.run_id,
            "version": measure.version,
            "at": now.isoformat(),
            "series": measure.series,
        }
        if decision.seen:
            self.entries.append({"action": "drift", **told})
        if decision.policy.retrain:
            cutoff = known.get("newest_cutoff")
            self.entries.append({"action": "retraining", "cutoff": cutoff and cutoff.isoformat(), **told})
            if self.trains:
                self.entries.append({"action": "retrained", "version": measure.version})
        if decision.recovered:
            self.entries.append({"action": "recovered", **told})
        return decision

    def run(self, kinds: str, version: str = "1", begin: int = 0) -> list[Decision]:
        """b: bad, g: good, -: too few rows; one window a day."""
        names = {"b": "bad", "g": "good", "-": "few"}
        return [self.sees(window(begin + day, names[kind], version)) for day, kind in enumerate(kinds)]


def states(decisions: list[Decision]) -> list[str]:
    return [decision.policy.state for decision in decisions]


def test_one_bad_window_is_watched_and_the_second_one_retrains() -> None:
    first, second = Loop().run("bb")
    assert (first.policy.state, first.policy.streak) == ("watching", 1)
    assert "drift of spend" in first.policy.reason
    assert "1 of 2" in first.policy.reason
    assert second.policy.retrain
    assert second.policy.reason == "drift of spend, for 2 windows in a row"
    assert (first.seen, second.seen) == (False, True)


def test_a_good_window_between_bad_ones_starts_the_count_anew() -> None:
    assert states(Loop().run("bgbgb")) == ["watching", "quiet", "watching", "quiet", "watching"]


def test_windows_with_too_few_rows_speak_neither_way() -> None:
    assert states(Loop().run("-b--b")) == ["quiet", "watching", "quiet", "quiet", "retrain"]


def test_once_raised_the_alarm_takes_as_many_good_windows_to_end() -> None:
    loop = Loop(Retrain(on_drift=True, cool_down=timedelta(hours=1), per_week=100))
    decisions = loop.run("bbgbggb")
    assert states(decisions) == [
        "watching",
        "retrain",
        "watching",
        "retrain",
        "watching",
        "quiet",
        "watching",
    ]
    assert [one.recovered for one in decisions] == [False] * 5 + [True, False]
    told = [entry["action"] for entry in loop.entries if entry["action"] != "retrained"]
    assert told == ["drift", "retraining", "retraining", "recovered"]


def test_without_leave_of_the_lifecycle_a_person_decides() -> None:
    decision = Loop(Retrain()).run("bb")[-1]
    assert (decision.policy.state, decision.seen) == ("watching", True)
    assert "retrain.onDrift is off" in decision.policy.reason


def test_between_two_trainings_it_cools_down() -> None:
    loop = Loop(Retrain(on_drift=True, cool_down=timedelta(days=3), per_week=9))
    decisions = loop.run("bbbbbb")
    assert states(decisions) == [
        "watching", "retrain", "cooling_down", "cooling_down", "retrain", "cooling_down",
    ]  # fmt: skip
    assert decisions[2].policy.next_allowed == START + 4 * DAY
    assert "ends at 2026-03-05 00:00 UTC" in decisions[2].policy.reason


def test_a_week_has_a_budget() -> None:
    loop = Loop(Retrain(on_drift=True, cool_down=timedelta(hours=1), per_week=2))
    decisions = loop.run("b" * 10)
    assert states(decisions) == [
        "watching",
        "retrain",
        "retrain",
        *["out_of_budget"] * 5,
        "retrain",
        "retrain",
    ]
    assert decisions[3].policy.next_allowed == START + 8 * DAY
    assert (decisions[3].policy.used_this_week, decisions[8].policy.used_this_week) == (2, 2)


def test_without_newer_days_a_training_would_change_nothing() -> None:
    loop = Loop(Retrain(on_drift=True, cool_down=timedelta(hours=1)))
    known = {"cutoff": date(2026, 2, 20)}
    loop.sees(window(0), **known, newest_cutoff=date(2026, 2, 20))
    same = loop.sees(window(1), **known, newest_cutoff=date(2026, 2, 20))
    assert (same.policy.state, same.seen) == ("watching", True)
    assert "no day is published" in same.policy.reason
    assert loop.sees(window(2), **known, newest_cutoff=date(2026, 2, 21)).policy.retrain
    assert not loop.sees(window(3), **known, newest_cutoff=date(2026, 2, 21)).policy.retrain, "it was refused"
    assert loop.sees(window(4), **known, newest_cutoff=date(2026, 2, 22)).policy.retrain


def test_a_new_champion_starts_without_an_alarm_and_its_good_windows_end_the_story() -> None:
    loop = Loop()
    loop.run("bb")
    decisions = loop.run("bgg", version="2", begin=2)
    assert states(decisions) == ["watching", "quiet", "quiet"]
    assert [one.recovered for one in decisions] == [False, False, True]


def test_a_new_champion_that_drifts_is_a_story_of_its_own() -> None:
    loop = Loop()
    loop.run("bb")
    assert [one.seen for one in loop.run("bbb", version="2", begin=2)] == [False, True, False]


def test_an_impatient_schedule_counts_a_bad_day_once() -> None:
    loop = Loop()
    hourly = [loop.sees(moved(window(0), hours)) for hours in range(21)]
    assert {one.policy.state for one in hourly} == {"watching"}
    assert loop.sees(moved(window(0), 24)).policy.retrain, "these rows are new"


@pytest.mark.parametrize("every", [0.25, 1, 5, 7, 23, 36])
def test_however_often_it_looks_drift_that_lasts_is_seen(every: float) -> None:
    loop = Loop()
    looks = [loop.sees(moved(window(0), every * count)) for count in range(int(72 / every) + 1)]
    assert any(one.policy.retrain for one in looks)


def test_a_training_that_failed_has_used_up_no_days() -> None:
    rule = Retrain(on_drift=True, cool_down=timedelta(days=1), per_week=100)
    newest = date(2026, 2, 20)
    failed, done = (Loop(rule, trains=trains) for trains in (False, True))
    for loop in (failed, done):
        loop.sees(window(0), newest_cutoff=newest)
        assert loop.sees(window(1), newest_cutoff=newest).policy.retrain
    assert failed.sees(window(3), newest_cutoff=newest).policy.retrain
    assert not done.sees(window(3), newest_cutoff=newest).policy.retrain


def test_a_window_that_is_measured_again_stands_once() -> None:
    again = replace(window(0, "good"), run_id="again", made=START + timedelta(hours=1))
    assert counted([window(0), again, window(1)], "1") == [again, window(1)]


def test_looking_back_starts_nothing() -> None:
    loop = Loop(Retrain(on_drift=True, cool_down=timedelta(hours=1), per_week=100))
    loop.run("bbb")
    back = replace(window(1), run_id="by hand", made=START + 9 * DAY)
    decision = decide(loop.measures, back, loop.entries, START + 9 * DAY, loop.rule)
    assert (decision.policy.state, decision.recovered) == ("watching", False)
    assert "a newer window" in decision.policy.reason


def asked(day: float, kind: str = "bad", minutes: float = 0) -> Measure:
    """An hour that a person looks at, `minutes` after the day's window."""
    return replace(moved(window(0, kind, hours=1), 24 * day + minutes / 60), continues=False)


def test_a_bad_hour_that_a_person_looks_at_makes_no_second_bad_window() -> None:
    loop = Loop()
    looks = [loop.sees(window(0)), loop.sees(asked(0, minutes=60)), loop.sees(window(1, "good"))]
    assert [one.policy.state for one in looks] == ["watching", "watching", "quiet"]
    assert "1 of 2" in looks[1].policy.reason
    assert loop.sees(window(2)).policy.streak == 1


def test_good_hours_that_a_person_looks_at_end_no_alarm_of_the_schedule() -> None:
    loop = Loop()
    loop.run("bb")
    by_hand = [loop.sees(asked(1, "good", minutes)) for minutes in (60, 120)]
    assert not any(one.recovered for one in by_hand)
    assert loop.sees(window(2)).policy.streak == 3
    assert [one.recovered for one in loop.run("gg", begin=3)] == [False, True]


def test_windows_that_a_person_asks_for_one_after_the_other_count_among_their_own() -> None:
    loop = Loop()
    states_ = [loop.sees(asked(0, minutes=60 * count)).policy.state for count in range(2)]
    assert states_ == ["watching", "retrain"]


def test_a_look_by_hand_holds_up_no_window_of_the_schedule() -> None:
    loop = Loop()
    loop.run("b")
    loop.sees(asked(1, "good", minutes=1))
    assert loop.sees(window(1)).policy.retrain


def test_batch_scores_do_not_count_among_predictions() -> None:
    loop = Loop()
    loop.sees(window(0))
    scores = window(1)
    loop.sees(replace(scores, window=replace(scores.window, folder="scores")))
    assert loop.sees(window(1)).policy.streak == 2


def test_a_second_try_of_a_run_says_the_same_again() -> None:
    loop = Loop()
    *_, last = loop.run("bb")
    again = decide(loop.measures, loop.measures[-1], loop.entries, START + DAY, RULE)
    assert again == last


def test_other_versions_windows_do_not_count() -> None:
    loop = Loop()
    loop.sees(window(0, version="7"))
    assert loop.sees(window(1)).policy.streak == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, []),
        ({"drift": DRIFTED}, ["drift of spend"]),
        ({"drift": Drift((), None, None, tuple("abcdefg"))}, ["drift of a, b, c, d, e and 2 more"]),
        ({"quality": QUALITY}, ["log_loss 0.7, 0.6 when it was judged"]),
        ({"quality": replace(QUALITY, worse=False)}, []),
        ({"concept": Concept(True, None, 900, 0.001)}, ["the relation of features and label has changed"]),
        (
            {"estimated": Estimated("brier", 0.2, (0.19, 0.21), 0.1, True, 900)},
            ["brier estimated at 0.2, 0.1 when it was judged"],
        ),
        (
            {
                "estimated": Estimated("brier", 0.2, (0.19, 0.21), 0.1, True, 900),
                "quality": replace(QUALITY, worse=False),
            },
            [],
        ),
        (
            {
                "estimated": Estimated("brier", 0.2, (0.19, 0.21), 0.1, True, 900),
                "quality": replace(QUALITY, labelled=3, worse=False, enough=False),
            },
            ["brier estimated at 0.2, 0.1 when it was judged"],
        ),
        ({"skew": Skew(200, 400, 300, 0.75, ())}, []),
    ],
)
def test_what_a_training_could_mend_speaks_for_one(changes: dict[str, Any], said: list[str]) -> None:
    assert votes(replace(window(0, "good"), **changes)) == said


def moved(measure: Measure, hours: float) -> Measure:
    by = timedelta(hours=hours)
    span = replace(measure.window, start=measure.window.start + by, end=measure.window.end + by)
    return replace(measure, window=span, run_id=f"{measure.run_id}+{hours}", made=measure.made + by)


PROPERTY = settings(max_examples=60)
KINDS = st.text("bg-", min_size=1, max_size=30)
RULES = st.builds(
    Retrain,
    on_drift=st.just(True),
    sustained=st.integers(1, 4),
    cool_down=st.integers(1, 240).map(lambda hours: timedelta(hours=hours)),
    per_week=st.integers(1, 5),
)


@PROPERTY
@given(KINDS, RULES)
def test_trainings_keep_their_distance_and_their_budget(kinds: str, rule: Retrain) -> None:
    loop = Loop(rule)
    decisions = loop.run(kinds)
    starts = [day for day, one in enumerate(decisions) if one.policy.retrain]
    for before, after in pairwise(starts):
        assert (after - before) * DAY >= rule.cool_down
    for first in starts:
        assert sum(first <= start < first + 7 for start in starts) <= rule.per_week


@PROPERTY
@given(KINDS, RULES)
def test_only_sustained_drift_trains_and_only_sustained_quiet_recovers(kinds: str, rule: Retrain) -> None:
    decisions = Loop(rule).run(kinds)
    needed = rule.sustained
    for day, one in enumerate(decisions):
        spoke = [kind for kind in kinds[: day + 1] if kind != "-"]
        if one.policy.retrain:
            assert kinds[day] == "b"
            assert "b" * needed in "".join(spoke), "there was a sustained run before, or now"
        if one.recovered:
            assert spoke[-needed:] == ["g"] * needed
        if one.policy.state == "quiet" and kinds[day] == "g":
            raised = "".join(spoke).rfind("b" * needed)
            assert raised < 0 or "g" * needed in "".join(spoke)[raised:], "an alarm ends by good windows only"


@PROPERTY
@given(KINDS, RULES)
def test_the_ledger_tells_drift_and_recovery_in_turns(kinds: str, rule: Retrain) -> None:
    loop = Loop(rule)
    loop.run(kinds)
    told = [entry["action"] for entry in loop.entries]
    turns = [action for action in told if action not in ("retraining", "retrained")]
    assert turns == ["drift", "recovered"] * (len(turns) // 2) + ["drift"] * (len(turns) % 2)
    assert told.count("retraining") == 0 or told[0] == "drift"


@PROPERTY
@given(KINDS, RULES, st.integers(0, 29))
def test_a_decision_depends_on_the_past_alone(kinds: str, rule: Retrain, cut: int) -> None:
    whole = Loop(rule).run(kinds)
    by_hand = Loop(rule.model_copy(update={"on_drift": False})).run(kinds)
    assert not any(one.policy.retrain for one in by_hand)
    assert [one.seen for one in whole] == [one.seen for one in by_hand]
    assert Loop(rule).run(kinds[: cut + 1]) == whole[: cut + 1]
