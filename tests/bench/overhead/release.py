"""A release of its own for this measurement, with its DAGs in the images."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dev.demo.install import install, wait_ready
from dev.demo.target import LOCAL_REGISTRY, dev_cluster
from dev.demo.thread import Platform, reach
from dev.imaging.builder import find_builder
from dev.imaging.building import Contexts, Target
from dev.imaging.catalog import IMAGES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dev.demo.kubectl import Kubectl
    from dev.imaging.builder import Builder

NAME = "windtunnel-overhead"
STAGES = f"{NAME}-stages"
DAGS = Path(__file__).parent / "dags"
_CRD = "servedmodels.windtunnel.dev"
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or "/var/cache", "windtunnel").absolute()
# KubernetesPodOperator's worker makes pods.
_POD_MAKER = f"""\
apiVersion: v1
kind: ServiceAccount
metadata: {{name: pod-maker, namespace: {STAGES}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: pod-maker, namespace: {STAGES}}}
rules:
  - {{apiGroups: [""], resources: [pods], verbs: [create, delete, get, list, patch, watch]}}
  - {{apiGroups: [""], resources: [pods/log], verbs: [get]}}
  - {{apiGroups: [""], resources: [events], verbs: [list, watch]}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: pod-maker, namespace: {STAGES}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: pod-maker}}
subjects: [{{kind: ServiceAccount, name: pod-maker, namespace: {STAGES}}}]
"""
CLASSES = ("small", "stock", "pod")
"""Stage classes that there are DAGs for: ours, one with a volume as Airflow's own template has, and that of
KubernetesPodOperator's worker, whose image must hold the provider for Kubernetes.
"""


class Release:
    """Installed anew for each setting; the databases stay."""

    def __init__(self) -> None:
        self.target = dev_cluster()
        _remove(self.target.kubectl)
        images = _images()
        self._settings = [
            "airflow.parallelism=16",
            "prometheus.enabled=false",
            "statsdExporter.enabled=false",
            "networkPolicy.enabled=false",
            "stages.classes.stock.scratch=1Gi",
            "stages.classes.pod.serviceAccountName=pod-maker",
            f"stages.classes.pod.image={LOCAL_REGISTRY}/{images['airflow']}",
        ]
        for name, image in images.items():
            repository, _, tag = image.partition(":")
            self._settings += [f"images.{name}.repository={repository}", f"images.{name}.tag={tag}"]
        for name in CLASSES:
            # Ten at once must find room.
            resources = f"stages.classes.{name}.resources"
            self._settings += [
                f"{resources}.requests.cpu=50m",
                f"{resources}.requests.memory=192Mi",
                f"{resources}.limits.memory=1Gi",
            ]
        if _crd_is_there(self.target.kubectl):
            self._settings.append("crds.install=false")

    @contextmanager
    def running(
        self, worker: str, scheduler: Sequence[str] = (), values: Sequence[str] = ()
    ) -> Iterator[Platform]:
        """The release with this worker, these values of the chart, and this environment (NAME=VALUE) of the
        scheduler besides."""
        kubectl = self.target.kubectl
        install(self.target, NAME, NAME, *self._settings, f"stages.worker={worker}", *values)
        kubectl.run("apply", "-f", "-", stdin=_POD_MAKER)
        if scheduler:
            deployment = f"deployment/{NAME}-airflow-scheduler"
            kubectl.run("set", "env", "-n", NAME, deployment, "-c", "scheduler", *scheduler)
            wait_ready(kubectl, NAME)
        with reach(kubectl, NAME, NAME) as platform:
            yield platform

    def remove(self) -> None:
        _remove(self.target.kubectl)


def _images() -> dict[str, str]:
    """`repository:tag` of our two images with the DAGs in them, pushed to the cluster's registry."""
    builder = find_builder("auto", _CACHE)
    contexts = Contexts(Target.of(LOCAL_REGISTRY, "", "", push=True).base, os.environ)
    stage = _name("stage", contexts.of(IMAGES["stage"]).reference)
    settings = {
        "namespace": STAGES,
        "image": f"{LOCAL_REGISTRY}/{stage}",
        "classes": CLASSES,
    }
    return {
        name: _image(builder, name, contexts.of(IMAGES[name]).reference, json.dumps(settings))
        for name in ("stage", "airflow")
    }


def _name(name: str, beneath: str) -> str:
    digest = hashlib.sha256(beneath.encode())
    for path in sorted(DAGS.glob("*.py")):
        digest.update(path.read_bytes())
    # Helm takes what is all digits for a number.
    return f"windtunnel/overhead-{name}:d{digest.hexdigest()[:12]}"


def _image(builder: Builder, name: str, beneath: str, settings: str) -> str:
    reference = _name(name, beneath)
    log = _CACHE / "log" / f"image-overhead-{name}.log"
    with tempfile.TemporaryDirectory(prefix="windtunnel-overhead-") as scratch:
        directory = Path(scratch)
        (directory / "overhead.json").write_text(settings)
        (directory / "overhead.py").write_text((DAGS / "overhead.py").read_text())
        for path in directory.iterdir():
            path.chmod(0o644)
        (directory / "Containerfile").write_text(
            f"FROM {builder.local(beneath)}\nCOPY overhead.py overhead.json /opt/windtunnel/dags/\n"
        )
        builder.build(directory, "Containerfile", reference, [], log)
    builder.push(reference, f"{LOCAL_REGISTRY}/{reference}", True, log)
    return reference


def _crd_is_there(kubectl: Kubectl) -> bool:
    return bool(kubectl.json("get", "crd", "--field-selector", f"metadata.name={_CRD}")["items"])


def _remove(kubectl: Kubectl) -> None:
    """Both namespaces, and the CRD where it was this release's."""
    for namespace in (NAME, STAGES):
        kubectl.run("delete", "namespace", namespace, "--ignore-not-found", "--timeout=180s", timeout=200)
    found = kubectl.json("get", "crd", "--field-selector", f"metadata.name={_CRD}")["items"]
    if found and found[0]["metadata"]["annotations"].get("meta.helm.sh/release-name") == NAME:
        kubectl.run("delete", "crd", _CRD)
