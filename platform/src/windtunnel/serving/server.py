"""The process: one event loop with the HTTP server in it, two threads that follow the ServedModel, and an end
in peace."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import threading
from typing import TYPE_CHECKING, Final

from windtunnel.serving.app import App
from windtunnel.serving.dataplane import Dataplane
from windtunnel.serving.http_server import HttpServer
from windtunnel.serving.retirement import retire
from windtunnel.serving.updater import Updater
from windtunnel.serving.warm import WarmVersions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from windtunnel.serving.challenger import Challenger
    from windtunnel.serving.memory import Room
    from windtunnel.serving.metrics import Metrics
    from windtunnel.serving.prediction_log import PredictionLog
    from windtunnel.serving.updater import Loader

log = logging.getLogger(__name__)

_FINISH: Final = 15.0
"""Seconds that requests in flight get after the drain period."""
_LOG_SECONDS: Final = 8.0
"""Seconds that the rest of the prediction log gets to be stored; within the pod's grace with all else."""


async def serve(
    follow: Callable[[threading.Event], Iterator[dict[str, Any]]],
    load: Loader,
    room: Room,
    challenger: Challenger,
    metrics: Metrics,
    prediction_log: PredictionLog,
    *,
    host: str,
    port: int,
    drain_seconds: float,
) -> None:
    """Serve until SIGTERM or SIGINT.

    Then readiness fails and each answer closes its connection, requests are still answered for
    `drain_seconds` (until the last load balancer has heard of it), those in flight are finished, and what is
    left of the prediction log is stored.
    """
    loop = asyncio.get_running_loop()
    dataplane = Dataplane(metrics, challenger, prediction_log)
    app = App(dataplane, metrics)
    warm = WarmVersions(
        load, room, metrics, lambda told: loop.call_soon_threadsafe(setattr, dataplane, "warm", told)
    )
    updater = Updater(dataplane, load, warm, metrics, loop.call_soon_threadsafe)
    ended = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, ended.set)
    stop = threading.Event()
    for name, target in (
        ("follow", lambda: updater.follow(follow(stop))),
        ("update", updater.run),
        ("warm", warm.run),
    ):
        threading.Thread(target=target, name=name, daemon=True).start()
    retiring = asyncio.create_task(retire(dataplane, metrics))
    # What was imported stays: the collector need not look through it while requests wait.
    gc.freeze()
    server = HttpServer(app)
    await server.start(host, port)
    log.info("listening on %s:%s", host, port)
    await ended.wait()
    stop.set()
    updater.stop()
    warm.stop()
    retiring.cancel()
    app.draining = server.draining = True
    log.info("shutting down: answering for %.0f s more", drain_seconds)
    await asyncio.sleep(drain_seconds)
    await server.close(_FINISH)
    await challenger.stop()
    await prediction_log.close(_LOG_SECONDS)
    log.info("ended")
