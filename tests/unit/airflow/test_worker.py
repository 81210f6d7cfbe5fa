"""The lean worker's own parts: when it refuses, what it leaves to Airflow's, DAG files and bundles."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import pydantic
import pytest

from windtunnel.airflow.worker import __main__ as worker
from windtunnel.airflow.worker import messages, tested
from windtunnel.airflow.worker.bundles import BundleManager
from windtunnel.airflow.worker.dag_file import DagFile, UnreadableError
from windtunnel.errors import PermanentError

if TYPE_CHECKING:
    from collections.abc import Callable

STAGE_LOCK = Path(__file__).parents[3] / "images" / "stage" / "worker.lock"
EXECUTOR = ["python", "-m", "airflow.sdk.execution_time.execute_workload", "--json-string"]
TASK = {"type": "ExecuteTask", "dag_rel_path": "lifecycle_dags.py"}


class Replaced(Exception):
    """The process would have become another one."""


@pytest.fixture
def replaced_by(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Commands that the process was replaced by."""
    commands: list[list[str]] = []

    def execvp(file: str, command: list[str]) -> None:
        assert file == command[0]
        commands.append(command)
        raise Replaced

    monkeypatch.setattr("os.execvp", execvp)
    return commands


def test_the_stage_image_holds_the_airflow_that_it_was_tested_with() -> None:
    pins = dict(re.findall(r"^([a-z-]+)==(\S+)", STAGE_LOCK.read_text(), flags=re.MULTILINE))
    assert {name: pins[name] for name in tested.VERSIONS} == tested.VERSIONS


def test_another_airflow_is_refused_with_the_value_that_helps() -> None:
    versions = {**tested.VERSIONS, "apache-airflow-task-sdk": "1.4.0"}
    with pytest.raises(PermanentError) as refusal:
        tested.check_versions(versions.__getitem__)
    assert str(refusal.value) == (
        "the stage image's /opt/airflow: the lean worker was tested with apache-airflow-task-sdk 1.3.2 and "
        "finds 1.4.0; set stages.worker to stock in the chart's values, or install 1.3.2"
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("AIRFLOW__TRACES__OTEL_ON", "no OpenTelemetry"),
        ("AIRFLOW__LOGGING__REMOTE_LOGGING", "no log handlers but Windtunnel's own"),
    ],
)
def test_settings_that_it_cannot_honour_are_refused(
    name: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tested.check_settings()
    monkeypatch.setenv(name, "True")
    with pytest.raises(
        PermanentError, match=f"{name} of the stage pod: .*{words}; set stages.worker to stock"
    ):
        tested.check_settings()


def test_cluster_policies_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "airflow_local_settings.py").write_text("def task_policy(task): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PermanentError, match=r"airflow_local_settings\.py; set stages.worker to stock"):
        tested.check_settings()


def test_cluster_policies_that_a_distribution_brings_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distribution = tmp_path / "strict-1.0.dist-info"
    distribution.mkdir()
    (distribution / "METADATA").write_text("Metadata-Version: 2.1\nName: strict\nVersion: 1.0\n")
    (distribution / "entry_points.txt").write_text("[airflow.policy]\nall = strict.policies\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PermanentError, match=r"policies of strict\.policies; set stages.worker to stock"):
        tested.check_settings()


def test_a_refusal_is_where_kubernetes_looks_for_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(worker, "_TERMINATION_MESSAGE", tmp_path / "termination-log")
    monkeypatch.setitem(tested.VERSIONS, "apache-airflow-core", "2.11.0")
    assert worker.main([*EXECUTOR, json.dumps(TASK)]) == 1
    said = (tmp_path / "termination-log").read_text()
    assert "tested with apache-airflow-core 2.11.0" in said
    assert said in capsys.readouterr().err


IN_A_WORKER = """\
import json, sys
from pathlib import Path
from windtunnel.airflow.worker import description, messages, stand_ins
description.FILE = Path(sys.argv[1])
description.write()
from airflow.sdk import configuration, yaml
with open(configuration._default_config_file_path("config.yml")) as file:
    assert description.read() == yaml.safe_load(file), "the JSON says what the YAML says"
assert configuration.conf.get("core", "dags_folder").endswith("dags")
kept = json.loads(description.FILE.read_text())
for broken in ("{", json.dumps({**kept, "versions": {"apache-airflow-core": "2.0"}})):
    description.FILE.write_text(broken)
    assert description.read() == {}
    assert configuration.retrieve_configuration_description()["core"]
"""


def test_the_settings_description_is_that_of_the_yaml_and_is_not_believed_of_another_airflow(
    tmp_path: Path,
) -> None:
    environ = {**os.environ, "AIRFLOW_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-c", IN_A_WORKER, str(tmp_path / "share" / "settings.json")]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "home").exists(), "nothing is written into Airflow's home"


class First(pydantic.BaseModel):
    type: Literal["first", "eldest"] = "first"
    number: int


class Second(pydantic.BaseModel):
    type: Literal["second"] = "second"


ONE_OF = Annotated[First | Second, pydantic.Field(discriminator="type")]


def test_a_message_is_read_by_the_model_of_its_type_as_the_adapter_of_all_does() -> None:
    adapter, light = pydantic.TypeAdapter(ONE_OF), messages._adapter(ONE_OF)
    assert isinstance(light, messages.Messages)
    for sound in ({"type": "first", "number": 1}, {"type": "eldest", "number": "2"}, {"type": "second"}):
        assert light.validate_python(sound) == adapter.validate_python(sound)
    for odd in ({"type": "third"}, {"type": ["first"]}, {}, {"type": "first"}, "first", None, 7):
        for reader in (adapter, light):
            with pytest.raises(pydantic.ValidationError):
                reader.validate_python(odd)


def test_what_is_no_union_of_messages_is_left_to_pydantic() -> None:
    for of in (int, First, First | Second, list[First], Annotated[int, pydantic.Field(ge=1)]):
        assert isinstance(messages._adapter(of), pydantic.TypeAdapter)


def test_models_are_made_when_they_are_needed_and_only_those_of_airflow() -> None:
    with messages.made_when_needed():

        class Late(pydantic.BaseModel):
            number: int

        assert not Late.__pydantic_complete__
    assert Late(number="3").number == 3  # type: ignore[arg-type]

    class Soon(pydantic.BaseModel):
        number: int

    assert Soon.__pydantic_complete__
    assert pydantic.TypeAdapter(int).validate_python("3") == 3


@pytest.mark.parametrize(
    "command",
    [
        [*EXECUTOR, json.dumps({"type": "ExecuteCallback"})],
        [*EXECUTOR, json.dumps({**TASK, "dag_rel_path": "dags.zip"})],
        [*EXECUTOR[:3], "--json-path", "/tmp/workload.json"],
        ["bash", "-c", "true"],
    ],
)
def test_what_is_no_task_of_a_python_file_is_left_to_the_command_itself(
    command: list[str], replaced_by: list[list[str]]
) -> None:
    with pytest.raises(Replaced):
        worker.main(command)
    assert replaced_by == [command]


def test_a_bundle_is_made_as_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    local = "airflow.dag_processing.bundles.local.LocalDagBundle"
    bundles = [{"name": "team", "classpath": local, "kwargs": {"path": str(tmp_path)}}]
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", json.dumps(bundles))
    bundle = BundleManager().get_bundle("team", "v1")
    assert (bundle.name, bundle.version, bundle.path) == ("team", "v1", tmp_path)
    with pytest.raises(ValueError, match="'other' is not configured"):
        BundleManager().get_bundle("other")


@pytest.fixture
def dag_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], DagFile]:
    monkeypatch.setattr("sys.path", [*sys.path])

    def read(text: str) -> DagFile:
        path = tmp_path / "team" / "dags.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text("from airflow.sdk import DAG, BaseOperator\n" + text)
        return DagFile(
            str(path), bundle_path=tmp_path, bundle_name="team", safe_mode=False, load_op_links=False
        )

    return read


