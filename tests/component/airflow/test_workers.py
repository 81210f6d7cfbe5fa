"""The lean worker and Airflow's own do the same DAGs; from outside nobody can tell which it was.

One Airflow runs the same DAGs twice at the same time, with each worker once.
"""

from __future__ import annotations

import json
import re
import shutil
import stat
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from real_airflow import PASSWORD, USERNAME, real_airflow
from worker_pair import ENDED, PODS

from windtunnel.cli.airflow_api import AirflowApi
from windtunnel.objects import open_store
from windtunnel.records import read_records

if TYPE_CHECKING:
    from collections.abc import Iterator

WORKERS = ("stock", "lean")
DAG_IDS = ("work", "functions")
DAGS = Path(__file__).parent / "dags"
PLUGINS = Path(__file__).parent / "plugins"
HANG = 1200.0
"""Seconds after which something hangs."""
# Of a worker's loader, which only the stock one has.
LOADER = "airflow.dag_processing."
BEGIN = "info ::group::Pre Execute"
# What differs from run to run, beside what `plain` replaces.
TIMES = ("timestamp", "bundle_prepare_ms", "dag_file_parse_ms")

LIFECYCLE = """\
apiVersion: windtunnel.dev/v1alpha1
kind: Lifecycle
metadata: {name: wind, owner: wind-team}
spec:
  sources: {gusts: {uri: "sources/gusts/{date}.parquet", schema: "features:Gusts"}}
  features: {transform: "features:transform", views: [tower], service: wind}
  label: {rows: "features:entity_rows", column: turned, kind: binary}
  training: {function: "train:train"}
"""
FEATURES = "Gusts = None\ndef transform(partitions, day): ...\ndef entity_rows(partitions, day): ...\n"

STAGE_PYTHON = """\
#!{python}
import json, signal, sys, time
stage, asked, answered = sys.argv[3], sys.argv[5], sys.argv[7]
request = json.load(open(asked))
params = request["params"]
def answer(value):
    json.dump(value, open(answered, "w"))
print(f"INFO {{stage}} of {{params.get('start')}}", flush=True)
if params.get("is") == "wrong":
    answer({{"error": {{"kind": "DataError", "what": "no rows", "where": "gusts", "fix": "give some",
                       "permanent": True, "reason": "data_error"}}}})
    sys.exit(2)
if params.get("for") == "ever":
    def ended(*_):
        print("WARNING told to end", flush=True)
        sys.exit(143)
    signal.signal(signal.SIGTERM, ended)
    time.sleep(600)
facts = {{
    "publish": {{"news": True}},
    "monitor": {{"retrain": True, "reason": "gusts drift", "measure": "0.3", "end": "2013-01-14"}},
    "snapshot": {{"decision": "refuse", "reasons": ["worse"]}},
}}.get(stage, {{}})
outputs = {{"rows": {{"kind": "rows", "uri": "s3://b/" + stage, "digest": "sha256:0"}}}}
answer({{"outputs": outputs, "facts": facts, "cached": False}})
"""


