"""The loop on a laptop: drift that lasts is seen, answered by a training, and over with the new champion."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "platform" / "src"
TODAY = datetime.now(UTC).date()
CHANGE = TODAY - timedelta(days=20)
"""From this day on the visitors of the shop have three times as much in their baskets."""

MONITORING = """\
  monitoring: {minRows: 300, skewRows: 20, retrain: {onDrift: true, sustained: 2, coolDown: 1s, perWeek: 2}}
"""


class Shop:
    """A laptop with the lifecycle that `windtunnel init` writes, and a world that changes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.run("init", "shop")
        lifecycle = directory / "lifecycles" / "shop"
        spec = lifecycle / "lifecycle.yaml"
        spec.write_text(spec.read_text().replace("windowDays: 21", "windowDays: 5") + MONITORING)
        loader = lifecycle / "load_sources.py"
        loader.write_text(
            loader.read_text()
            .replace("END = datetime", f"CHANGE = date.fromisoformat('{CHANGE}')\nEND = datetime")
            .replace("    seconds = ", "    basket *= 3.0 if day >= CHANGE else 1.0\n    seconds = ")
        )

    def run(self, *arguments: str) -> str:
        """What the command prints; it must end well."""
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("WINDTUNNEL_")
        }
        done = subprocess.run(
            [sys.executable, "-m", "windtunnel.cli", *arguments],
            cwd=self.directory,
            env={**environment, "PYTHONPATH": str(SOURCE)},
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )
        assert done.returncode == 0, f"windtunnel {' '.join(arguments)}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def look(self, first: date, last: date) -> str:
        """Score these days, and look at what came out."""
        days = ("--from", str(first), "--to", str(last))
        self.run("score", "shop", *days)
        return self.run("monitor", "shop", "--scores", *days)

    @property
    def story(self) -> list[str]:
        entries = sorted((self.directory / ".windtunnel" / "store" / "shop" / "ledger").glob("*.json"))
        return [json.loads(entry.read_text())["action"] for entry in entries]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(tmp_path_factory.mktemp("loop"))


def day(after: int) -> date:
    return CHANGE + timedelta(days=after)


def test_drift_is_seen_answered_and_over(shop: Shop) -> None:
    start = CHANGE - timedelta(days=20)
    shop.run("run", "shop", "--start", str(start), "--end", str(day(-1)))
    assert shop.story == ["promotion"]
    before = shop.look(day(-2), day(-1))
    assert "quiet: nothing speaks for a retraining" in before

    shop.run("backfill", "shop", "--from", str(CHANGE), "--to", str(day(18)))
    first = shop.look(day(0), day(1))
    assert "watching: drift of" in first
    assert "basket" in first
    assert "Training because of" not in first
    second = shop.look(day(2), day(3))
    assert re.search(r"Training because of drift of .*basket.*, for 2 windows in a row", second)
    assert "Verdict: promote" in second
    assert shop.story == ["promotion", "drift", "retraining", "retrained", "promotion"]

    for number in (0, 1):
        after = shop.look(day(15 + 2 * number), day(16 + 2 * number))
        assert "quiet: nothing speaks for a retraining" in after
    assert shop.story[-1] == "recovered"
    assert "shop" in shop.run("report", "shop", "-o", "-")
