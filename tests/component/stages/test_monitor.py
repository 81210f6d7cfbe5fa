"""monitor: traffic of some days, its labels and features, measured beside what the model was judged on."""

from __future__ import annotations

import io
import json
import sys
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from windtunnel.digests import digest
from windtunnel.errors import IntegrityError, NotFoundError, RequestError
from windtunnel.features.daily import feature_rows_of, partitions_of
from windtunnel.features.freshness import ViewFreshness, write_freshness
from windtunnel.monitoring.measures import Labels, read_measure, read_measures, report_key
from windtunnel.monitoring.reference import read_profile
from windtunnel.prediction_log.frames import schema
from windtunnel.prediction_log.ids import derived_id
from windtunnel.prediction_log.keys import object_key
from windtunnel.registry.bundle import profile_key, read_bundle
from windtunnel.registry.snapshots import to_inputs
from windtunnel.stages.base import StageRequest, execute

from .conftest import NAMES, Shop

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from windtunnel.monitoring.measures import Measure
    from windtunnel.stages.base import StageResult

    Change = Callable[[pl.DataFrame], pl.DataFrame]

ROWS = 900
"""Orders of a day."""
MONITORING = "  monitoring: {minRows: 300, skewRows: 40}\n"
ENTITY_ROWS = """
def entity_rows(partitions, day):
    import polars as pl
    orders = partitions["orders"]
    known = orders["known"].max() if orders.height else None
    label = pl.when(pl.lit(known) > day).then(pl.col("bought"))
    return orders.filter(pl.col("known") == day).select(
        "customer", "event_timestamp", "region", "hour", label.alias("bought")
    )
"""


class Town(Shop):
    """A shop with a champion, whose requests, feature rows and orders are invented day by day."""

    def open(self, change: Change = lambda frame: frame) -> None:
        features = self.directory / "features.py"
        features.write_text(
            features.read_text().replace("def entity_rows(partitions, day): ...", ENTITY_ROWS)
        )
        spec = self.directory / "lifecycle.yaml"
        spec.write_text(spec.read_text() + MONITORING)
        snapshot = self.snapshot(change=lambda frame: change(_over_two_weeks(frame)))
        trained = self.train(snapshot)
        judged = self.evaluate(snapshot, trained)
        self.rollout(trained, judged)
        self.champion = trained.outputs["bundle"]

    def live(
        self,
        day: date,
        change: Change = lambda frame: frame,
        *,
        served: Change = lambda frame: frame,
        rule: Callable[[pl.DataFrame], np.ndarray[Any, Any]] | None = None,
        rows: int = ROWS,
        role: str = "champion",
        version: str = "1",
    ) -> None:
        """A day's requests in the log, its feature rows, and its orders (labels come a day later).

        `change` is what the day is like, `served` what serving made of the features; `rule` gives the chance
        that an order is a purchase, instead of what it was when the model was trained.
        """
        frame = change(self._rows(np.random.default_rng(day.toordinal()), ROWS)).with_columns(
            pl.Series("customer", [f"c{number}" for number in range(ROWS)]),
            pl.Series(
                "event_timestamp",
                [_midnight(day) + timedelta(seconds=60 * 60 * 6 + number) for number in range(ROWS)],
                dtype=pl.Datetime("us", "UTC"),
            ),
            known=pl.lit(day),
        )
        if rule is not None:
            chances = np.random.default_rng((day.toordinal(), 1)).random(ROWS)
            frame = frame.with_columns(bought=(chances < rule(frame)).astype(float))
        self._write_day(day, frame)
        self._log(day, served(frame.head(rows)), role, version)

    def _write_day(self, day: date, frame: pl.DataFrame) -> None:
        orders = frame.select("customer", "event_timestamp", "region", "hour", "bought", "known")
        partitions_of(self.store, "shop", "orders").write(day, orders, "test")
        known = pl.lit(_midnight(day)).cast(pl.Datetime("us", "UTC"))
        features = frame.select("customer", "spend", "visits", event_timestamp=known, created=known)
        feature_rows_of(self.store, "shop", "customer").write(day, features, "test")

    def _log(self, day: date, frame: pl.DataFrame, role: str, version: str) -> None:
        bundle = read_bundle(self.store, self.champion.uri, self.champion.digest)
        inputs = to_inputs(frame, NAMES, {})
        moments = frame["event_timestamp"]
        logged = pl.DataFrame(
            {
                "prediction_id": [
                    derived_id(moment, f"{role}{number}".encode()) for number, moment in enumerate(moments)
                ],
                "row": [0] * frame.height,
                "time": moments,
                "version": [version] * frame.height,
                "digest": [bundle.digest if version == "1" else f"sha256:{version * 64}"[:71]] * frame.height,
                "role": [role] * frame.height,
                "key": frame["customer"],
                "entities": frame.select("customer").to_struct(),
                "event_time": moments,
                "features": frame.select(NAMES).cast(pl.Float64).to_struct(),
                "missing": np.isnan(inputs).sum(axis=1),
                "stale": [False] * frame.height,
                "prediction": bundle.predict(inputs),
                "latency_seconds": [0.001] * frame.height,
                "writer": ["test"] * frame.height,
            },
        ).cast(dict(schema(NAMES, {"customer": "STRING"})))
        buffer = io.BytesIO()
        logged.write_parquet(buffer)
        hour = int(moments[0].timestamp()) // 3600
        self.store.put(object_key("shop", hour, f"{role}-{version}", 0, bundle.digest), buffer.getvalue())

    def monitor(self, first: date, last: date, run_id: str = "monitor-1", **params: Any) -> StageResult:
        window = {"start": _midnight(first).isoformat(), "end": _midnight(last + timedelta(1)).isoformat()}
        return execute("monitor", StageRequest("shop", "monitor", run_id, params=window | params), self.env())

    def measured(self, result: StageResult) -> Measure:
        return read_measure(self.store, self.store.key(result.outputs["measure"].uri))

    def see(self, first: date, last: date, run_id: str = "monitor-1", **params: Any) -> Measure:
        return self.measured(self.monitor(first, last, run_id, **params))


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _over_two_weeks(frame: pl.DataFrame) -> pl.DataFrame:
    days = [
        datetime(2026, 1, 18, 12, tzinfo=UTC) + timedelta(days=number % 14) for number in range(frame.height)
    ]
    return frame.with_columns(pl.Series("event_timestamp", days, dtype=pl.Datetime("us", "UTC")))


