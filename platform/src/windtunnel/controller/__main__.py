"""`python -m windtunnel.controller`: keep the ServedModels of one namespace."""

from __future__ import annotations

import logging
import os
import sys
from typing import Final

import kopf

from windtunnel.controller.by_hand import ByHand
from windtunnel.controller.challenger_guard import ChallengerGuard
from windtunnel.controller.cluster import Cluster
from windtunnel.controller.config import ControllerConfig
from windtunnel.controller.handlers import register
from windtunnel.controller.keeper import Keeper
from windtunnel.controller.recorder import Recorder
from windtunnel.controller.scrape import Scraper
from windtunnel.errors import EXIT_PERMANENT, WindtunnelError
from windtunnel.kube import KubernetesApi
from windtunnel.objects import open_store
from windtunnel.registry.mlflow_http import MlflowServer
from windtunnel.rollout.served_models import KubernetesServedModels
from windtunnel.settings import Settings

_LIVENESS: Final = "http://0.0.0.0:8080/healthz"
_PATIENCE_SECONDS: Final = 5.0
"""With the object store, at each try."""


def main() -> int:
    """Returns the process's exit code."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    for name in ("kopf", "aiohttp.access"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        config = ControllerConfig.from_environment(os.environ)
        api = KubernetesApi.connect(os.environ)
        settings = Settings.from_environment(os.environ)
        store = open_store(
            settings.store,
            os.environ,
            patience_seconds=_PATIENCE_SECONDS,
            request_seconds=_PATIENCE_SECONDS,
        )
        aliases = MlflowServer.at(settings.tracking_uri, os.environ) if settings.tracking_uri else None
    except WindtunnelError as error:
        logging.getLogger(__name__).error("%s", error)
        return EXIT_PERMANENT
    cluster = Cluster(api, config.namespace)
    served_models = KubernetesServedModels(api, config.namespace)
    scraper = Scraper()

    def make_keeper() -> Keeper:
        return Keeper(
            cluster,
            config,
            ChallengerGuard(served_models, scraper),
            Recorder(store, aliases),
            ByHand(served_models, store, cluster),
        )

    registry = kopf.OperatorRegistry()
    register(registry, make_keeper)
    kopf.run(registry=registry, standalone=True, namespaces=[config.namespace], liveness_endpoint=_LIVENESS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
