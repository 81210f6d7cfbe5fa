"""A slice of `make fuzz`: hostile requests to a process that has a challenger in shadow and canary."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostile_target import MODES, fuzz, target

if TYPE_CHECKING:
    from pathlib import Path


def test_hostile_requests_get_no_5xx_and_do_no_harm(tmp_path: Path) -> None:
    with target(tmp_path, MODES["both"]) as process:
        report = fuzz(process, seed=20261124, requests=800)
    assert report.problems == []
    assert report.requests >= 800
    # it must not be that everything is refused for a trifle
    assert report.statuses["200"] > 100
    assert report.statuses["400"] > 100
