"""A small Kubernetes API client on the standard library.

For the few verbs that Windtunnel needs (get, list, create, replace, patch, watch) it replaces the official
client, which costs each serving pod and controller a second of start and 60 MB. Every call opens its own
connection, so a client may be shared by threads.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode, urlsplit

from windtunnel.errors import ConflictError, DeniedError, NotFoundError, PermanentError, TemporaryError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
APPLY: Final = "application/apply-patch+yaml"
MERGE: Final = "application/merge-patch+json"
JSON: Final = "application/json"


def object_path(
    group_version: str, namespace: str, plural: str, name: str = "", subresource: str = ""
) -> str:
    """URL path of a namespaced object, of its subresource, or of the collection when no name is given."""
    root = "/api/v1" if group_version == "v1" else f"/apis/{group_version}"
    parts = [part for part in ("namespaces", namespace, plural, name, subresource) if part]
    return "/".join([root, *(quote(part, safe="") for part in parts)])


@dataclass(frozen=True)
class KubernetesApi:
    """One API server and the right to talk to it."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    namespace: str
    """The namespace that the credentials belong to; callers may use others."""
    token_file: Path | None = None
    """Read for every call, because kubelet renews it."""
    token: str | None = None
    timeout: float = 10.0
    """Seconds without a byte before a call fails."""

    @classmethod
    def connect(cls, environ: Mapping[str, str]) -> KubernetesApi:
        """The API server of the pod's service account or, outside a cluster, of the file that KUBECONFIG
        names."""
        if "KUBERNETES_SERVICE_HOST" in environ and SERVICE_ACCOUNT.is_dir():
            return cls.in_cluster(environ)
        if "KUBECONFIG" in environ:
            return cls.from_kubeconfig(Path(environ["KUBECONFIG"]))
        raise PermanentError(
            "no Kubernetes API server is known",
            where="kubernetes",
            fix="run in a pod whose service account token is mounted, or set KUBECONFIG",
        )

    @classmethod
    def in_cluster(cls, environ: Mapping[str, str]) -> KubernetesApi:
        """By the service account that is mounted into every pod which wants one."""
        return cls(
            host=environ["KUBERNETES_SERVICE_HOST"],
            port=int(environ.get("KUBERNETES_SERVICE_PORT", "443")),
            tls=ssl.create_default_context(cafile=str(SERVICE_ACCOUNT / "ca.crt")),
            namespace=(SERVICE_ACCOUNT / "namespace").read_text().strip(),
            token_file=SERVICE_ACCOUNT / "token",
        )

    @classmethod
    def from_kubeconfig(cls, path: Path) -> KubernetesApi:
        """By the current context of a kubeconfig with a token or a client certificate (for developers)."""
        import yaml  # not needed in a pod

        config = yaml.safe_load(path.read_text())
        context = _named(config["contexts"], config["current-context"])["context"]
        cluster = _named(config["clusters"], context["cluster"])["cluster"]
        user = _named(config["users"], context["user"])["user"]
        address = urlsplit(cluster["server"])
        tls = None
        if address.scheme == "https":
            tls = ssl.create_default_context(
                cafile=cluster.get("certificate-authority"),
                cadata=_decoded(cluster.get("certificate-authority-data")),
            )
            _load_client_certificate(tls, user)
        return cls(
            host=address.hostname or "localhost",
            port=address.port or (443 if tls else 80),
            tls=tls,
            namespace=context.get("namespace", "default"),
            token=user.get("token"),
        )

    def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
        content_type: str = JSON,
    ) -> dict[str, Any]:
        """The decoded answer. Raises NotFoundError, ConflictError, DeniedError, PermanentError (other 4xx) or
        TemporaryError."""
        where = f"kubernetes {method} {path}"
        with self._send(method, path, body, query, content_type, where, self.timeout) as response:
            try:
                return json.loads(response.read()) if response.length != 0 else {}
            except (OSError, ValueError, http.client.HTTPException) as error:
                raise TemporaryError(f"answer broke off: {error}", where=where) from error

    def watch(self, path: str, query: Mapping[str, str], seconds: int = 60) -> Iterator[dict[str, Any]]:
        """Events ({type, object}) as they come, for at most `seconds`.

        The server ends the watch then, and the socket gives up soon after if the server is gone without a
        word, so a caller that starts again from the last resourceVersion is never deaf for long. Raises like
        `request`.
        """
        where = f"kubernetes WATCH {path}"
        query = {**query, "watch": "1", "timeoutSeconds": str(seconds)}
        with self._send("GET", path, None, query, JSON, where, seconds + 10) as response:
            try:
                while line := response.readline():
                    yield json.loads(line)
            except (OSError, ValueError, http.client.HTTPException) as error:
                raise TemporaryError(f"watch broke off: {error}", where=where) from error

    @contextlib.contextmanager
    def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        query: Mapping[str, str] | None,
        content_type: str,
        where: str,
        timeout: float,
    ) -> Iterator[http.client.HTTPResponse]:
        connection = (
            http.client.HTTPSConnection(self.host, self.port, timeout=timeout, context=self.tls)
            if self.tls
            else http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        )
        headers = {"Accept": JSON, "User-Agent": "windtunnel"}
        if token := self._token(where):
            headers["Authorization"] = f"Bearer {token}"
        if body is not None:
            headers["Content-Type"] = content_type
        target = f"{path}?{urlencode(query)}" if query else path
        with contextlib.closing(connection):
            try:
                connection.request(
                    method, target, None if body is None else json.dumps(body).encode(), headers
                )
                response = connection.getresponse()
                if response.status >= 400:
                    raise answer_error(response.status, response.read(), where)
            except (OSError, http.client.HTTPException) as error:
                raise TemporaryError(
                    f"no answer from the API server: {error}",
                    where=where,
                    fix="try again; is the API server up?",
                ) from error
            yield response

    def _token(self, where: str) -> str | None:
        if self.token_file is None:
            return self.token
        try:
            return self.token_file.read_text().strip()
        except OSError as error:
            # kubelet may be about to replace it; whoever follows an object must not end over that
            raise TemporaryError(f"no token: {error}", where=where) from error


def answer_error(status: int, body: bytes, where: str) -> PermanentError | TemporaryError:
    """The error that an answer of the API server stands for."""
    try:
        answer = json.loads(body)
        message = f"{answer['message']} ({status} {answer.get('reason', '')})"
    except (ValueError, KeyError, TypeError):
        message = f"{status}: {body[:200].decode(errors='replace')}"
    if status in (401, 403):
        return DeniedError(message, where=where)
    if status == 404:
        return NotFoundError(message, where=where)
    if status == 409:
        return ConflictError(message, where=where)
    if status == 429 or status >= 500:
        return TemporaryError(message, where=where)
    return PermanentError(message, where=where)


def _named(entries: list[dict[str, Any]], name: str) -> dict[str, Any]:
    for entry in entries:
        if entry["name"] == name:
            return entry
    raise PermanentError(f"{name!r} is not defined", where="kubeconfig", fix="check its current-context")


def _decoded(data: str | None) -> str | None:
    return None if data is None else base64.b64decode(data).decode()


def _load_client_certificate(tls: ssl.SSLContext, user: Mapping[str, str]) -> None:
    if "client-certificate" in user:
        tls.load_cert_chain(user["client-certificate"], user["client-key"])
    elif "client-certificate-data" in user:
        # the ssl module reads client keys from files only; this one is gone when the block ends
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
            file.write(_decoded(user["client-certificate-data"]) or "")
            file.write("\n" + (_decoded(user["client-key-data"]) or ""))
            file.flush()
            tls.load_cert_chain(file.name)
