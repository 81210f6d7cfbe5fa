"""Measures of made-up days: quiet, or drifted in carrier, destination and gusts, with a worse model."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

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
)

LIFECYCLE = "flight_delay"
START = datetime(2023, 1, 2, tzinfo=UTC)
NUMBERS = (
    "dep_hour",
    "distance",
    "temp",
    "wind_speed",
    "wind_gust",
    "precip",
    "visib",
    "route_late_14d",
    "carrier_late_14d",
    "origin_late_1d",
)
CATEGORIES = ("carrier", "origin", "dest")


def measure_of(day: int, *, drifted: bool, version: tuple[str, str], rows: int = 2400) -> Measure:
    """The window of a day."""
    chance = random.Random(day)
    end = START + timedelta(days=day + 1)
    reference = 0.431 if version[0] == "8" else 0.452
    loss = reference + (0.045 if drifted else 0.0) + chance.gauss(0.0, 0.006)
    half = 0.014
    columns = [_column(name, drifted, chance) for name in (*CATEGORIES, *NUMBERS)]
    columns.sort(key=lambda one: -one["effect"])
    names = tuple(one["column"] for one in columns if one["drifted"]) + (("prediction",) if drifted else ())
    difference = loss - reference
    worse = difference - half > 0
    findings = [
        *(
            [Finding("quality", "critical", "log_loss is 0.045 worse than at the evaluation")]
            if worse
            else []
        ),
        *(
            [Finding("drift", "warning", f"{len(names)} columns drifted: {', '.join(names)}")]
            if names
            else []
        ),
        Finding("freshness", "info", "the view weather has no objective"),
    ]
    return Measure(
        lifecycle=LIFECYCLE,
        version=version[0],
        bundle=version[1],
        run_id=f"scheduled__{end:%Y-%m-%dT%H:%M:%S}+00:00",
        made=end + timedelta(minutes=5),
        window=Window(end - timedelta(days=1), end, rows, 1.0, True, end - timedelta(days=1), end),
        reference="sha256:" + "ab" * 32,
        answers=Answers({"champion": rows - 40, "challenger": 40}, 0.021, 0.004, 0.0006, 0.0021),
        drift=Drift(
            tuple(columns),
            _column("prediction", drifted, chance, shift=0.11),
            _column("label", False, chance) if day % 2 else None,
            names,
        ),
        quality=Quality(
            labelled=int(rows * 0.93),
            coverage=0.93,
            metric="log_loss",
            loss=loss,
            reference_loss=reference,
            difference=difference,
            interval=(difference - half, difference + half),
            worse=worse,
            metrics={"auc": 0.71, "brier": 0.143},
            calibration=tuple(
                {
                    "rows": 223,
                    "predicted": 0.04 + 0.07 * b,
                    "observed": 0.05 + (0.05 if drifted else 0.068) * b,
                }
                for b in range(10)
            ),
        ),
        estimated=Estimated(
            "log_loss", loss + chance.gauss(0, 0.004), (loss - 0.011, loss + 0.011), reference, False, rows
        ),
        concept=Concept(drifted, end if drifted else None, 40_000, 0.0001 if drifted else 0.6),
        skew=Skew(
            200,
            1800,
            3,
            3 / 1800,
            (
                {
                    "prediction_id": "019abf3c-4e2a-7c1d-8a55-0e4b6f1d2c3b",
                    "row": 0,
                    "feature": "wind_gust",
                    "served": 12.4,
                    "offline": None,
                },
            ),
            {"wind_gust": 2, "temp": 1},
        ),
        slices=tuple(
            SliceQuality(
                "origin",
                value,
                800,
                740,
                reference + gap,
                reference,
                (gap - width, gap + width),
                gap - width > 0,
            )
            for value, gap, width in (
                ("EWR", 0.052 if drifted else 0.004, 0.02),
                ("JFK", 0.01, 0.022),
                ("LGA", -0.014, 0.024),
            )
        )
        + tuple(
            SliceQuality(
                "carrier",
                value,
                size,
                size - 9,
                reference + gap,
                reference,
                (gap - width, gap + width),
                gap - width > 0,
            )
            for value, size, gap, width in (
                ("UA", 600, 0.03, 0.025),
                ("B6", 500, -0.03, 0.021),
                ("DL", 450, 0.011, 0.026),
                ("NK", 90, 0.081, 0.06),
            )
        )
        + (SliceQuality("carrier", "F9", 12, 11, None, None, None, False),),
        versions=(
            VersionQuality("6", rows - 40, 2200, loss, (loss - half, loss + half)),
            VersionQuality("8", 40, 37, loss - 0.03, (loss - 0.09, loss + 0.03)),
        ),
        freshness={"route": Freshness(9_800, 93_600, False), "weather": Freshness(190_000, 93_600, drifted)},
        findings=tuple(findings),
        policy=Policy(
            state="watching" if drifted else "quiet",
            streak=int(drifted),
            retrain=False,
            reason="1 of 2 windows in a row speak for a retraining" if drifted else "",
            next_allowed=None,
            used_this_week=1 if drifted else 0,
        ),
    )


def renamed(measure: Measure, name: str) -> Measure:
    """The measure with a name of somebody else's choosing wherever one may stand (not in its key)."""
    assert measure.drift is not None
    return replace(
        measure,
        drift=replace(
            measure.drift,
            columns=tuple(
                {**one, "column": name + one["column"], "reasons": [name]} for one in measure.drift.columns
            ),
            drifted=(name,),
        ),
        slices=tuple(replace(one, column=name, value=name) for one in measure.slices),
        freshness={name: Freshness(1.0, 2.0, False)},
        findings=(Finding("drift", "warning", name),),
        answers=replace(measure.answers, roles={name: 3}),
        skew=Skew(
            1,
            1,
            1,
            1.0,
            ({"prediction_id": name, "feature": name, "served": name, "offline": name},),
            {name: 1},
        ),
    )


def _column(name: str, drifted: bool, chance: random.Random, shift: float | None = None) -> dict[str, Any]:
    strength = {"carrier": 0.44, "dest": 0.27, "wind_gust": 0.18}.get(name, 0.0) if shift is None else shift
    bad = drifted and strength > 0
    effect = (strength if bad else 0.0) + abs(chance.gauss(0.0, 0.015))
    category = name in CATEGORIES
    bins = 6 if category else 12
    before = [math.exp(-((b - bins / 3) ** 2) / bins) for b in range(bins)]
    after = [math.exp(-((b - bins / 3 - (bins * effect)) ** 2) / bins) for b in range(bins)]
    labels = ["UA", "B6", "EV", "DL", "AA", "other"] if category else [f"{3 * b}" for b in range(bins)]
    return {
        "column": name,
        "kind": "category" if category else "number",
        "rows": 2400,
        "psi": effect * 0.8,
        "jensen_shannon": effect * 0.5,
        "ks": None if category else effect * 0.6,
        "wasserstein": None if category else effect * 1.4,
        "missing": 0.012,
        "reference_missing": 0.009,
        "out_of_range": 0.0,
        "new_categories": [["G4", 0.03]] if category and bad else [],
        "gone_categories": [],
        "p_value": 1e-9 if bad else 0.4,
        "adjusted_p_value": 2e-8 if bad else 0.8,
        "effect": effect,
        "drifted": bad,
        "reasons": ["G4 is new (3.0 % of the rows)", "EV is gone (was 16 %)"]
        if bad and category
        else ["the mean rose by 0.4 standard deviations"]
        if bad
        else [],
        "histogram": {
            "labels": labels,
            "reference": [b / sum(before) for b in before],
            "current": [a / sum(after) for a in after],
        },
    }
