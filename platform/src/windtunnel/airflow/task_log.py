"""Task logs to the object store, from worker pods.

Airflow loads this by AIRFLOW__LOGGING__LOGGING_CONFIG_CLASS=windtunnel.airflow.task_log.LOGGING_CONFIG and
finds REMOTE_TASK_LOG beside it. Keys are `logs/<path below the base log folder>`, which a stock api-server
with the amazon provider reads by REMOTE_BASE_LOG_FOLDER=<store>/logs. The provider itself would cost each
worker 90 MB of image and a second at its end, and it uploads only then: a killed pod would take its log with
it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.config_templates.airflow_local_settings import DEFAULT_LOGGING_CONFIG

from windtunnel.errors import NotFoundError
from windtunnel.objects import open_store
from windtunnel.spec.log_keys import PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from windtunnel.objects import ObjectStore

log = logging.getLogger(__name__)

PERIOD = 2.0
"""Seconds between uploads while a task runs; longer when an upload itself takes long."""
LAST_WAIT = 10.0
"""Seconds that the end of a task may be held up by the last upload."""
_SHARE_OF_TIME = 10
"""A long log is uploaded so rarely that uploads take at most one part in this of the time."""


class TaskLogUploader:
    """Uploads files below `folder` from a thread of its own, so that a store that hangs holds up nobody."""

    def __init__(self, store: Callable[[], ObjectStore], folder: Path) -> None:
        self._open = store
        self._store: ObjectStore | None = None
        self._folder = folder
        self._uploaded: dict[Path, int] = {}
        self._before: dict[Path, bytes] = {}
        self._wake = threading.Event()
        self._idle = threading.Condition()
        self._asked = self._done = 0
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._loop, name="task-log", daemon=True)
            self._thread.start()

    def flush(self, seconds: float) -> bool:
        """Upload what is new; False when that took longer than `seconds`, or failed."""
        self.start()
        with self._idle:
            self._asked += 1
            mine = self._asked
            self._wake.set()
            return self._idle.wait_for(lambda: self._done >= mine, seconds) and not self._behind()

    def _loop(self) -> None:
        pause = PERIOD
        while True:
            self._wake.wait(pause)
            with self._idle:
                self._wake.clear()
                asked = self._asked
            began = time.monotonic()
            for path in self._changed():
                self._upload(path)
            pause = max(PERIOD, _SHARE_OF_TIME * (time.monotonic() - began))
            with self._idle:
                self._done = asked
                self._idle.notify_all()

    def _behind(self) -> bool:
        return bool(self._changed())

    def _changed(self) -> list[Path]:
        sizes = ((path, _size(path)) for path in self._folder.rglob("*.log"))
        return [path for path, size in sizes if size and self._uploaded.get(path) != size]

    def _upload(self, path: Path) -> None:
        key = f"{PREFIX}/{path.relative_to(self._folder).as_posix()}"
        try:
            if self._store is None:
                self._store = self._open()
            data = path.read_bytes()
            if path not in self._before:
                self._before[path] = _from_before(self._store, key, data)
            self._store.put(key, self._before[path] + data)
            self._uploaded[path] = len(data)
        except Exception as error:
            # Whatever it is, the next round tries again; a log must never fail a task.
            log.warning("the task log was not uploaded: %s", error)


def _from_before(store: ObjectStore, key: str, data: bytes) -> bytes:
    """What another pod of the same try uploaded: a task that waited for a human goes on in a second pod."""
    try:
        stored = store.get(key)
    except NotFoundError:
        return b""
    # Of this very file, when its container was started again.
    return b"" if data.startswith(stored) else stored


def _size(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return 0


class RemoteTaskLog:
    """What Airflow asks of a remote log (airflow.sdk RemoteLogIO)."""

    processors: tuple[Any, ...] = ()

    def __init__(self, environ: Mapping[str, str]) -> None:
        folder = environ.get("AIRFLOW__LOGGING__BASE_LOG_FOLDER")
        home = environ.get("AIRFLOW_HOME", "~/airflow")
        self._uploader = TaskLogUploader(
            lambda: open_store(environ["WINDTUNNEL_STORE"], environ),
            Path(folder or f"{home}/logs").expanduser(),
        )
        # A task's process may have begun again, with all of Airflow.
        self._is_supervisor = "_AIRFLOW__STARTUP_MSG" not in environ
        # The supervisor forks the task. Threads begin after that: a fork would copy their locks without them.
        os.register_at_fork(after_in_parent=self._after_fork, after_in_child=self._in_task)

    def upload(self, path: os.PathLike[str] | str, ti: Any = None) -> None:  # noqa: ARG002 - Airflow's signature
        """The task has ended and its state is set; this is the last that the pod does."""
        if not self._uploader.flush(LAST_WAIT):
            log.warning("the last lines of the task log %s may be missing in the object store", path)

    def read(self, relative_path: str, ti: Any) -> tuple[list[str], list[str] | None]:  # noqa: ARG002
        """Workers only write."""
        return [], None

    def _after_fork(self) -> None:
        if self._is_supervisor:
            self._uploader.start()

    def _in_task(self) -> None:
        self._is_supervisor = False


LOGGING_CONFIG = DEFAULT_LOGGING_CONFIG
REMOTE_TASK_LOG = RemoteTaskLog(os.environ)
DEFAULT_REMOTE_CONN_ID = None
