"""What must hold when a rollout is over, whatever happened to it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import httpx
from dev.demo.kubectl import KubectlError
from tests.chaos.reaching import mlflow_champion
from tests.cluster.release import LIFECYCLE

from windtunnel.errors import WindtunnelError
from windtunnel.ledger import Ledger

if TYPE_CHECKING:
    from dev.demo.thread import Platform
    from tests.cluster.served import Served

_SETTLED_SECONDS: Final = 120.0
"""Until everything that was away is back, and what had to wait for it is written."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended by the ServedModel's history, and what is wrong with that."""

    action: str
    problems: tuple[str, ...]


def judge(platform: Platform, model: Served, run_id: str) -> Outcome:
    """Look until nothing is wrong, for at most two minutes."""
    deadline = time.monotonic() + _SETTLED_SECONDS
    while True:
        try:
            outcome = _judge(platform, model, run_id)
        except (KubectlError, WindtunnelError, httpx.HTTPError) as error:
            outcome = Outcome("unknown", (f"{type(error).__name__}: {error}",))
        if not outcome.problems or time.monotonic() > deadline:
            return outcome
        time.sleep(1)


def _judge(platform: Platform, model: Served, run_id: str) -> Outcome:
    found = model.get()
    history = found["spec"].get("history", [])
    own = [act["action"] for act in history if act.get("runId") == run_id]
    problems = [*_of_run(own), *_of_model(found), *_of_ledger(platform, history)]
    alias, serves = mlflow_champion(platform.kubectl), found["spec"]["champion"]["version"]
    if alias != serves:
        problems.append(f"MLflow's alias names {alias}, and {serves} serves")
    return Outcome(", ".join(own) or "nothing", tuple(problems))


def _of_run(actions: list[str]) -> list[str]:
    """Exactly one promotion, or a refusal and none."""
    promotions, others = actions.count("promotion"), [one for one in actions if one != "promotion"]
    if promotions == 1 and not others:
        return []
    if promotions == 0 and others and set(others) <= {"refusal", "taken_back"}:
        return []
    return [f"the run's acts are {actions}"]


def _of_model(found: dict[str, Any]) -> list[str]:
    spec, status = found["spec"], found.get("status", {})
    history = spec.get("history", [])
    problems = []
    numbers = [act["number"] for act in history]
    if numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        problems.append(f"the history's numbers are {numbers}")
    seated = [act["version"] for act in history if act["action"] in ("promotion", "rollback")]
    if seated[-1:] != [spec["champion"]["version"]]:
        problems.append(f"champion {spec['champion']['version']}, and the history seated {seated}")
    if spec.get("rollout") or spec.get("traffic") or spec.get("shadow"):
        left = {name: spec.get(name) for name in ("rollout", "traffic", "shadow")}
        problems.append(f"a rollout is left: {left}")
    if status.get("phase") != "Ready" or status.get("champion") != spec["champion"]["version"]:
        problems.append(f"status: {status.get('phase')}, serving {status.get('champion')}")
    if status.get("recorded") != numbers[-1]:
        problems.append(f"recorded up to {status.get('recorded')} of {numbers[-1]}")
    return problems


def _of_ledger(platform: Platform, history: list[dict[str, Any]]) -> list[str]:
    """Its chain holds, and it has every act of the history once."""
    ledger = Ledger(platform.store, LIFECYCLE)
    ledger.verify()
    entries = ledger.entries()
    identities = [entry["id"] for entry in entries]
    problems = [f"the ledger has {one} twice" for one in set(identities) if identities.count(one) > 1]
    for act in history:
        told = [entry for entry in entries if entry.get("act") == act["number"]]
        same = [
            entry for entry in told if (entry["action"], entry["version"]) == (act["action"], act["version"])
        ]
        if len(told) != 1 or len(same) != 1:
            problems.append(f"act {act['number']} ({act['action']} {act['version']}) has entries {told}")
    return problems
