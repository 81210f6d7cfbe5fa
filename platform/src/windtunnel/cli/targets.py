"""Which ServedModel a command is about, and what can be reached around it: in a cluster, or in the home of
this machine.

A cluster is meant when a namespace or a context is given (WINDTUNNEL_NAMESPACE and WINDTUNNEL_CONTEXT do as
well), the home when `--home` is. Otherwise the home, if the lifecycle ran there, else the cluster of the
kubeconfig. Each command begins by saying which one it is.
"""

from __future__ import annotations

import getpass
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.errors import NotFoundError, PermanentError
from windtunnel.kube import object_path
from windtunnel.local.home import Home
from windtunnel.objects import open_store
from windtunnel.rollout.served_models import DirectoryServedModels, KubernetesServedModels
from windtunnel.spec.servedmodel import API_VERSION, PLURAL, ModelVersion, object_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from windtunnel.cli.cluster_api import ClusterApi
    from windtunnel.objects import ObjectStore
    from windtunnel.rollout.mirror import Aliases
    from windtunnel.rollout.served_models import ServedModels
    from windtunnel.spec.servedmodel import ServedModel

_PATIENCE_SECONDS = 10.0
MODEL_LABEL = "windtunnel.dev/served-model"


@dataclass(frozen=True)
class Where:
    """What the options say; None: not given."""

    namespace: str | None
    context: str | None
    home: Path | None


@dataclass(frozen=True)
class Target:
    """One ServedModel and its surroundings."""

    lifecycle: str
    served_models: ServedModels
    label: str
    """The place in words."""
    by: str
    """Who acts: what the API server takes us for, or the user of this machine."""
    environ: Mapping[str, str]
    home: Home | None
    api: ClusterApi | None
    namespace: str = ""

    @property
    def name(self) -> str:
        return object_name(self.lifecycle)

    def beside(self, name: str) -> Target:
        """Another ServedModel of the same place."""
        return replace(self, lifecycle=lifecycle_of(name))

    def get(self) -> ServedModel:
        """Raises NotFoundError."""
        found = self.served_models.get(self.name)
        if found is None:
            run = f"windtunnel run {self.lifecycle}" if self.home else f"the DAG {self.lifecycle}__train"
            raise NotFoundError(
                f"nothing serves for {self.lifecycle}", where=self.label, fix=f"a first run does it: {run}"
            )
        return found

    def store(self) -> ObjectStore | None:
        """The object store, where this machine knows it: the home's, or what WINDTUNNEL_STORE names."""
        if self.home is not None:
            return self.home.open_store()
        url = self.environ.get("WINDTUNNEL_STORE")
        if not url:
            return None
        return open_store(
            url, self.environ, patience_seconds=_PATIENCE_SECONDS, request_seconds=_PATIENCE_SECONDS
        )

    def aliases(self) -> Aliases | None:
        """MLflow, where this machine has to keep its alias: in a cluster the controller does."""
        if self.home is None:
            return None
        from windtunnel.registry.models import ModelRegistry

        return ModelRegistry(self.home.tracking_uri)

    def registered(self, version: str) -> ModelVersion:
        """A version of the registry: the home's, or the one that MLFLOW_TRACKING_URI names. Raises
        NotFoundError."""
        if self.home is not None:
            from windtunnel.registry.models import ModelRegistry

            found = ModelRegistry(self.home.tracking_uri).get(self.lifecycle, version)
            bundle, digest = found.bundle, found.bundle_digest
        else:
            from windtunnel.registry.mlflow_http import MlflowServer

            uri = self.environ.get("MLFLOW_TRACKING_URI", "")
            if not uri:
                raise PermanentError(
                    f"version {version} is neither challenger nor former champion, so MLflow has to be asked "
                    "for its bundle, and its address is not known",
                    where="MLFLOW_TRACKING_URI",
                    fix="kubectl port-forward svc/<release>-mlflow 5000 & "
                    "export MLFLOW_TRACKING_URI=http://127.0.0.1:5000",
                )
            answer = MlflowServer.at(uri, self.environ).registered(self.lifecycle, version)
            bundle, digest = answer.bundle, answer.digest
        if not digest:
            raise PermanentError(
                f"version {version} names no bundle: Windtunnel did not register it",
                where=f"MLflow, {self.lifecycle}",
                fix="train it by the lifecycle",
            )
        return ModelVersion(version=version, bundle=bundle, digest=digest)

    def pods(self) -> list[dict[str, Any]] | None:
        """The serving pods as the API server has them; None where there are none, or nobody may look."""
        if self.api is None:
            return None
        query = {"labelSelector": f"{MODEL_LABEL}={self.name}"}
        try:
            answer = self.api.request("GET", object_path("v1", self.namespace, "pods"), query=query)
        except PermanentError:
            return None
        pods: list[dict[str, Any]] = answer["items"]
        return sorted(pods, key=lambda pod: str(pod["metadata"]["name"]))


def open_target(name: str, where: Where, environ: Mapping[str, str]) -> Target:
    """`name`: of a lifecycle or its ServedModel, or the path of a lifecycle's directory."""
    lifecycle = lifecycle_of(name)
    if not in_cluster(name, where, environ):
        home = _home(where, environ)
        return Target(
            lifecycle=lifecycle,
            served_models=DirectoryServedModels(home.served_models),
            label=f"this machine, {_short(home.directory)}",
            by=user(environ),
            environ=environ,
            home=home,
            api=None,
        )
    from windtunnel.cli.cluster_api import connect

    api = connect(where.context)
    namespace = where.namespace or api.namespace
    return Target(
        lifecycle=lifecycle,
        served_models=KubernetesServedModels(api, namespace),
        label=f"cluster {api.context}, namespace {namespace}",
        by=api.user() or user(environ),
        environ=environ,
        home=None,
        api=api,
        namespace=namespace,
    )


def lifecycle_of(name: str) -> str:
    return Path(name).name.replace("-", "_")


def in_cluster(name: str | None, where: Where, environ: Mapping[str, str]) -> bool:
    """Whether a cluster is meant, as told above; `name` None: all models, a cluster's only if it is named."""
    if where.home is not None:
        return False
    if where.namespace or where.context:
        return True
    from windtunnel.cli.cluster_api import has_kubeconfig

    if name is None or (_home(where, environ).store / lifecycle_of(name)).is_dir():
        return False
    return has_kubeconfig(environ)


def names_in(where: Where) -> list[str]:
    """Names of the ServedModels in the namespace."""
    from windtunnel.cli.cluster_api import connect

    api = connect(where.context)
    answer = api.request("GET", object_path(API_VERSION, where.namespace or api.namespace, PLURAL))
    return sorted(str(item["metadata"]["name"]) for item in answer["items"])


def _home(where: Where, environ: Mapping[str, str]) -> Home:
    return Home.chosen(where.home, environ)


def user(environ: Mapping[str, str]) -> str:
    """The user of this machine; empty when there is none."""
    try:
        return environ.get("USER") or getpass.getuser()
    except (KeyError, OSError):
        return ""


def _short(directory: Path) -> str:
    try:
        return str(directory.relative_to(Path.cwd()))
    except ValueError:
        return str(directory)
