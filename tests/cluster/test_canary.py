"""A challenger in real pods: it answers its share; what misbehaves is taken back, and no request fails."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from dev.demo.ask import model_client, vector_request
from dev.demo.kubectl import KubectlError
from tests.cluster.release import LIFECYCLE, NAMESPACE, Thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import httpx
    from dev.demo.kubectl import Kubectl

NAME = "flight-delay"
INFER = f"/v2/models/{LIFECYCLE}/infer"
SELECTOR = f"windtunnel.dev/served-model={NAME}"
KILL_CHALLENGER = """
import os, pathlib
for found in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
    if b"windtunnel.serving.challenger_process\\0" in found.read_bytes():
        os.kill(int(found.parent.name), 9)
        print("killed")
"""


class Canary:
    """The ServedModel as a person drives it: by kubectl."""

    def __init__(self, kubectl: Kubectl) -> None:
        self.kubectl = kubectl

    def get(self) -> dict[str, Any]:
        found: dict[str, Any] = self.kubectl.json("get", "servedmodel", NAME, "-n", NAMESPACE)
        return found

    def patch(self, spec: dict[str, Any]) -> None:
        change = json.dumps({"spec": spec})
        self.kubectl.run("patch", "servedmodel", NAME, "-n", NAMESPACE, "--type=merge", "-p", change)

    def healthy(self) -> dict[str, Any]:
        conditions = self.get().get("status", {}).get("conditions", [])
        return next((c for c in conditions if c["type"] == "ChallengerHealthy"), {})

    def wait(self, what: str, true: Callable[[], bool], seconds: float = 60) -> float:
        """Seconds until it was true."""
        began = time.monotonic()
        while not true():
            if time.monotonic() - began > seconds:
                raise AssertionError(
                    f"not within {seconds:.0f} s: {what}; {json.dumps(self.get(), indent=1)}"
                )
            time.sleep(0.2)
        return time.monotonic() - began

    def state(self) -> str:
        return str(self.get().get("status", {}).get("challenger", {}).get("state", ""))

    def pods(self) -> list[str]:
        found = self.kubectl.json("get", "pods", "-n", NAMESPACE, "-l", SELECTOR)["items"]
        return [pod["metadata"]["name"] for pod in found]


@pytest.fixture
def canary(thread: Thread) -> Iterator[Canary]:
    driven = Canary(thread.platform.kubectl)
    yield driven
    driven.patch({"challenger": None, "traffic": 0, "shadow": False})
    driven.wait("the challenger is gone", lambda: "challenger" not in driven.get().get("status", {}))


@pytest.fixture
def client(thread: Thread) -> Iterator[httpx.Client]:
    with model_client(thread.platform, LIFECYCLE) as found:
        yield found


@pytest.fixture
def request_body(thread: Thread, client: httpx.Client) -> dict[str, Any]:
    return vector_request(thread.platform, LIFECYCLE, client)


def twin(canary: Canary, **changes: str) -> dict[str, str]:
    """The champion's bundle under another version: whatever happens to it is not the model's fault."""
    champion = canary.get()["spec"]["champion"]
    return {**champion, "version": "canary", **changes}


def asked(client: httpx.Client, body: dict[str, Any], count: int, first: int = 0) -> list[dict[str, Any]]:
    """What answers requests of different keys; every one of them must be answered."""
    answers = []
    for key in range(first, first + count):
        answer = client.post(INFER, json={**body, "parameters": {"key": key}})
        assert answer.status_code == 200, answer.text
        answers.append(answer.json())
    return answers


def test_a_challenger_answers_its_share_of_the_keys(
    canary: Canary, client: httpx.Client, request_body: dict[str, Any]
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
    canary: Canary, client: httpx.Client, request_body: dict[str, Any]
) -> None:
    canary.patch({"challenger": twin(canary), "traffic": 50})
    canary.wait("the challenger is ready", lambda: canary.state() == "Ready")
    asked(client, request_body, 20)
    (pod,) = canary.pods()
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
    assert any(e["reason"] == "ChallengerDied" and e["involvedObject"]["name"] == NAME for e in events)
    assert {a["parameters"]["role"] for a in asked(client, request_body, 20)} == {"champion"}
    print(f"taken back {seconds:.1f} s after it was killed")


def test_a_challenger_whose_bundle_is_another_gets_no_request(
    canary: Canary, client: httpx.Client, request_body: dict[str, Any]
) -> None:
    canary.patch({"challenger": twin(canary, digest=f"sha256:{'0' * 64}"), "traffic": 100})

    def taken_back() -> bool:
        answers = asked(client, request_body, 5)
        assert {answer["model_version"] for answer in answers}.isdisjoint({"canary"})
        return bool(canary.get()["spec"]["traffic"] == 0)

    canary.wait("its traffic is taken back", taken_back)
    canary.wait("the condition says why", lambda: canary.healthy().get("reason") == "Rejected")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"traffic": 10}, "traffic needs a challenger"),
        ({"traffic": 101}, "less than or equal to 100"),
        ({"guard": {"errorMargin": 2}}, "errorMargin"),
    ],
)
def test_the_api_server_refuses_what_contradicts_itself(
    canary: Canary, spec: dict[str, Any], words: str
) -> None:
    with pytest.raises(KubectlError, match=words):
        canary.patch(spec)
