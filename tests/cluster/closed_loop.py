"""The story of the closed loop on real drift: a model of 2013 meets the flights of 2023, once for all tests.

In ten years carriers went and came, and the weather's gusts became another quantity. What is asked is
replayed hour by hour; only the time of the answer is today's.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from dev.demo.follow import follow
from dev.demo.replay import Replayed, replay_to
from dev.demo.thread import follow_triggered_train, load_sources, run_features
from tests.cluster.release import LIFECYCLE
from tests.cluster.served import Served

from windtunnel.ledger import Ledger
from windtunnel.monitoring.measures import Measure, read_measure
from windtunnel.prediction_log.reading import read

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dev.demo.follow import Followed
    from dev.demo.thread import Platform
    from tests.cluster.release import Thread

TRAIN, MONITOR = (f"{LIFECYCLE}__{dag}" for dag in ("train", "monitor"))
# The second training takes days from 26 February on, with two weeks of history before most of them.
BEFORE = (date(2023, 2, 20), date(2023, 4, 3))
DRIFTED = [(date(2023, 3, 20), date(2023, 3, 26)), (date(2023, 3, 27), date(2023, 4, 2))]
AFTER = (date(2023, 4, 4), date(2023, 4, 18))
RECOVERED = [(date(2023, 4, 4), date(2023, 4, 10)), (date(2023, 4, 11), date(2023, 4, 17))]
LOGGED_SECONDS = 120.0
"""A prediction is stored half a minute after it was made."""


@dataclass(frozen=True)
class Window:
    """A week that was replayed, and what the monitor made of it."""

    replayed: Replayed
    facts: Mapping[str, Any]
    measure: Measure


@dataclass(frozen=True)
class Loop:
    """The story in its order."""

    platform: Platform
    champion: str
    """The version of 2013."""
    entries_before: int
    drifted: list[Window]
    train: Followed
    recovered: list[Window]


def closed_loop(thread: Thread) -> Loop:
    """Two weeks of 2023 for the champion of 2013, the training that follows, two weeks for the new one."""
    platform = thread.platform
    champion = Served(platform.kubectl, LIFECYCLE).spec["champion"]["version"]
    entries = len(list(Ledger(platform.store, LIFECYCLE).entries()))
    features(thread, *BEFORE)
    since = datetime.now(UTC)
    drifted = [window(thread, *days) for days in DRIFTED]
    train = follow_triggered_train(platform, thread.pods, LIFECYCLE, since)
    features(thread, *AFTER)
    recovered = [window(thread, *days) for days in RECOVERED]
    return Loop(platform, champion, entries, drifted, train, recovered)


def features(thread: Thread, first: date, last: date) -> None:
    """The days' features, without the training that fresh features start: that one is to come of drift."""
    load_sources(thread.platform, LIFECYCLE, first, last)
    pause(thread.platform, paused=True)
    try:
        run_features(thread.platform, thread.pods, LIFECYCLE, first, last)
    finally:
        pause(thread.platform, paused=False)


def pause(platform: Platform, *, paused: bool) -> None:
    """What happens to the assets of a paused DAG meanwhile does not start it afterwards."""
    platform.api.call("PATCH", f"/dags/{TRAIN}", json={"is_paused": paused})


def window(thread: Thread, first: date, last: date) -> Window:
    """Replay some days, and have the monitor look at just that."""
    platform = thread.platform
    replayed = replay_to(platform, LIFECYCLE, first, last)
    wait_until_logged(platform, replayed)
    conf = {"start": replayed.began.isoformat(), "end": replayed.ended.isoformat()}
    platform.api.wait_for_dag(MONITOR)
    platform.api.unpause(MONITOR)
    run_id = platform.api.trigger(MONITOR, conf)
    follow(platform, thread.pods, MONITOR, run_id)
    facts = platform.api.result(MONITOR, run_id, "monitor")["facts"]
    return Window(replayed, facts, read_measure(platform.store, facts["measure"]))


def wait_until_logged(platform: Platform, replayed: Replayed) -> None:
    deadline = time.monotonic() + LOGGED_SECONDS
    end = replayed.ended + timedelta(milliseconds=1)
    logged = 0
    while logged < replayed.rows:
        assert time.monotonic() < deadline, f"{logged} of {replayed.rows} rows are in the prediction log"
        time.sleep(2)
        frames = read(platform.store, LIFECYCLE, replayed.began, end, ["role"])
        logged = sum(frame.filter(frame["role"] != "shadow").height for frame in frames.values())
