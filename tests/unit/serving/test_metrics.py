"""What a process counts, as text."""

from __future__ import annotations

import asyncio

from prometheus_client import generate_latest

from windtunnel.serving.metrics import Metrics


def counted(versions: int) -> Metrics:
    metrics = Metrics()
    for version in map(str, range(versions)):
        metrics.of("demo", version, "champion").answered(200, 0.01)
        metrics.challenger.of("demo", version).asked("shadow")
        metrics.predictions.of("demo", version, "champion", (0.5, 1.0)).observe([0.4])
    return metrics


def test_all_of_it_is_told() -> None:
    def lines(text: bytes) -> list[bytes]:
        # the process's own CPU time and memory change meanwhile
        return [line for line in text.splitlines() if b"windtunnel_" in line]

    metrics = counted(3)
    text = asyncio.run(metrics.text())
    assert lines(text) == lines(generate_latest(metrics.registry))
    assert b"process_start_time_seconds" in text


def test_others_get_their_turn_while_it_is_told() -> None:
    turns = 0

    async def run() -> None:
        nonlocal turns
        telling = asyncio.create_task(counted(3).text())
        while not telling.done():
            turns += 1
            await asyncio.sleep(0)

    asyncio.run(run())
    assert turns > 15
