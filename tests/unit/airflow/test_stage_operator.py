"""The operator with a real child process; only the stage environment's interpreter is a stand-in."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import DAG, Asset, AssetAlias
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowSkipException,
    DownstreamTasksSkipped,
)
from airflow.sdk.execution_time.context import OutletEventAccessors
from airflow.sdk.execution_time.timeout import timeout

from windtunnel.airflow import stage_operator
from windtunnel.airflow.plan_operator import PlanOperator
from windtunnel.airflow.run_params import params_of
from windtunnel.airflow.stage_operator import StageOperator
from windtunnel.records import read_records

if TYPE_CHECKING:
    from collections.abc import Callable

    from windtunnel.objects import ObjectStore

    from .conftest import StagePython

RESULT = {"outputs": {}, "facts": {}, "cached": False}
SNAPSHOT = {"outputs": {"snapshot": {"kind": "snapshot", "uri": "s3://b/s", "digest": "sha256:1", "rows": 9}}}


class TaskInstance:
    """What the operator needs of Airflow's."""

    run_id = "manual__2013-02-01T00:00:00+00:00"
    try_number = 2

    def __init__(self, map_index: int) -> None:
        self.map_index = map_index
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


def context(dag: str = "features", map_index: int = -1, events: Any = None, **conf: Any) -> Any:
    defaults = {name: param.value for name, param in params_of(dag).items()}
    return {
        "ti": TaskInstance(map_index),
        "params": {**defaults, **conf},
        "dag_run": SimpleNamespace(
            conf=conf,
            data_interval_start=None,
            data_interval_end=None,
            run_after=datetime(2013, 2, 1, 9, tzinfo=UTC),
        ),
        "triggering_asset_events": events or {},
        "outlet_events": defaultdict(lambda: SimpleNamespace(extra={})),
    }


def operator(stage: str, **kwargs: Any) -> StageOperator:
    return StageOperator(
        task_id=stage, lifecycle="wind", stage=stage, lifecycles="/lifecycles", stage_class="small", **kwargs
    )


def request_of(answer: dict[str, Any]) -> dict[str, Any]:
    return dict(answer["facts"]["request"])


ECHO = "result({'request': request, 'environment': dict(os.environ), 'argv': sys.argv[1:4]})"


def test_a_stage_is_told_what_the_run_is_about(stage_python: StagePython) -> None:
    stage_python.does(ECHO)
    task = operator("extract", stage_params={"start": "2013-01-01", "end": "2013-01-07"})
    answer = task.execute(context(map_index=3))
    assert request_of(answer) == {
        "lifecycle": "wind",
        "stage": "extract",
        "run_id": "manual__2013-02-01T00:00:00+00:00",
        "try_number": 2,
        "params": {"force": False, "start": "2013-01-01", "end": "2013-01-07", "map_index": 3},
        "inputs": {},
    }
    assert answer["facts"]["argv"] == ["-m", "windtunnel.stages", "extract"]


def test_params_that_a_stage_asks_for_are_handed_on_where_they_are_given(stage_python: StagePython) -> None:
    stage_python.does(ECHO)
    task = operator("score", window_params=("start", "end"), asked_params=("version",))
    told = request_of(task.execute(context("score", start="2013-01-01", end="2013-01-02", version="7")))
    assert told["params"] == {"force": False, "start": "2013-01-01", "end": "2013-01-02", "version": "7"}
    assert "version" not in request_of(task.execute(context("score", end="2013-01-02")))["params"]


def test_references_are_handed_on(stage_python: StagePython) -> None:
    stage_python.does(ECHO)
    answer = operator("train", results={"snapshot": SNAPSHOT}).execute(context("train"))
    assert request_of(answer)["inputs"]["snapshot"]["uri"] == "s3://b/s"
    assert request_of(answer)["inputs"]["snapshot"]["rows"] == 9


def test_an_input_that_is_not_there_is_named(stage_python: StagePython) -> None:
    stage_python.does(ECHO)
    with pytest.raises(AirflowFailException, match="train takes 'snapshot' from snapshot, whose"):
        operator("train", results={"snapshot": None}).execute(context("train"))


