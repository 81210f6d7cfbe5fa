from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema
import pytest
from airflow.sdk import Asset, AssetAlias, AssetAll, AssetAny, AssetOrTimeSchedule, ParamsDict
from airflow.sdk.definitions.param import process_params
from airflow.serialization.serialized_objects import DagSerialization

from windtunnel.airflow import dag_factory, stage_classes
from windtunnel.airflow.dag_factory import lifecycle_dags
from windtunnel.airflow.run_params import params_of
from windtunnel.spec import code
from windtunnel.spec.stages import RETAIN_DAG

from .conftest import LIFECYCLE, on_drift, write_lifecycle, write_stage_classes

if TYPE_CHECKING:
    from airflow.sdk import DAG

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def dags(lifecycles: Path) -> dict[str, DAG]:
    return lifecycle_dags(lifecycles)


def arrows(dag: DAG) -> dict[str, set[str]]:
    return {task.task_id: set(task.downstream_task_ids) for task in dag.tasks}


WIND = ["wind__features", "wind__monitor", "wind__score", "wind__train"]


def test_a_lifecycle_has_four_dags_and_there_is_one_for_all(dags: dict[str, DAG]) -> None:
    assert sorted(dags) == sorted([*WIND, RETAIN_DAG])
    for dag in (dags[dag_id] for dag_id in WIND):
        assert dag.max_active_runs == 1
        assert dag.catchup is False
        assert {"windtunnel", "wind"} <= set(dag.tags)
        assert dag.owner == "wind-team"
        assert "Trigger" in (dag.doc_md or "")


def test_features_are_mapped_over_slices_and_views_and_published_once(dags: dict[str, DAG]) -> None:
    dag = dags["wind__features"]
    assert arrows(dag) == {
        "plan": {"extract", "transform"},
        "plan_materialize": {"materialize.tower", "materialize.hour"},
        "extract": {"transform"},
        "transform": {"materialize.tower", "materialize.hour"},
        "materialize.tower": {"publish"},
        "materialize.hour": {"publish"},
        "publish": set(),
    }
    mapped = {task.task_id for task in dag.tasks if task.is_mapped}
    assert mapped == {"extract", "transform", "materialize.tower", "materialize.hour"}
    for task_id in mapped:
        assert dag.get_task(task_id).map_index_template.count("stage_params") == 2
    assert dag.get_task("materialize.hour").partial_kwargs["view"] == "hour"


def test_each_plan_cuts_into_the_slices_of_the_spec(dags: dict[str, DAG]) -> None:
    dag = dags["wind__features"]
    assert (dag.get_task("plan").slice_days, dag.get_task("plan_materialize").slice_days) == (7, 60)


def test_publishing_tells_who_waits_for_any_of_the_views(dags: dict[str, DAG]) -> None:
    dag = dags["wind__features"]
    publish = dag.get_task("publish")
    assert {asset.uri for asset in publish.outlets} == {
        "x-windtunnel://wind/tower",
        "x-windtunnel://wind/hour",
    }
    assert publish.window_params == ("start", "end")
    assert not [task.task_id for task in dag.tasks if task.outlets and task is not publish]


