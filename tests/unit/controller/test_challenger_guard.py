"""The loop around the guard: what it is shown, when it writes, and what it leaves alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from windtunnel.controller.challenger_guard import IDLE_SECONDS, LOOK_SECONDS, ChallengerGuard
from windtunnel.errors import ConflictError, TemporaryError
from windtunnel.rollout.taking_back import why_taken_back
from windtunnel.spec.servedmodel import ServedModel

if TYPE_CHECKING:
    from collections.abc import Mapping


def version(number: int) -> dict[str, str]:
    return {"version": str(number), "bundle": f"s3://b/{number}", "digest": f"sha256:{number:064d}"}


class ApiServer:
    """Keeps one ServedModel as an API server does: resource version and generation count up."""

    def __init__(self, **spec: Any) -> None:
        self.away = False
        self.writes = 0
        self.model = ServedModel.model_validate(
            {
                "metadata": {"name": "demo", "uid": "u", "generation": 1, "resourceVersion": "1"},
                "spec": {"lifecycle": "demo", "champion": version(1), **spec},
            }
        )

    settles = True

    @property
    def value(self) -> dict[str, Any]:
        """As the watch gives it."""
        return self.model.to_object()

    def change(self, **spec: Any) -> None:
        """Somebody else's write."""
        value = self.value
        value["spec"] |= spec
        value["metadata"]["generation"] += 1
        value["metadata"]["resourceVersion"] = str(int(value["metadata"]["resourceVersion"]) + 1)
        self.model = ServedModel.model_validate(value)

    def get(self, name: str) -> ServedModel | None:
        if self.away:
            raise TemporaryError("no answer from the API server")
        return self.model if name == "demo" else None

    def create(self, model: ServedModel) -> ServedModel:
        raise NotImplementedError

    def note_recorded(self, name: str, number: int) -> None:
        raise NotImplementedError

    def replace(self, model: ServedModel, resource_version: str, *, drop_annotation: str = "") -> ServedModel:
        if resource_version != self.model.metadata.resource_version:
            raise ConflictError("the object has been modified")
        self.writes += 1
        value = model.to_object()
        value["metadata"]["generation"] += 1
        value["metadata"]["resourceVersion"] = str(int(resource_version) + 1)
        self.model = ServedModel.model_validate(value)
        return self.model


class Pods:
    """Answers for the addresses that it knows."""

    def __init__(self, **texts: str) -> None:
        self.texts = texts
        self.asked: list[Mapping[str, str]] = []

    def scrape(self, addresses: Mapping[str, str]) -> dict[str, str]:
        self.asked.append(dict(addresses))
        return {pod: self.texts[pod] for pod in addresses if pod in self.texts}


def metrics(champion: int = 0, challenger: int = 0, version: str = "2", **faults: int) -> str:
    of_champion, of_challenger = 'model="demo",version="1"', f'model="demo",version="{version}",mode="routed"'
    lines = [
        "process_start_time_seconds 1.0",
        f'windtunnel_serving_requests_total{{{of_champion},role="champion",code="200"}} {champion}',
        f"windtunnel_serving_challenger_requests_total{{{of_challenger}}} {challenger}",
        *(
            f'windtunnel_serving_challenger_faults_total{{{of_challenger},reason="{reason}"}} {number}'
            for reason, number in faults.items()
        ),
    ]
    return "\n".join(lines)


@pytest.fixture
def api() -> ApiServer:
    return ApiServer(challenger=version(2), traffic=10)


@pytest.fixture
def pods() -> Pods:
    return Pods(a=metrics())


@pytest.fixture
def guard(api: ApiServer, pods: Pods) -> ChallengerGuard:
    return watching(api, pods)


def watching(api: ApiServer, pods: Pods) -> ChallengerGuard:
    guard = ChallengerGuard(api, pods, clock=lambda: 0.0)
    guard.pods = {"a": "10.0.0.1"}
    return guard


def said(guard: ChallengerGuard) -> tuple[str, str] | None:
    return guard.view and (guard.view.status, guard.view.reason)


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"challenger": version(2)},
        {"challenger": version(2), "traffic": 10, "guard": {"enabled": False}},
    ],
)
def test_nothing_is_read_while_no_challenger_scores(pods: Pods, spec: dict[str, Any]) -> None:
    api = ApiServer(**spec)
    guard = watching(api, pods)
    assert guard.look(api.value) == IDLE_SECONDS
    assert (pods.asked, guard.view) == ([], None)


@pytest.mark.parametrize("spec", [{"traffic": 1}, {"shadow": True}])
def test_looks_each_second_while_one_does(pods: Pods, spec: dict[str, Any]) -> None:
    api = ApiServer(challenger=version(2), **spec)
    guard = watching(api, pods)
    assert guard.look(api.value) == LOOK_SECONDS
    assert pods.asked == [{"a": "10.0.0.1"}]
    assert said(guard) == ("Unknown", "Waiting")
    pods.texts["a"] = metrics(500, 60)
    guard.look(api.value)
    assert said(guard) == ("True", "Healthy")
    assert api.writes == 0


