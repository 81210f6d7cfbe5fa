"""Under steady load nothing that a release or a cluster does to serving fails a request."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from dev.demo.install import install
from load import steady
from tests.cluster.release import NAMESPACE, RELEASE
from tests.cluster.served import ROW, Served, columns, seat

if TYPE_CHECKING:
    from dev.demo.target import Target
    from load import Load

    from windtunnel.spec.servedmodel import ModelVersion

RATE = 100.0


def swap(model: Served, version: ModelVersion) -> float:
    """Seconds until every pod serves it; returns no sooner than half a second later."""
    model.patch({"champion": seat(version)})
    seconds = model.wait("it serves", lambda: model.serves(version.version, 2))
    time.sleep(max(0.0, 0.5 - seconds))
    return seconds


def test_whatever_happens_to_its_pods_no_request_fails(
    target: Target,
    settings: tuple[str, ...],
    proving: Served,
    versions: tuple[ModelVersion, ModelVersion],
    longer: bool,
) -> None:
    model = proving
    swaps, pause = (50, 10.0) if longer else (6, 2.0)
    with steady(model.address(), model.infer, [columns(ROW)], RATE) as load:
        time.sleep(pause)
        load.mark("hot swaps")
        seconds = [swap(model, versions[(number + 1) % 2]) for number in range(swaps)]
        load.mark("after the swaps")
        time.sleep(pause)
        load.mark("a pod is deleted")
        replace_a_pod(model)
        if longer:
            load.mark("after the deletion")
            time.sleep(pause)
        scale(load, model, (4, 2) if longer else (3, 2))
        if longer:
            load.mark("after scaling")
            time.sleep(pause)
        load.mark("helm upgrade")
        roll(target, settings, model)
        load.mark("after")
        time.sleep(pause)
    print(f"\n{load.report()}\n{swaps} swaps took {min(seconds):.2f} to {max(seconds):.2f} s")
    assert not load.failures, load.failures[:20]
    assert len(load.asked) > 20 * RATE
    answers = {(one.version, round(one.value, 6)) for one in load.asked if one.value is not None}
    assert len(answers) == 2, f"each version gives one answer: {answers}"
    assert model.restarts() == 0


def replace_a_pod(model: Served) -> None:
    victim = model.pod_names()[0]
    model.kubectl.run("delete", "pod", victim, "-n", NAMESPACE, timeout=120)
    model.wait("there are two pods again", lambda: model.settled(2))


def scale(load: Load, model: Served, counts: tuple[int, ...]) -> None:
    for count in counts:
        load.mark(f"scaled to {count}")
        model.patch({"serving": {"replicas": count}})
        model.wait(f"there are {count} pods", lambda count=count: model.settled(count), 120)  # type: ignore[misc]


def roll(target: Target, settings: tuple[str, ...], model: Served) -> None:
    """A changed value that serving pods read replaces all of them."""
    before = set(model.pod_names())
    install(target, RELEASE, NAMESPACE, *settings, "serving.env.WINDTUNNEL_PROVING=rolled")
    model.wait(
        "every pod is a new one", lambda: before.isdisjoint(model.pod_names()) and model.settled(2), 180
    )
