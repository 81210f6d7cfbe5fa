"""The lifecycle of a model, as a team writes it in lifecycle.yaml."""

from __future__ import annotations

import difflib
import math
from datetime import date, timedelta
from functools import cached_property
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from windtunnel.digests import canonical_json, digest
from windtunnel.spec.model import SpecModel
from windtunnel.spec.monitoring import FARTHEST, Monitoring
from windtunnel.spec.retention import Retention
from windtunnel.spec.stages import STAGES, StageName
from windtunnel.spec.values import Cron, Duration, FunctionRef, check_cron

API_VERSION = "windtunnel.dev/v1alpha1"
NAME_PATTERN = r"^[a-z][a-z0-9_]{0,39}[a-z0-9]$"
DRIFT_ASSET = "drift"
"""Beside a lifecycle's views: what `monitor` tells of in Airflow. No view may have this name."""
COLUMN_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*$"

_QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"


def _check_uri(uri: str) -> str:
    if uri.count("{date}") != 1:
        raise ValueError(f"{uri!r} must hold {{date}} once; put it where the ISO date of a partition stands")
    if not uri.startswith("s3://") and ("://" in uri or uri.startswith("/") or ".." in uri.split("/")):
        raise ValueError(f"{uri!r} is no place for partitions; write s3://… or a key of the object store")
    return uri


def _check_unique(names: tuple[str, ...]) -> tuple[str, ...]:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)} stands here more than once; remove the repetition")
    return names


Column = Annotated[str, Field(pattern=COLUMN_PATTERN)]
Share = Annotated[float, Field(ge=0, le=1)]
Columns = Annotated[tuple[Column, ...], AfterValidator(_check_unique)]
Quantity = Annotated[str, Field(pattern=_QUANTITY)]
Days = Annotated[int, Field(ge=1, le=3660)]


def _check_training_schedule(text: str) -> str:
    return text if text == "features" else check_cron(text)


class Metadata(SpecModel):
    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    """Name of the lifecycle, of its registered model and of its directory."""
    owner: Annotated[str, Field(min_length=1)]
    """Team or person to ask."""
    description: str = ""


class Source(SpecModel):
    """Raw data in daily partitions."""

    uri: Annotated[str, AfterValidator(_check_uri)]
    """Key in the object store, or an s3:// URI, with `{date}` for the ISO date."""
    schema_ref: Annotated[FunctionRef, Field(alias="schema")]
    """pandera schema that every row must keep: `module:NAME`."""
    on_bad_rows: Literal["quarantine", "stop"] = "quarantine"
    """`quarantine` sets bad rows aside, counts them and goes on; `stop` fails the stage."""
    max_bad_share: Share = 0.02
    """Share of bad rows in a partition above which the stage fails even when they are quarantined."""


Engine = Literal["asof", "spark"]


class Features(SpecModel):
    """From partitions to feature rows, and what a model reads."""

    transform: FunctionRef
    """`transform(partitions, day)` → one frame per feature view."""
    views: Annotated[Columns, Field(min_length=1)]
    """Names of the Feast feature views that `transform` fills."""
    service: Column
    """Name of the Feast feature service whose features the model reads, in its order."""
    request: Columns = ()
    """Columns that come with the request (and with entity_rows), after those of the service."""
    schedule: Cron | None = None
    """When the features DAG runs; null means by hand."""
    lookback_days: Days = 14
    """`transform` sees the rows of this many days before the day it computes, and of the day itself."""
    slice_days: Days = 14
    """Days that one extract or transform task takes."""
    materialize_slice_days: Days = 90
    """Days that one materialize task takes, of one view."""
    freshness: dict[Column, Duration] = Field(default_factory=dict)
    """Objective by view: its newest event is not older than this, such as `customer: 26h`."""
    engine: Engine = "asof"
    """What joins and materializes: `asof` in the stage's own pod; `spark` where one pod is too small."""

    @field_validator("views")
    @classmethod
    def _no_view_is_the_drift_asset(cls, views: tuple[str, ...]) -> tuple[str, ...]:
        if DRIFT_ASSET in views:
            raise ValueError(
                f"no view can be called {DRIFT_ASSET!r}: that is what a training waits for; name it otherwise"
            )
        return views

    @field_validator("freshness")
    @classmethod
    def _objectives_are_of_views(
        cls, freshness: dict[str, timedelta], info: ValidationInfo
    ) -> dict[str, timedelta]:
        views = info.data.get("views", freshness)
        for name in freshness:
            if name not in views:
                close = difflib.get_close_matches(name, views, n=1)
                fix = f"did you mean {close[0]!r}?" if close else f"the views are {', '.join(views)}"
                raise ValueError(f"there is no view {name!r}; {fix}")
        return freshness