def test_dags_are_found_by_name_and_by_context(dag_file: Callable[[str], DagFile]) -> None:
    found = dag_file("by_name = DAG('one')\nwith DAG('two'): ...\nfor name in 'ab': DAG(name)\n").dags
    assert sorted(found) == ["one", "two"]
    assert found["one"].relative_fileloc == "team/dags.py"


def test_what_a_dag_file_imports_is_looked_for_in_its_bundle(
    dag_file: Callable[[str], DagFile], tmp_path: Path
) -> None:
    (tmp_path / "of_the_team_only.py").write_text("NAME = 'three'\n")
    assert list(dag_file("import of_the_team_only\ndag = DAG(of_the_team_only.NAME)\n").dags) == ["three"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("raise ValueError('a typing error')\n", "ValueError: a typing error"),
        ("raise SystemExit('no dag file')\n", "SystemExit: no dag file"),
        (
            "with DAG('round'):\n    a, b = (BaseOperator(task_id=name) for name in 'ab')\n    a >> b >> a\n",
            "AirflowDagCycleException: Cycle detected in Dag: round",
        ),
    ],
)
def test_a_dag_file_that_is_wrong_is_told_of(
    text: str, said: str, dag_file: Callable[[str], DagFile]
) -> None:
    with pytest.raises(UnreadableError, match=said):
        dag_file(text)


def test_a_dag_file_that_takes_for_ever_is_given_up(
    dag_file: Callable[[str], DagFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT", "0.1")
    with pytest.raises(UnreadableError, match=r"takes more than 0\.1 s to import"):
        dag_file("import time\ntime.sleep(600)\n")
