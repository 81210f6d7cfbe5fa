"""Where everything lies, and the cluster's fixed names, addresses and ports."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CONTEXT = "windtunnel-dev"
NODE_NAME = "windtunnel"
# The node's address is the cluster's own, on a bridge without ports: certificates and the node object stay
# valid when the machine gets another address (and not every kernel has `dummy` interfaces).
NODE_IP = "10.95.0.1"
NODE_LINK = "wt-node"
POD_LINK = "wt-pods"
POD_CIDR = "10.244.0.0/16"
SERVICE_CIDR = "10.96.0.0/16"
API_SERVICE_IP = "10.96.0.1"
DNS_SERVICE_IP = "10.96.0.10"
API_PORT = 6443
REGISTRY = "127.0.0.1:5000"
PROVISIONER = "windtunnel.dev/directory"

SOURCE = Path(__file__).resolve().parent
MARKER = "windtunnel-cluster"


@dataclass(frozen=True)
class Layout:
    """The three directories that the tool writes to.

    cache: outlives clusters and checkouts; all of it can be made again.
    state: one cluster's own; `down` deletes it.
    run: sockets, mounts and network namespaces; gone after a reboot. Fixed: one cluster fits a machine.
    """

    cache: Path
    state: Path
    run: Path = Path("/run/windtunnel-cluster")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Layout:
        """Read XDG_CACHE_HOME, XDG_STATE_HOME and WINDTUNNEL_CLUSTER_STATE."""
        cache = Path(environment.get("XDG_CACHE_HOME") or "/var/cache") / "windtunnel"
        state = environment.get("WINDTUNNEL_CLUSTER_STATE")
        home = Path(environment.get("XDG_STATE_HOME") or "/var/lib") / "windtunnel"
        return cls(cache=cache.absolute(), state=Path(state).absolute() if state else home / "cluster")

    @property
    def kubeconfig(self) -> Path:
        return self.state / "kubeconfig"

    @property
    def pki(self) -> Path:
        return self.state / "pki"

    @property
    def volumes(self) -> Path:
        return self.state / "volumes"

    @property
    def containerd_socket(self) -> Path:
        return self.run / "containerd.sock"

    def log(self, component: str) -> Path:
        return self.state / "log" / f"{component}.log"

    def claim_state(self) -> None:
        """Make the state directory ours, or refuse one that holds something else: `down` deletes it whole."""
        marker = self.state / MARKER
        if self.state.is_dir() and any(self.state.iterdir()) and not marker.exists():
            raise ClusterError(
                f"{self.state} holds files that are not this cluster's. "
                "Name an empty or new directory by WINDTUNNEL_CLUSTER_STATE."
            )
        self.state.mkdir(parents=True, exist_ok=True, mode=0o711)
        marker.touch()

    def holds_cluster(self) -> bool:
        return (self.state / MARKER).exists()


@contextmanager
def locked(path: Path, busy: str, wait: bool) -> Iterator[None]:
    """Hold an exclusive lock that the kernel releases when the process ends, however it ends.

    Raises ClusterError(busy) if another process holds it and `wait` is false.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ClusterError(busy) from error
        # A child that outlives us must not inherit the lock; Python's files are close-on-exec.
        yield


def write(path: Path, text: str) -> Path:
    """Write a file whole, and only if it differs: processes watch some of them."""
    if not path.exists() or path.read_text() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f".{path.name}.new")
        new.write_text(text)
        new.replace(path)
    return path


def require_root() -> None:
    if os.geteuid() != 0:
        raise ClusterError("starting and stopping a cluster needs root: run it with sudo, or in a root shell")