def _chance(frame: pl.DataFrame) -> np.ndarray[Any, Any]:
    """As in conftest: what buying depends on."""
    score = (frame["spend"].fill_null(20.0).to_numpy() - 20) / 10 + (frame["hour"].to_numpy() > 17) - 0.5
    return 1 / (1 + np.exp(-score))


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory, empty_mlflow: Path) -> Town:
    """Tests have days of their own in it."""
    town = Town(tmp_path_factory.mktemp("town"), empty_mlflow)
    town.open()
    return town


def kinds(measure: Measure, severity: str) -> set[str]:
    return {finding.kind for finding in measure.findings if finding.severity == severity}


def texts(measure: Measure) -> str:
    return "\n".join(finding.text for finding in measure.findings)


def test_two_quiet_days_alarm_nobody_and_everything_is_measured(town: Town) -> None:
    for day in (date(2026, 2, 2), date(2026, 2, 3), date(2026, 2, 4)):
        town.live(day)
    result = town.monitor(date(2026, 2, 2), date(2026, 2, 3))
    measure = town.measured(result)
    assert (measure.window.rows, measure.window.enough, measure.window.sampled) == (2 * ROWS, True, 1.0)
    assert measure.answers.roles == {"champion": 2 * ROWS}
    assert measure.answers.missing_share == pytest.approx(0.05 / 3, abs=0.005)
    assert measure.drift
    assert measure.drift.drifted == ()
    assert {one["column"] for one in measure.drift.columns} == {*NAMES, "region", "correlation"}
    assert measure.drift.label
    assert measure.quality
    assert measure.quality.coverage == 1.0
    assert not measure.quality.worse
    assert measure.quality.interval[0] < 0.0 < measure.quality.interval[1]
    assert sum(one["rows"] for one in measure.quality.calibration or ()) == 2 * ROWS
    assert measure.estimated
    assert measure.estimated.value == pytest.approx(measure.quality.loss, abs=0.02)
    assert measure.estimated.interval[0] < measure.quality.loss < measure.estimated.interval[1]
    assert measure.concept
    assert (measure.concept.detected, measure.concept.days) == (False, 2)
    assert {(one.column, one.value) for one in measure.slices} == {("region", "north"), ("region", "south")}
    assert sum(one.labelled for one in measure.slices) == 2 * ROWS
    assert not any(one.worse for one in measure.slices)
    assert measure.skew
    assert (measure.skew.rows, measure.skew.compared, measure.skew.different) == (40, 80, 0)
    assert [(one.version, one.labelled) for one in measure.versions] == [("1", 2 * ROWS)]
    assert kinds(measure, "warning") | kinds(measure, "critical") == set()
    assert measure.policy
    assert (result.facts["state"], result.facts["retrain"]) == ("quiet", False)
    assert b"<html" in town.store.get(report_key(measure))


