"""Asks a registry on the loopback what it has; pushing is the builder's."""

from __future__ import annotations

import urllib.error
import urllib.request

_ACCEPT = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"


def is_loopback(registry: str) -> bool:
    """Whether the registry is on this machine: then it needs no TLS, and nothing is compressed for it."""
    host = registry.split("/", 1)[0].rsplit(":", 1)[0]
    return host in {"localhost", "127.0.0.1", "[::1]"}


def has(registry: str, repository: str, tag: str) -> bool:
    """Whether a loopback registry holds this image; False also if it does not answer."""
    host, _, prefix = registry.partition("/")
    path = f"{prefix}/{repository}" if prefix else repository
    request = urllib.request.Request(
        f"http://{host}/v2/{path}/manifests/{tag}", method="HEAD", headers={"Accept": _ACCEPT}
    )
    # No proxy: the loopback is here.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, TimeoutError):
        return False
