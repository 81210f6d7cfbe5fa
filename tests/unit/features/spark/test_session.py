from __future__ import annotations

import json
import sys
import tempfile
from typing import TYPE_CHECKING

import pytest

from windtunnel.errors import PermanentError
from windtunnel.features.spark.session import runs_here, session_conf, start_session

if TYPE_CHECKING:
    from pathlib import Path


def test_without_settings_spark_runs_in_this_process() -> None:
    conf = session_conf("")
    assert conf["spark.master"] == "local[*]"
    assert runs_here(conf)
    assert conf["spark.driver.host"] == "127.0.0.1"
    assert conf["spark.local.dir"] == tempfile.gettempdir()


def test_what_is_set_comes_before_the_defaults() -> None:
    text = json.dumps(
        {
            "spark.master": "k8s://https://kubernetes.default.svc",
            "spark.ui.enabled": True,
            "spark.executor.cores": 2,
        }
    )
    conf = session_conf(text)
    assert not runs_here(conf)
    assert (conf["spark.ui.enabled"], conf["spark.executor.cores"]) == ("true", "2")
    assert conf.get("spark.driver.host") != "127.0.0.1"
    assert "spark.driver.bindAddress" not in conf


def test_java_options_are_added_to_ours() -> None:
    conf = session_conf('{"spark.driver.extraJavaOptions": "-Xss4m"}')
    assert conf["spark.driver.extraJavaOptions"] == f"-Djava.io.tmpdir={tempfile.gettempdir()} -Xss4m"


@pytest.mark.parametrize("text", ["spark.master=local", "[]", '"local"'])
def test_settings_that_are_no_json_object(text: str) -> None:
    with pytest.raises(PermanentError, match="WINDTUNNEL_SPARK_CONF: it is no JSON object"):
        session_conf(text)


def test_another_time_zone_would_give_other_answers() -> None:
    with pytest.raises(PermanentError, match="must be 'UTC'"):
        session_conf('{"spark.sql.session.timeZone": "Europe/Vienna"}')


def test_an_environment_without_pyspark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyspark", None)
    with pytest.raises(PermanentError, match=r"no pyspark; install windtunnel\[spark\]"):
        start_session(session_conf(""))


def test_a_machine_without_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(PermanentError, match=r"there is no Java .*openjdk-17-jre-headless"):
        start_session(session_conf(""))
