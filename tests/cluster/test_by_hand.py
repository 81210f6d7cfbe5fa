"""What a person does about a served model with `windtunnel`, and what it tells about a prediction."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from dev.demo.ask import ask
from dev.demo.target import ROOT
from dev.demo.thread import asked_at
from tests.cluster.release import END, LIFECYCLE, NAMESPACE, RELEASE, Thread
from tests.cluster.served import PROVING, Served

from windtunnel.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from windtunnel.spec.servedmodel import ModelVersion

_LOGGED_SECONDS = 90.0
"""A prediction is stored half a minute after it was made."""


def windtunnel(served: Served, *words: str, environ: Mapping[str, str] | None = None) -> str:
    """What the command prints; it must end well."""
    kubeconfig = served.kubectl.flags[0].removeprefix("--kubeconfig=")
    done = subprocess.run(
        [sys.executable, "-m", "windtunnel.cli", *words],
        env={**os.environ, "KUBECONFIG": kubeconfig, "COLUMNS": "200", **(environ or {})},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"windtunnel {' '.join(words)}: {done.stdout}\n{done.stderr}"
    return done.stdout


def test_a_version_is_promoted_and_rolled_back_by_command_and_the_ledger_tells_by_whom(
    thread: Thread, proving: Served, versions: tuple[ModelVersion, ModelVersion]
) -> None:
    first, second = versions
    proving.patch({"challenger": second.model_dump(mode="json", by_alias=True), "traffic": 0})
    proving.wait("the challenger is ready", lambda: proving.has_ready(second.version))
    windtunnel(proving, "promote", PROVING, second.version, "--reason", "a test", "--yes", "-n", NAMESPACE)
    assert proving.spec["champion"]["version"] == second.version
    picture = windtunnel(proving, "status", PROVING, "-n", NAMESPACE)
    assert "a test" in picture
    windtunnel(proving, "rollback", PROVING, "--reason", "it was a test", "--yes", "-n", NAMESPACE)
    assert proving.spec["champion"]["version"] == first.version
    proving.wait("it is in the ledger", lambda: len(_acts(thread)) >= 2)
    promotion, rollback = _acts(thread)[-2:]
    assert (promotion["action"], promotion["version"], promotion["reason"]) == ("promotion", "2", "a test")
    assert (rollback["action"], rollback["version"], rollback["reason"]) == ("rollback", "1", "it was a test")
    assert promotion["by"]
    assert promotion["by"] == rollback["by"]


def _acts(thread: Thread) -> list[dict[str, str]]:
    return [
        entry
        for entry in Ledger(thread.platform.store, PROVING).entries()
        if entry["action"] in ("promotion", "rollback")
    ]


def test_why_leads_from_a_prediction_to_all_that_it_was_made_of_and_answers_it_again(thread: Thread) -> None:
    served = Served(thread.platform.kubectl, LIFECYCLE)
    answers = ask(thread.platform, LIFECYCLE, asked_at(END))
    for answer in answers:
        told = _why(thread, served, answer.prediction_id)
        (given,) = told["answers"]
        assert given["rows"][0]["prediction"] == answer.value
        assert given["replay"]["exact"], given["replay"]
        version = told["versions"][given["digest"]]
        assert version["verdict"]["decision"] == "promote"
        assert version["snapshot"]
        assert not version["lost"]


def _why(thread: Thread, served: Served, prediction_id: str) -> dict[str, Any]:
    """As soon as it is in the log."""
    deadline = time.monotonic() + _LOGGED_SECONDS
    while True:
        try:
            environ = thread.platform.store_environ
            told = windtunnel(served, "why", prediction_id, LIFECYCLE, "--replay", "--json", environ=environ)
        except AssertionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(3)
        else:
            found: dict[str, Any] = json.loads(told)
            return found


def test_score_on_demand_writes_the_log_s_format_shard_by_shard(thread: Thread) -> None:
    served = Served(thread.platform.kubectl, LIFECYCLE)
    admin = f"{RELEASE}-airflow-admin"
    login = {
        f"WINDTUNNEL_AIRFLOW_{name.upper()}": thread.platform.kubectl.secret(NAMESPACE, admin, name)
        for name in ("username", "password")
    }
    days = (END - timedelta(days=1), END)
    told = windtunnel(
        served,
        *("score", LIFECYCLE, "--from", str(days[0]), "--to", str(days[1])),
        *("--airflow", thread.platform.api.url),
        environ=login,
    )
    assert "rows of flight_delay scored by version" in told
    keys = [entry.key for entry in thread.platform.store.list(f"{LIFECYCLE}/scores")]
    assert {key.split("/")[2] for key in keys} == {str(day) for day in days}
    assert len(keys) == 2 * len(days), "two shards a day"
