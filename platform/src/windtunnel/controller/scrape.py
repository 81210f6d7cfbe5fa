"""Reading /metrics of serving pods: all at once, and never for longer than a stated time."""

from __future__ import annotations

import http.client
import time
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Final

from windtunnel.controller.reconcile import PORT

if TYPE_CHECKING:
    from collections.abc import Mapping

SECONDS: Final = 1.0
"""That a pod gets to answer, from the first byte to the last."""
_MOST_BYTES: Final = 4 * 1024 * 1024
_PIECE: Final = 64 * 1024


class Scraper:
    """A pod that does not answer in time is left out, and asked again next time. Any thread may call."""

    def __init__(self, port: int = PORT) -> None:
        self._port = port
        self._threads = ThreadPoolExecutor(max_workers=64, thread_name_prefix="scrape")

    def scrape(self, addresses: Mapping[str, str]) -> dict[str, str]:
        """The text of /metrics by pod, for the addresses of pods; takes SECONDS at most."""
        asked = {
            self._threads.submit(self._read, address, time.monotonic() + SECONDS): pod
            for pod, address in addresses.items()
        }
        done, late = wait(asked, timeout=SECONDS)
        for one in late:
            one.cancel()
        return {asked[one]: text for one in done if (text := one.result()) is not None}

    def _read(self, address: str, deadline: float) -> str | None:
        left = deadline - time.monotonic()
        if left <= 0.0:
            return None
        connection = http.client.HTTPConnection(address, self._port, timeout=left)
        try:
            connection.request("GET", "/metrics")
            answer = connection.getresponse()
            if answer.status != 200:
                return None
            pieces, size = [], 0
            while piece := answer.read1(_PIECE):
                pieces.append(piece)
                size += len(piece)
                # a timeout counts anew for each piece: a pod that drips would hold its thread for ever
                if size > _MOST_BYTES or time.monotonic() > deadline:
                    return None
            return b"".join(pieces).decode(errors="replace")
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()
