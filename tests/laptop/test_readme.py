"""What the README tells a newcomer to type works, in the order in which it stands there."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
WINDTUNNEL = Path(sys.executable).with_name("windtunnel")
WIDE = {**os.environ, "COLUMNS": "200"}


def typed(program: str) -> list[list[str]]:
    """The commands in the README's shell blocks that start with `program`, without their comments."""
    blocks = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    lines = [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]
    return [line for line in lines if line and line[0] == program]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory like a fresh clone, as far as the laptop mode looks at one."""
    directory = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "dags", directory / "dags")
    return directory


@pytest.fixture(scope="module")
def transcript(checkout: Path) -> dict[str, str]:
    """What each windtunnel command of the README printed, by command."""
    said = {}
    for _, *arguments in typed(".venv/bin/windtunnel"):
        done = subprocess.run(
            [WINDTUNNEL, *arguments], cwd=checkout, capture_output=True, text=True, check=False, timeout=600
        )
        assert done.returncode == 0, f"windtunnel {' '.join(arguments)}:\n{done.stdout}\n{done.stderr}"
        said[" ".join(arguments)] = done.stdout
    return said


def test_the_example_runs_through_every_stage_and_is_promoted(transcript: dict[str, str]) -> None:
    said = transcript["run flight_delay"]
    stages = [
        "extract", "transform", "materialize", "publish", "snapshot", "train", "evaluate", "rollout", "score",
    ]  # fmt: skip
    places = [said.index(stage) for stage in stages]
    assert places == sorted(places)
    assert "promote" in said


def test_a_lifecycle_of_ones_own_is_made_checked_and_run(transcript: dict[str, str], checkout: Path) -> None:
    assert (checkout / "dags/lifecycles/my_model/lifecycle.yaml").is_file()
    assert "promote" in transcript["run my_model"]
    assert "my_model" in transcript["status my_model"]


def test_past_days_are_filled_without_a_training(transcript: dict[str, str]) -> None:
    said = next(said for command, said in transcript.items() if command.startswith("backfill flight_delay"))
    assert "publish done" in said
    assert "no training was started" in said
    assert "snapshot" not in said


def test_the_documents_name_options_that_there_are() -> None:
    """Also of the commands that need a cluster."""
    documents = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    written = "\n".join(document.read_text() for document in documents)
    for command in (
        "run",
        "backfill",
        "status",
        "validate",
        "init",
        "score",
        "why",
        "monitor",
        "report",
        "retain",
    ):
        done = subprocess.run(
            [WINDTUNNEL, command, "--help"], capture_output=True, text=True, check=True, env=WIDE
        )
        uses = re.findall(rf"windtunnel {command}\b([^`#\n]*)", written)
        named = {option for use in uses for option in re.findall(r"(?<!\S)--[a-z-]+", use)}
        assert named <= set(re.findall(r"--[a-z-]+", done.stdout)), command


def test_a_second_run_does_no_work_twice(transcript: dict[str, str], checkout: Path) -> None:
    assert "cached" not in transcript["run my_model"]
    again = subprocess.run(
        [WINDTUNNEL, "run", "my_model"], cwd=checkout, capture_output=True, text=True, check=True, timeout=600
    )
    # Not evaluate: there is a champion to compare with now.
    for stage in ("extract", "transform", "snapshot", "train"):
        assert re.search(rf"{stage}.*cached", again.stdout), again.stdout


def test_from_a_stage_on_the_work_is_done_anew(transcript: dict[str, str], checkout: Path) -> None:
    assert transcript
    again = subprocess.run(
        [WINDTUNNEL, "run", "my_model", "--from", "train"],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    assert re.search(r"snapshot.*cached", again.stdout)
    assert not re.search(r"train .*cached", again.stdout)


def test_an_error_names_the_file_the_line_and_the_fix(transcript: dict[str, str], checkout: Path) -> None:
    assert transcript
    spec = checkout / "dags/lifecycles/my_model/lifecycle.yaml"
    good = spec.read_text()
    spec.write_text(good.replace("windowDays:", "windowDay:", 1))
    done = subprocess.run(
        [WINDTUNNEL, "validate", "my_model"], cwd=checkout, capture_output=True, text=True, check=False
    )
    spec.write_text(good)
    line = good[: good.index("windowDays:")].count("\n") + 1
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert f"lifecycle.yaml:{line}" in said
    assert "windowDays" in said


def test_every_make_target_of_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {command[1] for command in typed("make")} <= targets


def test_every_link_of_the_documents_leads_somewhere() -> None:
    for document in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for link in re.findall(r"\]\(([^)#]+)", document.read_text()):
            assert link.startswith("http") or (document.parent / link).exists(), f"{document}: {link}"
