"""Feast's own Spark offline store and Spark compute engine: how a lifecycle with `engine: spark` is set up.

Nothing is computed here. What Feast's Spark (0.67) leaves open is closed by configuration: sessions run in
UTC, a source says which of two equally old rows counts, the online store compares before it writes (module
`spark_online`), and faults on executors become ours.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import re
import shutil
import socket
import sys
import tempfile
import warnings
from typing import TYPE_CHECKING, Any

import polars as pl

from windtunnel import errors
from windtunnel.errors import DataError, PermanentError, TemporaryError, WindtunnelError
from windtunnel.features.materialization import MaterializationReport

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from feast import FeatureStore, FileSource
    from feast.infra.offline_stores.contrib.spark_offline_store.spark_source import SparkSource
    from pyspark.sql import SparkSession

SETTING = "WINDTUNNEL_SPARK_CONF"
# Answers depend on these: Feast compares timestamps as text in the session's zone, and converts by Arrow.
_FIXED = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
}
_DEFAULTS = {
    "spark.app.name": "windtunnel",
    "spark.log.level": "ERROR",
    # Days that were written before a feature was added have no column for it.
    "spark.sql.parquet.mergeSchema": "true",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}


def session_conf(text: str) -> dict[str, str]:
    """Spark's configuration: `text` (a JSON object, may be empty) over defaults for Spark in this process.

    Raises PermanentError.
    """
    given = _parse(text)
    for name, value in _FIXED.items():
        if given.get(name, value) != value:
            raise PermanentError(
                f"{name} is {given[name]!r}, and must be {value!r}", where=SETTING, fix="leave it out"
            )
    temporary = tempfile.gettempdir()
    conf = {
        "spark.master": "local[*]",
        **_DEFAULTS,
        # A stage pod can write to its temporary directory only; native libraries are unpacked there.
        "spark.local.dir": temporary,
        "spark.sql.warehouse.dir": f"{temporary}/spark-warehouse",
        **_FIXED,
        **given,
    }
    java = "spark.driver.extraJavaOptions"
    conf[java] = f"-Djava.io.tmpdir={temporary} {conf.get(java, '')}".rstrip()
    # Executors call the driver back; a pod's name is known to itself only.
    address = "127.0.0.1" if runs_here(conf) else _own_address()
    conf.setdefault("spark.driver.host", address)
    if runs_here(conf):
        conf.setdefault("spark.driver.bindAddress", address)
    return conf


def runs_here(conf: Mapping[str, str]) -> bool:
    """Whether executors are in this process and so can read its files."""
    return conf["spark.master"].startswith("local[") or conf["spark.master"] == "local"


def _parse(text: str) -> dict[str, str]:
    try:
        given = json.loads(text or "{}")
        if not isinstance(given, dict):
            raise TypeError
    except (ValueError, TypeError) as error:
        raise PermanentError(
            "it is no JSON object",
            where=SETTING,
            fix='write {"spark.master": "…", "spark.executor.instances": "4"}',
        ) from error
    return {
        str(name): json.dumps(value) if isinstance(value, bool) else str(value)
        for name, value in given.items()
    }


def _own_address() -> str:
    try:
        return socket.gethostbyname(socket.gethostname())
    except OSError:
        return socket.gethostname()


def engine_config(conf: Mapping[str, str]) -> dict[str, Any]:
    """Feast's configuration of the offline store and the engine that materializes from it."""
    return {
        "offline_store": {"type": "spark", "spark_conf": dict(conf)},
        # It takes the session that is there.
        "batch_engine": {"type": "spark.engine"},
    }


def online_store(online: Mapping[str, Any], session: SparkSession) -> dict[str, Any]:
    """Feast's configuration of the same online store (Redis or SQLite), for executors to write to."""
    from windtunnel.features.spark_online import ReportSum

    kinds = {"redis": "SparkRedisOnlineStore", "sqlite": "SparkSqliteOnlineStore"}
    totals = session.sparkContext.accumulator(MaterializationReport(), ReportSum())
    kind = f"windtunnel.features.spark_online.{kinds[online['type']]}"
    return {**online, "type": kind, "totals": totals}


def start_session(conf: Mapping[str, str]) -> SparkSession:
    """The process's Spark session, started when there is none; Feast uses it from then on.

    Raises PermanentError when pyspark or Java is missing or does not start.
    """
    try:
        from pyspark import SparkConf
        from pyspark.errors import PySparkException
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise PermanentError(
            "this environment has no pyspark",
            where="features.engine: spark",
            fix="install windtunnel[spark], or use an image that has it (docs/spark.md)",
        ) from error
    active = SparkSession.getActiveSession()
    if active is not None:
        return active
    _require_java()
    # Executors that are given no Python of their own use the one that runs this.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    try:
        return SparkSession.builder.config(conf=SparkConf().setAll(list(conf.items()))).getOrCreate()
    except (PySparkException, _py4j_error()) as error:
        raise PermanentError(
            f"Spark did not start: {_first_line(str(error))}",
            where=f"spark.master {conf['spark.master']}",
            fix=f"Spark needs Java 17 or 21; see its log above, and {SETTING}",
        ) from error


def _require_java() -> None:
    home = os.environ.get("JAVA_HOME")
    if not shutil.which("java", path=f"{home}/bin" if home else None):
        raise PermanentError(
            "there is no Java" + (f" in JAVA_HOME {home!r}" if home else ""),
            where="features.engine: spark",
            fix="install a Java runtime, 17 or 21 (Debian 12: apt-get install openjdk-17-jre-headless)",
        )


def _py4j_error() -> type[Exception]:
    from py4j.protocol import Py4JError

    return Py4JError  # type: ignore[no-any-return]


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


def materialize_on_spark(
    store: FeatureStore, view: str, start: datetime, end: datetime
) -> MaterializationReport:
    """As `materialization.materialize_view`, by Feast's Spark engine: executors write, and report back."""
    totals = store.config.online_store.totals
    before = totals.value
    totals.value = MaterializationReport()
    try:
        with contextlib.redirect_stdout(None), spark_faults():
            store.materialize(start, end, [view])
        return copy.copy(totals.value)
    finally:
        totals.value = before + totals.value


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
            f"Spark cannot read the feature rows so: {_first_line(str(error))}",
            where="features.engine: spark",
            fix="compare the view's schema with the columns and types of its feature files",
        ) from error
    except (PySparkException, _py4j_error()) as error:
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


def _first_line(text: str) -> str:
    return next(filter(None, (line.strip() for line in text.splitlines())), "no reason given")


def _last_line(text: str) -> str:
    """Of the Python traceback in a text, if there is one: its reason; else the first line."""
    head = text.partition("\n\tat ")[0]
    reasons = re.findall(r"^[\w.]+(?:Error|Exception)\b.*$", head, flags=re.MULTILINE)
    return reasons[-1] if reasons else _first_line(text)
