"""rollout: the champion's seat changes once per run, and everything else follows it."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from windtunnel.errors import ConflictError, DeniedError, IntegrityError, StoreError, TemporaryError
from windtunnel.ledger import Ledger
from windtunnel.registry.models import ModelRegistry
from windtunnel.rollout import driving
from windtunnel.rollout.mirror import record
from windtunnel.rollout.rollback import roll_back
from windtunnel.rollout.served_models import DirectoryServedModels
from windtunnel.spec.servedmodel import (
    ChallengerStatus,
    Condition,
    RolloutEvidence,
    ServedModel,
    ServedModelStatus,
)
from windtunnel.stages import rollout

if TYPE_CHECKING:
    from windtunnel.stages.base import StageResult

    from .conftest import Shop


def serving(shop: Shop) -> ServedModel:
    found = DirectoryServedModels(shop.root / "served").get("shop")
    assert found is not None
    return found


def champion(shop: Shop) -> str | None:
    found = ModelRegistry(shop.env().settings.tracking_uri).champion("shop")
    return found.version if found else None


def test_the_first_version_serves_and_mlflow_and_the_ledger_say_so(shop: Shop) -> None:
    trained, _ = shop.promoted()
    spec = serving(shop).spec
    assert (spec.champion.version, spec.champion.digest) == ("1", trained.outputs["bundle"].digest)
    assert spec.previous is None
    assert champion(shop) == "1"
    (entry,) = Ledger(shop.store, "shop").entries()
    assert (entry["action"], entry["version"], entry["run_id"]) == ("promotion", "1", "run-1")
    assert Ledger(shop.store, "shop").verify() == 1


def test_the_same_run_promotes_once_and_writes_one_ledger_entry(shop: Shop) -> None:
    trained, judged = shop.promoted()
    before = serving(shop)
    again = shop.rollout(trained, judged)
    assert again.facts["promoted"] is True
    assert serving(shop) == before
    assert len(Ledger(shop.store, "shop").entries()) == 1


def test_a_second_version_keeps_the_first_as_previous(shop: Shop) -> None:
    shop.promoted(seed=0, run_id="run-1")
    shop.promoted(seed=1, run_id="run-2")
    spec = serving(shop).spec
    assert spec.previous is not None
    assert (spec.champion.version, spec.previous.version) == ("2", "1")
    assert champion(shop) == "2"
    assert [entry["replaced"] for entry in Ledger(shop.store, "shop").entries()] == [None, "1"]


def test_of_two_runs_judged_against_one_champion_the_first_wins_and_is_named(shop: Shop) -> None:
    shop.promoted(seed=0, run_id="run-1")
    snapshots = {run: shop.snapshot(seed) for run, seed in (("run-2", 1), ("run-3", 2))}
    trained = {run: shop.train(snapshot, run) for run, snapshot in snapshots.items()}
    judged = {run: shop.evaluate(snapshots[run], trained[run], run) for run in snapshots}
    shop.rollout(trained["run-3"], judged["run-3"], "run-3")
    with pytest.raises(ConflictError, match=r"version 3 serves, promoted by stage/rollout in run run-3"):
        shop.rollout(trained["run-2"], judged["run-2"], "run-2")
    assert serving(shop).spec.champion.version == "3"
    assert champion(shop) == "3"
    assert len(Ledger(shop.store, "shop").entries()) == 2


def test_an_api_server_that_has_not_read_its_roles_yet_is_asked_again_by_a_retry(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object) -> None:
        raise DeniedError("servedmodels is forbidden (403 Forbidden)")

    snapshot = shop.snapshot()
    trained = shop.train(snapshot)
    judged = shop.evaluate(snapshot, trained)
    with monkeypatch.context() as patched:
        patched.setattr(DirectoryServedModels, "get", denied)
        with pytest.raises(TemporaryError, match="servedmodels is forbidden"):
            shop.rollout(trained, judged)
    assert shop.rollout(trained, judged).facts["promoted"] is True


def test_a_lost_alias_is_mended_by_the_conflict_so_that_the_next_evaluation_is_right(shop: Shop) -> None:
    shop.promoted(seed=0, run_id="run-1")
    from mlflow import MlflowClient

    MlflowClient(shop.env().settings.tracking_uri).delete_registered_model_alias("shop", "champion")
    snapshot = shop.snapshot(seed=1)
    trained = shop.train(snapshot, "run-2")
    judged = shop.evaluate(snapshot, trained, "run-2")
    with pytest.raises(ConflictError, match=r"found no champion, but version 1 serves"):
        shop.rollout(trained, judged, "run-2")
    shop.rollout(trained, shop.evaluate(snapshot, trained, "run-2"), "run-2")
    assert serving(shop).spec.champion.version == "2"


def test_a_repeat_never_promotes_again_what_was_taken_back_since(shop: Shop) -> None:
    shop.promoted(seed=0, run_id="run-1")
    trained, judged = shop.promoted(seed=1, run_id="run-2")
    models, now = DirectoryServedModels(shop.root / "served"), serving(shop)
    back = now.spec.model_copy(update={"champion": now.spec.previous, "previous": now.spec.champion})
    models.replace(now.model_copy(update={"spec": back}), str(now.metadata.resource_version))
    with pytest.raises(ConflictError, match=r"run run-2 promoted version 2 before.*version 1 serves"):
        shop.rollout(trained, judged, "run-2")
    assert serving(shop).spec.champion.version == "1"
    assert champion(shop) == "1"
    assert len(Ledger(shop.store, "shop").entries()) == 2


def test_a_promotion_stands_in_the_ledger_also_when_mlflow_does_not_answer(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(*_: object) -> None:
        raise StoreError("MLflow failed")

    monkeypatch.setattr(ModelRegistry, "set_champion", silent)
    with pytest.raises(StoreError):
        shop.promoted()
    assert [entry["version"] for entry in Ledger(shop.store, "shop").entries()] == ["1"]


def test_the_alias_follows_a_rollback_that_came_before_it(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.promoted(seed=0, run_id="run-1")

    def record_while_somebody_rolls_back(model: ServedModel, ledger: Ledger) -> int:
        roll_back(DirectoryServedModels(shop.root / "served"), "shop", None, "anna", datetime.now(UTC))
        return record(model, ledger)

    monkeypatch.setattr(rollout, "record", record_while_somebody_rolls_back)
    shop.promoted(seed=1, run_id="run-2")
    assert serving(shop).spec.champion.version == "1"
    assert champion(shop) == "1"


def test_a_verdict_about_another_bundle_is_refused(shop: Shop) -> None:
    _, judged = shop.promoted(seed=0)
    other = shop.train(shop.snapshot(seed=1), "run-2")
    with pytest.raises(IntegrityError, match="evaluate again"):
        shop.rollout(other, judged, "run-2")


def test_a_changed_verdict_is_refused(shop: Shop) -> None:
    shop.write_train(
        "from sklearn.dummy import DummyClassifier\n"
        "def train(features, label):\n    return DummyClassifier(strategy='prior').fit(features, label)\n"
    )
    snapshot = shop.snapshot()
    trained = shop.train(snapshot)
    judged = shop.evaluate(snapshot, trained)
    key = shop.store.key(judged.outputs["verdict"].uri)
    shop.store.put(key, json.dumps({**json.loads(shop.store.get(key)), "decision": "promote"}).encode())
    with pytest.raises(IntegrityError, match="changed"):
        shop.rollout(trained, judged)


class Cluster(DirectoryServedModels):
    """A cluster whose controller reports the given statuses, one per look."""

    settles = True

    def __init__(self, shop: Shop, statuses: list[ServedModelStatus | None]) -> None:
        super().__init__(shop.root / "served")
        self._statuses = statuses

    def get(self, name: str) -> ServedModel | None:
        found = super().get(name)
        if found is None:
            return None
        status = self._statuses.pop(0) if len(self._statuses) > 1 else self._statuses[0]
        return found.model_copy(update={"status": status})

    def note_recorded(self, name: str, number: int) -> None:
        """The controller's work."""


