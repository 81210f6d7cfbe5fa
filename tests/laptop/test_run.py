"""The laptop mode whole: from `windtunnel init` to a champion, and again from the cache."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from served_bundle import tensor
from serving_process import ServingProcess

SOURCE = Path(__file__).parents[2] / "platform" / "src"
STEPS = [
    "extract",
    "transform",
    "materialize.customer_history",
    "publish",
    "snapshot",
    "train",
    "evaluate",
    "rollout",
    "score",
]
# What a run with the same inputs finds again; how fresh the features are, it asks anew.
CACHED = ["extract", "transform", "materialize.customer_history", "snapshot", "train"]


class Laptop:
    """A directory with a lifecycle named `shop`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.lifecycle = directory / "lifecycles" / "shop"

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("WINDTUNNEL_")
        }
        return subprocess.Popen(
            [sys.executable, "-m", "windtunnel.cli", *arguments],
            cwd=self.directory,
            env={**environment, "PYTHONPATH": str(SOURCE)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str) -> tuple[int, str]:
        """Exit code and output."""
        process = self.start(*arguments)
        output, _ = process.communicate(timeout=900)
        return process.returncode, output


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Laptop:
    laptop = Laptop(tmp_path_factory.mktemp("laptop"))
    code, output = laptop.run("init", "shop")
    assert code == 0, output
    return laptop


@pytest.fixture(scope="module")
def first_run(laptop: Laptop) -> str:
    code, output = laptop.run("run", "shop")
    assert code == 0, output
    return output


def cached_steps(output: str) -> list[str]:
    return re.findall(r"^(\S+) done in [\d.]+ s  cached", output, re.MULTILINE)


def test_a_new_lifecycle_runs_at_once_to_a_champion(laptop: Laptop, first_run: str) -> None:
    assert re.findall(r"^(\S+) done in", first_run, re.MULTILINE) == ["sources", *STEPS]
    assert "Verdict: promote" in first_run
    served = json.loads((laptop.directory / ".windtunnel" / "served" / "shop.json").read_text())
    assert served["spec"]["champion"]["version"] == "1"


def test_nothing_is_written_outside_the_home(laptop: Laptop, first_run: str) -> None:
    assert {path.name for path in laptop.directory.iterdir()} == {"lifecycles", ".windtunnel"}


def test_status_tells_the_run_and_the_champion(laptop: Laptop, first_run: str) -> None:
    code, output = laptop.run("status", "shop")
    assert code == 0
    assert "Champion: version 1, promoted by stage/rollout in run local-" in output
    assert "Verdict: promote" in output
    assert re.search(r"customer_history .* [\d.]+ \w+ +2 days: kept", output)
    assert all(step.partition(".")[0] in output for step in STEPS)


def test_a_second_run_takes_what_is_done_from_the_cache(laptop: Laptop, first_run: str) -> None:
    code, output = laptop.run("run", "shop")
    assert code == 0, output
    assert cached_steps(output)[:5] == CACHED
    served = json.loads((laptop.directory / ".windtunnel" / "served" / "shop.json").read_text())
    assert served["spec"]["champion"]["version"] == "1", "an equal model is not promoted again"


def test_from_a_stage_does_it_and_what_follows_anew(laptop: Laptop, first_run: str) -> None:
    code, output = laptop.run("run", "shop", "--from", "train")
    assert code == 0, output
    assert cached_steps(output) == CACHED[:4]


def test_a_mistake_in_user_code_is_told_by_file_and_line(laptop: Laptop, first_run: str) -> None:
    train = laptop.lifecycle / "train.py"
    before = train.read_text()
    train.write_text(before.replace("    model = ", "    label = label / int('x')\n    model = "))
    try:
        code, output = laptop.run("run", "shop")
    finally:
        train.write_text(before)
    assert code != 0
    line = train.read_text().splitlines().index(next(x for x in before.splitlines() if "model = " in x)) + 1
    assert f"train.py:{line}" in output
    assert "invalid literal for int()" in output
    assert "its log: " in output


def test_ctrl_c_ends_the_stage_too(laptop: Laptop, first_run: str) -> None:
    process = laptop.start("run", "shop", "--from", "extract")
    assert process.stdout
    for line in process.stdout:
        if line.startswith("extract …"):
            break
    time.sleep(0.5)
    children = _children(process.pid)
    assert children
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted" in output
    assert not [child for child in children if Path(f"/proc/{child}").exists()]


def test_past_days_are_filled_in_slices_and_what_is_served_stays(laptop: Laptop, first_run: str) -> None:
    first, last = (datetime.now(UTC).date() - timedelta(days=days) for days in (62, 43))
    served = (laptop.directory / ".windtunnel" / "served" / "shop.json").read_bytes()
    code, output = laptop.run("backfill", "shop", "--from", str(first), "--to", str(last))
    assert code == 0, output
    second = first + timedelta(days=14)
    slices = [f"{first}..{second - timedelta(days=1)}", f"{second}..{last}"]
    assert re.findall(r"^(.+) done in", output, re.MULTILINE) == [
        "sources",
        *(f"{stage} {days}" for stage in ("extract", "transform") for days in slices),
        "materialize.customer_history",
        "publish",
    ]
    assert "no training was started" in output
    assert (laptop.directory / ".windtunnel" / "served" / "shop.json").read_bytes() == served
    code, output = laptop.run("status", "shop")
    assert code == 0
    assert "2 days: kept" in output, "the newest values are still there"
    again = laptop.run("backfill", "shop", "--from", str(first), "--to", str(last))
    assert len(cached_steps(again[1].replace(" 20", "-20"))) == 5


def test_a_backfill_that_fails_says_which_days_and_how_to_go_on(laptop: Laptop, first_run: str) -> None:
    loader = laptop.lifecycle / "load_sources.py"
    loader.rename(laptop.directory / "load_sources.py")
    try:
        code, output = laptop.run("backfill", "shop", "--from", "2020-01-01", "--to", "2020-01-03")
    finally:
        (laptop.directory / "load_sources.py").rename(loader)
    assert code == 2
    assert "source 'visits' has no partition for 2020-01-01..2020-01-03" in output
    assert "windtunnel backfill shop --from 2020-01-01 --to 2020-01-03" in output


def test_a_prediction_of_what_serves_is_traced_and_made_again(laptop: Laptop, first_run: str) -> None:
    home = laptop.directory / ".windtunnel"
    with ServingProcess(
        home / "served" / "shop.json", home / "store", arguments=("--log-seconds", "0.3")
    ) as process:
        process.wait_for("/v2/health/ready")
        width = process.get("/v2/models/shop")[1]["inputs"][0]["shape"][1]
        rows = [0.5 * number for number in range(2 * width)]
        status, answer = process.infer({"inputs": [tensor("features", "FP64", rows, [2, width])]}, "shop")
        assert status == 200, answer
    # It has ended, and the end flushes the log.
    prediction = answer["parameters"]["prediction_id"]
    code, output = laptop.run("why", prediction, "--replay", "--row", "1")
    assert code == 0, output
    assert f"{answer['outputs'][0]['data'][1]:.6g}  for row 1" in output
    assert "exact: the same answer, bit for bit on all 2 rows" in output
    assert "verdict     promote  as the first of its lifecycle" in output
    assert re.search(r"ledger \d+: promotion, by stage/rollout, run local-", output)
    assert "training days" in output


def test_days_are_scored_as_they_would_be_served(laptop: Laptop, first_run: str) -> None:
    last = datetime.now(UTC).date() - timedelta(days=2)
    days = "--from", str(last - timedelta(days=1)), "--to", str(last)
    code, output = laptop.run("score", "shop", *days)
    assert code == 0, output
    assert re.findall(r"^(.+) done in", output, re.MULTILINE) == ["score"]
    found = re.search(r"([\d,]+) rows of shop scored by version 1", output)
    assert found
    assert int(found[1].replace(",", "")) > 0
    asked = re.search(r"windtunnel (why \S+ shop)", output)
    assert asked
    code, told = laptop.run(*asked[1].split(), "--replay", "--offline")
    assert code == 0, told
    assert "batch scoring" in told
    # one row alone: a model may have added it up in another order among the others
    assert re.search("✓ exact: the same answer|✓ the same within 1e-06, not bit for bit", told), told
    assert "values are those of the offline store" in told
    assert cached_steps(laptop.run("score", "shop", *days)[1]) == ["score"]
    code, output = laptop.run("score", "shop", *days, "--version", "99")
    assert code == 2
    assert "there is no version 99" in output


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
