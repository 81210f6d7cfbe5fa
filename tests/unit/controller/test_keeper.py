"""One round for one ServedModel, against a cluster that is a small product of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from windtunnel.controller.config import ControllerConfig
from windtunnel.controller.keeper import FAILED_SECONDS, PROGRESSING_SECONDS, STEADY_SECONDS, Keeper
from windtunnel.controller.status import GuardView, PodView, View
from windtunnel.errors import PermanentError, TemporaryError, WindtunnelError
from windtunnel.spec.servedmodel import ModelVersion

if TYPE_CHECKING:
    from collections.abc import Mapping

    from windtunnel.spec.servedmodel import Metadata, ServedModelStatus

CONFIG = ControllerConfig.from_environment(
    {
        "POD_NAMESPACE": "windtunnel",
        "WINDTUNNEL_SERVING_IMAGE": "windtunnel/serving:1",
        "WINDTUNNEL_SERVING_SERVICE_ACCOUNT": "serving",
        "WINDTUNNEL_SERVING_EGRESS": "[]",
    }
)
DIGEST = "sha256:" + "a" * 64


class FakeCluster:
    """Keeps what is applied; its Deployment rolls out at once, its pods serve what `serves` says."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.applies = 0
        self.serves: tuple[str, str] | None = None
        self.status: ServedModelStatus | None = None
        self.events: list[tuple[str, str, str]] = []
        self.broken: WindtunnelError | None = None
        self.given: dict[str, Any] | None = None
        """The ServedModel, where it is another than the watch has told of."""
        self.wants = 0
        """Pods that the autoscaler wants; 0: it has not looked."""
        self.steps: list[str] = []

    def served_model(self, name: str) -> dict[str, Any] | None:
        if self.broken and isinstance(self.broken, TemporaryError):
            raise self.broken
        return self.given

    def apply(self, wanted: dict[str, Any]) -> None:
        if self.broken:
            raise self.broken
        self.applies += 1
        self.objects[wanted["kind"]] = wanted
        self.steps.append(f"apply {wanted['kind']}")

    def apply_scaled(self, wanted: dict[str, Any], replicas: int) -> None:
        assert "replicas" not in wanted["spec"]
        self.wants = self.wants or replicas
        self.apply(wanted)

    def autoscaler(self, name: str) -> dict[str, Any] | None:
        return self.objects.get("HorizontalPodAutoscaler")

    def remove_autoscaler(self, about: Metadata) -> None:
        if self.objects.pop("HorizontalPodAutoscaler", None):
            self.steps.append("remove HorizontalPodAutoscaler")

    def deployment(self, name: str) -> dict[str, Any] | None:
        if self.broken and isinstance(self.broken, TemporaryError):
            raise self.broken
        made = self.objects.get("Deployment")
        if made is None or made["metadata"]["name"] != name:
            return None
        replicas = made["spec"].get("replicas", self.wants)
        status = {"observedGeneration": 1, "updatedReplicas": replicas, "replicas": replicas}
        return {"metadata": {"generation": 1}, "spec": {"replicas": replicas}, "status": status}

    def pods(self, name: str, lifecycle: str) -> list[PodView]:
        assert (name, lifecycle) == ("flight-delay", "flight_delay")
        return [PodView("pod", True, *self.serves, address="10.0.0.9")] if self.serves else []

    def write_status(self, name: str, status: ServedModelStatus) -> None:
        assert name == "flight-delay"
        self.status = status

    def tell(self, about: Metadata, kind: str, reason: str, message: str) -> None:
        assert about.name == "flight-delay"
        self.events.append((kind, reason, message))


class FakeGuard:
    """Says what it is told to say, and notes which pods it is shown."""

    def __init__(self) -> None:
        self.pods: Mapping[str, str] = {}
        self.view: GuardView | None = None

    def look(self, value: Mapping[str, Any]) -> float:
        return 1.0


class FakeRecorder:
    """The same for the recorder."""

    def __init__(self) -> None:
        self.view: View | None = None
        self.recorded = 0

    def look(self, value: Mapping[str, Any]) -> float:
        return 1.0


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def served_model(version: str = "1", generation: int = 1, **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "flight-delay",
            "uid": "a-uid",
            "generation": generation,
            "resourceVersion": "5",
        },
        "spec": {
            "lifecycle": "flight_delay",
            "champion": {"version": version, "bundle": "s3://b/1", "digest": DIGEST},
            **spec,
        },
    }


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def guard() -> FakeGuard:
    return FakeGuard()


class Told(Keeper):
    """A keeper of a cluster whose API server has what the watch tells."""

    def __init__(
        self,
        cluster: FakeCluster,
        guard: FakeGuard | None = None,
        clock: Clock | None = None,
        config: ControllerConfig = CONFIG,
    ) -> None:
        self.says = FakeRecorder()
        super().__init__(cluster, config, guard or FakeGuard(), self.says, self.says, clock or Clock())
        self._fake = cluster

    def round(self, value: Mapping[str, Any]) -> float:
        self._fake.given = dict(value)
        return super().round(value)


