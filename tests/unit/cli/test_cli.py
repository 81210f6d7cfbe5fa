"""The commands: what users see, and exit codes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from waiting import HANG, until

from windtunnel.errors import DataError
from windtunnel.local.home import Home
from windtunnel.spec import load_lifecycle

if TYPE_CHECKING:
    from .conftest import Shell

SOURCE = Path(__file__).parents[3] / "platform" / "src"


def test_an_error_ends_the_process_without_a_traceback(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "windtunnel.cli", "validate"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_a_home_that_cannot_be_made_is_told_with_what_to_do(
    windtunnel: Shell, lifecycle_directory: Path
) -> None:
    (lifecycle_directory / "file").touch()
    code, output = windtunnel(
        "run", str(lifecycle_directory), "--home", str(lifecycle_directory / "file" / "home")
    )
    assert code == 2
    assert "the home cannot be made: Not a directory" in output
    assert "WINDTUNNEL_HOME" in output


def test_help_teaches_the_first_steps(windtunnel: Shell) -> None:
    code, output = windtunnel("--help")
    assert code == 0
    for command in (
        "windtunnel init my_model",
        "windtunnel run my_model",
        "windtunnel status",
        "windtunnel backfill my_model --from",
        "windtunnel validate",
    ):
        assert command in output
    assert windtunnel("run", "--help")[1].count("--from") >= 2


def test_init_writes_a_lifecycle_that_is_valid(windtunnel: Shell, tmp_path: Path) -> None:
    code, output = windtunnel("init", "churn_eu")
    assert code == 0
    assert "next: windtunnel run churn_eu" in output
    lifecycle = load_lifecycle(tmp_path / "lifecycles" / "churn_eu")
    assert lifecycle.name == "churn_eu"
    assert "__NAME__" not in "".join(
        path.read_text() for path in (tmp_path / "lifecycles" / "churn_eu").iterdir()
    )
    assert windtunnel("validate")[0] == 0


def test_init_overwrites_nothing(windtunnel: Shell) -> None:
    windtunnel("init", "churn")
    code, output = windtunnel("init", "churn")
    assert code == 2
    assert "it exists already" in output


def test_init_goes_where_the_lifecycles_are(windtunnel: Shell, tmp_path: Path) -> None:
    (tmp_path / "dags" / "lifecycles").mkdir(parents=True)
    windtunnel("init", "churn")
    assert (tmp_path / "dags" / "lifecycles" / "churn" / "lifecycle.yaml").is_file()


@pytest.mark.parametrize("name", ["Churn", "churn-eu", "1st", "", "../x"])
def test_init_refuses_a_bad_name(windtunnel: Shell, name: str) -> None:
    code, output = windtunnel("init", name)
    assert code == 2
    assert "is no name of a lifecycle" in output


def test_validate_tells_every_problem_and_ends_with_2(windtunnel: Shell, tmp_path: Path) -> None:
    windtunnel("init", "good")
    windtunnel("init", "bad")
    path = tmp_path / "lifecycles" / "bad" / "lifecycle.yaml"
    path.write_text(path.read_text().replace("owner", "ownr").replace("kind: binary", "kind: binry"))
    code, output = windtunnel("validate")
    assert code == 2
    assert "did you mean 'owner'?" in output
    assert "did you mean 'binary'?" in output
    assert "✓ good" in output
    assert "Traceback" not in output
    assert windtunnel("validate", "good")[0] == 0
    assert windtunnel("validate", str(path.parent))[0] == 2


def test_validate_looks_at_what_feast_would_be_told(windtunnel: Shell, tmp_path: Path) -> None:
    windtunnel("init", "mine")
    path = tmp_path / "lifecycles" / "mine" / "features.py"
    path.write_text(
        path.read_text()
        .replace("import Float64", "import Float64, String")
        .replace('"buy_share_14d", dtype=Float64', '"buy_share_14d", dtype=String')
    )
    code, output = windtunnel("validate")
    assert code == 2
    assert "buy_share_14d" in output
    assert "STRING" in output


@pytest.mark.parametrize("command", ["run", "validate", "status"])
def test_an_unknown_name_gets_the_nearest_one(windtunnel: Shell, command: str) -> None:
    windtunnel("init", "churn")
    code, output = windtunnel(command, "chrun")
    assert code == 2
    assert "there is no lifecycle 'chrun'" in output
    assert "did you mean 'churn'?" in output


def test_run_refuses_what_it_does_not_know(windtunnel: Shell) -> None:
    windtunnel("init", "churn")
    code, output = windtunnel("run", "churn", "--from", "trian")
    assert code == 2
    assert "there is no stage 'trian'" in output
    assert windtunnel("run", "churn", "--start", "yesterday")[0] == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_ended_from_outside_leaves_no_process_behind(
    windtunnel: Shell, tmp_path: Path, number: signal.Signals
) -> None:
    windtunnel("init", "mine")
    (tmp_path / "lifecycles" / "mine" / "load_sources.py").write_text(
        "import os, time\nSTART = END = None\ndef load(*_):\n"
        "    print(os.getpid(), flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "windtunnel.cli", "run", "mine"],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    logs = Path(".windtunnel/logs")
    found = until(lambda: [text for log in logs.rglob("*.log") if (text := log.read_text())])
    process.send_signal(number)
    assert process.wait(HANG) == 130
    assert not Path("/proc", found[0].strip()).exists()


def test_status_before_any_run_says_what_to_do(windtunnel: Shell) -> None:
    windtunnel("init", "churn")
    code, output = windtunnel("status")
    assert code == 0
    assert "`windtunnel run NAME`" in output


def test_status_of_all_on_this_machine_cannot_be_watched(windtunnel: Shell) -> None:
    windtunnel("init", "churn")
    code, output = windtunnel("status", "--watch")
    assert code == 2
    assert "`windtunnel status NAME --watch`" in output


def test_a_broken_served_model_is_an_error_that_says_how_to_mend_it(tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "mine.json").write_text("{")
    with pytest.raises(DataError, match="delete it and promote again"):
        Home.at(tmp_path).served_model("mine")


def test_validate_without_lifecycles_says_how_to_begin(windtunnel: Shell) -> None:
    code, output = windtunnel("validate")
    assert code == 2
    assert "`windtunnel init NAME`" in output
