"""Every setting of a lifecycle that is about serving reaches the ServedModel, and what is made of it."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from windtunnel.controller.config import ControllerConfig
from windtunnel.controller.reconcile import desired
from windtunnel.rollout.promotion import promote
from windtunnel.rollout.served_models import DirectoryServedModels
from windtunnel.spec.lifecycle import Guard, PredictionLog, Rollout, Serving
from windtunnel.spec.servedmodel import ServedModel
from windtunnel.spec.servedmodel_crd import crd
from windtunnel.stages.rollout import _candidate

if TYPE_CHECKING:
    from pathlib import Path

    from windtunnel.spec.servedmodel import ServedModelSpec
    from windtunnel.stages.base import StageEnv, StageRequest

RESOURCES = {"requests": {"cpu": "300m", "memory": "1Gi"}, "limits": {"cpu": "2", "memory": "2Gi"}}
SERVING: dict[str, Any] = {
    "replicas": 3,
    "max_replicas": 9,
    "target_cpu": 55,
    "resources": RESOURCES,
    "keep_warm": 2,
}
GUARD: dict[str, Any] = {
    "error_margin": 0.01,
    "max_error_rate": 0.1,
    "max_latency_ratio": 3.0,
    "max_prediction_shift": 0.3,
    "min_requests": 70,
}
LOG: dict[str, Any] = {"sample": 0.25}


def promoted(directory: Path, serving: Serving, guard: Guard, log: PredictionLog) -> ServedModelSpec:
    """What a ServedModel says after a promotion in a lifecycle with these settings."""
    spec = SimpleNamespace(serving=serving, rollout=Rollout(guard=guard), prediction_log=log)
    env = SimpleNamespace(lifecycle=SimpleNamespace(name="demo", spec=spec), log=logging.getLogger(__name__))
    reference = SimpleNamespace(uri="s3://b/1", digest="sha256:" + "1" * 64, meta={"version": "1"})
    request = SimpleNamespace(
        inputs={"bundle": reference, "model": reference, "verdict": reference}, run_id="run", params={}
    )
    verdict: dict[str, Any] = {"champion": None, "reasons": []}
    candidate = _candidate(cast("StageRequest", request), verdict, cast("StageEnv", env))
    promote(DirectoryServedModels(directory), candidate, datetime.now(UTC))
    found = DirectoryServedModels(directory).get("demo")
    assert found is not None
    return found.spec


def test_every_setting_reaches_the_served_model(tmp_path: Path) -> None:
    for settings, of in ((SERVING, Serving), (GUARD, Guard), (LOG, PredictionLog)):
        assert set(settings) == set(of.model_fields), f"a setting of {of.__name__} is not tested here"
    spec = promoted(tmp_path, Serving(**SERVING), Guard(**GUARD), PredictionLog(**LOG))
    serving = spec.serving.model_dump() | {"keep_warm": spec.keep_warm}
    assert serving == SERVING
    assert spec.guard.model_dump() == GUARD | {"enabled": True}
    assert spec.prediction_log.model_dump() == LOG


def test_defaults_say_the_same_on_both_sides(tmp_path: Path) -> None:
    """Who leaves a setting out of the lifecycle gets what who leaves it out of the ServedModel gets."""
    spec = promoted(tmp_path, Serving(), Guard(), PredictionLog())
    bare = ServedModel.model_validate(
        {"metadata": {"name": "demo"}, "spec": {"lifecycle": "demo", "champion": spec.champion.model_dump()}}
    ).spec
    # a lifecycle names the memory that its pods ask for; the controller has defaults of its own
    assert spec.serving.model_dump(exclude={"resources"}) == bare.serving.model_dump(exclude={"resources"})
    for part in ("guard", "keep_warm", "prediction_log"):
        assert getattr(spec, part) == getattr(bare, part)


def test_every_setting_of_the_pods_reaches_them(tmp_path: Path) -> None:
    spec = promoted(tmp_path, Serving(**SERVING), Guard(), PredictionLog())
    config = ControllerConfig.from_environment(
        {
            "POD_NAMESPACE": "windtunnel",
            "WINDTUNNEL_SERVING_IMAGE": "windtunnel/serving:1",
            "WINDTUNNEL_SERVING_SERVICE_ACCOUNT": "serving",
        }
    )
    model = ServedModel.model_validate({"metadata": {"name": "demo", "uid": "u"}, "spec": spec.model_dump()})
    made = {one["kind"]: one["spec"] for one in desired(model, config)}
    (container,) = made["Deployment"]["template"]["spec"]["containers"]
    assert container["resources"] == RESOURCES
    scaler = made["HorizontalPodAutoscaler"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (3, 9)
    assert scaler["metrics"][0]["resource"]["target"]["averageUtilization"] == 55


@pytest.mark.parametrize(
    ("of", "place"),
    [(Guard, "guard"), (PredictionLog, "predictionLog"), (Serving, "serving")],
)
def test_both_sides_allow_the_same_numbers(of: type[Guard | PredictionLog | Serving], place: str) -> None:
    """What a lifecycle may say must be nothing that the API server refuses at the end of a rollout."""
    spec = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    ours = of.model_json_schema(by_alias=True)["properties"]
    for name, setting in ours.items():
        if name == "resources":
            continue
        theirs = spec[name] if name == "keepWarm" else spec[place]["properties"][name]
        bounds = next((one for one in setting.get("anyOf", ()) if one["type"] != "null"), setting)
        for bound in ("minimum", "maximum", "default"):
            if bound in bounds or bound in theirs:
                assert bounds.get(bound, setting.get(bound)) == theirs.get(bound), (name, bound)
