"""How long a scrape takes at 200 lifecycles, while the exporter looks for what is new all the time.

The exporter runs in a process of its own on a directory that holds, for each lifecycle, records of all
stages, a ledger, two views, and measures of 48 columns; meanwhile stages end. Scrapes come as Prometheus
sends them (gzipped) and plain; the aim is 200 ms for the slowest.
"""

from __future__ import annotations

import argparse
import gzip
import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from recorded import measure, put_record, stage_record, view_state
from tests.bench import ROOT

from windtunnel.features.freshness import write_freshness
from windtunnel.ledger import Ledger
from windtunnel.monitoring.measures import write_measure
from windtunnel.objects import open_store
from windtunnel.spec.failures import Reason
from windtunnel.spec.stages import STAGES

if TYPE_CHECKING:
    from windtunnel.objects import ObjectStore

AIM_SECONDS = 0.2
RUNS = 5
COLUMNS = 48
NOW = datetime.now(UTC).replace(microsecond=0)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.exporter", description=__doc__)
    parser.add_argument("--lifecycles", type=int, default=200)
    parser.add_argument("--scrapes", type=int, default=100, help="of each kind")
    options = parser.parse_args([] if arguments is None else arguments)
    with tempfile.TemporaryDirectory(prefix="windtunnel-exporter-") as directory:
        store = open_store(directory, {})
        for number in range(options.lifecycles):
            _write(store, f"lifecycle{number:03}")
        with subprocess.Popen(
            [sys.executable, "-m", "tests.bench.exporter.process", directory, str(options.lifecycles)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                assert process.stdout is not None
                started = json.loads(process.stdout.readline())
                _measure(store, started, process.pid, options.scrapes)
            finally:
                process.terminate()


def _write(store: ObjectStore, name: str) -> None:
    for run in range(RUNS):
        at = NOW - timedelta(days=RUNS - run)
        for stage in STAGES:
            failed = Reason.TIMEOUT if (stage, run) == ("train", 0) else None
            record = stage_record(stage, f"scheduled__{at.isoformat()}", at=at, price=0.4, reason=failed)
            put_record(store, name, record)
    for action in ("promotion", "rollback", "refusal"):
        Ledger(store, name).append({"action": action})
    for view in ("customer", "product"):
        write_freshness(store, name, view_state(view))
    for day in range(RUNS):
        write_measure(store, measure(name, end=NOW - timedelta(days=day), columns=COLUMNS))


def _measure(store: ObjectStore, started: dict[str, float], pid: int, scrapes: int) -> None:
    port = int(started["port"])
    plain, gzipped = [], []
    body = b""
    for number in range(scrapes):
        # Something ends all the time, so that looks have work.
        name = f"lifecycle{number % int(started['lifecycles']):03}"
        put_record(store, name, stage_record("train", f"manual__{number}", at=NOW, price=0.4))
        seconds, body = _scrape(port, {})
        plain.append(seconds)
        seconds, packed = _scrape(port, {"Accept-Encoding": "gzip"})
        gzipped.append(seconds)
    text = body.decode()
    series = sum(not line.startswith("#") for line in text.splitlines())
    look = next(
        float(line.split()[1])
        for line in text.splitlines()
        if line.startswith("windtunnel_exporter_refresh_seconds ")
    )
    assert gzip.decompress(packed)[:20] == body[:20]
    size = f"{series:,} series, {len(body) / 1e6:.1f} MB a scrape"
    print(f"\nexporter: {int(started['lifecycles'])} lifecycles, {size}")
    print(f"first look {started['first']:.1f} s; a look for what is new {look:.2f} s; {_memory(pid):.0f} MiB")
    aim = f"aim {AIM_SECONDS * 1e3:.0f} ms"
    for kind, found in (("plain", plain), ("gzipped", gzipped)):
        middle, slowest = statistics.median(found), max(found)
        verdict = "met" if slowest <= AIM_SECONDS else "MISSED"
        figures = f"p50 {middle * 1e3:6.1f} ms, slowest {slowest * 1e3:6.1f} ms of {len(found)}"
        print(f"{kind:>8}: {figures} ({aim}: {verdict})")


def _scrape(port: int, headers: dict[str, str]) -> tuple[float, bytes]:
    began = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/metrics", headers=headers)
    body = connection.getresponse().read()
    connection.close()
    return time.perf_counter() - began, body


def _memory(pid: int) -> float:
    """Resident, in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    main(sys.argv[1:])