def test_one_run_takes_half_of_the_pods_at_most(lifecycles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for parallelism, most in (("16", 8), ("1", 1)):
        monkeypatch.setenv("AIRFLOW__CORE__PARALLELISM", parallelism)
        dags = lifecycle_dags(lifecycles)
        assert {dags[dag_id].max_active_tasks for dag_id in WIND} == {most}


def test_one_run_takes_half_of_what_its_classes_have_at_most(
    lifecycles: Path, stage_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__PARALLELISM", "16")
    write_stage_classes(stage_directory, small=12, large=6, rollout=1)
    most = {name: dag.max_active_tasks for name, dag in lifecycle_dags(lifecycles).items()}
    # Training takes the class large, and ends in a rollout.
    assert most == dict.fromkeys(WIND, 6) | {"wind__train": 1, RETAIN_DAG: 2}


def test_every_task_takes_a_place_of_its_class(tmp_path: Path) -> None:
    write_lifecycle(tmp_path, text=LIFECYCLE + "  approval: {required: true}\n")
    for dag in lifecycle_dags(tmp_path).values():
        for task in dag.tasks:
            stage_class = Path(task.executor_config["pod_template_file"]).stem
            assert task.pool == f"stage-{stage_class}", task.task_id
            assert task.pool_slots == 1


def test_features_run_by_cron_with_intervals(dags: dict[str, DAG]) -> None:
    assert dags["wind__features"].timetable.expression == "0 3 * * 1"


def test_training_waits_for_all_views(dags: dict[str, DAG]) -> None:
    condition = dags["wind__train"].timetable.asset_condition
    assert isinstance(condition, AssetAll)
    assert {asset.uri for asset in condition.objects} == {
        "x-windtunnel://wind/tower",
        "x-windtunnel://wind/hour",
    }


def test_training_waits_for_drift_beside_its_schedule_where_the_lifecycle_says_so(lifecycles: Path) -> None:
    on_drift(lifecycles / "wind")
    timetable = lifecycle_dags(lifecycles)["wind__train"].timetable
    assert isinstance(timetable.asset_condition, AssetAny)
    views, drift = timetable.asset_condition.objects
    assert {asset.uri for asset in views.objects} == {"x-windtunnel://wind/tower", "x-windtunnel://wind/hour"}
    assert drift.uri == "x-windtunnel://wind/drift"


def test_training_by_cron_runs_on_drift_too(lifecycles: Path) -> None:
    on_drift(lifecycles / "wind", schedule='"0 5 * * *"')
    timetable = lifecycle_dags(lifecycles)["wind__train"].timetable
    assert isinstance(timetable, AssetOrTimeSchedule)
    assert timetable.timetable.expression == "0 5 * * *"
    assert [asset.uri for asset in timetable.asset_condition.objects] == ["x-windtunnel://wind/drift"]


def test_training_by_hand_may_still_run_on_drift(lifecycles: Path) -> None:
    on_drift(lifecycles / "wind", schedule="null")
    timetable = lifecycle_dags(lifecycles)["wind__train"].timetable
    assert [asset.uri for asset in timetable.asset_condition.objects] == ["x-windtunnel://wind/drift"]


def test_monitoring_runs_by_its_cron_and_tells_of_drift_by_an_alias(lifecycles: Path) -> None:
    assert lifecycle_dags(lifecycles)["wind__monitor"].schedule is None
    on_drift(lifecycles / "wind")
    dag = lifecycle_dags(lifecycles)["wind__monitor"]
    assert dag.timetable.expression == "0 * * * *"
    assert arrows(dag) == {"monitor": set()}
    task = dag.get_task("monitor")
    assert task.outlets == [AssetAlias("wind/drift")], "as an outlet itself every success would tell of it"
    assert task.drift == Asset(name="wind/drift", uri="x-windtunnel://wind/drift")


def test_training_passes_on_references(dags: dict[str, DAG]) -> None:
    dag = dags["wind__train"]
    assert arrows(dag) == {
        "snapshot": {"train", "evaluate"},
        "train": {"evaluate", "rollout"},
        "evaluate": {"rollout"},
        "rollout": set(),
    }
    assert dag.get_task("evaluate").gate
    assert list(dag.get_task("rollout").results) == ["evaluate", "train"]


def test_an_approval_stands_between_verdict_and_rollout(tmp_path: Path) -> None:
    write_lifecycle(tmp_path, text=LIFECYCLE + "  approval: {required: true}\n")
    dag = lifecycle_dags(tmp_path)["wind__train"]
    assert arrows(dag)["evaluate"] == {"approve", "rollout"}
    assert arrows(dag)["approve"] == {"rollout"}


def test_scoring_is_mapped_over_shards(dags: dict[str, DAG]) -> None:
    score = dags["wind__score"].get_task("score")
    assert score.expand_input.value["stage_params"] == [{"shard": shard, "shards": 3} for shard in range(3)]
    assert dags["wind__score"].schedule is None


def test_stages_take_class_time_and_retries_from_the_spec(dags: dict[str, DAG]) -> None:
    train = dags["wind__train"].get_task("train")
    assert train.executor_config == {"pod_template_file": "/opt/windtunnel/pod-templates/large.yaml"}
    assert train.execution_timeout == timedelta(hours=2)
    assert train.retries == 3
    snapshot = dags["wind__train"].get_task("snapshot")
    assert snapshot.executor_config == {"pod_template_file": "/opt/windtunnel/pod-templates/small.yaml"}
    assert snapshot.retries == 1


def test_only_what_runs_no_user_code_has_the_class_that_reaches_kubernetes(dags: dict[str, DAG]) -> None:
    with_rollout = {
        task.task_id for dag in dags.values() for task in dag.tasks if "rollout" in str(task.executor_config)
    }
    assert with_rollout == {"rollout", "retain.wind"}


def test_a_broken_lifecycle_is_shown_and_leaves_the_others_alone(lifecycles: Path) -> None:
    write_lifecycle(lifecycles, name="calm", text=LIFECYCLE.replace("views:", "veiws:"))
    dags = lifecycle_dags(lifecycles)
    assert sorted(dags) == sorted(["calm__broken", *WIND, RETAIN_DAG])
    assert dags[RETAIN_DAG].task_ids == ["retain.wind"], "who knows what a broken one keeps?"
    broken = dags["calm__broken"]
    assert "veiws" in (broken.doc_md or "")
    assert "broken" in broken.tags


def test_a_lifecycle_must_be_named_as_its_directory(tmp_path: Path) -> None:
    write_lifecycle(tmp_path, name="wind").rename(tmp_path / "storm")
    assert list(lifecycle_dags(tmp_path)) == ["storm__broken"]


@pytest.mark.parametrize("directory", ["my wind", "wind " * 40])
def test_a_directory_whose_name_airflow_refuses_leaves_the_others_alone(
    lifecycles: Path, directory: str
) -> None:
    write_lifecycle(lifecycles, name="calm").rename(lifecycles / directory)
    dags = lifecycle_dags(lifecycles)
    assert "wind__train" in dags
    (broken,) = (dag for dag_id, dag in dags.items() if dag_id.endswith("__broken"))
    assert directory in (broken.doc_md or "")


def test_a_class_that_the_platform_lacks_is_named_when_it_is_known(
    lifecycles: Path, stage_directory: Path
) -> None:
    assert "wind__train" in lifecycle_dags(lifecycles)
    write_stage_classes(stage_directory, small=4, gpu=1, rollout=1)
    broken = lifecycle_dags(lifecycles)["wind__broken"]
    assert "stages.train.class: there is no stage class 'large'; there are gpu, small" in str(broken.doc_md)


def test_user_code_does_not_get_the_rights_of_the_rollout(tmp_path: Path) -> None:
    write_lifecycle(tmp_path, text=LIFECYCLE.replace("class: large", "class: rollout"))
    broken = lifecycle_dags(tmp_path)["wind__broken"]
    assert "class 'rollout' is for stages that run no code of yours" in str(broken.doc_md)


def test_a_worker_makes_only_the_lifecycle_of_its_task(
    lifecycles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_lifecycle(lifecycles, name="calm")
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", "calm__train")
    assert sorted(lifecycle_dags(lifecycles)) == [
        "calm__features", "calm__monitor", "calm__score", "calm__train",
    ]  # fmt: skip


def test_what_is_kept_is_looked_at_by_a_task_for_each_lifecycle(lifecycles: Path) -> None:
    write_lifecycle(lifecycles, name="calm")
    dag = lifecycle_dags(lifecycles)[RETAIN_DAG]
    assert arrows(dag) == {"retain.calm": set(), "retain.wind": set()}
    task = dag.get_task("retain.calm")
    assert (task.lifecycle, task.stage, task.owner) == ("calm", "retain", "wind-team")
    assert task.asked_params == ("dry_run",)
    assert "pause" in str(dag.doc_md)


def test_a_worker_that_retains_makes_the_task_of_its_lifecycle_alone(
    lifecycles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_lifecycle(lifecycles, name="calm")
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", RETAIN_DAG)
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_TASK_ID", "retain.calm")
    loaded = counted(monkeypatch, dag_factory, "load_lifecycle")
    assert lifecycle_dags(lifecycles)[RETAIN_DAG].task_ids == ["retain.calm"]
    assert loaded == [(lifecycles / "calm",)]


@pytest.mark.parametrize("schedule", ["features", '"0 5 * * *"', "null", None])
def test_airflow_can_store_the_dags(lifecycles: Path, schedule: str | None) -> None:
    if schedule:
        on_drift(lifecycles / "wind", schedule)
    for dag in lifecycle_dags(lifecycles).values():
        stored = DagSerialization.from_dict(DagSerialization.to_dict(dag))
        assert stored.task_ids == [task.task_id for task in dag.tasks]


@pytest.mark.parametrize("schedule", ["features", '"0 5 * * *"', "null"])
def test_the_params_of_every_dag_fit_their_own_schemas(lifecycles: Path, schedule: str) -> None:
    """Airflow would ask at every parse; the factory leaves it out there."""
    on_drift(lifecycles / "wind", schedule)
    for dag in lifecycle_dags(lifecycles).values():
        assert set(dag.params.validate()) == set(params_of(dag.dag_id.rpartition("__")[2]))


def test_tasks_are_told_the_params_of_their_dag(dags: dict[str, DAG]) -> None:
    """As the task runner tells them, though no task has a copy."""
    for dag in dags.values():
        asked = params_of(dag.dag_id.rpartition("__")[2])
        for task in dag.tasks:
            assert set(process_params(dag, task, None, suppress_exception=False)) == set(asked)
    train = dags["wind__train"]
    told = process_params(train, train.get_task("train"), {"force": True}, suppress_exception=False)
    assert told["force"] is True


MANY = 200


@pytest.fixture
def many(tmp_path: Path) -> Path:
    for number in range(MANY):
        write_lifecycle(tmp_path / "many", name=f"wind_{number:03}")
    return tmp_path / "many"


def counted(monkeypatch: pytest.MonkeyPatch, owner: object, name: str) -> list[tuple[object, ...]]:
    """The arguments of each call of `owner.name` from now on."""
    calls: list[tuple[object, ...]] = []
    called = getattr(owner, name)

    def counting(*arguments: object, **keywords: object) -> object:
        calls.append(arguments)
        return called(*arguments, **keywords)

    monkeypatch.setattr(owner, name, counting)
    return calls


def test_a_worker_reads_one_lifecycle_of_two_hundred(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", "wind_117__train")
    loaded = counted(monkeypatch, dag_factory, "load_lifecycle")
    assert len(lifecycle_dags(many)) == 4
    assert loaded == [(many / "wind_117",)]


def test_a_parse_of_two_hundred_lifecycles_does_nothing_twice(
    many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What made a parse slow: the same source read for each name in it, schemas held against their
    meta-schema, and params copied into each task.
    """
    parsed = counted(monkeypatch, code.ast, "parse")
    validated = counted(monkeypatch, jsonschema, "validate")
    copied = counted(monkeypatch, ParamsDict, "__deepcopy__")
    classes = counted(monkeypatch, stage_classes, "slots")
    dags = lifecycle_dags(many)
    assert len(dags) == 4 * MANY + 1
    assert len(classes) == 1
    assert len(parsed) == 2 * MANY, "features.py and train.py, once each"
    assert not validated
    assert all(not params for params, *_ in copied)


def test_the_example_lifecycle_has_its_dags() -> None:
    dags = lifecycle_dags(REPOSITORY / "dags" / "lifecycles")
    assert {f"flight_delay__{dag}" for dag in ("features", "train", "score", "monitor")} <= set(dags)
