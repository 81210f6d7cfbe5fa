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
from served_bundle import make_version
from tests.cluster.closed_loop import Loop, closed_loop
from tests.cluster.release import END, LIFECYCLE, NAMESPACE, RELEASE, STAGES, START, Thread
from tests.cluster.served import PROVING, Served, served
from tests.cluster.sweeping import Sweeps, sweeps

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dev.demo.kubectl import Kubectl

    from windtunnel.spec.servedmodel import ModelVersion

CRD = "servedmodels.windtunnel.dev"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("cluster tests")
    group.addoption(
        "--longer", action="store_true", help="the load proofs at length, as `make load` runs them"
    )
    group.addoption("--rounds", type=int, default=5, help="how often each bad challenger then comes (5)")
    group.addoption("--seed", type=int, default=1, help="of the first rollout under faults (1)")
    group.addoption("--faults", type=int, default=4, help="faults in all, about four a rollout (4)")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The closed loop comes last: it makes the newest day of the lifecycle one of 2023."""
    items.sort(key=lambda item: "loop" in getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session")
def longer(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--longer", default=False))


@pytest.fixture(scope="session")
def target() -> Target:
    return dev_cluster()


@pytest.fixture(scope="session")
def kubectl(target: Target) -> Kubectl:
    return target.kubectl


@pytest.fixture(scope="session")
def settings(target: Target) -> tuple[str, ...]:
    """Values with which the release is installed, beside the files'."""
    remove(target.kubectl)
    return ("crds.install=false",) if _crd_owner(target.kubectl) else ()


@pytest.fixture(scope="session")
def platform(target: Target, settings: tuple[str, ...]) -> Iterator[Platform]:
    install(target, RELEASE, NAMESPACE, *settings)
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


@pytest.fixture(scope="session", name="sweeps")
def swept_once(thread: Thread) -> Sweeps:
    return sweeps(thread)


@pytest.fixture(scope="session")
def loop(thread: Thread) -> Loop:
    return closed_loop(thread)


@pytest.fixture(scope="session")
def versions(platform: Platform) -> tuple[ModelVersion, ModelVersion]:
    """Two versions of the lifecycle PROVING, of which the second turns the first's answers round."""
    first, second = (
        make_version(platform.store, version, weight, lifecycle=PROVING)
        for version, weight in (("1", 1.0), ("2", -1.0))
    )
    return first, second


@pytest.fixture(scope="session")
def proving(platform: Platform, versions: tuple[ModelVersion, ModelVersion]) -> Iterator[Served]:
    """A ServedModel whose champion is the first of them, in two pods."""
    with served(platform.kubectl, PROVING, versions[0], replicas=2) as found:
        yield found


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
