"""A pod that the cluster takes away, and what is recorded of a try that failed."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from tests.cluster.release import LIFECYCLE, STAGES

from windtunnel.records import read_records

if TYPE_CHECKING:
    from dev.demo.thread import Platform


def evict(platform: Platform, name: str) -> None:
    """As a drain of its node does."""
    body = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": name, "namespace": STAGES},
        "deleteOptions": {"gracePeriodSeconds": 1},
    }
    path = f"/api/v1/namespaces/{STAGES}/pods/{name}/eviction"
    platform.kubectl.run("create", "--raw", path, "-f", "-", stdin=json.dumps(body))


def recorded(platform: Platform, run_id: str, reason: str) -> dict[str, Any]:
    """The record of the first try of the run, once it gives this reason."""
    deadline = time.monotonic() + 90
    found: list[dict[str, Any]] = []
    while time.monotonic() < deadline:
        found = read_records(platform.store, LIFECYCLE, run_id)
        for record in found:
            if (record["try"], record["reason"]) == (1, reason):
                return record
        time.sleep(0.5)
    raise AssertionError(f"{run_id} has no record with the reason {reason} after 90 s, but {found}")
