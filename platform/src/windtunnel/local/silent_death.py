"""A stage's process that ended without an answer: what to say of it, and the record that it did not leave."""

from __future__ import annotations

import signal
import socket
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from windtunnel.digests import digest_directory
from windtunnel.errors import PermanentError, StoreError, WindtunnelError
from windtunnel.records import Measured, StageRecord, record_death
from windtunnel.spec import load_lifecycle
from windtunnel.spec.failures import Reason

if TYPE_CHECKING:
    from pathlib import Path

    from windtunnel.local.process import Ended
    from windtunnel.objects import ObjectStore
    from windtunnel.spec import Lifecycle
    from windtunnel.spec.stages import StageRequest


def silent_death(ended: Ended) -> WindtunnelError:
    """What to say of it."""
    if ended.code == -signal.SIGKILL:
        return StoreError(
            "the process was killed, most likely because the machine ran out of memory",
            fix="close other programs, or run fewer days with --start and --end",
        )
    if ended.code < 0:
        return PermanentError(f"the process was ended by {signal.Signals(-ended.code).name}")
    return PermanentError(f"the process ended with code {ended.code} and no result")


def record_silent_death(store: ObjectStore, directory: Path, request: StageRequest, ended: Ended) -> None:
    """Unless the stage recorded its end before it died; `directory` is the lifecycle's.

    Raises nothing of ours: a record must not hide what it is about.
    """
    with suppress(WindtunnelError):
        record_death(store, request.lifecycle, _record(load_lifecycle(directory), directory, request, ended))


def _record(lifecycle: Lifecycle, directory: Path, request: StageRequest, ended: Ended) -> StageRecord:
    now = datetime.now(UTC)
    return StageRecord(
        stage=request.stage,
        run_id=request.run_id,
        try_number=request.try_number,
        map_index=request.params.get("map_index"),
        started=now - timedelta(seconds=ended.seconds),
        ended=now,
        usage=Measured(round(ended.seconds, 3), 0.0, 0),
        result=None,
        error=str(silent_death(ended)),
        pod=socket.gethostname(),
        spec_digest=lifecycle.digest,
        code_version=digest_directory(directory),
        view=str(request.params.get("view", "")),
        reason=Reason.CRASHED,
        because=str(request.params.get("reason") or ""),
    )
