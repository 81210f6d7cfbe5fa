"""What the status tells of a rollout's evidence: when, of which step, and how a new controller goes on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from rollout_world import ApiServer, version

from windtunnel.controller.challenger_guard import ChallengerGuard
from windtunnel.controller.evidence_log import EvidenceLog, found
from windtunnel.controller.status import PodView, guard_view, observed
from windtunnel.rollout.evidence import Evidence
from windtunnel.spec.servedmodel import RolloutState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from windtunnel.spec.servedmodel import RolloutEvidence

BEGAN = datetime(2026, 1, 1, 12, tzinfo=UTC)


def state(step: int = 0, run_id: str = "run-2") -> RolloutState:
    return RolloutState(run_id=run_id, phase="Canary", since=BEGAN + timedelta(seconds=step))


@pytest.fixture
def api() -> ApiServer:
    return ApiServer(challenger=version(2), traffic=10, rollout=state())


class Pod:
    """Counts as it is told; a process that began at one time."""

    def __init__(self) -> None:
        self.champion = self.challenger = 0

    def scrape(self, addresses: Mapping[str, str]) -> dict[str, str]:
        both = 'model="demo",version='
        lines = [
            "process_start_time_seconds 1.0",
            f'windtunnel_serving_requests_total{{{both}"1",role="champion",code="200"}} {self.champion}',
            f'windtunnel_serving_challenger_requests_total{{{both}"2",mode="routed"}} {self.challenger}',
        ]
        return {pod: "\n".join(lines) for pod in addresses}


class Controller:
    """A controller's guard, and the status that it leads to."""

    def __init__(self, api: ApiServer, pod: Pod) -> None:
        self.api, self.pod, self.now = api, pod, 0.0
        self.guard = ChallengerGuard(api, pod, clock=lambda: self.now)
        self.guard.pods = {"a": "10.0.0.1"}

    def look(self, seconds: int = 1, own: int = 0, theirs: int = 0) -> RolloutEvidence | None:
        """Look once a second, while the pod counts so much in each."""
        for _ in range(seconds):
            self.pod.challenger += own
            self.pod.champion += theirs
            self.now += 1.0
            self.guard.look(self.api.model.to_object())
        self.write()
        said = self.api.model.status
        return said.challenger.evidence if said and said.challenger else None

    def write(self) -> None:
        model = self.api.model
        view = guard_view(model, self.guard.view)
        pod = PodView("a", True, "1", version(1).digest)
        self.api.write_status(observed(model, model.status, None, [pod], datetime.now(UTC), view))


@pytest.fixture
def controller(api: ApiServer) -> Controller:
    return Controller(api, Pod())


def counts(evidence: RolloutEvidence | None) -> tuple[int, int, int]:
    assert evidence is not None
    return evidence.requests, evidence.champion_requests, evidence.step_requests


def test_a_step_counts_what_came_in_it_and_the_tests_all_of_it(controller: Controller) -> None:
    controller.look()
    controller.look(4, own=50, theirs=450)
    assert counts(controller.look(2)) == (200, 1800, 200)
    controller.api.change(traffic=25, rollout=state(60))
    told = controller.look(1, own=0)
    assert counts(told) == (200, 1800, 0)
    assert told is not None
    assert told.step_since == state(60).since
    assert counts(controller.look(2, own=25, theirs=75)) == (250, 1950, 50)


def test_more_requests_alone_are_told_every_other_second(controller: Controller) -> None:
    controller.look()
    told = [counts(controller.look(1, own=1, theirs=1))[0] for _ in range(6)]
    assert told == [0, 2, 2, 4, 4, 6]


def test_what_is_shown_is_told_at_once(controller: Controller) -> None:
    controller.look()
    controller.look(1, own=10, theirs=100)
    controller.look(1, own=10, theirs=100)
    told = controller.look(1, own=500, theirs=500)
    assert told is not None
    assert told.test("faults") is not None
    assert told.requests == 520
    assert [test.name for test in told.tests] == ["faults", "latency", "higher", "lower"]


def test_a_new_controller_goes_on_from_what_the_old_one_told(controller: Controller) -> None:
    controller.look()
    before = controller.look(8, own=50, theirs=50)
    second = Controller(controller.api, controller.pod)
    first_look = second.look()
    assert counts(first_look) == counts(before)
    assert first_look is not None
    assert before is not None
    assert first_look.since == before.since
    assert first_look.tests == before.tests
    assert counts(second.look(4, own=50, theirs=50)) == (600, 600, 600)


def test_it_loses_nothing_before_its_first_look(controller: Controller) -> None:
    controller.look()
    before = controller.look(4, own=50, theirs=50)
    second = Controller(controller.api, controller.pod)
    second.write()  # the keeper is first
    assert found(controller.api.model) == before


def test_the_evidence_of_another_run_is_not_gone_on_from(controller: Controller) -> None:
    controller.look()
    controller.look(4, own=50, theirs=50)
    controller.api.change(rollout=state(90, "run-3"))
    assert counts(Controller(controller.api, controller.pod).look()) == (0, 0, 0)


def test_a_run_that_takes_over_the_same_version_keeps_the_evidence(controller: Controller) -> None:
    controller.look()
    controller.look(4, own=50, theirs=50)
    controller.api.change(rollout=state(0, "run-3"))
    told = controller.look()
    assert counts(told) == (200, 200, 200)
    assert told is not None
    assert told.run_id == "run-3"


def test_other_margins_are_other_questions(controller: Controller) -> None:
    controller.look()
    controller.look(8, own=50, theirs=50)
    spec = controller.api.model.spec
    controller.api.change(guard=spec.guard.model_copy(update={"error_margin": 0.1}))
    told = Controller(controller.api, controller.pod).look()
    assert told is not None
    faults = told.test("faults")
    assert faults is not None
    assert (faults.allowed, faults.capital[0]) == (0.1, 0.0)


def test_a_challenger_that_somebody_set_by_hand_has_evidence_without_a_step(api: ApiServer) -> None:
    api.change(rollout=None)
    controller = Controller(api, Pod())
    controller.look()
    told = controller.look(2, own=10, theirs=10)
    assert told is not None
    assert (told.run_id, told.step_since, told.requests) == ("", None, 20)


def test_a_guard_that_is_off_still_gathers_evidence_for_a_rollout(api: ApiServer) -> None:
    api.change(guard=api.model.spec.guard.model_copy(update={"enabled": False}))
    controller = Controller(api, Pod())
    controller.look()
    assert counts(controller.look(2, own=10, theirs=10)) == (20, 20, 20)
    view = guard_view(api.model, controller.guard.view)
    assert view is not None
    assert view.reason == "GuardDisabled"


def test_counts_are_added_to_what_was_there() -> None:
    log = EvidenceLog(BEGAN)
    model: Any = ApiServer(challenger=version(2), traffic=10, rollout=state()).model
    assert log.tell(model, Evidence(5, 1, 7, 0), 0.0).step_requests == 0
    assert log.tell(model, Evidence(9, 1, 9, 0), 5.0).step_requests == 4
