"""What the chart tells the controller, by its environment."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from windtunnel.errors import PermanentError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class ControllerConfig:
    """One controller serves one namespace."""

    namespace: str
    serving_image: str
    pull_policy: str
    service_account: str
    """Of the serving pods."""
    configmap: str
    """Its keys become the serving pods' environment."""
    secrets: tuple[str, ...]
    """Their keys, too."""
    name_prefix: str
    """The release's full name; stamped on what is made."""
    checksum: str
    """Changes when configmap or secrets do, which rolls the pods."""
    egress: tuple[dict[str, Any], ...] | None
    """NetworkPolicy rules of all that serving pods may reach; None for no policy at all."""
    pod: Mapping[str, Any]
    """What the chart's values add to the spec of every pod: pull secrets, node selection."""
    annotations: Mapping[str, str]
    """The same for the annotations of every pod."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> ControllerConfig:
        """Raises PermanentError that names every variable which is missing."""
        required = ("POD_NAMESPACE", "WINDTUNNEL_SERVING_IMAGE", "WINDTUNNEL_SERVING_SERVICE_ACCOUNT")
        if missing := [name for name in required if not environ.get(name)]:
            raise PermanentError(
                f"not set: {', '.join(missing)}", where="environment", fix="the chart sets them"
            )
        return cls(
            namespace=environ["POD_NAMESPACE"],
            serving_image=environ["WINDTUNNEL_SERVING_IMAGE"],
            pull_policy=environ.get("WINDTUNNEL_SERVING_PULL_POLICY", "IfNotPresent"),
            service_account=environ["WINDTUNNEL_SERVING_SERVICE_ACCOUNT"],
            configmap=environ.get("WINDTUNNEL_SERVING_CONFIGMAP", ""),
            secrets=tuple(filter(None, environ.get("WINDTUNNEL_SERVING_SECRET", "").split(","))),
            name_prefix=environ.get("WINDTUNNEL_NAME_PREFIX", "windtunnel"),
            checksum=environ.get("WINDTUNNEL_SERVING_CHECKSUM", ""),
            egress=_egress(environ),
            pod=_mapping(environ, "WINDTUNNEL_SERVING_POD"),
            annotations=_mapping(environ, "WINDTUNNEL_SERVING_ANNOTATIONS"),
        )


def _egress(environ: Mapping[str, str]) -> tuple[dict[str, Any], ...] | None:
    rules = _json(environ, "WINDTUNNEL_SERVING_EGRESS", None)
    if rules is not None and not isinstance(rules, list):
        raise PermanentError("not a list of rules", where="WINDTUNNEL_SERVING_EGRESS")
    return None if rules is None else tuple(rules)


def _mapping(environ: Mapping[str, str], name: str) -> dict[str, Any]:
    value = _json(environ, name, {})
    if not isinstance(value, dict):
        raise PermanentError("not a mapping", where=name)
    return value


def _json(environ: Mapping[str, str], name: str, default: Any) -> Any:
    if not environ.get(name):
        return default
    try:
        return json.loads(environ[name])
    except ValueError as error:
        raise PermanentError(f"not JSON: {error}", where=name) from error
