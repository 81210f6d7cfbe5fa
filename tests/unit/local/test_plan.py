from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import pytest

from windtunnel.errors import IntegrityError, RequestError
from windtunnel.local.plan import Step, forced_stages, plan
from windtunnel.spec import load_lifecycle
from windtunnel.spec.stages import STAGES, Reference, StageResult

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def steps(lifecycle_directory: Path) -> list[Step]:
    return plan(load_lifecycle(lifecycle_directory), (date(2026, 1, 1), date(2026, 2, 11)))


def test_every_stage_once_and_materialize_per_view(steps: list[Step]) -> None:
    assert [step.name for step in steps] == [
        "extract",
        "transform",
        "materialize.customer",
        "materialize.product",
        "publish",
        "snapshot",
        "train",
        "evaluate",
        "rollout",
        "score",
    ]


def test_dates_and_views_stand_in_the_params(steps: list[Step]) -> None:
    params = {step.name: step.params for step in steps}
    assert params["extract"] == {"start": "2026-01-01", "end": "2026-02-11"}
    assert params["materialize.product"]["view"] == "product"
    assert params["snapshot"] == {"end": "2026-02-11"}
    assert params["score"] == {"start": "2026-02-11", "end": "2026-02-11", "shard": 0, "shards": 1}


def test_more_days_than_one_materialize_takes_are_cut_into_slices(lifecycle_directory: Path) -> None:
    steps = plan(load_lifecycle(lifecycle_directory), (date(2026, 1, 1), date(2026, 6, 30)))
    mine = [step for step in steps if step.stage.name == "materialize"]
    assert [step.name for step in mine[:3]] == [
        "materialize.customer 2026-01-01..2026-03-31",
        "materialize.customer 2026-04-01..2026-06-29",
        "materialize.customer 2026-06-30..2026-06-30",
    ]
    assert mine[3].params == {"start": "2026-01-01", "end": "2026-03-31", "view": "product", "map_index": 0}
    assert [step.params["map_index"] for step in mine] == [0, 1, 2] * 2


def test_a_backfill_is_the_features_dag_alone_in_slices(lifecycle_directory: Path) -> None:
    days = date(2026, 1, 1), date(2026, 1, 20)
    steps = plan(load_lifecycle(lifecycle_directory), days, "features")
    assert [step.name for step in steps] == [
        "extract 2026-01-01..2026-01-14",
        "extract 2026-01-15..2026-01-20",
        "transform 2026-01-01..2026-01-14",
        "transform 2026-01-15..2026-01-20",
        "materialize.customer",
        "materialize.product",
        "publish",
    ]
    assert steps[-1].params == {"start": "2026-01-01", "end": "2026-01-20"}
    assert [step.params.get("map_index") for step in steps] == [0, 1, 0, 1, None, None, None]


def test_outputs_become_inputs(steps: list[Step]) -> None:
    results = {
        stage.name: StageResult(
            {name: Reference(name, f"{stage.name}/{name}", "sha256:0") for name in stage.outputs}
        )
        for stage in STAGES.values()
    }
    requests = {step.stage.name: step.request("demo", "run", results, force=False) for step in steps}
    uris = {name: reference.uri for name, reference in requests["evaluate"].inputs.items()}
    assert uris == {"snapshot": "snapshot/snapshot", "model": "train/model", "bundle": "train/bundle"}
    assert requests["train"].params["force"] is False


def test_a_missing_output_is_named(steps: list[Step]) -> None:
    train = next(step for step in steps if step.name == "train")
    with pytest.raises(IntegrityError, match="stage snapshot gave no 'snapshot'; it gave nothing"):
        train.request("demo", "run", {"snapshot": StageResult()}, force=False)


def test_from_a_stage_forces_it_and_what_follows() -> None:
    assert forced_stages(None) == set()
    assert forced_stages("evaluate") == {"evaluate", "rollout", "score"}
    with pytest.raises(RequestError, match="the stages are extract"):
        forced_stages("trian")


def test_scoring_alone_takes_all_days_at_once(lifecycle_directory: Path) -> None:
    (step,) = plan(load_lifecycle(lifecycle_directory), (date(2026, 1, 1), date(2026, 1, 20)), "score")
    assert step.params == {"start": "2026-01-01", "end": "2026-01-20", "shard": 0, "shards": 1}


def test_monitoring_is_about_no_days_and_no_part_of_a_whole_run(
    lifecycle_directory: Path, steps: list[Step]
) -> None:
    (step,) = plan(load_lifecycle(lifecycle_directory), None, "monitor")
    assert (step.name, step.params) == ("monitor", {})
    assert "monitor" not in [step.name for step in steps]
    with pytest.raises(RequestError, match="there is no stage 'monitor'"):
        forced_stages("monitor")
