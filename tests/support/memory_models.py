"""ServedModels in memory, decided by resource versions as an API server does, with faults on demand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ValidationError

from windtunnel.errors import ConflictError, DeniedError, PermanentError, TemporaryError
from windtunnel.spec.servedmodel import ModelVersion, ServedModel, ServedModelStatus

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def version(number: int) -> ModelVersion:
    return ModelVersion(version=str(number), bundle=f"s3://b/{number}", digest=f"sha256:{number:064d}")


class MemoryModels:
    """`before_write` runs just before each write (somebody else may write there); `lose` makes the next write
    succeed and its answer get lost."""

    settles = False

    def __init__(self) -> None:
        self.models: dict[str, ServedModel] = {}
        self.writes = 0
        self.away = False
        self.denies = False
        self.lose = False
        self.before_write: Callable[[], None] | None = None

    def get(self, name: str) -> ServedModel | None:
        self._answer()
        return self.models.get(name)

    def create(self, model: ServedModel) -> ServedModel:
        self._answer()
        if model.metadata.name in self.models:
            raise ConflictError("there is one already")
        return self._write(model, 1)

    def replace(self, model: ServedModel, resource_version: str, *, drop_annotation: str = "") -> ServedModel:
        self._answer()
        if self.before_write is not None:
            meanwhile, self.before_write = self.before_write, None
            meanwhile()
        current = self.models.get(model.metadata.name)
        if current is None or current.metadata.resource_version != resource_version:
            raise ConflictError("the object has been modified")
        old = current.metadata.annotations or {}
        annotations = {**old, **(model.metadata.annotations or {})}
        annotations.pop(drop_annotation, None)
        metadata = model.metadata.model_copy(update={"annotations": annotations or None})
        # no write touches the status
        written = model.model_copy(update={"metadata": metadata, "status": current.status})
        return self._write(written, int(resource_version) + 1)

    def note_recorded(self, name: str, number: int) -> None:
        self._answer()
        current = self.models[name]
        status = current.status or ServedModelStatus()
        if number > status.recorded:
            noted = status.model_copy(update={"recorded": number})
            self.models[name] = current.model_copy(update={"status": noted})

    def edit(self, name: str, **spec: Any) -> None:
        """`kubectl edit`: whatever it is, without an act."""
        current = self.models[name]
        self._write(
            current.model_copy(update={"spec": current.spec.model_copy(update=spec)}),
            int(current.metadata.resource_version or "0") + 1,
        )

    def annotate(self, name: str, **annotations: str) -> None:
        current = self.models[name]
        metadata = current.metadata.model_copy(update={"annotations": annotations})
        self.models[name] = current.model_copy(update={"metadata": metadata})

    def _write(self, model: ServedModel, resource_version: int) -> ServedModel:
        try:
            model = ServedModel.model_validate(model.to_object())
        except ValidationError as error:  # an API server stores nothing that makes no sense
            raise PermanentError(f"refused: {error}") from error
        metadata = model.metadata.model_copy(
            update={
                "resource_version": str(resource_version),
                "generation": resource_version,
                "uid": "a-uid",
            }
        )
        written = self.models[model.metadata.name] = model.model_copy(update={"metadata": metadata})
        self.writes += 1
        if self.lose:
            self.lose = False
            raise TemporaryError("the answer was lost")
        return written

    def _answer(self) -> None:
        if self.away:
            raise TemporaryError("no answer from the API server")
        if self.denies:
            raise DeniedError("servedmodels is forbidden (403 Forbidden)")
