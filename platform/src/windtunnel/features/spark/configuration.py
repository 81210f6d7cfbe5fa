"""Feast's own Spark offline store and Spark compute engine: how a lifecycle with `engine: spark` is set up.

Nothing is computed here. What Feast's Spark (0.67) leaves open is closed by configuration: sessions run in
UTC, a source says which of two equally old rows counts, the online store compares before it writes (module
`spark.online`), and faults on executors become ours. On a cluster's executors feature rows are read where
they are; on local Spark from copies, as by the platform's own engine.
"""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import polars as pl
import polars.selectors as cs

from windtunnel import errors
from windtunnel.errors import DataError, SpecError, TemporaryError, WindtunnelError
from windtunnel.features.daily import feature_rows_of
from windtunnel.features.definitions import EVENT_TIMESTAMP
from windtunnel.features.online.materialization import MaterializationReport
from windtunnel.features.spark.session import first_line, py4j_error, runs_here, session_conf, start_session
from windtunnel.features.staging import Fetched, StagedRows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import date
    from pathlib import Path

    from feast import FeatureStore, FileSource
    from feast.infra.offline_stores.contrib.spark_offline_store.spark_source import SparkSource

    from windtunnel.features.daily import Sidecar
    from windtunnel.objects import ObjectStore


def spark_engine(text: str) -> SparkEngine:
    """`text`: WINDTUNNEL_SPARK_CONF. Starts Spark when it does not run yet; raises PermanentError."""
    conf = session_conf(text)
    start_session(conf)
    return SparkEngine(conf) if runs_here(conf) else SparkClusterEngine(conf)


class SparkEngine(StagedRows):
    """Spark in this process (`spark.master: local[*]`)."""

    def __init__(self, conf: Mapping[str, str]) -> None:
        self._conf = dict(conf)

    def config(self, online: Mapping[str, Any]) -> dict[str, Any]:
        from windtunnel.features.spark.online import ONLINE_STORES, ReportSum

        session = start_session(self._conf)
        return {
            "offline_store": {"type": "spark", "spark_conf": self._conf},
            # It takes the session that is there.
            "batch_engine": {"type": "spark.engine"},
            "online_store": {
                **online,
                "type": ONLINE_STORES[online["type"]],
                "totals": session.sparkContext.accumulator(MaterializationReport(), ReportSum()),
            },
        }

    def source(self, source: FileSource, files: str, join_keys: Sequence[str]) -> SparkSource:
        return spark_source(source, files, join_keys)

    def answers(
        self, store: FeatureStore, service: str, questions: pl.DataFrame, join_keys: Sequence[Sequence[str]]
    ) -> pl.DataFrame:
        _require_whole_seconds(store)
        answers = []
        # Spark has no unsigned numbers.
        questions = questions.with_columns(cs.unsigned_integer().cast(pl.Int64))
        with spark_faults():
            for part in unambiguous(questions, EVENT_TIMESTAMP, join_keys):
                job = store.get_historical_features(
                    entity_df=part.to_pandas(),
                    features=store.get_feature_service(service),
                    filter_by_created_timestamp=True,
                )
                answers.append(pl.DataFrame(job.to_arrow()))
        return pl.concat(answers, how="vertical_relaxed")

    def materialize(
        self, store: FeatureStore, view: str, start: datetime, end: datetime
    ) -> MaterializationReport:
        """Executors write, and report what they wrote."""
        totals = store.config.online_store.totals
        totals.value = MaterializationReport()
        # Feast prints coloured lines.
        with contextlib.redirect_stdout(io.StringIO()), spark_faults():
            store.materialize(start, end, [view])
        report: MaterializationReport = totals.value
        return report


def _require_whole_seconds(store: FeatureStore) -> None:
    """Feast's Spark cuts a ttl to whole seconds, and takes none of them for ever."""
    for view in store.list_feature_views():
        if view.ttl and view.ttl.microseconds:
            raise SpecError(
                f"feature view {view.name!r} has a ttl of {view.ttl}",
                where="features.engine: spark",
                fix="give it one in whole seconds, or use engine: asof",
            )


class SparkClusterEngine(SparkEngine):
    """Spark whose executors are elsewhere: they read the object store, or a directory that all share."""

    copies = False

    def fetch(
        self, store: ObjectStore, lifecycle: str, view: str, sidecars: Mapping[date, Sidecar], work: Path
    ) -> Fetched:
        del work  # nothing is copied
        present = {day: sidecar for day, sidecar in sidecars.items() if sidecar.present}
        folder = _in_hadoop(store.uri(feature_rows_of(store, lifecycle, view).prefix))
        return Fetched(f"{folder}/{{{','.join(map(str, present))}}}.parquet", present)

    def extent(self, fetched: Fetched) -> tuple[datetime | None, datetime | None]:
        if not fetched.read:
            return None, None
        session = start_session(self._conf)
        with spark_faults():
            ends = (f"UNIX_MICROS({end}({EVENT_TIMESTAMP}))" for end in ("MIN", "MAX"))
            first, last = session.read.parquet(fetched.files).selectExpr(*ends).first()
        return _moment(first), _moment(last)