class Label(SpecModel):
    """What is predicted."""

    rows: FunctionRef
    """`entity_rows(partitions, day)` → what is asked on a day, with the label where it is known."""
    column: Column
    kind: Literal["binary", "regression"]
    delay_days: Annotated[int, Field(ge=0, le=365)] = 1
    """Days until the label of a day is known; fresher rows never enter a snapshot."""
    key: Column | None = None
    """Column of entity_rows that holds the `key` of the request for each row, where callers send one: labels
    then find their predictions by it; null: by join keys, event timestamp and request columns."""

    @property
    def on_their_way(self) -> timedelta:
        """How long after its day a label may come: with the partition of its last day, which is there a day
        or two later."""
        return timedelta(days=self.delay_days + 2)


class Training(SpecModel):
    function: FunctionRef
    """`train(features, label)` → a fitted scikit-learn estimator."""
    schedule: Annotated[str, AfterValidator(_check_training_schedule)] | None = "features"
    """`features`: after every materialization; a cron expression; or null: by hand."""
    window_days: Days = 28
    """Days of the training set."""
    warm_start: bool = False
    """Train twice, once on from the champion: `train(features, label, champion)`; that model is taken only
    where it is not worse than the cold one on the last days of the training window."""


class Gate(SpecModel):
    """When a challenger may replace the champion."""

    mode: Literal["refresh", "improve"] = "refresh"
    """`refresh`: not worse than the margin; `improve`: better by minGain."""
    margin: Annotated[float, Field(ge=0)] = 0.01
    """Loss per row that a challenger may be worse by, in units of the metric."""
    min_gain: Annotated[float, Field(ge=0)] = 0.0
    """Loss per row that a challenger must be better by in mode `improve`."""
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Error rate of the gate."""


class Evaluation(SpecModel):
    window_days: Days = 7
    """Days of the evaluation window; they lie after the training window."""
    metric: Literal["log_loss", "brier", "squared_error"] = "log_loss"
    gate: Gate = Gate()
    slices: Columns = ()
    """Columns of entity_rows; no slice may become much worse."""
    min_rows: Annotated[int, Field(ge=1)] = 500
    """Fewer labelled rows than this and the challenger is refused."""


class Approval(SpecModel):
    required: bool = False
    """Ask a human in Airflow between the verdict and the rollout."""


Amounts = dict[Literal["cpu", "memory"], Quantity]
"""Kubernetes quantities."""


def _default_requests() -> Amounts:
    return {"cpu": "100m", "memory": "256Mi"}


def _default_limits() -> Amounts:
    return {"memory": "512Mi"}


class Resources(SpecModel):
    requests: Amounts = Field(default_factory=_default_requests)
    limits: Amounts = Field(default_factory=_default_limits)

    @property
    def memory_limit(self) -> str:
        """Of a serving pod, as the controller sets it: memory asked for without a limit is its own limit."""
        return self.limits.get("memory") or self.requests.get("memory", "512Mi")


class Serving(SpecModel):
    replicas: Annotated[int, Field(ge=1, le=100)] = 1
    """How many pods serve; with maxReplicas the fewest."""
    max_replicas: Annotated[int, Field(ge=1, le=100)] | None = None
    """The most pods that an autoscaler may start; null: `replicas`, always."""
    target_cpu: Annotated[int, Field(ge=1, le=100)] = 70
    """Percent of the requested CPU that the autoscaler aims at."""
    resources: Resources = Resources()
    keep_warm: Annotated[int, Field(ge=0, le=3)] = 1
    """Former champions that stay loaded, so that a rollback to them is instant."""

    @model_validator(mode="after")
    def _check_replicas(self) -> Serving:
        if self.max_replicas is not None and self.max_replicas < self.replicas:
            raise ValueError(
                f"maxReplicas {self.max_replicas} is below replicas {self.replicas}; raise it or leave it out"
            )
        return self


class PredictionLog(SpecModel):
    sample: Share = 1.0
    """The share of predictions that is logged, chosen by their ids."""


class Guard(SpecModel):
    """When the controller takes a challenger back by itself; see GuardSettings of the ServedModel."""

    error_margin: Annotated[float, Field(ge=0, le=0.5)] = 0.005
    """The share of faults that the challenger may have beyond the champion's."""
    max_error_rate: Share | None = None
    """The share of faults that the challenger may have, whatever the champion has."""
    max_latency_ratio: Annotated[float, Field(ge=1, le=100)] = 2.0
    """How many times longer than the champion's slowest answers (1 in 100) the challenger's may take."""
    max_prediction_shift: Annotated[float, Field(ge=0.01, le=0.5)] = 0.2
    """How far the chance that a prediction of the challenger exceeds one of the champion's may lie from
    1/2; 0.5 allows anything."""
    min_requests: Annotated[int, Field(ge=1, le=1_000_000)] = 50
    """Requests that the challenger must have answered before it is called healthy."""

    @model_validator(mode="after")
    def _check_margin(self) -> Guard:
        if self.max_error_rate is not None and self.max_error_rate < self.error_margin:
            raise ValueError(
                f"maxErrorRate {self.max_error_rate} is below errorMargin {self.error_margin}, which could "
                "never count then; raise it"
            )
        return self


