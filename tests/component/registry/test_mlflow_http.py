"""The stdlib client against a real MLflow server, and the recorder with it and a real S3 protocol."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from http_server import LocalServer, QuietHandler, answering
from memory_models import version
from mlflow_server import mlflow_server
from s3_server import s3_server

from windtunnel.controller.recorder import Recorder
from windtunnel.errors import NotFoundError, PermanentError, StoreError
from windtunnel.ledger import Ledger
from windtunnel.objects import open_store
from windtunnel.registry.mlflow_http import MlflowServer
from windtunnel.registry.models import DIGEST_TAG, ModelRegistry

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "flight_delay"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as address:
        registry = ModelRegistry(address)
        for number in (1, 2, 3):
            one = version(number)
            tags = {DIGEST_TAG: one.digest, "windtunnel.bundle": one.bundle}
            registry.register(NAME, one.bundle, tags, {}, {})
        yield address


@pytest.fixture
def server(address: str) -> MlflowServer:
    return MlflowServer.at(address, {})


def test_the_alias_moves_and_mlflows_own_client_sees_it(server: MlflowServer, address: str) -> None:
    server.set_champion(NAME, "2")
    assert server.champion_version(NAME) == "2"
    found = ModelRegistry(address).champion(NAME)
    assert found is not None
    assert found.version == "2"
    ModelRegistry(address).set_champion(NAME, "3")
    assert server.champion_version(NAME) == "3" == ModelRegistry(address).champion_version(NAME)


def test_a_registered_version_says_where_its_bundle_is(server: MlflowServer) -> None:
    found = server.registered(NAME, "2")
    assert (found.version, found.bundle, found.digest) == ("2", version(2).bundle, version(2).digest)


def test_what_is_not_registered(server: MlflowServer) -> None:
    assert server.champion_version("nobody") is None
    with pytest.raises(NotFoundError, match=r"version=9\) not found"):
        server.registered(NAME, "9")
    with pytest.raises(NotFoundError):
        server.set_champion(NAME, "9")
    with pytest.raises(NotFoundError, match="nobody"):
        server.set_champion("nobody", "1")
    with pytest.raises(PermanentError, match="refused"):
        server.registered(NAME, "not a number")


def test_a_server_that_does_not_take_our_name_for_its_own_says_how_to_mend_it(
    server: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    import http.client

    plain = http.client.HTTPConnection.putheader

    def renamed(self: http.client.HTTPConnection, header: str, *values: Any) -> None:
        plain(self, header, *(("windtunnel-mlflow.elsewhere:5000",) if header == "Host" else values))

    monkeypatch.setattr(http.client.HTTPConnection, "putheader", renamed)
    with pytest.raises(PermanentError, match=r"Invalid Host header.*allowedHosts"):
        server.champion_version(NAME)


def test_a_server_that_is_not_there_is_a_reason_to_try_again() -> None:
    with pytest.raises(StoreError, match="does not answer"):
        MlflowServer.at("http://127.0.0.1:9", {}, timeout=1).champion_version(NAME)


@pytest.mark.parametrize(
    "uri", ["sqlite:///mlflow.db", "mlruns", "", "http://", "http://me:se/cret@host:5000"]
)
def test_other_addresses_are_refused(uri: str) -> None:
    with pytest.raises(PermanentError, match="no address of an MLflow server") as raised:
        MlflowServer.at(uri, {})
    assert "'se'" not in str(raised.value)  # no piece of a password


class _Odd(QuietHandler):
    """Answers what `server.answer` says, and keeps what it was asked."""

    server: Any

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Authorization")))
        status, body = self.server.answer
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def odd() -> Iterator[Any]:
    server: Any = LocalServer(_Odd)
    server.asked, server.answer = [], (200, json.dumps({"registered_model": {"name": NAME}}).encode())
    with answering(server):
        yield server


@pytest.mark.parametrize(
    ("user", "environ", "expected"),
    [
        ("", {}, None),
        ("me:p%40ss@", {}, "Basic bWU6cEBzcw=="),
        ("", {"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": "p@ss"}, "Basic bWU6cEBzcw=="),
        ("", {"MLFLOW_TRACKING_TOKEN": "abc"}, "Bearer abc"),
    ],
)
def test_credentials_go_into_a_header_and_never_into_an_error(
    odd: Any, user: str, environ: dict[str, str], expected: str | None
) -> None:
    server = MlflowServer.at(f"http://{user}127.0.0.1:{odd.server_port}/prefix/", environ)
    assert server.champion_version(NAME) is None
    path = f"/prefix/api/2.0/mlflow/registered-models/get?name={NAME}"
    assert odd.asked == [(path, expected)]
    odd.answer = (401, b"who are you")
    with pytest.raises(PermanentError, match="who are you") as caught:
        server.champion_version(NAME)
    assert "p@ss" not in f"{caught.value} {server!r}"
    assert "p%40ss" not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((500, b"{}"), StoreError),
        ((503, b"<html>a proxy</html>"), StoreError),
        ((200, b"<html>a login page</html>"), StoreError),
        ((200, b"[]"), StoreError),
        ((400, b'{"error_code": "INVALID_PARAMETER_VALUE", "message": "odd"}'), PermanentError),
        ((404, b"not found"), PermanentError),
    ],
)
def test_every_answer_becomes_an_error_of_ours(
    odd: Any, answer: tuple[int, bytes], error: type[Exception]
) -> None:
    odd.answer = answer
    with pytest.raises(error):
        MlflowServer.at(f"http://127.0.0.1:{odd.server_port}", {}).champion_version(NAME)


def test_the_recorder_over_s3_and_mlflow_through_an_outage(server: MlflowServer) -> None:
    with s3_server() as s3:
        store = open_store("s3://windtunnel", s3.environment, patience_seconds=0.2, request_seconds=2)
        recorder = Recorder(store, server)

        def serve(count: int) -> tuple[float, str, str]:
            history = [
                {
                    "number": number,
                    "action": "promotion",
                    **version(number).model_dump(),
                    "at": f"2026-01-01T00:{number:02d}:00Z",
                }
                for number in range(1, count + 1)
            ]
            spec = {"lifecycle": NAME, "champion": version(count).model_dump(), "history": history}
            pause = recorder.look({"metadata": {"name": "flight-delay"}, "spec": spec})
            assert recorder.view is not None
            return pause, recorder.view.status, recorder.view.reason

        assert serve(1)[1:] == ("True", "Recorded")
        from http import HTTPStatus

        s3.fault = HTTPStatus.SERVICE_UNAVAILABLE
        assert serve(2)[1:] == ("False", "LedgerAway")
        # the alias waits for nobody
        assert server.champion_version(NAME) == "2"
        s3.fault = None
        assert serve(3)[1:] == ("True", "Recorded")
        assert server.champion_version(NAME) == "3"
        ledger = Ledger(store, NAME)
        assert [entry["version"] for entry in ledger.entries()] == ["1", "2", "3"]
        assert ledger.verify() == 3
        # a version that nobody registered serves: the ledger has it, the alias cannot
        assert serve(4)[1:] == ("True", "NoAlias")
        assert ledger.verify() == 4
