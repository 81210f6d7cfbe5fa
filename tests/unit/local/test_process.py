"""Child processes: their lines, their end, and the end of everything they started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from waiting import HANG, until

from windtunnel.local.process import KEPT_LINES, Ended, run_child

if TYPE_CHECKING:
    from collections.abc import Callable

SOURCE = Path(__file__).parents[3] / "platform" / "src"


def run(code: str, directory: Path, on_line: Callable[[str], object] = str) -> Ended:
    return run_child(
        [sys.executable, "-u", "-c", code],
        environment=dict(os.environ),
        directory=directory,
        log_file=directory / "logs" / "child.log",
        on_line=on_line,
    )


def is_alive(pid: int) -> bool:
    """Whether it runs; one that ended but that nobody waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_gone(pid: int) -> bool:
    return until(lambda: not is_alive(pid))


def test_lines_come_as_they_are_written_and_are_kept_in_a_file(tmp_path: Path) -> None:
    seen: list[str] = []
    code = f"import sys; print('one'); print('two', file=sys.stderr); [print(n) for n in range({KEPT_LINES})]"
    ended = run(code, tmp_path, on_line=seen.append)
    assert ended.code == 0
    assert seen[:2] == ["one", "two"]
    assert list(ended.lines) == seen[-KEPT_LINES:]
    assert (tmp_path / "logs" / "child.log").read_text().splitlines() == seen


def test_the_exit_code_and_the_signal_are_told(tmp_path: Path) -> None:
    assert run("raise SystemExit(75)", tmp_path).code == 75
    assert run("import os; os.kill(os.getpid(), 9)", tmp_path).code == -9


def test_a_grandchild_that_keeps_the_pipe_does_not_hold_the_run(tmp_path: Path) -> None:
    sleeper = f"[sys.executable, '-c', 'import time; time.sleep({2 * HANG})']"
    code = f"import subprocess, sys; print(subprocess.Popen({sleeper}).pid)"
    before = time.monotonic()
    ended = run(code, tmp_path)
    assert time.monotonic() - before < HANG
    assert wait_until_gone(int(ended.lines[0]))


def test_output_that_is_no_text_does_not_stop_it(tmp_path: Path) -> None:
    assert run(r"import os; os.write(1, b'\xff\xfe\n')", tmp_path).code == 0


def test_an_interruption_ends_the_whole_group(tmp_path: Path) -> None:
    code = (
        "import os, signal, subprocess, sys, time\n"
        "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).pid)\n"
        "print(os.getpid())\n"
        "time.sleep(60)\n"
    )
    pids: list[int] = []

    def interrupt_after_two(line: str) -> None:
        pids.append(int(line))
        if len(pids) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(code, tmp_path, on_line=interrupt_after_two)
    assert all(wait_until_gone(pid) for pid in pids)


def test_a_second_interruption_does_not_spare_a_child_that_ignores_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("windtunnel.local.process.GRACE_SECONDS", 2 * HANG)
    code = (
        "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(os.getpid())\n"
        f"time.sleep({2 * HANG})"
    )
    pids: list[int] = []

    def interrupt(line: str) -> None:
        pids.append(int(line))
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        raise KeyboardInterrupt

    before = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(code, tmp_path, on_line=interrupt)
    assert time.monotonic() - before < HANG
    assert wait_until_gone(pids[0])


def test_ctrl_c_in_a_terminal_leaves_no_process_behind(tmp_path: Path) -> None:
    child = "import os, time; print(os.getpid()); time.sleep(60)"
    parent = (
        "import os, sys; from pathlib import Path; from windtunnel.local.process import run_child\n"
        "run_child([sys.executable, '-u', '-c', sys.argv[1]], environment=dict(os.environ),"
        " directory=Path.cwd(), log_file=Path('log'), on_line=lambda line: print(line, flush=True))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", parent, child],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    watchdog = threading.Timer(30, process.kill)
    watchdog.start()
    assert process.stdout
    pid = int(process.stdout.readline())
    process.send_signal(2)
    process.wait()
    watchdog.cancel()
    process.stdout.close()
    assert wait_until_gone(pid)
