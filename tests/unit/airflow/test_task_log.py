from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from waiting import HANG

from windtunnel.airflow import task_log
from windtunnel.airflow.task_log import RemoteTaskLog, TaskLogUploader
from windtunnel.errors import NotFoundError, StoreError
from windtunnel.objects import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from windtunnel.objects import ObjectStore

LOG = "dag_id=wind__train/run_id=manual__2013-01-01T00:00:00+00:00/task_id=train/attempt=1.log"


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_log, "PERIOD", 0.05)
    monkeypatch.setattr(task_log, "_SHARE_OF_TIME", 1)


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store(str(tmp_path / "store"), {})


@pytest.fixture
def log_file(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "logs" / LOG
    path.parent.mkdir(parents=True)
    yield path
    # An uploader tries for as long as its process lives.
    path.unlink(missing_ok=True)


def eventually(store: ObjectStore, expected: bytes) -> None:
    deadline = time.monotonic() + HANG
    while True:
        try:
            if store.get(f"logs/{LOG}") == expected:
                return
        except NotFoundError:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_log_is_uploaded_while_it_grows(store: ObjectStore, log_file: Path, tmp_path: Path) -> None:
    uploader = TaskLogUploader(lambda: store, tmp_path / "logs")
    uploader.start()
    log_file.write_bytes(b"one\n")
    eventually(store, b"one\n")
    log_file.write_bytes(b"one\ntwo\n")
    eventually(store, b"one\ntwo\n")


def test_the_end_of_a_task_uploads_its_last_lines(store: ObjectStore, log_file: Path, tmp_path: Path) -> None:
    uploader = TaskLogUploader(lambda: store, tmp_path / "logs")
    log_file.write_bytes(b"all of it\n")
    assert uploader.flush(5.0)
    assert store.get(f"logs/{LOG}") == b"all of it\n"


def test_a_second_pod_of_the_same_try_appends(store: ObjectStore, log_file: Path, tmp_path: Path) -> None:
    store.put(f"logs/{LOG}", b"asked a human\n")
    log_file.write_bytes(b"approved\n")
    uploader = TaskLogUploader(lambda: store, tmp_path / "logs")
    assert uploader.flush(5.0)
    log_file.write_bytes(b"approved\ndone\n")
    assert uploader.flush(5.0)
    assert store.get(f"logs/{LOG}") == b"asked a human\napproved\ndone\n"


def test_a_store_that_fails_fails_no_task(log_file: Path, tmp_path: Path) -> None:
    def fails() -> ObjectStore:
        raise StoreError("no answer")

    log_file.write_bytes(b"x")
    assert not TaskLogUploader(fails, tmp_path / "logs").flush(5.0)


def test_a_store_that_hangs_holds_up_nobody(
    log_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_log, "LAST_WAIT", 0.3)
    remote = RemoteTaskLog({"AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(tmp_path / "logs")})
    release = threading.Event()
    remote._uploader = TaskLogUploader(lambda: release.wait(2 * HANG) and None, tmp_path / "logs")  # type: ignore[arg-type, return-value]
    log_file.write_bytes(b"x")
    started = time.monotonic()
    remote.upload(LOG)
    assert time.monotonic() - started < HANG
    release.set()


def test_airflow_takes_it_from_its_settings_and_uploads_after_a_fork(tmp_path: Path) -> None:
    """A process as the worker's: Airflow loads the class by its name, forks a task, and ends."""
    code = f"""
import os, time
from airflow.sdk.log import load_remote_log_handler
remote = load_remote_log_handler()
assert type(remote).__name__ == "RemoteTaskLog", remote
import threading
assert not [t for t in threading.enumerate() if t.name == "task-log"]
pid = os.fork()
if pid == 0:
    os._exit(len([t for t in threading.enumerate() if t.name == "task-log"]))
assert [t for t in threading.enumerate() if t.name == "task-log"]
assert os.waitpid(pid, 0)[1] == 0
path = os.path.join({str(tmp_path / "logs")!r}, {LOG!r})
os.makedirs(os.path.dirname(path))
open(path, "w").write("done\\n")
remote.upload({LOG!r})
"""
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(tmp_path / "home"),
        "AIRFLOW__LOGGING__LOGGING_CONFIG_CLASS": "windtunnel.airflow.task_log.LOGGING_CONFIG",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(tmp_path / "logs"),
        "WINDTUNNEL_STORE": str(tmp_path / "store"),
        "PYTHONPATH": str(Path(task_log.__file__).parents[2]),
    }
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=60)
    assert open_store(str(tmp_path / "store"), {}).get(f"logs/{LOG}") == b"done\n"


def test_a_container_that_starts_again_does_not_double_its_log(
    store: ObjectStore, log_file: Path, tmp_path: Path
) -> None:
    store.put(f"logs/{LOG}", b"one\n")
    log_file.write_bytes(b"one\ntwo\n")
    assert TaskLogUploader(lambda: store, tmp_path / "logs").flush(5.0)
    assert store.get(f"logs/{LOG}") == b"one\ntwo\n"
