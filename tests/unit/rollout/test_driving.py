"""Whole rollouts: what they go through, how they end, and that dying anywhere changes neither."""

from __future__ import annotations

import logging
import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from rollout_world import ApiServer, Killed, World, version

from windtunnel.errors import ConflictError
from windtunnel.rollout import steps
from windtunnel.rollout.driving import Driver, Refused
from windtunnel.rollout.moves import Plan
from windtunnel.rollout.promotion import Candidate, Promoted, promote
from windtunnel.spec.servedmodel import GuardSettings, ServingSettings

if TYPE_CHECKING:
    from collections.abc import Callable

LOG = logging.getLogger("windtunnel.stage")


def driver(world: World, number: int = 2, run_id: str = "run-2", **plan: Any) -> Driver:
    candidate = Candidate(
        lifecycle="demo",
        champion=version(number),
        expected_champion="1",
        serving=ServingSettings(),
        run_id=run_id,
        by="stage/rollout",
    )
    wanted = Plan(version(number), "1", run_id, **plan)
    return Driver(
        world.api,
        candidate,
        wanted,
        LOG,
        sleep=world.sleep,
        clock=lambda: float(world.passed),
        now=lambda: world.now,
    )


def path(api: ApiServer) -> list[str]:
    """What was routed, one after the other."""
    seen: list[str] = []
    for spec in api.specs:
        state = f"{spec.champion.version} {spec.traffic} {'shadow' if spec.shadow else ''}".strip()
        if seen[-1:] != [state]:
            seen.append(state)
    return seen


def promotions(api: ApiServer) -> list[str]:
    return [act.version for act in api.model.spec.history if act.action == "promotion" and act.run_id]


def test_a_sound_challenger_goes_through_all_steps_and_gets_the_seat() -> None:
    world = World(ApiServer(), requests=100)
    done = driver(world).drive()
    assert isinstance(done, Promoted)
    assert done.ours
    assert path(world.api) == ["1 0", "1 0 shadow", "1 5", "1 25", "1 50", "2 0"]
    spec = world.api.model.spec
    assert (spec.challenger, spec.rollout, spec.previous) == (None, None, version(1))


def test_no_step_ends_before_its_requests_and_its_evidence_are_there() -> None:
    """No faults at all: 1,100 of the challenger's requests show an excess below 0.5 %, 75 one below 10 %."""
    world = World(ApiServer(), requests=100)
    driver(world).drive()
    assert world.asked >= 200 + 200 * 20 + 200 * 4 + 500 * 2