def test_a_slice_that_has_no_value_in_some_rows_is_as_it_was(tmp_path: Path, empty_mlflow: Path) -> None:
    """Rows without it are rows that found their entity row all the same; of three regions one is null."""

    def nowhere(frame: pl.DataFrame) -> pl.DataFrame:
        third = pl.int_range(pl.len()) % 3 == 0
        return frame.with_columns(region=pl.when(third).then(None).otherwise(pl.col("region")))

    town = Town(tmp_path / "nowhere", empty_mlflow)
    town.open(nowhere)
    for day in (date(2026, 2, 2), date(2026, 2, 3)):
        town.live(day, nowhere)
    measure = town.see(date(2026, 2, 2), date(2026, 2, 2))
    assert measure.drift
    (region,) = (one for one in measure.drift.columns if one["column"] == "region")
    assert (region["drifted"], region["missing"]) == (False, pytest.approx(1 / 3))


def test_customers_who_spend_twice_as_much_are_named_and_the_loss_is_foreseen_without_labels(
    town: Town,
) -> None:
    def richer(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(pl.col("spend") * 2)

    for day in (date(2026, 2, 6), date(2026, 2, 7)):
        town.live(day, richer, rule=_chance)
    measure = town.see(date(2026, 2, 6), date(2026, 2, 6))
    assert measure.drift
    assert "spend" in measure.drift.drifted
    assert not {"visits", "hour", "region"} & set(measure.drift.drifted)
    assert "drift" in kinds(measure, "warning")
    assert measure.drift.columns[0]["column"] == "spend"
    assert measure.quality
    assert measure.estimated
    assert measure.estimated.value == pytest.approx(measure.quality.loss, abs=0.02)
    assert measure.estimated.value < measure.estimated.reference, "rich customers are easy to tell"


def test_buyers_who_change_their_minds_are_concept_drift_with_worse_quality_and_no_drift_of_features(
    town: Town,
) -> None:
    for day in (date(2026, 2, 9), date(2026, 2, 10), date(2026, 2, 11), date(2026, 2, 12)):
        turned = day >= date(2026, 2, 10)
        town.live(day, rule=lambda frame, turned=turned: 1 - _chance(frame) if turned else _chance(frame))
    measure = town.see(date(2026, 2, 9), date(2026, 2, 11))
    assert measure.drift
    assert not {*NAMES, "region", "prediction"} & set(measure.drift.drifted)
    assert measure.quality
    assert measure.quality.worse
    assert measure.quality.difference > 0.2
    assert measure.concept
    assert measure.concept.detected
    assert measure.concept.since == _midnight(date(2026, 2, 10))
    assert measure.concept.direction in ("loss", "more")
    assert "quality" in kinds(measure, "critical")
    assert all(one.worse for one in measure.slices)
    assert measure.policy
    assert measure.policy.streak >= 1


def test_before_labels_have_come_quality_is_estimated_only(town: Town) -> None:
    town.live(date(2026, 2, 14))
    measure = town.see(date(2026, 2, 14), date(2026, 2, 14))
    assert measure.quality is None
    assert measure.concept is None
    assert measure.estimated
    assert measure.drift
    assert measure.drift.label is None


def test_few_rows_are_too_little_to_say_anything_about_drift(town: Town) -> None:
    town.live(date(2026, 2, 16), lambda frame: frame.with_columns(pl.col("spend") * 9), rows=50)
    measure = town.see(date(2026, 2, 16), date(2026, 2, 16))
    assert not measure.window.enough
    assert measure.drift is None
    assert "too little to say" in texts(measure)


def test_features_that_serving_got_otherwise_than_the_offline_store_are_skew(town: Town) -> None:
    def old(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(visits=pl.col("visits") + (pl.int_range(pl.len()) % 2))

    town.live(date(2026, 2, 18), served=old)
    measure = town.see(date(2026, 2, 18), date(2026, 2, 18))
    assert measure.skew
    assert (measure.skew.different, measure.skew.features) == (20, {"visits": 20})
    assert measure.skew.share == 0.25
    example = measure.skew.examples[0]
    assert example["served"] == example["offline"] + 1
    assert "skew" in kinds(measure, "warning")


def test_what_a_challenger_answered_is_told_apart_and_shadows_count_for_nobody(town: Town) -> None:
    town.live(date(2026, 2, 20))
    town.live(date(2026, 2, 20), role="shadow")
    town.live(date(2026, 2, 20), role="challenger", version="2", rows=60)
    town.live(date(2026, 2, 21), rows=40)
    measure = town.see(date(2026, 2, 20), date(2026, 2, 20))
    assert measure.answers.roles == {"champion": ROWS}
    assert [(one.version, one.rows, one.labelled) for one in measure.versions] == [
        ("1", ROWS, ROWS),
        ("2", 60, 60),
    ]
    assert measure.versions[1].interval


def test_a_view_past_its_objective_is_told(town: Town) -> None:
    old = datetime(2026, 2, 1, tzinfo=UTC)
    write_freshness(town.store, "shop", ViewFreshness("customer", old, "2026-02-01", 1, 1, 0.1, 3600.0, old))
    measure = town.see(date(2026, 2, 22), date(2026, 2, 22))
    assert measure.freshness["customer"].stale
    assert "freshness" in kinds(measure, "warning")
    assert "answered nothing" in texts(measure)


def test_windows_in_a_row_count_every_day_once_as_soon_as_its_labels_are_whole(town: Town) -> None:
    today = datetime.now(UTC).date()
    days = [today - timedelta(days=number) for number in range(5, 0, -1)]
    for day in days:
        town.live(day)
    spec = town.directory / "lifecycle.yaml"
    text = spec.read_text()
    spec.write_text(text.replace("{minRows: 300", "{window: 120h, minRows: 300"))
    counted = []
    for number, day in enumerate(days[2:]):
        end = _midnight(day + timedelta(days=1))
        result = town.monitor(day, day, f"daily-{number}", start=None, end=end.isoformat())
        measure = town.measured(result)
        assert measure.continues
        assert measure.window.start == end - timedelta(days=5)
        assert measure.concept
        counted.append((measure.concept.days, measure.concept.rows, measure.concept.state["last"]))  # type: ignore[index]
    spec.write_text(text)
    assert counted == [(3, 3 * ROWS, str(days[2])), (4, ROWS, str(days[3])), (4, 0, str(days[3]))]


def test_labels_that_are_later_than_promised_are_told_and_the_newest_that_came_are_measured(
    tmp_path: Path, empty_mlflow: Path
) -> None:
    """The feed stopped nine days ago: a day's window with three days of lateness would see no label."""
    town = Town(tmp_path / "late", empty_mlflow)
    town.open()
    today = datetime.now(UTC).date()
    days = [today - timedelta(days=number) for number in range(11, 0, -1)]
    for day in days:
        town.live(day)
    for day in days[3:]:
        partition = partitions_of(town.store, "shop", "orders")
        town.store.delete(partition.key(day))
        town.store.delete(partition.key(day).replace(".parquet", ".json"))
    end = _midnight(today).isoformat()
    measure = town.see(days[-1], days[-1], start=None, end=end)
    assert measure.window.rows == ROWS
    assert measure.labels == Labels(str(days[1]), due=9 * ROWS, missing=7 * ROWS, late=7 * ROWS)
    assert f"labels are late: {7 * ROWS:,} predictions ought to have one by now" in texts(measure)
    assert measure.quality
    assert (measure.quality.labelled, measure.quality.coverage) == (ROWS, 1.0)
    assert measure.concept


def test_the_newest_rows_by_count(town: Town) -> None:
    days = [date(2026, 3, 10) + timedelta(days=number) for number in range(2)]
    for day in days:
        town.live(day)
    spec = town.directory / "lifecycle.yaml"
    text = spec.read_text()
    spec.write_text(text.replace("{minRows: 300", "{rows: 1000, minRows: 300"))
    try:
        measure = town.see(days[0], days[1], start=None)
    finally:
        spec.write_text(text)
    assert measure.window.rows == 1000
    assert measure.window.start == _midnight(days[0]) + timedelta(hours=6, seconds=ROWS - 100)


def test_a_run_that_is_tried_again_finds_its_measure(town: Town) -> None:
    first = town.see(date(2026, 2, 2), date(2026, 2, 3), "again")
    second = town.see(date(2026, 2, 2), date(2026, 2, 3), "again")
    assert second == first
    assert len([one for one in read_measures(town.store, "shop") if one.run_id == "again"]) == 1


def test_a_reference_profile_that_is_not_the_verdicts_is_refused(town: Town) -> None:
    key = profile_key("shop", town.champion.digest)
    content = town.store.get(key)
    found = read_profile(town.store, "shop", town.champion.digest)
    assert found
    assert found[1] == digest(content)
    town.store.put(key, content.replace(b'"rows":', b'"rows" :'))
    try:
        with pytest.raises(IntegrityError, match="verdict"):
            town.monitor(date(2026, 2, 2), date(2026, 2, 3))
        town.store.put(key, b"{}")
        with pytest.raises(IntegrityError, match="no reference profile"):
            town.monitor(date(2026, 2, 2), date(2026, 2, 3))
    finally:
        town.store.put(key, content)


def test_a_bundle_that_is_evaluated_again_may_have_another_profile(town: Town) -> None:
    """As a newer release writes it: the verdict that gave the seat names the old one."""
    key = profile_key("shop", town.champion.digest)
    content = town.store.get(key)
    newer = json.dumps(json.loads(content) | {"written": "by a newer release"}).encode()
    town.store.put(key, newer)
    again = town.store.uri("shop/verdicts/again.json").removeprefix(town.store.url + "/")
    verdict = {"kind": "Verdict", "challenger": {"digest": town.champion.digest}, "profile": digest(newer)}
    town.store.put(again, json.dumps(verdict).encode())
    try:
        assert town.see(date(2026, 2, 2), date(2026, 2, 3), "evaluated-again").reference == digest(newer)
    finally:
        town.store.put(key, content)
        town.store.delete(again)


def test_right_after_a_promotion_only_the_version_before_has_answered(town: Town) -> None:
    town.live(date(2026, 2, 24), role="challenger", version="2")
    measure = town.see(date(2026, 2, 24), date(2026, 2, 24))
    assert measure.window.rows == 0
    assert [(one.version, one.rows) for one in measure.versions] == [("2", ROWS)]
    assert "answered nothing" in texts(measure)


def test_a_version_without_a_reference_profile_is_still_looked_at(town: Town) -> None:
    key = profile_key("shop", town.champion.digest)
    content = town.store.get(key)
    town.store.delete(key)
    try:
        measure = town.see(date(2026, 2, 2), date(2026, 2, 3), "bare")
    finally:
        town.store.put(key, content)
    assert (measure.drift, measure.quality, measure.estimated) == (None, None, None)
    assert measure.window.rows == 2 * ROWS
    assert measure.skew
    assert "no reference profile" in texts(measure)


def test_labels_that_cannot_be_made_cost_only_what_needs_them(town: Town) -> None:
    features = town.directory / "features.py"
    text = features.read_text()
    features.write_text(text.replace('"region", "hour", label', '"hour", label'))
    sys.modules.pop("features")  # a stage has a process of its own
    try:
        measure = town.see(date(2026, 2, 2), date(2026, 2, 3), "unlabelled")
    finally:
        features.write_text(text)
        sys.modules.pop("features")
    assert measure.quality is None
    assert measure.drift
    assert "labels could not be measured" in texts(measure)


def test_a_window_that_ends_before_it_begins_is_refused(town: Town) -> None:
    with pytest.raises(RequestError, match="before it begins"):
        town.monitor(date(2026, 2, 3), date(2026, 2, 1))


def test_without_a_champion_there_is_nothing_to_look_at(shop: Shop) -> None:
    result = shop.execute("monitor")
    assert result.outputs == {}
    assert (result.facts["state"], result.facts["retrain"]) == ("quiet", False)


def test_a_version_that_there_is_not_is_refused(town: Town) -> None:
    with pytest.raises(NotFoundError, match="no version 7"):
        town.monitor(date(2026, 2, 2), date(2026, 2, 3), "other", version="7")
