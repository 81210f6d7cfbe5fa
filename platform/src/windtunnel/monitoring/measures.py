"""Measures: what one monitor run saw of one model version in one window. Immutable, in the object store.

    <lifecycle>/measures/<end of the window>-<version>-<run>[.<series>].json     the Measure
                                                                      .html     the report of that run

Names begin with the window's end, so they sort by it, and end with the series, where that is another than
`predictions`. All moments are UTC. Losses are in units of the
lifecycle's metric, per row; shares are 0 to 1. What could not be measured is None, and a finding says why.
Nothing heavy is imported here: the exporter and the report read measures too.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from windtunnel.digests import canonical_json
from windtunnel.errors import IntegrityError, NotFoundError
from windtunnel.monitoring.plain import from_plain, to_plain
from windtunnel.records import run_folder

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import timedelta

    from windtunnel.objects import ObjectStore

API_VERSION: Final = "windtunnel.dev/v1alpha1"
KIND: Final = "Measure"
_USUAL: Final = "predictions"
_AT_ONCE: Final = 16
_MOMENT: Final = "%Y-%m-%dT%H%M%SZ"
_MOMENT_LENGTH: Final = len("2026-11-30T165257Z")

Folder = Literal["predictions", "scores"]
"""Which log: of serving, or of batch scoring."""
Series = Literal["predictions", "scores", "predictions_asked", "scores_asked"]
FindingKind = Literal["drift", "quality", "estimated_quality", "concept", "skew", "freshness", "data"]
Severity = Literal["info", "warning", "critical"]
PolicyState = Literal["quiet", "watching", "retrain", "cooling_down", "out_of_budget"]
Interval = tuple[float, float]


@dataclass(frozen=True)
class Window:
    """The rows that were looked at: predictions made from `start` until before `end`."""

    start: datetime
    end: datetime
    rows: int
    """Rows of the version that callers got."""
    sampled: float
    """The share of predictions that is logged at all."""
    enough: bool
    """False: fewer rows than `monitoring.minRows`; then nothing is said about drift."""
    event_start: datetime | None = None
    """Oldest and newest moment that the rows are about."""
    event_end: datetime | None = None
    folder: Folder = "predictions"


@dataclass(frozen=True)
class Answers:
    """What the log itself says of how the rows were answered."""

    roles: dict[str, int]
    """Rows by role: champion, challenger, fallback, batch."""
    missing_share: float
    """Of the model's inputs over all rows, those without a value of their own (null, or a default)."""
    stale_share: float | None
    """Of the rows that were read from the online store, those with a value that was too old."""
    latency_p50_seconds: float | None = None
    latency_p99_seconds: float | None = None


@dataclass(frozen=True)
class Labels:
    """How far the labels of the rows have come that were read: those of the window, and of the days before
    it whose labels were on their way.
    """

    complete: str | None
    """The newest day whose labels have all come, as in 2026-03-01; None: no day was ever loaded."""
    due: int
    """Rows about days whose labels ought to have come by now: `label.delayDays` and two days."""
    missing: int
    """Those of them without a label."""
    late: int
    """Those of them about days after `complete`."""


@dataclass(frozen=True)
class Drift:
    """Of features, prediction and label against the reference profile."""

    columns: tuple[dict[str, Any], ...]
    """`ColumnDrift.to_json()` of windtunnel.stats.drift, one for each input of the model and each column
    beside them, the most drifted first."""
    prediction: dict[str, Any] | None
    """The same of the prediction; `label` of the labels that have come, None while there are too few."""
    label: dict[str, Any] | None
    drifted: tuple[str, ...]
    """Names of the columns that drifted; `prediction` and `label` are among them when they did."""


@dataclass(frozen=True)
class Quality:
    """Of the rows whose label has come, against the version's own evaluation."""

    labelled: int
    coverage: float
    """Share of the window's rows that have a label."""
    metric: str
    loss: float
    reference_loss: float
    """Of the evaluation."""
    difference: float
    """loss - reference_loss: above 0 is worse."""
    interval: Interval
    """Of the difference; its level is 1 - 2 x `monitoring.alpha`."""
    worse: bool
    """Whether the interval lies above 0 and the difference is not a trifle."""
    metrics: dict[str, float | None]
    """All metrics that fit the kind of label."""
    duplicates: int = 0
    """Rows left out because nothing tells apart what they asked and what others did."""
    calibration: tuple[dict[str, float], ...] | None = None
    """Reliability bins of binary labels: rows, predicted, observed; lowest predictions first."""
    enough: bool = True
    """False: fewer labels than `monitoring.minRows`; then `worse` says nothing."""


