"""One measure: everything that is looked at in a window of one model version, put together.

What cannot be measured is left out and said in a note; only faults of the store or of Windtunnel itself are
raised.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import polars as pl

from windtunnel.errors import DataError, NotFoundError, SpecError
from windtunnel.features.freshness import read_freshness
from windtunnel.monitoring.concept import detect
from windtunnel.monitoring.drift import measure_drift
from windtunnel.monitoring.estimated_quality import estimate_quality
from windtunnel.monitoring.findings import findings_of
from windtunnel.monitoring.labels import DAY, Told, due_day, join_labels, read_told
from windtunnel.monitoring.measures import Answers, Freshness, Labels, Measure, Window
from windtunnel.monitoring.quality import labelled, measure_quality, measure_slices, measure_version
from windtunnel.monitoring.skew import measure_skew
from windtunnel.monitoring.windows import current
from windtunnel.prediction_log import columns
from windtunnel.prediction_log.frames import schema
from windtunnel.prediction_log.keys import SCORES

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date, datetime

    from windtunnel.features.point_in_time import FeatureEnv
    from windtunnel.monitoring.labels import Labelled
    from windtunnel.monitoring.measures import Skew, VersionQuality
    from windtunnel.monitoring.reference import ReferenceProfile
    from windtunnel.monitoring.windows import Asked, Logged

_Found = TypeVar("_Found")
_ASKED = (columns.TIME, columns.EVENT_TIME, columns.KEY)


@dataclass(frozen=True)
class Subject:
    """The version that is measured, with what it is compared with."""

    version: str
    digest: str
    """Of its bundle."""
    manifest: dict[str, Any]
    profile: ReferenceProfile | None
    reference: str | None
    """Digest of the profile."""


@dataclass(frozen=True)
class _Seen:
    """Rows of the subject: of the window, and with what is known of their labels."""

    rows: pl.DataFrame
    told: Labelled
    """Of all that was read, the window and the time before it whose labels came meanwhile."""
    recent: Labelled
    """Of the window's length, up to the newest row that has a label."""
    versions: tuple[VersionQuality, ...]
    complete: date | None


def measure(
    env: FeatureEnv,
    subject: Subject,
    window: Asked,
    logged: Logged,
    before: dict[str, Any] | None,
    run_id: str,
    now: datetime,
) -> Measure:
    """What the log and all beside it say; `before` is the detector's state after the run before this one."""
    notes: list[str] = []
    spec = env.lifecycle.spec
    seen = _look(env, subject, window, logged, notes)
    enough = seen.rows.height >= spec.monitoring.min_rows
    whole = Measure(
        lifecycle=env.lifecycle.name,
        version=subject.version,
        bundle=subject.digest,
        run_id=run_id,
        made=now,
        window=_window(seen.rows, window, _share(window, logged, env), enough),
        reference=subject.reference,
        answers=_answers(seen.rows, len(subject.manifest["features"])),
        labels=_labels(seen, env, now),
        skew=_skew(env, subject, window, seen.rows, notes),
        versions=seen.versions,
        freshness=_freshness(env, now),
        continues=window.continues,
    )
    if subject.profile is None:
        notes.append(
            "the version has no reference profile: it is compared with nothing until a model is trained anew"
        )
    else:
        state = before if window.continues else None
        whole = _compared(env, subject.profile, whole, seen, state, window, notes)
    return replace(whole, findings=findings_of(whole, spec.monitoring, tuple(notes)))


def _compared(
    env: FeatureEnv,
    profile: ReferenceProfile,
    whole: Measure,
    seen: _Seen,
    before: dict[str, Any] | None,
    window: Asked,
    notes: list[str],
) -> Measure:
    """With all that is measured against the reference profile."""
    spec = env.lifecycle.spec
    drift = None
    if whole.window.enough:
        drift = _unless_broken(
            lambda: measure_drift(seen.rows, seen.recent.rows, profile, spec, env.directory), "drift", notes
        )
    concept = detect(
        seen.told.rows, profile, spec, before, complete=seen.complete if window.continues else None
    )
    return replace(
        whole,
        drift=drift,
        quality=measure_quality(seen.recent, profile, spec),
        estimated=estimate_quality(seen.rows, profile, spec),
        concept=concept,
        slices=measure_slices(seen.recent, profile, spec),
    )


def _look(env: FeatureEnv, subject: Subject, window: Asked, logged: Logged, notes: list[str]) -> _Seen:
    mine = logged.frames.get(subject.digest)
    if mine is None:
        mine = _no_rows(subject.manifest)
    others = {name: rows for name, rows in logged.frames.items() if name != subject.digest}
    asked = pl.concat([rows.select(_ASKED) for rows in (mine, *others.values())])
    told = _unless_broken(lambda: read_told(env, asked), "labels", notes) or Told(None, None)
    joined = join_labels(env, mine, told)
    if mine.height and not joined.matched:
        notes.append(_why_unmatched(env, told))
    within = _recent(joined.rows, window)
    versions = []
    if subject.profile is not None:
        for rows in (joined.rows, *(join_labels(env, rows, told).rows for rows in others.values())):
            part = rows.filter(within)
            if part.height:
                version = str(part[columns.VERSION][-1])
                versions.append(
                    measure_version(version, labelled(part), part.height, subject.profile, env.lifecycle.spec)
                )
    recent = replace(joined, rows=joined.rows.filter(within))
    return _Seen(current(mine, window), joined, recent, tuple(versions), told.complete)


