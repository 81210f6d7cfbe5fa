"""Challengers that misbehave under load in restricted pods: users notice nothing, their traffic is gone
within seconds of the first bad answer, and kubectl says why."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from load import steady
from misbehaving import make_misbehaving
from tests.cluster.release import NAMESPACE
from tests.cluster.served import PROVING, ROW, Served, columns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dev.demo.thread import Platform
    from load import Asked, Load

    from windtunnel.objects import ObjectStore
    from windtunnel.spec.servedmodel import ModelVersion

RATE = 100.0
TRAFFIC = 20
SOON = 5.0
"""Seconds from the first bad answer to the last request that is routed to the challenger."""
QUIET = [columns([*ROW[:1], step / 20, 0.0, 0.0, 0.0], ROW) for step in range(40)]
"""Requests of two rows; to the first, answers lie between 1/2 and 0.9."""
FAILING = {"RepeatedErrors", "RepeatedTimeouts", "Overloaded", "ErrorRate"}


@dataclass(frozen=True)
class Kind:
    """A way to be bad.

    loud: what the fifth feature is in turn in every second request, so that the model misbehaves.
    reasons: what the guard may call it; a busy machine decides whether one is late before it is worse.
    """

    loud: tuple[float, ...]
    reasons: frozenset[str]
    model: str = ""

    def bodies(self) -> list[dict[str, Any]]:
        loud = [columns([*ROW[:4], value], [*ROW[:4], value]) for value in self.loud]
        return [body for pair in zip(QUIET[: len(loud)], loud, strict=True) for body in pair]


LOUD = (5e6,) * 20
KINDS = {
    "raises": Kind(LOUD, frozenset(FAILING)),
    "wrong shape": Kind(LOUD, frozenset(FAILING), "wrong_length"),
    "not a number": Kind(LOUD, frozenset({"NotANumber", *FAILING}), "not_a_number"),
    "slow": Kind((3e4,) * 20, frozenset({"Latency", *FAILING})),
    "hangs": Kind(LOUD, frozenset({"ChallengerDied", *FAILING}), "slow"),
    "leaks memory": Kind(
        tuple(1e4 * step for step in range(1, 31)), frozenset({"ChallengerDied", *FAILING}), "memory"
    ),
    "crashes": Kind(LOUD, frozenset({"ChallengerDied", "Quarantined"})),
}
SHORT = ("not a number", "crashes")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "kind" in metafunc.fixturenames:
        longer = metafunc.config.getoption("--longer", default=False)
        rounds = range(metafunc.config.getoption("--rounds", default=5) if longer else 1)
        metafunc.parametrize(
            ("kind", "number"), [(kind, number) for kind in (KINDS if longer else SHORT) for number in rounds]
        )


def fresh_version(store: ObjectStore, kind: str, number: int) -> ModelVersion:
    """Under a name of its own each time: no pod remembers it."""
    version = f"{kind.replace(' ', '-')}-{int(time.time())}-{number}"
    return make_misbehaving(store, version, KINDS[kind].model or kind, PROVING)


@pytest.fixture
def model(proving: Served) -> Iterator[Served]:
    yield proving
    proving.clear()


def taken_back(load: Load, model: Served, seconds: float = 30) -> None:
    """Returns a moment after its traffic has been taken back, when nothing is under way any more."""
    model.wait("its traffic is taken back", lambda: model.spec["traffic"] == 0, seconds)
    load.mark("taken back")
    time.sleep(1.5)


def challengers(asked: list[Asked]) -> list[Asked]:
    """Those that were routed to the challenger."""
    return [one for one in asked if one.role in ("challenger", "fallback")]


def answered(one: Asked) -> float:
    return one.due + one.late


def assert_taken_back_soon(what: str, bad: list[Asked], routed: list[Asked]) -> None:
    """From its first bad answer to the last request that it was asked."""
    first, last = answered(bad[0]), max(one.due for one in routed)
    print(f"{what}: {len(routed)} requests routed to it, {len(bad)} bad, {max(0.0, last - first):.2f} s")
    assert last - first < SOON


def assert_told(model: Served, version: str, reasons: frozenset[str]) -> str:
    """kubectl get and describe say why; returns the reason."""
    model.wait("the condition says why", lambda: model.healthy().get("status") == "False")
    reason = str(model.healthy()["reason"])
    assert reason in reasons, model.healthy()
    assert reason in model.kubectl.run("get", "servedmodel", model.name, "-n", NAMESPACE).split()

    def described() -> bool:
        text = model.kubectl.run("describe", "servedmodel", model.name, "-n", NAMESPACE)
        _, _, events = text.rpartition("Events:")
        return model.healthy()["message"] in " ".join(text.split()) and version in events and reason in events

    model.wait("kubectl describe says why, and has the event", described, 15)
    return reason


def test_a_bad_challenger_is_taken_back_and_no_request_fails(
    platform: Platform, model: Served, kind: str, number: int
) -> None:
    version = fresh_version(platform.store, kind, number)
    model.canary(version, 0)
    with steady(model.address(), model.infer, QUIET, RATE) as load:
        model.patch({"traffic": TRAFFIC})
        time.sleep(2)
        load.send(KINDS[kind].bodies())
        mad = load.mark(kind)
        taken_back(load, model)
    print(f"\n{load.report()}")
    reason = assert_told(model, version.version, KINDS[kind].reasons)
    assert not load.failures, load.report()
    routed = challengers(load.since(mad))
    bad = sorted((one for one in routed if one.role == "fallback"), key=answered)
    assert_taken_back_soon(f"{kind} ({reason})", bad, routed)
    assert model.restarts() == 0


def test_a_challenger_of_shifted_predictions_is_taken_back(
    model: Served, versions: tuple[ModelVersion, ModelVersion]
) -> None:
    _, turned = versions
    with steady(model.address(), model.infer, QUIET, RATE) as load:
        model.canary(turned, TRAFFIC)
        load.mark("shifted")
        taken_back(load, model)
    print(f"\n{load.report()}")
    reason = assert_told(model, turned.version, frozenset({"PredictionShift"}))
    assert not load.failures, load.report()
    routed = sorted(challengers(load.asked), key=answered)
    assert_taken_back_soon(f"shifted ({reason})", routed, routed)


def test_a_challenger_whose_bundle_is_another_gets_no_request(
    model: Served, versions: tuple[ModelVersion, ModelVersion]
) -> None:
    wrong = versions[1].model_copy(update={"version": "digest", "digest": f"sha256:{'0' * 64}"})
    with steady(model.address(), model.infer, QUIET, RATE) as load:
        model.patch({"challenger": wrong.model_dump(mode="json"), "traffic": 100})
        load.mark("digest mismatch")
        taken_back(load, model)
    print(f"\n{load.report()}")
    assert_told(model, wrong.version, frozenset({"Rejected"}))
    assert not load.failures, load.report()
    assert {one.version for one in load.asked} == {"1"}
    assert not challengers(load.asked)