@dataclass(frozen=True)
class Estimated:
    """Quality as it must be if the model's calibration still held: known before any label is."""

    metric: str
    value: float
    """The estimate of the loss."""
    interval: Interval
    reference: float
    """The loss of the evaluation."""
    worse: bool
    rows: int


@dataclass(frozen=True)
class Concept:
    """A sequential test of the loss, row by row, since the version's evaluation."""

    detected: bool
    since: datetime | None
    """The day on which the change most likely began, where there is one."""
    rows: int
    """Labelled rows that this run counted."""
    p_value: float
    """May be looked at after every window: always valid."""
    direction: Literal["loss", "more", "fewer"] | None = None
    """What changed most: the loss rose beyond what the predictions promise, or there are more (or fewer)
    positives, or higher (lower) values, than they promise."""
    days: int = 0
    """Days counted since the version began to be watched."""
    state: dict[str, Any] | None = None
    """Where the next run goes on."""


@dataclass(frozen=True)
class Skew:
    """Features as served against those that the offline store knows for the same entity at that moment."""

    rows: int
    compared: int
    """Values: rows times stored features."""
    different: int
    share: float
    examples: tuple[dict[str, Any], ...]
    """A few: prediction_id, row, feature, served, offline (null: no value)."""
    features: dict[str, int] = field(default_factory=dict)
    """Different values by feature, of those that have any."""


@dataclass(frozen=True)
class SliceQuality:
    """One value of one slice column. `loss` and what follows is None while it has too few labels."""

    column: str
    value: str
    rows: int
    labelled: int
    loss: float | None
    reference_loss: float | None
    interval: Interval | None
    """Of loss - reference_loss."""
    worse: bool


@dataclass(frozen=True)
class VersionQuality:
    """What another version made of its own share of the window's requests, or this one of its own."""

    version: str
    rows: int
    labelled: int
    loss: float | None
    interval: Interval | None
    """Of the loss."""


@dataclass(frozen=True)
class Freshness:
    """Of one feature view when the measure was made."""

    age_seconds: float | None
    objective_seconds: float | None
    stale: bool


@dataclass(frozen=True)
class Finding:
    """One thing that people should know, in a sentence."""

    kind: FindingKind
    severity: Severity
    text: str


