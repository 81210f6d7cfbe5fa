"""Start the cluster, or what is missing of it."""

from __future__ import annotations

import os
import socket
import string
import subprocess
import time
from typing import TYPE_CHECKING

import containers
import processes
from api import Api
from builds import build, program_path
from components import Component, components, environment_for
from errors import ClusterError
from layout import DNS_SERVICE_IP, PROVISIONER, REGISTRY, SOURCE
from network import dns_answers, prepare_host, upstream_nameservers
from pki import ensure_pki
from prepare import prepare
from progress import say
from teardown import tear_down

if TYPE_CHECKING:
    from collections.abc import Callable

    from layout import Layout

_READY_SECONDS = 120.0
_PORT_SECONDS = 20.0


def up(layout: Layout) -> None:
    """Bring the cluster to ready from whatever state the machine is in; returns when it is.

    Raises ClusterError with the end of a component's log if one dies or does not become ready.
    """
    prepare(layout)
    build(layout, "kube")
    if not layout.holds_cluster() and (processes.find(layout.state) or processes.find_shims(layout.state)):
        say(f"processes of a cluster whose {layout.state} is gone: ending them first")
        tear_down(layout)
    layout.claim_state()
    layout.run.mkdir(parents=True, exist_ok=True)
    layout.volumes.mkdir(exist_ok=True)
    prepare_host(layout)
    ensure_pki(layout)
    is_new = not (layout.state / "etcd").exists()

    api = Api(layout)
    groups = components(layout, api)
    running = _end_outdated(layout, [component for group in groups for component in group])
    started = 0
    for group in groups:
        missing = [component for component in group if component.name not in running]
        if is_new and any(component.name == "kubelet" for component in missing):
            containers.forget_containers(layout)
        running |= {component.name: _start(layout, component) for component in missing}
        started += len(missing)
        for component in group:
            _wait_ready(layout, component, running[component.name])
        if any(component.name == "containerd" for component in group):
            containers.ensure_image(layout)
    _apply_manifests(layout)
    _wait(
        "cluster DNS",
        lambda: api.deployment_is_available("kube-system", "coredns") and dns_answers(),
        _READY_SECONDS,
    )
    for process in running.values():  # some have no health address: at least none may have ended since
        if not process.is_alive():
            raise ClusterError(f"{process.name} ended again\n{_log_end(layout, process.name)}")
    say(
        f"the cluster is ready, {f'{started} components started' if started else 'nothing had to be started'}"
    )
    say(f"images: push to {REGISTRY}; kubectl: export KUBECONFIG={layout.kubeconfig}")


def _end_outdated(layout: Layout, wanted: list[Component]) -> dict[str, processes.Process]:
    """End components that run with another configuration or binary; returns those that may stay, by name."""
    fingerprints = {component.name: component.fingerprint() for component in wanted}
    running = processes.find(layout.state)
    outdated = [process for process in running if fingerprints.get(process.name) != process.fingerprint]
    if outdated:
        say(f"ending what changed since it was started: {', '.join(process.name for process in outdated)}")
        processes.end(outdated, 15)
    return {process.name: process for process in running if process not in outdated}


def _start(layout: Layout, component: Component) -> processes.Process:
    for port in component.ports:
        _wait(
            f"port {port}, which {component.name} needs and another process holds (`ss -ltnp` names it)",
            lambda port=port: _is_free(port),  # type: ignore[misc]
            _PORT_SECONDS,
        )
    environment = environment_for(component.name)
    return processes.start(
        layout.state, component.name, component.fingerprint(), component.command, environment
    )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True


def _wait_ready(layout: Layout, component: Component, process: processes.Process) -> None:
    def is_ready() -> bool:
        if not process.is_alive():
            raise ClusterError(f"{component.name} ended while it started\n{_log_end(layout, component.name)}")
        return component.is_ready(process.epoch())

    try:
        _wait(component.name, is_ready, _READY_SECONDS)
    except TimeoutError as error:
        raise ClusterError(f"{error}\n{_log_end(layout, component.name)}") from error


def _wait(what: str, is_done: Callable[[], bool], seconds: float) -> None:
    """Poll, saying so when it takes longer than a moment; ClusterError at the deadline."""
    started = time.monotonic()
    said = started
    while not is_done():
        now = time.monotonic()
        if now - started > seconds:
            raise TimeoutError(f"not there after {seconds:.0f} s: {what}")
        if now - said > 2:
            say(f"waiting for {what}, {now - started:.0f} s")
            said = now + 3
        time.sleep(0.1)
    if time.monotonic() - started > 0.5:
        say(f"{what}: {time.monotonic() - started:.1f} s")


def _log_end(layout: Layout, name: str, lines: int = 25) -> str:
    log = layout.log(name)
    text = log.read_text(errors="replace") if log.exists() else ""
    return f"the end of {log}:\n" + "\n".join(f"  {line}" for line in text.splitlines()[-lines:])


def _apply_manifests(layout: Layout) -> None:
    upstream = upstream_nameservers()
    values = {
        "image": containers.image_name(),
        "dns_ip": DNS_SERVICE_IP,
        "forward": f"forward . {' '.join(upstream)}" if upstream else "# no nameserver that pods can reach",
        "provisioner": PROVISIONER,
    }
    files = sorted((SOURCE / "manifests").glob("*.yaml"))
    text = "\n---\n".join(string.Template(file.read_text()).substitute(values) for file in files)
    command = [str(program_path(layout, "kubectl")), f"--kubeconfig={layout.kubeconfig}"]
    command += ["apply", "--server-side", "--force-conflicts", "-f", "-"]
    environment = {**os.environ, "HOME": str(layout.state)}
    done = subprocess.run(command, input=text, env=environment, text=True, capture_output=True)
    if done.returncode != 0:
        raise ClusterError(f"applying {SOURCE / 'manifests'} failed:\n{done.stderr}")