class Runs:
    """The runs of each worker, as Airflow's API and the object store show them."""

    def __init__(self, airflow: AirflowApi, directory: Path) -> None:
        self.airflow = airflow
        self.store = open_store(str(directory / "store"), {})
        self._directory = directory

    def of(self, worker: str, dag: str, path: str = "") -> str:
        return f"/dags/{dag}/dagRuns/{run_id(worker)}{path}"

    def start(self, worker: str, dag: str) -> None:
        run = {"dag_run_id": run_id(worker), "logical_date": None, "conf": {}}
        self.airflow.call("POST", f"/dags/{dag}/dagRuns", json=run)

    def over(self, worker: str, dag: str) -> bool:
        return self.airflow.call("GET", self.of(worker, dag))["state"] in ("success", "failed")

    def tasks(self, worker: str, dag: str = "work") -> dict[str, dict[str, Any]]:
        """Task instances by name, of mapped ones as in `per_slice[1]`."""
        rows = self.airflow.call("GET", self.of(worker, dag, "/taskInstances"), params={"limit": 100})
        return {
            row["task_id"] if row["map_index"] < 0 else f"{row['task_id']}[{row['map_index']}]": row
            for row in rows["task_instances"]
        }

    def states(self, worker: str, dag: str = "work") -> dict[str, str | None]:
        return {name: task["state"] for name, task in self.tasks(worker, dag).items()}

    def xcoms(self, worker: str, dag: str = "work") -> dict[tuple[str, int, str], Any]:
        rows = self.airflow.call("GET", self.of(worker, dag, "/taskInstances/~/xcomEntries"))["xcom_entries"]
        return {
            (row["task_id"], row["map_index"], row["key"]): self.airflow.call(
                "GET",
                self.of(worker, dag, f"/taskInstances/{row['task_id']}/xcomEntries/{row['key']}"),
                params={"map_index": row["map_index"]},
            )["value"]
            for row in rows
        }

    def events(self, worker: str) -> list[tuple[Any, ...]]:
        """(asset, what it is told, by which task)."""
        rows = self.airflow.call("GET", "/assets/events")["asset_events"]
        return sorted(
            (row["name"], json.dumps(row["extra"], sort_keys=True), row["source_task_id"])
            for row in rows
            if row["source_run_id"] == run_id(worker)
        )

    def logs(self, worker: str, dag: str) -> dict[str, list[dict[str, Any]]]:
        """Lines of every try's log in the object store, without what differs from run to run.

        Last what was printed: it comes by another way, and nobody promises where among the others it lands.
        """
        prefix = f"logs/dag_id={dag}/run_id={run_id(worker)}/"
        return {
            entry.key.removeprefix(prefix): sorted(self._log(entry.key, worker), key=is_printed)
            for entry in self.store.list(prefix)
        }

    def said(self, worker: str, task: str, attempt: int = 1) -> list[str]:
        """By a try of a task of `work`, as far as it is there: `info words`."""
        lines = self.logs(worker, "work").get(f"task_id={task}/attempt={attempt}.log", [])
        return [f"{line['level']} {line['event']}" for line in lines]

    def _log(self, key: str, worker: str) -> list[dict[str, Any]]:
        lines = [json.loads(plain(line, worker)) for line in self.store.get(key).decode().splitlines()]
        told = [line for line in lines if not str(line.get("logger")).startswith(LOADER)]
        return [{name: line[name] for name in line.keys() - TIMES} for line in told]

    def are_all_pods_gone(self) -> bool:
        """A task is over before its pod is: its last lines are uploaded then."""
        return len(list(self._directory.glob(PODS))) == len(
            (self._directory / ENDED).read_text().splitlines()
        )

    def exit_codes(self, worker: str) -> list[tuple[Any, ...]]:
        """(task, map index, try, exit code) of every process."""
        lines = (json.loads(line) for line in (self._directory / ENDED).read_text().splitlines())
        return sorted(tuple(of_task) for run, *of_task in lines if run == run_id(worker))

    def approve(self, worker: str) -> None:
        answer = {"chosen_options": ["Approve"], "params_input": {}}
        path = self.of(worker, "work", "/taskInstances/approve/-1/hitlDetails")
        self.airflow.call("PATCH", path, json=answer)

    def fail(self, worker: str, task: str) -> None:
        """As somebody does who marks it as failed."""
        path = self.of(worker, "work", f"/taskInstances/{task}")
        self.airflow.call("PATCH", path, json={"new_state": "failed"})

    def end_pod(self, worker: str, task: str) -> None:
        (self._directory / f"end-{run_id(worker)}-{task}").touch()


def run_id(worker: str) -> str:
    return f"{worker}__1"


def is_printed(line: dict[str, Any]) -> bool:
    return bool(line["logger"] == "task.stdout")


