"""Install or upgrade the chart, with progress, and with the reason when it does not come up."""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
import time
from pathlib import Path

from .console import DemoError, console
from .kubectl import Kubectl, KubectlError
from .target import ROOT, Target, image_values

CHART = ROOT / "charts/windtunnel"
INSTALL_SECONDS = 1200
HELM_SECONDS = 60
MARK = "windtunnel.dev/installed"


def install(target: Target, release: str, namespace: str, *settings: str) -> None:
    """`helm upgrade --install`, skipped when this very chart and values are what runs.

    settings: further `--set` assignments. Raises DemoError with what is not ready and why.
    """
    with tempfile.TemporaryDirectory() as directory:
        images = Path(directory, "images.yaml")
        images.write_text(image_values(target))
        files = [*target.values, images]
        mark = _digest([*files, *(p for p in sorted(CHART.rglob("*")) if p.is_file())], settings)
        if _installed(target.kubectl, release, namespace) == mark:
            console.print("  nothing changed since the last install")
        else:
            _namespace(target.kubectl, namespace)
            argv = [*target.helm, "upgrade", "--install", release, str(CHART), "--namespace", namespace]
            argv += [f"--values={file}" for file in files] + [f"--set={setting}" for setting in settings]
            _helm([*argv, f"--labels={MARK}={mark}"], target, release, namespace)
        wait_ready(target.kubectl, namespace)


def _helm(argv: list[str], target: Target, release: str, namespace: str) -> None:
    """Run helm. A killed one leaves the release locked; ours takes seconds, so a minute proves it dead."""
    begun = time.monotonic()
    while (done := subprocess.run(argv, capture_output=True, text=True, check=False)).returncode:
        if "another operation" not in done.stderr:
            raise DemoError(f"helm: {done.stderr.strip()}")
        if time.monotonic() - begun > HELM_SECONDS:
            if not target.ours:
                raise DemoError(
                    f"helm: another operation on {release} is in progress; if it died, "
                    f"`helm rollback {release} -n {namespace}` frees the release"
                )
            pending = "status in (pending-install,pending-upgrade,pending-rollback)"
            console.print("  removing the lock of a helm that died")
            target.kubectl.run(
                "delete", "secret", "-n", namespace, "-l", f"owner=helm,name={release},{pending}"
            )
            begun = time.monotonic()
        time.sleep(2)


def wait_ready(kubectl: Kubectl, namespace: str, seconds: float = INSTALL_SECONDS) -> None:
    """Wait until every Deployment and StatefulSet is at its latest revision and the Job has migrated."""
    begun = time.monotonic()
    shown = ""
    while waiting := _not_ready(kubectl, namespace):
        text = ", ".join(waiting)
        if text != shown:
            console.print(f"  [dim]{time.monotonic() - begun:4.0f} s[/] waiting for {text}")
            shown = text
        if time.monotonic() - begun > seconds:
            raise DemoError(f"not ready after {seconds:.0f} s: {text}\n{explain(kubectl, namespace)}")
        time.sleep(1)


def explain(kubectl: Kubectl, namespace: str, only: str = "") -> str:
    """Events and last log lines of the pods that are not well (or of the pod named `only`)."""
    parts = []
    for pod in kubectl.json("get", "pods", "-n", namespace)["items"]:
        name = pod["metadata"]["name"]
        statuses = [
            *pod["status"].get("initContainerStatuses", []),
            *pod["status"].get("containerStatuses", []),
        ]
        well = pod["status"]["phase"] == "Succeeded" or (statuses and all(s["ready"] for s in statuses))
        if (only and name != only) or (not only and well):
            continue
        events = kubectl.run("events", "-n", namespace, "--for", f"pod/{name}")
        parts.append(f"--- pod {name}: {pod['status']['phase']}\n{_tail(events, 8)}")
        for status in statuses:
            try:
                logs = kubectl.run("logs", "-n", namespace, name, "-c", status["name"], "--tail=20")
            except KubectlError as error:
                logs = str(error)
            parts.append(f"    log of {status['name']}:\n{_tail(logs, 20)}")
    return "\n".join(parts) or "(no pod is unwell)"


def _not_ready(kubectl: Kubectl, namespace: str) -> list[str]:
    found = []
    for item in kubectl.json("get", "deployments,statefulsets,jobs", "-n", namespace)["items"]:
        name, status, spec = (
            item["metadata"]["name"],
            item.get("status", {}),
            item["spec"],
        )
        if item["kind"] == "Job":
            # What a CronJob started at its hour is no part of the installation.
            by_the_clock = any(o["kind"] == "CronJob" for o in item["metadata"].get("ownerReferences", ()))
            ready = by_the_clock or status.get("succeeded", 0) >= 1
        else:
            want = spec.get("replicas", 1)
            current = status.get("observedGeneration", 0) >= item["metadata"]["generation"]
            ready = (
                current
                and status.get("updatedReplicas", 0) >= want
                and status.get("readyReplicas", 0) >= want
            )
            ready = ready and status.get("replicas", 0) <= want
        if not ready:
            found.append(name)
    return found


def _namespace(kubectl: Kubectl, namespace: str) -> None:
    """Make the namespace, with the Pod Security level that a chart can't set on where it lands."""
    try:
        kubectl.run("create", "namespace", namespace)
    except KubectlError as error:
        if "AlreadyExists" not in str(error):
            raise
    kubectl.run(
        "label",
        "namespace",
        namespace,
        "pod-security.kubernetes.io/enforce=restricted",
        "--overwrite",
    )


def _installed(kubectl: Kubectl, release: str, namespace: str) -> str:
    """The mark on helm's own record of the release: it goes with the release."""
    current = f"owner=helm,name={release},status=deployed"
    records = kubectl.json("get", "secrets", "-n", namespace, "-l", current)["items"]
    return str(records[-1]["metadata"]["labels"].get(MARK, "")) if records else ""


def _digest(files: list[Path], settings: tuple[str, ...]) -> str:
    total = hashlib.sha256(repr(settings).encode())
    for file in files:
        total.update(file.name.encode() + file.read_bytes())
    return total.hexdigest()[:32]


def _tail(text: str, lines: int) -> str:
    return "\n".join(f"    {line}" for line in text.strip().splitlines()[-lines:])
