"""The thread: source partitions become features, a model, a verdict and served predictions."""

from __future__ import annotations

import httpx
import pytest
from dev.demo.ask import ask
from dev.demo.target import ROOT
from dev.demo.thread import asked_at
from tests.cluster.release import END, LIFECYCLE, Thread

from windtunnel.ledger import Ledger
from windtunnel.spec import load_lifecycle

FEATURES = {"plan", "plan_materialize", "extract", "transform", "materialize.route", "publish"}
TRAIN = {"snapshot", "train", "evaluate", "rollout"}


def test_every_stage_of_both_dags_succeeded(thread: Thread) -> None:
    assert {task.state for task in thread.features.tasks} == {"success"}
    assert {task.state for task in thread.train.tasks} == {"success"}
    assert {task.task_id for task in thread.features.tasks} >= FEATURES
    assert {task.task_id for task in thread.train.tasks} >= TRAIN


def test_every_stage_ran_in_a_pod_of_its_own_in_the_stages_namespace(
    thread: Thread,
) -> None:
    pods = [task.pod for run in (thread.features, thread.train) for task in run.tasks]
    assert len(set(pods)) == len(pods)
    assert set(pods) <= set(thread.pods.seen)


def test_every_stage_pod_is_labelled_with_the_digest_of_its_spec(thread: Thread) -> None:
    digest = load_lifecycle(ROOT / "dags/lifecycles" / LIFECYCLE).digest.removeprefix("sha256:")
    for run in (thread.features, thread.train):
        for task in run.tasks:
            label = thread.pods.seen[task.pod].spec
            assert label
            assert digest.startswith(label)


def test_the_first_model_is_promoted_with_reasons_and_figures(thread: Thread) -> None:
    verdict = thread.platform.api.result(thread.train.dag_id, thread.train.run_id, "evaluate")["facts"]
    assert verdict["decision"] == "promote"
    assert verdict["reasons"]
    metrics = verdict["metrics"]
    assert metrics["challenger"]["log_loss"] < metrics["base_rate"]["log_loss"]


def test_kubectl_shows_the_champion_ready(thread: Thread) -> None:
    found = thread.platform.kubectl.json(
        "get", "servedmodel", "flight-delay", "-n", thread.platform.namespace
    )
    assert found["status"]["phase"] == "Ready"
    assert found["status"]["champion"] == found["spec"]["champion"]["version"]
    table = thread.platform.kubectl.run("get", "servedmodels", "-n", thread.platform.namespace)
    assert table.split("\n")[0].split() == [
        "NAME",
        "MODEL",
        "CHAMPION",
        "CHALLENGER",
        "TRAFFIC",
        "GUARD",
        "PHASE",
        "READY",
        "AGE",
    ]


def test_the_model_answers_by_entity_key_and_by_vector(thread: Thread) -> None:
    by_key, by_vector = ask(thread.platform, LIFECYCLE, asked_at(END))
    for answer in (by_key, by_vector):
        assert 0 < answer.value < 1
        assert answer.prediction_id
    assert by_key.missing_features <= 1  # calm air has no gusts
    assert by_key.prediction_id != by_vector.prediction_id


def test_the_ledger_has_the_promotion_and_its_chain_holds(thread: Thread) -> None:
    ledger = Ledger(thread.platform.store, LIFECYCLE)
    ledger.verify()
    promotions = [entry for entry in ledger.entries() if entry["action"] == "promotion"]
    assert (promotions[0]["run_id"], promotions[0]["version"]) == (thread.train.run_id, "1")
    assert [entry["run_id"] for entry in promotions].count(thread.train.run_id) == 1


def test_mlflow_ties_the_version_to_what_made_it(thread: Thread) -> None:
    platform = thread.platform
    with platform.kubectl.port_forward(platform.namespace, f"svc/{platform.release}-mlflow", 5000) as port:
        answer = httpx.get(
            f"http://127.0.0.1:{port}/api/2.0/mlflow/registered-models/alias",
            params={"name": LIFECYCLE, "alias": "champion"},
        ).json()["model_version"]
    tags = {tag["key"] for tag in answer["tags"]}
    assert tags >= {
        f"windtunnel.{name}" for name in ("spec", "code", "snapshot", "bundle", "bundle_digest", "run_id")
    }


@pytest.mark.parametrize("stage", ["train", "evaluate"])
def test_the_log_of_a_finished_stage_can_be_read_in_airflow(thread: Thread, stage: str) -> None:
    task = next(task for task in thread.train.tasks if task.task_id == stage)
    lines = thread.platform.api.log(thread.train.dag_id, thread.train.run_id, task)
    assert len(lines) > 3