LONGEST_LOADING = timedelta(minutes=10)
"""That the serving pods may take to get a challenger ready in a step of its rollout, at least."""
LONGEST_PAUSE = timedelta(hours=24)
"""That a human may take to approve a rollout that pauses."""
_ROLLOUT_RETRIES = 5
_ROLLOUT_ENDS = timedelta(minutes=30)
"""For what comes before and after the steps."""


class Shadow(SpecModel):
    requests: Annotated[int, Field(ge=1, le=10_000_000)] = 200
    """Copies of requests that the challenger must have scored."""


class Rollout(SpecModel):
    """How a challenger earns the champion's seat, after the gate."""

    shadow: Shadow | None = Shadow()
    """First it only scores copies of requests; null: it does not."""
    steps: Annotated[tuple[Annotated[int, Field(ge=1, le=99)], ...], Field(max_length=20)] = (5, 25, 50)
    """Percent of the requests that it answers then, step by step; empty: no canary."""
    requests: Annotated[int, Field(ge=1, le=10_000_000)] = 200
    """Requests that the challenger must have answered in each step."""
    step_timeout: Duration = timedelta(hours=1)
    """How long a step may take to gather its evidence."""
    when_quiet: Literal["refuse", "promote"] = "refuse"
    """What follows when a step ends without enough evidence, and nothing speaks against the challenger."""
    pause_before: Literal["canary", "champion"] | None = None
    """Wait there until a human approves (`windtunnel promote NAME`)."""
    guard: Guard = Guard()

    @field_validator("steps")
    @classmethod
    def _steps_rise(cls, steps: tuple[int, ...]) -> tuple[int, ...]:
        if list(steps) != sorted(set(steps)):
            raise ValueError(f"the steps {list(steps)} do not rise; write each percentage once, in order")
        return steps

    @property
    def longest(self) -> timedelta:
        """What a rollout may take from its beginning to its end, whatever happens."""
        steps = len(self.steps) + (self.shadow is not None)
        pause = LONGEST_PAUSE if self.pause_before else timedelta()
        return steps * max(self.step_timeout, LONGEST_LOADING) + pause + _ROLLOUT_ENDS


class Scoring(SpecModel):
    shards: Annotated[int, Field(ge=1, le=1000)] = 1
    """Pods that a batch scoring is split over."""


class StageSettings(SpecModel):
    """How one stage runs."""

    stage_class: Annotated[str, Field(alias="class", pattern=r"^[a-z][a-z0-9-]*$")] = "small"
    """Stage class: a pod template that the platform's values define."""
    timeout: Duration = timedelta(minutes=30)
    retries: Annotated[int, Field(ge=0, le=10)] = 1


