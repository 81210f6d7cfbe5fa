"""The API server that a kubeconfig names, reached from somebody's own machine.

Kubeconfigs hold exec plugins, proxies and more, which only the official client understands; so the command
line uses it, and nothing else in Windtunnel does.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from windtunnel.errors import PermanentError, TemporaryError, WindtunnelError
from windtunnel.kube import JSON, answer_error

if TYPE_CHECKING:
    from collections.abc import Mapping

_SECONDS: Final = 10.0


@dataclass(frozen=True)
class ClusterApi:
    """One context of a kubeconfig. See kube.KubernetesApi, whose `request` it has."""

    client: Any
    context: str
    namespace: str
    """The context's own; callers may use others."""

    def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
        content_type: str = JSON,
    ) -> dict[str, Any]:
        """The decoded answer. Raises NotFoundError, ConflictError, PermanentError (4xx) or TemporaryError."""
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        where = f"kubernetes {method} {path}"
        configuration = self.client.configuration
        headers = {"Accept": JSON, "User-Agent": "windtunnel", "Content-Type": content_type}
        try:
            # An exec plugin is asked again when its token has expired.
            headers |= {one["key"]: one["value"] for one in configuration.auth_settings().values()}
            answer = self.client.rest_client.request(
                method,
                configuration.host + path,
                query_params=list((query or {}).items()),
                headers=headers,
                body=None if body is None else dict(body),
                _request_timeout=_SECONDS,
            )
        except ApiException as error:
            if not error.status:
                raise TemporaryError(f"no answer from the API server: {error.reason}", where=where) from error
            content = error.body or b""
            raw = content.encode() if isinstance(content, str) else content
            raise answer_error(error.status, raw, where) from error
        except (HTTPError, OSError) as error:
            raise TemporaryError(
                f"no answer from the API server: {error}", where=where, fix="is the cluster up? try again"
            ) from error
        decoded: dict[str, Any] = json.loads(answer.data)
        return decoded

    def user(self) -> str:
        """Who the API server takes us for; empty when it does not tell."""
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        try:
            answer = self.request("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", review)
        except WindtunnelError:
            return ""
        return str(answer.get("status", {}).get("userInfo", {}).get("username", ""))


def has_kubeconfig(environ: Mapping[str, str]) -> bool:
    """Whether there is one to be used."""
    named = [Path(one) for one in environ.get("KUBECONFIG", "").split(":") if one]
    return any(one.expanduser().is_file() for one in named or [Path("~/.kube/config")])


def connect(context: str | None) -> ClusterApi:
    """By the kubeconfig that KUBECONFIG names, or ~/.kube/config; None: its current context."""
    try:
        import yaml
        from kubernetes import client, config
        from kubernetes.config.config_exception import ConfigException
    except ImportError as error:
        raise PermanentError(
            "the Kubernetes client is not installed", where="python", fix="pip install 'windtunnel[cli]'"
        ) from error
    try:
        contexts, current = config.list_kube_config_contexts()
        chosen = next((one for one in contexts if one["name"] == context), None) if context else current
        if chosen is None:
            names = ", ".join(one["name"] for one in contexts)
            raise PermanentError(
                f"there is no context {context!r}", where="kubeconfig", fix=f"there are {names}"
            )
        settings = client.Configuration()
        settings.retries = False  # who watches sees it, and who writes looks again
        config.load_kube_config(context=chosen["name"], client_configuration=settings)
    except (ConfigException, OSError, KeyError, TypeError, yaml.YAMLError) as error:
        raise PermanentError(
            f"it cannot be used: {error}", where="kubeconfig", fix="does `kubectl get pods` work?"
        ) from error
    namespace = chosen.get("context", {}).get("namespace") or "default"
    return ClusterApi(client.ApiClient(settings), chosen["name"], namespace)
