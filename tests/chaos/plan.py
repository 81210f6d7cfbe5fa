"""Which faults happen in a rollout, and when: all of it follows from a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

PER_ROLLOUT: Final = 4
KINDS: Final = (
    "rollout pod",
    "controller",
    "serving pod",
    "API server",
    "Airflow scheduler",
    "Airflow API server",
    "Postgres",
    "Valkey",
    "object store",
    "MLflow",
)
OUTAGES: Final = frozenset({"API server", "Postgres", "Valkey", "object store", "MLflow"})
"""These stay away for a while; the others are killed and come back by themselves."""
_LONGEST_OUTAGE: Final = 15.0
_LATEST: Final = {"evaluate": 5.0, "rollout": 20.0}


@dataclass(frozen=True)
class Fault:
    """One fault.

    stage: the clock begins when the run's task of this stage first runs.
    after: seconds from then.
    seconds: how long what is hit stays away; 0: as long as it takes to come back.
    """

    kind: str
    stage: str
    after: float
    seconds: float

    def __str__(self) -> str:
        away = f" for {self.seconds:.0f} s" if self.seconds else ""
        return f"{self.kind}{away}, {self.after:.1f} s into {self.stage}"


def faults_of(seed: int, count: int = PER_ROLLOUT) -> tuple[Fault, ...]:
    """Different kinds, the first one first; most of them in the stage that changes what serves."""
    chance = random.Random(seed)
    faults = []
    for kind in chance.sample(KINDS, count):
        # There is no pod of the rollout in another stage.
        stage = "rollout" if kind == "rollout pod" or chance.random() < 0.75 else "evaluate"
        seconds = round(chance.uniform(1, _LONGEST_OUTAGE), 1) if kind in OUTAGES else 0.0
        faults.append(Fault(kind, stage, round(chance.uniform(0, _LATEST[stage]), 1), seconds))
    return tuple(sorted(faults, key=lambda fault: (fault.stage, fault.after)))
