"""Lists what serves, from the Kubernetes API."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pydantic import ValidationError

from windtunnel.kube import object_path
from windtunnel.spec.servedmodel import API_VERSION, PLURAL, ServedModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from windtunnel.kube import KubernetesApi

log = logging.getLogger(__name__)


def list_served_models(
    api: KubernetesApi, namespace: str, fail: Callable[[str], None]
) -> dict[str, ServedModel]:
    """By lifecycle; `fail` is told of each object that is no ServedModel. Raises as KubernetesApi.request."""
    found = {}
    for item in api.request("GET", object_path(API_VERSION, namespace, PLURAL))["items"]:
        try:
            # Items of a list leave out what the list says of all.
            model = ServedModel.model_validate({**item, "apiVersion": API_VERSION, "kind": "ServedModel"})
        except ValidationError as error:
            name = item.get("metadata", {}).get("name", "?")
            log.warning("ServedModel %s: %s", name, str(error).partition("\n")[0])
            fail("served_models")
        else:
            found[model.spec.lifecycle] = model
    return found
