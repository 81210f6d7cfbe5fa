"""What people do to a ServedModel with kubectl: the annotation that asks for a rollback, and a champion that
was changed without an act.

A rollback must not wait for an object store that hangs, so this has a thread of its own, and asks the store
for some seconds at most.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Protocol

from pydantic import ValidationError

from windtunnel.errors import DeniedError, PermanentError, TemporaryError, WindtunnelError
from windtunnel.rollout.change import change
from windtunnel.rollout.history import BY_HAND, telling
from windtunnel.rollout.rollback import ANNOTATION, PREVIOUS, check_bundle, roll_back
from windtunnel.spec.servedmodel import ServedModel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from windtunnel.objects import ObjectStore
    from windtunnel.rollout.served_models import ServedModels
    from windtunnel.spec.servedmodel import Metadata, ModelVersion

log = logging.getLogger(__name__)

IDLE_SECONDS: Final = 60.0
"""A change of spec or annotations ends this at once."""
RETRY_SECONDS: Final = 2.0


class Telling(Protocol):
    """See cluster.Cluster."""

    def tell(self, about: Metadata, kind: str, reason: str, message: str) -> None: ...


class ByHand:
    """For one thread."""

    def __init__(self, served_models: ServedModels, store: ObjectStore, cluster: Telling) -> None:
        self._served_models = served_models
        self._store = store
        self._cluster = cluster

    def look(self, value: Mapping[str, Any]) -> float:
        """Do what is asked for; returns the seconds until the next look. Never raises."""
        name = value["metadata"]["name"]
        try:
            model = ServedModel.model_validate(value)
            asked = (model.metadata.annotations or {}).get(ANNOTATION)
            if asked is not None:
                self._roll_back(model.metadata, asked.strip())
            elif telling(model, datetime.now(UTC)) is not None:
                self._tell_history(model.metadata)
        except ValidationError:
            return IDLE_SECONDS  # the keeper says what is wrong with it
        except WindtunnelError as error:
            log.warning("%s: %s", name, error)
            return RETRY_SECONDS
        except Exception:
            log.exception("%s: unexpected error", name)
            return RETRY_SECONDS
        return IDLE_SECONDS

    def _roll_back(self, about: Metadata, asked: str) -> None:
        notes: list[str] = []

        def check(version: ModelVersion) -> None:
            try:
                check_bundle(self._store, version)
            except TemporaryError as error:
                notes.append(f" (its bundle was not looked at: {error})")

        try:
            done = roll_back(
                self._served_models,
                about.name,
                None if asked == PREVIOUS else asked,
                BY_HAND,
                datetime.now(UTC),
                reason=f"annotation {ANNOTATION}: {asked}"[:200],
                check=check,
                annotation=ANNOTATION,
            )
        except DeniedError:
            raise  # the API server may have just started: the annotation stays, and is looked at again
        except PermanentError as error:
            log.warning("%s: rollback refused: %s", about.name, error)
            self._tell(about, "Warning", "RollbackRefused", str(error))
            change(self._served_models, about.name, lambda _: None, drop_annotation=ANNOTATION)
            return
        spec = done.served_model.spec
        act = done.act
        if act is None:
            said = f"version {spec.champion.version} serves already"
        elif act.action == "rollback":
            said = f"from version {act.replaced} to version {act.version}"
        else:
            said = f"version {act.version} is no challenger any more; version {spec.champion.version} serves"
        log.info("%s: rolled back: %s", about.name, said)
        self._tell(about, "Normal", "RolledBack", said + "".join(notes[:1]))

    def _tell_history(self, about: Metadata) -> None:
        now = datetime.now(UTC)
        written, changed = change(self._served_models, about.name, lambda current: telling(current, now))
        if changed:
            act = written.spec.history[-1]
            log.info("%s: told of %s of version %s", about.name, act.action, act.version)

    def _tell(self, about: Metadata, kind: str, reason: str, message: str) -> None:
        """An event that cannot be written keeps nobody from going on."""
        try:
            self._cluster.tell(about, kind, reason, message)
        except WindtunnelError as error:
            log.warning("%s: no event was written: %s", about.name, error)
