"""`python -m windtunnel.serving`: serve the model that a ServedModel names."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import uvloop

from windtunnel.errors import EXIT_PERMANENT, WindtunnelError
from windtunnel.features.online.redis_address import SCHEMES, RedisAddress
from windtunnel.features.online.redis_connection import RedisConnection
from windtunnel.kube import KubernetesApi
from windtunnel.objects import open_store
from windtunnel.serving.challenger import Challenger
from windtunnel.serving.challenger_command import challenger_command, challenger_memory
from windtunnel.serving.loader import BundleLoader
from windtunnel.serving.log_keeper import LogKeeper, log_command
from windtunnel.serving.memory import MIB, Room, container_limit
from windtunnel.serving.metrics import Metrics
from windtunnel.serving.prediction_log import PredictionLog
from windtunnel.serving.server import serve
from windtunnel.serving.watcher import follow_file, follow_kubernetes
from windtunnel.settings import Settings, without_credentials

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence
    from threading import Event

log = logging.getLogger(__name__)

_STORE_PATIENCE: Final = 5.0
"""Seconds that the object store gets before a load counts as failed and is tried again: a rollback must not
wait behind it."""
_ONLINE_TIMEOUT: Final = 1.0
"""Seconds that the online store gets to connect, and to answer."""


def main(arguments: Sequence[str]) -> int:
    """Returns the process's exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    metrics = Metrics()
    try:
        settings = Settings.from_environment(os.environ)
        online_store = _online_store(settings)
        loader = BundleLoader(
            open_store(settings.store, os.environ, patience_seconds=_STORE_PATIENCE), online_store
        )
        follow = _follower(options, metrics)
    except WindtunnelError as error:
        log.error("%s", error)
        return EXIT_PERMANENT
    prediction_log = PredictionLog(
        metrics.log,
        LogKeeper(log_command(options.log_seconds), metrics.log),
        options.log_buffer_mib * MIB,
    )
    serving = serve(
        follow,
        loader,
        Room(container_limit(), challenger_memory(options.challenger_memory_mib), loader.size),
        Challenger(
            metrics,
            challenger_command(options.challenger_memory_mib),
            loader.interface,
            prediction_log.record,
        ),
        metrics,
        prediction_log,
        host=options.host,
        port=options.port,
        drain_seconds=options.drain_seconds,
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_closing(online_store, serving))
    return 0


async def _closing(online_store: RedisConnection | None, serving: Coroutine[Any, Any, None]) -> None:
    try:
        await serving
    finally:
        if online_store is not None:
            await online_store.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m windtunnel.serving", description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--name", help="ServedModel to follow in the Kubernetes API")
    source.add_argument("--file", type=Path, help="follow a ServedModel in a JSON file instead")
    parser.add_argument("--namespace", help="the ServedModel's namespace (default: the pod's own)")
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument(
        "--drain-seconds", type=float, default=5.0, help="how long to answer after SIGTERM (default: 5)"
    )
    parser.add_argument(
        "--challenger-memory-mib",
        type=int,
        help="memory that a challenger's process may take (default: half of the container's limit)",
    )
    parser.add_argument(
        "--log-seconds",
        type=float,
        default=30.0,
        help="how long predictions are gathered into a file of the prediction log (default: 30)",
    )
    parser.add_argument(
        "--log-buffer-mib",
        type=int,
        default=16,
        help="how much of the prediction log may wait for the object store (default: 16)",
    )
    return parser


def _follower(options: argparse.Namespace, metrics: Metrics) -> Callable[[Event], Iterator[dict[str, Any]]]:
    connected = metrics.watch_connected.set
    if options.file:
        return partial(follow_file, options.file, connected)
    api = KubernetesApi.connect(os.environ)
    return partial(follow_kubernetes, api, options.namespace or api.namespace, options.name, connected)


def _online_store(settings: Settings) -> RedisConnection | None:
    """Raises PermanentError for an address that is none."""
    if not settings.online_store:
        return None
    if not settings.online_store.startswith(SCHEMES):
        # what a laptop's stages write; serving there is asked by vector
        log.warning(
            "serving reads online features from Redis only, not from %s",
            without_credentials(settings.online_store),
        )
        return None
    address = RedisAddress.parse(settings.online_store, settings.online_store_password)
    return RedisConnection(address, timeout=_ONLINE_TIMEOUT)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