def _why_unmatched(env: FeatureEnv, told: Told) -> str:
    label = env.lifecycle.spec.label
    if told.rows is None:
        return "there is no partition yet of the days that the predictions are about: none has a label"
    if label.key:
        return f"no request had a key that stands in {label.key!r} of {label.rows}: none has a label"
    return (
        f"no prediction was asked what {label.rows} asks: send the same event_timestamp and request "
        "features, or name label.key"
    )


def _recent(rows: pl.DataFrame, window: Asked) -> pl.Expr:
    """Rows of the window itself where it was asked for; else of as long a one that ends with the newest
    label, for all versions alike.
    """
    time, known = pl.col(columns.TIME), labelled(rows)
    if window.labels_start == window.start or known.is_empty():
        return time >= window.start
    newest: Any = known[columns.TIME].max()
    return time.is_between(newest - (window.end - window.start), newest, closed="right")


def _no_rows(manifest: dict[str, Any]) -> pl.DataFrame:
    keys = {
        key["name"]: key["type"]
        for view in manifest.get("online", {}).get("views", ())
        for key in view["join_keys"]
    }
    return pl.DataFrame(schema=schema([feature["name"] for feature in manifest["features"]], keys)).drop(
        columns.WRITER
    )


def _window(rows: pl.DataFrame, window: Asked, sampled: float, enough: bool) -> Window:
    events = rows[columns.EVENT_TIME].drop_nulls()
    first: Any = events.min() if len(events) else None
    last: Any = events.max() if len(events) else None
    return Window(
        start=window.start,
        end=window.end,
        rows=rows.height,
        sampled=sampled,
        enough=enough,
        folder=window.folder,
        event_start=first,
        event_end=last,
    )


def _share(window: Asked, logged: Logged, env: FeatureEnv) -> float:
    """Of the predictions that were made: those in the log, times those of it that were kept."""
    return (
        logged.share if window.folder == SCORES else logged.share * env.lifecycle.spec.prediction_log.sample
    )


def _answers(rows: pl.DataFrame, features: int) -> Answers:
    latency = rows[columns.LATENCY_SECONDS].drop_nulls()
    stale = rows[columns.STALE].drop_nulls()
    counts = rows[columns.ROLE].value_counts().sort(columns.ROLE)
    return Answers(
        roles=dict(counts.iter_rows()),
        missing_share=float(rows[columns.MISSING].sum()) / max(1, rows.height * features),
        stale_share=float(stale.cast(pl.Float64).to_numpy().mean()) if len(stale) else None,
        latency_p50_seconds=_quantile(latency, 0.5),
        latency_p99_seconds=_quantile(latency, 0.99),
    )


def _labels(seen: _Seen, env: FeatureEnv, now: datetime) -> Labels:
    due = seen.told.rows.filter(pl.col(DAY) <= due_day(env.lifecycle.spec, now))
    late = due if seen.complete is None else due.filter(pl.col(DAY) > seen.complete)
    return Labels(
        complete=str(seen.complete) if seen.complete else None,
        due=due.height,
        missing=due.height - labelled(due).height,
        late=late.height,
    )


def _quantile(values: pl.Series, at: float) -> float | None:
    found = values.quantile(at, "linear") if len(values) else None
    return None if found is None else float(found)


def _skew(
    env: FeatureEnv, subject: Subject, window: Asked, rows: pl.DataFrame, notes: list[str]
) -> Skew | None:
    """Batch predictions are made from the offline store itself."""
    most = env.lifecycle.spec.monitoring.skew_rows
    if window.folder == SCORES or not most or rows.is_empty():
        return None
    manifest = subject.manifest
    sources = {feature["name"]: feature["source"] for feature in manifest["features"]}
    stored = [of for view in manifest.get("online", {}).get("views", ()) for of in view["features"]]
    defaults = {of["name"]: float(of["default"]) for of in stored if "default" in of}
    return _unless_broken(lambda: measure_skew(env, rows, sources, defaults, most), "skew", notes)


def _freshness(env: FeatureEnv, now: datetime) -> dict[str, Freshness]:
    known = read_freshness(env.store, env.lifecycle.name)
    return {
        view: Freshness(
            known[view].age_seconds(now), known[view].objective_seconds, known[view].is_stale(now)
        )
        for view in env.lifecycle.spec.features.views
        if view in known
    }


def _unless_broken(act: Callable[[], _Found], what: str, notes: list[str]) -> _Found | None:
    """Data or code of the lifecycle that cannot be used costs one part of the measure, not all of it."""
    try:
        return act()
    except (DataError, SpecError, NotFoundError) as error:
        notes.append(f"{what} could not be measured: {error}")
        return None
