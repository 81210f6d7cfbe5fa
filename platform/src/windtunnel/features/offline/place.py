"""Where parquet files are: a path or an S3 URI, with what it takes to reach them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from windtunnel.errors import DataError
from windtunnel.objects import open_store

if TYPE_CHECKING:
    from collections.abc import Mapping

    from windtunnel.objects import ObjectStore


@dataclass(frozen=True)
class Place:
    """Where parquet files are: `uri` is a path or `s3://bucket/key`, of a file, a directory or a glob."""

    uri: str
    endpoint: str = ""
    """Of S3, in place of AWS_ENDPOINT_URL."""
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)
    """AWS_… names that go before the environment's."""

    @property
    def remote(self) -> bool:
        return self.uri.startswith("s3://")

    @property
    def path(self) -> str:
        """Of a local place."""
        return unquote(urlsplit(self.uri).path) if self.uri.startswith("file://") else self.uri

    def environment(self) -> dict[str, str]:
        """The AWS_… variables that count here."""
        merged = {**os.environ, **self.credentials}
        if self.endpoint:
            merged["AWS_ENDPOINT_URL_S3"] = self.endpoint
        if "AWS_REGION" not in merged and "AWS_DEFAULT_REGION" in merged:
            merged["AWS_REGION"] = merged["AWS_DEFAULT_REGION"]
        return merged

    def options(self) -> dict[str, str] | None:
        """For polars; None for a local place."""
        if not self.remote:
            return None
        environment = self.environment()
        endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")
        options = {"aws_region": environment.get("AWS_REGION") or "us-east-1"}
        if endpoint:
            options |= {"aws_endpoint_url": endpoint, "aws_virtual_hosted_style_request": "false"}
            if endpoint.startswith("http://"):
                options["aws_allow_http"] = "true"
        for name in ("access_key_id", "secret_access_key", "session_token"):
            if value := environment.get(f"AWS_{name.upper()}"):
                options[f"aws_{name}"] = value
        return options

    def folder(self) -> tuple[ObjectStore, str]:
        """The folder to write to as a store, and the file's name in it if this is a single file.

        `folder/*.parquet` stands for its folder. Raises DataError for other globs.
        """
        whole = self.uri if self.remote else self.path
        parent, _, name = whole.rstrip("/").rpartition("/")
        if name == "*.parquet":
            whole, name = parent, ""
        elif name.endswith(".parquet") and not (not self.remote and Path(whole).is_dir()):
            whole = parent
        else:
            name = ""
        if any(mark in whole + name for mark in "*?["):
            raise DataError("nothing can be written to a glob", where=self.uri, fix="name a folder")
        return open_store(whole or ".", self.environment()), name
