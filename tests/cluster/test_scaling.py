"""How many pods serve, and what they hold: an autoscaler takes over and gives back, former champions stay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from dev.demo.kubectl import KubectlError
from tests.cluster.release import NAMESPACE
from tests.cluster.served import seat

if TYPE_CHECKING:
    from tests.cluster.served import Served

    from windtunnel.spec.servedmodel import ModelVersion


def uids(model: Served) -> set[str]:
    return {pod["metadata"]["uid"] for pod in model.pods()}


def autoscalers(model: Served) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = model.kubectl.json(
        "get", "hpa", "-n", NAMESPACE, "--field-selector", f"metadata.name={model.name}"
    )["items"]
    return found


def deployment(model: Served) -> dict[str, Any]:
    found: dict[str, Any] = model.kubectl.json("get", "deployment", model.name, "-n", NAMESPACE)
    return found


def conditions(model: Served) -> dict[str, str]:
    return {one["type"]: one["status"] for one in model.get()["status"]["conditions"]}


def test_an_autoscaler_takes_over_and_gives_back_without_touching_a_pod(proving: Served) -> None:
    pods, generation = uids(proving), deployment(proving)["metadata"]["generation"]
    proving.patch({"serving": {"maxReplicas": 3}})
    proving.wait("there is an autoscaler", lambda: autoscalers(proving) != [])
    # without metrics-server it sees nothing, and says so
    proving.wait("its condition is told", lambda: "Autoscaling" in conditions(proving))
    assert autoscalers(proving)[0]["spec"]["minReplicas"] == 2
    assert (uids(proving), deployment(proving)["metadata"]["generation"]) == (pods, generation)
    # the fewest are more now: that is the autoscaler's to do, and the status counts against what it wants
    proving.patch({"serving": {"replicas": 3}})
    proving.wait("three pods serve", lambda: proving.serves("1", 3))
    more, generation = uids(proving), deployment(proving)["metadata"]["generation"]
    assert pods < more
    proving.patch({"serving": {"maxReplicas": None}})
    proving.wait("the autoscaler is gone", lambda: autoscalers(proving) == [])
    proving.wait("so is its condition", lambda: "Autoscaling" not in conditions(proving))
    assert (uids(proving), deployment(proving)["metadata"]["generation"]) == (more, generation)
    proving.patch({"serving": {"replicas": 2}})
    proving.wait("two pods serve", lambda: proving.settled(2) and proving.serves("1", 2))


def test_a_former_champion_is_warm_in_every_pod(
    proving: Served, versions: tuple[ModelVersion, ModelVersion]
) -> None:
    first, second = versions

    def holds(champion: str, warm: list[str]) -> bool:
        return proving.serves(champion, 2) and proving.get()["status"].get("warm") == warm

    proving.patch({"champion": seat(second)})
    proving.wait("version 1 is warm", lambda: holds("2", ["1"]))
    proving.patch({"champion": seat(first)})
    proving.wait("version 2 is warm", lambda: holds("1", ["2"]))


@pytest.mark.parametrize(
    "spec",
    [
        {"serving": {"replicas": 3, "maxReplicas": 2}},
        {"serving": {"maxReplicas": 0}},
        {"serving": {"maxReplicas": 3, "targetCpu": 101}},
        {"keepWarm": 4},
        {"predictionLog": {"sample": 1.5}},
        {"rollout": {"runId": "r", "phase": "Canary", "since": "2026-01-01T00:00:00Z"}},
        {"history": [{"number": 0}]},
    ],
)
def test_the_api_server_refuses(proving: Served, spec: dict[str, Any]) -> None:
    before = proving.spec
    with pytest.raises(KubectlError, match="is invalid"):
        proving.patch(spec)
    assert proving.spec == before
