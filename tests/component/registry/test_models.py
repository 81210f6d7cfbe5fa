"""The model registry on a real MLflow store: one version per bundle, whoever asks how often."""

from __future__ import annotations

from typing import Any

import pytest

from windtunnel.errors import NotFoundError, PermanentError, StoreError
from windtunnel.registry.models import DIGEST_TAG, ModelRegistry, RegisteredVersion


@pytest.fixture(scope="module")
def tracking_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One database for all tests here; each uses a name of its own."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"


@pytest.fixture
def registry(tracking_uri: str) -> ModelRegistry:
    return ModelRegistry(tracking_uri)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return request.node.name[:40]


def register(registry: ModelRegistry, name: str, bundle: str = "a") -> RegisteredVersion:
    uri = f"s3://bucket/{bundle}"
    tags = {DIGEST_TAG: f"sha256:{bundle}", "windtunnel.bundle": uri, "windtunnel.run_id": "run"}
    return registry.register(name, uri, tags, {"estimator": "Trees"}, {"rows": 3.0, "nothing": float("nan")})


def test_the_same_bundle_is_the_same_version(registry: ModelRegistry, name: str) -> None:
    first = register(registry, name)
    assert register(registry, name) == first
    assert (first.version, first.bundle, first.bundle_digest) == ("1", "s3://bucket/a", "sha256:a")
    assert register(registry, name, "b").version == "2"


def test_the_run_holds_parameters_and_finite_metrics(registry: ModelRegistry, name: str) -> None:
    from mlflow import MlflowClient

    register(registry, name)
    registry.log_metrics(name, "1", {"log_loss": 0.5, "auc": float("nan")})
    client = MlflowClient(registry._uri)
    run = client.get_run(client.get_model_version(name, "1").run_id)
    assert run.data.params == {"estimator": "Trees"}
    assert run.data.metrics == {"rows": 3.0, "log_loss": 0.5}
    assert run.info.status == "FINISHED"


def test_of_two_tries_that_register_at_once_everyone_gets_the_first_version(
    registry: ModelRegistry, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rival = ModelRegistry(registry._uri)
    look = ModelRegistry.find
    answers: list[Any] = [None]

    def blind_once(self: ModelRegistry, model: str, digest: str) -> RegisteredVersion | None:
        if self is registry and answers:
            answers.pop()
            register(rival, name)  # the other try is faster, after we looked and found nothing
            return None
        return look(self, model, digest)

    monkeypatch.setattr(ModelRegistry, "find", blind_once)
    assert register(registry, name).version == "1"
    with pytest.raises(NotFoundError):
        registry.get(name, "2")


def test_the_champion_is_what_the_alias_says(registry: ModelRegistry, name: str) -> None:
    assert registry.champion(name) is None
    register(registry, name)
    assert registry.champion(name) is None
    registry.set_champion(name, "1")
    assert registry.champion(name) == registry.get(name, "1")


def test_an_absent_version_is_not_found(registry: ModelRegistry, name: str) -> None:
    register(registry, name)
    with pytest.raises(NotFoundError, match="no version 7"):
        registry.get(name, "7")


def test_a_server_that_does_not_answer_is_temporary_and_its_password_is_not_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with pytest.raises(StoreError, match="MLflow failed") as caught:
        ModelRegistry("http://user:secret@127.0.0.1:1").champion("x")
    assert "secret" not in str(caught.value)


def test_without_an_address_it_says_what_to_set() -> None:
    with pytest.raises(PermanentError, match="MLFLOW_TRACKING_URI"):
        ModelRegistry("")
