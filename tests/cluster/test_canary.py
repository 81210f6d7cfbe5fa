"""A challenger in real pods: it answers its share; what misbehaves is taken back, and no request fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from dev.demo.ask import model_client, vector_request
from dev.demo.kubectl import KubectlError
from tests.cluster.release import LIFECYCLE, NAMESPACE, Thread
from tests.cluster.served import Served

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

INFER = f"/v2/models/{LIFECYCLE}/infer"
KILL_CHALLENGER = """
import os, pathlib
for found in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
    if b"windtunnel.serving.challenger_process\\0" in found.read_bytes():
        os.kill(int(found.parent.name), 9)
        print("killed")
"""


@pytest.fixture
def canary(thread: Thread) -> Iterator[Served]:
    driven = Served(thread.platform.kubectl, LIFECYCLE)
    yield driven
    driven.clear()


@pytest.fixture
def client(thread: Thread) -> Iterator[httpx.Client]:
    with model_client(thread.platform, LIFECYCLE) as found:
        yield found


@pytest.fixture
def request_body(thread: Thread, client: httpx.Client) -> dict[str, Any]:
    return vector_request(thread.platform, LIFECYCLE, client)


def twin(canary: Served) -> dict[str, str]:
    """The champion's bundle under another version: whatever happens to it is not the model's fault."""
    champion = canary.get()["spec"]["champion"]
    return {**champion, "version": "canary"}


def asked(client: httpx.Client, body: dict[str, Any], count: int, first: int = 0) -> list[dict[str, Any]]:
    """What answers requests of different keys; every one of them must be answered."""
    answers = []
    for key in range(first, first + count):
        answer = client.post(INFER, json={**body, "parameters": {"key": key}})
        assert answer.status_code == 200, answer.text
        answers.append(answer.json())
    return answers


def test_a_challenger_answers_its_share_of_the_keys(
    canary: Served, client: httpx.Client, request_body: dict[str, Any]
) -> None:
    canary.patch({"challenger": twin(canary), "traffic": 50})
    canary.wait("the challenger is ready", lambda: canary.state() == "Ready")
    first = asked(client, request_body, 60)
    again = asked(client, request_body, 60)
    roles = [answer["parameters"]["role"] for answer in first]
    assert 15 <= roles.count("challenger") <= 45
    assert set(roles) == {"champion", "challenger"}
    assert roles == [answer["parameters"]["role"] for answer in again], "a key keeps its side"
    assert len({answer["outputs"][0]["data"][0] for answer in first}) == 1, "it is the same model"
    canary.wait("the guard calls it healthy", lambda: canary.healthy().get("status") == "True")
    assert canary.get()["spec"]["traffic"] == 50


def test_a_challenger_that_dies_is_taken_back_and_no_request_fails(
    canary: Served, client: httpx.Client, request_body: dict[str, Any]
) -> None:
    canary.patch({"challenger": twin(canary), "traffic": 50})
    canary.wait("the challenger is ready", lambda: canary.state() == "Ready")
    asked(client, request_body, 20)
    for pod in canary.pod_names():
        killed = canary.kubectl.run("exec", pod, "-n", NAMESPACE, "--", "python", "-c", KILL_CHALLENGER)
        assert killed.strip() == "killed"

    def taken_back() -> bool:
        asked(client, request_body, 5)
        return bool(canary.get()["spec"]["traffic"] == 0)

    seconds = canary.wait("its traffic is taken back", taken_back, 30)
    # The status follows the spec; the reason was in the same write.
    canary.wait("the condition says why", lambda: canary.healthy().get("reason") == "ChallengerDied")
    assert canary.healthy()["status"] == "False"
    events = canary.kubectl.json("get", "events", "-n", NAMESPACE)["items"]
    assert any(e["reason"] == "ChallengerDied" and e["involvedObject"]["name"] == canary.name for e in events)
    assert {a["parameters"]["role"] for a in asked(client, request_body, 20)} == {"champion"}
    print(f"taken back {seconds:.1f} s after it was killed")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"traffic": 10}, "traffic needs a challenger"),
        ({"traffic": 101}, "less than or equal to 100"),
        ({"guard": {"errorMargin": 2}}, "errorMargin"),
    ],
)
def test_the_api_server_refuses_what_contradicts_itself(
    canary: Served, spec: dict[str, Any], words: str
) -> None:
    with pytest.raises(KubectlError, match=words):
        canary.patch(spec)
