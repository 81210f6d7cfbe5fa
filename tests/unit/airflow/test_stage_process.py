from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from waiting import HANG, until

from windtunnel.airflow import stage_process
from windtunnel.airflow.stage_process import StageProcess, stage_environment

if TYPE_CHECKING:
    import pytest

STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
WAITS = f"import time; print('ready', flush=True); time.sleep({2 * HANG})"


def start(code: str) -> StageProcess:
    return StageProcess([sys.executable, "-c", code], stage_environment(os.environ, {}))


def starts_another(code: str) -> str:
    return f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {code!r}]); "


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_until_gone(pid: int) -> None:
    until(lambda: not is_alive(pid), lambda: f"{pid} is still there")


def test_lines_come_in_order_from_both_streams() -> None:
    process = start("import sys; print('one'); print('two', file=sys.stderr); print('a\\rb'); sys.exit(7)")
    assert list(process.lines()) == ["one", "two", "a", "b"]
    assert process.close() == 7


def test_lines_come_while_it_runs() -> None:
    process = start(WAITS)
    assert next(process.lines()) == "ready"
    process.close()


def test_what_is_no_utf8_or_has_no_end_is_still_passed_on() -> None:
    process = start("import os; os.write(1, b'\\xff ' + b'x' * 100_000)")
    text = "".join(process.lines())
    assert text.startswith("\ufffd ")
    assert text.count("x") == 100_000
    process.close()


def test_stop_ends_it_by_sigterm() -> None:
    process = start(WAITS)
    lines = process.lines()
    next(lines)
    process.stop()
    assert list(lines) == []
    assert process.close() == -signal.SIGTERM


def test_the_whole_group_ends_even_when_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_process, "KILL_AFTER", 0.3)
    process = start(STUBBORN + starts_another(STUBBORN + WAITS) + "print(p.pid, flush=True); p.wait()")
    lines = process.lines()
    pid = int(next(line for line in lines if line.isdigit()))
    started = time.monotonic()
    process.stop()
    list(lines)
    assert process.close() == -signal.SIGKILL
    assert 0.3 <= time.monotonic() - started < HANG
    wait_until_gone(pid)


def test_a_grandchild_that_holds_the_pipe_does_not_hold_up_the_task() -> None:
    process = start(starts_another(WAITS) + "print(p.pid, flush=True)")
    started = time.monotonic()
    lines = list(process.lines())
    assert time.monotonic() - started < HANG
    assert process.close() == 0
    wait_until_gone(int(lines[0]))


def test_a_grandchild_that_never_stops_talking_does_not_hold_up_the_task() -> None:
    talks = "import time\nfor _ in range(6000): print('talk', flush=True); time.sleep(0.02)"
    process = start(starts_another(talks) + "print(p.pid, flush=True)")
    started = time.monotonic()
    lines = list(process.lines())
    assert time.monotonic() - started < HANG
    assert process.close() == 0
    wait_until_gone(int(next(line for line in lines if line.isdigit())))


def test_what_was_written_before_the_end_is_passed_on_however_late_it_is_read() -> None:
    process = start("print('x\\n' * 30_000, end='')")
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert sum(1 for _ in process.lines()) == 30_000
    process.close()


def test_stop_may_be_called_from_elsewhere_while_lines_are_read() -> None:
    process = start(WAITS)
    threading.Timer(0.3, process.stop).start()
    assert list(process.lines()) == ["ready"]
    assert process.stopped
    process.close()


def test_it_leads_a_session_of_its_own() -> None:
    process = start("import os; print(os.getsid(0) == os.getpid())")
    assert list(process.lines()) == ["True"]
    process.close()


def test_the_environment_carries_what_is_for_stages_and_no_secret_of_airflow() -> None:
    environ = {
        "PATH": "/bin",
        "WINDTUNNEL_STORE": "s3://b",
        "AWS_ACCESS_KEY_ID": "key",
        "POD_NAME": "p",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "postgresql://user:password@host/db",
        "AIRFLOW__CORE__FERNET_KEY": "fernet",
        "AIRFLOW_CONN_X": "password",
        "AIRFLOW_CTX_DAG_ID": "d",
        "SOME_TOKEN": "token",
        "PYTHONPATH": "/opt/windtunnel/src",
        "WINDTUNNEL_STAGE_ENV": "TEAM_URL, TEAM_MODE",
        "TEAM_URL": "http://team",
        "TEAM_MODE": "1",
    }
    assert stage_environment(environ, {"EXTRA": "1"}) == {
        "PATH": "/bin",
        "WINDTUNNEL_STORE": "s3://b",
        "AWS_ACCESS_KEY_ID": "key",
        "POD_NAME": "p",
        "WINDTUNNEL_STAGE_ENV": "TEAM_URL, TEAM_MODE",
        "TEAM_URL": "http://team",
        "TEAM_MODE": "1",
        "PYTHONUNBUFFERED": "1",
        "EXTRA": "1",
    }
