"""Certificates and kubeconfigs of a cluster, made once with it.

Every certificate carries what strict verifiers ask for (Python 3.13 by default): keyUsage on the CA,
and key identifiers on all.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

from errors import ClusterError
from layout import API_PORT, API_SERVICE_IP, CONTEXT, NODE_IP, NODE_NAME

if TYPE_CHECKING:
    from pathlib import Path

    from layout import Layout

_DAYS = "3650"
_SERVICE = "kubernetes.default.svc.cluster.local"
_SERVER_NAMES = [f"DNS:{name}" for name in ("localhost", *(_SERVICE.rsplit(".", cut)[0] for cut in range(5)))]
_NODE_NAMES = ["IP:127.0.0.1", f"IP:{NODE_IP}"]

# name: (subject, subject alternative names)
_CERTIFICATES = {
    "apiserver": ("/CN=kube-apiserver", [*_SERVER_NAMES, *_NODE_NAMES, f"IP:{API_SERVICE_IP}"]),
    "apiserver-kubelet": ("/O=system:masters/CN=apiserver-kubelet", []),
    "admin": ("/O=system:masters/CN=admin", []),
    "controller-manager": ("/CN=system:kube-controller-manager", []),
    "scheduler": ("/CN=system:kube-scheduler", []),
    "proxy": ("/CN=system:kube-proxy", []),
    "kubelet": (f"/O=system:nodes/CN=system:node:{NODE_NAME}", [f"DNS:{NODE_NAME}", *_NODE_NAMES]),
}
_CLIENTS = ("admin", "controller-manager", "scheduler", "proxy", "kubelet")


def ensure_pki(layout: Layout) -> None:
    """Make keys, certificates and kubeconfigs unless the cluster has them: all, or none when killed."""
    if not layout.pki.exists():
        making = layout.state / "pki.new"
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(mode=0o700)
        _make_authority(making)
        for name, (subject, names) in _CERTIFICATES.items():
            _make_certificate(making, name, subject, names)
        for name in _CLIENTS:
            _write_private(making / f"{name}.conf", json.dumps(_kubeconfig(making, name), indent=1))
        making.rename(layout.pki)
    _write_private(layout.kubeconfig, (layout.pki / "admin.conf").read_text())


def _make_authority(pki: Path) -> None:
    _openssl(
        pki, "req", "-x509", "-days", _DAYS, "-subj", "/CN=windtunnel-cluster", *_new_key("ca"),
        "-out", "ca.crt", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
    )  # fmt: skip
    _openssl(pki, "genrsa", "-out", "service-accounts.key", "2048")
    _openssl(pki, "rsa", "-in", "service-accounts.key", "-pubout", "-out", "service-accounts.pub")


def _make_certificate(pki: Path, name: str, subject: str, names: list[str]) -> None:
    extensions = [
        "basicConstraints=critical,CA:FALSE",
        "keyUsage=critical,digitalSignature",
        "extendedKeyUsage=clientAuth,serverAuth",
        "subjectKeyIdentifier=hash",
        "authorityKeyIdentifier=keyid",
    ]
    if names:
        extensions.append(f"subjectAltName={','.join(names)}")
    (pki / "extensions").write_text("\n".join(extensions))
    _openssl(pki, "req", "-subj", subject, *_new_key(name), "-out", "request")
    _openssl(
        pki, "x509", "-req", "-in", "request", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
        "-days", _DAYS, "-extfile", "extensions", "-out", f"{name}.crt",
    )  # fmt: skip


def _new_key(name: str) -> list[str]:
    return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key"]


def _kubeconfig(pki: Path, user: str) -> dict[str, Any]:
    def data(file: str) -> str:
        return base64.b64encode((pki / file).read_bytes()).decode()

    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": CONTEXT,
        "clusters": [
            {
                "name": CONTEXT,
                "cluster": {
                    "server": f"https://127.0.0.1:{API_PORT}",
                    "certificate-authority-data": data("ca.crt"),
                },
            }
        ],
        "users": [
            {
                "name": user,
                "user": {
                    "client-certificate-data": data(f"{user}.crt"),
                    "client-key-data": data(f"{user}.key"),
                },
            }
        ],
        "contexts": [{"name": CONTEXT, "context": {"cluster": CONTEXT, "user": user}}],
    }


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def _openssl(directory: Path, *arguments: str) -> None:
    done = subprocess.run(["openssl", *arguments], cwd=directory, text=True, capture_output=True)
    if done.returncode != 0:
        raise ClusterError(f"openssl {' '.join(arguments)} failed in {directory}:\n{done.stderr}")
