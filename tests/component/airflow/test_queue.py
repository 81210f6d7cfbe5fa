"""Who gets a free place, by Airflow's own scheduler: no team waits for another's whole backfill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import windtunnel.airflow

HERE = Path(__file__).parent
LIFECYCLE = """\
apiVersion: windtunnel.dev/v1alpha1
kind: Lifecycle
metadata: {{name: {name}, owner: team}}
spec:
  sources:
    gusts: {{uri: "sources/gusts/{{date}}.parquet", schema: "features:Gusts"}}
  features: {{transform: "features:transform", views: [tower], service: wind}}
  label: {{rows: "features:entity_rows", column: turned, kind: binary}}
  training: {{function: "train:train"}}
  scoring: {{shards: {shards}}}
"""
FEATURES = "Gusts = None\ndef transform(partitions, day): ...\ndef entity_rows(partitions, day): ...\n"


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two lifecycles that score in 40 shards, one that scores in one, and 8 places of class small."""
    tmp_path = tmp_path_factory.mktemp("platform")
    for name, shards in (("big_a", 40), ("big_b", 40), ("small", 1)):
        lifecycle = tmp_path / "lifecycles" / name
        lifecycle.mkdir(parents=True)
        (lifecycle / "lifecycle.yaml").write_text(LIFECYCLE.format(name=name, shards=shards))
        (lifecycle / "features.py").write_text(FEATURES)
        (lifecycle / "train.py").write_text("def train(features, label): ...\n")
    templates = tmp_path / "pod-templates"
    templates.mkdir()
    pools = {}
    for stage_class in ("small", "rollout"):
        (templates / f"{stage_class}.yaml").touch()
        pools[f"stage-{stage_class}"] = {"slots": 8, "description": "", "include_deferred": False}
    (templates / "pools.json").write_text(json.dumps(pools))
    return tmp_path


Order = list[tuple[str, int]]
"""(dag id, map index), as the scheduler gave places."""


@pytest.fixture(scope="module")
def given(platform: Path) -> Order:
    return order(platform, hook=True)


def order(platform: Path, hook: bool) -> Order:
    path = [str(Path(windtunnel.airflow.__file__).parent / "config")] if hook else []
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(HERE), *path]),
        "AIRFLOW_HOME": str(platform / f"airflow-{hook}"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": "8",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{platform}/airflow-{hook}.db",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
    }
    done = subprocess.run(
        [sys.executable, "-m", "queue_scenario", str(platform)],
        env=environment, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return [tuple(entry) for entry in json.loads(done.stdout.splitlines()[-1])]


def test_a_late_and_small_run_is_next_in_turn_and_two_big_ones_take_turns(given: Order) -> None:
    assert len(given) == len(set(given)) == 81
    # It came at the tenth minute: slices 0 to 10 of the first stand before it and 0 to 9 of the second.
    assert given.index(("small__score", 0)) <= 21
    # Neither of the two gets ahead of the other by more than the minute between them and one slice.
    for place in range(8, len(given)):
        a, b = (sum(dag == f"{name}__score" for dag, _ in given[:place]) for name in ("big_a", "big_b"))
        assert -1 <= a - b <= 4, place
    for name in ("big_a", "big_b"):
        assert [index for dag, index in given if dag == f"{name}__score"] == list(range(40))


def test_no_run_takes_more_than_half_of_a_class(given: Order) -> None:
    assert sorted(dag for dag, _ in given[:8]) == ["big_a__score"] * 4 + ["big_b__score"] * 4


def test_airflows_own_order_would_have_had_it_wait_for_all(platform: Path) -> None:
    """What the hook is for. When this fails, Airflow has become fair, and the hook may go."""
    given = order(platform, hook=False)
    assert given.index(("small__score", 0)) >= 70
