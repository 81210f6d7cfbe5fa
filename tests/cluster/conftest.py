"""The platform as these tests find it: freshly installed on the one-node cluster, under a name of its own.

The release is not named `windtunnel`, so that a demo on the same cluster stays untouched and nothing can
depend on the name.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from dev.demo.follow import PodWatch
from dev.demo.install import install
from dev.demo.target import Target, dev_cluster
from dev.demo.thread import Platform, follow_triggered_train, load_sources, reach, run_features
from tests.cluster.release import END, LIFECYCLE, NAMESPACE, RELEASE, STAGES, START, Thread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dev.demo.kubectl import Kubectl

CRD = "servedmodels.windtunnel.dev"


@pytest.fixture(scope="session")
def target() -> Target:
    return dev_cluster()


@pytest.fixture(scope="session")
def kubectl(target: Target) -> Kubectl:
    return target.kubectl


@pytest.fixture(scope="session")
def platform(target: Target) -> Iterator[Platform]:
    remove(target.kubectl)
    shared = _crd_owner(target.kubectl)
    install(target, RELEASE, NAMESPACE, *(["crds.install=false"] if shared else []))
    with reach(target.kubectl, RELEASE, NAMESPACE) as found:
        yield found
    remove(target.kubectl)


@pytest.fixture(scope="session")
def thread(platform: Platform) -> Iterator[Thread]:
    load_sources(platform, LIFECYCLE, START, END)
    platform.api.wait_for_dag(f"{LIFECYCLE}__train")
    pods = PodWatch(platform.kubectl, platform.stages)
    since = datetime.now(UTC)
    features = run_features(platform, pods, LIFECYCLE, START, END)
    train = follow_triggered_train(platform, pods, LIFECYCLE, since)
    yield Thread(platform, pods, features, train)
    pods.close()


def remove(kubectl: Kubectl) -> None:
    """Remove the test's namespaces with all that is in them, and the CRD if it is the test's own."""
    for namespace in (NAMESPACE, STAGES):
        kubectl.run(
            "delete",
            "namespace",
            namespace,
            "--ignore-not-found",
            "--timeout=180s",
            timeout=200,
        )
    if _crd_owner(kubectl) == RELEASE:
        kubectl.run("delete", "crd", CRD)


def _crd_owner(kubectl: Kubectl) -> str:
    """The release that installed the CRD, or nothing."""
    found = kubectl.json("get", "crd", "--field-selector", f"metadata.name={CRD}")["items"]
    return str(found[0]["metadata"]["annotations"]["meta.helm.sh/release-name"]) if found else ""
