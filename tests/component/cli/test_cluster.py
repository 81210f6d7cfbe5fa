"""rollback, promote and status on a cluster: by a kubeconfig with an exec plugin, over real HTTP."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from api_server import ApiServer, api_server
from memory_models import version
from typer.testing import CliRunner

from windtunnel.cli.app import app
from windtunnel.errors import NotFoundError, PermanentError, TemporaryError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from click.testing import Result

PLUGIN = """
import json
print(json.dumps({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
                  "status": {"token": "a-token"}}))
"""


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with api_server() as server:
        history = [
            {"number": n, "action": "promotion", **dumped(n), "at": f"2026-01-0{n}T00:00:00Z", "by": "stage"}
            for n in (1, 2, 3)
        ]
        server.put(
            {
                "apiVersion": "windtunnel.dev/v1alpha1",
                "kind": "ServedModel",
                "metadata": {"name": "flight-delay"},
                "spec": {
                    "lifecycle": "flight_delay",
                    "champion": dumped(3),
                    "previous": dumped(2),
                    "history": history,
                    "aLaterField": {"stays": True},
                },
                "status": {"recorded": 3, "warm": ["2"]},
            }
        )
        yield server


def dumped(number: int) -> dict[str, str]:
    return version(number).model_dump()


@pytest.fixture(autouse=True)
def kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: ApiServer) -> Path:
    """Two contexts: one that works, by an exec plugin, and one whose server is away."""
    plugin = tmp_path / "plugin.py"
    plugin.write_text(PLUGIN)
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "prod",
        "contexts": [
            {"name": "prod", "context": {"cluster": "prod", "user": "me", "namespace": "ml"}},
            {"name": "gone", "context": {"cluster": "gone", "user": "me"}},
        ],
        "clusters": [
            {"name": "prod", "cluster": {"server": server.address}},
            {"name": "gone", "cluster": {"server": "http://127.0.0.1:9"}},
        ],
        "users": [
            {
                "name": "me",
                "user": {
                    "exec": {
                        "apiVersion": "client.authentication.k8s.io/v1",
                        "command": sys.executable,
                        "args": [str(plugin)],
                        "interactiveMode": "Never",
                    }
                },
            }
        ],
    }
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(path))
    monkeypatch.chdir(tmp_path)
    for name in ("WINDTUNNEL_NAMESPACE", "WINDTUNNEL_CONTEXT", "WINDTUNNEL_HOME", "WINDTUNNEL_STORE"):
        monkeypatch.delenv(name, raising=False)
    # the client takes the file that it found when it was imported
    from kubernetes.config import kube_config

    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(path))
    return path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "120"})


def error(result: Result, kind: type[Exception]) -> str:
    assert isinstance(result.exception, kind), (result.output, result.exception)
    return str(result.exception)


def test_a_rollback_through_the_api_server(server: ApiServer) -> None:
    done = run("rollback", "flight_delay", "--yes", "--reason", "late")
    assert done.exit_code == 0, (done.output, done.exception)
    assert "cluster prod, namespace ml" in done.output
    assert "version 2 is loaded in every pod" in done.output
    assert "version 2 serves in 2/2 pods" in done.output
    spec = server.models["flight-delay"]["spec"]
    assert (spec["champion"], spec["previous"]) == (dumped(2), dumped(1))
    act = spec["history"][-1]
    assert (act["action"], act["by"], act["reason"]) == ("rollback", "anna@example.com", "late")
    assert spec["aLaterField"] == {"stays": True}


def test_the_challenger_is_approved_and_then_promoted(server: ApiServer) -> None:
    spec = server.models["flight-delay"]["spec"]
    rollout = {"runId": "run-4", "phase": "Paused", "since": "2026-01-04T00:00:00Z"}
    spec |= {"challenger": dumped(4), "traffic": 50, "rollout": rollout}
    assert run("promote", "flight-delay", "-n", "ml", "--yes").exit_code == 0
    now = server.models["flight-delay"]["spec"]["rollout"]
    assert (now["approved"], now["approvedBy"]) == (True, "anna@example.com")
    done = run("promote", "flight-delay", "4", "--context", "prod", "--yes")
    assert done.exit_code == 0, (done.output, done.exception)
    spec = server.models["flight-delay"]["spec"]
    assert spec["champion"] == dumped(4)
    assert "challenger" not in spec
    assert "rollout" not in spec


def test_a_version_that_mlflow_has_to_tell_of_says_how(server: ApiServer) -> None:
    said = error(run("promote", "flight_delay", "9", "--yes"), PermanentError)
    assert "MLFLOW_TRACKING_URI" in said
    assert "port-forward" in said


def test_somebody_else_in_between_is_met(server: ApiServer) -> None:
    """A status write changes the resource version all the time."""
    plain = server.follow
    server.models["flight-delay"]["metadata"]["resourceVersion"] = "7"
    server.follow = lambda name: plain(name)  # type: ignore[method-assign]
    assert run("rollback", "flight_delay", "--to", "1", "--yes").exit_code == 0
    assert server.models["flight-delay"]["spec"]["champion"] == dumped(1)


@pytest.mark.parametrize(
    "pods",
    [
        None,
        [],
        [
            {
                "metadata": {"name": "flight-delay-1", "creationTimestamp": "2026-01-01T00:00:00Z"},
                "spec": {"nodeName": "node-a"},
                "status": {
                    "phase": "Running",
                    "conditions": [{"type": "Ready", "status": "True"}],
                    "containerStatuses": [{"restartCount": 2}],
                },
            },
            {"metadata": {"name": "flight-delay-2", "creationTimestamp": "2026-01-01T00:00:00Z"}},
        ],
    ],
)
def test_the_picture(server: ApiServer, pods: list[dict[str, Any]] | None) -> None:
    model = server.models["flight-delay"]
    model["spec"] |= {
        "challenger": dumped(4),
        "traffic": 25,
        "rollout": {"runId": "run-4", "phase": "Canary", "since": datetime.now(UTC).isoformat()},
    }
    healthy = {"type": "ChallengerHealthy", "status": "True", "reason": "Healthy", "message": "[fine]"}
    behind = {"type": "Recorded", "status": "False", "reason": "LedgerAway", "message": "1 acts wait: away"}
    model["status"] |= {
        "challenger": {
            "version": "4",
            "state": "Ready",
            "evidence": {
                "since": "2026-01-04T00:00:00Z",
                "requests": 1234,
                "faults": 5,
                "tests": [{"name": "faults", "conclusion": "NotWorse", "allowed": 0.005, "atMost": 0.003}],
            },
        },
        "conditions": [{**one, "lastTransitionTime": "2026-01-04T00:00:00Z"} for one in (healthy, behind)],
    }
    server.pods = pods
    done = run("status", "flight_delay", "-n", "ml")
    assert done.exit_code == 0, (done.output, done.exception)
    for words in (
        "cluster prod, namespace ml", "Ready  2/2 pods", "75 %", "25 %", "Canary 25 %", "Healthy: [fine]",
        "1,234 requests, 5 faults", "not worse", "at most 0.30%, allowed 0.50%", "LedgerAway: 1 acts wait",
        "2, warm in every pod",
    ):  # fmt: skip
        assert words in done.output, done.output
    assert ("node-a" in done.output) == bool(pods)


def test_all_models_of_a_namespace(server: ApiServer) -> None:
    other = json.loads(json.dumps(server.models["flight-delay"]))
    other["metadata"]["name"], other["spec"]["lifecycle"] = "churn", "churn"
    server.put(other)
    done = run("status", "-n", "ml")
    assert done.exit_code == 0, (done.output, done.exception)
    assert done.output.index("churn") < done.output.index("flight_delay")
    server.models.clear()
    assert "No model serves there yet" in run("status", "-n", "ml").output


def test_what_goes_wrong_says_so(server: ApiServer, kubeconfig: Path) -> None:
    assert "nothing serves for other" in error(run("status", "other", "-n", "ml"), NotFoundError)
    assert "there are prod, gone" in error(run("rollback", "flight_delay", "--context", "x"), PermanentError)
    away = error(run("status", "flight_delay", "--context", "gone"), TemporaryError)
    assert "no answer from the API server" in away
    server.token = "another"
    assert "who are you" in error(run("rollback", "flight_delay", "--yes"), PermanentError)
    kubeconfig.write_text("not: [a kubeconfig")
    assert "kubectl get pods" in error(run("rollback", "flight_delay", "--yes"), PermanentError)


def test_a_watch_goes_on_while_the_cluster_does_not_answer(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from windtunnel.cli import watching

    looks = []

    def pause(_: float) -> None:
        looks.append(server.token)
        if len(looks) == 2:
            raise KeyboardInterrupt
        server.hangs_up = True

    monkeypatch.setattr(watching.time, "sleep", pause)
    done = run("status", "flight_delay", "-n", "ml", "--watch")
    assert done.exit_code == 0, (done.output, done.exception)
    assert done.output.count("champion") == 2
    assert "not answered since: no answer from the API server" in done.output
