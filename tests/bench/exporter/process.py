"""The exporter of the measurement: the real one, with ServedModels from memory, looking all the time."""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import TYPE_CHECKING

from recorded import served_model

from windtunnel.exporter.http_server import MetricsServer
from windtunnel.exporter.refresher import Refresher
from windtunnel.objects import open_store
from windtunnel.spec.servedmodel import ServedModel

if TYPE_CHECKING:
    from collections.abc import Callable


def main(directory: str, lifecycles: int) -> None:
    def listed(_: Callable[[str], None]) -> dict[str, ServedModel]:
        # Parsed anew, as what the API server answers is.
        found = {}
        for number in range(lifecycles):
            name = f"lifecycle{number:03}"
            found[name] = ServedModel.model_validate(served_model(name, challenger="4", traffic=5))
        return found

    refresher = Refresher(open_store(directory, {}), listed)
    began = time.perf_counter()
    refresher.refresh()
    first = time.perf_counter() - began
    with MetricsServer(refresher, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(json.dumps({"port": server.port, "first": first, "lifecycles": lifecycles}), flush=True)
        refresher.run(1.0, threading.Event())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
