"""Which cluster the demo works on, and the tools that it uses there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .console import DemoError, run_labelled, side_by_side
from .kubectl import Kubectl, KubectlError

ROOT = Path(__file__).parents[2]
LOCAL_REGISTRY = "127.0.0.1:5000"
PYTHON = sys.executable
# Somebody's own cluster pulls upstream's images, also when its registry is on this machine (kind's is).
_PLATFORM = ("--base", "python:3.13-slim-trixie", "platform")


@dataclass(frozen=True)
class Target:
    """A cluster that may be installed to.

    helm: the helm command with the flags that pick the cluster.
    registry: where the cluster pulls our images from.
    values: value files for the chart that this cluster needs.
    ours: the cluster is the one that dev/cluster made, and nobody else works on it.
    images: which images those are, and on what; empty leaves it to dev/images.py.
    """

    kubectl: Kubectl
    helm: tuple[str, ...]
    registry: str
    values: tuple[Path, ...]
    ours: bool
    images: tuple[str, ...] = ()


def _cluster(*args: str) -> list[str]:
    return [PYTHON, str(ROOT / "dev/cluster/cluster.py"), *args]


def _images(*args: str) -> list[str]:
    return [PYTHON, str(ROOT / "dev/images.py"), *args]


def _said(argv: list[str]) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


def dev_cluster() -> Target:
    """Bring up the one-node cluster of dev/cluster, our images in its registry; quick when there."""
    run_labelled("prepare", _cluster("prepare"))

    def images() -> None:
        for program in ("versitygw", "statsd_exporter"):
            run_labelled("tools", _cluster("build", program))
        run_labelled("images", _images("build", "--registry", LOCAL_REGISTRY))
        run_labelled("tools", _cluster("build", "helm"))

    side_by_side(partial(run_labelled, "cluster", _cluster("up")), images)
    run_labelled("images", _images("build", "--push", "--registry", LOCAL_REGISTRY))
    kubeconfig = f"--kubeconfig={_said(_cluster('kubeconfig'))}"
    kubectl = Kubectl((_said(_cluster("path", "kubectl")),), (kubeconfig,))
    helm = (_said(_cluster("path", "helm")), kubeconfig)
    return Target(kubectl, helm, LOCAL_REGISTRY, (ROOT / "dev/values-dev.yaml",), ours=True)


def current_cluster(registry: str) -> Target:
    """The cluster of kubectl's current context, on the user's own word, with images from `registry`.

    VALUES in the environment names a values file, such as one for external stores.
    """
    for tool in ("kubectl", "helm"):
        if shutil.which(tool) is None:
            raise DemoError(
                f"{tool} is not on PATH; CLUSTER=current uses your own: install it, then try again"
            )
    if not registry:
        raise DemoError(
            "no registry given; name one that the cluster pulls from: "
            "make demo CLUSTER=current REGISTRY=registry.example.com/team"
        )
    try:
        context = _said(["kubectl", "config", "current-context"])
    except subprocess.CalledProcessError as error:
        raise DemoError(f"kubectl has no current context: {error.stderr.strip()}") from error
    kubectl = Kubectl(("kubectl",), (f"--context={context}",))
    try:
        kubectl.run("get", "--raw", "/readyz", timeout=20)
    except KubectlError as error:
        raise DemoError(f"the current context {context!r} does not answer: {error}") from error
    run_labelled("images", _images("build", "--push", "--registry", registry, *_PLATFORM))
    extra = os.environ.get("VALUES")
    return Target(
        kubectl,
        ("helm", f"--kube-context={context}"),
        registry,
        (Path(extra),) if extra else (),
        ours=False,
        images=_PLATFORM,
    )


def image_values(target: Target) -> str:
    """Helm values (YAML) that name the images as they were built."""
    return _said(_images("values", "--registry", target.registry, *target.images))
