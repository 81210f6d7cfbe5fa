"""containerd: its configuration, the image that pods of the cluster itself run, and what it leaves behind."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import subprocess
import tarfile
import tempfile
from typing import IO, TYPE_CHECKING, Any

from builds import KUBE, PAUSE
from errors import ClusterError
from layout import REGISTRY, write
from progress import say

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from layout import Layout

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def image_name() -> str:
    """The image of /kube (for CoreDNS) and /pause, named by what it is made from."""
    return f"localhost/windtunnel-kube:{KUBE.key()}-{PAUSE.key()}"


def write_config(layout: Layout) -> Path:
    """Write containerd's configuration. Images stay in the cache: the next cluster has them at once."""
    registries = layout.state / "containerd" / "certs.d"
    write(registries / REGISTRY / "hosts.toml", f'server = "http://{REGISTRY}"\n[host."http://{REGISTRY}"]\n')
    text = f"""\
version = 2
root = "{layout.cache / "containerd"}"
state = "{layout.run / "containerd"}"
[grpc]
  address = "{layout.containerd_socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{layout.cache / "containerd" / "opt"}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{image_name()}"
  # Without CAP_SYS_RESOURCE no score may be lowered, and every sandbox would fail.
  restrict_oom_score_adj = true
  # Below `run`, so that `down` finds them.
  netns_mounts_under_state_dir = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{registries}"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{layout.state / "cni" / "net.d"}"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
"""
    return write(layout.state / "containerd" / "config.toml", text)


def answers(layout: Layout) -> bool:
    """Whether containerd serves requests, not only listens."""
    return layout.containerd_socket.exists() and _ctr(layout, "version").returncode == 0


def ensure_image(layout: Layout) -> None:
    """Import the cluster's own image unless containerd has it."""
    name = image_name()
    if name in _ctr(layout, "images", "list", "-q", f"name=={name}").stdout.split():
        return
    say(f"importing {name}")
    with tempfile.NamedTemporaryFile(dir=layout.state, suffix=".tar") as archive:
        write_image(archive, name, {"kube": KUBE.path(layout), "pause": PAUSE.path(layout)}, ["/pause"])
        archive.flush()
        done = _ctr(layout, "images", "import", archive.name)
    if done.returncode != 0:
        raise ClusterError(f"containerd does not take the image {name}: {done.stderr}")


def write_image(out: IO[bytes], name: str, files: dict[str, Path], entrypoint: Sequence[str]) -> None:
    """Write an OCI image archive with one layer, the files in its root.

    https://github.com/opencontainers/image-spec/blob/main/image-layout.md
    """
    layer = _layer(files)
    platform_of = {"os": "linux", "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine())}
    config = _json(
        {
            **platform_of,
            "config": {"Entrypoint": list(entrypoint), "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        }
    )
    oci = "application/vnd.oci.image"
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": f"{oci}.manifest.v1+json",
            "config": _descriptor(f"{oci}.config.v1+json", config),
            "layers": [_descriptor(f"{oci}.layer.v1.tar", layer)],
        }
    )
    entry = _descriptor(f"{oci}.manifest.v1+json", manifest)
    entry |= {"platform": platform_of, "annotations": {"io.containerd.image.name": name}}
    with tarfile.open(fileobj=out, mode="w|") as archive:
        _add(archive, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        _add(archive, "index.json", _json({"schemaVersion": 2, "manifests": [entry]}))
        for blob in (manifest, config, layer):
            _add(archive, f"blobs/{_digest(blob).replace(':', '/')}", blob)


def _layer(files: dict[str, Path]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as layer:
        for target, source in files.items():
            _add(layer, target, source.read_bytes(), 0o755)
    return buffer.getvalue()


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), mode
    archive.addfile(info, io.BytesIO(content))


def _descriptor(media_type: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": _digest(content), "size": len(content)}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def forget_containers(layout: Layout) -> int:
    """Remove the records of containers that an earlier cluster left behind; none may be running."""
    if not answers(layout):
        return 0
    leftovers = _ctr(layout, "containers", "list", "-q").stdout.split()
    if leftovers:
        _ctr(layout, "containers", "delete", *leftovers)
    return len(leftovers)


def _ctr(layout: Layout, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["ctr", "--address", str(layout.containerd_socket), "--connect-timeout", "2s"]
    command += ["--namespace", "k8s.io", *arguments]
    return subprocess.run(command, text=True, capture_output=True)
