"""What a rollout is to do, and what it does next."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from windtunnel.spec.servedmodel import Act, ModelVersion


@dataclass(frozen=True)
class Plan:
    """What a run wants: the lifecycle's `rollout`, and whom it is about."""

    challenger: ModelVersion
    expected_champion: str | None
    run_id: str
    shadow: int | None = 200
    """Copies that it must have scored; None: no shadow."""
    steps: tuple[int, ...] = (5, 25, 50)
    """Percent, rising."""
    requests: int = 200
    """That it must have answered in each step."""
    step_timeout: timedelta = timedelta(hours=1)
    when_quiet: Literal["refuse", "promote"] = "refuse"
    pause_before: Literal["canary", "champion"] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the spec that the rollout sets at its beginning, such as the guard."""
    evidence: str = ""
    """URI of the verdict."""


@dataclass(frozen=True)
class Write:
    """Change the spec so, if nobody wrote in between. `begins`: the challenger comes in by it."""

    changes: Mapping[str, Any]
    says: str
    begins: bool = False


@dataclass(frozen=True)
class Hold:
    """Nothing to do yet. `state` changes seldom; `says` tells how far it has come."""

    state: str
    says: str


@dataclass(frozen=True)
class Promote:
    """It has earned the seat; `rolled_out`: by this run's rollout."""

    says: str
    rolled_out: bool = True


@dataclass(frozen=True)
class Refuse:
    """It must not have the seat: `changes` with an act that says so."""

    reason: str
    message: str
    changes: Mapping[str, Any]


@dataclass(frozen=True)
class Over:
    """The run had its end before, by this act."""

    act: Act


Move = Write | Hold | Promote | Refuse | Over