def _in_hadoop(uri: str) -> str:
    """The place's name for Spark, with what Hadoop's globs give a meaning to escaped."""
    scheme, _, rest = uri.partition("://")
    place = f"s3a://{rest}" if scheme == "s3" else unquote(rest)
    return re.sub(r"([\\{}\[\]*?])", r"\\\1", place)


def _moment(micros: int | None) -> datetime | None:
    return None if micros is None else datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)


def spark_source(source: FileSource, files: str, join_keys: Sequence[str]) -> SparkSource:
    """The same source for Feast's Spark: parquet `files` (a path, glob or s3a:// address).

    Of rows with equal keys and timestamps the last in storage order counts, and rows with a null key do not:
    Feast's Spark by itself would give an entity row back once for each of the first, and materialize the
    others. The filter on time and the choice of columns reach the files all the same.
    """
    from feast.infra.offline_stores.contrib.spark_offline_store.spark_source import SparkSource

    stored = {name: column for column, name in (source.field_mapping or {}).items()}
    keys = [_quoted(stored.get(key, key)) for key in join_keys]
    times = [_quoted(name) for name in (source.timestamp_field, source.created_timestamp_column) if name]
    with warnings.catch_warnings():
        # "An experimental feature in alpha development."
        warnings.simplefilter("ignore", RuntimeWarning)
        return SparkSource(
            name=source.name,
            query=_rows_that_count(files, keys, times),
            path=files,
            file_format="parquet",
            timestamp_field=source.timestamp_field,
            created_timestamp_column=source.created_timestamp_column,
            field_mapping=source.field_mapping,
            description=source.description,
            tags=source.tags,
            owner=source.owner,
        )


def _rows_that_count(files: str, keys: list[str], times: list[str]) -> str:
    place = (
        f"ROW_NUMBER() OVER (PARTITION BY {', '.join(keys + times)} "
        "ORDER BY _metadata.file_path DESC, _metadata.row_index DESC)"
    )
    known = " AND ".join([f"{key} IS NOT NULL" for key in keys] or ["TRUE"])
    return (
        f"SELECT * FROM (SELECT *, {place} AS windtunnel_place FROM parquet.{_quoted(files)} WHERE {known}) "
        "WHERE windtunnel_place = 1"
    )


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def unambiguous(
    questions: pl.DataFrame, moment: str, join_keys: Sequence[Sequence[str]]
) -> Iterator[pl.DataFrame]:
    """The entity rows in parts, mostly one, that Feast's Spark may be asked for.

    It tells entity rows apart by their keys written one after the other, so that within one question
    (1, 11) and (11, 1) would get each other's features; in parts of their own they don't. `join_keys`: of
    each view.
    """
    parts = []
    for number, keys in enumerate(join_keys):
        if len(keys) > 1:
            text = pl.concat_str(pl.col(key).cast(pl.String) for key in keys)
            part = f"windtunnel_part_{number}"
            distinct = questions.select(moment, *keys, windtunnel_text=text).unique(maintain_order=True)
            distinct = distinct.with_columns(
                pl.int_range(pl.len()).over(moment, "windtunnel_text").alias(part)
            ).drop("windtunnel_text")
            questions = questions.join(
                distinct, on=[moment, *keys], how="left", maintain_order="left", nulls_equal=True
            )
            parts.append(part)
    yield from questions.partition_by(parts, include_key=False) if parts else [questions]


@contextlib.contextmanager
def spark_faults() -> Iterator[None]:
    """Faults of Spark become ours: those that we raised on an executor what they were, others temporary
    unless the plan itself was wrong.
    """
    from pyspark.errors import AnalysisException, PySparkException

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            yield
    except AnalysisException as error:
        raise DataError(
            f"Spark cannot read the feature rows so: {first_line(str(error))}",
            where="features.engine: spark",
            fix="compare the view's schema with the columns and types of its feature files",
        ) from error
    except (PySparkException, py4j_error()) as error:
        raise _from_executor(str(error)) or TemporaryError(
            f"Spark failed: {_last_line(str(error))}", where="features.engine: spark", fix="see its log above"
        ) from error


def _from_executor(text: str) -> WindtunnelError | None:
    """The error of ours that ended a Python worker, by the last line of its traceback."""
    found = re.findall(rf"^{re.escape(errors.__name__)}\.(\w+): (.*)$", text, flags=re.MULTILINE)
    if not found:
        return None
    kind, message = found[-1]
    return errors.from_json({"kind": kind, "what": message, "permanent": False})


def _last_line(text: str) -> str:
    """Of the Python traceback in a text, if there is one: its reason; else the first line."""
    head = text.partition("\n\tat ")[0]
    reasons = re.findall(r"^[\w.]+(?:Error|Exception)\b.*$", head, flags=re.MULTILINE)
    return reasons[-1] if reasons else first_line(text)
