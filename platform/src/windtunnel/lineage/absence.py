"""Why an id is not in the log: as much of it as can be told from the id and from what lies in the store."""

from __future__ import annotations

import difflib
from datetime import UTC, timedelta
from typing import TYPE_CHECKING

from windtunnel.errors import NotFoundError, RequestError
from windtunnel.prediction_log.keys import PREDICTIONS, SCORES, hour_folder
from windtunnel.prediction_log.sampling import EVERY

if TYPE_CHECKING:
    from datetime import datetime

    from windtunnel.errors import PermanentError
    from windtunnel.objects import ObjectStore
    from windtunnel.prediction_log.ids import PredictionId

_FRESH = timedelta(minutes=3)
"""Younger predictions may still be on their way into the log."""
_CLOCKS = timedelta(minutes=5)


def check_moment(prediction: PredictionId, now: datetime) -> None:
    """Raises RequestError for an id of the future."""
    if prediction.time > now + _CLOCKS:
        raise RequestError(
            f"the id says that the prediction was made at {_shown(prediction.time)}, which is still to come",
            where=prediction.text,
            fix="the first 12 digits of an id are its time: is one of them mistyped?",
        )


def check_lifecycle(store: ObjectStore, name: str) -> None:
    """Raises NotFoundError when nothing of that lifecycle is in the store, with the nearest that is."""
    known = store.folders()
    if name in known:
        return
    near = difflib.get_close_matches(name, known, n=1)
    fix = f"did you mean {near[0]!r}?" if near else f"it holds {', '.join(known) or 'nothing'}"
    if not known:
        fix = "it is empty: name the store by --store, or the home of local runs by --home"
    raise NotFoundError(f"there is nothing of a lifecycle {name!r}", where=store.url, fix=fix)


def why_absent(
    store: ObjectStore, prediction: PredictionId, lifecycle: str | None, now: datetime
) -> PermanentError:
    """What to say of an id that the log does not hold. Raises StoreError."""
    names = [lifecycle] if lifecycle else store.folders()
    logs = [name for name in names if {PREDICTIONS, SCORES} & set(store.folders(name))]
    who = lifecycle or "any lifecycle"
    if not logs:
        return NotFoundError(
            f"there is no prediction log of {who}",
            where=store.url,
            fix="is this the store that serving writes to? --store names another",
        )
    files = sum(len(store.list(hour_folder(name, prediction.time))) for name in logs)
    files += sum(len(store.list(hour_folder(name, prediction.time, SCORES))) for name in logs)
    hour = f"{prediction.hour:%Y-%m-%d %H}:00 to {prediction.hour + timedelta(hours=1):%H}:00 UTC"
    if now - prediction.time < _FRESH:
        seconds = max(0.0, (now - prediction.time).total_seconds())
        return NotFoundError(
            f"the prediction was made {seconds:.0f} s ago and is not in the log yet",
            where=prediction.text,
            fix="serving writes the log about once a minute: ask again then. " + _sampling(prediction),
        )
    if not files:
        return NotFoundError(
            f"the log of {who} has no files of its hour, {hour}",
            where=store.url,
            fix=f"{_extent(store, logs)}: what is older was swept; else predictionLog.sample was 0 then, or "
            "the store is another one (--store)",
        )
    return NotFoundError(
        f"it is in none of the {files} files that the log of {who} has of its hour, {hour}",
        where=prediction.text,
        fix=f"{_sampling(prediction)} If it should be there, see the metric "
        "windtunnel_serving_log_drops_total of that hour, or whether the id is mistyped",
    )


def _sampling(prediction: PredictionId) -> str:
    """Whether an id is logged follows from its last digits."""
    share = int(prediction.text[-8:], 16) / EVERY
    return f"With predictionLog.sample at {share:.6f} or less it was left out by sampling."


def _extent(store: ObjectStore, logs: list[str]) -> str:
    """The first and the last day that there is; a directory keeps the folders of those that were swept."""
    folders = sorted(
        (day, f"{name}/{folder}/{day}")
        for name in logs
        for folder in (PREDICTIONS, SCORES)
        for day in store.folders(f"{name}/{folder}")
    )
    first = next((day for day, folder in folders if any(store.each(folder))), None)
    if first is None:
        return "the log is empty"
    last = next(day for day, folder in reversed(folders) if any(store.each(folder)))
    return f"the log has {first} alone" if first == last else f"the log has {first} to {last}"


def _shown(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