@pytest.fixture
def keeper(cluster: FakeCluster, guard: FakeGuard, clock: Clock) -> Told:
    return Told(cluster, guard, clock)


def phase(cluster: FakeCluster) -> str:
    assert cluster.status is not None
    return cluster.status.phase


def test_applies_watches_closely_then_calms_down(keeper: Keeper, cluster: FakeCluster) -> None:
    assert keeper.round(served_model()) == PROGRESSING_SECONDS
    assert phase(cluster) == "Pending"
    assert set(cluster.objects) == {"Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy"}
    cluster.serves = ("1", DIGEST)
    assert keeper.round(served_model()) == STEADY_SECONDS
    assert phase(cluster) == "Ready"
    assert cluster.events == [("Normal", "ChampionServes", "version 1 serves")]


def test_the_names_of_the_platforms_own_objects_are_not_for_models(cluster: FakeCluster) -> None:
    keeper = Told(cluster, config=replace(CONFIG, name_prefix="flight"))
    keeper.round(served_model())
    assert not cluster.objects
    assert phase(cluster) == "Degraded"
    assert cluster.events == [
        ("Warning", "NameTaken", "names that begin with flight- are the platform's own")
    ]


def test_the_status_says_what_the_ledger_has(keeper: Told, cluster: FakeCluster) -> None:
    keeper.round(served_model(history=[]))
    assert cluster.status is not None
    assert cluster.status.recorded == 0
    keeper.says.view, keeper.says.recorded = View("False", "LedgerAway", "1 acts wait"), 3
    keeper.round(served_model(generation=2))
    said = cluster.status
    assert said.recorded == 3
    assert [(one.status, one.reason) for one in said.conditions if one.type == "Recorded"] == [
        ("False", "LedgerAway")
    ]
    keeper.round(served_model(generation=3, lifecycle="Not A Name"))
    assert cluster.status.recorded == 3
    assert "Recorded" in [one.type for one in cluster.status.conditions]
    # another controller goes on from there
    left = {"status": cluster.status.model_dump(mode="json")}
    Told(cluster).round(served_model(generation=4) | left)
    assert cluster.status.recorded == 3


def test_a_promotion_is_told_once_it_serves(keeper: Keeper, cluster: FakeCluster) -> None:
    cluster.serves = ("1", DIGEST)
    keeper.round(served_model())
    keeper.round(served_model("2", 2))
    assert phase(cluster) == "Progressing"
    cluster.serves = ("2", DIGEST)
    keeper.round(served_model("2", 2))
    keeper.round(served_model("2", 2))
    assert cluster.events[1:] == [("Normal", "ChampionServes", "version 2 serves (before: 1)")]


def test_does_not_write_what_has_not_changed(keeper: Keeper, cluster: FakeCluster) -> None:
    cluster.serves = ("1", DIGEST)
    keeper.round(served_model())
    cluster.status = None
    keeper.round(served_model())
    assert cluster.status is None
    assert cluster.applies == 4


def test_goes_on_from_the_status_that_another_controller_left(cluster: FakeCluster) -> None:
    cluster.serves = ("1", DIGEST)
    Told(cluster).round(served_model())
    assert cluster.status is not None
    left = served_model() | {"status": cluster.status.model_dump(mode="json", by_alias=True)}
    cluster.status, cluster.events = None, []
    Told(cluster).round(left)
    assert (cluster.status, cluster.events) == (None, [])


def test_takes_back_what_others_changed_after_a_minute(
    keeper: Keeper, cluster: FakeCluster, clock: Clock
) -> None:
    keeper.round(served_model())
    clock.now = 59
    keeper.round(served_model())
    assert cluster.applies == 4
    clock.now = 61
    keeper.round(served_model())
    assert cluster.applies == 8


def test_makes_a_deleted_deployment_again(keeper: Keeper, cluster: FakeCluster) -> None:
    keeper.round(served_model())
    del cluster.objects["Deployment"]
    keeper.round(served_model())
    keeper.round(served_model())
    assert "Deployment" in cluster.objects


def test_a_spec_that_makes_no_sense_degrades_with_a_reason(keeper: Keeper, cluster: FakeCluster) -> None:
    keeper.round(served_model(traffic=10))
    assert phase(cluster) == "Degraded"
    assert cluster.applies == 0
    ((kind, reason, message),) = cluster.events
    assert (kind, reason) == ("Warning", "InvalidSpec")
    assert "traffic needs a challenger" in message


def test_objects_that_the_cluster_refuses_degrade_once_and_recover(
    keeper: Keeper, cluster: FakeCluster
) -> None:
    cluster.serves = ("1", DIGEST)
    cluster.broken = PermanentError("limits: must be at least the request")
    keeper.round(served_model())
    keeper.round(served_model())
    assert phase(cluster) == "Degraded"
    cluster.broken = None
    keeper.round(served_model(generation=2))
    assert phase(cluster) == "Ready"
    assert [reason for _, reason, _ in cluster.events] == ["ApplyFailed", "ChampionServes", "Recovered"]