@dataclass(frozen=True)
class Policy:
    """What windtunnel.monitoring.policy made of this measure and those before it."""

    state: PolicyState
    streak: int
    """Windows in a row that spoke for a retraining, this one included."""
    retrain: bool
    """Whether this run asked for one."""
    reason: str
    next_allowed: datetime | None
    used_this_week: int


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What one run saw of one version in one window."""

    lifecycle: str
    version: str
    bundle: str
    """Its digest."""
    run_id: str
    made: datetime
    window: Window
    reference: str | None
    """Digest of the reference profile; None for a version without one."""
    answers: Answers
    labels: Labels | None = None
    drift: Drift | None = None
    quality: Quality | None = None
    estimated: Estimated | None = None
    concept: Concept | None = None
    skew: Skew | None = None
    slices: tuple[SliceQuality, ...] = ()
    versions: tuple[VersionQuality, ...] = ()
    freshness: dict[str, Freshness] = field(default_factory=dict)
    """By view."""
    continues: bool = True
    """Whether this is one of the windows in a row that end about now; False: somebody asked for it."""
    findings: tuple[Finding, ...] = ()
    policy: Policy | None = None

    @property
    def name(self) -> str:
        """The key below `<lifecycle>/measures/`, without its ending."""
        end = self.window.end.astimezone(UTC).strftime(_MOMENT)
        series = "" if self.series == _USUAL else f".{self.series}"
        return f"{end}-{self.version}-{run_folder(self.run_id)}{series}"

    @property
    def series(self) -> Series:
        """Which windows it is to be counted with."""
        return series_of(self.window.folder, continues=self.continues)

    def to_json(self) -> dict[str, Any]:
        content: dict[str, Any] = to_plain(self)
        return {"apiVersion": API_VERSION, "kind": KIND, **content}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Measure:
        """Fields that this release does not know are left out; those that are absent take their defaults.
        Raises KeyError, TypeError or ValueError for what is no measure.
        """
        measure: Measure = from_plain(cls, value)
        return measure


def series_of(folder: Folder, *, continues: bool) -> Series:
    """Windows in a row of one log, or those of it that somebody asked for."""
    if folder == "scores":
        return "scores" if continues else "scores_asked"
    return "predictions" if continues else "predictions_asked"


def measures_folder(lifecycle: str) -> str:
    return f"{lifecycle}/measures"


def measure_key(measure: Measure) -> str:
    """Where it stands in the object store."""
    return f"{measures_folder(measure.lifecycle)}/{measure.name}.json"


def report_key(measure: Measure) -> str:
    """Where the report of the run stands, beside its measure."""
    return f"{measures_folder(measure.lifecycle)}/{measure.name}.html"


def write_measure(store: ObjectStore, measure: Measure) -> str:
    """Write once; the key. What is there already stands: it is of an earlier try of the same run."""
    key = measure_key(measure)
    store.put_new(key, canonical_json(measure.to_json()))
    return key


def read_measures(store: ObjectStore, lifecycle: str, limit: int | None = None) -> list[Measure]:
    """The newest `limit` measures (default: all) in the order of their windows' ends, oldest first.

    Raises IntegrityError for a file that is no measure, StoreError.
    """
    keys = [entry.key for entry in store.list(measures_folder(lifecycle)) if entry.key.endswith(".json")]
    chosen = keys if limit is None else keys[len(keys) - min(limit, len(keys)) :]
    return sorted(_read(store, chosen), key=lambda measure: (measure.window.end, measure.made))


def read_measures_apart(
    store: ObjectStore,
    lifecycle: str,
    version: str,
    series: Series,
    end: datetime,
    apart: timedelta,
    limit: int,
) -> list[Measure]:
    """Measures of a version, oldest first: of the series, back from a window's `end`, `limit` moments at
    least `apart`, with all whose windows end there; and the newest of each series. So a short list reaches
    far back, however often a schedule looks.

    Raises as `read_measures`.
    """
    kept: list[str] = []
    met: set[str] = set()
    moments = [end.astimezone(UTC).replace(microsecond=0)]
    for entry in reversed(store.list(measures_folder(lifecycle))):
        name = entry.key.rpartition("/")[2]
        if not name.endswith(".json") or not name[_MOMENT_LENGTH:].startswith(f"-{version}-"):
            continue
        ended = datetime.strptime(name[:_MOMENT_LENGTH], _MOMENT).replace(tzinfo=UTC)
        of = _series_in(name)
        if of == series and moments[-1] - ended >= apart and len(moments) <= limit:
            moments.append(ended)
        if (of == series and ended == moments[-1]) or of not in met:
            kept.append(entry.key)
        met.add(of)
    return sorted(_read(store, kept), key=lambda measure: (measure.window.end, measure.made))


def _series_in(name: str) -> str:
    ending = name.removesuffix(".json").rpartition(".")[2]
    return ending if ending in get_args(Series) else _USUAL


def read_measure(store: ObjectStore, key: str) -> Measure:
    """Raises IntegrityError for a file that is no measure, NotFoundError, StoreError."""
    try:
        return Measure.from_json(json.loads(store.get(key)))
    except (KeyError, TypeError, ValueError) as error:
        raise IntegrityError(
            f"this is no measure: {type(error).__name__}: {error}",
            where=store.uri(key),
            fix="restore it from a backup, or delete it: the next run measures anew",
        ) from error


def _read(store: ObjectStore, keys: Iterable[str]) -> list[Measure]:
    """Several at a time; what was swept meanwhile is left out."""

    def read(key: str) -> Measure | None:
        try:
            return read_measure(store, key)
        except NotFoundError:
            return None

    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="measures") as pool:
        return [measure for measure in pool.map(read, keys) if measure is not None]
