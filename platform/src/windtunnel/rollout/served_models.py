"""Where ServedModels live: the Kubernetes API, or a directory on a laptop. Both decide races by resource
version.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pydantic

from windtunnel.errors import ConflictError, DataError, NotFoundError, PermanentError
from windtunnel.spec.servedmodel import API_VERSION, PLURAL, ServedModel, ServedModelStatus

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Requests(Protocol):
    """What is needed of a Kubernetes client (see kube.KubernetesApi)."""

    def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> dict[str, Any]: ...


class ServedModels(Protocol):
    """ServedModels by object name."""

    settles: bool
    """Whether something works towards the spec and reports it in the status."""

    def get(self, name: str) -> ServedModel | None:
        """The ServedModel with its resource version, or None."""
        ...

    def create(self, model: ServedModel) -> ServedModel:
        """Raises ConflictError when there is one already."""
        ...

    def replace(self, model: ServedModel, resource_version: str, *, drop_annotation: str = "") -> ServedModel:
        """Write spec and annotations if nobody wrote since `resource_version`, else raise ConflictError.

        Annotations that the model leaves out stay, except the one that is to go.
        """
        ...

    def note_recorded(self, name: str, number: int) -> None:
        """Note in the status that the ledger has the acts up to this number, where nobody else does."""
        ...


def open_served_models(setting: str, environ: Mapping[str, str]) -> ServedModels:
    """What WINDTUNNEL_SERVED_MODELS names: `kubernetes:<namespace>` or a directory."""
    if not setting:
        raise PermanentError(
            "WINDTUNNEL_SERVED_MODELS is not set",
            where="environment",
            fix="set it to kubernetes:<namespace> or to a directory",
        )
    if setting.startswith("kubernetes:"):
        from windtunnel.kube import KubernetesApi

        return KubernetesServedModels(KubernetesApi.connect(environ), setting.removeprefix("kubernetes:"))
    return DirectoryServedModels(Path(setting))


class KubernetesServedModels:
    """Needs get, create and patch on servedmodels in the namespace."""

    settles = True

    def __init__(self, api: Requests, namespace: str) -> None:
        self._api = api
        self._namespace = namespace

    def get(self, name: str) -> ServedModel | None:
        try:
            return _parse(self._api.request("GET", self._path(name)), self._path(name))
        except NotFoundError as error:
            if "servedmodels.windtunnel.dev" not in error.what and "page not found" in error.what:
                raise PermanentError(
                    "the cluster does not know ServedModels",
                    where=self._path(),
                    fix="install the chart's CRD",
                ) from error
            return None

    def create(self, model: ServedModel) -> ServedModel:
        return _parse(self._api.request("POST", self._path(), model.to_object()), self._path())

    def replace(self, model: ServedModel, resource_version: str, *, drop_annotation: str = "") -> ServedModel:
        from windtunnel.kube import MERGE

        path = self._path(model.metadata.name)
        found = self.get(model.metadata.name)
        if found is None:
            raise ConflictError("it was deleted in between", where=path)
        # A merge patch with a resource version is a compare-and-swap too. It leaves labels and status alone,
        # and so what a newer release has put into the spec: only what we know of it is compared.
        changes = _merge_patch(found.to_object()["spec"], model.to_object()["spec"])
        metadata: dict[str, Any] = {"resourceVersion": resource_version}
        annotations: dict[str, str | None] = {**(model.metadata.annotations or {})}
        if drop_annotation:
            annotations[drop_annotation] = None
        if annotations:
            metadata["annotations"] = annotations
        body = {"metadata": metadata, "spec": changes}
        return _parse(self._api.request("PATCH", path, body, content_type=MERGE), path)

    def note_recorded(self, name: str, number: int) -> None:
        """The controller's work."""

    def _path(self, name: str = "") -> str:
        from windtunnel.kube import object_path

        return object_path(API_VERSION, self._namespace, PLURAL, name)


class DirectoryServedModels:
    """One JSON file per ServedModel, replaced atomically; writers on one machine take turns by a lock."""

    settles = False

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def get(self, name: str) -> ServedModel | None:
        path = self._path(name)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            return _parse(json.loads(content), str(path))
        except ValueError as error:
            fix = "delete it and promote again"
            raise DataError(f"the file is not JSON: {error}", where=str(path), fix=fix) from error

    def create(self, model: ServedModel) -> ServedModel:
        with self._turn():
            if self._path(model.metadata.name).exists():
                raise ConflictError(
                    "there is a ServedModel already", where=str(self._path(model.metadata.name))
                )
            return self._write(model, 1)

    def replace(self, model: ServedModel, resource_version: str, *, drop_annotation: str = "") -> ServedModel:
        with self._turn():
            current = self.get(model.metadata.name)
            found = current.metadata.resource_version if current else None
            if found != resource_version:
                raise ConflictError(
                    f"resource version is {found}, expected was {resource_version}",
                    where=str(self._path(model.metadata.name)),
                )
            old = (current.metadata.annotations if current else None) or {}
            annotations = {**old, **(model.metadata.annotations or {})}
            annotations.pop(drop_annotation, None)
            metadata = model.metadata.model_copy(update={"annotations": annotations or None})
            return self._write(model.model_copy(update={"metadata": metadata}), int(resource_version) + 1)

    def note_recorded(self, name: str, number: int) -> None:
        with self._turn():
            current = self.get(name)
            status = (current.status if current else None) or ServedModelStatus()
            if current is None or status.recorded >= number:
                return
            noted = current.model_copy(update={"status": status.model_copy(update={"recorded": number})})
            self._write(noted, int(current.metadata.resource_version or "0") + 1)

    def _write(self, model: ServedModel, resource_version: int) -> ServedModel:
        metadata = model.metadata.model_copy(update={"resource_version": str(resource_version)})
        written = model.model_copy(update={"metadata": metadata})
        path = self._path(model.metadata.name)
        draft = path.with_suffix(f".{os.getpid()}.draft")
        draft.write_text(json.dumps(written.to_object(), indent=2) + "\n")
        draft.replace(path)
        return written

    @contextmanager
    def _turn(self) -> Iterator[None]:
        self._directory.mkdir(parents=True, exist_ok=True)
        with (self._directory / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _path(self, name: str) -> Path:
        return self._directory / f"{name}.json"


def _merge_patch(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """What differs in the new content, and null for what the old one has beyond it (RFC 7386)."""
    patch: dict[str, Any] = {key: None for key in old if key not in new}
    for key, value in new.items():
        before = old.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            value = _merge_patch(before, value)
            if not value:
                continue
        elif key in old and before == value:
            continue  # a default that is not in the object need not be fixed there
        patch[key] = value
    return patch


def _parse(content: dict[str, Any], where: str) -> ServedModel:
    try:
        return ServedModel.model_validate(content)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        raise DataError(
            f"this is no ServedModel: {'.'.join(str(part) for part in first['loc'])}: {first['msg']}",
            where=where,
        ) from error
