"""The thread itself: source data in, features and train through Airflow, and what came of it."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock
from typing import TYPE_CHECKING, Any, Protocol

from windtunnel.cli.airflow_api import AirflowApi
from windtunnel.objects import open_store

from .console import DemoError, console, run_labelled
from .follow import Followed, PodWatch, follow
from .target import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from windtunnel.objects import ObjectStore

    from .kubectl import Kubectl


@dataclass(frozen=True)
class Platform:
    """An installed release, reached from outside by port-forwards that live as long as the `reach` block."""

    kubectl: Kubectl
    release: str
    namespace: str
    api: AirflowApi
    store: ObjectStore
    store_environ: dict[str, str]
    """What a process of ours on this machine needs to reach the same store."""

    @property
    def stages(self) -> str:
        """The namespace of the stage pods."""
        return f"{self.release}-stages"


class Way(Protocol):
    """Leads to a Service of a namespace while the block runs; yields `host:port`."""

    def __call__(
        self, kubectl: Kubectl, namespace: str, service: str, port: int, /
    ) -> AbstractContextManager[str]: ...


@contextmanager
def _port_forward(kubectl: Kubectl, namespace: str, service: str, port: int) -> Iterator[str]:
    with kubectl.port_forward(namespace, f"svc/{service}", port) as local:
        yield f"127.0.0.1:{local}"


@contextmanager
def reach(kubectl: Kubectl, release: str, namespace: str, way: Way = _port_forward) -> Iterator[Platform]:
    """Open ways to Airflow and the object store of a release whose name contains `windtunnel`."""
    with ExitStack() as stack:
        url = f"http://{stack.enter_context(way(kubectl, namespace, f'{release}-airflow-api-server', 8080))}"
        admin = f"{release}-airflow-admin"
        api = AirflowApi(
            url,
            kubectl.secret(namespace, admin, "username"),
            kubectl.secret(namespace, admin, "password"),
        )
        environ = _store_environ(stack, kubectl, release, namespace, way)
        store = open_store(environ["WINDTUNNEL_STORE"], environ)
        yield Platform(kubectl, release, namespace, api, store, environ)


def _store_environ(
    stack: ExitStack, kubectl: Kubectl, release: str, namespace: str, way: Way
) -> dict[str, str]:
    """Where serving pods are told that the object store is; to the embedded one leads a way."""
    told = kubectl.json("get", "configmap", f"{release}-serving", "-n", namespace)["data"]
    controller = kubectl.json("get", "deployment", f"{release}-controller", "-n", namespace)
    variables = controller["spec"]["template"]["spec"]["containers"][0]["env"]
    secrets = next(v["value"] for v in variables if v["name"] == "WINDTUNNEL_SERVING_SECRET")
    keys = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    environ = {key: kubectl.secret(namespace, secrets.split(",")[0], key) for key in keys}
    environ |= {key: told[key] for key in ("WINDTUNNEL_STORE", "AWS_REGION")}
    if endpoint := told.get("AWS_ENDPOINT_URL_S3"):
        embedded = f"{release}-object-store"
        if endpoint == f"http://{embedded}.{namespace}:9000":
            endpoint = f"http://{stack.enter_context(way(kubectl, namespace, embedded, 9000))}"
        environ["AWS_ENDPOINT_URL_S3"] = endpoint
    return environ


def load_sources(platform: Platform, lifecycle: str, start: date, end: date) -> int:
    """Write the example's missing source partitions; how many days were missing."""
    days = [start + timedelta(days=n) for n in range((end - start).days + 1)]
    there = {entry.key for entry in platform.store.list("sources/flights/")}
    missing = [day for day in days if f"sources/flights/{day}.parquet" not in there]
    if missing:
        directory = str(ROOT / "dags/lifecycles" / lifecycle)
        dates = (missing[0].isoformat(), missing[-1].isoformat())
        argv = [sys.executable, "-m", "windtunnel.local.load_sources", directory, *dates]
        run_labelled("sources", argv, env=platform.store_environ)
    return len(missing)


def run_features(platform: Platform, pods: PodWatch, lifecycle: str, start: date, end: date) -> Followed:
    """Run `<lifecycle>__features` over the days, and follow it."""
    dag_id = f"{lifecycle}__features"
    conf = {"start": start.isoformat(), "end": end.isoformat()}
    return follow(platform, pods, dag_id, _trigger(platform, dag_id, conf))


def follow_triggered_train(platform: Platform, pods: PodWatch, lifecycle: str, since: datetime) -> Followed:
    """Follow the training that fresh features set off. Raises DemoError when none starts within a minute."""
    dag_id = f"{lifecycle}__train"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for run in platform.api.runs(dag_id):
            if run["run_type"] == "asset_triggered" and datetime.fromisoformat(run["run_after"]) >= since:
                return follow(platform, pods, dag_id, run["dag_run_id"])
        time.sleep(1)
    raise DemoError(
        f"the features are fresh but {dag_id} did not start within a minute; see its schedule in Airflow"
    )


def asked_at(end: date) -> datetime:
    """A moment at which the features of data up to `end` are fresh: early on the next morning."""
    return datetime.combine(end + timedelta(days=1), clock(6), UTC)


def _trigger(platform: Platform, dag_id: str, conf: dict[str, Any]) -> str:
    platform.api.wait_for_dag(dag_id)
    platform.api.unpause(dag_id)
    run_id = platform.api.trigger(dag_id, conf)
    console.print(f"  run [bold]{run_id}[/] of {dag_id}")
    return run_id
