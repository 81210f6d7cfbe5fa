"""What a build needs to reach the package index from here, as build secrets: no layer keeps them."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_CERTIFICATES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_INDEX = (
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "UV_INDEX_URL",
    "UV_EXTRA_INDEX_URL",
    "UV_DEFAULT_INDEX",
    "UV_INDEX",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)


def write_secrets(environ: Mapping[str, str], directory: Path) -> list[str]:
    """Builder options that hand over the environment's certificates (`ca`) and index settings (`index`).

    The index settings may hold a password: they go into a file of `directory` that only its owner reads.
    """
    index = directory / "index"
    index.touch(mode=0o600)
    index.write_text(
        "".join(f"{name}={shlex.quote(environ[name])}\n" for name in _INDEX if environ.get(name))
    )
    options = ["--secret", f"id=index,src={index}"]
    authority = next((environ[name] for name in _CERTIFICATES if environ.get(name)), None)
    if authority:
        options += ["--secret", f"id=ca,src={authority}"]
    return options
