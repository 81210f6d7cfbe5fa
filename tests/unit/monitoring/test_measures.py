"""Measures: written once, read back as they were, in the order of their windows."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from windtunnel.errors import IntegrityError
from windtunnel.monitoring.measures import (
    Answers,
    Concept,
    Drift,
    Estimated,
    Finding,
    Freshness,
    Measure,
    Policy,
    Quality,
    Skew,
    SliceQuality,
    VersionQuality,
    Window,
    measures_folder,
    read_measures,
    read_measures_apart,
    report_key,
    write_measure,
)  # fmt: skip

if TYPE_CHECKING:
    from windtunnel.objects import ObjectStore

END = datetime(2026, 3, 2, tzinfo=UTC)
WHOLE = Measure(
    lifecycle="shop",
    version="3",
    bundle="sha256:00",
    run_id="scheduled__2026-03-02T00:00:00+00:00",
    made=END + timedelta(minutes=5),
    window=Window(END - timedelta(days=1), END, 4000, 0.5, True, END - timedelta(days=2), END),
    reference="sha256:11",
    answers=Answers({"champion": 3900, "fallback": 100}, 0.01, None, 0.002, 0.02),
    drift=Drift(
        columns=({"column": "spend", "drifted": True},),
        prediction={"column": "prediction", "drifted": False},
        label=None,
        drifted=("spend",),
    ),
    quality=Quality(
        labelled=3000, coverage=0.75, metric="log_loss", loss=0.7, reference_loss=0.6, difference=0.1,
        interval=(0.05, 0.15), worse=True, metrics={"auc": 0.7, "calibration_slope": None}, duplicates=2,
        calibration=({"rows": 300.0, "predicted": 0.1, "observed": 0.2},),
    ),
    estimated=Estimated("log_loss", 0.65, (0.6, 0.7), 0.6, False, 4000),
    concept=Concept(True, END - timedelta(hours=3), 3000, 0.001),
    skew=Skew(200, 400, 1, 0.0025, ({"feature": "spend", "served": 1.0, "offline": None},), {"spend": 1}),
    slices=(SliceQuality("region", "north", 2000, 1500, 0.7, 0.6, (0.01, 0.2), True),),
    versions=(VersionQuality("3", 4000, 3000, 0.7, (0.6, 0.8)),),
    freshness={"customer": Freshness(3600.0, 7200.0, False)},
    findings=(Finding("drift", "warning", "spend moved up"),),
    policy=Policy("watching", 1, False, "one window is not enough", END + timedelta(days=1), 0),
)  # fmt: skip


def test_a_measure_is_read_back_as_it_was_written(store: ObjectStore) -> None:
    key = write_measure(store, WHOLE)
    assert key == "shop/measures/2026-03-02T000000Z-3-scheduled__2026-03-02T00:00:00+00:00.json"
    assert report_key(WHOLE) == key.replace(".json", ".html")
    assert read_measures(store, "shop") == [WHOLE]
    assert json.loads(store.get(key))["kind"] == "Measure"


def test_what_is_not_finite_becomes_null(store: ObjectStore) -> None:
    assert WHOLE.estimated
    measure = replace(WHOLE, skew=None, drift=Drift(({"psi": math.inf},), None, None, ()))
    write_measure(store, measure)
    (read,) = read_measures(store, "shop")
    assert read.drift
    assert read.drift.columns == ({"psi": None},)
    assert read.skew is None


def test_the_first_word_of_a_run_stands(store: ObjectStore) -> None:
    write_measure(store, WHOLE)
    write_measure(store, replace(WHOLE, made=WHOLE.made + timedelta(hours=1)))
    assert read_measures(store, "shop") == [WHOLE]


def test_the_newest_windows_are_read_oldest_first_whenever_they_were_measured(store: ObjectStore) -> None:
    for days in (2, 0, 1):
        end = END + timedelta(days=days)
        write_measure(store, replace(WHOLE, window=replace(WHOLE.window, end=end)))
        store.put(f"{measures_folder('shop')}/{end:%Y}.html", b"a report is no measure")
    ends = [measure.window.end for measure in read_measures(store, "shop", limit=2)]
    assert ends == [END + timedelta(days=1), END + timedelta(days=2)]
    assert len(read_measures(store, "shop")) == 3
    assert read_measures(store, "other") == []


def test_of_one_series_moments_that_lie_apart_are_read_and_the_newest_of_the_others(
    store: ObjectStore,
) -> None:
    def put(hours: float, **changes: Any) -> Measure:
        end = END + timedelta(hours=hours)
        measure = replace(WHOLE, window=replace(WHOLE.window, end=end), run_id=f"after-{hours}", **changes)
        write_measure(store, measure)
        return measure

    hourly = [put(hours) for hours in range(-24, 0)]
    by_hand = [put(hours - 0.1, continues=False) for hours in range(-24, 0)]
    put(-1, version="4")
    found = read_measures_apart(store, "shop", "3", "predictions", END, timedelta(hours=12), 2)
    assert found == [hourly[0], hourly[12], by_hand[-1], hourly[-1]]


def test_the_name_tells_windows_that_somebody_asked_for(store: ObjectStore) -> None:
    assert write_measure(store, replace(WHOLE, continues=False)).endswith("+00:00.predictions_asked.json")


def test_a_measure_of_another_release_is_read_as_far_as_it_is_known() -> None:
    told = WHOLE.to_json() | {"invented_later": 1}
    told["window"] |= {"also_later": 2}
    del told["versions"], told["policy"]
    assert Measure.from_json(told) == replace(WHOLE, versions=(), policy=None)


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"kind": "Measure"}', b'{"window": 3}'])
def test_a_file_that_is_no_measure_is_named(store: ObjectStore, content: bytes) -> None:
    store.put("shop/measures/broken.json", content)
    with pytest.raises(IntegrityError, match=r"broken\.json"):
        read_measures(store, "shop")


def test_reading_measures_loads_nothing_heavy() -> None:
    """The exporter and the command line pay for what this module imports."""
    code = "import sys, windtunnel.monitoring.measures; print({'numpy', 'polars'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
