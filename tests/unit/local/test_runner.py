"""The runner, with a lifecycle's own loader and a stage that fails."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import pytest

from windtunnel.errors import NotFoundError, SpecError
from windtunnel.local.home import Home
from windtunnel.local.runner import Runner, StepFailedError
from windtunnel.records import read_records

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from windtunnel.spec.stages import StageResult


class Recorder:
    """A reporter that remembers."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def planned(self, names: Sequence[str]) -> None:
        self.events.append(f"planned {len(names)}")

    def started(self, name: str) -> None:
        self.events.append(f"started {name}")

    def line(self, name: str, text: str) -> None:
        self.events.append(f"{name}: {text}")

    def ended(self, name: str, seconds: float, result: StageResult | None) -> None:
        self.events.append(f"ended {name}")

    def failed(self, name: str, seconds: float) -> None:
        self.events.append(f"failed {name}")

    def skipped(self, name: str, reason: str) -> None:
        self.events.append(f"skipped {name}: {reason}")


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def runner(lifecycle_directory: Path, tmp_path: Path, recorder: Recorder) -> Runner:
    return Runner(lifecycle_directory, Home.at(tmp_path / "home"), recorder)


LOADER = """
from __future__ import annotations
from dataclasses import dataclass
from datetime import date
START, END = date(2026, 1, 1), date(2026, 1, 2)
@dataclass(frozen=True)
class Year:
    start: date
def load(store, start, end):
    print("loading", start, end)
    store.put(f"sources/orders/{start}.parquet", b"")
"""

# The stage's process looks at the lifecycle before it imports anything heavy, and finds this.
BREAKS = "    import pathlib; pathlib.Path('{}').unlink()\n"


def test_without_data_it_says_what_to_do(runner: Runner) -> None:
    with pytest.raises(NotFoundError, match=r"or write a load_sources\.py"):
        runner.run(None, None, None)


def test_the_lifecycles_loader_is_asked_for_missing_data_and_a_stage_that_fails_ends_the_run(
    runner: Runner, lifecycle_directory: Path, recorder: Recorder
) -> None:
    breaks = BREAKS.format(lifecycle_directory / "features.py")
    (lifecycle_directory / "load_sources.py").write_text(LOADER + breaks)
    with pytest.raises(StepFailedError) as caught:
        runner.run(None, None, None)
    assert recorder.events[:5] == [
        "started sources",
        "sources: loading 2026-01-01 2026-01-02",
        "ended sources",
        "planned 10",
        "started extract",
    ]
    assert caught.value.step == "extract"
    assert isinstance(caught.value.error, SpecError)
    assert recorder.events[-1] == "failed extract"


def test_a_stage_that_dies_without_a_word_is_in_the_records(
    runner: Runner, lifecycle_directory: Path, tmp_path: Path
) -> None:
    (lifecycle_directory / "load_sources.py").write_text(LOADER)
    with (lifecycle_directory / "features.py").open("a") as features:
        features.write("import os\nos.kill(os.getpid(), 11)\n")
    with pytest.raises(StepFailedError, match="the process was ended by SIGSEGV"):
        runner.run(None, None, None)
    [record] = read_records(Home.at(tmp_path / "home").open_store(), "demo")
    assert (record["stage"], record["outcome"], record["reason"]) == ("extract", "failed", "crashed")


def test_a_loading_that_was_interrupted_is_not_taken_for_a_whole_one(
    runner: Runner, lifecycle_directory: Path, tmp_path: Path, recorder: Recorder
) -> None:
    loader = lifecycle_directory / "load_sources.py"
    loader.write_text(LOADER + "    raise SystemExit('enough')\n")
    for _ in range(2):
        with pytest.raises(StepFailedError, match=r"load_sources"):
            runner.run(None, None, None)
    loader.write_text(LOADER + BREAKS.format(lifecycle_directory / "features.py"))
    with pytest.raises(StepFailedError):
        runner.run(None, None, None)
    assert "ended sources" in recorder.events
    assert not list((tmp_path / "home").glob("*.loading"))


def test_a_day_that_was_asked_for_is_loaded(
    runner: Runner, lifecycle_directory: Path, recorder: Recorder
) -> None:
    (lifecycle_directory / "load_sources.py").write_text(LOADER + "    raise SystemExit('enough')\n")
    with pytest.raises(StepFailedError):
        runner.run(date(2026, 3, 1), date(2026, 3, 1), None)
    assert "sources: loading 2026-03-01 2026-03-01" in recorder.events


def test_a_loader_that_fails_is_told_with_its_lines(
    runner: Runner, lifecycle_directory: Path, recorder: Recorder
) -> None:
    (lifecycle_directory / "load_sources.py").write_text(
        "START = END = None\ndef load(*_): raise OSError('no network')"
    )
    with pytest.raises(StepFailedError, match=r"load_sources\.py ended with code 1") as caught:
        runner.run(None, None, None)
    assert caught.value.ended.lines[-1] == "OSError: no network"
    assert "OSError: no network" in caught.value.log_file.read_text()
    assert recorder.events[-1] == "failed sources"
