"""What keeps a platform of many lifecycles even: pools of the stage classes, and old runs taken out."""

from __future__ import annotations

import json
import re

import pytest


def named(objects, kind: str, ending: str):
    [found] = [
        o
        for o in objects
        if o["kind"] == kind and re.search(rf"{ending}(-[0-9a-f]{{8}})?$", o["metadata"]["name"])
    ]
    return found


def pools(objects) -> dict[str, dict]:
    return json.loads(named(objects, "ConfigMap", "pod-templates")["data"]["pools.json"])


def slots(objects) -> dict[str, int]:
    return {name: pool["slots"] for name, pool in pools(objects).items()}


def test_every_stage_class_has_a_pool_and_no_pool_is_without_a_class(objects):
    classes = {
        file.removesuffix(".yaml")
        for file in named(objects, "ConfigMap", "pod-templates")["data"]
        if file.endswith(".yaml")
    }
    assert set(pools(objects)) == {f"stage-{name}" for name in classes}
    for name, pool in pools(objects).items():
        # What `airflow pools import` asks for.
        assert set(pool) == {"slots", "description", "include_deferred"}, name
        assert pool["slots"] >= 1
        assert pool["include_deferred"] is False, "a task that waits for a human holds no pod"


def test_dags_ask_for_the_pools_that_are_rendered(default_objects, tmp_path):
    """The same module that the DAG factory asks, on what the chart mounts for it."""
    from windtunnel.airflow import stage_classes

    for file, text in named(default_objects, "ConfigMap", "pod-templates")["data"].items():
        (tmp_path / file).write_text(text)
    assert stage_classes.slots(tmp_path) == {"small": 16, "large": 16, "rollout": 8}
    assert {stage_classes.pool_of(name) for name in stage_classes.slots(tmp_path)} == set(
        pools(default_objects)
    )


@pytest.mark.parametrize(("parallelism", "rollouts"), [(1, 1), (2, 1), (3, 2), (8, 4), (64, 32)])
def test_a_class_has_the_whole_parallelism_unless_it_says_otherwise_and_rollouts_half(
    render, parallelism, rollouts
):
    found = slots(render({"airflow": {"parallelism": parallelism}}))
    assert found == {"stage-small": parallelism, "stage-large": parallelism, "stage-rollout": rollouts}


def test_slots_of_a_class_are_a_value(render):
    values = {"stages": {"classes": {"large": {"slots": 2}, "rollout": {"slots": 12}}}}
    assert slots(render(values)) == {"stage-small": 16, "stage-large": 2, "stage-rollout": 12}
    assert slots(render(variant="all-options"))["stage-gpu"] == 3


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "4"])
def test_slots_that_would_block_a_class_are_refused(render, wrong):
    with pytest.raises(Exception, match="slots"):
        render({"stages": {"classes": {"large": {"slots": wrong}}}})


def test_the_job_makes_the_pools_after_the_database_and_before_anybody_can_log_in(default_objects):
    pod = named(default_objects, "Job", "airflow-migrate")["spec"]["template"]["spec"]
    [container] = pod["containers"]
    steps = container["command"][-1].split(";")
    order = ["airflow db migrate", "windtunnel.airflow.pools", "windtunnel.airflow.admin_user"]
    assert [next(i for i, step in enumerate(steps) if word in step) for word in order] == [
        len(steps) - 3, len(steps) - 2, len(steps) - 1,
    ]  # fmt: skip
    [volume] = [v for v in pod["volumes"] if "configMap" in v]
    assert volume["configMap"]["name"].endswith("pod-templates")
    [mount] = [m for m in container["volumeMounts"] if m["name"] == volume["name"]]
    assert f"{mount['mountPath']}/pools.json" in container["command"][-1]


def test_changed_pools_are_made_by_a_new_job(render):
    def job(values) -> str:
        return named(render(values), "Job", "airflow-migrate")["metadata"]["name"]

    assert job({}) != job({"stages": {"classes": {"large": {"slots": 2}}}})
    assert job({}) == job({"stages": {"classes": {"large": {"scratch": "1Gi"}}}})


def test_who_makes_tasks_gives_them_their_place_in_the_queue(default_objects):
    """The scheduler, and the api-server: it makes the tasks of runs that are triggered by hand."""
    hooked = set()
    for item in default_objects:
        if item["kind"] == "Deployment":
            [first, *_] = item["spec"]["template"]["spec"]["containers"]
            path = {v["name"]: v.get("value") for v in first.get("env", [])}.get("PYTHONPATH")
            if path == "/opt/windtunnel/src/windtunnel/airflow/config":
                hooked.add(item["metadata"]["name"])
    assert hooked == {"windtunnel-airflow-scheduler", "windtunnel-airflow-api-server"}


def test_old_runs_go_by_airflows_own_command_and_what_could_harm_stays(default_objects):
    cron = named(default_objects, "CronJob", "airflow-retention")["spec"]
    assert cron["concurrencyPolicy"] == "Forbid"
    [container] = cron["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    command = container["command"][-1]
    assert re.search(r"airflow db clean .*--yes", command)
    assert {"--skip-archive", "--error-on-cleanup-failure", "--batch-size"} <= set(command.split())
    assert "-90 days" in command
    tables = set(command.split("--tables ")[1].strip().split(","))
    assert {"dag_run", "task_instance", "xcom", "log", "job"} <= tables
    assert not tables & {"dag", "trigger"}


def test_days_and_schedule_of_the_retention_are_values_and_it_can_be_left_out(render):
    cron = named(
        render({"airflow": {"retention": {"days": 30, "schedule": "@weekly"}}}), "CronJob", "retention"
    )
    assert cron["spec"]["schedule"] == "@weekly"
    assert "-30 days" in json.dumps(cron)
    left = [o["metadata"]["name"] for o in render({"airflow": {"retention": {"enabled": False}}})]
    assert not [name for name in left if "retention" in name]
    with pytest.raises(Exception, match="days"):
        render({"airflow": {"retention": {"days": 1}}})


def test_the_retention_reaches_the_database_alone(default_objects):
    policy = named(default_objects, "NetworkPolicy", "airflow-retention")["spec"]
    ports = {port["port"] for rule in policy["egress"] for port in rule["ports"]}
    assert ports == {5432, 53, 5353}
    assert not policy.get("ingress")