def plain(text: str, worker: str) -> str:
    text = text.replace(run_id(worker), "RUN")
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}", "ID", text)
    text = re.sub(r"[0-9a-f]{32}-[0-9a-f]{16}", "SPAN", text)
    text = re.sub(r"datetime\.datetime\(([^()]|\([^()]*\))*\)", "MOMENT", text)
    text = re.sub(r"object at 0x[0-9a-f]+", "object", text)
    text = re.sub(r"\b(PID|pid)(\W+)\d+", r"\1\g<2>0", text)
    return re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.\d]*(\+00:00|Z)?", "MOMENT", text)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """When they are over."""
    directory = tmp_path_factory.mktemp("airflow")
    lifecycle = directory / "lifecycles" / "wind"
    lifecycle.mkdir(parents=True)
    (lifecycle / "lifecycle.yaml").write_text(LIFECYCLE)
    (lifecycle / "features.py").write_text(FEATURES)
    (lifecycle / "train.py").write_text("def train(features, label): ...\n")
    stage_python = directory / "stage-python"
    stage_python.write_text(STAGE_PYTHON.format(python=sys.executable))
    stage_python.chmod(stage_python.stat().st_mode | stat.S_IXUSR)
    bundles = directory / "bundles"
    shutil.copytree(DAGS, bundles / "v1", ignore=shutil.ignore_patterns("__pycache__"))
    environment = {
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PLUGINS),
        "WINDTUNNEL_LIFECYCLES": str(lifecycle.parent),
        "WINDTUNNEL_STAGE_PYTHON": str(stage_python),
        "WINDTUNNEL_STORE": str(directory / "store"),
    }
    with real_airflow(directory, bundles, environment) as url:
        runs = Runs(AirflowApi(url, USERNAME, PASSWORD, patience=HANG), directory)
        for worker in WORKERS:
            for dag in DAG_IDS:
                runs.start(worker, dag)
        # What comes after is not what the runs began with.
        (bundles / "v2").mkdir()
        (bundles / "v2" / "work.py").write_text("raise SystemExit('of another version')\n")
        _follow(runs)
        yield runs


def _follow(runs: Runs) -> None:
    """Until all are over, do what people and nodes do to their tasks."""
    due = {(worker, task) for worker in WORKERS for task in ("failed", "deleted", "approve")}
    deadline = time.monotonic() + HANG
    while due or not (
        all(runs.over(worker, dag) for worker in WORKERS for dag in DAG_IDS) and runs.are_all_pods_gone()
    ):
        states = {worker: runs.states(worker) for worker, _ in due}
        assert time.monotonic() < deadline, f"something hangs: {states}"
        due -= {(worker, task) for worker, task in due if _act(runs, worker, task, states[worker][task])}
        # Seldom: Airflow and both workers share the machine.
        time.sleep(2)


def _act(runs: Runs, worker: str, task: str, state: str | None) -> bool:
    """Whether it was time to."""
    if task == "approve" and state == "awaiting_input":
        runs.approve(worker)
        return True
    # What it says is in the object store while it runs.
    if state != "running" or "info snapshot of None" not in runs.said(worker, task):
        return False
    if task == "failed":
        runs.fail(worker, task)
    else:
        runs.end_pod(worker, task)
    return True


def test_states_and_tries_are_the_same(runs: Runs) -> None:
    def seen(worker: str) -> dict[str, Any]:
        shown = ("state", "try_number", "rendered_map_index", "rendered_fields", "operator", "dag_version")
        tasks = {name: {key: task[key] for key in shown} for name, task in runs.tasks(worker).items()}
        assert all(task["dag_version"].pop("bundle_version") == "v1" for task in tasks.values())
        return {name: plain(json.dumps(task), worker) for name, task in tasks.items()}

    assert seen("lean") == seen("stock")
    assert runs.states("lean") == {
        "first": "success",
        "per_slice[0]": "success",
        "per_slice[1]": "success",
        "publish": "success",
        "monitor": "success",
        "gate": "success",
        "after_gate": "skipped",
        "approve": "success",
        "later": "success",
        "failed": "failed",
        "deleted": "failed",
        "late": "failed",
        "killed": "failed",
        "wrong": "failed",
    }
    tasks = runs.tasks("lean")
    assert (tasks["first"]["try_number"], tasks["wrong"]["try_number"]) == (2, 1)
    assert tasks["per_slice[1]"]["rendered_map_index"] == "2013-01-08 to 2013-01-14"


def test_xcoms_are_the_same(runs: Runs) -> None:
    def seen(worker: str) -> dict[tuple[str, int, str], str]:
        xcoms = runs.xcoms(worker)
        # Each was approved at a moment of its own.
        assert xcoms["approve", -1, "return_value"].pop("responded_at")
        return {key: plain(json.dumps(value), worker) for key, value in xcoms.items()}

    assert seen("lean") == seen("stock")
    xcoms = runs.xcoms("lean")
    assert xcoms["first", -1, "beside"] == {"days": [14]}
    assert xcoms["per_slice", 1, "return_value"]["outputs"]["rows"]["uri"] == "s3://b/extract"
    assert xcoms["later", -1, "return_value"]["days"] == 14


def test_assets_and_aliases_are_told_the_same(runs: Runs) -> None:
    assert runs.events("lean") == runs.events("stock")
    assert [(asset, json.loads(extra), task) for asset, extra, task in runs.events("lean")] == [
        ("wind/drift", {"reason": "gusts drift", "measure": "0.3", "end": "2013-01-14"}, "monitor"),
        ("wind/tower", {"start": "2013-01-01", "end": "2013-01-07"}, "publish"),
    ]


def test_logs_in_the_object_store_are_the_same(runs: Runs) -> None:
    lean, stock = runs.logs("lean", "work"), runs.logs("stock", "work")
    assert lean.keys() == stock.keys()
    for name, lines in lean.items():
        assert lines == stock[name], name
    assert "info printed work of 1 for file:///days/1" in runs.said("lean", "first", attempt=2)
    assert runs.said("lean", "approve").count(BEGIN) == 2, "of both pods"


def test_callbacks_and_the_listeners_of_plugins_are_called(runs: Runs) -> None:
    for worker in WORKERS:
        failed, worked = runs.said(worker, "first"), runs.said(worker, "first", attempt=2)
        assert "info called back about first: the first try fails" in failed
        assert "info heard that first failed: the first try fails" in failed
        assert "info called back about first: None" in worked
        assert "info heard that first succeeded" in worked
        assert "info heard that TaskRunnerMarker starts" in worked


def test_a_pod_succeeds_whatever_became_of_its_task(runs: Runs) -> None:
    assert runs.exit_codes("lean") == runs.exit_codes("stock")
    assert {code for *_, code in runs.exit_codes("lean")} == {0}


def test_what_is_ended_from_outside_ends_its_stage_first(runs: Runs) -> None:
    for task in ("failed", "deleted", "late"):
        assert "warning told to end" in runs.said("lean", task)


def test_stage_records_of_failures_are_the_same(runs: Runs) -> None:
    def seen(worker: str) -> list[tuple[str, ...]]:
        told = ("stage", "view", "reason", "error")
        records = read_records(runs.store, "wind")
        return sorted(
            tuple(record[name] for name in told) for record in records if record["run_id"] == run_id(worker)
        )

    assert seen("lean") == seen("stock")
    assert [record[:3] for record in seen("lean")] == [
        ("extract", "", "data_error"),
        ("score", "", "timeout"),
        ("snapshot", "", "stopped"),
        ("snapshot", "tower", "stopped"),
    ]


def test_a_dag_that_needs_all_of_airflow_gets_it(runs: Runs) -> None:
    for worker in WORKERS:
        assert runs.states(worker, "functions") == {"add": "success"}
        assert runs.xcoms(worker, "functions") == {("add", -1, "return_value"): 7}
    (lean,), (stock,) = (runs.logs(worker, "functions").values() for worker in ("lean", "stock"))
    assert [line["event"] for line in lean[:3]] == [
        "::group::Pre Execute",
        "heard that TaskRunnerMarker starts",
        "All of Airflow is loaded for this DAG file, which takes seconds more",
    ]
    # Then it begins again. Its first line is printed: it has not got Airflow's logging yet.
    printed = lean.pop()
    assert is_printed(printed)
    assert "::group::Pre Execute" in printed["event"]
    assert lean[3:] == stock[1:]