def test_a_broken_one_loses_its_traffic_once(guard: ChallengerGuard, api: ApiServer, pods: Pods) -> None:
    guard.look(api.value)
    stale = api.value
    pods.texts["a"] = metrics(500, 60, not_a_number=1)
    guard.look(api.value)
    assert said(guard) == ("False", "NotANumber")
    assert (api.model.spec.traffic, api.model.spec.shadow, api.writes) == (0, False, 1)
    because = why_taken_back(api.model)
    assert because is not None
    assert because[0] == "NotANumber"
    guard.look(stale)  # the watch is late
    assert said(guard) == ("False", "NotANumber")
    assert guard.look(api.value) == IDLE_SECONDS
    assert (api.writes, guard.view) == (1, None)


def test_it_goes_on_trying_while_the_api_server_is_away(
    guard: ChallengerGuard, api: ApiServer, pods: Pods
) -> None:
    guard.look(api.value)
    api.away = True
    pods.texts["a"] = metrics(500, 60, died=1)
    assert guard.look(api.value) == LOOK_SECONDS
    pods.texts.clear()
    assert guard.look(api.value) == LOOK_SECONDS
    assert said(guard) == ("False", "ChallengerDied")
    api.away = False
    guard.look(api.value)
    assert api.model.spec.traffic == 0


def test_a_new_controller_sees_what_broke_while_there_was_none(api: ApiServer, pods: Pods) -> None:
    pods.texts["a"] = metrics(500, 60, not_a_number=1)
    watching(api, pods).look(api.value)
    assert api.model.spec.traffic == 0


def test_a_new_controller_begins_its_comparison_anew(api: ApiServer, pods: Pods) -> None:
    pods.texts["a"] = metrics(500, 60, error=30)
    guard = watching(api, pods)
    guard.look(api.value)
    assert said(guard) == ("Unknown", "Waiting")
    pods.texts["a"] = metrics(1000, 65, error=34)
    guard.look(api.value)
    assert said(guard) == ("False", "RepeatedErrors")


def test_traffic_that_is_given_again_is_a_new_chance(
    guard: ChallengerGuard, api: ApiServer, pods: Pods
) -> None:
    pods.texts["a"] = metrics(500, 60, not_a_number=1)
    guard.look(api.value)
    api.change(traffic=5)  # at once: nobody saw it without traffic
    guard.look(api.value)
    assert said(guard) == ("Unknown", "Waiting")
    pods.texts["a"] = metrics(900, 160, not_a_number=1)
    guard.look(api.value)
    assert said(guard) == ("True", "Healthy")
    pods.texts["a"] = metrics(900, 161, not_a_number=2)
    guard.look(api.value)
    assert said(guard) == ("False", "NotANumber")
    assert (api.model.spec.traffic, api.writes) == (0, 2)


def test_another_challenger_is_judged_by_its_own_deeds(
    guard: ChallengerGuard, api: ApiServer, pods: Pods
) -> None:
    guard.look(api.value)
    pods.texts["a"] = metrics(500, 60, not_a_number=1)
    api.change(challenger=version(3))
    guard.look(api.value)
    assert said(guard) == ("Unknown", "Waiting")
    assert api.writes == 0
    pods.texts["a"] = metrics(500, 60, version="3", died=1)
    guard.look(api.value)
    assert (said(guard), api.model.spec.traffic) == (("False", "ChallengerDied"), 0)


def test_a_challenger_that_was_replaced_meanwhile_is_left_alone(
    guard: ChallengerGuard, api: ApiServer, pods: Pods
) -> None:
    guard.look(api.value)
    before = api.value
    api.change(challenger=version(3))
    pods.texts["a"] = metrics(500, 60, not_a_number=1)
    guard.look(before)
    assert (api.model.spec.traffic, api.writes) == (10, 0)


def test_steps_of_traffic_do_not_lose_the_evidence(
    guard: ChallengerGuard, api: ApiServer, pods: Pods
) -> None:
    guard.look(api.value)
    pods.texts["a"] = metrics(400, 40)
    guard.look(api.value)
    api.change(traffic=50)
    pods.texts["a"] = metrics(420, 50)
    guard.look(api.value)
    assert said(guard) == ("True", "Healthy")


def test_a_spec_that_makes_no_sense_is_the_keepers_to_report(guard: ChallengerGuard) -> None:
    value = {"metadata": {"name": "demo"}, "spec": None}
    assert guard.look(value) == IDLE_SECONDS


def test_a_fault_of_our_own_ends_no_loop(
    guard: ChallengerGuard, api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Pods, addresses: Mapping[str, str]) -> dict[str, str]:
        raise RuntimeError("unexpected")

    monkeypatch.setattr(Pods, "scrape", fail)
    assert guard.look(api.value) == LOOK_SECONDS