def test_an_api_server_that_is_away_changes_nothing(keeper: Keeper, cluster: FakeCluster) -> None:
    cluster.serves = ("1", DIGEST)
    keeper.round(served_model())
    before, cluster.broken = cluster.status, TemporaryError("connection refused")
    assert keeper.round(served_model()) == FAILED_SECONDS
    assert cluster.status == before


def test_an_object_that_is_no_served_model_ends_no_round(keeper: Keeper) -> None:
    assert keeper.round({"metadata": {"name": "flight-delay"}, "spec": None}) == PROGRESSING_SECONDS


CHALLENGER = {"version": "2", "bundle": "s3://b/2", "digest": "sha256:" + "2" * 64}


def test_the_guard_is_shown_the_pods_and_its_view_is_told_once(
    keeper: Keeper, cluster: FakeCluster, guard: FakeGuard
) -> None:
    cluster.serves = ("1", DIGEST)
    keeper.round(served_model(challenger=CHALLENGER, traffic=10))
    assert guard.pods == {"pod": "10.0.0.9"}
    guard.view = GuardView(
        "False", "NotANumber", "1 of its requests ended so", ModelVersion.model_validate(CHALLENGER)
    )
    keeper.round(served_model(challenger=CHALLENGER, traffic=10))
    keeper.round(served_model(challenger=CHALLENGER, traffic=10))
    assert cluster.status is not None
    assert cluster.status.conditions[2].type == "ChallengerHealthy"
    assert cluster.status.conditions[2].reason == "NotANumber"
    assert phase(cluster) == "Ready"
    assert cluster.events[1:] == [
        ("Warning", "NotANumber", "challenger 2 is taken back: 1 of its requests ended so")
    ]


def test_why_a_challenger_was_taken_back_outlives_the_controller(cluster: FakeCluster) -> None:
    cluster.serves = ("1", DIGEST)
    act = {"number": 1, "action": "taken_back", "at": "2026-03-01T00:00:00Z", "reason": "ErrorRate: why"}
    left = served_model(generation=2, challenger=CHALLENGER, history=[CHALLENGER | act])
    Told(cluster).round(left)
    assert cluster.status is not None
    assert cluster.status.conditions[2].reason == "ErrorRate"
    assert cluster.events[1:] == [("Warning", "ErrorRate", "challenger 2 is taken back: why")]


SCALED = {"replicas": 2, "maxReplicas": 5}


def test_an_autoscaler_comes_after_the_deployment_and_goes_before_it(
    keeper: Keeper, cluster: FakeCluster
) -> None:
    keeper.round(served_model(serving=SCALED))
    assert cluster.steps[-2:] == ["apply Deployment", "apply HorizontalPodAutoscaler"]
    keeper.round(served_model(generation=2, serving={"replicas": 2}))
    assert "HorizontalPodAutoscaler" not in cluster.objects
    removed = cluster.steps.index("remove HorizontalPodAutoscaler")
    assert cluster.steps.index("apply Deployment", removed) > removed
    assert cluster.objects["Deployment"]["spec"]["replicas"] == 2


def test_pods_are_counted_against_what_the_autoscaler_wants(keeper: Keeper, cluster: FakeCluster) -> None:
    cluster.serves, cluster.wants = ("1", DIGEST), 3
    keeper.round(served_model(serving=SCALED))
    assert cluster.status is not None
    assert (cluster.status.ready, cluster.status.phase) == ("1/3", "Progressing")
    assert cluster.status.conditions[-1].type == "Autoscaling"
    cluster.wants = 1
    keeper.round(served_model(serving=SCALED))
    assert (cluster.status.ready, cluster.status.phase) == ("1/1", "Ready")


def test_what_the_api_server_has_is_kept_though_the_watch_is_silent(
    keeper: Keeper, cluster: FakeCluster
) -> None:
    newer = served_model(generation=2, serving={"replicas": 4})
    cluster.given = newer
    Keeper.round(keeper, served_model())
    assert cluster.objects["Deployment"]["spec"]["replicas"] == 4
    assert keeper.latest is newer


@pytest.mark.parametrize("now", [None, "another"])
def test_one_that_is_no_more_is_left_alone(keeper: Keeper, cluster: FakeCluster, now: str | None) -> None:
    """Its end may be told late; its objects must not be made again, nor another's be taken for its own."""
    if now:
        cluster.given = served_model()
        cluster.given["metadata"]["uid"] = now
    assert Keeper.round(keeper, served_model()) == STEADY_SECONDS
    assert (cluster.applies, cluster.status, keeper.latest) == (0, None, None)


def test_settings_name_everything_that_is_missing() -> None:
    with pytest.raises(PermanentError, match="POD_NAMESPACE, WINDTUNNEL_SERVING_IMAGE"):
        ControllerConfig.from_environment({})
    with pytest.raises(PermanentError, match="WINDTUNNEL_SERVING_EGRESS"):
        ControllerConfig.from_environment(
            {
                "POD_NAMESPACE": "n",
                "WINDTUNNEL_SERVING_IMAGE": "i",
                "WINDTUNNEL_SERVING_SERVICE_ACCOUNT": "s",
                "WINDTUNNEL_SERVING_EGRESS": "{",
            }
        )
