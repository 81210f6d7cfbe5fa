"""`python -m windtunnel.exporter`: show what one release recorded, until SIGTERM."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Final

from windtunnel.errors import EXIT_PERMANENT, WindtunnelError
from windtunnel.exporter.config import ExporterConfig
from windtunnel.exporter.http_server import MetricsServer
from windtunnel.exporter.refresher import Refresher
from windtunnel.exporter.served_models import list_served_models
from windtunnel.kube import KubernetesApi
from windtunnel.objects import open_store
from windtunnel.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from windtunnel.spec.servedmodel import ServedModel

_PATIENCE_SECONDS: Final = 10.0
"""With the object store, at each try: the next look comes soon."""


def main() -> int:
    """Returns the process's exit code."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    try:
        config = ExporterConfig.from_environment(os.environ)
        store = open_store(
            Settings.from_environment(os.environ).store,
            os.environ,
            patience_seconds=_PATIENCE_SECONDS,
            request_seconds=_PATIENCE_SECONDS,
        )
        refresher = Refresher(store, _served(config))
    except WindtunnelError as error:
        logging.getLogger(__name__).error("%s", error)
        return EXIT_PERMANENT
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with MetricsServer(refresher) as server:
        threading.Thread(target=server.serve_forever, name="http", daemon=True).start()
        refresher.run(config.refresh_seconds, stop)
        server.shutdown()
    return 0


def _served(config: ExporterConfig) -> Callable[[Callable[[str], None]], dict[str, ServedModel]]:
    """How ServedModels are listed; outside of a cluster there are none. Raises PermanentError."""
    if not config.namespace:
        return lambda _: {}
    api = KubernetesApi.connect(os.environ)
    return lambda fail: list_served_models(api, config.namespace, fail)


if __name__ == "__main__":
    sys.exit(main())
