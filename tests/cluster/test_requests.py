"""What bad requests get: a clear error, no restart, nothing lost."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from dev.demo.ask import ask, model_client, vector_request
from dev.demo.thread import asked_at
from tests.cluster.release import END, LIFECYCLE, NAMESPACE, Thread

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx


@pytest.fixture(scope="module")
def client(thread: Thread) -> Iterator[httpx.Client]:
    with model_client(thread.platform, LIFECYCLE) as found:
        yield found


@pytest.fixture(scope="module")
def good(thread: Thread, client: httpx.Client) -> dict:
    return vector_request(thread.platform, LIFECYCLE, client)


def restarts(thread: Thread) -> int:
    pods = thread.platform.kubectl.json(
        "get", "pods", "-n", NAMESPACE, "-l", "windtunnel.dev/served-model=flight-delay"
    )
    return sum(s["restartCount"] for pod in pods["items"] for s in pod["status"]["containerStatuses"])


@pytest.fixture(autouse=True)
def still_serving(thread: Thread, client: httpx.Client, good: dict) -> Iterator[None]:
    """Whatever a test sends, the process lives on and answers the next request."""
    before = restarts(thread)
    yield
    assert client.post(INFER, json=good).status_code == 200
    assert restarts(thread) == before


INFER = f"/v2/models/{LIFECYCLE}/infer"


def first_input(request: dict, **changes: object) -> dict:
    changed = json.loads(json.dumps(request))
    changed["inputs"][0].update(changes)
    return changed


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"shape": [7]}, "shape"),
        ({"shape": [1, 2, 3]}, "shape"),
        ({"datatype": "FP7"}, "datatype"),
        ({"data": ["many"]}, "data"),
        ({"name": "no_such_feature"}, "no_such_feature"),
    ],
)
def test_a_wrong_input_is_named_in_the_error(
    client: httpx.Client, good: dict, changes: dict, word: str
) -> None:
    answer = client.post(INFER, json=first_input(good, **changes))
    assert answer.status_code == 400
    assert word in answer.json()["error"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_that_is_none_is_refused(client: httpx.Client, good: dict, number: str) -> None:
    text = json.dumps(first_input(good, data=["NUMBER"])).replace('"NUMBER"', number)
    answer = client.post(INFER, content=text, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_a_body_of_ten_megabytes_is_refused_as_too_large(client: httpx.Client) -> None:
    answer = client.post(INFER, content=b'{"inputs": [' + b" " * 10_000_000 + b"]}")
    assert answer.status_code == 413
    assert "large" in answer.json()["error"]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"inputs": 7}', b'{"inputs": []}'],
)
def test_a_body_that_is_no_request_is_refused(client: httpx.Client, body: bytes) -> None:
    answer = client.post(INFER, content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_an_unknown_model_is_not_found(client: httpx.Client, good: dict) -> None:
    assert client.post("/v2/models/no_such_model/infer", json=good).status_code == 404


def test_an_unknown_entity_is_answered_and_its_missing_features_are_counted(
    thread: Thread,
) -> None:
    by_key, _ = ask(thread.platform, LIFECYCLE, asked_at(END), unknown=True)
    assert 0 <= by_key.value <= 1
    assert by_key.missing_features > 0
