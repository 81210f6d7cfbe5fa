"""The closed loop on real drift: a model of 2013 meets the flights of 2023, is replaced, and all is well."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from dev.demo.target import ROOT
from tests.cluster.closed_loop import BEFORE, TRAIN
from tests.cluster.dying import recorded
from tests.cluster.release import LIFECYCLE

from windtunnel.ledger import Ledger
from windtunnel.monitoring.measures import report_key
from windtunnel.records import read_records
from windtunnel.usercode import load_object

if TYPE_CHECKING:
    from tests.cluster.closed_loop import Loop
    from tests.cluster.release import Thread

    from windtunnel.monitoring.measures import Measure

FEATURES = f"{LIFECYCLE}__features"
GONE, NEW = {"EV", "US"}, {"YX"}


def column(measure: Measure, name: str) -> dict[str, Any]:
    assert measure.drift
    return next(dict(one) for one in measure.drift.columns if one["column"] == name)


def test_local_time_that_is_called_utc_is_a_data_error(thread: Thread) -> None:
    """As the flights of 2023 are published; every one of them would get the weather of another hour."""
    platform, day = thread.platform, BEFORE[0] - timedelta(days=1)
    load = load_object(ROOT / "dags/lifecycles" / LIFECYCLE, "load_sources:load")
    load(platform.store, day, day, as_published=True)
    platform.api.wait_for_dag(FEATURES)
    run_id = platform.api.trigger(FEATURES, {"start": day.isoformat(), "end": day.isoformat()})
    (*_, (state, tasks)) = platform.api.watch(FEATURES, run_id)
    assert state == "failed"
    (extract,) = (task for task in tasks if task.task_id == "extract")
    told = platform.api.error(FEATURES, run_id, extract)
    assert "data_error" in told
    assert "is in New York another time than year, month, day and hour say" in told
    assert extract.try_number == 1, "the same rows are no better at a second look"
    assert recorded(platform, run_id, "data_error")["stage"] == "extract"


def test_ten_years_later_drift_is_seen_and_named(loop: Loop) -> None:
    for seen in loop.drifted:
        assert seen.replayed.versions == {loop.champion}
        assert seen.measure.version == loop.champion
        assert seen.measure.window.rows == seen.replayed.rows
        gust = column(seen.measure, "wind_gust")
        assert gust["drifted"]
        assert gust["reference_missing"] > 0.5 > 0.25 > gust["missing"]
        carriers = column(seen.measure, "carrier")
        assert carriers["drifted"]
        assert {name for name, _ in carriers["new_categories"]} >= NEW
        assert {name for name, _ in carriers["gone_categories"]} >= GONE


def test_features_were_served_as_training_would_have_them(loop: Loop) -> None:
    for seen in [*loop.drifted, *loop.recovered]:
        skew = seen.measure.skew
        assert skew
        assert skew.compared > 0
        assert skew.different == 0, skew.examples


def test_the_labels_of_most_answers_are_found(loop: Loop) -> None:
    for seen in [*loop.drifted, *loop.recovered]:
        assert seen.measure.quality
        assert seen.measure.quality.coverage > 0.9


def test_one_window_starts_nothing_and_the_second_a_training_with_its_reason(loop: Loop) -> None:
    first, second = loop.drifted
    assert (first.facts["state"], first.facts["retrain"]) == ("watching", False)
    assert (second.facts["state"], second.facts["retrain"]) == ("retrain", True)
    platform = loop.platform
    assert {task.state for task in loop.train.tasks} == {"success"}
    records = read_records(platform.store, LIFECYCLE, loop.train.run_id)
    assert {record["stage"] for record in records} >= {"snapshot", "train", "evaluate", "rollout"}
    assert all("wind_gust" in record["because"] for record in records)


def test_the_gate_let_the_new_model_in_because_it_is_no_worse_on_the_same_days(loop: Loop) -> None:
    verdict = loop.platform.api.result(TRAIN, loop.train.run_id, "evaluate")["facts"]
    assert verdict["decision"] == "promote"
    assert verdict["metrics"]["challenger"]["log_loss"] < verdict["metrics"]["champion"]["log_loss"]


def test_the_new_champion_has_recovered(loop: Loop) -> None:
    """It answers the weeks after, and nothing has drifted from what it was judged on."""
    for seen in loop.recovered:
        assert seen.replayed.versions == {seen.measure.version}
        assert seen.measure.version != loop.champion
        assert seen.measure.drift
        assert "wind_gust" not in seen.measure.drift.drifted
        assert "carrier" not in seen.measure.drift.drifted
        assert seen.measure.quality
        assert not seen.measure.quality.worse
        assert seen.facts["state"] == "quiet"


def test_the_ledger_tells_the_whole_story(loop: Loop) -> None:
    ledger = Ledger(loop.platform.store, LIFECYCLE)
    ledger.verify()
    story = list(ledger.entries())[loop.entries_before :]
    assert [entry["action"] for entry in story] == [
        "drift", "retraining", "retrained", "promotion", "recovered",
    ]  # fmt: skip
    drift, retraining, retrained, promotion, recovered = story
    assert drift["version"] == retraining["version"] == loop.champion
    assert retraining["end"] == BEFORE[1].isoformat()
    assert "wind_gust" in retrained["because"]
    assert promotion["version"] == retrained["version"] == recovered["version"]


def test_the_report_shows_it(loop: Loop) -> None:
    platform = loop.platform
    page = platform.store.get(report_key(loop.recovered[-1].measure)).decode().lower()
    for words in ("wind_gust", "carrier", "retraining asked for", "well again"):
        assert words in page, words
