"""Follows a ServedModel: in the Kubernetes API with the pod's service account, or in a file.

A follower yields the object whenever it may have changed, and never ends before it is told to: whatever goes
wrong is logged, counted and tried again, while the server goes on answering with what it has.
"""

from __future__ import annotations

import json
import logging
import random
from typing import TYPE_CHECKING, Any, Final

from windtunnel.errors import NotFoundError, TemporaryError, WindtunnelError
from windtunnel.kube import object_path
from windtunnel.spec.servedmodel import API_VERSION, PLURAL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from threading import Event

    from windtunnel.kube import KubernetesApi

log = logging.getLogger(__name__)

_BACKOFF: Final = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds before the next try, by failures in a row."""
_FILE_POLL: Final = 0.2
"""Seconds between looks at a file."""


def follow_kubernetes(
    api: KubernetesApi, namespace: str, name: str, connected: Callable[[bool], None], stop: Event
) -> Iterator[dict[str, Any]]:
    """The ServedModel object at once and after each change, until `stop` is set."""
    path = object_path(API_VERSION, namespace, PLURAL, name)
    failures = 0
    while not stop.is_set():
        try:
            current = api.request("GET", path)
            connected(True)
            failures = 0
            yield current
            yield from _changes(api, namespace, name, current["metadata"]["resourceVersion"], stop)
        except NotFoundError:
            log.warning("ServedModel %s/%s does not exist", namespace, name)
            failures += 1
        except WindtunnelError as error:
            connected(False)
            log.warning("cannot follow ServedModel %s/%s: %s", namespace, name, error)
            failures += 1
        _pause(failures, stop)


def _changes(
    api: KubernetesApi, namespace: str, name: str, resource_version: str, stop: Event
) -> Iterator[dict[str, Any]]:
    """What changes after `resource_version`; ends when the watch must begin anew by reading the object."""
    collection = object_path(API_VERSION, namespace, PLURAL)
    query = {"fieldSelector": f"metadata.name={name}", "allowWatchBookmarks": "true"}
    while not stop.is_set():
        for event in api.watch(collection, {**query, "resourceVersion": resource_version}):
            if event["type"] == "ERROR":
                # 410 Gone: the server has forgotten this resourceVersion
                log.info("watch begins anew: %s", event["object"].get("message", ""))
                return
            resource_version = event["object"]["metadata"]["resourceVersion"]
            if event["type"] == "DELETED":
                log.warning("ServedModel %s/%s was deleted; its last version stays loaded", namespace, name)
            elif event["type"] != "BOOKMARK":
                yield event["object"]


def follow_file(path: Path, connected: Callable[[bool], None], stop: Event) -> Iterator[dict[str, Any]]:
    """The ServedModel object in a JSON file at once and after each change, until `stop` is set."""
    seen = b""
    failures = 0
    while not stop.is_set():
        try:
            content = path.read_bytes()
            if content != seen:
                yield _object(content)
                seen = content
            connected(True)
            failures = 0
        except (OSError, WindtunnelError) as error:
            connected(False)
            log.warning("cannot read ServedModel from %s: %s", path, error)
            failures += 1
        if failures:
            _pause(failures, stop)
        else:
            stop.wait(_FILE_POLL)


def _object(content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except ValueError as error:
        # its writer may be half way; the next look sees the whole
        raise TemporaryError(f"not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise TemporaryError("not a JSON object")
    return value


def _pause(failures: int, stop: Event) -> None:
    """Wait before the next try, with jitter, so that pods don't ask in step after an outage."""
    if failures:
        stop.wait(_BACKOFF[min(failures, len(_BACKOFF)) - 1] * random.uniform(0.7, 1.3))
