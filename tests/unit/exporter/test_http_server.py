"""The server and the process, over real sockets."""

from __future__ import annotations

import gzip
import http.client
import os
import re
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from api_server import api_server
from faulty_store import FaultyStore
from recorded import put_record, served_model, stage_record
from waiting import HANG

from windtunnel.errors import PermanentError
from windtunnel.exporter.config import LONGEST_REFRESH, REFRESH, ExporterConfig
from windtunnel.exporter.http_server import STUCK_AFTER_SECONDS, MetricsServer
from windtunnel.exporter.refresher import Refresher
from windtunnel.exporter.served_models import list_served_models
from windtunnel.kube import KubernetesApi
from windtunnel.objects import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(clock: Clock) -> Iterator[MetricsServer]:
    refresher = Refresher(FaultyStore(), lambda _: {}, clock)
    refresher.refresh()
    with MetricsServer(refresher, 0, clock) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(port: int, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=HANG)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def test_a_scrape_gets_the_page_plain_or_gzipped(server: MetricsServer) -> None:
    status, headers, body = ask(server.port, "/metrics")
    assert (status, body) == (200, server.refresher.page.plain)
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    status, headers, body = ask(server.port, "/metrics?x=1", **{"Accept-Encoding": "gzip"})
    assert headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(body) == server.refresher.page.plain


def test_it_is_well_as_long_as_something_is_read(server: MetricsServer, clock: Clock) -> None:
    assert ask(server.port, "/healthz")[0] == 200
    clock.now = STUCK_AFTER_SECONDS
    status, _, body = ask(server.port, "/healthz")
    assert (status, b"nothing has been read for 900 s" in body) == (503, True)


def test_all_else_is_refused(server: MetricsServer) -> None:
    assert ask(server.port, "/")[0] == 404
    assert ask(server.port, "/metrics", "POST")[0] == 501


def test_served_models_are_listed_and_what_is_none_is_told() -> None:
    failures: list[str] = []
    with api_server() as cluster:
        cluster.put(served_model("shop"))
        cluster.put(served_model("trips"))
        cluster.models["trips"]["spec"]["traffic"] = 400
        api = KubernetesApi(
            host="127.0.0.1", port=cluster.server_port, tls=None, namespace="ml", token=cluster.token
        )
        found = list_served_models(api, "ml", failures.append)
    assert {name: model.spec.champion.version for name, model in found.items()} == {"shop": "3"}
    assert failures == ["served_models"]


@pytest.mark.parametrize("text", ["", "soon", "0", "-5", "nan", "301", "1e9"])
def test_seconds_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(PermanentError, match=REFRESH):
        ExporterConfig.from_environment({REFRESH: text})


def test_the_longest_pause_between_two_looks_is_not_taken_for_an_end() -> None:
    config = ExporterConfig.from_environment({REFRESH: str(LONGEST_REFRESH)})
    assert 3 * config.refresh_seconds <= STUCK_AFTER_SECONDS


def test_the_process_shows_what_is_there_and_ends_when_asked(tmp_path: Path) -> None:
    store = open_store(str(tmp_path), {})
    put_record(store, "shop", stage_record())
    environ = {**os.environ, "WINDTUNNEL_STORE": str(tmp_path), REFRESH: "1"}
    environ.pop("POD_NAMESPACE", None)
    code = (
        "import sys, windtunnel.exporter.__main__ as m\n"
        "made = m.MetricsServer\n"
        "def on_a_free_port(refresher):\n"
        "    server = made(refresher, 0)\n"
        "    print(server.port, flush=True)\n"
        "    return server\n"
        "m.MetricsServer = on_a_free_port\n"
        "sys.exit(m.main())\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], env=environ, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            text = ""
            while "windtunnel_stage_runs_total{" not in text:
                text = ask(port, "/metrics")[2].decode()
            assert re.search(r'windtunnel_stage_runs_total\{.*outcome="success".*\} 1\.0', text)
            process.send_signal(signal.SIGTERM)
            assert process.wait(HANG) == 0
        finally:
            process.kill()
    assert store.exists("shop/exporter/totals.json")


def test_without_a_store_it_says_what_to_set(tmp_path: Path) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("WINDTUNNEL_")}
    done = subprocess.run(
        [sys.executable, "-m", "windtunnel.exporter"],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "WINDTUNNEL_STORE is not set" in done.stderr
