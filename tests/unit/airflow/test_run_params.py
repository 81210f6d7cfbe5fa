from __future__ import annotations

import pytest
from airflow.sdk.exceptions import ParamValidationError

from windtunnel.airflow.run_params import check_known, is_forced, params_of
from windtunnel.errors import RequestError


def test_every_param_says_what_it_is_for() -> None:
    for dag in ("features", "train", "score", "monitor"):
        assert all(param.description for param in params_of(dag).values())


def test_the_first_day_of_training_is_not_asked_for() -> None:
    assert list(params_of("train")) == ["end", "force", "from_stage", "reason"]


def test_from_stage_offers_the_stages_of_its_dag() -> None:
    param = params_of("features")["from_stage"]
    assert param.schema["enum"] == [None, "extract", "transform", "materialize", "publish"]
    with pytest.raises(ParamValidationError, match="'materialise' is not one of"):
        param.resolve("materialise")


def test_a_day_that_is_none_is_refused_when_the_run_is_asked_for() -> None:
    with pytest.raises(ParamValidationError, match="'2013-02-30' is not a 'date'"):
        params_of("features")["end"].resolve("2013-02-30")


def test_a_misspelled_param_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(RequestError, match=r"no param 'strat'; did you mean 'start'\? it takes start, end"):
        check_known("features", {"strat": "2013-01-01"})
    check_known("features", {"start": "2013-01-01"})
    check_known("features", None)


@pytest.mark.parametrize(
    ("params", "forced"),
    [
        ({}, set()),
        ({"force": True}, {"snapshot", "train", "evaluate", "rollout"}),
        ({"from_stage": "evaluate"}, {"evaluate", "rollout"}),
        ({"from_stage": None, "force": False}, set()),
    ],
)
def test_stages_are_done_again_from_the_named_one_on(params: dict[str, object], forced: set[str]) -> None:
    stages = ("snapshot", "train", "evaluate", "rollout")
    assert {stage for stage in stages if is_forced(stage, "train", params)} == forced


def test_monitoring_is_asked_about_moments_and_never_forced() -> None:
    assert list(params_of("monitor")) == ["start", "end", "version", "folder"]
    assert params_of("monitor")["start"].schema["format"] == "date-time", "Airflow's form offers a calendar"


@pytest.mark.parametrize("dag", ["score", "monitor"])
def test_only_scoring_and_monitoring_may_name_a_version(dag: str) -> None:
    assert "version" not in {**params_of("features"), **params_of("train")}
    param = params_of(dag)["version"]
    assert param.resolve() is None
    assert param.resolve("7") == "7"
    for wrong in ("", 7, "7" * 64):
        with pytest.raises(ParamValidationError):
            param.resolve(wrong)