def test_the_stage_sees_no_secret_of_the_worker(
    stage_python: StagePython, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "hidden-jwt")
    monkeypatch.setenv("AIRFLOW_CONN_DB", "hidden-connection")
    monkeypatch.setenv("DATABASE_PASSWORD", "hidden-password")
    monkeypatch.setenv("WINDTUNNEL_STORE", "s3://b")
    stage_python.does(ECHO)
    environment = operator("extract").execute(context())["facts"]["environment"]
    assert "hidden" not in json.dumps(environment)
    assert not [name for name in environment if name.startswith("AIRFLOW")]
    assert environment["WINDTUNNEL_STORE"] == "s3://b"
    assert environment["WINDTUNNEL_LIFECYCLES"] == "/lifecycles"
    assert environment["PATH"].split(os.pathsep)[0] == str(stage_python.path.parent)


def test_its_lines_are_in_the_task_log(stage_python: StagePython, capfd: pytest.CaptureFixture[str]) -> None:
    stage_python.does("print('14:00:00 read 3 partitions'); print('WARNING: one is late'); result()")
    operator("extract").execute(context())
    logged = "".join(capfd.readouterr())
    assert "read 3 partitions" in logged
    assert "14:00:00" not in logged
    assert "one is late" in logged


def test_a_slice_of_a_view_is_materialized(stage_python: StagePython) -> None:
    stage_python.does(ECHO)
    task = operator("materialize", stage_params={"start": "2013-01-01", "end": "2013-03-31"}, view="tower")
    assert request_of(task.execute(context(map_index=0)))["params"] == {
        "force": False, "start": "2013-01-01", "end": "2013-03-31", "view": "tower", "map_index": 0,
    }  # fmt: skip


@pytest.fixture
def assets() -> list[Asset]:
    return [Asset(name=f"wind/{view}", uri=f"x-windtunnel://wind/{view}") for view in ("tower", "hour")]


def publish(assets: list[Asset]) -> StageOperator:
    return operator("publish", window_params=("start", "end"), outlets=assets)


def test_who_waits_for_features_hears_which_days_were_published(
    stage_python: StagePython, assets: list[Asset]
) -> None:
    stage_python.does("result({'views': {}, 'news': True}, published=1)")
    run = context(start="2013-01-01", end="2013-01-31")
    publish(assets).execute(run)
    for asset in assets:
        assert run["outlet_events"][asset].extra == {"start": "2013-01-01", "end": "2013-01-31"}


def test_days_older_than_those_published_before_start_nothing_and_keep_their_result(
    stage_python: StagePython, assets: list[Asset]
) -> None:
    stage_python.does("result({'views': {'tower': {'rows': 3}}, 'news': False}, published=1)")
    run = context(start="2012-01-01", end="2012-01-31")
    with pytest.raises(AirflowSkipException, match=r"publish is done.*2012-01-01 to 2012-01-31 are older"):
        publish(assets).execute(run)
    assert run["ti"].pushed["return_value"]["facts"]["views"] == {"tower": {"rows": 3}}
    assert not run["outlet_events"]


def test_training_that_assets_started_ends_where_the_newest_one_does(stage_python: StagePython) -> None:
    stage_python.does(ECHO)
    events = {
        "tower": [SimpleNamespace(timestamp=datetime(2013, 2, 2, tzinfo=UTC), extra={"end": "2013-02-01"})],
        "hour": [SimpleNamespace(timestamp=datetime(2013, 2, 1, tzinfo=UTC), extra={"end": "2013-01-31"})],
    }
    task = operator("snapshot", window_params=("end",))
    assert request_of(task.execute(context("train", events=events)))["params"]["end"] == "2013-02-01"
    by_hand = context("train", events=events, end="2013-01-15")
    assert request_of(task.execute(by_hand))["params"]["end"] == "2013-01-15"


def event(hour: int, **extra: str) -> Any:
    return SimpleNamespace(timestamp=datetime(2013, 2, 2, hour, tzinfo=UTC), extra=extra)


