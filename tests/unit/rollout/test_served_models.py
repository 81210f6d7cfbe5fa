"""ServedModels in a directory and behind a Kubernetes API: the same promises."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
from http_server import LocalServer, QuietHandler, answering
from waiting import HANG

from windtunnel.errors import ConflictError, DataError, DeniedError, PermanentError, TemporaryError
from windtunnel.kube import MERGE, KubernetesApi, answer_error
from windtunnel.rollout.served_models import (
    DirectoryServedModels,
    KubernetesServedModels,
    ServedModels,
    open_served_models,
)
from windtunnel.spec.servedmodel import (
    Metadata,
    ModelVersion,
    Resources,
    ServedModel,
    ServedModelSpec,
    ServingSettings,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COLLECTION = "/apis/windtunnel.dev/v1alpha1/namespaces/release/servedmodels"


class ApiServer(QuietHandler):
    """As much of an API server as ServedModels need: optimistic concurrency and merge patches."""

    objects: dict[str, dict[str, Any]]

    def do_GET(self) -> None:
        found = self.objects.get(self.path)
        self._answer(200, found) if found else self._refuse(404, 'servedmodels.windtunnel.dev "x" not found')

    def do_POST(self) -> None:
        body = self._body()
        path = f"{self.path}/{body['metadata']['name']}"
        if path in self.objects:
            return self._refuse(409, "already exists")
        body["metadata"] |= {"resourceVersion": "1", "generation": 1}
        self.objects[path] = body
        return self._answer(201, body)

    def do_PATCH(self) -> None:
        assert self.headers["Content-Type"] == "application/merge-patch+json"
        body, found = self._body(), self.objects[self.path]
        if body["metadata"]["resourceVersion"] != found["metadata"]["resourceVersion"]:
            return self._refuse(409, "the object has been modified")
        merged = _merge(found, body)
        merged["metadata"]["resourceVersion"] = str(int(found["metadata"]["resourceVersion"]) + 1)
        self.objects[self.path] = merged
        return self._answer(200, merged)

    def _body(self) -> Any:
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def _refuse(self, status: int, message: str) -> None:
        self._answer(status, {"kind": "Status", "message": message, "reason": "Test"})

    def _answer(self, status: int, content: Any) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _merge(old: Any, new: Any) -> Any:
    """RFC 7386."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    merged = {key: _merge(old.get(key), value) for key, value in new.items() if value is not None}
    return {key: value for key, value in old.items() if key not in new} | merged


@pytest.fixture
def api() -> Iterator[KubernetesApi]:
    handler = type("Handler", (ApiServer,), {"objects": {}})
    with answering(LocalServer(handler)) as server:
        yield KubernetesApi("127.0.0.1", server.server_port, tls=None, namespace="stages", timeout=HANG)


@pytest.fixture(params=["directory", "kubernetes"])
def served_models(request: pytest.FixtureRequest, tmp_path: Path) -> ServedModels:
    if request.param == "directory":
        return DirectoryServedModels(tmp_path / "served")
    return KubernetesServedModels(request.getfixturevalue("api"), "release")


def model(number: int = 1, **spec: Any) -> ServedModel:
    champion = ModelVersion(version=str(number), bundle="s3://b/x", digest=f"sha256:{number:064d}")
    return ServedModel(
        metadata=Metadata(name="demo"), spec=ServedModelSpec(lifecycle="demo", champion=champion, **spec)
    )


def test_what_is_not_there_is_none(served_models: ServedModels) -> None:
    assert served_models.get("demo") is None


def test_what_is_created_is_found(served_models: ServedModels) -> None:
    created = served_models.create(model())
    assert served_models.get("demo") == created
    assert created.metadata.resource_version


def test_of_two_creations_one_wins(served_models: ServedModels) -> None:
    served_models.create(model())
    with pytest.raises(ConflictError):
        served_models.create(model(2))


def test_of_two_replacements_one_wins(served_models: ServedModels) -> None:
    seen = served_models.create(model()).metadata.resource_version or ""
    served_models.replace(model(2), seen)
    with pytest.raises(ConflictError):
        served_models.replace(model(3), seen)
    found = served_models.get("demo")
    assert found is not None
    assert found.spec.champion.version == "2"


def test_what_the_new_spec_leaves_out_is_gone(served_models: ServedModels) -> None:
    challenger = ModelVersion(version="9", bundle="s3://b/9", digest=f"sha256:{9:064d}")
    limited = ServingSettings(resources=Resources(limits={"memory": "1Gi"}))
    created = served_models.create(model(1, challenger=challenger, traffic=10, serving=limited))
    served_models.replace(model(2), created.metadata.resource_version or "")
    found = served_models.get("demo")
    assert found is not None
    assert (found.spec.challenger, found.spec.traffic) == (None, 0)
    assert found.spec.serving.resources.limits == {}


def test_what_a_newer_release_wrote_is_left_alone(api: KubernetesApi) -> None:
    created = KubernetesServedModels(api, "release").create(model())
    seen = created.metadata.resource_version or ""
    body = {"metadata": {"resourceVersion": seen}, "spec": {"unheardOf": {"limit": 5}}}
    found = api.request("PATCH", f"{COLLECTION}/demo", body, content_type=MERGE)
    KubernetesServedModels(api, "release").replace(model(2), found["metadata"]["resourceVersion"])
    spec = api.request("GET", f"{COLLECTION}/demo")["spec"]
    assert (spec["champion"]["version"], spec["unheardOf"]) == ("2", {"limit": 5})


def test_a_served_model_that_was_deleted_in_between_is_a_conflict(served_models: ServedModels) -> None:
    with pytest.raises(ConflictError):
        served_models.replace(model(), "1")


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "demo.json").write_text("{")
    with pytest.raises(DataError, match=r"demo.json.*not JSON"):
        DirectoryServedModels(tmp_path).get("demo")
    (tmp_path / "demo.json").write_text('{"kind": "Pod"}')
    with pytest.raises(DataError, match="no ServedModel"):
        DirectoryServedModels(tmp_path).get("demo")


def test_a_served_model_without_its_directory_can_be_made_in_parallel(tmp_path: Path) -> None:
    outcomes: list[str] = []

    def create(number: int) -> None:
        try:
            DirectoryServedModels(tmp_path / "new").create(model(number))
            outcomes.append("created")
        except ConflictError:
            outcomes.append("conflict")

    threads = [threading.Thread(target=create, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["conflict"] * 7 + ["created"]


def test_an_api_server_that_is_away_is_temporary() -> None:
    api = KubernetesApi("127.0.0.1", 1, tls=None, namespace="x", timeout=1)
    with pytest.raises(TemporaryError):
        KubernetesServedModels(api, "release").get("demo")


@pytest.mark.parametrize("status", [401, 403])
def test_an_api_server_that_denies_is_told_apart(status: int) -> None:
    body = b'{"message": "servedmodels is forbidden", "reason": "Forbidden"}'
    error = answer_error(status, body, "kubernetes GET /x")
    assert isinstance(error, DeniedError)
    assert "servedmodels is forbidden" in str(error)


def test_the_setting_chooses_where_they_live(tmp_path: Path) -> None:
    assert isinstance(open_served_models(str(tmp_path), {}), DirectoryServedModels)
    with pytest.raises(PermanentError, match="WINDTUNNEL_SERVED_MODELS"):
        open_served_models("", {})
    with pytest.raises(PermanentError, match=r"service account|KUBECONFIG"):
        open_served_models("kubernetes:release", {})