PENDING = ServedModelStatus(phase="Progressing", ready="0/1")
READY = ServedModelStatus(phase="Ready", champion="1", ready="1/1")
STUCK = ServedModelStatus(
    phase="Degraded",
    ready="0/1",
    conditions=[
        Condition(
            type="Available",
            status="False",
            reason="BundleRefused",
            message="digest differs",
            last_transition_time="2026-01-01T00:00:00Z",  # type: ignore[arg-type]
        )
    ],
)


def wait_for(shop: Shop, monkeypatch: pytest.MonkeyPatch, statuses: list[ServedModelStatus | None]) -> None:
    monkeypatch.setattr(rollout, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(rollout, "LONGEST_WAIT_SECONDS", 0.1)
    monkeypatch.setattr(rollout, "open_served_models", lambda *_: Cluster(shop, statuses))
    shop.promoted()


def test_it_waits_until_the_version_serves_and_tells_how_it_goes(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    # the first look is at who serves by then, for MLflow's alias
    wait_for(shop, monkeypatch, [None, None, PENDING, READY])
    assert "the controller has not seen it yet" in caplog.text
    assert "Progressing, 0/1 ready" in caplog.text
    assert "version 1 serves after" in caplog.text


def test_a_version_that_never_serves_fails_with_the_condition(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TemporaryError, match=r"does not serve.*BundleRefused: digest differs"):
        wait_for(shop, monkeypatch, [STUCK])
    assert len(Ledger(shop.store, "shop").entries()) == 1


def judged_again(shop: Shop) -> tuple[StageResult, StageResult]:
    """A second version, with the verdict that it may replace the first."""
    shop.promoted(seed=0, run_id="run-1")
    snapshot = shop.snapshot(seed=1)
    trained = shop.train(snapshot, "run-2")
    return trained, shop.evaluate(snapshot, trained, "run-2")


def spoil(shop: Shop, trained: StageResult) -> None:
    """Change a byte of its bundle's golden requests."""
    key = f"{shop.store.key(trained.outputs['bundle'].uri)}/golden.json"
    shop.store.put(key, shop.store.get(key) + b" ")


def test_a_challenger_that_fails_its_preflight_is_refused_and_the_history_says_why(shop: Shop) -> None:
    trained, judged = judged_again(shop)
    spoil(shop, trained)
    done = shop.rollout(trained, judged, "run-2")
    assert done.facts["promoted"] is False
    assert done.facts["champion"] == "1"
    assert str(done.facts["reason"]).startswith("Preflight: ")
    assert "golden.json" in str(done.facts["reason"])
    spec = serving(shop).spec
    assert (spec.champion.version, spec.challenger) == ("1", None)
    assert shop.rollout(trained, judged, "run-2").facts == done.facts
    entries = Ledger(shop.store, "shop").entries()
    assert [(entry["action"], entry["version"], entry["run_id"]) for entry in entries] == [
        ("promotion", "1", "run-1"),
        ("refusal", "2", "run-2"),
    ]
    assert champion(shop) == "1"


def test_a_first_version_that_fails_its_preflight_is_an_error(shop: Shop) -> None:
    snapshot = shop.snapshot()
    trained = shop.train(snapshot)
    judged = shop.evaluate(snapshot, trained)
    spoil(shop, trained)
    with pytest.raises(IntegrityError, match=r"golden\.json"):
        shop.rollout(trained, judged)
    assert DirectoryServedModels(shop.root / "served").get("shop") is None


class Watched(DirectoryServedModels):
    """A cluster whose controller tells at once what it sees: the challenger is ready, and nobody asks it."""

    settles = True

    def get(self, name: str) -> ServedModel | None:
        found = super().get(name)
        if found is None:
            return None
        spec = found.spec
        challenger = None
        if spec.challenger is not None:
            assert spec.rollout is not None
            evidence = RolloutEvidence(
                run_id=spec.rollout.run_id, since=spec.rollout.since, step_since=spec.rollout.since
            )
            challenger = ChallengerStatus(version=spec.challenger.version, state="Ready", evidence=evidence)
        status = ServedModelStatus(
            phase="Ready", champion=spec.champion.version, ready="1/1", challenger=challenger
        )
        return found.model_copy(update={"status": status})


@pytest.mark.parametrize("when_quiet", ["promote", "refuse"])
def test_the_steps_are_those_that_the_lifecycle_declares(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, when_quiet: str
) -> None:
    caplog.set_level(logging.INFO)
    lifecycle = shop.directory / "lifecycle.yaml"
    section = f"  rollout: {{steps: [10, 60], stepTimeout: 0.2s, whenQuiet: {when_quiet}}}\n"
    lifecycle.write_text(lifecycle.read_text() + section)
    monkeypatch.setattr(driving, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(rollout, "open_served_models", lambda *_: Watched(shop.root / "served"))
    trained, judged = judged_again(shop)
    done = shop.rollout(trained, judged, "run-2")
    assert "it scores copies of the requests" in caplog.text
    act = serving(shop).spec.history[-1]
    if when_quiet == "refuse":
        assert done.facts["promoted"] is False
        assert (act.action, act.run_id, act.evidence) == ("refusal", "run-2", judged.outputs["verdict"].uri)
        assert act.reason.startswith("TooLittleEvidence: shadow has lasted")
        return
    assert done.facts["promoted"] is True
    assert "it answers 10 % of the requests" in caplog.text
    assert "it answers 60 % of the requests" in caplog.text
    assert (act.action, act.version, act.replaced) == ("promotion", "2", "1")
    assert serving(shop).spec.guard.error_margin == 0.005
