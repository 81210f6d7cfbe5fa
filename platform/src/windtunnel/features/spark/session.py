"""The Spark session of a stage's process: its configuration, and what must be there for it to start."""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import socket
import sys
import tempfile
from typing import TYPE_CHECKING

from windtunnel.errors import PermanentError

if TYPE_CHECKING:
    from collections.abc import Mapping

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
    if runs_here(conf):
        return {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1", **conf}
    # Executors call the driver back, and a pod's name is known to itself only.
    address = _own_address()
    return {"spark.driver.host": address, **conf} if address else conf


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
    """As others reach this machine; empty leaves it to Spark."""
    try:
        address = socket.gethostbyname(socket.gethostname())
    except OSError:
        return ""
    return "" if ipaddress.ip_address(address).is_loopback else address


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
    except (PySparkException, py4j_error()) as error:
        raise PermanentError(
            f"Spark did not start: {first_line(str(error))}",
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


def py4j_error() -> type[Exception]:
    from py4j.protocol import Py4JError

    return Py4JError  # type: ignore[no-any-return]


def first_line(text: str) -> str:
    return next(filter(None, (line.strip() for line in text.splitlines())), "no reason given")