def test_training_that_drift_started_tells_every_stage_why(stage_python: StagePython) -> None:
    stage_python.does(ECHO)
    seen = event(3, reason="drift of gust", measure="wind/measures/m.json", end="2013-02-01")
    events = {
        "hour": [event(1, start="2013-01-31", end="2013-01-31")],
        "drift": [event(2, reason="old"), seen],
    }
    told = {"force": False, "reason": "drift of gust", "measure": "wind/measures/m.json"}
    snapshot = operator("snapshot", window_params=("end",)).execute(context("train", events=events))
    assert request_of(snapshot)["params"] == {**told, "end": "2013-02-01"}
    train = operator("train", results={"snapshot": SNAPSHOT})
    assert request_of(train.execute(context("train", events=events)))["params"] == told
    by_hand = request_of(train.execute(context("train", events=events, reason="new sensors")))["params"]
    assert by_hand == {"force": False, "reason": "new sensors"}


@pytest.fixture
def monitor() -> StageOperator:
    drift = Asset(name="wind/drift", uri="x-windtunnel://wind/drift")
    return operator(
        "monitor",
        window_params=("start", "end"),
        asked_params=("version",),
        outlets=[AssetAlias("wind/drift")],
        drift=drift,
    )


def test_monitoring_is_told_a_window_that_ends_with_the_run_or_as_asked(
    stage_python: StagePython, monitor: StageOperator
) -> None:
    stage_python.does(ECHO)
    run = context("monitor") | {"outlet_events": OutletEventAccessors()}
    assert request_of(monitor.execute(run))["params"] == {"force": False, "end": "2013-02-01T09:00:00+00:00"}
    asked = context("monitor", start="2013-01-31T12:00:00Z", end="2013-02-01T00:00:00Z", version="3")
    assert request_of(monitor.execute(asked | {"outlet_events": OutletEventAccessors()}))["params"] == {
        "force": False,
        "start": "2013-01-31T12:00:00+00:00",
        "end": "2013-02-01T00:00:00+00:00",
        "version": "3",
    }


def test_drift_that_lasts_is_told_with_its_reason_to_who_waits_for_it(
    stage_python: StagePython, monitor: StageOperator
) -> None:
    facts = {
        "retrain": True,
        "reason": "drift of gust",
        "measure": "wind/m.json",
        "end": "2013-01-31",
        "state": "retrain",
    }
    stage_python.does(f"result({facts!r}, measure=1)")
    run = context("monitor") | {"outlet_events": OutletEventAccessors()}
    monitor.execute(run)
    (told,) = run["outlet_events"][AssetAlias("wind/drift")].asset_alias_events
    assert told.dest_asset_key.uri == "x-windtunnel://wind/drift"
    assert told.extra == {"reason": "drift of gust", "measure": "wind/m.json", "end": "2013-01-31"}


@pytest.mark.parametrize("facts", [{"retrain": False, "state": "watching", "reason": "1 of 2"}, {}])
def test_what_does_not_last_is_told_to_nobody(
    stage_python: StagePython, monitor: StageOperator, facts: dict[str, Any]
) -> None:
    stage_python.does(f"result({facts!r}, measure=1)")
    run = context("monitor") | {"outlet_events": OutletEventAccessors()}
    monitor.execute(run)
    assert not run["outlet_events"][AssetAlias("wind/drift")].asset_alias_events


def test_a_wrong_param_fails_the_run_at_once_and_says_how_to_mend_it(stage_python: StagePython) -> None:
    stage_python.does(ECHO)
    with pytest.raises(AirflowFailException, match="no param 'edn'; did you mean 'end'"):
        operator("snapshot", window_params=("end",)).execute(context("train", edn="2013-01-01"))
    with pytest.raises(AirflowFailException, match="start 2013-02-02 lies after end 2013-01-01"):
        plan_of(7).execute(context(start="2013-02-02", end="2013-01-01"))


def plan_of(days: int) -> PlanOperator:
    return PlanOperator(task_id="plan", slice_days=days, setting="features.sliceDays")


