"""rollback, promote and status on what serves on this machine."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from memory_models import version
from typer.testing import CliRunner

from windtunnel.cli import acting
from windtunnel.cli.app import app
from windtunnel.digests import digest
from windtunnel.errors import ConflictError, NotFoundError, PermanentError
from windtunnel.ledger import Ledger
from windtunnel.local.home import Home
from windtunnel.registry.models import ModelRegistry, RegisteredVersion
from windtunnel.rollout.promotion import Candidate, promote
from windtunnel.rollout.served_models import DirectoryServedModels
from windtunnel.spec.servedmodel import ModelVersion, RolloutState, ServedModel, ServingSettings

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

NOW = datetime.now(UTC) - timedelta(hours=3)


class Aliases:
    """MLflow of the home."""

    registered: dict[str, ModelVersion]
    champion: str | None

    def __init__(self) -> None:
        self.registered, self.champion = {}, None

    def champion_version(self, _: ModelRegistry, name: str) -> str | None:
        return self.champion

    def set_champion(self, _: ModelRegistry, name: str, version: str) -> None:
        self.champion = version

    def get(self, _: ModelRegistry, name: str, version: str) -> RegisteredVersion:
        if version not in self.registered:
            raise NotFoundError(f"there is no version {version}")
        one = self.registered[version]
        return RegisteredVersion(name, version, one.bundle, one.digest, {})


@pytest.fixture
def aliases(monkeypatch: pytest.MonkeyPatch) -> Aliases:
    aliases = Aliases()
    for name in ("champion_version", "set_champion", "get"):
        method = getattr(aliases, name)
        monkeypatch.setattr(ModelRegistry, name, lambda *args, method=method: method(*args))
    return aliases


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, aliases: Aliases) -> Home:
    """Versions 1, 2 and 3 were promoted here, one after the other."""
    monkeypatch.chdir(tmp_path)
    for variable in ("WINDTUNNEL_NAMESPACE", "WINDTUNNEL_CONTEXT", "KUBECONFIG", "WINDTUNNEL_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("USER", "anna")
    home = Home.at(tmp_path / ".windtunnel")
    home.prepare()
    (home.store / "demo").mkdir()
    for number in (1, 2, 3):
        promote(
            DirectoryServedModels(home.served_models),
            Candidate(
                lifecycle="demo",
                champion=version(number),
                expected_champion=str(number - 1) if number > 1 else None,
                serving=ServingSettings(),
                run_id=f"run-{number}",
                by="stage/rollout",
            ),
            NOW + timedelta(minutes=number),
        )
    return home


def model(home: Home) -> ServedModel:
    found = home.served_model("demo")
    assert found is not None
    return found


def edit(home: Home, **spec: Any) -> None:
    now = model(home)
    DirectoryServedModels(home.served_models).replace(
        now.model_copy(update={"spec": now.spec.model_copy(update=spec)}), now.metadata.resource_version or ""
    )


def rolling_out(home: Home, phase: Any = "Canary") -> None:
    edit(
        home,
        challenger=version(4),
        traffic=25,
        rollout=RolloutState(run_id="run-4", phase=phase, since=NOW),
    )


def run(*arguments: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(app, list(arguments), input=answer, env={"COLUMNS": "120"})


def error(result: Result, kind: type[Exception]) -> str:
    assert isinstance(result.exception, kind), result.output
    return str(result.exception)


def test_a_rollback_says_what_it_did_and_the_ledger_and_the_alias_follow(
    home: Home, aliases: Aliases
) -> None:
    done = run("rollback", "demo", "--yes", "--reason", "late [flights]")
    assert done.exit_code == 0, done.output
    assert "3 → 2" in done.output
    assert "version 2 is the champion again" in done.output
    now = model(home)
    assert now.spec.champion == version(2)
    act = now.spec.history[-1]
    assert (act.action, act.by, act.reason) == ("rollback", "anna", "late [flights]")
    entries = Ledger(home.open_store(), "demo").entries()
    assert [entry["action"] for entry in entries] == ["promotion"] * 3 + ["rollback"]
    assert now.status is not None
    assert (now.status.recorded, aliases.champion) == (4, "2")


def test_nobody_to_ask_is_a_refusal(home: Home) -> None:
    for command in (["rollback", "demo"], ["promote", "demo", "2"]):
        assert "add --yes" in error(run(*command), PermanentError)
    assert model(home).spec.champion == version(3)


@pytest.mark.parametrize(("answer", "expected"), [("y\n", 2), ("n\n", 3), ("\n", 3)])
def test_it_asks_first(home: Home, monkeypatch: pytest.MonkeyPatch, answer: str, expected: int) -> None:
    monkeypatch.setattr(acting, "_can_ask", lambda: True)
    done = run("rollback", "demo", answer=answer)
    assert "champion    3 → 2" in done.output
    assert model(home).spec.champion == version(expected)
    assert ("Nothing was changed." in done.output) == (expected == 3)


def test_what_was_seen_is_what_is_rolled_back_from(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def meanwhile() -> bool:
        edit(home, champion=version(9))
        return True

    monkeypatch.setattr(acting, "_can_ask", meanwhile)
    assert "version 9 serves by now" in error(run("rollback", "demo", answer="y\n"), ConflictError)
    assert model(home).spec.champion == version(9)


def test_a_rollback_tells_of_the_rollout_that_it_ends(home: Home) -> None:
    rolling_out(home)
    done = run("rollback", "demo", "--to", "3", "--yes")
    assert "challenger  4 goes, with 25 % of the requests" in done.output
    assert "Version 4 is no challenger any more; version 3 goes on serving." in done.output
    assert model(home).spec.challenger is None
    again = run("rollback", "demo", "--to", "3", "--yes")
    assert "Version 3 serves already" in again.output
    assert again.exit_code == 0


def test_a_version_that_never_served_is_refused(home: Home) -> None:
    assert "promote NAME 8" in error(run("rollback", "demo", "--to", "8", "--yes"), NotFoundError)


def test_a_store_that_lost_the_bundle_refuses(home: Home) -> None:
    gone = f"{home.open_store().url}/demo/bundles/2"
    edit(home, previous=version(2).model_copy(update={"bundle": gone}))
    assert "bundle of version 2 is gone" in error(run("rollback", "demo", "--yes"), NotFoundError)
    assert model(home).spec.champion == version(3)


@pytest.mark.parametrize(
    ("phase", "words"),
    [("Paused", "goes on with its next step"), ("Canary", "ends this step"), ("Shadow", "leaves the shadow")],
)
def test_a_word_lets_the_rollout_go_on(home: Home, phase: str, words: str) -> None:
    rolling_out(home, phase)
    done = run("promote", "demo", "--yes")
    assert done.exit_code == 0, done.output
    assert words in done.output
    rollout = model(home).spec.rollout
    assert rollout is not None
    assert (rollout.approved, rollout.approved_by) == (True, "anna")
    assert "approved already" in run("promote", "demo", "--yes").output


def test_who_approves_a_step_does_not_approve_the_next(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    rolling_out(home)

    def meanwhile() -> bool:
        edit(home, rollout=RolloutState(run_id="run-4", phase="Canary", since=datetime.now(UTC)))
        return True

    monkeypatch.setattr(acting, "_can_ask", meanwhile)
    assert "moved on" in error(run("promote", "demo", answer="y\n"), ConflictError)
    rollout = model(home).spec.rollout
    assert rollout is not None
    assert rollout.approved is False


def test_there_is_nothing_to_approve(home: Home) -> None:
    assert "promote demo VERSION" in error(run("promote", "demo", "--yes"), PermanentError)


def test_the_challenger_gets_the_seat_at_once(home: Home, aliases: Aliases) -> None:
    rolling_out(home)
    done = run("promote", "demo", "4", "--yes")
    assert done.exit_code == 0, done.output
    assert "3 → 4" in done.output
    assert "without any evidence" in done.output
    spec = model(home).spec
    assert (spec.champion, spec.challenger, spec.rollout, aliases.champion) == (version(4), None, None, "4")
    act = spec.history[-1]
    assert (act.action, act.by, act.run_id, act.reason) == ("promotion", "anna", "", "by hand")
    assert "already" in run("promote", "demo", "4", "--yes").output


def test_who_promotes_undoes_no_setting_that_somebody_else_makes_meanwhile(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    rolling_out(home)

    def meanwhile() -> bool:
        edit(home, serving=ServingSettings(replicas=6))
        return True

    monkeypatch.setattr(acting, "_can_ask", meanwhile)
    assert run("promote", "demo", "4", answer="y\n").exit_code == 0
    assert (model(home).spec.champion, model(home).spec.serving.replicas) == (version(4), 6)


def test_a_version_whose_bundle_lost_a_part_does_not_get_the_seat(home: Home, aliases: Aliases) -> None:
    store = home.open_store()
    manifest = b'{"files": {"model.onnx": "sha256:0"}}'
    folder = f"demo/bundles/{digest(manifest)[7:]}"
    store.put(f"{folder}/manifest.json", manifest)
    aliases.registered["7"] = ModelVersion(version="7", bundle=store.uri(folder), digest=digest(manifest))
    assert "is not whole; nothing was changed" in error(run("promote", "demo", "7", "--yes"), NotFoundError)
    assert model(home).spec.champion == version(3)
    store.put(f"{folder}/model.onnx", b"model")
    assert run("promote", "demo", "7", "--yes").exit_code == 0


def test_a_registered_version_gets_the_seat(home: Home, aliases: Aliases) -> None:
    aliases.registered["7"] = version(7)
    run("promote", "demo", "7", "--yes", "--reason", "holidays")
    assert model(home).spec.champion == version(7)
    assert model(home).spec.history[-1].reason == "holidays"
    assert "no version 8" in error(run("promote", "demo", "8", "--yes"), NotFoundError)
    aliases.registered["8"] = version(8).model_copy(update={"digest": ""})
    assert "did not register it" in error(run("promote", "demo", "8", "--yes"), PermanentError)


def test_what_the_guard_took_back_is_told_before_it_is_promoted(home: Home) -> None:
    from windtunnel.rollout.taking_back import take_back

    rolling_out(home)
    models = DirectoryServedModels(home.served_models)
    take_back(models, "demo", version(4), "NotANumber", "1 of [its] requests", NOW)
    done = run("promote", "demo", "4", "--yes")
    assert "taken back" in done.output
    assert "NotANumber: 1 of [its] requests" in done.output
    assert model(home).spec.champion == version(4)


@pytest.mark.parametrize("name", ["demo", "dags/lifecycles/demo", "dags/lifecycles/demo/"])
def test_a_model_is_named_as_everywhere(home: Home, name: str) -> None:
    assert run("rollback", name, "--yes").exit_code == 0


def test_nothing_serves(home: Home) -> None:
    (home.store / "other").mkdir()
    assert "windtunnel run other" in error(run("rollback", "other", "--yes"), NotFoundError)


def test_a_home_can_be_named(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path.parent)
    assert run("rollback", "demo", "--yes", "--home", str(home.directory)).exit_code == 0
    monkeypatch.setenv("WINDTUNNEL_HOME", str(home.directory))
    assert "2 → 1" in run("rollback", "demo", "--to", "1", "--yes").output