class LifecycleSpec(SpecModel):
    sources: Annotated[dict[Column, Source], Field(min_length=1)]
    features: Features
    label: Label
    training: Training
    evaluation: Evaluation = Evaluation()
    approval: Approval = Approval()
    rollout: Rollout = Rollout()
    serving: Serving = Serving()
    prediction_log: PredictionLog = PredictionLog()
    monitoring: Monitoring = Monitoring()
    scoring: Scoring = Scoring()
    retention: Retention = Retention()
    stages: dict[StageName, StageSettings] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _metric_fits_label(self) -> LifecycleSpec:
        binary = self.label.kind == "binary"
        if binary == (self.evaluation.metric == "squared_error"):
            allowed = "log_loss or brier" if binary else "squared_error"
            raise ValueError(
                f"evaluation.metric {self.evaluation.metric!r} does not fit a {self.label.kind} label; "
                f"use {allowed}"
            )
        return self

    @model_validator(mode="after")
    def _rollout_has_time(self) -> LifecycleSpec:
        settings = self.stages.get("rollout")
        if settings is None or "timeout" not in settings.model_fields_set:
            return self
        if settings.timeout < self.rollout.longest:
            raise ValueError(
                f"stages.rollout.timeout is {_words(settings.timeout)}, but the steps of the rollout may "
                f"take {_words(self.rollout.longest)}; leave it out: it follows from them"
            )
        return self

    @model_validator(mode="after")
    def _kept_as_long_as_needed(self) -> LifecycleSpec:
        predictions, features = self.retention.prediction_days, self.retention.feature_days
        if predictions is not None and predictions < (least := _days(self.watched) + 1):
            what = "monitoring.rows" if self.monitoring.rows else "monitoring.window"
            raise ValueError(
                f"retention.predictionDays {predictions} is too short: {what} and label.delayDays look back "
                f"{least - 1} days; let it be {least} or more"
            )
        if features is not None and features < (least := self.reach_days):
            raise ValueError(
                f"retention.featureDays {features} is too short: trainings or the monitor reach back {least} "
                "days (training.windowDays, evaluation.windowDays, label.delayDays, monitoring.window, "
                f"features.lookbackDays); let it be {least} or more"
            )
        return self

    @property
    def watched(self) -> timedelta:
        """How far back the monitor looks for predictions."""
        window = max(self.monitoring.window, FARTHEST if self.monitoring.rows else timedelta(0))
        return window + self.label.on_their_way

    @property
    def reach_days(self) -> int:
        """Days up to the newest one whose data a training or the monitor reads; the ttl of views reaches back
        farther still."""
        training = self.training.window_days + self.evaluation.window_days + 2 * self.label.delay_days
        # A window's first and last day are parts of days, and a local day is another one than UTC's.
        watched = _days(self.watched) + 2
        return max(training, watched) + self.features.lookback_days

    @model_validator(mode="after")
    def _label_is_no_feature(self) -> LifecycleSpec:
        if self.label.column in self.features.request:
            raise ValueError(
                f"the label {self.label.column!r} is in features.request: the model would be asked with the "
                "answer; take it out"
            )
        return self


class Lifecycle(SpecModel):
    api_version: Literal["windtunnel.dev/v1alpha1"]
    kind: Literal["Lifecycle"]
    metadata: Metadata
    spec: LifecycleSpec

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def object_name(self) -> str:
        """Name of its ServedModel; Kubernetes takes no underscores."""
        return self.name.replace("_", "-")

    @cached_property
    def digest(self) -> str:
        """`sha256:<hex>` of the meaning: comments, key order and spelled-out defaults do not change it."""
        return digest(canonical_json(self.model_dump(mode="json", by_alias=True)))

    def cutoff(self, end: date) -> date:
        """The first day that a model has seen nothing of when it is trained on the data up to `end`: its
        evaluation window begins with it."""
        return end - timedelta(days=self.spec.label.delay_days + self.spec.evaluation.window_days - 1)

    def stage(self, name: str) -> StageSettings:
        """Settings of a stage, or the defaults; the rollout's follow from its steps."""
        if name not in STAGES:
            raise KeyError(name)
        settings: StageSettings = self.spec.stages.get(name, StageSettings())  # type: ignore[call-overload]
        if name != "rollout":
            return settings
        # it waits for most of its time, and goes on where it was when its pod is lost
        defaults = {"timeout": self.spec.rollout.longest, "retries": _ROLLOUT_RETRIES}
        own = {name: value for name, value in defaults.items() if name not in settings.model_fields_set}
        return settings.model_copy(update=own)


def _days(span: timedelta) -> int:
    return math.ceil(span / timedelta(days=1))


def _words(span: timedelta) -> str:
    return f"{span.total_seconds() / 60:g} min"