def test_the_plan_is_made_of_slices() -> None:
    plan = plan_of(14)
    assert plan.execute(context(start="2013-01-01", end="2013-01-20")) == [
        {"start": "2013-01-01", "end": "2013-01-14"},
        {"start": "2013-01-15", "end": "2013-01-20"},
    ]


def test_more_slices_than_airflow_takes_are_refused_with_the_setting_that_helps() -> None:
    assert len(plan_of(1).execute(context(start="2010-01-01", end="2012-10-20"))) == 1024
    with pytest.raises(AirflowFailException, match=r"1025 slices of 1 days.*raise features\.sliceDays"):
        plan_of(1).execute(context(start="2010-01-01", end="2012-10-21"))


@pytest.mark.parametrize(
    ("code", "error", "words"),
    [
        (
            "answer({'error': {'kind': 'DataError', 'what': 'no rows', 'fix': 'add some', "
            "'reason': 'data_error'}}); sys.exit(2)",
            AirflowFailException,
            "data_error: extract: no rows; add some",
        ),
        (
            "answer({'error': {'kind': 'StoreError', 'what': 'no answer', 'reason': 'platform_error'}}); "
            "sys.exit(75)",
            AirflowException,
            "platform_error: extract: StoreError: no answer",
        ),
        ("1 / 0", AirflowException, "ZeroDivisionError: division by zero"),
        ("os.kill(os.getpid(), 9)", AirflowException, "was killed from outside"),
        ("pass", AirflowException, "ended without writing a result"),
    ],
)
def test_a_failure_is_told_in_words_and_only_permanent_ones_forbid_a_retry(
    stage_python: StagePython, code: str, error: type[Exception], words: str
) -> None:
    stage_python.does(code)
    with pytest.raises(AirflowException, match=words) as raised:
        operator("extract").execute(context())
    assert raised.type is error


def test_running_out_of_memory_is_named(stage_python: StagePython, monkeypatch: pytest.MonkeyPatch) -> None:
    kills = iter([0, 1])
    monkeypatch.setattr(stage_operator.cgroup, "oom_kills", lambda: next(kills))
    monkeypatch.setattr(stage_operator.cgroup, "memory_limit", lambda: 256 << 20)
    stage_python.does("os.kill(os.getpid(), 9)")
    with pytest.raises(AirflowException, match="out_of_memory: extract used its limit of 256 MiB"):
        operator("extract").execute(context())


def test_a_pod_without_the_stage_environment_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINDTUNNEL_STAGE_PYTHON", "/nowhere/python")
    with pytest.raises(
        AirflowFailException, match=r"/nowhere/python: No such file.*must run the stage image"
    ):
        operator("extract").execute(context())


def test_a_stage_that_takes_too_long_is_ended_and_named(stage_python: StagePython) -> None:
    stage_python.does("import time; print('pid', os.getpid(), flush=True); time.sleep(60)")
    task = operator("extract", execution_timeout=timedelta(minutes=30))
    with pytest.raises(AirflowException, match="timeout: extract ran longer than 30 min"), timeout(1.0):
        task.execute(context())
    assert task._process is not None
    assert not Path(f"/proc/{task._process.pid}").exists()


def test_a_task_that_is_ended_ends_its_stage(stage_python: StagePython) -> None:
    stage_python.does("import time; time.sleep(60)")
    task = operator("extract")
    # As Airflow does it: in a handler of SIGTERM, while execute reads.
    before = signal.signal(signal.SIGTERM, lambda *_: task.on_kill())
    try:
        threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGTERM)).start()
        with pytest.raises(AirflowException, match="stopped: extract was stopped"):
            task.execute(context())
    finally:
        signal.signal(signal.SIGTERM, before)
    assert task._process is not None
    assert not Path(f"/proc/{task._process.pid}").exists()


@pytest.fixture
def gate() -> StageOperator:
    with DAG("wind__train", schedule=None):
        evaluate = operator("evaluate", gate=True, results={"snapshot": SNAPSHOT, "train": _trained()})
        evaluate >> operator("rollout")
    return evaluate


def _trained() -> dict[str, Any]:
    return {
        "outputs": {
            name: {"kind": name, "uri": f"s3://b/{name}", "digest": "d"} for name in ("model", "bundle")
        }
    }


