"""`python -m windtunnel.airflow.pod_watch FILE`: tells of stage pods that die without a word.

What kills a whole pod (an eviction, a node that is gone, a kill for memory that hits the worker itself) or
keeps it from starting (an image that cannot be had) leaves nobody in it to say so, and Airflow says "Pod
failed because of None". This process stands beside the scheduler, whose right to see stage pods it shares; it
writes the stage record, adds a line to the log of the try, and deletes what has ended long ago. It may die
and start again at any time: all that it knows is in the cluster and in the object store. FILE is touched
while it goes on.
"""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import sys
import time
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from windtunnel.airflow.pod_deaths import PodTry, failure_of, is_over, record_of
from windtunnel.errors import ConflictError, NotFoundError, RequestError, WindtunnelError
from windtunnel.kube import KubernetesApi, object_path
from windtunnel.objects import open_store
from windtunnel.records import record_death
from windtunnel.settings import Settings
from windtunnel.spec.log_keys import POD_LOGGER, log_key, pod_log_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from windtunnel.airflow.ending import Failure
    from windtunnel.objects import ObjectStore

log = logging.getLogger(POD_LOGGER)

SELECTOR = "kubernetes_executor=True"
"""Pods that Airflow's executor made."""
WINDOW = 20
"""Seconds of one watch; between two of them what is overdue is done."""
KEPT = 900.0
"""Seconds that a pod which has ended is left for people to look at."""
_PAGE = "200"
_MOST_UNTOLD = 1_000
"""Deaths that wait for a store that is away; the oldest give way."""
_BACKOFF = (0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds before the next try, by failures in a row."""
_PATIENCE = 10.0
"""Seconds that a store which is away may hold up the watch."""


@dataclass(frozen=True)
class Death:
    """Of a pod, as it was when it died."""

    made_for: PodTry
    pod: Mapping[str, Any]
    failure: Failure
    seen: datetime


class PodWatch:
    """Follows the pods of a namespace."""

    def __init__(self, api: KubernetesApi, namespace: str, store: ObjectStore) -> None:
        self._api = api
        self._pods = object_path("v1", namespace, "pods")
        self._store = store
        self._made_for: dict[str, PodTry] = {}
        """Pods that are alive, by uid."""
        self._over: dict[str, tuple[str, float]] = {}
        """Name of each pod that has ended, and when that was seen, by uid."""
        self._told: set[str] = set()
        self._untold: deque[Death] = deque(maxlen=_MOST_UNTOLD)

    def run(self, alive: Path) -> NoReturn:
        """Never ends over what is ours: what goes wrong is logged and tried again. Touches `alive`."""
        failures = 0
        while True:
            alive.touch()
            try:
                version = self.look()
                while version:
                    failures = 0
                    version = self.follow(version)
                    self.tidy()
                    alive.touch()
            except WindtunnelError as error:
                log.warning("cannot follow the stage pods: %s", error)
                failures += 1
                time.sleep(_BACKOFF[min(failures, len(_BACKOFF)) - 1] * random.uniform(0.7, 1.3))

    def look(self) -> str:
        """See every pod that there is; the resourceVersion from which on `follow` sees the rest."""
        query = {"labelSelector": SELECTOR, "limit": _PAGE}
        found: set[str] = set()
        while True:
            page = self._api.request("GET", self._pods, query=query)
            for pod in page.get("items") or ():
                found.add(pod["metadata"]["uid"])
                self.see(pod)
            query["continue"] = page["metadata"].get("continue") or ""
            if not query["continue"]:
                break
        for uid in (self._made_for.keys() | self._over.keys() | self._told) - found:
            self._forget(uid)
        self.tidy()
        return str(page["metadata"]["resourceVersion"])

    def follow(self, version: str) -> str:
        """See what changes for a while; the next resourceVersion, or nothing when one must look anew."""
        query = {"labelSelector": SELECTOR, "allowWatchBookmarks": "true", "resourceVersion": version}
        for event in self._api.watch(self._pods, query, WINDOW):
            if event["type"] == "ERROR":
                # 410 Gone: the server has forgotten this resourceVersion
                log.info("the watch begins anew: %s", event["object"].get("message", ""))
                return ""
            version = event["object"]["metadata"]["resourceVersion"]
            if event["type"] != "BOOKMARK":
                self.see(event["object"], deleted=event["type"] == "DELETED")
        return version

    def see(self, pod: Mapping[str, Any], *, deleted: bool = False) -> None:
        """A pod as it is now, or was last."""
        made_for, uid = PodTry.of(pod), str(pod["metadata"]["uid"])
        if made_for is None:
            return
        try:
            failure = failure_of(pod, deleted=deleted)
        except Exception:
            # Whatever stands in one pod, the others are still to be watched.
            log.exception("pod %s is not understood", pod["metadata"]["name"])
            failure = None
        if failure is not None and uid not in self._told:
            self._told.add(uid)
            self._untold.append(Death(made_for, pod, failure, datetime.now(UTC)))
        if deleted:
            self._forget(uid)
        elif is_over(pod):
            self._made_for.pop(uid, None)
            self._over.setdefault(uid, (str(pod["metadata"]["name"]), time.monotonic()))
        else:
            self._made_for[uid] = made_for
            self._over.pop(uid, None)
        if failure is not None:
            self._tell()

    def tidy(self, kept: float = KEPT) -> None:
        """Tell what could not be told yet, and delete pods that ended more than `kept` seconds ago."""
        self._tell()
        for uid, (name, since) in list(self._over.items()):
            if time.monotonic() - since < kept:
                continue
            try:
                self._api.request("DELETE", f"{self._pods}/{name}", {"preconditions": {"uid": uid}})
                log.info("deleted pod %s, which has ended long ago", name)
            except (NotFoundError, ConflictError):
                log.debug("pod %s is gone already", name)
            self._over.pop(uid)

    def _forget(self, uid: str) -> None:
        self._made_for.pop(uid, None)
        self._over.pop(uid, None)
        self._told.discard(uid)

    def _tell(self) -> None:
        while self._untold:
            death = self._untold[0]
            try:
                self._write(death)
            except (RequestError, ValueError) as error:
                # A run id that is no key, or a record that is no JSON: it will not get better.
                log.error("the death of pod %s is not told: %s", death.pod["metadata"]["name"], error)
            except WindtunnelError as error:
                log.warning("%d deaths of pods are still to be told: %s", len(self._untold), error)
                return
            self._untold.popleft()

    def _write(self, death: Death) -> None:
        made_for, name = death.made_for, death.pod["metadata"]["name"]
        uid = death.pod["metadata"]["uid"]
        if any(other == made_for for alive, other in self._made_for.items() if alive != uid):
            log.info("pod %s: %s; another pod goes on with the try", name, death.failure.message)
            return
        if made_for.is_stage:
            record = record_of(death.pod, made_for, death.failure, death.seen)
            if not record_death(self._store, made_for.lifecycle, record):
                # Who was in it told it better.
                return
        log.warning("pod %s: %s", name, death.failure.message)
        self._store.put_new(_line_key(made_for), _line(death))


def _line_key(made_for: PodTry) -> str:
    return pod_log_key(
        log_key(made_for.dag_id, made_for.run_id, made_for.task_id, made_for.map_index, made_for.try_number)
    )


def _line(death: Death) -> bytes:
    """As Airflow writes its task logs: a JSON object a line."""
    line = {
        "timestamp": death.seen.isoformat(),
        "level": "error",
        "event": death.failure.message,
        "logger": POD_LOGGER,
        "pod": death.pod["metadata"]["name"],
    }
    return json.dumps(line).encode() + b"\n"


def main() -> NoReturn:
    logging.basicConfig(
        level=logging.INFO, stream=sys.stdout, format="%(asctime)s %(levelname)s %(message)s", force=True
    )
    # As process 1 of its container it would not hear SIGTERM otherwise; nothing is half written at any time.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    settings = Settings.from_environment(os.environ)
    store = open_store(settings.store, os.environ, patience_seconds=_PATIENCE, request_seconds=_PATIENCE)
    namespace = os.environ["AIRFLOW__KUBERNETES_EXECUTOR__NAMESPACE"]
    log.info("watching the stage pods in namespace %s", namespace)
    PodWatch(KubernetesApi.connect(os.environ), namespace, store).run(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