@pytest.mark.parametrize(
    ("fails", "reason"),
    [(lambda asked: asked, "RepeatedErrors"), (lambda asked: asked // 10, "ErrorRate")],
)
def test_what_the_guard_takes_back_ends_as_its_refusal(fails: Callable[[int], int], reason: str) -> None:
    world = World(ApiServer(), challenger=fails)
    done = driver(world).drive()
    assert isinstance(done, Refused)
    assert done.reason.startswith(reason)
    spec = world.api.model.spec
    assert (spec.champion, spec.traffic, spec.shadow, spec.rollout) == (version(1), 0, False, None)
    assert [act.action for act in spec.history if act.run_id] == ["taken_back"]
    again = driver(world).drive()
    assert isinstance(again, Refused)
    assert again.reason == done.reason


@pytest.mark.parametrize("when_quiet", ["refuse", "promote"])
def test_without_requests_it_ends_as_the_plan_says(when_quiet: Any) -> None:
    world = World(ApiServer(), requests=0)
    done = driver(world, when_quiet=when_quiet, step_timeout=timedelta(minutes=5)).drive()
    spec = world.api.model.spec
    if when_quiet == "promote":
        assert isinstance(done, Promoted)
        assert world.passed >= 4 * 300
        return
    assert isinstance(done, Refused)
    assert done.reason.startswith("TooLittleEvidence: shadow has lasted 5 min and lacks 200 requests")
    assert (spec.champion, spec.challenger, spec.shadow, spec.rollout) == (version(1), None, False, None)


@pytest.mark.parametrize("before", ["canary", "champion"])
def test_it_pauses_until_somebody_approves(before: Any) -> None:
    world = World(ApiServer(), requests=100)
    slept = world.sleep

    def sleep(seconds: float) -> None:
        slept(seconds)
        state = world.api.model.spec.rollout
        if state is not None and state.phase == "Paused" and world.now - state.since > timedelta(minutes=2):
            world.api.change(rollout=state.model_copy(update={"approved": True}))

    world.sleep = sleep  # type: ignore[method-assign]
    assert isinstance(driver(world, pause_before=before).drive(), Promoted)
    paused = [spec for spec in world.api.specs if spec.rollout and spec.rollout.phase == "Paused"]
    assert {(spec.traffic, spec.shadow) for spec in paused} == {
        (0, True) if before == "canary" else (50, False)
    }


@pytest.mark.parametrize("shadow", [100, None])
@pytest.mark.parametrize("before", ["canary", "champion"])
def test_a_pause_that_was_asked_for_is_not_passed_over_where_there_is_no_canary(
    monkeypatch: pytest.MonkeyPatch, before: Any, shadow: int | None
) -> None:
    monkeypatch.setattr(steps, "LONGEST_PAUSE", timedelta(minutes=5))
    world = World(ApiServer(), requests=100)
    done = driver(world, shadow=shadow, steps=(), pause_before=before).drive()
    assert isinstance(done, Refused)
    assert done.reason.startswith("NotApproved")


def test_a_pause_that_nobody_ends_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "LONGEST_PAUSE", timedelta(minutes=5))
    world = World(ApiServer(), requests=100)
    done = driver(world, shadow=None, steps=(), pause_before="champion").drive()
    assert isinstance(done, Refused)
    assert done.reason.startswith("NotApproved")


def killed_at(half_call: int, world: World, **plan: Any) -> Promoted | Refused | None:
    """A run whose pod dies once, and is started anew until it ends; None: it ended before it could die."""
    world.api.kill_at = half_call
    try:
        driver(world, **plan).drive()
        return None
    except Killed:
        world.api.kill_at = -1
        world.second()
    return driver(world, **plan).drive()


@pytest.mark.parametrize("ending", ["promoted", "taken back", "quiet"])
def test_a_pod_may_die_before_and_after_each_call(ending: str) -> None:
    plan: dict[str, Any] = {
        "requests": 20,
        "shadow": 20,
        "steps": (10, 50),
        "step_timeout": timedelta(seconds=40),
        "settings": {"guard": GuardSettings(error_margin=0.05)},
    }
    deaths = 0
    for half_call in range(100_000):
        world = World(ApiServer(), requests=0 if ending == "quiet" else 100)
        if ending == "taken back":
            world.challenger = lambda asked: asked if asked < 100 else 0
        done = killed_at(half_call, world, **plan)
        if done is None:
            break
        deaths += 1
        spec = world.api.model.spec
        if ending == "promoted":
            assert isinstance(done, Promoted)
            assert done.ours
            assert promotions(world.api) == ["2"]
            assert path(world.api) == ["1 0", "1 0 shadow", "1 10", "1 50", "2 0"]
        else:
            assert isinstance(done, Refused)
            assert promotions(world.api) == []
            refusals = [act for act in spec.history if act.action in ("refusal", "taken_back")]
            assert len(refusals) == 1
            assert (spec.champion, spec.traffic, spec.shadow, spec.rollout) == (version(1), 0, False, None)
    assert deaths >= 20


def test_nothing_goes_on_while_the_controller_does_not_look() -> None:
    world = World(ApiServer(), requests=100)
    slept = world.sleep

    def sleep(seconds: float) -> None:
        world.is_looked_after = world.api.model.spec.traffic < 25
        slept(seconds)

    world.sleep = sleep  # type: ignore[method-assign]
    done = driver(world, when_quiet="promote", step_timeout=timedelta(minutes=1)).drive()
    assert isinstance(done, Refused)
    assert done.reason.startswith("NotReady: after 10 min the controller has not looked at it yet")
    assert path(world.api) == ["1 0", "1 0 shadow", "1 5", "1 25", "1 0"]


def interrupt(world: World, when: Callable[[], bool], do: Callable[[], object]) -> None:
    """Somebody does something, once, while the stage sleeps."""
    slept, done = world.sleep, []

    def sleep(seconds: float) -> None:
        slept(seconds)
        if not done and when():
            done.append(do())

    world.sleep = sleep  # type: ignore[method-assign]


def test_the_newest_verdict_wins_and_the_older_run_ends_with_its_refusal() -> None:
    world = World(ApiServer(), requests=100)
    ended: list[Promoted | Refused] = []
    interrupt(
        world,
        lambda: world.api.model.spec.traffic == 25,
        lambda: ended.append(driver(world, 3, "run-3").drive()),
    )
    older = driver(world).drive()
    assert isinstance(older, Refused)
    assert "by version 3 of run run-3" in older.reason
    assert isinstance(ended[0], Promoted)
    assert world.api.model.spec.champion == version(3)
    assert isinstance(driver(world).drive(), Refused)
    assert promotions(world.api) == ["3"]


def test_an_older_verdict_is_refused_and_changes_nothing() -> None:
    world = World(ApiServer(), requests=100)
    ended: list[Promoted | Refused] = []
    interrupt(
        world,
        lambda: world.api.model.spec.traffic == 25,
        lambda: ended.append(driver(world, 2, "run-2").drive()),
    )
    newer = driver(world, 3, "run-3").drive()
    assert isinstance(newer, Promoted)
    assert isinstance(ended[0], Refused)
    assert ended[0].reason.startswith("NewerRollout: version 3 of run run-3")
    assert promotions(world.api) == ["3"]


def test_of_two_runs_with_the_same_version_the_later_one_goes_on_where_the_first_was() -> None:
    world = World(ApiServer(), requests=100)
    ended: list[Promoted | Refused] = []
    interrupt(
        world,
        lambda: world.api.model.spec.traffic == 25,
        lambda: ended.append(driver(world, 2, "run-3").drive()),
    )
    first = driver(world).drive()
    # by now the version has the seat, by the other run's promotion
    assert isinstance(first, Promoted)
    assert not first.ours
    assert isinstance(ended[0], Promoted)
    assert ended[0].ours
    assert path(world.api) == ["1 0", "1 0 shadow", "1 5", "1 25", "1 50", "2 0"]


def test_a_rollout_that_somebody_ends_by_hand_is_refused() -> None:
    world = World(ApiServer(), requests=100)
    interrupt(
        world,
        lambda: world.api.model.spec.traffic == 25,
        lambda: world.api.change(traffic=0),
    )
    done = driver(world).drive()
    assert isinstance(done, Refused)
    assert done.reason == "StoppedByHand: somebody took its requests away"
    assert world.api.model.spec.challenger is None


def test_a_challenger_that_somebody_puts_in_its_place_stays_there() -> None:
    world = World(ApiServer(), requests=100)
    interrupt(
        world,
        lambda: world.api.model.spec.traffic == 25,
        lambda: world.api.change(challenger=version(9)),
    )
    done = driver(world).drive()
    assert isinstance(done, Refused)
    assert done.reason == "ChallengerChanged: somebody made version 9 the challenger"
    spec = world.api.model.spec
    assert (spec.challenger, spec.traffic, spec.rollout) == (version(9), 25, None)


def test_who_has_shown_nothing_gets_no_seat_because_the_model_was_deleted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(ApiServer(), requests=100)
    there = world.api.get
    monkeypatch.setattr(
        world.api, "get", lambda name: None if world.api.model.spec.traffic == 5 else there(name)
    )
    with pytest.raises(ConflictError, match="deleted in between"):
        driver(world).drive()  # ApiServer.create would say if it had made one


def test_a_rollout_that_begins_anew_at_its_end_may_still_end_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody takes spec.rollout out in the moment before the promotion."""
    world = World(ApiServer(), requests=100)
    tries: list[str] = []

    def late(*of_what: Any) -> Promoted:
        tries.append(world.api.model.spec.champion.version)
        if len(tries) == 1:
            world.api.change(rollout=None)
        return promote(*of_what)

    monkeypatch.setattr("windtunnel.rollout.driving.promote", late)
    assert isinstance(driver(world).drive(), Promoted)
    assert tries == ["1", "1"]
    assert promotions(world.api) == ["2"]


def test_a_step_that_somebody_ends_by_hand_does_not_wait_for_evidence() -> None:
    world = World(ApiServer(), requests=0)

    def approve() -> None:
        rollout = world.api.model.spec.rollout
        assert rollout is not None
        world.api.change(rollout=rollout.model_copy(update={"approved": True, "approved_by": "ann"}))

    interrupt(world, lambda: world.passed == 10, approve)
    done = driver(world, steps=(), step_timeout=timedelta(minutes=5)).drive()
    assert isinstance(done, Promoted)
    assert world.passed < 20
    assert "shadow is ended by ann" in world.api.model.spec.history[-1].reason


def test_what_was_taken_back_and_still_stands_there_is_refused_to_a_new_run() -> None:
    world = World(ApiServer(), challenger=lambda asked: asked)
    driver(world).drive()
    done = driver(world, 2, "run-3").drive()
    assert isinstance(done, Refused)
    assert done.reason.startswith("TakenBack: version 2 was taken back at")
    assert world.api.model.spec.challenger == version(2)


def test_a_champion_that_changes_under_it_ends_the_rollout() -> None:
    world = World(ApiServer(), requests=100)
    interrupt(
        world,
        lambda: world.api.model.spec.traffic == 25,
        lambda: world.api.change(champion=version(7)),
    )
    done = driver(world).drive()
    assert isinstance(done, Refused)
    assert done.reason.startswith("ChampionChanged: version 7 serves")
    assert (world.api.model.spec.champion, world.api.model.spec.challenger) == (version(7), None)


def test_a_verdict_about_another_champion_conflicts() -> None:
    world = World(ApiServer())
    world.api.change(champion=version(7))
    with pytest.raises(ConflictError, match="version 7 serves"):
        driver(world).drive()


def test_a_guard_that_is_off_takes_nothing_back_but_the_rollout_refuses() -> None:
    world = World(ApiServer(guard={"enabled": False}), challenger=lambda asked: asked // 10)
    done = driver(world, settings={}).drive()
    assert isinstance(done, Refused)
    assert done.reason.startswith("Worse: shown to be worse than allowed in: faults")
    assert promotions(world.api) == []


class Rough:
    """A world in which pods die, the API server breaks off and the controller is away, by a seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.world = World(ApiServer(), requests=self.random.choice((0, 20, 100)))
        if self.random.random() < 0.3:
            self.world.challenger = lambda asked: sum(self.random.random() < 0.2 for _ in range(asked))
        self.world.api.fault = lambda: self.random.choice(("before", "after")) if self.happens(0.1) else ""
        self._slept = self.world.sleep
        self.world.sleep = self._sleep  # type: ignore[method-assign]
        self.ended: dict[str, Promoted | Refused | ConflictError] = {}
        self._begun = {"run-2"}

    def happens(self, chance: float) -> bool:
        return self.random.random() < chance

    def _sleep(self, seconds: float) -> None:
        if self.happens(0.05):
            self.world.is_looked_after = not self.world.is_looked_after
        self._slept(seconds)
        for number in (3, 4):
            if f"run-{number}" not in self._begun and self.happens(0.004):
                self._begun.add(f"run-{number}")
                self.run(number)

    def run(self, number: int) -> None:
        """Until it has ended, however often its pod dies."""
        api, run_id = self.world.api, f"run-{number}"
        plan: dict[str, Any] = {
            "when_quiet": self.random.choice(("promote", "refuse")),
            "step_timeout": timedelta(seconds=self.random.choice((20, 120))),
            "requests": 20,
            "shadow": self.random.choice((None, 20)),
            "steps": self.random.choice(((), (10, 50), (5, 25, 50))),
        }
        for _ in range(1_000):
            api.kill_at = 2 * api.calls + self.random.randrange(60)
            try:
                self.ended[run_id] = driver(self.world, number, run_id, **plan).drive()
                break
            except Killed:
                self.world.second()
            except ConflictError as error:
                self.ended[run_id] = error
                break
            finally:
                api.kill_at = -1


@pytest.mark.parametrize("seed", range(60))
def test_whatever_happens_each_run_ends_once_and_the_history_agrees(seed: int) -> None:
    rough = Rough(seed)
    rough.run(2)
    spec = rough.world.api.model.spec
    acts: dict[str, list[str]] = {run: [] for run in rough.ended}
    for act in spec.history:
        if act.run_id:
            acts[act.run_id].append(act.action)
    for run, ended in rough.ended.items():
        if isinstance(ended, Promoted):
            assert acts[run] == ["promotion"], (run, acts)
        elif isinstance(ended, Refused):
            assert len(acts[run]) == 1, (run, acts)
            assert acts[run][0] in ("refusal", "taken_back")
        else:
            assert acts[run] in ([], ["promotion"]), (run, acts)  # or overtaken since
    assert spec.rollout is None
    assert not spec.traffic
    assert not spec.shadow
    promoted = promotions(rough.world.api)
    assert spec.champion.version == (promoted[-1] if promoted else "1")
    assert len(promoted) == len(set(promoted))
