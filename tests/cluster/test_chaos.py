"""Seeded faults across real rollouts: each ends with one promotion or a clean refusal, and no request fails.

`make chaos SEED=1 FAULTS=100` does it at length. A rollout's seed is SEED plus its number, so that
`make chaos SEED=<that> FAULTS=4` does the same again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest
from dev.demo.ask import vector_requests
from tests.chaos.drill import Drill, drill, older_version
from tests.chaos.plan import PER_ROLLOUT, faults_of
from tests.chaos.reaching import reach_directly
from tests.cluster.release import LIFECYCLE, Thread
from tests.cluster.served import Served

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dev.demo.thread import Platform

SHORT_SEED = 1


@pytest.fixture
def platform_directly(thread: Thread) -> Iterator[Platform]:
    with reach_directly(thread.platform.kubectl) as platform:
        yield platform


def test_every_rollout_ends_well_whatever_dies(
    platform_directly: Platform, request: pytest.FixtureRequest
) -> None:
    platform = platform_directly
    seed = request.config.getoption("--seed", default=SHORT_SEED)
    wanted = request.config.getoption("--faults", default=PER_ROLLOUT)
    model = Served(platform.kubectl, LIFECYCLE)
    host, port = model.address()
    with httpx.Client(base_url=f"http://{host}:{port}", timeout=30) as client:
        bodies = vector_requests(platform, LIFECYCLE, client, 500)
    older = older_version(platform, model)
    drills: list[Drill] = []
    print()
    while sum(len(run.injected) for run in drills) < wanted:
        faults = faults_of(seed + len(drills))
        drills.append(drill(platform, model, bodies, faults, older))
        print(f"seed {seed + len(drills) - 1}: {drills[-1]}", flush=True)
        if not drills[-1].injected:
            pytest.fail(f"no fault hit anything: {drills[-1]}")
    bad = [str(run) for run in drills if run.problems]
    print(
        f"{sum(len(run.injected) for run in drills)} faults in {len(drills)} rollouts, {len(bad)} went wrong"
    )
    assert not bad, "\n".join(bad)
