"""The few calls to an MLflow server that are made where MLflow is not installed: by the standard library.

The controller's image holds no MLflow (200 MB, three seconds to import), and the command line needs none to
ask what is registered. Local registries (`sqlite:///…`) have no server; `models.ModelRegistry` opens those.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlencode, urlsplit

from windtunnel.errors import NotFoundError, PermanentError, StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping

CHAMPION: Final = "champion"
DIGEST_TAG: Final = "windtunnel.bundle_digest"
BUNDLE_TAG: Final = "windtunnel.bundle"
_API: Final = "/api/2.0/mlflow"
_ABSENT: Final = ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND")


@dataclass(frozen=True)
class Registered:
    """A registered version: where its bundle is, and the bundle's digest."""

    version: str
    bundle: str
    digest: str


@dataclass(frozen=True)
class MlflowServer:
    """One server. Every method raises StoreError when it does not answer, and PermanentError when it refuses.

    A connection for each call, so it may be shared by threads.
    """

    shown: str
    """The address as errors may show it."""
    https: bool
    host: str
    port: int
    path: str
    """Of the server behind a proxy; "" or "/prefix"."""
    authorization: str = field(default="", repr=False)
    timeout: float = 10.0
    """Seconds without a byte before a call fails."""

    @classmethod
    def at(cls, uri: str, environ: Mapping[str, str], *, timeout: float = 10.0) -> MlflowServer:
        """By an http(s) tracking URI; credentials in it or, as MLflow itself takes them, in
        MLFLOW_TRACKING_USERNAME and _PASSWORD, or _TOKEN."""
        wrong = PermanentError(
            "this is no address of an MLflow server",
            where="MLFLOW_TRACKING_URI",
            fix="use http(s)://host[:port]; write / @ : in a password as %2F %40 %3A",
        )
        try:
            parts = urlsplit(uri)
            given = parts.port
        except ValueError:
            raise wrong from None  # what Python says shows a piece of the password
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise wrong
        https = parts.scheme == "https"
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        port = given or (443 if https else 80)
        return cls(
            shown=f"{parts.scheme}://{host}:{port}{parts.path.rstrip('/')}",
            https=https,
            host=parts.hostname,
            port=port,
            path=parts.path.rstrip("/"),
            authorization=_authorization(parts.username, parts.password, environ),
            timeout=timeout,
        )

    def champion_version(self, name: str) -> str | None:
        """The version that the alias `champion` names, or None."""
        try:
            model = self._call("GET", "registered-models/get", {"name": name})["registered_model"]
        except NotFoundError:
            return None
        aliases = {one["alias"]: str(one["version"]) for one in model.get("aliases") or ()}
        return aliases.get(CHAMPION)

    def set_champion(self, name: str, version: str) -> None:
        """Let the alias `champion` name this version. Raises NotFoundError when it is not registered."""
        body = {"name": name, "alias": CHAMPION, "version": version}
        self._call("POST", "registered-models/alias", body)

    def registered(self, name: str, version: str) -> Registered:
        """Raises NotFoundError."""
        found = self._call("GET", "model-versions/get", {"name": name, "version": version})["model_version"]
        tags = {tag["key"]: str(tag.get("value", "")) for tag in found.get("tags") or ()}
        return Registered(
            version=str(found["version"]),
            bundle=tags.get(BUNDLE_TAG, str(found.get("source", ""))),
            digest=tags.get(DIGEST_TAG, ""),
        )

    def _call(self, method: str, endpoint: str, content: Mapping[str, str]) -> dict[str, Any]:
        where = f"{self.shown} {endpoint}"
        target, body = f"{self.path}{_API}/{endpoint}", None
        headers = {"Accept": "application/json", "User-Agent": "windtunnel"}
        if self.authorization:
            headers["Authorization"] = self.authorization
        if method == "GET":
            target += "?" + urlencode(content)
        else:
            headers["Content-Type"] = "application/json"
            body = json.dumps(content).encode()
        connection = (
            http.client.HTTPSConnection(
                self.host, self.port, timeout=self.timeout, context=ssl.create_default_context()
            )
            if self.https
            else http.client.HTTPConnection(self.host, self.port, timeout=self.timeout)
        )
        with contextlib.closing(connection):
            try:
                connection.request(method, target, body, headers)
                response = connection.getresponse()
                status, answer = response.status, response.read()
            except (OSError, http.client.HTTPException) as error:
                raise StoreError(
                    f"MLflow does not answer: {error or type(error).__name__}",
                    where=where,
                    fix="is its server up? try again",
                ) from error
        return _decoded(status, answer, where)


def _decoded(status: int, answer: bytes, where: str) -> dict[str, Any]:
    try:
        content = json.loads(answer) if answer else {}
    except ValueError:
        content = None
    if status < 300 and isinstance(content, dict):
        return content
    said = content if isinstance(content, dict) else {}
    text = str(said.get("message") or answer[:200].decode(errors="replace") or "no text").partition("\n")[0]
    text = f"{text[:300]} (HTTP {status})"
    if said.get("error_code") in _ABSENT:
        raise NotFoundError(f"MLflow: {text}", where=where)
    if status == 403 and "Host header" in text:
        raise PermanentError(
            f"MLflow refused: {text}", where=where, fix="add the name to mlflow.allowedHosts of the chart"
        )
    if status in (408, 429) or status >= 500 or status < 300:
        raise StoreError(f"MLflow failed: {text}", where=where, fix="is its server up? try again")
    raise PermanentError(f"MLflow refused: {text}", where=where)


def _authorization(user: str | None, password: str | None, environ: Mapping[str, str]) -> str:
    if token := environ.get("MLFLOW_TRACKING_TOKEN"):
        return f"Bearer {token}"
    user = unquote(user) if user else environ.get("MLFLOW_TRACKING_USERNAME", "")
    password = unquote(password) if password else environ.get("MLFLOW_TRACKING_PASSWORD", "")
    if not user:
        return ""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
