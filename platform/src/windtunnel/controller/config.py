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
            egress=_egress(environ.get("WINDTUNNEL_SERVING_EGRESS", "")),
        )


def _egress(text: str) -> tuple[dict[str, Any], ...] | None:
    if not text:
        return None
    try:
        rules = json.loads(text)
    except ValueError as error:
        raise PermanentError(f"not JSON: {error}", where="WINDTUNNEL_SERVING_EGRESS") from error
    if not isinstance(rules, list):
        raise PermanentError("not a list of rules", where="WINDTUNNEL_SERVING_EGRESS")
    return tuple(rules)
