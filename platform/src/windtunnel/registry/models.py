"""The model registry: MLflow. One registered model per lifecycle, one version per bundle.

A version's `source` is its bundle in the object store, so the bytes that are registered are the bytes that
serve: no second copy through MLflow's artifact store, which would need S3 keys of its own, take seconds, and
could differ. An MLflow run beside it holds parameters and metrics. Importing MLflow takes seconds, so that
happens on first use.

MLflow has no unique tags, and a stage's retry may race with the try that it replaces. `register` therefore
looks before and after it writes, and of several versions with one bundle digest the lowest number counts:
everyone who asks gets the same answer.
"""

from __future__ import annotations

import os
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from windtunnel.errors import NotFoundError, PermanentError, StoreError
from windtunnel.settings import without_credentials

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

CHAMPION = "champion"
DIGEST_TAG = "windtunnel.bundle_digest"
_ABSENT = {"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"}
_REFUSED = {
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
    "INVALID_PARAMETER_VALUE",
    "BAD_REQUEST",
    "FEATURE_DISABLED",
}
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_ENABLE_ASYNC_LOGGING": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
"""A registry that does not answer fails a stage within about 90 s (Airflow retries it); no calls home."""


@dataclass(frozen=True)
class RegisteredVersion:
    """One version of a registered model."""

    model: str
    version: str
    bundle: str
    bundle_digest: str
    tags: dict[str, str]


class ModelRegistry:
    """Registered models by lifecycle name. Every method raises StoreError when MLflow does not answer."""

    def __init__(self, tracking_uri: str) -> None:
        if not tracking_uri:
            raise PermanentError(
                "MLFLOW_TRACKING_URI is not set", where="environment", fix="set it to MLflow's address"
            )
        self._uri = tracking_uri
        self._made: MlflowClient | None = None

    def register(
        self,
        name: str,
        bundle: str,
        tags: Mapping[str, str],
        params: Mapping[str, Any],
        metrics: Mapping[str, float],
    ) -> RegisteredVersion:
        """The version with this bundle digest (in `tags`), made if there is none."""
        digest = tags[DIGEST_TAG]
        found = self.find(name, digest)
        if found is not None:
            return found
        with self._mapped() as client:
            self._ensure_model(client, name)
            run = self._ensure_run(client, name, tags, params, metrics)
            made = str(
                client.create_model_version(name, bundle, run, dict(tags), await_creation_for=0).version
            )
        winner = self.find(name, digest)
        if winner is None:
            raise StoreError(
                "a version that was just made is not found", where=self._where(name), fix="try again"
            )
        if winner.version != made:
            with self._mapped() as client:
                client.delete_model_version(name, made)
        return winner

    def find(self, name: str, digest: str) -> RegisteredVersion | None:
        """The lowest version with this bundle digest."""
        with self._mapped() as client:
            versions = client.search_model_versions(f"name = '{name}' and tags.`{DIGEST_TAG}` = '{digest}'")
        return min((_version(v) for v in versions), key=lambda v: int(v.version), default=None)

    def get(self, name: str, version: str) -> RegisteredVersion:
        """Raises NotFoundError."""
        with self._mapped() as client:
            try:
                return _version(client.get_model_version(name, version))
            except Exception as error:
                if _code(error) not in _ABSENT:
                    raise
                raise NotFoundError(f"there is no version {version}", where=self._where(name)) from error

    def champion(self, name: str) -> RegisteredVersion | None:
        """The version that the alias `champion` names, or None: no model serves yet."""
        with self._mapped() as client:
            try:
                model = client.get_registered_model(name)
            except Exception as error:
                if _code(error) in _ABSENT:
                    return None
                raise
            version = model.aliases.get(CHAMPION)
        return None if version is None else self.get(name, str(version))

    def champion_version(self, name: str) -> str | None:
        """The version that the alias `champion` names, or None."""
        found = self.champion(name)
        return found.version if found else None

    def set_champion(self, name: str, version: str) -> None:
        """Let the alias `champion` follow the ServedModel."""
        with self._mapped() as client:
            client.set_registered_model_alias(name, CHAMPION, version)

    def log_metrics(self, name: str, version: str, metrics: Mapping[str, float]) -> None:
        """Add metrics to the MLflow run of a version; NaN and infinity are left out."""
        with self._mapped() as client:
            run = client.get_model_version(name, version).run_id
            if run:
                _log(client, run, {}, metrics)

    def _ensure_model(self, client: MlflowClient, name: str) -> None:
        try:
            client.create_registered_model(name)
        except Exception as error:
            if _code(error) != "RESOURCE_ALREADY_EXISTS":
                raise

    def _ensure_run(
        self,
        client: MlflowClient,
        name: str,
        tags: Mapping[str, str],
        params: Mapping[str, Any],
        metrics: Mapping[str, float],
    ) -> str:
        experiment = self._ensure_experiment(client, name)
        same = client.search_runs([experiment], f"tags.`{DIGEST_TAG}` = '{tags[DIGEST_TAG]}'", max_results=1)
        if same:
            return str(same[0].info.run_id)
        run = client.create_run(experiment, tags=dict(tags), run_name=tags.get("windtunnel.run_id") or name)
        _log(client, run.info.run_id, params, metrics)
        client.set_terminated(run.info.run_id)
        return str(run.info.run_id)

    def _ensure_experiment(self, client: MlflowClient, name: str) -> str:
        found = client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(client.create_experiment(name))
            except Exception as error:
                if _code(error) != "RESOURCE_ALREADY_EXISTS":
                    raise
                found = client.get_experiment_by_name(name)
        if found is None or found.lifecycle_stage != "active":
            raise PermanentError(
                f"MLflow's experiment {name!r} was deleted",
                where=self._where(name),
                fix="restore it in MLflow",
            )
        return str(found.experiment_id)

    @contextmanager
    def _mapped(self) -> Iterator[MlflowClient]:
        """The client; its errors become ours."""
        for variable, value in _ENVIRONMENT.items():
            os.environ.setdefault(variable, value)
        # What MLflow's use of SQLAlchemy is warned about is nothing that a reader of a stage's log can mend.
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="mlflow")
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        try:
            if self._made is None:
                self._made = MlflowClient(self._uri, self._uri)
            yield self._made
        except MlflowException as error:
            text = str(error).partition("\n")[0].replace(self._uri, self._uri_shown())[:300]
            if _code(error) in _REFUSED | _ABSENT:
                raise PermanentError(f"MLflow refused: {text}", where=self._uri_shown()) from error
            raise StoreError(
                f"MLflow failed: {text}", where=self._uri_shown(), fix="is its server up? try again"
            ) from error

    def _uri_shown(self) -> str:
        return without_credentials(self._uri)

    def _where(self, name: str) -> str:
        return f"{self._uri_shown()} models/{name}"


def _version(version: ModelVersion) -> RegisteredVersion:
    tags = dict(version.tags)
    return RegisteredVersion(
        model=str(version.name),
        version=str(version.version),
        bundle=tags.get("windtunnel.bundle", str(version.source)),
        bundle_digest=tags.get(DIGEST_TAG, ""),
        tags=tags,
    )


def _log(client: MlflowClient, run: str, params: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
    import math
    import time

    from mlflow.entities import Metric, Param

    now = int(time.time() * 1000)
    client.log_batch(
        run,
        metrics=[Metric(key, float(value), now, 0) for key, value in metrics.items() if math.isfinite(value)],
        params=[Param(key, str(value)[:500]) for key, value in params.items()],
    )


def _code(error: Exception) -> str:
    return str(getattr(error, "error_code", ""))
