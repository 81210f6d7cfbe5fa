"""What a person may ask of a run: its params, and what a task makes of them."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from airflow.sdk import Param

from windtunnel.airflow.window import Window, event_window, interval_window, moments, run_window
from windtunnel.errors import RequestError
from windtunnel.spec.stages import STAGES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.sdk import Context

_START = (
    "First day, as in 2013-01-01; past days are a backfill. Empty: the day of `end`, or the first day of the "
    "schedule's interval."
)
_END = "Last day, as in 2013-01-31. Empty: {default}"
_END_DEFAULTS = {
    "features": "the last day of the schedule's interval; in a run by hand, yesterday.",
    "train": "the last day that the features were materialized for; in a run by hand, yesterday.",
    "score": "yesterday.",
}
_FORCE = "Do every stage again, even where its result is known already."
_VERSION = "Model version to score with. Empty: the champion."
_MOMENTS = {
    "start": "From when on predictions are looked at. Empty: as far back as monitoring.window or "
    "monitoring.rows of lifecycle.yaml say.",
    "end": "Until when. Empty: until the run starts.",
}
_MONITORED = "Model version to look at. Empty: the champion. Only the champion's drift starts a training."
_FOLDER = "Which log: `predictions` that were answered, or `scores` of batch scoring. Empty: predictions."
_DRY_RUN = "Only say what would go; nothing is deleted."
_REASON = "Why this training, for the records, MLflow and the ledger. Drift gives its own."
_FROM_STAGE = "Do this stage and all after it again; the ones before it come from the cache where they can."

LONGEST_REASON = 500
"""Characters; a ServedModel's history takes twice as many, with the verdict's reasons behind it."""


def dag_stages(dag: str) -> tuple[str, ...]:
    """The stages of a DAG (`features`, `train`, `score`, `monitor`), in order."""
    return tuple(stage.name for stage in STAGES.values() if stage.dag == dag)


def params_of(dag: str) -> dict[str, Param]:
    """The params of a DAG; Airflow refuses a run whose values do not fit."""
    if dag == "retain":
        return {"dry_run": Param(False, type="boolean", description=_DRY_RUN)}
    if dag == "monitor":
        names = {name: _moment_param(description) for name, description in _MOMENTS.items()}
        folders = Param(
            None, type=["null", "string"], enum=[None, "predictions", "scores"], description=_FOLDER
        )
        return {**names, "version": _version_param(_MONITORED), "folder": folders}
    params = {
        "start": _day_param(_START),
        "end": _day_param(_END.format(default=_END_DEFAULTS[dag])),
        "force": Param(False, type="boolean", description=_FORCE),
        "from_stage": Param(
            None, type=["null", "string"], enum=[None, *dag_stages(dag)], description=_FROM_STAGE
        ),
    }
    if dag == "train":
        # Its first day follows from the last one and training.windowDays.
        del params["start"]
        params["reason"] = Param(
            None, type=["null", "string"], minLength=1, maxLength=LONGEST_REASON, description=_REASON
        )
    if dag == "score":
        params["version"] = _version_param(_VERSION)
    return params


def _version_param(description: str) -> Param:
    return Param(
        None, type=["null", "string"], minLength=1, maxLength=63, examples=["7"], description=description
    )


def _moment_param(description: str) -> Param:
    return Param(
        None,
        type=["null", "string"],
        format="date-time",
        examples=["2013-01-31T12:00:00Z"],
        description=description,
    )


def _day_param(description: str) -> Param:
    return Param(
        None, type=["null", "string"], format="date", examples=["2013-01-31"], description=description
    )


def check_known(dag: str, conf: Mapping[str, Any] | None) -> None:
    """Raises RequestError for a param that there is not.

    Airflow takes unknown ones in silence; a misspelled one must not mean "the default".
    """
    known = params_of(dag)
    for name in conf or {}:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise RequestError(
                f"there is no param {name!r}",
                where="params of the run",
                fix=f"{hint}it takes {', '.join(known)}",
            )


def window_of(context: Context) -> Window:
    """The days that this run is about: its params, else the newest triggering asset event, else its schedule.

    The same in every task and every retry of a run. Raises RequestError.
    """
    return run_window(context["params"], _given(context))


def _given(context: Context) -> Window:
    events = context.get("triggering_asset_events") or {}
    told = event_window(
        (event.timestamp, event.extra or {}) for of_asset in events.values() for event in of_asset
    )
    if told:
        return told
    run = context["dag_run"]
    start, end = run.data_interval_start, run.data_interval_end
    # Runs by hand and by assets may have no interval.
    return interval_window(start or run.run_after, end or run.run_after)


def told_window(dag: str, context: Context) -> dict[str, str]:
    """What a stage is told of `start` and `end`: days, or for a monitor run moments (UTC), of which `start`
    may be left out. Raises RequestError.
    """
    if dag == "monitor":
        run = context["dag_run"]
        # The same in every try of a run, so that they measure the same window.
        return moments(context["params"], run.run_after)
    return window_of(context).to_json()


def why(context: Context) -> dict[str, str]:
    """Why a training was started: `reason`, of a person or of the newest drift event, and the `measure` that
    the event stands on; empty where nobody says.
    """
    given = context["params"].get("reason")
    if given:
        return {"reason": str(given)}
    events = context.get("triggering_asset_events") or {}
    telling = [
        event for of_asset in events.values() for event in of_asset if (event.extra or {}).get("reason")
    ]
    if not telling:
        return {}
    extra = max(telling, key=lambda event: event.timestamp).extra
    told = {name: str(extra[name]) for name in ("reason", "measure") if extra.get(name)}
    return {**told, "reason": told["reason"][:LONGEST_REASON]}


def is_forced(stage: str, dag: str, params: Mapping[str, Any]) -> bool:
    """Whether the run asks for this stage to be done again."""
    stages = dag_stages(dag)
    since = params.get("from_stage")
    return bool(params.get("force")) or (since in stages and stages.index(stage) >= stages.index(str(since)))
