"""One try of a stage, seen from beside it: leaves a record where the stage's own process could not."""

from __future__ import annotations

import logging
import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from windtunnel.digests import digest_directory
from windtunnel.objects import open_store
from windtunnel.records import StageRecord, Usage, record_death
from windtunnel.settings import Settings
from windtunnel.spec import load_lifecycle

if TYPE_CHECKING:
    from windtunnel.airflow.ending import Failure
    from windtunnel.spec.stages import StageRequest

log = logging.getLogger(__name__)

PATIENCE = 10.0
"""Seconds that a store which is away may hold up the end of a task: its pod may be dying."""


class FailedError(Exception):
    """The try failed; says how."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Attempt:
    """A try, from its making on. `lifecycles` is the directory that the DAG was made from."""

    def __init__(self, request: StageRequest, lifecycles: str) -> None:
        self.request = request
        self._directory = Path(lifecycles) / request.lifecycle
        self._started = datetime.now(UTC)
        self._usage = Usage()

    def record(self, failure: Failure) -> None:
        """Record the failure, unless the stage did. Never raises: a record must not hide what it is about."""
        try:
            settings = Settings.from_environment(os.environ)
            store = open_store(
                settings.store, os.environ, patience_seconds=PATIENCE, request_seconds=PATIENCE
            )
            record_death(store, self.request.lifecycle, self._record(failure, settings))
        except Exception as error:
            log.warning("no stage record was written: %s", error)

    def _record(self, failure: Failure, settings: Settings) -> StageRecord:
        request = self.request
        return StageRecord(
            stage=request.stage,
            run_id=request.run_id,
            try_number=request.try_number,
            map_index=request.params.get("map_index"),
            started=self._started,
            ended=datetime.now(UTC),
            usage=self._usage.measure(),
            result=None,
            error=failure.what,
            pod=os.environ.get("POD_NAME") or socket.gethostname(),
            spec_digest=load_lifecycle(self._directory).digest,
            code_version=settings.code_version or digest_directory(self._directory),
            view=str(request.params.get("view", "")),
            reason=failure.reason,
            because=str(request.params.get("reason") or ""),
            stage_class=settings.stage_class,
            price_per_hour=settings.price_per_hour,
        )
