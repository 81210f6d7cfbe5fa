"""The release that the cluster tests install, and the thread that they run on it once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dev.demo.follow import Followed, PodWatch
    from dev.demo.thread import Platform

LIFECYCLE = "flight_delay"
START, END = date(2013, 1, 15), date(2013, 2, 25)
"""The days of the thread; there are older ones to fill in later."""
RELEASE = NAMESPACE = "windtunnel-test"
STAGES = f"{RELEASE}-stages"


@dataclass
class Thread:
    """The thread as it went: features, then train."""

    platform: Platform
    pods: PodWatch
    features: Followed
    train: Followed
