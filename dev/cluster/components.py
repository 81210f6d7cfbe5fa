"""The processes of a cluster: their command lines, ports, and how each shows that it is ready."""

from __future__ import annotations

import hashlib
import json
import os
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING

import containers
from builds import KUBE
from layout import (
    API_PORT,
    DNS_SERVICE_IP,
    NODE_IP,
    NODE_NAME,
    POD_CIDR,
    PROVISIONER,
    REGISTRY,
    SERVICE_CIDR,
    write,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from api import Api
    from layout import Layout


_PROXY_VARIABLES = {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}


@dataclass(frozen=True)
class Component:
    """A process of the cluster.

    is_ready: told since when (seconds of the epoch) the process runs: what the API still says of an earlier
        one does not count.
    ports: TCP ports that it listens on, and that must be free before it starts.
    configuration: a file that it reads; a change restarts it, as a change of its command line does.
    """

    name: str
    command: tuple[str, ...]
    is_ready: Callable[[float], bool]
    ports: tuple[int, ...] = ()
    configuration: Path | None = None

    def fingerprint(self) -> str:
        text = json.dumps(self.command) + (self.configuration.read_text() if self.configuration else "")
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def environment_for(name: str) -> dict[str, str]:
    """Our environment without proxies, which would swallow requests within the cluster.

    containerd keeps them: it fetches images from outside. What is inside is named in its no_proxy.
    """
    proxies = {key for key in os.environ if key.lower() in _PROXY_VARIABLES}
    environment = {key: value for key, value in os.environ.items() if key not in proxies}
    environment["PATH"] = f"{environment.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"
    if name == "containerd":
        environment |= {key: os.environ[key] for key in proxies}
        outside = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
        inside = ",".join(filter(None, [outside, "localhost,127.0.0.1", NODE_IP, POD_CIDR, SERVICE_CIDR]))
        environment |= {"no_proxy": inside, "NO_PROXY": inside}
    return environment


def components(layout: Layout, api: Api) -> tuple[tuple[Component, ...], ...]:
    """All components, in groups that start one after the other: a group needs those before it."""
    kube = str(KUBE.path(layout))
    pki = layout.pki
    containerd_configuration = containers.write_config(layout)
    kubelet_configuration = _write_kubelet_configuration(layout)
    return (
        (
            Component(
                "registry",
                (kube, "registry", f"--directory={layout.cache / 'registry'}", f"--address={REGISTRY}"),
                lambda _: _answers_ok(f"http://{REGISTRY}/v2/"),
                ports=(5000,),
            ),
            Component(
                "containerd",
                ("containerd", "--config", str(containerd_configuration)),
                lambda _: containers.answers(layout),
                configuration=containerd_configuration,
            ),
            Component(
                "etcd",
                (
                    kube, "etcd", f"--data-dir={layout.state / 'etcd'}",
                    # A power cut may cost the cluster, which `down` and `up` make anew; a kill does not.
                    "--unsafe-no-fsync",
                    "--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
                    "--listen-peer-urls=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380",
                    "--initial-cluster=default=http://127.0.0.1:2380", "--log-level=warn",
                ),
                lambda _: _answers_ok("http://127.0.0.1:2379/health"),
                ports=(2379, 2380),
            ),
        ),
        (Component("apiserver", _apiserver(kube, pki), lambda _: api.is_ready(), ports=(API_PORT,)),),
        (
            Component(
                "controller-manager",
                (
                    kube, "controller-manager", f"--kubeconfig={pki}/controller-manager.conf",
                    f"--service-account-private-key-file={pki}/service-accounts.key",
                    f"--root-ca-file={pki}/ca.crt", "--use-service-account-credentials",
                    "--leader-elect=false", "--allocate-node-cidrs=false", "--bind-address=127.0.0.1",
                    # While the only API server is away nobody hears from the only node; its pods, which are
                    # well, would be taken out of every Service.
                    "--node-monitor-grace-period=5m",
                ),
                lambda _: _answers_ok("https://127.0.0.1:10257/healthz"),
                ports=(10257,),
            ),
            Component(
                "scheduler",
                (
                    kube, "scheduler", f"--kubeconfig={pki}/scheduler.conf", "--leader-elect=false",
                    "--bind-address=127.0.0.1",
                ),
                lambda _: _answers_ok("https://127.0.0.1:10259/healthz"),
                ports=(10259,),
            ),
            Component(
                "storage",
                (
                    kube, "storage", f"--kubeconfig={layout.kubeconfig}", f"--provisioner={PROVISIONER}",
                    f"--node={NODE_NAME}", f"--directory={layout.volumes}",
                ),
                lambda _: True,
            ),
            Component(
                "proxy",
                (
                    kube, "proxy", f"--kubeconfig={pki}/proxy.conf", f"--hostname-override={NODE_NAME}",
                    "--proxy-mode=iptables", f"--cluster-cidr={POD_CIDR}", "--conntrack-max-per-core=0",
                    "--nodeport-addresses=primary",
                ),
                lambda _: _answers_ok("http://127.0.0.1:10256/healthz"),
                ports=(10249, 10256),
            ),
            Component(
                "kubelet",
                (
                    kube, "kubelet", f"--kubeconfig={pki}/kubelet.conf", f"--hostname-override={NODE_NAME}",
                    f"--node-ip={NODE_IP}", f"--root-dir={layout.state / 'kubelet'}",
                    f"--config={kubelet_configuration}",
                ),
                lambda since: _answers_ok("http://127.0.0.1:10248/healthz") and api.node_is_ready(since),
                ports=(10248, 10250),
                configuration=kubelet_configuration,
            ),
        ),
        (
            # Needs the node object.
            Component(
                "network-policy",
                (
                    kube, "network-policy", f"--kubeconfig={layout.kubeconfig}",
                    f"--hostname-override={NODE_NAME}", f"--service-cluster-ip-range={SERVICE_CIDR}",
                ),
                lambda _: True,
            ),
        ),
    )  # fmt: skip


def _apiserver(kube: str, pki: Path) -> tuple[str, ...]:
    return (
        kube, "apiserver", "--etcd-servers=http://127.0.0.1:2379",
        f"--secure-port={API_PORT}", f"--advertise-address={NODE_IP}",
        f"--service-cluster-ip-range={SERVICE_CIDR}", "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction", "--anonymous-auth=false", "--allow-privileged=true",
        f"--client-ca-file={pki}/ca.crt",
        f"--tls-cert-file={pki}/apiserver.crt", f"--tls-private-key-file={pki}/apiserver.key",
        f"--kubelet-client-certificate={pki}/apiserver-kubelet.crt",
        f"--kubelet-client-key={pki}/apiserver-kubelet.key", f"--kubelet-certificate-authority={pki}/ca.crt",
        "--kubelet-preferred-address-types=InternalIP",
        f"--service-account-key-file={pki}/service-accounts.pub",
        f"--service-account-signing-key-file={pki}/service-accounts.key",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
    )  # fmt: skip


def _write_kubelet_configuration(layout: Layout) -> Path:
    """Write kubelet's configuration (JSON is YAML); everything that it keeps lies in the state directory."""
    pki = layout.pki
    configuration = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{pki}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{pki}/kubelet.crt",
        "tlsPrivateKeyFile": f"{pki}/kubelet.key",
        "clusterDomain": "cluster.local",
        "clusterDNS": [DNS_SERVICE_IP],
        "resolvConf": str(layout.state / "resolv.conf"),
        "containerRuntimeEndpoint": f"unix://{layout.containerd_socket}",
        "podLogsDir": str(layout.state / "pod-logs"),
        "volumePluginDir": str(layout.state / "kubelet" / "plugins"),
        # Works on cgroup v1 and v2, with and without systemd.
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "maxPods": 200,
        "serializeImagePulls": False,
        "registryPullQPS": 0,
        "kubeAPIQPS": 100,
        "kubeAPIBurst": 200,
        # A developer's disk is often nearly full: evict late, and never throw images away.
        "evictionHard": {
            "memory.available": "200Mi",
            "nodefs.available": "1%",
            "imagefs.available": "1%",
            "nodefs.inodesFree": "1%",
        },
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
    }
    return write(layout.state / "kubelet.json", json.dumps(configuration, indent=1))


def _answers_ok(url: str) -> bool:
    """Whether a health address on the loopback answers 200; its certificate is made anew at each start."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    https = urllib.request.HTTPSHandler(context=context)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), https)
    try:
        with opener.open(url, timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