def test_a_refusal_skips_what_follows_and_keeps_its_result(
    stage_python: StagePython, gate: StageOperator, capfd: pytest.CaptureFixture[str]
) -> None:
    stage_python.does("result({'decision': 'refuse', 'reasons': ['worse by 0.02']}, verdict=1)")
    run = context("train")
    with pytest.raises(DownstreamTasksSkipped) as skipped:
        gate.execute(run)
    assert skipped.value.tasks == ["rollout"]
    assert run["ti"].pushed["return_value"]["outputs"]["verdict"]["uri"] == "s3://b/verdict"
    assert "worse by 0.02" in "".join(capfd.readouterr())


def test_a_promotion_lets_the_rollout_go_on(stage_python: StagePython, gate: StageOperator) -> None:
    stage_python.does("result({'decision': 'promote'}, verdict=1)")
    assert gate.execute(context("train"))["facts"]["decision"] == "promote"


def test_an_answer_from_the_cache_is_told(
    stage_python: StagePython, capfd: pytest.CaptureFixture[str]
) -> None:
    stage_python.does("answer({'outputs': {}, 'facts': {}, 'cached': True})")
    operator("extract").execute(context())
    assert "had this result already" in "".join(capfd.readouterr())


@pytest.fixture
def recorded(
    store: ObjectStore, lifecycles: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict[str, Any]]:
    """Runs a failing task and gives the one record that it left."""
    monkeypatch.setenv("WINDTUNNEL_STORE", store.url)
    monkeypatch.setenv("WINDTUNNEL_STAGE_CLASS", "small")
    monkeypatch.setenv("WINDTUNNEL_PRICE_PER_HOUR", "0.5")

    def run(task: StageOperator, run_context: Any, words: str) -> dict[str, Any]:
        task.lifecycles = str(lifecycles)
        with pytest.raises(AirflowException, match=words):
            task.execute(run_context)
        [record] = read_records(store, "wind")
        return record

    return run


def test_a_stage_that_dies_without_a_word_gets_a_record(
    stage_python: StagePython, recorded: Callable[..., dict[str, Any]]
) -> None:
    stage_python.does("bytearray(64 << 20); os.kill(os.getpid(), 11)")
    task = operator("materialize", view="tower", stage_params={"start": "2013-01-01", "end": "2013-01-02"})
    record = recorded(task, context(map_index=3), "crashed: materialize crashed in native code")
    named = {
        name: record[name] for name in ("stage", "view", "map_index", "try", "outcome", "reason", "class")
    }
    assert named == {
        "stage": "materialize", "view": "tower", "map_index": 3, "try": 2, "outcome": "failed",
        "reason": "crashed", "class": "small",
    }  # fmt: skip
    assert "crashed in native code" in record["error"]
    assert record["spec_digest"].startswith("sha256:")
    assert record["max_memory_bytes"] > 64 << 20
    assert record["cost"] is not None


def test_a_time_limit_is_the_reason_although_the_stage_knew_only_that_it_was_stopped(
    stage_python: StagePython, recorded: Callable[..., dict[str, Any]]
) -> None:
    stage_python.does("import time; time.sleep(60)")
    task = operator("extract", execution_timeout=timedelta(minutes=30))
    with timeout(1.0):
        record = recorded(task, context(), "timeout: extract ran longer than 30 min")
    assert record["reason"] == "timeout"


def test_a_stage_that_could_not_even_begin_gets_a_record(
    stage_python: StagePython, recorded: Callable[..., dict[str, Any]]
) -> None:
    task = operator("snapshot", window_params=("end",))
    record = recorded(task, context("train", edn="2013-01-01"), "user_exception: .*did you mean 'end'")
    assert (record["stage"], record["reason"]) == ("snapshot", "user_exception")


def test_a_store_that_is_away_does_not_hide_the_failure(
    stage_python: StagePython, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WINDTUNNEL_STORE", "gs://nowhere")
    stage_python.does("os.kill(os.getpid(), 11)")
    with pytest.raises(AirflowException, match="crashed in native code"):
        operator("extract").execute(context())
